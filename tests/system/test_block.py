"""Disks for guests, the whole way: Linux, virtio-blk in the VMM, block-server, its drivers, the emulator's disk. What a
guest was told is compared with what lies in the image afterwards."""
import hashlib
import os
import re
import struct
import zlib

import pytest

from bundle import build_path
from guests import System
from machines import ROOT

LINUX = os.path.join(ROOT, "build", "guests", "linux")
FILES = {"kernel": os.path.join(LINUX, "vmlinuz-cloud"), "initrd": os.path.join(LINUX, "initrd-disk")}
SECTORS = 16384
FIRST, LAST = 2048, 8191          # of the disk's first partition
VIRTIO = "virtio-blk-pci,disable-legacy=on"
KINDS = {
    "virtio": ("qemu-1", ["-device", f"{VIRTIO},drive=disk"]),
    "virtio-line": ("qemu-1", ["-device", f"{VIRTIO},drive=disk,vectors=0"]),
    "virtio-plain": ("qemu-1", ["-device", f"{VIRTIO},drive=disk,indirect_desc=off,event_idx=off"]),
    "ide": ("qemu-1", ["-device", "ide-hd,drive=disk,bus=ide.0"]),
    "ahci": ("qemu-1", ["-device", "ahci,id=ahci", "-device", "ide-hd,drive=disk,bus=ahci.0"]),
    "bochs": ("vmx-1", None),
}
ALL = pytest.mark.parametrize("kind", KINDS)
QEMU = pytest.mark.parametrize("kind", ["virtio", "ide", "ahci"])


def make_disk(path):
    """8 MiB with a GPT of two partitions; every sector between them begins with its number."""
    disk = bytearray(b"".join(struct.pack("<Q", n) + bytes(504) for n in range(SECTORS)))
    entries = bytearray(128 * 128)
    for number, (first, last) in enumerate([(FIRST, LAST), (LAST + 1, 12287)]):
        entries[number * 128:number * 128 + 48] = bytes([number + 1]) * 32 + struct.pack("<QQ", first, last)

    def header(own, other, table):
        fields = [0x10000, 92, 0, 0, own, other, 34, SECTORS - 34, bytes(16), table, 128, 128, zlib.crc32(entries)]
        packed = bytearray(b"EFI PART" + struct.pack("<IIIIQQQQ16sQIII", *fields))
        packed[16:20] = struct.pack("<I", zlib.crc32(packed))
        return packed

    def put(sector, data):
        disk[sector * 512:sector * 512 + len(data)] = data
    put(0, bytes(446) + struct.pack("<8BII", 0, 0, 2, 0, 0xee, 255, 255, 255, 1, SECTORS - 1) + bytes(48) + b"\x55\xaa")
    put(1, header(1, SECTORS - 1, 2))
    put(2, entries)
    put(SECTORS - 33, entries)
    put(SECTORS - 1, header(SECTORS - 1, 1, SECTORS - 33))
    path.write_bytes(disk)
    return bytes(disk)


def conf(does, more=""):
    """One guest with the first partition, a private copy of the second, and a private copy of an image."""
    return f"""
        volume one {{ disk 0 part 1 }}
        volume two {{ disk 0 part 2 access private changes 2M }}
        volume image {{ file "image" access private changes 1M }}
        server block {{ on death restart 20 }}
        partition guest {{
            memory 128M disk one {more} disk two disk image
            boot linux {{ kernel "kernel" initrd "initrd"
                command-line "console=hvc0 quiet septum.name=guest septum.run=\\"{does}; echo ALL-DO''NE\\"" }}
        }}"""


def system(kind, tmp_path, text, drive=None, flavour="release", **more):
    machine, options = KINDS[kind]
    image = tmp_path / "disk"
    if options is None:
        options = ["ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15",
                   f"ata1-master: type=disk, path={image}, mode=flat"]
    else:
        options = ["-drive", drive or f"file={image},format=raw,if=none,id=disk"] + options
    return System(machine, text, files={**FILES, "image": more.pop("image", bytes(1 << 20))}, flavour=flavour,
                  directory=tmp_path / "run", memory_mib=384, seconds=240,
                  programs={"block-server": build_path(flavour, "block-server.elf")}, emulator_options=options, **more)


