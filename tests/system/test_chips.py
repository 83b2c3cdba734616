"""The chips of a `pc`, driven by a tiny guest through their interrupts."""
import os

import pytest

from guests import System
from machines import ROOT

CHIPS = os.path.join(ROOT, "build", "guests", "tiny", "chips")
NAMES = {"all": "old", "button": "pressed"}
CONF = "".join(f'partition {name} {{\n memory 16M\n board pc\n console uart\n test-device yes\n boot linux {{\n  kernel "tiny"\n'
               f'  command-line "{word}"\n }}\n}}\n' for word, name in NAMES.items())


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
def test_the_chips_interrupt_and_keep_time(machine, tmp_path):
    if not os.path.exists(CHIPS):
        pytest.skip("the guests are not built: run `make guests`")
    with System(machine, CONF, files={"tiny": CHIPS}, flavour="release", directory=tmp_path / "run",
                memory_mib=512, seconds=90) as run:
        run.wait("pressed", "CHIPS waits for its button")
        run.monitor("power pressed")
        run.wait("pressed", "CHIPS the power button's interrupt: good")
        run.wait("system", "pressed: the guest has powered off")
        run.wait("system", "old: the guest ends by its debug-exit port, with 42")
        run.wait("old", "SEPTUM-GUEST-OK chips")
        for line in ("firmware: said to 0x402", "debug console: said to 0xe9", "second serial port: said to COM2",
                     "printer: printed"):
            assert f"old: {line}" in run.text("system")
