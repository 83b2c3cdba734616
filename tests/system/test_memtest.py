"""memtest86+ over a small memory: a whole pass of it."""
import os
import re

import pytest

from guests import System
from machines import ROOT

MEMTEST = os.path.join(ROOT, "build", "guests", "zoo", "memtest86+x64.bin")
CONF = ('partition one {\n memory 8M\n board pc\n console uart\n boot linux {\n  kernel "memtest"\n'
        '  command-line "console=ttyS0,115200 nosmp nopause nobench"\n }\n}\n')


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
def test_a_pass_of_memtest_finds_no_error(machine, tmp_path):
    """Its tests from 0 to 9. The last one, bit fade, waits for minutes of the guest's time in a loop, which an emulator
    that counts instructions takes far longer for: memtest's own menu takes it out of the list."""
    if not os.path.exists(MEMTEST):
        pytest.skip("memtest86+ is not there: run `make guests-zoo`")
    with System(machine, CONF, files={"memtest": MEMTEST}, flavour="release", directory=tmp_path / "run", memory_mib=256,
                seconds=300) as run:
        run.wait("one", "Testing")
        for key, answer in [("1", "Settings:"), ("1", "Test Selection:"), ("2", "Enter test #"), ("10\r", "*.********."),
                            ("0", "Settings:"), ("0", "Testing")]:
            run.type("one", key)
            run.wait("one", answer)
        run.wait("one", "Pass:  1", seconds=600)
        run.wait("one", "Errors: 0")
        assert not re.search(r"Errors: +[1-9]", run.text("one"))
