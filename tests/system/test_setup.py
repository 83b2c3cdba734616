"""Set-up: how the private apt roots find the archive, and what is said when they can't."""
import os
import shutil
import subprocess

import pytest

from conftest import ROOT

DEB822 = """\
# comment
Types: deb deb-src
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://archive.example/security
Suites: bookworm-security
Components: main
"""

INLINE_KEY = """\
Types: deb
URIs: http://archive.example/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abcd
 -----END PGP PUBLIC KEY BLOCK-----
"""


def source(tmp_path, files, **environment):
    etc = tmp_path / "apt"
    (etc / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        (etc / name).write_text(text)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SEPTUM_APT_ETC": str(etc), **environment}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c",
         ". tools/setup/common.sh; . tools/setup/apt_root.sh; debian_source"],
        cwd=ROOT, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("files, expected", [
    ({"sources.list.d/debian.sources": DEB822},
     ["URIs: http://archive.example/debian",
      "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg"]),
    ({"sources.list": "# deb http://no.example/x bookworm main\n"
                      "deb http://archive.example/debian bookworm main contrib # note\n"},
     ["URIs: http://archive.example/debian"]),
    ({"sources.list": "deb [arch=amd64 signed-by=/k.gpg trusted=yes] http://a.example/d bookworm main\n"},
     ["URIs: http://a.example/d", "Signed-By: /k.gpg", "Trusted: yes"]),
    ({"sources.list": "",
      "sources.list.d/other.list": "deb http://other.example/x nodistro main\n",
      "sources.list.d/z.sources": INLINE_KEY},
     ["URIs: http://archive.example/debian", "Signed-By: ", " -----BEGIN PGP PUBLIC KEY BLOCK-----",
      " .", " abcd", " -----END PGP PUBLIC KEY BLOCK-----"]),
    ({"sources.list.d/a.sources": "Enabled: no\n" + DEB822.split("\n\n")[0].partition("\n")[2] + "\n",
      "sources.list.d/b.list": "deb http://b.example/debian stable main\n"},
     ["URIs: http://b.example/debian"]),
])
def test_the_archive_is_found_in_either_format(tmp_path, files, expected):
    done = source(tmp_path, files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("files", [
    {},
    {"sources.list": "deb http://archive.example/ubuntu jammy main universe\n"},
    {"sources.list.d/x.sources": DEB822.partition("\n\n")[2]},
])
def test_other_sources_are_not_taken_for_debian(tmp_path, files):
    assert source(tmp_path, files).returncode != 0


def test_a_mirror_can_be_named(tmp_path):
    done = source(tmp_path, {}, SEPTUM_DEBIAN_MIRROR="http://mirror.example/debian")
    assert done.stdout.splitlines()[0] == "URIs: http://mirror.example/debian"


def test_a_foreign_machine_is_told_what_to_do(tmp_path):
    etc = tmp_path / "apt"
    etc.mkdir()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c",
         ". tools/setup/common.sh; . tools/setup/apt_root.sh; apt_root x deb bookworm"],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "SEPTUM_APT_ETC": str(etc), "SEPTUM_CACHE": str(tmp_path / "cache")})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "SEPTUM_DEBIAN_MIRROR=URL" in done.stderr


def test_missing_packages_stop_with_the_line_when_nobody_can_install(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ["bash", "awk", "comm", "sort", "xargs", "echo"]:
        (tools / name).symlink_to(shutil.which(name))
    for name, script in {"id": "echo 1000", "dpkg-query": "echo installed gcc"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c",
         ". tools/setup/common.sh; . tools/setup/packages.sh; packages_install run test"],
        cwd=ROOT, capture_output=True, text=True,
        env={"PATH": str(tools), "HOME": str(tmp_path)})
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "apt-get install --no-install-recommends -y" in line and "qemu-system-x86" in line
    assert " gcc " not in line


def test_a_second_set_up_has_nothing_to_do(tmp_path):
    done = subprocess.run(["tools/setup/setup", "test", str(tmp_path / "stamp")], cwd=ROOT,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "running:" not in done.stdout and "building" not in done.stdout
    assert "CACHE=" in (tmp_path / "stamp").read_text()
