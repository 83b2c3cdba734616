"""What the kernel says to a machine that it can't run on: one sentence, and it stops."""
import struct

import pytest

from machines import Qemu


LAST_WORDS_S = 2


def boot_lines(cpu_model, words, septum, tmp_path):
    """All that it says, to LAST_WORDS_S behind the line that has the words: a processor that stands still ends no machine, and a
    kernel that went on would be at its tests in a tenth of that."""
    kernel, task = septum
    machine, lines = Qemu("odd", 1, cpu_model=cpu_model), []
    with machine.boot(kernel, task, "test=none", tmp_path / "run", silence_s=20, total_s=60) as run:
        for line in run.lines():
            lines.append(line)
            if run.last_moment is None and all(word in line for word in words):
                run.end_within(LAST_WORDS_S)
    return lines


@pytest.mark.parametrize("cpu_model, words", [
    ("EPYC-v3,+svm,+npt,-pat", ["page attribute tables"]),
    ("EPYC-v3,+svm,+npt,-pge", ["global pages"]),
    ("EPYC-v3,+svm,+npt,-syscall", ["SYSCALL"]),
    ("EPYC-v3,-svm", ["VT-x", "AMD-V"]),
    ("EPYC-v3,+svm,-npt", ["nested paging"]),
])
def test_a_lacking_processor_is_told_what_is_missing(cpu_model, words, septum, tmp_path):
    lines = boot_lines(cpu_model, words, septum, tmp_path)
    told = [line for line in lines if all(word in line for word in words)]
    assert told, "\n".join(lines)
    assert not any(line.startswith("TEST start") for line in lines)


def changed(task, tmp_path, place, value):
    """The test task with eight bytes of its ELF file replaced."""
    data = bytearray(open(task, "rb").read())
    data[place:place + 8] = struct.pack("<Q", value)
    path = tmp_path / "changed.elf"
    path.write_bytes(data)
    return str(path)


ENTRY, FIRST_SEGMENT, LAST_SEGMENT = 24, 64, 64 + 2 * 56      # in an ELF64 file whose headers are in a row


@pytest.mark.parametrize("place, value, words", [
    (ENTRY, 0x1000, "entry point"),
    (ENTRY, 2**63, "entry point"),
    (LAST_SEGMENT + 16, 0x7f0000000000, "not user addresses"),      # p_vaddr: above half of user space
    (FIRST_SEGMENT + 16, 2**64 - 4096, "not user addresses"),
    (FIRST_SEGMENT + 40, 2**63, "not user addresses"),              # p_memsz
    (FIRST_SEGMENT + 8, 2**64 - 4096, "outside the file"),          # p_offset
])
def test_a_first_program_that_lies_is_not_started(place, value, words, septum, tmp_path):
    kernel, task = septum
    assert struct.unpack_from("<Q", open(task, "rb").read(), 32)[0] == FIRST_SEGMENT
    module = changed(task, tmp_path, place, value)
    with Qemu("odd", 1).boot(kernel, module, "test=none", tmp_path / "run", silence_s=20, total_s=60) as run:
        told = next(line for line in run.lines() if "The boot module can't be started" in line)
    assert words in told
