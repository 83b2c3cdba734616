#!/usr/bin/env python3
"""Makes a disk that firmware boots: MBR, GRUB, and an ext4 file system with a small Debian, its kernel and its initramfs.

    boot_disk.py --debian CACHE/guests/debian --efi build/firmware/grub-efi.bin --linux build/guests/linux --output boot.img

No root rights are needed: GRUB's core image lies in the sectors between the MBR and the first partition, where
grub-install would put it; GRUB for UEFI lies in a small FAT file system, the disk's second partition; U-Boot finds a script.
The same disk boots on any machine whose firmware reads it; what GRUB says, it says by the firmware. The kernel's console is hvc0, or ttyS0 where there is no virtio console.
"""
import argparse
import hashlib
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

import disk

HERE = pathlib.Path(__file__).resolve().parent
MIB = disk.MIB
SECTOR = disk.SECTOR
BIOS_MODULES = ["biosdisk", "part_msdos", "ext2", "normal", "configfile", "linux", "echo", "test", "halt", "reboot"]
# boot.img (GRUB, grub-core/boot/i386/pc/boot.S): code up to the disk's signature, and a jump that is for floppies alone.
BOOT_CODE_BYTES, BOOT_DRIVE_CHECK = 440, 0x66
# The file system is found by its label: the disk may be a virtio disk or one on IDE.
WORDS = "root=LABEL=debian septum.root=LABEL=debian septum.name=debian septum.login console=ttyS0 console=hvc0 quiet"
CONFIG = f"""set timeout=0
set default=0
menuentry "Debian" {{
    echo "Loading Linux ..."
    linux /boot/vmlinuz {WORDS}
    initrd /boot/initrd.img
}}
"""
# U-Boot's own place for an initramfs, 64 MiB, lies in what the kernel unpacks itself to.
INITRD_AT = "0x6000000"
# What U-Boot looks for on a disk's active partition: a script in a legacy image (U-Boot, include/image.h).
SCRIPT = f"""setenv bootargs {WORDS}
load ${{devtype}} ${{devnum}}:${{distro_bootpart}} ${{kernel_addr_r}} /boot/vmlinuz
load ${{devtype}} ${{devnum}}:${{distro_bootpart}} {INITRD_AT} /boot/initrd.img
zboot ${{kernel_addr_r}} 0 {INITRD_AT} ${{filesize}}
"""
IMAGE_MAGIC, IMAGE_LINUX, IMAGE_X86, IMAGE_SCRIPT = 0x27051956, 5, 3, 6
# GRUB for UEFI, as Debian builds it, looks for its configuration in this folder of its own partition.
EFI_MIB, EFI_FOLDER = 8, "EFI/debian"
EFI_CONFIG = """search --no-floppy --label debian --set root
set prefix=($root)/boot/grub
configfile $prefix/grub.cfg
"""
PASSWORDS = "root::0:0:root:/root:/bin/sh\n"


def digest(given):
    total = hashlib.sha256(str(given.size).encode() + CONFIG.encode() + EFI_CONFIG.encode() + SCRIPT.encode())
    sources = [pathlib.Path(__file__), HERE / "disk.py", given.debian / "wanted", *sorted(
        path for path in disk.FILES.rglob("*") if path.is_file()), given.linux / "vmlinuz-cloud",
               given.linux / "initrd-pc-cloud", given.grub / "i386-pc" / "boot.img", given.grub / "i386-pc" / "kernel.img",
               given.efi]
    for path in sources:
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} failed: {done.stderr.strip()}")


def boot_sectors(grub, folder):
    """The MBR's code, and the core image, that it loads from sector 1."""
    core = pathlib.Path(folder, "core.img")
    run(["grub-mkimage", "-d", grub / "i386-pc", "-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-o", core,
         *BIOS_MODULES])
    code = bytearray((grub / "i386-pc" / "boot.img").read_bytes()[:BOOT_CODE_BYTES])
    code[BOOT_DRIVE_CHECK:BOOT_DRIVE_CHECK + 2] = b"\x90\x90"
    data = core.read_bytes()
    if len(data) > MIB - SECTOR:
        sys.exit("GRUB's core image does not fit in front of the first partition")
    return bytes(code), data


