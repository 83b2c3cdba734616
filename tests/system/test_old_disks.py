"""Guests with disks as old PCs have them: on IDE, on a CD, on a floppy."""
import hashlib
import os
import random
import shutil

import pytest

from bundle import build_path
from guests import System
from machines import ROOT

FIRMWARE = os.path.join(ROOT, "build", "firmware")
LINUX = os.path.join(ROOT, "build", "guests", "linux")
BOTH = pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
FLOPPY_BYTES = 1474560


def needed(*paths):
    for path in paths:
        if not os.path.exists(path):
            pytest.skip(f"{os.path.relpath(path, ROOT)} is not there: run `make guests firmware`")


def drive(machine, image):
    """The image as the machine's disk."""
    if machine.startswith("qemu"):
        return ["-drive", f"file={image},format=raw,if=none,id=disk", "-device",
                "virtio-blk-pci,disable-legacy=on,drive=disk"]
    return ["ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15", f"ata1-master: type=disk, path={image}, mode=flat"]


def system(machine, tmp_path, conf, files=None, **more):
    return System(machine, conf, files=files, flavour="release", directory=tmp_path / "run", memory_mib=512, seconds=300,
                  programs={"block-server": build_path("release", "block-server.elf")}, **more)


@BOTH
@pytest.mark.parametrize("medium", ["cdrom", "floppy"])
def test_grub_boots_from_old_media(machine, medium, tmp_path):
    """SeaBIOS reads GRUB from Debian's rescue media, by ATAPI packets or by the floppy controller and ISA DMA."""
    source = os.path.join(FIRMWARE, f"grub-rescue-{medium}.bin")
    bios = {f"firmware/{name}": os.path.join(FIRMWARE, name) for name in ["bios-256k.bin", "vgabios-stdvga.bin"]}
    needed(source, *bios.values())
    image = tmp_path / "image"
    shutil.copyfile(source, image)
    whole = FLOPPY_BYTES if medium == "floppy" else (os.path.getsize(source) + 2047) // 2048 * 2048
    os.truncate(image, whole)
    conf = f"""
        volume medium {{ file "image" access private }}
        partition old {{
            memory 64M board pc console vga
            boot bios {{ order {medium} }}
            {medium} medium
        }}"""
    with system(machine, tmp_path, conf, {**bios, "image": str(image)}) as run:
        run.wait("old", "Memtest86+")                                    # of its menu


def test_linux_reads_and_writes_by_ide(tmp_path):
    """ata_piix finds disk and CD, moves their data by DMA, and what it writes is on the disk."""
    kernel, initrd = os.path.join(LINUX, "vmlinuz-cloud"), os.path.join(LINUX, "initrd-pc-cloud")
    needed(kernel, initrd)
    source = random.Random(7)
    disk, cd = source.randbytes(8 << 20), source.randbytes(2 << 20)
    (tmp_path / "disk").write_bytes(disk)
    (tmp_path / "cd").write_bytes(cd)
    conf = """
        volume data { disk 0 }
        volume setup { file "cd" access read-only }
        partition old {
            memory 128M board pc
            boot linux { kernel "kernel" initrd "initrd" command-line "quiet console=hvc0 septum.name=old" }
            disk data { interface ide }
            cdrom setup
        }"""
    with system("qemu-1", tmp_path, conf, {"kernel": kernel, "initrd": initrd, "cd": str(tmp_path / "cd")},
                emulator_options=drive("qemu-1", tmp_path / "disk")) as run:
        run.wait("old", "SEPTUM-GUEST-UP old")
        run.type("old", "md5sum /dev/sda /dev/sr0; cat /sys/class/ata_device/dev?.0/xfer_mode\n")
        run.wait("old", hashlib.md5(disk).hexdigest())
        run.wait("old", hashlib.md5(cd).hexdigest())
        for _ in range(2):
            run.wait("old", "MW_DMA_2")
        run.type("old", "dd if=/dev/sr0 of=/dev/sda bs=64k seek=16 conv=fsync,notrunc && echo WRITTEN-$((6*7))\n")
        run.wait("old", "WRITTEN-42")
        run.type("old", "dd if=/dev/zero of=/dev/sda bs=64k count=16 conv=fsync,notrunc && echo CLEARED-$((6*7))\n")
        run.wait("old", "CLEARED-42")
    written = (tmp_path / "disk").read_bytes()
    assert written[:1 << 20] == bytes(1 << 20)
    assert written[1 << 20:3 << 20] == cd
    assert written[3 << 20:] == disk[3 << 20:]


@BOTH
def test_debian_boots_from_an_ide_disk(machine, tmp_path):
    """SeaBIOS and GRUB read the kernel by IDE; Linux finds its root by its label, on the same disk, with a driver of the chipset."""
    source = os.path.join(LINUX, "boot.img")
    bios = {f"firmware/{name}": os.path.join(FIRMWARE, name) for name in ["bios-256k.bin", "vgabios-stdvga.bin"]}
    needed(source, *bios.values())
    shutil.copyfile(source, tmp_path / "boot.img")
    conf = """
        volume system { disk 0 access private }
        partition old { memory 192M board pc boot bios disk system { interface ide } }"""
    with system(machine, tmp_path, conf, bios, emulator_options=drive(machine, tmp_path / "boot.img")) as run:
        run.log_in("old")
        run.type("old", "mount | grep -c '^/dev/sda1 on / '; echo TOLD-$((6*7))\n")
        run.wait("old", "\n1")
        run.wait("old", "TOLD-42")
