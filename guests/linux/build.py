#!/usr/bin/env python3
"""Makes the Linux guests' files: a kernel as Debian ships it, and an initramfs for it.

    build.py --kind cloud --guests CACHE/guests --probes build/guests/linux --output build/guests/linux

writes vmlinuz-KIND, initrd-KIND and initrd-pc-KIND, for the board `pc`, and vmlinux-KIND of some (and for `cloud` also `initrd`, and `initrd-disk`, which goes on from a disk). The initramfs is a plain cpio archive, not
compressed: unpacking would cost each boot more than reading it. Nothing of the kernel is changed. Files that
are up to date stay untouched.
"""
import argparse
import lzma
import os
import pathlib
import shutil
import subprocess
import sys

# The kernels that are also wanted as ELF files, for PVH.
ELF_KINDS = ("generic", "686-pae")
HERE = pathlib.Path(__file__).resolve().parent


class Cpio:
    """An archive in the "newc" format, the same bytes for the same input."""

    def __init__(self):
        self.parts, self.inode = [], 0

    def add(self, name, mode, data=b"", device=(0, 0)):
        self.inode += 1
        fields = (self.inode, mode, 0, 0, 2 if mode & 0o40000 else 1, 0, len(data), 0, 0, *device,
                  len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
        self.parts.append(header + b"\0" * (-len(header) % 4) + data + b"\0" * (-len(data) % 4))

    def folder(self, name):
        self.add(name, 0o040755)

    def file(self, name, data, mode=0o100755):
        self.add(name, mode, data)

    def link(self, name, target):
        self.add(name, 0o120777, target.encode())

    def bytes(self):
        self.add("TRAILER!!!", 0)
        data = b"".join(self.parts)
        return data + b"\0" * (-len(data) % 512)


def wanted_modules(lists):
    lines = [line for name in lists for line in (HERE / name).read_text().splitlines()]
    return [name for name in (line.split("#")[0].strip() for line in lines) if name]


def module_data(folder, name):
    """A module's bytes, unpacked; None if the kernel has none of that name (it is built in)."""
    plain, packed = folder / f"{name}.ko", folder / f"{name}.ko.xz"
    if plain.exists():
        return plain.read_bytes()
    return lzma.decompress(packed.read_bytes()) if packed.exists() else None


def initramfs(guests, kind, probes, disk=False, pc=False):
    lists = ["modules"] + ["modules-disk"] * (disk or pc) + ["modules-pc"] * pc
    is_32_bit = kind.startswith("686")
    busybox = guests / "busybox"
    archive = Cpio()
    for name in ("bin", "dev", "disk", "modules", "proc", "sys", "tmp"):
        archive.folder(name)
    archive.add("dev/console", 0o020600, device=(5, 1))
    if is_32_bit:
        archive.link("init", "bin/start")
    else:
        probe = (probes / "probe").read_bytes()
        archive.file("init", probe)
        archive.file("bin/probe", probe)
    archive.file("bin/start", (HERE / "start").read_bytes())
    archive.file("bin/busybox", (guests / "busybox-i386" if is_32_bit else busybox).read_bytes())
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout
    for applet in sorted(set(applets.split()) - {"busybox"}):
        archive.link(f"bin/{applet}", "busybox")
    archive.file("bin/selftest", (HERE / "selftest").read_bytes())
    if (disk or pc) and not is_32_bit:
        archive.file("bin/ioprobe", (probes / "ioprobe").read_bytes())
    there = []
    for name in wanted_modules(lists):
        data = module_data(guests / kind / "modules", name)
        if data:
            archive.file(f"modules/{name}.ko", data, 0o100644)
            there.append(name)
    archive.file("modules/order", "".join(f"{name}\n" for name in there).encode(), 0o100644)
    return archive.bytes()


def unpacked(kernel):
    """The ELF file in a bzImage whose payload is XZ (boot.rst, payload_offset); None if it is packed otherwise."""
    sectors = kernel[0x1f1] or 4
    offset, length = (int.from_bytes(kernel[at:at + 4], "little") for at in (0x248, 0x24c))
    payload = kernel[(sectors + 1) * 512 + offset:][:length]
    if payload[:6] != b"\xfd7zXZ\0":
        return None
    return lzma.LZMADecompressor().decompress(payload)     # behind it: its size


def write(path, data):
    """Only what differs, so that what is made from it stays up to date."""
    if not path.exists() or path.read_bytes() != data:
        new = path.with_name(path.name + ".new")
        new.write_bytes(data)
        os.replace(new, path)
        print(f"  GUEST  {path}")


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--kind", required=True, help="cloud, generic, 6.12, 686 or 686-pae")
    options.add_argument("--guests", required=True, type=pathlib.Path, help="where set-up unpacked the kernels")
    options.add_argument("--probes", required=True, type=pathlib.Path, help="where the programs made of probe.c and ioprobe.c are")
    options.add_argument("--output", required=True, type=pathlib.Path)
    given = options.parse_args()
    kernel = given.guests / given.kind / "vmlinuz"
    if not kernel.exists():
        sys.exit(f"{kernel} is not there: run `make setup-run` (kind cloud) or `make setup` (all kinds)")
    given.output.mkdir(parents=True, exist_ok=True)
    write(given.output / f"vmlinuz-{given.kind}", kernel.read_bytes())
    elf = given.output / f"vmlinux-{given.kind}"
    if given.kind in ELF_KINDS and not (elf.exists() and elf.stat().st_mtime >= kernel.stat().st_mtime):
        write(elf, unpacked(kernel.read_bytes()))
    data = initramfs(given.guests, given.kind, given.probes)
    write(given.output / f"initrd-{given.kind}", data)
    write(given.output / f"initrd-pc-{given.kind}", initramfs(given.guests, given.kind, given.probes, pc=True))
    if given.kind == "cloud":
        write(given.output / "initrd", data)
        write(given.output / "initrd-disk", initramfs(given.guests, given.kind, given.probes, disk=True))
    shutil.copyfile(given.guests / given.kind / "release", given.output / f"release-{given.kind}")


if __name__ == "__main__":
    main()