def efi_system(given, folder):
    """The EFI system partition: GRUB at the place of removable disks, and where its configuration is."""
    part, config = os.path.join(folder, "efi"), pathlib.Path(folder, "efi.cfg")
    config.write_text(EFI_CONFIG)
    with open(part, "wb") as image:
        image.truncate(EFI_MIB * MIB)
    run(["mformat", "-i", part, "-v", "EFI", "-N", "5e970001", "::"])
    run(["mmd", "-i", part, "::/EFI", "::/EFI/BOOT", f"::/{EFI_FOLDER}"])
    run(["mcopy", "-i", part, given.efi, "::/EFI/BOOT/BOOTX64.EFI"])
    run(["mcopy", "-i", part, config, f"::/{EFI_FOLDER}/grub.cfg"])
    return pathlib.Path(part).read_bytes()


def script_image():
    """SCRIPT with the header that U-Boot wants: its sums, and before the text the list of the image's parts."""
    text = SCRIPT.encode()
    data = struct.pack(">II", len(text), 0) + text
    header = struct.pack(">IIIIIIIBBBB32s", IMAGE_MAGIC, 0, 0, len(data), 0, 0, zlib.crc32(data), IMAGE_LINUX, IMAGE_X86,
                         IMAGE_SCRIPT, 0, b"boot")
    return header[:4] + struct.pack(">I", zlib.crc32(header)) + header[8:] + data


def fill(given, system):
    disk.tree(given.debian, system)
    (system / "boot" / "grub").mkdir(parents=True, exist_ok=True)
    (system / "boot" / "vmlinuz").write_bytes((given.linux / "vmlinuz-cloud").read_bytes())
    (system / "boot" / "initrd.img").write_bytes((given.linux / "initrd-pc-cloud").read_bytes())
    (system / "boot" / "grub" / "grub.cfg").write_text(CONFIG)
    (system / "boot" / "boot.scr").write_bytes(script_image())
    (system / "etc" / "fstab").write_text("LABEL=debian / ext4 defaults 0 1\n")
    (system / "etc" / "passwd").write_text(PASSWORDS)
    (system / "etc" / "hostname").write_text("debian\n")
    (system / "root").mkdir(exist_ok=True)


def make(given):
    new = given.output.with_name(given.output.name + ".new")
    with tempfile.TemporaryDirectory(dir=given.output.parent) as folder:
        system, part = pathlib.Path(folder, "system"), os.path.join(folder, "part")
        fill(given, system)
        disk.file_system(system, part, given.size, "debian")
        code, core = boot_sectors(given.grub, folder)
        table = bytearray(disk.partition_table(given.size, 1))
        table[:len(code)] = code
        table[446] = 0x80                          # active
        first = (1 + given.size) * MIB // SECTOR
        table[462:478] = struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", 0xef, b"\xfe\xff\xff", first,
                                     EFI_MIB * MIB // SECTOR)
        with open(new, "wb") as image:
            image.write(table + core)
            image.seek(MIB)
            disk.copy_sparsely(part, image)
            image.seek((1 + given.size) * MIB)
            image.write(efi_system(given, folder))
    os.replace(new, given.output)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--debian", required=True, type=pathlib.Path, help="where set-up unpacked the packages")
    options.add_argument("--grub", type=pathlib.Path, default="/usr/lib/grub", help="where GRUB's images and modules are")
    options.add_argument("--efi", required=True, type=pathlib.Path, help="GRUB for UEFI, as one file")
    options.add_argument("--linux", required=True, type=pathlib.Path, help="where build.py has put kernel and initramfs")
    options.add_argument("--output", required=True, type=pathlib.Path)
    options.add_argument("--size", type=int, default=72, help="of the file system, in MiB")
    given = options.parse_args()
    stamp = given.output.with_name(given.output.name + ".made-of")
    wanted = digest(given)
    if given.output.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    given.output.parent.mkdir(parents=True, exist_ok=True)
    make(given)
    stamp.write_text(wanted)
    print(f"  GUEST  {given.output}")


if __name__ == "__main__":
    main()
