"""What partitioning is for: a real-time guest wakes in time while its neighbour takes all that it can get."""
import os
import re

import pytest

from guests import MONITOR, SYSTEM, System
from machines import ROOT

GUESTS = os.path.join(ROOT, "build", "guests")
REPORT = re.compile(r"METRONOME periods (\d+) min (\d+) median (\d+) p99 (\d+) max (\d+) missed (\d+) "
                    r"check 0x(\w+)\r?\n")
PERIODS, PERIODS_LATE = 50, 10           # of one report; those of a guest that waits for time slices
LATE_MOST = 20000                        # instructions: bench/limits.txt
AUDITS = 10                              # one alone may fall between two wake-ups
AUDIT_LATE_MOST = 50000                  # a slice of 15 us, and a call that begins at its end: seen up to 34,152


def divided(a, b):
    """As C divides: towards zero."""
    return abs(a) // b * (1 if a >= 0 else -1)


def check_sum(steps):
    """What guests/metronome/control.c must come to: the same loop, written from the description there."""
    value = integral = 0
    noise, total = 1, 0xcbf29ce484222325
    for step in range(steps):
        noise = (noise * 1664525 + 1013904223) & 0xffffffff
        seen = value + (noise >> 12 & 0x3ff) - 512
        error = (80 if step // 128 % 2 else 20) * 256 - seen
        wanted = 3 * error + divided(integral, 8)
        output = max(0, min(wanted, 120 * 256))
        integral += error if output == wanted else 0
        value += divided(output - value, 16)
        for number in (seen, output):
            total = (total ^ (number & 0xffffffff)) * 0x100000001b3 & (1 << 64) - 1
    return total


def start(machine, name, load, periods):
    """configs/NAME.conf, with one of guests/tiny instead of Linux if `load` is not that."""
    with open(os.path.join(ROOT, "configs", name + ".conf")) as file:
        conf = re.sub(r'"\.\./build/guests/\w+/([\w.-]+)"', r'"\1"', file.read())
    files = {"metronome": f"{GUESTS}/metronome/metronome"}
    if load == "linux":
        files.update({"vmlinuz-cloud": f"{GUESTS}/linux/vmlinuz-cloud", "initrd": f"{GUESTS}/linux/initrd"})
    else:
        files[load] = f"{GUESTS}/tiny/{load}"
        neighbour = f'partition load {{ boot linux {{ kernel "{load}" }} console uart }}'
        conf = re.sub(r"partition load \{.*?^\}", neighbour, conf, flags=re.M | re.S)
    return System(machine, conf.replace("periods=1000", f"periods={periods}"), files=files, flavour="release",
                  seconds=400, directory=os.path.join(ROOT, "build", "runs", f"{name}-{load}-{machine}"))


def found(system):
    """What all reports say, in their order."""
    return [[int(number, 16 if i == 6 else 10) for i, number in enumerate(one)]
            for one in REPORT.findall(system.text("metronome"))]


def reports_under_load(machine, name, load, periods):
    """The check sums of all reports, and (min, median, p99, max, missed) of two that began under load."""
    with start(machine, name, load, periods) as system:
        system.wait("load", "SEPTUM-GUEST-UP")
        first = len(found(system)) + 1   # the one that has begun already is left out
        system.run_for(lambda: len(found(system)) >= first + 2)
        whole = found(system)
    return [one[6] for one in whole], [one[1:6] for one in whole[first:]]


# Linux makes and ends processes; `exits` floods its VMM; `spin` never leaves by itself. In Bochs only that is quick.
@pytest.mark.parametrize("machine, load", [("qemu-count", "linux"), ("qemu-count", "exits"), ("vmx-1", "spin")])
def test_share_and_priority_keep_time(machine, load):
    """With share and priority set, no wake-up is late and no period is missed, and the loop does what it should."""
    sums, late = reports_under_load(machine, "metronome", load, PERIODS)
    for i, total in enumerate(sums):
        assert total == check_sum(PERIODS * (i + 1)), f"report {i} has the check sum {total:#x}"
    for least, median, p99, most, missed in late:
        assert 0 < least <= median <= p99 <= most
        assert p99 <= LATE_MOST and not missed, f"of the late ones: {late}"


def test_an_audit_makes_no_wake_up_late():
    """Root goes before all partitions; while it audits it takes little at a time, and no call of it is long."""
    with start("qemu-count", "metronome", "spin", PERIODS) as system:
        system.wait("load", "SEPTUM-GUEST-UP")
        system.run_for(lambda: found(system))
        before = len(found(system))
        for _ in range(AUDITS):
            system.type(SYSTEM, "audit\r")
            system.wait(MONITOR, "capabilities")
        after = len(found(system))
        system.run_for(lambda: len(found(system)) > after)
        during = found(system)[before:]
    assert max(one[4] for one in during) <= AUDIT_LATE_MOST and not any(one[5] for one in during), during


@pytest.mark.parametrize("machine", ["qemu-count", "vmx-1"])
def test_without_them_it_takes_turns(machine):
    """The same without: the load really is one, and what keeps the time above is share and priority."""
    sums, late = reports_under_load(machine, "metronome-unset", "spin", PERIODS_LATE)
    assert sums[-1] == check_sum(PERIODS_LATE * len(sums))
    for _, median, _, _, missed in late:
        assert median > 10 * LATE_MOST and missed > PERIODS_LATE, f"of the late ones: {late}"
