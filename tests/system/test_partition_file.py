"""The partition language as a person meets it: `septum check`, `show` and `words`."""
import glob
import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

FIXTURES = os.path.join(ROOT, "tests", "fixtures", "partition-file")
NAMES = sorted(os.path.basename(path)[:-5] for path in glob.glob(os.path.join(FIXTURES, "*.conf")))
TOOL = os.path.join(ROOT, "build", "septum")


def kernel(magic=b"HdrS", version=0x20f, flags=1, needs=0, high=1, address=16 << 20):
    """As much of a bzImage as the tool looks at: its setup header."""
    image = bytearray(1024)
    image[0x1fe:0x200] = b"\x55\xaa"
    image[0x202:0x206] = magic
    image[0x206:0x208] = version.to_bytes(2, "little")
    image[0x211] = high
    image[0x236] = flags
    image[0x258:0x260] = address.to_bytes(8, "little")
    image[0x260:0x264] = needs.to_bytes(4, "little")
    return bytes(image)


def program():
    """As much of a static ELF file."""
    image = bytearray(4096)
    image[0:6] = b"\x7fELF\x02\x01"
    image[16] = 2
    image[18] = 62
    return bytes(image)


def multiboot(magic, *words):
    """A file with such a header in it: words whose sum is 0."""
    sum_of = -(magic + sum(words)) % 2**32
    return bytes(64) + b"".join(word.to_bytes(4, "little") for word in (magic, *words, sum_of))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The fixtures, and the files that they name."""
    path = tmp_path_factory.mktemp("partition-file") / "files"
    shutil.copytree(FIXTURES, path)
    (path / "vmlinuz").write_bytes(kernel())
    (path / "damaged").write_bytes(kernel(magic=b"HdrX"))
    (path / "old").write_bytes(kernel(flags=0))
    (path / "large").write_bytes(kernel(needs=60 << 20))
    (path / "zimage").write_bytes(kernel(high=0))
    (path / "multiboot").write_bytes(multiboot(0x1badb002, 3))
    (path / "multiboot2").write_bytes(multiboot(0xe85250d6, 0, 24))
    (path / "pages").write_bytes(bytes(8192))
    (path / "initrd").write_bytes(b"an initrd")
    (path / "card-rom").write_bytes(b"\x55\xaa" + bytes(2046))
    (path / "empty").write_bytes(b"")
    (path / "image").write_bytes(bytes(4096))
    (path / "echo.elf").write_bytes(program())
    return path


def septum(folder, *arguments):
    return subprocess.run([TOOL, *arguments], cwd=folder, capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL)


def test_there_are_enough_mistakes():
    assert len(NAMES) >= 60


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_is_reported_once_with_its_cure(folder, name):
    done = septum(folder, "check", name + ".conf")
    with open(os.path.join(FIXTURES, name + ".expected")) as file:
        assert done.stderr == file.read()
    assert done.stdout == "" and done.returncode == 1


@pytest.mark.parametrize("name", NAMES)
def test_messages_have_the_form_that_editors_know(name):
    with open(os.path.join(FIXTURES, name + ".expected")) as file:
        lines = file.read().splitlines()
    assert len(lines) == 1
    assert re.match(r'[\w.-]+:\d+:\d+: .+[.?}"\w]$', lines[0])


def multiboot_header():
    """Of the Multiboot Specification 0.6.96, 3.1.1: magic, flags, and what makes the sum 0."""
    return b"".join(word.to_bytes(4, "little") for word in (0x1badb002, 0, -0x1badb002 & 0xffffffff))


CONFIGS = sorted(glob.glob(os.path.join(ROOT, "configs", "*.conf")))


@pytest.mark.parametrize("path", CONFIGS, ids=[os.path.basename(path) for path in CONFIGS])
def test_what_is_shown_means_the_same(tmp_path, path):
    """The shipped files are right, and `show` gives a file that means what the first did."""
    with open(path) as file:
        for word, named in re.findall(r'(kernel|initrd|module|image|file|rom|serve "[^"]+") "\.\./(build/guests/[^"]+)"',
                                      file.read()):
            (tmp_path / named).parent.mkdir(parents=True, exist_ok=True)
            image = kernel(address=1 << 20) + multiboot_header()
            if "vmlinux-" in named:                # an ELF file with a PVH note
                with open(os.path.join(ROOT, "build", "guests", "told", "told-32"), "rb") as told:
                    image = told.read()
            others = {"rom": b"\x55\xaa"}
            (tmp_path / named).write_bytes(image if word == "kernel" else others.get(word, bytes(4096)))
    examples = tmp_path / "build" / "release" / "examples"
    examples.mkdir(parents=True)
    (examples / "echo.elf").write_bytes(program())
    (examples / "greet.elf").write_bytes(program())
    shutil.copytree(os.path.join(ROOT, "configs"), tmp_path / "configs")
    name = os.path.join("configs", os.path.basename(path))
    assert septum(tmp_path, "check", name).returncode == 0
    shown = septum(tmp_path, "show", name)
    assert shown.returncode == 0
    (tmp_path / "shown.conf").write_text(shown.stdout)
    again = septum(tmp_path, "show", "shown.conf")
    assert again.returncode == 0
    assert again.stdout.splitlines()[1:] == shown.stdout.splitlines()[1:]


def test_the_manual_has_the_table_of_words():
    with open(os.path.join(ROOT, "docs", "partition-file.md")) as file:
        text = file.read()
    assert septum(ROOT, "words").stdout.strip() in text, "docs/partition-file.md: run `tools/docs.py`"
