#!/usr/bin/env python3
"""Makes the guests' disk: two partitions (MBR) with an ext4 file system each, the same small Debian in both.

    disk.py --debian CACHE/guests/debian --output build/guests/linux/web-and-db.img

No root rights are needed: mke2fs fills the file systems itself, under fakeroot. Guests write to the disk, so it is made
anew only when it is not there or when what it is made of has changed.
"""
import argparse
import hashlib
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
FILES = HERE / "debian" / "files"
MIB = 1 << 20
SECTOR = 512
NAMES = ["web", "db"]
# Programs of /bin and /sbin that are busybox's; the rest of the system calls them by these names.
APPLET_FOLDERS = ("bin", "sbin", "usr/bin", "usr/sbin")
# Of no use on a machine that reads no manuals and speaks English.
LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian",
            "usr/share/i18n", "usr/lib/x86_64-linux-gnu/gconv")


def copy_sparsely(path, image):
    """Appends a file, whose blocks of zeros become holes."""
    with open(path, "rb") as file:
        while block := file.read(MIB):
            if block.strip(b"\0"):
                image.write(block)
            else:
                image.seek(MIB, os.SEEK_CUR)


def digest(debian, size_mib):
    """Of everything that the image is made of."""
    total = hashlib.sha256(str(size_mib).encode())
    for path in [pathlib.Path(__file__), debian / "wanted", *sorted(p for p in FILES.rglob("*") if p.is_file())]:
        total.update(str(path.name).encode() + path.read_bytes())
    return total.hexdigest()


def merge(source, target):
    """Copies a tree into another; symbolic links to folders in the target are followed."""
    for path in sorted(source.rglob("*")):
        there = target / path.relative_to(source)
        if path.is_dir() and not path.is_symlink():
            there.mkdir(parents=True, exist_ok=True)
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            if there.is_symlink() or there.exists():
                there.unlink()
            shutil.copy2(path, there, follow_symlinks=False)


def tree(debian, target):
    merge(debian / "root", target)
    for name in LEFT_OUT:
        shutil.rmtree(target / name, ignore_errors=True)
    merge(FILES, target)
    for name in ("dev", "proc", "sys", "run", "tmp", "var/lib", "etc"):
        (target / name).mkdir(parents=True, exist_ok=True)
    busybox = target / "bin" / "busybox"
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    for applet in applets:
        if not any(os.path.lexists(target / folder / applet) for folder in APPLET_FOLDERS):
            (target / "bin" / applet).symlink_to("busybox")
    if not os.path.lexists(target / "bin" / "sh"):
        (target / "bin" / "sh").symlink_to("dash")
    (target / "etc" / "fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    # The kernel has no file system that sets owners here: mke2fs gives all to root.


def file_system(source, output, size_mib, label):
    with open(output, "wb") as image:
        image.truncate(size_mib * MIB)
    command = ["fakeroot", "mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-E", "root_owner=0:0,lazy_itable_init=0",
               "-O", "^metadata_csum_seed", "-d", source, output]
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
    if done.returncode:
        sys.exit(f"mke2fs failed: {done.stderr.strip()}")


def partition_table(size_mib, count):
    """An MBR: type 0x83, each behind the other from 1 MiB on."""
    table = bytearray(SECTOR)
    sectors = size_mib * MIB // SECTOR
    for number in range(count):
        first = MIB // SECTOR + number * sectors
        table[446 + 16 * number:462 + 16 * number] = struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", 0x83,
                                                                 b"\xfe\xff\xff", first, sectors)
    table[510:] = b"\x55\xaa"
    return bytes(table)


def make(debian, output, size_mib):
    new = output.with_name(output.name + ".new")
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        system = pathlib.Path(folder, "system")
        tree(debian, system)
        with open(new, "wb") as image:
            image.write(partition_table(size_mib, len(NAMES)))
            for number, name in enumerate(NAMES):
                part = os.path.join(folder, name)
                file_system(system, part, size_mib, name)
                image.seek((1 + number * size_mib) * MIB)
                copy_sparsely(part, image)
            image.truncate((1 + len(NAMES) * size_mib) * MIB)
    os.replace(new, output)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--debian", required=True, type=pathlib.Path, help="where set-up unpacked the packages")
    options.add_argument("--output", required=True, type=pathlib.Path)
    options.add_argument("--size", type=int, default=48, help="of each file system, in MiB")
    given = options.parse_args()
    stamp = given.output.with_name(given.output.name + ".made-of")
    wanted = digest(given.debian, given.size)
    if given.output.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    given.output.parent.mkdir(parents=True, exist_ok=True)
    make(given.debian, given.output, given.size)
    stamp.write_text(wanted)
    print(f"  GUEST  {given.output}")


if __name__ == "__main__":
    main()
