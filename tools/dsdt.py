#!/usr/bin/env python3
"""Compiles vmm-server/firmware/dsdt_pc.asl into dsdt_pc.h beside it, so that no build needs iasl.

    dsdt.py [--check]      --check: fail if dsdt_pc.h is not what the source gives
"""
import pathlib
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent / "vmm-server" / "firmware" / "dsdt_pc.asl"
HEADER_BYTES = 36        # of the table: acpi_finish writes it anew


def compiled():
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(["iasl", "-we", "-p", folder + "/dsdt", SOURCE], capture_output=True, text=True)
        if made.returncode:
            sys.exit(made.stdout + made.stderr)
        data = pathlib.Path(folder, "dsdt.aml").read_bytes()[HEADER_BYTES:]
    lines = ["    " + " ".join(f"0x{byte:02x}," for byte in data[i:i + 16]) for i in range(0, len(data), 16)]
    return ("/* Made by tools/dsdt.py of dsdt_pc.asl: the definition block behind the table's header. */\n"
            "#ifndef VMM_FIRMWARE_DSDT_PC_H\n#define VMM_FIRMWARE_DSDT_PC_H\n\n#include <stdint.h>\n\n"
            "/* clang-format off */\nstatic const uint8_t dsdt_pc[] = {\n" + "\n".join(lines) +
            "\n};\n/* clang-format on */\n\n#endif\n")


def main():
    target = SOURCE.with_suffix(".h")
    text = compiled()
    if "--check" in sys.argv[1:]:
        if target.read_text() != text:
            sys.exit(f"{target.name} is not what {SOURCE.name} gives: run tools/dsdt.py")
    else:
        target.write_text(text)


if __name__ == "__main__":
    main()
