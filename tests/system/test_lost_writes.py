"""No write that was acknowledged is ever lost: a guest appends records to a file on ext4, each with fsync, while it and
the block server are killed at random moments; and the disk's log of writes is replayed to random points, without some
of what came after the last flush, as a power failure might leave it.

SEPTUM_KILLS (default 10) sets the number of kills, SEPTUM_SEED the seed.
"""
import os
import random
import re
import shutil
import struct
import subprocess

import pytest

from guests import System
from machines import ROOT

LINUX = os.path.join(ROOT, "build", "guests", "linux")
KILLS = int(os.environ.get("SEPTUM_KILLS", "10"))
SEED = int(os.environ.get("SEPTUM_SEED", "1"))
REPLAYS = 2 * KILLS
IMAGE_BYTES = 16 << 20
RECORD, SECTOR = 512, 512
FLUSH, FUA, DISCARD = 1, 2, 4
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"

CONF = """volume data { disk 0 }
partition web {
 memory 128M
 disk data
 on reboot restart
 boot linux { kernel "kernel" initrd "initrd" command-line "quiet console=hvc0 septum.name=web %s" }
}
"""
RUN = ("septum.run=\\\"mount -t ext4 /dev/vda /disk && ioprobe check /disk/f; echo SEPTUM-GO; "
       "ioprobe records /disk/f\\\"")


def tool(*command):
    return subprocess.run(command, capture_output=True, env={**os.environ, "PATH": PATH})


def file_system(path):
    with open(path, "wb") as image:
        image.truncate(IMAGE_BYTES)
    done = tool("mke2fs", "-q", "-F", "-t", "ext4", str(path))
    assert done.returncode == 0, done.stderr


def write_log(path, size):
    """The entries of a log of blklogwrites that lie within its first `size` bytes: (sector, data, flags)."""
    entries, at = [], SECTOR
    with open(path, "rb") as log:
        log.seek(SECTOR)
        while at + SECTOR <= size:
            sector, count, flags, _ = struct.unpack("<QQQQ", log.read(SECTOR)[:32])
            length = 0 if flags & DISCARD else count * SECTOR
            if at + SECTOR + length > size or (count == 0 and flags == 0):
                break
            entries.append((sector, log.read(length), flags, count))
            at += SECTOR + length
    return entries


def left_by_a_power_failure(base, entries, chance, output):
    """The disk's content: everything up to the last flush, and of the rest what chance leaves."""
    last_flush = max((i for i, entry in enumerate(entries) if entry[2] & FLUSH), default=0)
    shutil.copyfile(base, output)
    with open(output, "r+b") as image:
        for i, (sector, data, flags, count) in enumerate(entries):
            if i >= last_flush and not flags & FUA and chance.random() < 0.5:
                continue
            image.seek(sector * SECTOR)
            image.write(bytes(count * SECTOR) if flags & DISCARD else data)


def record(number):
    return b"".join(struct.pack("<Q", (number * 0x9e3779b97f4a7c15 + i) % (1 << 64)) for i in range(RECORD // 8))


def records_of(image, folder):
    """How many records the file on the image has; the file system is repaired as a boot would do it, and then sound."""
    repaired = tool("e2fsck", "-f", "-p", str(image))
    assert repaired.returncode in (0, 1), (repaired.returncode, repaired.stdout)
    assert tool("e2fsck", "-f", "-n", str(image)).returncode == 0
    copy = folder / "f"
    copy.unlink(missing_ok=True)
    tool("debugfs", "-R", f"dump f {copy}", str(image))
    data = copy.read_bytes() if copy.exists() else b""
    for number in range(len(data) // RECORD):
        assert data[number * RECORD:(number + 1) * RECORD] == record(number), f"record {number} of {image}"
    return len(data) // RECORD


def next_record(run):
    run.wait("web", "RECORD ")
    return int(run.wait_line("web"))


def last_record(run):
    """The last that the guest has seen acknowledged before it last looked."""
    before = run.text("web").rpartition("IOPROBE check ")[0]
    return max(int(number) for number in re.findall(r"^RECORD (\d+)\r?$", before, re.M))


def test_no_acknowledged_write_is_lost(tmp_path):
    files = {"kernel": os.path.join(LINUX, "vmlinuz-cloud"), "initrd": os.path.join(LINUX, "initrd-disk")}
    if not all(os.path.exists(path) for path in files.values()):
        pytest.skip("the guests are not built: run `make guests`")
    chance = random.Random(SEED)
    base, image, log = tmp_path / "base", tmp_path / "image", tmp_path / "log"
    file_system(base)
    shutil.copyfile(base, image)
    log.write_bytes(b"")
    acknowledged = []                     # (record, the log's size when its acknowledgement was seen)
    node = (f"driver=blklogwrites,node-name=disk,log-sector-size={SECTOR},file.driver=file,file.filename={image},"
            f"log.driver=file,log.filename={log}")
    with System("qemu-1", CONF % RUN, files=files, directory=tmp_path / "run", seconds=180,
                memory_mib=512, emulator_options=["-blockdev", node, "-device",
                                                  "virtio-blk-pci,drive=disk,disable-legacy=on"]) as run:
        run.wait("web", "SEPTUM-GO")
        for kill in range(KILLS):
            for _ in range(chance.randrange(1, 30)):
                acknowledged.append((next_record(run), os.path.getsize(log)))
            if kill % 3 == 2:
                run.monitor("derail block-server")
                run.wait("system", "block-server: started again")
            else:
                run.monitor("reset web")
                run.wait("web", "IOPROBE check ")
                kept, last = int(run.wait_line("web")), last_record(run)
                assert kept > last, f"record {last} was acknowledged, and {kept} are there"
    for replay in range(REPLAYS):
        number, size = chance.choice(acknowledged)
        everything = write_log(log, os.path.getsize(log))
        known = len(write_log(log, size))
        point = min(len(everything), known + chance.randrange(0, 20))
        left = tmp_path / "left"
        left_by_a_power_failure(base, everything[:point], chance, left)
        kept = records_of(left, tmp_path)
        assert kept > number, f"replay {replay} to entry {point}: record {number} was acknowledged, and {kept} are there"
