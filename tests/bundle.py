"""Boot bundles for tests: root's program, then a tar archive (lib/archive.h)."""
import io
import os
import re
import tarfile

from machines import ROOT

PAGE = 4096


def build_path(flavour, name):
    return os.path.join(ROOT, "build", flavour, name)


def archive(members, begin):
    """A tar archive of {name: bytes} that begins at offset `begin` of the bundle: contents at pages."""
    out = io.BytesIO()

    def add(name, data):
        info = tarfile.TarInfo(name)
        info.size = len(data)
        out.write(info.tobuf(tarfile.USTAR_FORMAT))
        out.write(data + bytes(-len(data) % 512))

    for name, data in members.items():
        pad = -(begin + out.tell() + 512) % PAGE
        if pad:
            # A .pad member is a header of 512 bytes and what is missing besides.
            add(".pad", bytes((pad - 512) % PAGE))
        add(name, data)
    out.write(bytes(1024))
    return out.getvalue()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write_bundle(path, conf, flavour="debug", programs=None, files=None):
    """Writes a bundle. conf: the partition file's text. programs: {name: path}, beside or instead of the
    flavour's own. files: {name in the partition file: bytes}."""
    root = read(build_path(flavour, "root.elf"))
    root += bytes(-len(root) % PAGE)
    named = {name: build_path(flavour, name + ".elf") for name in ["vmm-server", "console-server"]}
    for word, server in [("volume", "block-server"), ("network", "net-server")]:
        if re.search(rf"^\s*{word} ", conf, re.M):
            named[server] = build_path(flavour, server + ".elf")
    named.update(programs or {})
    members = {"partition.conf": b"test.conf\n", "conf/test.conf": conf.encode()}
    members.update({"program/" + name: read(program) for name, program in named.items() if program})
    members.update({name if name.startswith("firmware/") else "file/" + name: data
                    for name, data in (files or {}).items()})
    with open(path, "wb") as file:
        file.write(root + archive(members, len(root)))
