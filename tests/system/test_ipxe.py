"""Booting from the network: iPXE, unmodified, from Debian's package, with what Septum serves by DHCP and HTTP; and the files
that Septum serves, seen from outside."""
import hashlib
import json
import os
import random
import socket
import subprocess

import pytest

from bundle import build_path
from guests import System
from machines import ROOT
from networks import card, free_port

GUESTS = os.path.join(ROOT, "build", "guests")
FIRMWARE = os.path.join(ROOT, "build", "firmware")

def needed(*paths):
    for path in paths:
        if not os.path.exists(path):
            pytest.skip(f"{os.path.relpath(path, ROOT)} is not there: run `make guests guests-zoo`")


def test_the_shipped_file_boots_linux_by_http():
    """configs/ipxe.conf: SeaBIOS runs the card's ROM, which is iPXE. Without counted instructions, because iPXE waits busily."""
    needed(os.path.join(GUESTS, "zoo", "pxe-virtio.rom"), os.path.join(GUESTS, "linux", "initrd-pc-cloud"))
    command = [os.path.join(ROOT, "build", "septum"), "run", "configs/ipxe.conf", "--timeout", "500"]
    for line in ["Filename: http://10.0.0.1/files/linux.ipxe", "initrd... ok", "SEPTUM-GUEST-UP netboot"]:
        command += ["--expect", "netboot: " + line]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=600,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


BOOTS = """
network lan {
    host 10.0.0.1/24
    dhcp yes
    http 80
    serve "linux.ipxe" "linux.ipxe"
    serve "vmlinuz" "vmlinuz"
    serve "initrd" "initrd"
    boot-file "linux.ipxe"
}
partition netboot {
    memory 128M
    board pc
    console vga
"""
# In the card's ROM, and on a CD, with drivers of its own.
WAYS = {"rom": ("pxe-virtio.rom", 'boot bios { order network }\n network lan { rom "ipxe" }\n}'),
        "cdrom": ("ipxe.iso", 'boot bios { order cdrom }\n cdrom cd\n network lan\n}\nvolume cd { file "ipxe" access read-only }')}


@pytest.mark.parametrize("way", list(WAYS))
def test_rom_and_cd_boot_linux_on_vt_x(way, tmp_path):
    """iPXE waits some fifteen seconds of its clock: on a machine where these are no 50,000 million instructions."""
    linux, (image, words) = os.path.join(GUESTS, "linux"), WAYS[way]
    files = {"linux.ipxe": os.path.join(ROOT, "configs", "linux.ipxe"), "vmlinuz": os.path.join(linux, "vmlinuz-cloud"),
             "initrd": os.path.join(linux, "initrd-pc-cloud"), "ipxe": os.path.join(GUESTS, "zoo", image),
             **{f"firmware/{name}": os.path.join(FIRMWARE, name) for name in os.listdir(FIRMWARE)}}
    needed(*files.values())
    with System("vmx-measured", BOOTS + words, files=files, flavour="release", directory=tmp_path / "run", memory_mib=512,
                seconds=400, programs={"net-server": build_path("release", "net-server.elf"),
                                       "block-server": build_path("release", "block-server.elf")}) as run:
        for line in ["Filename: http://10.0.0.1/files/linux.ipxe", "initrd... ok", "SEPTUM-GUEST-UP netboot"]:
            run.wait("netboot", line)


# ---- the files, from outside ------------------------------------------------------------------------------------

SERVED = """
network outside {
    uplink 0
    host dhcp
    http 80
    serve "large.bin" "large"
    serve "one" "one"
}
network inside {
    host 10.0.0.1/24
    http 80
    serve "secret" "secret"
}
task echo { program "echo.elf" network outside }
"""
LARGE_BYTES = (20 << 20) + 4321
ABSENT = ["/files", "/files/", "/files/secret", "/files/large", "/files/large.bin/", "/files//one", "/files/../files/one",
          "/files/%6fne", "/one", "/file/one", "/files/file/one", "/files/" + "x" * 40]


