"""Six different systems at once: configs/zoo.conf, as `septum run` starts it."""
import os
import subprocess

import pytest

from machines import ROOT

EXPECTED = ["linux: SEPTUM-GUEST-UP linux", "linux-32: SEPTUM-GUEST-UP linux-32", "debian: SEPTUM-GUEST-UP debian",
            "mach: MACH-GUEST done", "metronome: METRONOME periods", "memtest: Testing"]


def test_six_systems_run_at_once():
    """Each says what it says alone: two Linux systems, a real-time kernel, Mach's tasks, a BIOS's disk, a memory test."""
    if not os.path.exists(os.path.join(ROOT, "build", "guests", "zoo", "memtest86+x64.bin")):
        pytest.skip("the other systems are not there: run `make guests-zoo`")
    command = [os.path.join(ROOT, "build", "septum"), "run", "configs/zoo.conf", "--timeout", "900"]
    for line in EXPECTED:
        command += ["--expect", line]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=1000,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert done.stdout.count("-GUEST-UP ") >= 5
