"""Task switches by hardware: done by the processor where it can (QEMU), by the VMM where it leaves them to it (Bochs)."""
import os

import pytest

from guests import System
from machines import ROOT

GUEST = os.path.join(ROOT, "build", "guests", "tasks", "tasks")


# SDM 3A, 8.3, told by guests/tasks: numbers of segments, what is busy (the first task's bit, the other's), error codes.
BY_INSTRUCTIONS = [
    "other: task 0x20 nested 0x1 link 0x18 switched 0x1 window 0xb local 0x0 fs 0x4 busy 0x11",
    "back by IRET: task 0x18 nested 0x0 busy 0x10",
    "other: task 0x20 nested 0x1 link 0x18 switched 0x1 window 0xb local 0x0 fs 0x4 busy 0x11",
    "again: task 0x18 nested 0x0 busy 0x10",
    "other: task 0x20 nested 0x0 link 0x0 switched 0x1 window 0xb local 0x0 fs 0x4 busy 0x1",
    "back by JMP: task 0x18 nested 0x0 busy 0x10"]
BY_EVENTS = [
    "by INT: link 0x18 count 0x1 more 0x65 window 0xa",
    "fault: error 0x0 in 0x18 address 0x40000000 stack 0x0",
    "fault: error 0x2 in 0x18 address 0x40001234 stack 0x0",
    "interrupts 0xa link 0x18",
    "narrow: ax 0x1234 sp 0x4321 link 0x18 behind 0xe",
    "plain: link 0x48 bx 0x700 eip 0x3 flags 0x27000 gs 0x123",
    "fault: error 0x60 in 0x18 address 0x40001234 stack 0x0",
    "fault: error 0x60 in 0x18 address 0x40001234 stack 0x0",
    "fault: error 0x18 in 0x18 address 0x40001234 stack 0x0",
    "fault: error 0x8 in 0x50 address 0x40001234 stack 0x0",
    "fault: error 0x7000 in 0x50 address 0x40001234 stack 0x0",
    "fault: error 0x10 in 0x50 address 0x40001234 stack 0x0"]


def system(machine, tmp_path):
    if not os.path.exists(GUEST):
        pytest.skip("the guests are not built: run `make guests`")
    conf = 'partition one {\n memory 16M\n console uart\n on panic stop\n boot multiboot { kernel "tasks" }\n}\n'
    return System(machine, conf, files={"tasks": GUEST}, directory=tmp_path / "run", memory_mib=256, seconds=90)


def said(run):
    return [line[6:] for line in run.text("one").replace("\r", "").split("\n") if line.startswith("TASKS ")]


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
def test_tasks_are_switched_by_hardware(machine, tmp_path):
    """By CALL, IRET, JMP, INT n, exceptions and interrupts; to 16-bit, virtual-8086 and wrong tasks, and other page tables."""
    with system(machine, tmp_path) as run:
        run.wait("one", "TASKS all")
        run.wait("system", "its guest has powered off")
        assert said(run) == BY_INSTRUCTIONS + BY_EVENTS + ["all"]


def test_tasks_are_switched_by_instructions_on_amd_v(tmp_path):
    """Where AMD-V leaves them to the VMM (Bochs). It does not tell there what event a switch by a gate is for: the test ends before."""
    with system("svm-1", tmp_path) as run:
        run.wait("one", BY_INSTRUCTIONS[-1] + "\n")
        assert said(run)[:len(BY_INSTRUCTIONS)] == BY_INSTRUCTIONS
