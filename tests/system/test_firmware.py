"""Guests that firmware boots from a disk, to their login."""
import os
import re
import shutil
import subprocess

import pytest

from bundle import build_path
from guests import System
from machines import ROOT

FIRMWARE = os.path.join(ROOT, "build", "firmware")
DISK = os.path.join(ROOT, "build", "guests", "linux", "boot.img")
BLOCK_BYTES_MAX = 4 << 20      # protocol/block.h
BOTH = pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])


def conf(board, boot, console="virtio", memory="192M", vcpus=1):
    return f"""
        volume system {{ disk 0 }}
        partition guest {{
            memory {memory} board {board} console {console} vcpus {vcpus}
            boot {boot} {{ firmware "firmware" }}
            disk system
        }}"""


def drive(machine, tmp_path):
    """The machine's disk: a copy, whose holes stay holes."""
    image = tmp_path / "disk"
    shutil.copyfile(DISK, image)
    if machine.startswith("qemu"):
        return ["-drive", f"file={image},format=raw,if=none,id=disk", "-device",
                "virtio-blk-pci,disable-legacy=on,drive=disk"]
    return ["ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15", f"ata1-master: type=disk, path={image}, mode=flat"]


def system(machine, tmp_path, text, firmware, files=None):
    for path in [DISK, os.path.join(FIRMWARE, firmware)]:
        if not os.path.exists(path):
            pytest.skip(f"{os.path.relpath(path, ROOT)} is not there: run `make guests firmware`")
    return System(machine, text, files={"firmware": os.path.join(FIRMWARE, firmware), **(files or {})}, flavour="release",
                  directory=tmp_path / "run", memory_mib=640, seconds=300,
                  programs={"block-server": build_path("release", "block-server.elf")},
                  emulator_options=drive(machine, tmp_path))


def exits(run):
    """All that the guest has called its VMM for."""
    return sum(int(count) for count in re.findall(r"^[A-Za-z][A-Za-z ]*[a-z]  +(\d+)  +\d+$", run.monitor("exits guest"),
                                                  re.M))


@BOTH
def test_seabios_boots_a_disk_on_lean(machine, tmp_path):
    """SeaBIOS for machines without PCI finds the virtio disk by the DSDT; GRUB loads Linux from ext4; root logs in."""
    with system(machine, tmp_path, conf("lean", "bios"), "bios-microvm.bin") as run:
        run.wait("guest", "debian login:")
        assert 1000 < exits(run) <= 12000
        run.type("guest", "root\n")
        run.wait("guest", "# ")
        run.type("guest", "mount | grep -c vda1; echo TOLD-$((6*7))\n")
        run.wait("guest", "TOLD-42")


def test_seabios_and_grub_speak_on_a_serial_console(tmp_path):
    with system("qemu-1", tmp_path, conf("lean", "bios", "uart"), "bios-microvm.bin") as run:
        for said in ["SeaBIOS", "Booting from Hard Disk", "Loading Linux", "debian login:"]:
            run.wait("guest", said)


@BOTH
def test_seabios_boots_a_disk_on_a_pc(machine, tmp_path):
    """SeaBIOS sets the PC up: PCI, shadow memory, its own MP table; GRUB and Linux come from a virtio disk on PCI."""
    with system(machine, tmp_path, conf("pc", "bios"), "bios-256k.bin") as run:
        run.wait("guest", "debian login:")
        assert 1000 < exits(run) <= 40000
        run.type("guest", "root\n")
        run.wait("guest", "# ")
        run.type("guest", "ls /sys/firmware/acpi/tables /sys/firmware/dmi/tables; echo TOLD-$((6*7))\n")
        run.wait("guest", "TOLD-42")
        said = run.text("guest")
        for table in ["APIC", "DSDT", "FACP", "FACS", "HPET", "smbios_entry_point"]:
            assert table in said, table


