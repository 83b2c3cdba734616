"""A device's registers by instructions of x87 and SSE: the VMM executes them with the guest's own registers."""
import os

import pytest

from guests import System
from machines import ROOT

VECTORS = os.path.join(ROOT, "build", "guests", "tiny", "vectors")
CONF = 'partition one {\n memory 16M\n console uart\n boot linux {\n  kernel "tiny"\n }\n}\n'


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
def test_float_and_vector_instructions_reach_a_device(machine, tmp_path):
    if not os.path.exists(VECTORS):
        pytest.skip("the guests are not built: run `make guests`")
    with System(machine, CONF, files={"tiny": VECTORS}, flavour="release", directory=tmp_path / "run",
                memory_mib=512, seconds=90) as run:
        run.wait("one", "VECTORS ")
        assert run.wait_line("one").strip() == "good"
