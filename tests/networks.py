"""Guests with networks, driven by tests: their partition files, their cards, commands typed into them."""
import os
import socket

import pytest

from guests import System
from machines import ROOT

GUESTS = os.path.join(ROOT, "build", "guests", "linux")
LINUX = {"kernel": os.path.join(GUESTS, "vmlinuz-cloud"), "initrd": os.path.join(GUESTS, "initrd-disk")}


def partition(name, cards, run, uses=""):
    uses += "".join(f" network {card}\n" for card in cards)
    return (f'partition {name} {{\n memory 96M\n{uses} boot linux {{\n  kernel "kernel"\n  initrd "initrd"\n'
            f'  command-line "quiet console=hvc0 septum.name={name} septum.run=\'{run}\'"\n }}\n}}\n')


def up(*addresses):
    return " ".join(f"ip a a {address}/24 dev eth{n}; ip link set eth{n} up;" for n, address in enumerate(addresses))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def card(port, kind="virtio-net-pci,disable-legacy=on"):
    return ["-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:80", "-device", f"{kind},netdev=n0"]


def system(conf, tmp_path, emulator_options=(), files=(), machine="qemu-1"):
    for path in LINUX.values():
        if not os.path.exists(path):
            pytest.skip("the guests are not built: run `make guests`")
    return System(machine, conf, files={**LINUX, **dict(files)}, directory=tmp_path / "run", seconds=240,
                  emulator_options=emulator_options)


def command(run, who, words, answer):
    """Types a command; the answer is what it prints, and not part of the command itself."""
    run.type(who, words + "\n")
    return run.wait(who, answer)
