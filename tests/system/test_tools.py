"""The small tools: mutants, sizes, figures, documents."""
import glob
import os
import subprocess
import sys

import pytest

import kernel_size
import mutants
from conftest import ROOT


def test_every_mutant_applies():
    for path in glob.glob(os.path.join(ROOT, "tests", "mutants", "*.mutant")):
        mutant = mutants.read_mutant(path)
        with open(os.path.join(ROOT, mutant["file"])) as file:
            text = file.read()
        assert mutants.mutated(mutant, text) != text, path


TEXT = """\
int a(int x)
{
    if (x > limit)
        return 1;
}

int b(int x)
{
    if (x > limit)
        return 1;
    return 2;
}
"""


def test_a_mutant_is_confined_to_its_function():
    mutant = {"file": "x.c", "in": "int b(", "old": "if (x > limit)", "new": "if (0)"}
    changed = mutants.mutated(mutant, TEXT)
    assert changed.count("if (0)") == 1 and changed.index("if (0)") > changed.index("int b(")


@pytest.mark.parametrize("change", [{"in": ""}, {"old": "if (y)"}, {"in": "int c("}])
def test_a_mutant_that_is_not_unique_is_refused(change):
    mutant = {"file": "x.c", "in": "int b(", "old": "if (x > limit)", "new": "", **change}
    with pytest.raises(mutants.Unusable):
        mutants.mutated(mutant, TEXT)


def test_nothing_foreign_is_linked_into_the_kernel():
    for flavour in ("release", "debug"):
        path = os.path.join(ROOT, "build", flavour, "septum.elf.map")
        if not os.path.exists(path):
            pytest.skip("the kernel is not built")
        assert kernel_size.foreign_objects(path) == []


def test_foreign_objects_are_found_in_a_link_map(tmp_path):
    path = tmp_path / "map"
    path.write_text("LOAD build/release/microvisor/core/ipc.c.o\nLOAD build/release/gen/symbols.o\n"
                    "LOAD build/release/lib/string.c.o\nLOAD /usr/lib/libgcc.a\n")
    assert kernel_size.foreign_objects(path) == ["build/release/lib/string.c.o", "/usr/lib/libgcc.a"]


def test_the_documents_tables_are_what_their_sources_say():
    done = subprocess.run([sys.executable, "tools/docs.py", "--check", "--tables-only"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
