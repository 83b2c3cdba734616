"""The rules of an entry to a guest: what the kernel names as broken is held against what Bochs says in its log."""
import re

import pytest

from machines import MACHINES, Missing


def broken(septum, machine, tests, folder):
    """Runs the tests: [(number, words of Bochs)] as the kernel told them."""
    try:
        with MACHINES[machine].boot(*septum, f"test={tests}", folder, silence_s=60) as run:
            lines = list(run.lines())
    except Missing as missing:
        pytest.skip(str(missing))
    assert not [line for line in lines if line.startswith("TEST fail")], "\n".join(lines)
    rules = [re.match(r"EVENT rule (\d+) (.*)", line) for line in lines]
    return [match.groups() for match in rules if match]


def complaints(folder, pattern):
    """The lines of Bochs' log that the pattern is found in."""
    with open(folder / "bochs.log", errors="replace") as log:
        return [line.rstrip() for line in log if pattern.search(line)]


def compare(rules, said):
    """Each rule has its complaint, in order, and there is no other."""
    differ = [(number, expected, heard) for (number, expected), heard in zip(rules, said)
              if expected not in heard]
    assert not differ, "\n".join(f"rule {n}: expected '{e}', Bochs: '{h}'" for n, e, h in differ)
    assert len(said) == len(rules)
