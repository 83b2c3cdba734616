"""What Linux makes of virtio devices with several queues, and of packed rings: on both boards."""
import hashlib
import os
import re
import socket

import pytest

from guests import System
from machines import ROOT

LINUX = os.path.join(ROOT, "build", "guests", "linux")
BOARDS = pytest.mark.parametrize("board", ["lean", "pc"])
PACKED, MQ = 34, 22


def system(machine, conf, tmp_path, board, options=()):
    files = {"kernel": os.path.join(LINUX, "vmlinuz-cloud"),
             "initrd": os.path.join(LINUX, "initrd-pc-cloud" if board == "pc" else "initrd-disk"),
             "echo.elf": os.path.join(ROOT, "build", "debug", "examples", "echo.elf"), "image": bytes(1 << 16)}
    for path in [files["kernel"], files["initrd"]]:
        if not os.path.exists(path):
            pytest.skip("the guests are not built: run `make guests`")
    return System(machine, conf, files=files, directory=tmp_path / "run", memory_mib=512, seconds=400,
                  emulator_options=options)


def conf(board, uses, rings="split", volume='volume data { file "image" access private changes 1M }', vcpus=2):
    console, device = ("uart", "ttyS0") if board == "pc" else ("virtio", "hvc0")
    return (f"{volume}\nnetwork inside {{ host 10.0.0.1/24 }}\n"
            'task echo { program "echo.elf" network inside }\n'
            f"partition web {{\n memory 128M\n vcpus {vcpus}\n board {board}\n console {console}\n"
            f" device random\n rings {rings}\n {uses}\n boot linux {{\n"
            f'  kernel "kernel"\n  initrd "initrd"\n  command-line "quiet console={device} septum.name=web"\n }}\n}}\n')


def said(run, command, pattern):
    """Types a command into the guest; what the pattern finds in its answer, behind the word that ends it."""
    said.count += 1
    start = len(run.text("web"))
    run.type("web", f"{command}; echo END-$((41*1000+{said.count}))\n")
    run.wait("web", f"END-{41000 + said.count}")
    return re.findall(pattern, run.text("web")[start:])


said.count = 0


def md5(line):
    return hashlib.md5((line.encode() * 8192)[:8192]).hexdigest()


@BOARDS
def test_linux_uses_all_queues(board, tmp_path):
    """A guest of two vCPUs: its card has two pairs of queues, which both vCPUs use; its disk has two queues."""
    with system("qemu-2" if board == "pc" else "qemu-1", conf(board, "disk data\n network inside", "packed"), tmp_path, board) as run:
        run.wait("web", "SEPTUM-GUEST-UP web")
        # A driver takes packed rings wherever they are offered (bit n is the n-th character).
        features = said(run, "cat /sys/bus/virtio/devices/*/features", r"\b[01]{64}\b")
        assert len(features) == (3 if board == "pc" else 4)     # random numbers, disk, card; and the console
        assert {bits[PACKED] for bits in features} == {"1"}
        assert sum(bits[MQ] == "1" for bits in features) == 1
        queues = said(run, "ls /sys/class/net/eth0/queues /sys/block/vda/mq", r"\b(?:[rt]x-)?\d+\b(?=\s)")
        assert {"rx-0", "rx-1", "tx-0", "tx-1", "0", "1"} <= set(queues)
        said(run, "ip a a 10.0.0.2/24 dev eth0; ip link set eth0 up", "")
        for vcpu in [0, 1] * 3:
            run.type("web", f"echo back-$((6*7+{vcpu})) | taskset -c {vcpu} nc -w 60 10.0.0.1 7\n")
            run.wait("web", f"back-{42 + vcpu}")
            # Past the page cache: the volume's changes are written and read by this vCPU's queue.
            said(run, f"yes line-{vcpu} | taskset -c {vcpu} dd of=/dev/vda bs=4k count=2 iflag=fullblock oflag=direct", "")
            assert said(run, f"taskset -c {vcpu} dd if=/dev/vda bs=4k count=2 iflag=direct 2>&- | md5sum",
                        r"\b[0-9a-f]{32}\b") == [md5(f"line-{vcpu}\n")]
        if board == "pc":
            lines = said(run, "cat /proc/interrupts", r"(\d+) +(\d+) .*-(input|req)\.(\d)")
            used = {(kind, number) for first, second, kind, number in lines if int(first) + int(second)}
            assert used == {("input", "0"), ("input", "1"), ("req", "0"), ("req", "1")}
        assert "broke a rule" not in run.text("system")
        assert "passed" in run.monitor("audit")


def flushes(path):
    """How often the disk has been flushed, as QEMU counts it."""
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(path)
        monitor.sendall(b"info blockstats\ninfo uuid\n")
        text = b""
        while b"0000-000000000000" not in text:
            text += monitor.recv(1 << 16)
    return int(re.search(rb"flush_operations=(\d+)", text).group(1))


@pytest.mark.parametrize("rings", ["split", "packed"])
def test_linux_turns_a_disks_cache_off(rings, tmp_path):
    """With the cache on writes are not flushed; turning it off flushes once, then each write is; and on again."""
    image = tmp_path / "disk"
    image.write_bytes(bytes(1 << 20))
    options = ["-drive", f"file={image},format=raw,if=none,id=disk0", "-device", "virtio-blk-pci,disable-legacy=on,drive=disk0",
               "-monitor", f"unix:{tmp_path}/m,server,nowait"]
    write = "i=0; while [ $i -lt 20 ]; do dd if=/dev/zero of=/dev/vda bs=4k count=1 seek=$i oflag=direct 2>&-; i=$((i+1)); done"
    kind = "cat /sys/block/vda/cache_type"
    with system("qemu-1", conf("lean", "disk data", rings, "volume data { disk 0 }", 1), tmp_path, "lean", options) as run:
        run.wait("web", "SEPTUM-GUEST-UP web")
        path = f"{tmp_path}/m"
        assert said(run, kind, "write (?:back|through)") == ["write back"]
        before = flushes(path)
        said(run, write, "")
        assert flushes(path) == before
        assert said(run, f"echo write through > /sys/block/vda/cache_type; {kind}", r"write (?:back|through)(?=\r)") == ["write through"]
        assert flushes(path) == before + 1
        said(run, write, "")
        assert flushes(path) == before + 21
        assert said(run, f"echo write back > /sys/block/vda/cache_type; {kind}", r"write (?:back|through)(?=\r)") == ["write back"]
        said(run, write, "")
        assert flushes(path) == before + 21
        said(run, "dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct conv=fsync 2>&-", "")
        assert flushes(path) == before + 22