def test_seabios_starts_two_processors_of_a_pc(tmp_path):
    """SeaBIOS counts them by fw_cfg and INIT and start-up messages of its xAPIC, and so does Linux, whose MADT is ours.
    Not in Bochs: two vCPUs that wait for each other on one CPU take it minutes, by its long time slices."""
    with system("qemu-1", tmp_path, conf("pc", "bios", vcpus=2), "bios-256k.bin") as run:
        run.wait("system", "Found 2 cpu(s) max supported 2 cpu(s)")
        run.log_in("guest")
        # Each by a task that is bound to it; a timer and a message between processors have interrupted both.
        run.type("guest", "for n in 0 1; do taskset $((n+1)) sh -c 'echo RUNS-ON $(cut -d\" \" -f39 /proc/self/stat).'; done\n")
        run.wait("guest", "RUNS-ON 0.")
        run.wait("guest", "RUNS-ON 1.")
        run.type("guest", "grep -E 'LOC|RES|CAL' /proc/interrupts; echo TOLD-$((6*7))\n")
        run.wait("guest", "TOLD-42")
        counts = {kind: [int(n) for n in numbers] for kind, *numbers in
                  re.findall(r"(LOC|RES|CAL): +(\d+) +(\d+)", run.text("guest"))}
        assert all(counts["LOC"]) and all(a + b for a, b in zip(counts["RES"], counts["CAL"]))


def test_ovmf_boots_the_same_disk(tmp_path):
    """OVMF keeps its variables in flash, and finds GRUB in the disk's EFI partition; Linux sees UEFI beneath it, and looks
    for expansion ROMs where OVMF has left none."""
    files = {"variables": os.path.join(FIRMWARE, "ovmf-variables.bin")}
    text = conf("pc", "uefi", memory="256M").replace('firmware "firmware"', 'firmware "firmware" variables "variables"')
    with system("qemu-1", tmp_path, text, "ovmf-code.bin", files=files) as run:
        run.log_in("guest")
        run.type("guest", "ls /sys/firmware/efi; echo TOLD-$((6*7))\n")
        run.wait("guest", "runtime")
        run.wait("guest", "TOLD-42")
        assert not re.search(r"unknown address 0x[c-f][0-9a-f]{4} ", run.text("system"))


def test_ovmf_reads_a_file_by_one_request(tmp_path):
    """It agrees on no limits of a virtio disk's requests, and asks for all of a kernel at once: more than block-server takes."""
    kernel = os.path.join(ROOT, "build", "guests", "linux", "vmlinuz-generic")
    initrd, image, script = kernel.replace("vmlinuz", "initrd-pc"), tmp_path / "image", tmp_path / "script"
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    script.write_text(r"fs0:\vmlinuz initrd=\initrd quiet console=ttyS0 septum.name=guest")
    subprocess.run(["mformat", "-i", image, "-v", "EFI", "-N", "5e970003", "::"], check=True)
    for path, name in [(kernel, "vmlinuz"), (initrd, "initrd"), (script, "startup.nsh")]:
        subprocess.run(["mcopy", "-i", image, path, f"::/{name}"], check=True)
    text = """
        volume system { file "image" access private }
        partition guest {
            memory 256M board pc console uart
            boot uefi { firmware "firmware" variables "variables" }
            disk system
        }"""
    files = {"variables": os.path.join(FIRMWARE, "ovmf-variables.bin"), "image": image.read_bytes()}
    assert os.path.getsize(kernel) > BLOCK_BYTES_MAX
    with system("qemu-1", tmp_path, text, "ovmf-code.bin", files=files) as run:
        run.wait("guest", "SEPTUM-GUEST-UP guest")


def test_firmware_that_is_none_is_refused(tmp_path):
    """An image that is not whole pages can't end at 4 GiB."""
    with System("qemu-1", "partition guest { boot bios { firmware \"firmware\" } }", files={"firmware": bytes(5000)},
                directory=tmp_path / "run") as run:
        run.wait("system", "its firmware's image has 5000 bytes")
        run.wait("system", "must be whole pages")
