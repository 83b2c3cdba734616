"""GNU Mach, unmodified, beside Linux: it makes tasks, threads and ports, and its tasks talk to each other."""
import os
import re

import pytest

from guests import System
from machines import ROOT

GUESTS = os.path.join(ROOT, "build", "guests")
WORKERS, HOPS, CALLS = 4, 1000, 4112
LINUX = re.compile(r"^partition linux \{.*?^\}\n", re.M | re.S)


def token():
    """What the ring of tasks must come to: guests/mach-bootstrap/main.c."""
    value = 1
    for hop in range(HOPS):
        value = (value * 31 + hop % WORKERS) & 0xffffffff
    return value


def start(machine, linux):
    """configs/mach-and-linux.conf, or its Mach alone."""
    with open(os.path.join(ROOT, "configs", "mach-and-linux.conf")) as file:
        conf = re.sub(r'"\.\./build/guests/\w+/([\w.-]+)"', r'"\1"', file.read())
    files = {"gnumach": f"{GUESTS}/zoo/gnumach", "mach-bootstrap": f"{GUESTS}/mach/mach-bootstrap"}
    if linux:
        files.update({"vmlinuz-cloud": f"{GUESTS}/linux/vmlinuz-cloud", "initrd": f"{GUESTS}/linux/initrd"})
    else:
        conf = LINUX.sub("", conf)
    return System(machine, conf, files=files, flavour="release", seconds=400,
                  directory=os.path.join(ROOT, "build", "runs", f"mach-{machine}"))


# In Bochs the second of the two systems would take minutes.
@pytest.mark.parametrize("machine, linux", [("qemu-1", True), ("vmx-1", False)])
def test_mach_works(machine, linux):
    """The token of a ring of tasks is right, every call between tasks and between threads is answered."""
    with start(machine, linux) as system:
        system.wait("mach", "SEPTUM-GUEST-UP mach")
        system.wait("mach", "MACH-GUEST done")
        if linux:
            system.wait("linux", "SEPTUM-GUEST-UP linux")
            system.type("linux", "echo $((6*7))\n")
            system.wait("linux", "42")
        said = system.text("mach")
    assert "MACH-GUEST failed" not in said
    assert f"MACH-GUEST ring of {WORKERS} tasks, {HOPS} hops, token {token():x}" in said
    assert said.count(f"MACH-GUEST {CALLS} calls answered") == 2
    assert [int(ticks) > 0 for ticks in re.findall(r"MACH-GUEST rpc between \w+: (\d+) ticks", said)] == [True, True]
