#!/usr/bin/python3
"""How big the kernel is: lines of code by cloc, bytes of text and read-only data.

kernel_lines counts microvisor/ without microvisor/check/. That this is all of the kernel is
checked from the link map: every object linked into the release kernel comes from microvisor/,
but for the generated symbol table.
"""
import argparse
import glob
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KERNEL = os.path.join(ROOT, "build", "release", "septum.elf")

# What the lines are spent on. A file belongs to the first part that names it.
PARTS = {
    "interface": "abi/*",
    "boot": "boot/* x86/acpi.c x86/smp.c x86/tsc.c x86/cpu.c x86/features.*",
    "messages": "core/ipc* core/endpoint.c core/message.c core/notification.c",
    "scheduling": "core/sched* core/thread.*",
    "memory": "core/mapping.* core/frames.* core/tree.* core/quota.* core/device.c x86/paging* x86/tlb.c",
    "revocation": "core/revoke.*",
    "interrupts": "core/interrupt.* x86/ioapic.c x86/apic.c",
    "inspection": "core/inspect.c core/trace.*",
    "objects": "core/*",
    "vcpus": "virt/vcpu* virt/*.def virt/ept.c",
    "vmx": "virt/vmx*",
    "svm": "virt/svm*",
    "iommu": "x86/vtd.c x86/dmar.c",
    "mitigations": "x86/mitigations.* x86/kpti.S",
    "processor": "x86/*",
}


def count(*arguments):
    """Lines of code, by cloc."""
    out = subprocess.run(["cloc", "--force-lang=C,def", "--json", "--quiet", *arguments],
                         capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return json.loads(out or "{}").get("SUM", {"code": 0})["code"]


def kernel_lines():
    return count("--exclude-dir=check", "microvisor")


def part_lines():
    """{part: lines}; a file that belongs to no part is told."""
    folder = os.path.join(ROOT, "microvisor")
    left = {path for path in glob.glob(os.path.join(folder, "*", "*"))
            if os.path.basename(os.path.dirname(path)) != "check"}
    lines = {}
    for part, names in PARTS.items():
        files = {path for name in names.split() for path in glob.glob(os.path.join(folder, name))} & left
        left -= files
        lines[part] = count(*sorted(files))
    if left:
        sys.exit("of no part of the kernel (tools/kernel_size.py): " + " ".join(sorted(left)))
    return lines


def check_lines():
    folder = os.path.join(ROOT, "microvisor", "check")
    return count("microvisor/check") if os.path.isdir(folder) else 0


def foreign_objects(map_path):
    """Objects in the link map that do not come from microvisor/."""
    with open(map_path) as file:
        loads = re.findall(r"^LOAD (\S+)$", file.read(), re.M)
    return [path for path in loads
            if not re.fullmatch(r"(.*/)?build/[a-z-]+/(microvisor/.*\.o|gen/symbols\.o)", path)
            and not path.endswith(".ld")]


def image_bytes(elf):
    """Bytes of loaded sections that are code or not writable, without the symbol table."""
    out = subprocess.run(["readelf", "-SW", elf], capture_output=True, text=True, check=True).stdout
    total = 0
    for name, kind, size, flags in re.findall(
            r"^\s*\[\s*\d+\]\s+(\S+)\s+(\S+)\s+[0-9a-f]+\s+[0-9a-f]+\s+([0-9a-f]+)\s+\S+\s+([A-Za-z]*)",
            out, re.M):
        if "A" in flags and kind != "NOBITS" and name != ".symbols" and (
                "X" in flags or "W" not in flags):
            total += int(size, 16)
    return total


def main():
    parser = argparse.ArgumentParser(description="How big the kernel is.")
    parser.add_argument("--lines", action="store_true", help="count lines only")
    options = parser.parse_args()
    print(f"kernel_lines {kernel_lines()} lines")
    for part, lines in part_lines().items():
        print(f"kernel_lines.{part} {lines} lines")
    print(f"kernel_check_lines {check_lines()} lines")
    if not options.lines:
        print(f"kernel_image_bytes {image_bytes(KERNEL)} bytes")
    if os.path.exists(KERNEL + ".map"):
        foreign = foreign_objects(KERNEL + ".map")
        if foreign:
            sys.exit("linked into the kernel from outside microvisor/: " + " ".join(foreign))


if __name__ == "__main__":
    main()
