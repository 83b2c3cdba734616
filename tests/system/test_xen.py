"""A hypervisor as a guest: Debian's Xen, with a paravirtual Debian Linux in it."""
import os

import pytest

from guests import System
from machines import ROOT

GUESTS = os.path.join(ROOT, "build", "guests")
FILES = {"xen": os.path.join(GUESTS, "zoo", "xen"), "vmlinuz": os.path.join(GUESTS, "linux", "vmlinuz-generic"),
         "initrd": os.path.join(GUESTS, "linux", "initrd-generic")}
# The first word of each text is the file's name to Xen. Without a BIOS it must not ask one, and QEMU's IRET in user mode
# reads the stack as the supervisor.
CONF = """
    partition xen {
        memory 512M board pc console uart
        on panic stop
        boot multiboot2 {
            kernel "xen"
            module "vmlinuz" "linux console=hvc0 quiet septum.name=dom0"
            module "initrd"
            command-line "xen no-real-mode smap=0 console=com1 com1=115200,8n1 dom0_mem=256M"
        }
    }"""


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-measured"])
def test_xen_runs_a_paravirtual_linux(machine, tmp_path):
    """It wants to be as high in memory as can be, and its modules elsewhere; Linux is a program of ring 3 to the processor."""
    for path in FILES.values():
        if not os.path.exists(path):
            pytest.skip(f"{os.path.relpath(path, ROOT)} is not there: run `make guests guests-zoo`")
    with System(machine, CONF, files=FILES, directory=tmp_path / "run", memory_mib=768, seconds=400, flavour="release") as run:
        run.wait("xen", "SEPTUM-GUEST-UP dom0")
        run.wait("xen", "dom0# ")
        run.type("xen", "cat /sys/hypervisor/type; echo $((6*7))\n")
        run.wait("xen", "\nxen")
        run.wait("xen", "\n42")