def sums(text):
    """What md5sum has said, in its order."""
    return re.findall(r"^([0-9a-f]{32})  ", text.replace("\r", ""), re.M)


def md5(data):
    return hashlib.md5(data).hexdigest()


@ALL
def test_guest_reads_and_writes(kind, tmp_path):
    before = make_disk(tmp_path / "disk")
    image = os.urandom(1 << 20)
    does = ("md5sum /dev/vda /dev/vdb /dev/vdc; dd if=/dev/urandom of=/tmp/x bs=1M count=2; "
            "dd if=/tmp/x of=/dev/vda bs=4k conv=fsync; dd if=/tmp/x of=/dev/vdb bs=64k conv=fsync; "
            "dd if=/tmp/x of=/dev/vdc bs=64k count=16 conv=fsync; echo 3 >/proc/sys/vm/drop_caches; "
            "dd if=/dev/vda of=/tmp/y bs=1M count=2 iflag=direct; md5sum /tmp/x /tmp/y /dev/vdb /dev/vdc")
    with system(kind, tmp_path, conf(does), image=image) as run:
        run.wait("guest", "ALL-DONE")
        said = sums(run.text("guest"))
    after = (tmp_path / "disk").read_bytes()
    begin, middle, end = FIRST * 512, (LAST + 1) * 512, 12288 * 512
    assert said[:3] == [md5(before[begin:middle]), md5(before[middle:end]), md5(image)]
    written = after[begin:begin + (2 << 20)]
    assert said[3:7] == [md5(written)] * 3 + [md5(written[:1 << 20])]
    assert after[:begin] == before[:begin]                       # and nothing outside the partition
    assert after[begin + (2 << 20):] == before[begin + (2 << 20):]


@QEMU
def test_errors_reach_the_guest(kind, tmp_path):
    make_disk(tmp_path / "disk")
    rules = tmp_path / "rules"
    rules.write_text("".join(f'[inject-error]\nevent = "{event}"\nerrno = "5"\n{where}\n' for event, where in [
        ("read_aio", 'sector = "3000"'), ("write_aio", 'sector = "3500"'), ("flush_to_disk", "")]))
    does = ("dd if=/dev/vda of=/tmp/x bs=4k iflag=direct || echo READ FAILED; "
            "dd if=/dev/zero of=/dev/vda bs=64k count=14 oflag=direct || echo WRITE FAILED; "
            "dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync || echo FLUSH FAILED; "
            "dd if=/dev/vda of=/tmp/x bs=4k count=50 iflag=direct && echo WORKS AGAIN")
    drive = f"file=blkdebug:{rules}:{tmp_path / 'disk'},format=raw,if=none,id=disk"
    with system(kind, tmp_path, conf(does), drive=drive) as run:
        run.wait("guest", "ALL-DONE")
        text = run.text("guest")
    for what in ["sector 952 op 0x0:(READ)", "READ FAILED", "op 0x1:(WRITE)", "WRITE FAILED", "FLUSH FAILED",
                 "WORKS AGAIN"]:
        assert what in text, what


