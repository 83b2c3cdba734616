#!/usr/bin/python3
"""Make docs/status-page.png anew: the status page of configs/web-and-db.conf, as a browser shows it while the two guests
serve their page. Part of `make docs`; without Chromium the picture stays as it is.
"""
import os
import socket
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))

import browser  # noqa: E402
from guests import System  # noqa: E402

PICTURE = os.path.join(ROOT, "docs", "status-page.png")
CONF = os.path.join(ROOT, "configs", "web-and-db.conf")
WIDTH, SECONDS = 1160, 45              # so long the curves grow
GUESTS = os.path.join(ROOT, "build", "guests", "linux")


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def machine(folder, page, guest):
    """What `make run` starts, without changes to the guests' disk."""
    with open(CONF) as file:
        conf = file.read()
    files = {name: os.path.join(GUESTS, name) for name in ("vmlinuz-cloud", "initrd-disk")}
    for name in files:
        conf = conf.replace(f"../build/guests/linux/{name}", name)
    devices = ["-snapshot", "-drive", f"file={GUESTS}/web-and-db.img,format=raw,if=none,id=d0", "-device",
               "virtio-blk-pci,drive=d0,disable-legacy=on", "-netdev",
               f"user,id=n0,hostfwd=tcp:127.0.0.1:{page}-:80,hostfwd=tcp:127.0.0.1:{guest}-10.0.2.20:80", "-device",
               "virtio-net-pci,netdev=n0,disable-legacy=on"]
    return System("qemu-1", conf, files=files, flavour="release", directory=os.path.join(folder, "run"), memory_mib=512,
                  seconds=240, emulator_options=devices)


def main():
    if not browser.program():
        print("docs/status-page.png: left as it is, because Chromium is not there (make setup-test)")
        return
    page_port, guest_port = free_ports(2)
    with tempfile.TemporaryDirectory() as folder, machine(folder, page_port, guest_port) as run, \
            browser.Browser(os.path.join(folder, "browser")) as chromium:
        for name in ("web", "db"):
            run.wait(name, f"SEPTUM-GUEST-UP {name}")
        page = chromium.open(f"http://127.0.0.1:{page_port}/", WIDTH)
        end = time.monotonic() + SECONDS

        def over():
            try:                       # something for the guests to do
                urllib.request.urlopen(f"http://127.0.0.1:{guest_port}/", timeout=5).read()
            except OSError:
                pass
            return time.monotonic() > end
        run.run_for(over)
        page.screenshot(PICTURE)
        print(f"{os.path.relpath(PICTURE, ROOT)}: made")


if __name__ == "__main__":
    main()
