"""A Linux guest on a disk and a network while the real block-server and net-server live, die and are started again."""
import http.client
import json
import os
import socket
import urllib.request

import pytest

from bundle import build_path
from guests import System
from machines import ROOT

LINUX = os.path.join(ROOT, "build", "guests", "linux")
DISK_BYTES = 16 << 20


def conf(uses):
    return ("volume data { disk 0 }\nnetwork outside { uplink 0 host dhcp http 80 }\n"
            f"partition web {{\n memory 128M\n {uses}\n boot linux {{\n"
            '  kernel "kernel"\n  initrd "initrd"\n  command-line "quiet console=hvc0 septum.name=web"\n }\n}\n')


def system(machine, uses, tmp_path, devices=()):
    files = {"kernel": os.path.join(LINUX, "vmlinuz-cloud"), "initrd": os.path.join(LINUX, "initrd-disk")}
    for path in files.values():
        if not os.path.exists(path):
            pytest.skip("the guests are not built: run `make guests`")
    image = tmp_path / "image"
    image.write_bytes(bytes(DISK_BYTES))
    return System(machine, conf(uses), files=files, directory=tmp_path / "run", seconds=180, memory_mib=512,
                  programs={name: build_path("debug", name + ".elf") for name in ["block-server", "net-server"]},
                  emulator_options=["-drive", f"file={image},format=raw,if=none,id=disk", "-device",
                                    "virtio-blk-pci,drive=disk,disable-legacy=on", *devices])


PIECES, PIECE_BYTES = 24, 131072
# Short lines: the shell wraps what it echoes.
WRITE = ["i=0; while [ $i -lt 24 ]; do yes line-$i | head -c 131072 >/tmp/p",
         "dd if=/tmp/p of=/dev/vda bs=64k seek=$((i*2)) conv=fsync || echo WRITE-FAILED",
         "i=$((i+1)); echo PIECE-$i; done"]


def test_a_guest_goes_on_writing_while_the_block_server_dies(tmp_path):
    """What the guest has written and synchronized is on the disk, whatever became of the server meanwhile."""
    with system("qemu-1", "disk data", tmp_path) as run:
        run.wait("web", "SEPTUM-GUEST-UP web")
        for line in WRITE:
            run.type("web", line + "\n")
        for piece in range(1, PIECES, 5):
            run.wait("web", f"PIECE-{piece}\r")
            run.monitor("derail block-server")
            run.wait("system", "block-server: started again")
        run.wait("web", f"PIECE-{PIECES}\r")
        assert run.text("web").count("WRITE-FAILED\r") == 1          # as it was typed
        assert "audit: passed, but DMA not confined: block-server" in run.monitor("audit")
    data = (tmp_path / "image").read_bytes()
    for i in range(PIECES):
        wanted = (f"line-{i}\n".encode() * PIECE_BYTES)[:PIECE_BYTES]
        assert data[i * PIECE_BYTES:(i + 1) * PIECE_BYTES] == wanted, f"piece {i}"


def page(run, port):
    """The status page's facts; asked for until they come, while the machine's consoles are read."""
    def ask():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=5) as answer:
                got.append(json.load(answer))
        except (OSError, http.client.HTTPException):
            pass
        return got
    got = []
    run.run_for(ask)
    return json.dumps(got[0])


def test_the_status_page_before_and_after_the_network_servers_death(tmp_path):
    """What root writes about the system is what the page shows, also in the server's second life."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    card = ["-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:80", "-device", "e1000,netdev=net"]
    with system("qemu-1", "disk data\n network outside", tmp_path, card) as run:
        run.wait("web", "SEPTUM-GUEST-UP web")
        text = page(run, port)
        for word in ["web", "console-server", "block-server", "net-server", "DMA not confined: block-server, net-server"]:
            assert word in text
        run.monitor("derail net-server")
        run.wait("system", "net-server: started again")
        assert "DMA not confined: block-server, net-server" in page(run, port)
        assert "started again 1 times" in run.monitor("info net-server")
