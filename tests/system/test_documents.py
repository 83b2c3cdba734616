"""The documents against the tree."""
import collections
import os
import re

import pytest

import docs
from conftest import ROOT


def kernel_files():
    top = os.path.join(ROOT, "microvisor")
    return {os.path.relpath(os.path.join(folder, name), top)
            for folder, _, names in os.walk(top) for name in names
            if name.endswith((".c", ".h", ".S", ".def", ".ld"))}


def test_the_reading_order_names_every_file_of_the_kernel_once():
    with open(os.path.join(ROOT, "docs", "reading-order.md")) as file:
        named = collections.Counter(re.findall(r"`((?:\w+/)?\w+\.(?:c|h|S|def|ld))`", file.read()))
    named = collections.Counter({name: n for name, n in named.items() if not name.startswith("lib/")})
    assert sorted(kernel_files() - set(named)) == [], "docs/reading-order.md leaves these out"
    assert sorted(set(named) - kernel_files()) == [], "docs/reading-order.md names what is not there"
    assert [name for name, n in named.items() if n > 1] == [], "named more than once"


@pytest.mark.parametrize("name", ["kernel.md", "security.md", "caveats.md", "reading-order.md", "partition-file.md",
                                  "quick-start.md"])
def test_paths_in_documents_lead_somewhere(name):
    with open(os.path.join(ROOT, "docs", name)) as file:
        text = file.read()
    for path in re.findall(r"`((?:tools|tests|bench|lib|microvisor|configs)/[\w./-]+)`", text):
        assert os.path.exists(os.path.join(ROOT, path)), path
    for path in re.findall(r"`((?:abi|boot|core|virt|x86)/[\w.]+)`", text):
        assert os.path.exists(os.path.join(ROOT, "microvisor", path)), path


def test_enums_become_tables():
    rows = docs.table_enum("ipc_shape")
    assert rows[2].startswith("| 0 | `IPC_SEND` | target: endpoint")
    assert rows[5].startswith("| 3 | `IPC_REPLY_WAIT` |") and len(rows) == 6
    assert "| 256 | `THREAD_STOPPED` |  |" in docs.table_enum("thread_state")


def test_a_number_of_lines_that_is_far_off_is_found():
    text = "<!--lines core/ipc.c-->%d<!--/lines-->"
    lines = docs.count_lines("core/ipc.c")
    assert not list(docs.complaints("x.md", text % lines, None))
    assert list(docs.complaints("x.md", text % (2 * lines), None))
