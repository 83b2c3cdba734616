"""The kinds of direct boot: 32-bit Linux, PVH, multiboot and multiboot2, with modules and command lines."""
import os
import re

import pytest

from guests import System
from machines import ROOT

GUESTS = os.path.join(ROOT, "build", "guests")
BOTH = pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
MODULES = {"first": b"\x01\x02\x03" * 2000, "second": b"\xff"}
TEXTS = {"first": 'first.bin --readonly "quoted" a=b', "second": ""}


def system(machine, conf, tmp_path, files, seconds=180, **more):
    for path in files.values():
        if isinstance(path, str) and not os.path.exists(path):
            pytest.skip("the guests are not built: run `make guests`")
    return System(machine, conf, files=files, directory=tmp_path / "run", seconds=seconds, **more)


# ---- i386 --------------------------------------------------------------------------------------------

def linux(boot, memory="128M"):
    return (f'partition old {{\n memory {memory}\n boot {boot} {{\n  kernel "kernel"\n  initrd "initrd"\n'
            f'  command-line "quiet console=hvc0 septum.name=old"\n }}\n}}\n')


def linux_files(kernel, kind):
    return {"kernel": os.path.join(GUESTS, "linux", f"{kernel}-{kind}"),
            "initrd": os.path.join(GUESTS, "linux", f"initrd-{kind}")}


@pytest.mark.parametrize("machine, boot, kernel, kind", [("qemu-1", "linux", "vmlinuz", "686"),
                                                         ("qemu-1", "linux", "vmlinuz", "686-pae"),
                                                         ("vmx-1", "linux", "vmlinuz", "686"),
                                                         ("vmx-1", "pvh", "vmlinux", "686-pae")])
def test_a_32_bit_linux_boots(machine, boot, kernel, kind, tmp_path):
    """Debian's i386 kernels, without and with PAE, to a shell that computes."""
    with system(machine, linux(boot), tmp_path, linux_files(kernel, kind), seconds=300, flavour="release") as run:
        run.wait("old", "SEPTUM-GUEST-UP old")
        run.type("old", "uname -mr; echo $((6*7))\n")
        run.wait("old", "-686-pae i686" if kind == "686-pae" else "-686 i686")
        run.wait("old", "42")


def test_a_64_bit_linux_boots_by_pvh(tmp_path):
    """The ELF file inside of Debian's bzImage, entered at its note's address in 32-bit mode."""
    with system("qemu-1", linux("pvh", "256M"), tmp_path, linux_files("vmlinux", "generic"), flavour="release") as run:
        run.wait("old", "SEPTUM-GUEST-UP old")
        run.type("old", "uname -m; echo $((6*7))\n")
        run.wait("old", "x86_64")
        run.wait("old", "42")


# ---- what a kernel is told ---------------------------------------------------------------------------

def told(kind, kernel, modules):
    lines = "".join(f'  module "{name}"' + (' "%s"' % TEXTS[name].replace('"', '\\"') if TEXTS[name] else "") + "\n"
                    for name in modules)
    return (f'partition one {{\n memory 16M\n console uart\n on panic stop\n boot {kind} {{\n  kernel "{kernel}"\n{lines}'
            f'  command-line "one two=3 \\"four five\\""\n }}\n}}\n')


def said(text):
    return [line[5:] for line in text.replace("\r", "").split("\n") if line.startswith("TOLD ")]


@BOTH
@pytest.mark.parametrize("kind, kernel", [("multiboot", "told-32"), ("multiboot", "told-64"), ("multiboot", "told-image"),
                                          ("multiboot2", "told-32"), ("multiboot2", "told-64"), ("pvh", "told-32"),
                                          ("pvh", "told-64")])
def test_a_kernel_is_told_all(machine, kind, kernel, tmp_path):
    """A kernel of ours reads what the loader left, by the kind's own specification, and says it."""
    files = dict(MODULES, **{kernel: os.path.join(GUESTS, "told", kernel)})
    with system(machine, told(kind, kernel, MODULES), tmp_path, files, memory_mib=256, seconds=90,
                flavour="release") as run:
        run.wait("one", "TOLD all")
        run.wait("system", "its guest has powered off")
        lines = said(run.text("one"))
    assert lines[0] == f"by {kind}"
    assert 'command line "one two=3 "four five""' in lines
    assert [line for line in lines if line.startswith("module")] == [
        f'module {len(data):#x} {sum(data):#x} "{TEXTS[name]}"' for name, data in MODULES.items()]
    assert [line for line in lines if line.startswith("memory")] == [
        "memory 0x0 0xa0000 free", "memory 0xa0000 0x100000 reserved", "memory 0x100000 0x1000000 free"]
    assert ('loader "Septum"' in lines) == (kind != "pvh")
    assert ("ACPI" in lines) == (kind != "multiboot")


@pytest.mark.parametrize("kind", ["multiboot", "multiboot2", "pvh"])
def test_what_is_no_such_kernel_is_refused_with_the_cure(kind, tmp_path):
    """The VMM looks for itself: it does not trust what the host tool has seen."""
    with system("qemu-1", told(kind, "first", []), tmp_path, dict(MODULES), memory_mib=256, seconds=60) as run:
        run.wait("system", "can't be started")
        assert re.search(r'"first" (has no|is no)', run.text("system") + run.text("one"))
