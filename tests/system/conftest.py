"""Fixtures of the host-side tests."""
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "tools"), os.path.join(ROOT, "bench")]

from guests import System                                               # noqa: E402

System.audited = True


@pytest.fixture(scope="session")
def speaker(tmp_path_factory):
    """(kernel, module): a stand-in that speaks the test protocol; see tests/fixtures/speaker."""
    folder = tmp_path_factory.mktemp("speaker")
    source = os.path.join(ROOT, "tests", "fixtures", "speaker")
    kernel, module = folder / "speaker.elf", folder / "module"
    subprocess.run(
        ["gcc", "-m32", "-O2", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-ffreestanding",
         "-fno-pic", "-fno-pie", "-fno-stack-protector", "-fcf-protection=none",
         "-mgeneral-regs-only", "-nostdlib", "-static", "-Wl,--build-id=none",
         "-Wl,--no-warn-rwx-segments", f"-Wl,-T,{source}/speaker.ld",
         f"{source}/entry.S", f"{source}/speaker.c", "-o", str(kernel)], check=True)
    module.write_text("a module\n")
    return str(kernel), str(module)


@pytest.fixture(scope="session")
def septum():
    """(kernel, task) of the debug flavour."""
    folder = os.path.join(ROOT, "build", "debug")
    pair = os.path.join(folder, "septum.elf"), os.path.join(folder, "tests", "kernel.elf")
    if not all(os.path.exists(path) for path in pair):
        pytest.skip("the kernel or the test task is not built")
    return pair
