"""Servers' devices behind an Intel IOMMU: Linux guests with disks and cards as without one, and what a device is refused."""
import os
import re

import pytest

from guests import System
from machines import ROOT

LINUX = os.path.join(ROOT, "build", "guests", "linux")
FILES = {"kernel": os.path.join(LINUX, "vmlinuz-cloud"), "initrd": os.path.join(LINUX, "initrd-disk")}
DISK_BYTES = 8 << 20
BEHIND = ",disable-legacy=on,iommu_platform=on"
DISKS = {
    "virtio": "virtio-blk-pci,drive=disk{n}" + BEHIND,
    "ahci": "ide-hd,drive=disk{n},bus=ide.{n}",          # of the controller that the machine has
}
CARDS = {
    "virtio": ["-netdev", "user,id=n0", "-device", f"virtio-net-pci,netdev=n0{BEHIND}"],
    "e1000": ["-netdev", "user,id=n0", "-device", "e1000,netdev=n0"],
}


NAMES = ["web", "db"]


def does(n):
    """Writes a megabyte that tells who wrote it, reads it back, and asks the gateway for answers."""
    return (f"yes {NAMES[n]} | head -c 1048576 >/tmp/p; dd if=/tmp/p of=/dev/vda bs=64k conv=fsync; "
            "echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=64k count=16 | cmp - /tmp/p && echo DISK-$((6*7)); "
            f"ip a a 10.0.2.2{n}/24 dev eth0; ip link set eth0 up; ping -c 3 10.0.2.2 && echo CARD-$((6*7))")


def conf():
    guests = "".join(
        f'partition {name} {{ memory 96M\n disk disk{n}\n network outside\n boot linux {{ kernel "kernel"\n'
        f' initrd "initrd"\n command-line "quiet console=hvc0 septum.name={name} septum.run=\\"{does(n)}\\"" }} }}\n'
        for n, name in enumerate(NAMES))
    return ("volume disk0 { disk 0 }\nvolume disk1 { disk 1 }\nnetwork outside { uplink 0 }\n"
            "server block { on death restart 20 }\nserver network { on death restart 20 }\n" + guests)


def system(tmp_path, disk="virtio", card="virtio", behind=BEHIND, **more):
    for path in FILES.values():
        if not os.path.exists(path):
            pytest.skip("the guests are not built: run `make guests`")
    options = CARDS[card]
    for n in range(2):
        (tmp_path / f"disk{n}").write_bytes(bytes(DISK_BYTES))
        options = options + ["-drive", f"file={tmp_path / f'disk{n}'},format=raw,if=none,id=disk{n}", "-device",
                             DISKS[disk].format(n=n)]
    options = [word.replace(BEHIND, behind) for word in options]
    return System("q35-1", conf(), files=FILES, directory=tmp_path / "run", memory_mib=512, seconds=180,
                  emulator_options=options, **more)


def all_done(run):
    for name in NAMES:
        run.wait(name, "DISK-42")
        run.wait(name, "CARD-42")


def all_written(tmp_path):
    for n, name in enumerate(NAMES):
        assert (tmp_path / f"disk{n}").read_bytes()[:1 << 20] == (f"{name}\n".encode() * (1 << 20))[:1 << 20]


@pytest.mark.parametrize("disk, card", [("virtio", "virtio"), ("ahci", "e1000")])
def test_two_guests_with_disks_and_cards_run_confined(disk, card, tmp_path):
    with system(tmp_path, disk, card) as run:
        all_done(run)
        assert re.search("audit: passed: .*DMA and interrupts confined by VT-d", run.monitor("audit"))
        assert "DMA          confined by VT-d" in run.monitor("info block-server")
        for server in ["block-server", "net-server"]:
            run.monitor(f"derail {server}")
            run.wait("system", f"{server}: started again")
        run.type("web", "ping -c 2 10.0.2.2 && dd if=/dev/vda bs=64k count=16 | cmp - /tmp/p && echo AGAIN-$((6*7))\n")
        run.wait("web", "AGAIN-42")
        assert "audit: passed: " in run.monitor("audit")
        text = run.text("system")
    assert "DMA NOT CONFINED" not in text and "DMA fault" not in text
    all_written(tmp_path)


def test_a_device_that_goes_around_the_iommu_is_named(tmp_path):
    """QEMU's virtio devices do so unless they are told to do as others (iommu_platform=on), and say it."""
    with system(tmp_path, card="e1000", behind=",disable-legacy=on") as run:
        all_done(run)
        assert "DMA NOT CONFINED: block-server, trusted by all partitions" in run.text("system")
        assert "DMA NOT CONFINED: net-server" not in run.text("system")
        assert "audit: passed, but DMA not confined: block-server, trusted" in run.monitor("audit")


def test_a_server_whose_device_reaches_for_more_is_started_again(tmp_path):
    """Root takes memory from the block server's devices that it names to them all the same."""
    with system(tmp_path, options="plant=dma-lost") as run:
        run.wait("system", "DMA fault: ")
        assert re.fullmatch(r"device 00:0[0-9a-f]\.0 \(block-server\) address 0x[0-9a-f]+ (read|write)", run.wait_line("system"))
        run.wait("system", "block-server: started again")
        all_done(run)
        assert "audit: passed: " in run.monitor("audit")
    all_written(tmp_path)


@pytest.mark.parametrize("plant, who", [("dma-frame", "block-server"), ("dma-guest", "web")])
def test_the_audit_names_what_devices_must_not_reach(plant, who, tmp_path):
    with system(tmp_path, options=f"plant={plant}") as run:
        run.wait("system", "root: nothing was started")
        assert re.search(f"audit: VIOLATION: frame 0x[0-9a-f]+ is reachable from {who}, in its devices' memory at "
                         "0x0*f000000, and was not given", run.text("system"))