@pytest.mark.parametrize("kind", ["virtio", "ide", "ahci", "bochs"])
def test_nothing_is_lost_when_the_server_dies(kind, tmp_path):
    """The guest writes with fsync, and says so after each; the server dies again and again. Then all that the guest
    was told is on the disk, and its private changes are there too."""
    deaths, writes = (3, 60) if kind == "bochs" else (6, 300)
    make_disk(tmp_path / "disk")
    does = ("i=0; while [ \\$i -lt %d ]; do printf %%0512d \\$i >/tmp/s; "
            "dd if=/tmp/s of=/dev/vda bs=512 seek=\\$i conv=fsync 2>/tmp/e || echo BAD \\$i; "
            "dd if=/tmp/s of=/dev/vdb bs=512 seek=\\$i conv=fsync 2>/tmp/e || echo BAD \\$i; "
            "echo TOLD \\$i; i=\\$((i+1)); done; echo 3 >/proc/sys/vm/drop_caches; "
            "dd if=/dev/vdb of=/tmp/y bs=512 count=%d; md5sum /tmp/y" % (writes, writes))
    with system(kind, tmp_path, conf(does), flavour="debug") as run:
        for death in range(deaths):
            run.wait("guest", f"TOLD {(death + 1) * writes // (deaths + 2)}")
            run.monitor("derail block-server")
            run.wait("system", "block-server: started again")
        run.wait("guest", "ALL-DONE")
        text = run.text("guest")
    assert "BAD" not in text and "I/O error" not in text
    told = [int(n) for n in re.findall(r"TOLD (\d+)", text)]
    assert told == list(range(writes))
    disk = (tmp_path / "disk").read_bytes()
    expected = b"".join(b"%0512d" % n for n in range(writes))
    assert disk[FIRST * 512:][:len(expected)] == expected
    assert sums(text) == [md5(expected)]


def test_disks_that_hang_are_reset_and_hold_up_no_other(tmp_path):
    """Three disks take longer for a write than the server waits for one: each is reset, and its command given again or
    ended with an error. Meanwhile a fourth is used, and afterwards all four are."""
    make_disk(tmp_path / "disk")
    options, devices = [], ["ide-hd,bus=ide.0", "ide-hd,bus=ahci.0", VIRTIO, VIRTIO]
    for number, device in enumerate(devices):
        image = tmp_path / f"disk{number}"
        image.write_bytes((tmp_path / "disk").read_bytes())
        slow = ",throttling.bps-write=4000" if number < 3 else ""
        options += ["-drive", f"file={image},format=raw,if=none,id=disk{number}{slow}"]
    options += ["-device", "ahci,id=ahci"]
    for number, device in enumerate(devices):
        options += ["-device", f"{device},drive=disk{number}"]
    does = ("for d in a b c; do { dd if=/dev/zero of=/dev/vd\\$d bs=64k count=3 oflag=direct 2>/tmp/\\$d; "
            "echo SLOW \\$d ENDS; } & done; "
            "i=0; while [ ! -e /tmp/end ]; do dd if=/dev/zero of=/dev/vdd bs=4k count=8 oflag=direct 2>/tmp/d || echo BAD; "
            "echo FAST \\$i; i=\\$((i+1)); sleep 1; [ \\$(pidof dd | wc -w) -gt 0 ] || touch /tmp/end; done; "
            "for d in a b c d; do dd if=/dev/vd\\$d of=/tmp/x bs=512 count=1 iflag=direct && echo AGAIN \\$d; done")
    conf_text = "".join(f"volume v{n} {{ disk {n} }}\n" for n in range(4)) + f"""
        server block {{ on death restart 2 }}
        partition guest {{ memory 128M disk v0 disk v1 disk v2 disk v3
            boot linux {{ kernel "kernel" initrd "initrd"
                command-line "console=hvc0 quiet septum.name=guest septum.run=\\"{does}; echo ALL-DO''NE\\"" }} }}"""
    with System("qemu-1", conf_text, files=FILES, flavour="release", directory=tmp_path / "run", memory_mib=384,
                seconds=240, programs={"block-server": build_path("release", "block-server.elf")},
                emulator_options=options) as run:
        run.wait("guest", "ALL-DONE")
        text, system_text = run.text("guest"), run.text("system")
    for name in ["ide 00:01.1 first master", "ahci 00:02.0 port 0", "virtio-blk 00:03.0"]:
        assert f"{name}: no answer in 10 s: it is reset" in system_text, name
    assert "does not come back" not in system_text and "started again" not in system_text
    assert "BAD" not in text
    before = text[:text.index("SLOW")]
    assert before.count("FAST") >= 3
    for d in "abcd":
        assert f"AGAIN {d}" in text
