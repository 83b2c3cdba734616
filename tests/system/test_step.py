"""Instructions on a device's memory that the VMM leaves to the guest's own processor."""
import os
import re

import pytest

from guests import System
from machines import ROOT

STEP = os.path.join(ROOT, "build", "guests", "tiny", "step")
CONF = 'partition one {{\n memory 16M\n board pc\n console uart\n {more}\n boot linux {{\n  kernel "tiny"\n  command-line "{words}"\n }}\n}}\n'


@pytest.mark.parametrize("machine,vcpus,cpus", [("qemu-1", 1, "0"), ("vmx-1", 1, "0"), ("svm-1", 1, "0"), ("qemu-1", 2, "0"),
                                                ("qemu-2", 2, "0-1"), ("vmx-2", 2, "0-1")])
def test_the_processor_does_on_a_device_what_it_does_in_memory(machine, vcpus, cpus, tmp_path):
    if not os.path.exists(STEP):
        pytest.skip("the guests are not built: run `make guests`")
    with System(machine, CONF.format(more=f"vcpus {vcpus}\n cpus {cpus}", words="all"), files={"tiny": STEP}, flavour="release",
                directory=tmp_path / "run", memory_mib=512, seconds=240) as run:
        run.wait("one", "STEP tried ")
        tried, wrong = re.match(r"(\d+) wrong (\d+)", run.wait_line("one")).groups()
        text = run.text("one")
        assert int(wrong) == 0 and int(tried) > 100, text
        if vcpus == 2:
            assert "STEP second vCPU: scratch seen 0 environments wrong 0" in text


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
def test_what_nobody_executes_ends_with_a_report(machine, tmp_path):
    if not os.path.exists(STEP):
        pytest.skip("the guests are not built: run `make guests`")
    with System(machine, CONF.format(more="", words="x"), files={"tiny": STEP}, flavour="release",
                directory=tmp_path / "run", memory_mib=512, seconds=90) as run:
        run.wait("system", "an instruction of the guest is not executed on a device: jmp")
        run.wait("system", "one: its guest can't go on")
        assert "STEP" not in run.text("one")


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-1", "svm-1"])
def test_gates_and_returns_on_a_device(machine, tmp_path):
    gates = os.path.join(ROOT, "build", "guests", "tiny", "gates")
    if not os.path.exists(gates):
        pytest.skip("the guests are not built: run `make guests`")
    with System(machine, CONF.format(more="", words=""), files={"tiny": gates}, flavour="release",
                directory=tmp_path / "run", memory_mib=512, seconds=90) as run:
        run.wait("one", "GATES tried ")
        assert run.wait_line("one") == "96 wrong 0", run.text("one")
