"""Device memory by instructions of x87, SSE and AVX: the VMM executes them with the guest's own registers."""
import os

import pytest

from guests import System
from machines import ROOT

VECTORS, AVX = (os.path.join(ROOT, "build", "guests", "tiny", name) for name in ("vectors", "avx"))
CONF = 'partition one {\n memory 16M\n console uart\n boot linux {\n  kernel "tiny"\n }\n}\n'
SCREEN_CONF = CONF.replace("console uart", "board pc\n console vga")


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
def test_float_and_vector_instructions_reach_a_device(machine, tmp_path):
    if not os.path.exists(VECTORS):
        pytest.skip("the guests are not built: run `make guests`")
    with System(machine, CONF, files={"tiny": VECTORS}, flavour="release", directory=tmp_path / "run",
                memory_mib=512, seconds=90) as run:
        run.wait("one", "VECTORS ")
        assert run.wait_line("one").strip() == "good"


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
def test_vectors_of_256_bits_reach_device_memory(machine, tmp_path):
    if not os.path.exists(AVX):
        pytest.skip("the guests are not built: run `make guests`")
    with System(machine, SCREEN_CONF, files={"tiny": AVX}, flavour="release", directory=tmp_path / "run",
                memory_mib=512, seconds=90) as run:
        run.wait("one", "AVX: vectors are good")
