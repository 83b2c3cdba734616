"""Kernels that begin in real mode, with SeaBIOS around them; and what else a PC does for programs of that time."""
import os

import pytest

from bundle import build_path
from guests import System
from machines import ROOT
from networks import card, free_port
from test_screen import pixels
from test_status_page import exchange

BUILD = os.path.join(ROOT, "build")
BOTH = pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
FIRMWARE = {f"firmware/{name}": os.path.join(BUILD, "firmware", name) for name in ["bios-256k.bin", "vgabios-stdvga.bin"]}
INITRD = bytes(range(100)) * 31


def system(machine, tmp_path, kernel, words, more="", memory="16M", initrd=INITRD, seconds=120, board="pc", head="", **options):
    files = {"kernel": os.path.join(BUILD, "guests", kernel), "initrd": initrd, **FIRMWARE}
    for path in files.values():
        if isinstance(path, str) and not os.path.exists(path):
            pytest.skip(f"{os.path.relpath(path, ROOT)} is not there: run `make guests`")
    conf = (f'{head}partition one {{\n memory {memory}\n board {board}\n console uart\n on panic stop\n on reboot stop\n'
            f' boot linux {{\n  kernel "kernel"\n  initrd "initrd"\n  command-line "{words}"\n  {more}\n }}\n}}\n')
    return System(machine, conf, files=files, directory=tmp_path / "run", memory_mib=512, seconds=seconds, flavour="release",
                  **options)


def said(run):
    return [line[5:] for line in run.text("one").replace("\r", "").split("\n") if line.startswith("REAL ")]


# What boot.rst gives each protocol: the setup's place, its stack's top, flags (bit 0: loaded high, bit 7: has a heap), heap.
KERNELS = {"zimage-200": "setup 0x90000 code 0x90200 stack 0x9800 loader 0xff flags 0x0 heap 0x0",
           "bzimage-200": "setup 0x90000 code 0x90200 stack 0x9800 loader 0xff flags 0x1 heap 0x0",
           "zimage-201": "setup 0x90000 code 0x90200 stack 0x9800 loader 0xff flags 0x80 heap 0x9600",
           "bzimage-202": "setup 0x10000 code 0x10200 stack 0xe000 loader 0xff flags 0x81 heap 0xde00"}


@pytest.mark.parametrize("machine, kernel", [("qemu-1", kernel) for kernel in KERNELS] + [("vmx-1", "zimage-200")])
def test_a_kernel_in_real_mode_is_told_all(machine, kernel, tmp_path):
    """Old protocols are known by their header; the BIOS answers; what was loaded is whole, above 1 MiB too."""
    more = "entry 16-bit" if kernel == "bzimage-202" else ""
    with system(machine, tmp_path, f"real/{kernel}", "one two=3", more) as run:
        run.wait("one", "REAL all\r")
        run.wait("system", "the guest has powered off")
        lines = said(run)
    assert lines[0] == "runs: " + KERNELS[kernel]
    assert lines[1] == 'command line "one two=3"'
    assert lines[2].startswith("BIOS: base memory 0x27f above 0x3b") and lines[2].endswith("mode 0x3")
    assert lines[3] == f"files: payload 0x14000 initrd {len(INITRD):#x} sum {sum(INITRD):#x}"
    assert lines[4:] == ["all"]


@BOTH
def test_address_line_20_and_resets_to_real_mode(machine, tmp_path):
    """The A20 gate by both its ports; a processor's reset that comes back by the vector at 40:67, in each way there is."""
    with system(machine, tmp_path, "real/zimage-200", "a20 return") as run:
        run.wait("one", "REAL all\r")
        run.wait("system", "the guest has powered off")
        lines = said(run)
    assert lines[4:] == ["A20 at first: apart", "A20 off by port 0x92: wraps", "A20 on by port 0x92: apart",
                         "A20 off by the keyboard controller: wraps", "A20 on by the keyboard controller: apart",
                         "returned from a reset by the keyboard controller", "returned from a reset by port 0x92",
                         "returned from a reset by a triple fault", "returned from a reset by port 0xcf9", "all"]


@BOTH
def test_linux_begins_in_real_mode(machine, tmp_path):
    """Debian's i386 kernel by its own 16-bit setup code, which asks SeaBIOS for the memory map."""
    initrd = os.path.join(BUILD, "guests", "linux", "initrd-686")
    with system(machine, tmp_path, "linux/vmlinuz-686", "console=ttyS0 septum.name=one", "entry 16-bit", "128M", initrd,
                300) as run:
        # The map is the BIOS's: its data at the end of the first 640 KiB are in no map that the VMM makes.
        run.wait("one", "BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved")
        run.wait("one", "SEPTUM-GUEST-UP one")
        run.type("one", "echo $((6*7))\n")
        run.wait("one", "42")


def test_without_a_bios_a_zimage_is_refused_with_the_cure(tmp_path):
    with system("qemu-1", tmp_path, "real/zimage-200", "", board="lean") as run:
        run.wait("system", "can only be entered in real mode, with a BIOS: give its partition `board pc`")


# The BIOS's 16 colours (IBM VGA): dark ones, with brown for dark yellow, then light ones.
COLOURS = [bytes(0x55 * (2 * (n >> bit & 1) + (n >> 3)) for bit in (2, 1, 0)) for n in range(16)]
COLOURS[6] = b"\xaa\x55\x00"


def test_a_picture_of_16_colours_is_shown_as_it_was_drawn(tmp_path):
    """640 x 480 in four planes, by INT 10h and the graphics controller: every pixel of the status page's picture."""
    port = free_port()
    with system("qemu-1", tmp_path, "real/zimage-200", "picture", head="network outside { uplink 0 host dhcp http 80 }\n",
                programs={"net-server": build_path("release", "net-server.elf")}, emulator_options=card(port)) as run:
        run.run_for(lambda: "its status page is at port 80" in run.text("system"))
        run.wait("one", "REAL picture")
        answers = []

        def there():
            answers.append(exchange(port, b"GET /screen/one.png HTTP/1.1\r\nHost: x\r\n\r\n"))
            return not answers[-1].startswith(b"HTTP/1.1 503")
        run.run_for(there)
        head, _, body = answers[-1].partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        width, height, lines = pixels(body)
    assert (width, height) == (640, 480)
    for y, line in enumerate(lines):
        band, diagonal = COLOURS[y // 30], COLOURS[15 - y // 30]
        assert line == band * y + diagonal + band * (639 - y), f"line {y}"