def served(tmp_path, port):
    large = random.Random(7).randbytes(LARGE_BYTES)
    run = System("qemu-1", SERVED, files={"large": large, "one": b"1", "secret": b"hidden",
                                          "echo.elf": build_path("release", "examples/echo.elf")},
                 flavour="release", directory=tmp_path / "run", memory_mib=512, seconds=240, emulator_options=card(port))
    return run, large


def connect(port, path):
    connection = socket.create_connection(("127.0.0.1", port), 120)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return connection


def receive(connection, most=1 << 62):
    """Up to so many bytes, or up to the end."""
    answer = b""
    while len(answer) < most:
        data = connection.recv(min(1 << 16, most - len(answer)))
        if not data:
            break
        answer += data
    return answer


def get(port, path):
    with connect(port, path) as connection:
        head, _, body = receive(connection).partition(b"\r\n\r\n")
    return head.decode(), body


def is_large(head, body, large):
    return (head.startswith("HTTP/1.1 200 OK") and f"Content-Length: {LARGE_BYTES}" in head
            and hashlib.sha256(body).digest() == hashlib.sha256(large).digest())


def server_of(port, run):
    """What the page tells of the server, which answers before root has told it of any task."""
    found = []

    def told():
        found[:] = [task for task in json.loads(get(port, "/status.json")[1])["tasks"] if task["name"] == "net-server"]
        return found
    run.run_for(told)
    return found[0]


def test_files_are_served_as_they_are(tmp_path):
    """A file of 20 MiB, a byte, two at once, one that is broken off; no other path, and none of another network. The server
    needs no more memory for it."""
    port = free_port()
    run, large = served(tmp_path, port)
    with run:
        run.wait("system", "Septum is 10.0.2.15; its status page is at port 80")
        head, body = get(port, "/files/one")
        assert head.startswith("HTTP/1.1 200 OK") and "Content-Length: 1" in head and body == b"1"
        assert is_large(*get(port, "/files/large.bin"), large)
        for path in ABSENT:
            head, body = get(port, path)
            assert head.startswith("HTTP/1.1 404") and b"hidden" not in body, path
        with connect(port, "/files/large.bin") as first, connect(port, "/files/large.bin?x=y") as second:
            halves = receive(first, LARGE_BYTES // 2), receive(second, LARGE_BYTES // 3)
            with connect(port, "/files/large.bin") as broken:
                assert receive(broken, 100000).startswith(b"HTTP/1.1 200 OK")
            for begun, connection in zip(halves, (first, second)):
                head, _, body = (begun + receive(connection)).partition(b"\r\n\r\n")
                assert is_large(head.decode(), body, large)
        server = server_of(port, run)
        assert server["restarts"] == 0 and server["memory_bytes"] < 2 << 20


def test_hostile_requests_for_files_do_no_harm(tmp_path):
    """What is no request gets no file, and who asks in the proper way is served afterwards."""
    port, noise = free_port(), random.Random(5)
    requests = [b"GET /files/" + b"x" * 60000, b"GET /files/one", b"POST /files/one HTTP/1.1\r\n\r\n", b"GET  /files/one\r\n\r\n",
                b"PUT /files/one HTTP/1.1\r\nContent-Length: 5\r\n\r\n00000", b"GET /files/\0one HTTP/1.1\r\n\r\n",
                b"GET /files/" + b"../" * 300 + b"one HTTP/1.1\r\n\r\n", b"GET /files/" + b"%" * 50 + b" HTTP/1.1\r\n\r\n"]
    requests += [b"GET /files/" + noise.randbytes(noise.randrange(1, 900)) + b" HTTP/1.1\r\n\r\n" for _ in range(30)]
    run, large = served(tmp_path, port)
    with run:
        run.wait("system", "Septum is 10.0.2.15; its status page is at port 80")
        for request in requests:
            with socket.create_connection(("127.0.0.1", port), 120) as connection:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                try:
                    answer = receive(connection)
                except ConnectionResetError:
                    continue
                assert not answer.startswith(b"HTTP/1.1 200"), request[:60]
        assert is_large(*get(port, "/files/large.bin"), large)
        assert server_of(port, run)["restarts"] == 0
