"""U-Boot, as Debian's package has it, from its ROM image to its prompt, and a kernel that it loads from an IDE disk."""
import gzip
import os
import subprocess

import pytest

from bundle import build_path
from guests import System
from machines import ROOT

GUESTS = os.path.join(ROOT, "build", "guests")
IMAGE = os.path.join(GUESTS, "zoo", "u-boot.rom")
VIDEO = os.path.join(ROOT, "build", "firmware", "vgabios-stdvga.bin")
LINUX, INITRD = os.path.join(GUESTS, "linux", "vmlinuz-686"), os.path.join(GUESTS, "linux", "initrd-686")
MEMTEST = os.path.join(GUESTS, "zoo", "memtest86+x64.bin")
PROMPT = "=> "
DISK_BYTES = 12 << 20
ATTEMPTS = 5
CONF = """
    volume disk { disk 0 access private }
    partition board {
        memory 128M board pc console uart
        boot rom { image "u-boot.rom" }
        disk disk { interface ide }
        on reboot restart
    }"""


@pytest.fixture(autouse=True)
def files_are_there():
    for path in [IMAGE, VIDEO, LINUX, INITRD, MEMTEST]:
        if not os.path.exists(path):
            pytest.skip(f"{os.path.relpath(path, ROOT)} is not there: run `make guests guests-zoo`")


def disk(tmp_path, files):
    """A FAT file system without a partition table."""
    image, copy = tmp_path / "image", tmp_path / "copy"
    image.write_bytes(b"")
    os.truncate(image, DISK_BYTES)
    subprocess.run(["mformat", "-i", image, "-v", "BOOT", "-N", "5e970002", "::"], check=True)
    for name, data in files.items():
        copy.write_bytes(data)
        subprocess.run(["mcopy", "-i", image, copy, f"::/{name}"], check=True)
    return image


def system(machine, tmp_path, files):
    """Without a counted clock on QEMU: U-Boot waits by looking at it, a second and more for a drive that is not there."""
    image = disk(tmp_path, {name: data if isinstance(data, bytes) else open(data, "rb").read() for name, data in files.items()})
    drive = ["-drive", f"file={image},format=raw,if=none,id=disk", "-device", "virtio-blk-pci,disable-legacy=on,drive=disk"]
    if machine.startswith("vmx"):
        drive = ["ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15", f"ata1-master: type=disk, path={image}, mode=flat"]
    return System(machine, CONF, files={"u-boot.rom": IMAGE, "firmware/vgabios-stdvga.bin": VIDEO}, flavour="release",
                  directory=tmp_path / "run", memory_mib=512, seconds=600,
                  programs={"block-server": build_path("release", "block-server.elf")}, emulator_options=drive)


def to_prompt(run):
    """U-Boot looks for a key for two seconds, in which a busy machine may not come to answer its question, and throws away what came
    before its serial port was set up: so a key is typed again and again. What it tries when it saw none takes the ACPI
    tables from the kernel that is booted later: then it begins anew."""
    for _ in range(ATTEMPTS):
        start = len(run.text("board"))
        for sign in ["Video: 1024x768x32", "Net:", "Hit any key"]:        # the first by the VGA BIOS, in real mode
            run.wait("board", sign)
            run.type("board", " ")
        run.wait("board", PROMPT)
        if "EFI boot manager" not in run.text("board")[start:]:
            return
        run.type("board", "reset\r")
    pytest.fail(f"U-Boot saw none of the keys that were typed in {ATTEMPTS} boots")


def ask(run, command):
    """What U-Boot says to a command."""
    start = run.consoles["board"].seen
    run.type("board", command + "\r")
    run.wait("board", "\n")
    run.wait("board", PROMPT)
    return run.text("board")[start:run.consoles["board"].seen]


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-measured"])
def test_uboot_boots_linux_from_an_ide_disk(machine, tmp_path):
    """It reads a kernel and its initramfs by IDE, each word an exit, and Linux comes up with the memory that U-Boot was told of."""
    packed = gzip.compress(open(INITRD, "rb").read(), mtime=0)
    with system(machine, tmp_path, {"vmlinuz": LINUX, "initrd": packed}) as run:
        to_prompt(run)
        assert "SEPTUM DISK" in ask(run, "ide reset")
        assert f"{os.path.getsize(LINUX)} bytes read" in ask(run, "load ide 0 1000000 vmlinuz")
        assert f"{len(packed)} bytes read" in ask(run, "load ide 0 4000000 initrd")
        run.type("board", "setenv bootargs console=ttyS0 quiet septum.name=board; zboot 1000000 0 4000000 $filesize\r")
        run.wait("board", "SEPTUM-GUEST-UP board")
        run.wait("board", "board# ")                                     # what is typed earlier the shell throws away
        run.type("board", "grep PM_TMR /proc/ioports\n")
        run.wait("board", "e408-e40b : ACPI PM_TMR")                     # where U-Boot, not SeaBIOS, puts it


def test_uboot_answers_and_boots_a_memory_test(tmp_path):
    """A kernel of another kind, where a second of waiting is 3,500 million instructions."""
    with system("vmx-1", tmp_path, {"memtest": MEMTEST}) as run:
        to_prompt(run)
        assert "U-Boot 20" in ask(run, "version")
        assert "SEPTUM DISK" in ask(run, "ide reset")
        assert f"{os.path.getsize(MEMTEST)} bytes read" in ask(run, "load ide 0 1000000 memtest")
        run.type("board", "setenv bootargs console=ttyS0,115200 nosmp nopause; zboot 1000000\r")
        run.wait("board", "Memtest86+")
        run.wait("board", "Testing")
