"""Debian's kernels on the board `pc`: what they find on its PCI bus, and disk, card and random numbers by MSI-X."""
import os
import re

import pytest

from bundle import build_path
from guests import System
from machines import ROOT

LINUX = os.path.join(ROOT, "build", "guests", "linux")
IMAGE = b"the first sector".ljust(512, b".") + bytes(1024 * 1024 - 512)
WITH_ALL = ('volume image { file "image" access private changes 1M }\nnetwork inside { host 10.0.0.1/24 }\n'
            'partition old {\n memory 256M\n board pc\n console uart\n device random\n disk image\n network inside\n')
ALONE = "partition old {\n memory 128M\n board pc\n console uart\n device random\n"


def conf(devices, words=""):
    return devices + (' boot linux {\n  kernel "kernel"\n  initrd "initrd"\n'
                      f'  command-line "quiet console=ttyS0 septum.name=old {words}"\n }}\n}}\n')


def guest(kernel):
    files = {"kernel": os.path.join(LINUX, f"vmlinuz-{kernel}"), "initrd": os.path.join(LINUX, f"initrd-pc-{kernel}")}
    for path in files.values():
        if not os.path.exists(path):
            pytest.skip("the guests are not built: run `make guests`")
    return files


# Slot and function, vendor, device, class: lspci's view.
BRIDGES = {"00.0": "0x8086 0x1237 0x060000", "01.0": "0x8086 0x7000 0x060100", "01.3": "0x8086 0x7113 0x068000"}
VIRTIO = {"0x1af4 0x1044 0x00ff00", "0x1af4 0x1042 0x010000", "0x1af4 0x1041 0x020000"}
LIST = 'cd /sys/bus/pci/devices; for d in *; do echo "=$d" $(cat $d/vendor $d/device $d/class); done; cd /; echo LIST-E""ND\n'
# Reads the disk, writes to it, reaches Septum's own address by the card, and takes random bytes.
USE = ["head -c 16 /dev/vda; echo; dd if=/tmp/one of=/dev/vda seek=1 conv=fsync; echo 3 >/proc/sys/vm/drop_caches",
       "dd if=/dev/vda skip=1 count=1 | cmp - /tmp/one && echo WRITT''EN", "ifconfig eth0 10.0.0.2 up; ping -c 3 10.0.0.1",
       "head -c 64 /dev/hwrng | wc -c; cat /proc/interrupts; echo USE-E''ND"]


@pytest.mark.parametrize("machine, kernel", [("qemu-1", "cloud"), ("qemu-1", "generic"), ("vmx-1", "cloud")])
def test_linux_uses_the_devices_of_a_pc_by_their_own_messages(machine, kernel, tmp_path):
    programs = {name: build_path("release", name + ".elf") for name in ["block-server", "net-server"]}
    with System(machine, conf(WITH_ALL), files={**guest(kernel), "image": IMAGE}, flavour="release",
                directory=tmp_path / "run", seconds=180, memory_mib=768, programs=programs) as run:
        run.wait("old", "SEPTUM-GUEST-UP old")
        run.type("old", LIST)
        run.wait("old", "LIST-END")
        found = dict(re.findall(r"=0000:00:(\S+) (\w+ \w+ \w+)", run.text("old")))
        assert {place: found.get(place) for place in BRIDGES} == BRIDGES
        assert VIRTIO <= set(found.values())
        run.type("old", "yes new | head -c 512 >/tmp/one\n")
        for line in USE:
            run.type("old", line + "\n")
        run.wait("old", "USE-END")
        text = run.text("old")
        for word in ["the first sector", "WRITTEN", "3 packets received", "\n64\r"]:
            assert word in text, word
        # It looks for four serial ports, of which there are two.
        assert not re.search(r"unknown port 0x(27|2e|3e)[89a-f] ", run.text("system"))
        # Each kind of queue has interrupted by a message of its own, and none by a line.
        for queue in [r"virtio\d+-req.0", r"virtio\d+-input.0", r"virtio\d+-input"]:
            counts = [int(count) for count in re.findall(rf"\d+: +(\d+) +PCI-MSI[^\n]*{queue}\r", text)]
            assert counts and max(counts) > 0, queue
        assert not re.search(r"IO-APIC[^\n]*virtio", text)


@pytest.mark.parametrize("words, chip", [("pci=nomsi", "IO-APIC +11-fasteoi"), ("pci=nomsi noapic", "XT-PIC")])
def test_without_messages_a_line_of_the_board_interrupts(words, chip, tmp_path):
    """INTA of slot 3 is PIRQ C, which the machine's set-up routes to line 11: of the IOAPIC, or of the 8259s."""
    with System("qemu-1", conf(ALONE, words), files=guest("cloud"), flavour="release", directory=tmp_path / "run",
                seconds=180, memory_mib=512) as run:
        run.wait("old", "SEPTUM-GUEST-UP old")
        run.type("old", "head -c 64 /dev/hwrng | wc -c; cat /proc/interrupts; echo USE-E''ND\n")
        run.wait("old", "USE-END")
        text = run.text("old")
        assert "\n64\r" in text
        counts = re.findall(rf"11: +(\d+) +{chip} +virtio0\r", text)
        assert counts and int(counts[0]) > 0
