#!/usr/bin/python3
"""Link the kernel with a table of its own symbols.

The first link has an empty table.  Its function symbols become the table, and the kernel is
linked again until the table that went in is the table that comes out.

The table (section .symbols) as C sees it:

    struct kernel_symbol { uint32_t offset, name; };       sorted by offset
    extern const struct kernel_symbol kernel_symbols[];
    extern const uint32_t kernel_symbol_count;
    extern const char kernel_symbol_names[];               name indexes this

offset counts from KERNEL_BASE, the start of the top 2 GiB.
"""
import argparse
import os
import re
import shlex
import subprocess
import sys

KERNEL_BASE = 0xFFFFFFFF80000000


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout


def function_symbols(nm, elf):
    """(offset, name) of every function of the high half, one name per address."""
    by_offset = {}
    for line in run(nm + ["--defined-only", elf]).splitlines():
        match = re.match(r"([0-9a-f]+) ([TtWw]) (\S+)$", line)
        if not match:
            continue
        offset = int(match[1], 16) - KERNEL_BASE
        name = match[3]
        if not 0 <= offset < 1 << 32 or name.startswith(".L"):
            continue
        # Of several names for one address the global one wins, then the shortest.
        rank = (match[2] not in "TW", len(name), name)
        if offset not in by_offset or rank < by_offset[offset][0]:
            by_offset[offset] = (rank, name)
    return [(offset, by_offset[offset][1]) for offset in sorted(by_offset)]


def table_source(symbols):
    out = ['.section .symbols, "a"', ".balign 8",
           ".globl kernel_symbols, kernel_symbol_count, kernel_symbol_names", "kernel_symbols:"]
    names, at = [], 0
    for offset, name in symbols:
        out.append(f"    .long {offset:#x}, {at}")
        names.append(f'    .asciz "{name}"')
        at += len(name) + 1
    out += ["kernel_symbol_count:", f"    .long {len(symbols)}", "kernel_symbol_names:"] + names
    out += ['    .asciz ""', '.section .note.GNU-stack, "", @progbits', ""]
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description="Link the kernel with its symbol table.")
    parser.add_argument("--output", required=True)
    parser.add_argument("--script", required=True)
    parser.add_argument("--ld", required=True, type=shlex.split)
    parser.add_argument("--cc", required=True, type=shlex.split)
    parser.add_argument("--nm", required=True, type=shlex.split)
    parser.add_argument("objects", nargs="+")
    args = parser.parse_args()

    gen = os.path.join(os.path.dirname(args.output), "gen")
    os.makedirs(gen, exist_ok=True)
    source, table = os.path.join(gen, "symbols.S"), os.path.join(gen, "symbols.o")
    linked = args.output + ".new"
    symbols = []
    for _ in range(4):
        with open(source, "w") as file:
            file.write(table_source(symbols))
        run(args.cc + ["-c", source, "-o", table])
        run(args.ld + ["-T", args.script, f"-Map={args.output}.map", "-o", linked]
            + args.objects + [table])
        found = function_symbols(args.nm, linked)
        if found == symbols:
            os.rename(linked, args.output)
            return
        symbols = found
    sys.exit(f"{args.output}: the symbol table does not settle; "
             "does .symbols stand after .text in the linker script?")


main()
