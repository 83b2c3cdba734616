#!/usr/bin/python3
"""Keep docs/ true: measured figures and tables that have a single source.

A figure in a document stands between marks, and so does a generated table:

    <!--figure ipc_roundtrip_cross_space-->187<!--/figure-->
    <!--table syscalls--> ... <!--/table-->        (also: errors, counters, limits)
    <!--table partition_words--> ...                  (what `septum words` prints)
    <!--table guest_cpuid-->, <!--table guest_msrs-->  (the policies of vmm-server/cpu)
    <!--table enum_NAME--> ... <!--/table-->       (an enum of microvisor/abi/septum.h)
    <!--lines core/ipc.c core/ipc.h-->480<!--/lines-->  (files or folders of microvisor/, or
                                                      `below`: all marks up to the next `## `)

`make docs` writes them; `docs.py --check` fails where a figure differs by more than 1 % (10 % where a
disk answers by the host's clock, or a sleep's length depends on when it begins) from build/bench/*.txt, a table from its source, or a number of lines by more than a quarter.
"""
import argparse
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FIGURE = re.compile(r"<!--figure ([\w.]+)-->(.*?)<!--/figure-->")
TABLE = re.compile(r"<!--table (\w+)-->(.*?)<!--/table-->", re.S)
LINES = re.compile(r"<!--lines ([^>]*?)-->(.*?)<!--/lines-->")

# How a sleep falls between the ticks of two clocks decides about the last: seen from 1.38 to 1.42.
LOOSE = {"bios_boot_exits_lean", "bios_boot_exits_pc", "guest_sleep_ratio"}


def source(path):
    with open(os.path.join(ROOT, path)) as file:
        return re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)


def figures():
    found = {}
    for path in glob.glob(os.path.join(ROOT, "build", "bench", "*.txt")):
        with open(path) as file:
            for line in file:
                words = line.split()
                if len(words) >= 3 and not line.startswith("#"):
                    found[words[0]] = words[1]
    return found


def with_commas(value):
    return f"{int(value):,}" if re.fullmatch(r"\d+", value) else value


def table_syscalls():
    rows = ["| nr | call | arguments | errors | meaning |", "|---|---|---|---|---|"]
    for number, name, arguments, errors, meaning in re.findall(
            r'SYSCALL\(\s*(\d+)\s*,\s*(\w+)\s*,\s*\(([^)]*)\)\s*,\s*ERRORS:\s*([A-Z0-9_|\s]+?)\s*,'
            r'\s*"([^"]*)"\s*\)', source("microvisor/abi/syscalls.def")):
        errors = ", ".join(re.split(r"[|\s]+", errors))
        rows.append(f"| {number} | `{name}` | {arguments} | {errors} | {meaning} |")
    return rows


def table_errors():
    rows = ["| nr | status | meaning |", "|---|---|---|"]
    for number, name, meaning in re.findall(
            r'ERROR\(\s*(\d+)\s*,\s*(\w+)\s*,\s*"([^"]*)"\s*\)', source("microvisor/abi/errors.def")):
        rows.append(f"| {number} | `{name}` | {meaning} |")
    return rows


def table_limits():
    """Disk and network figures move by some percent from run to run, and are quoted nowhere: `make bench` shows them."""
    measured = figures()
    rows = ["| figure | measured | at most |", "|---|---|---|"]
    for line in source("bench/limits.txt").splitlines():
        if line.strip() and not line.startswith("#"):
            name, limit = line.split()
            if name.startswith(("blk_", "net_", "lwip_")):
                continue
            rows.append(f"| `{name}` | <!--figure {name}-->"
                        f"{with_commas(measured.get(name, '-'))}<!--/figure--> | {with_commas(limit)} |")
    return rows


def table_counters():
    rows = ["| counter | what is counted |", "|---|---|"]
    for name, meaning in re.findall(r'COUNTER\(\s*(\w+)\s*,\s*"([^"]*)"\s*\)',
                                    source("microvisor/abi/counters.def")):
        rows.append(f"| `{name}` | {meaning} |")
    return rows


def table_enum(name):
    """Value, name and comment of each enumerator; those that only bound the others are left out."""
    with open(os.path.join(ROOT, "microvisor/abi/septum.h")) as file:
        body = re.search(r"enum %s \{(.*?)\n\};" % name, file.read(), re.S)[1]
    rows, value = ["| value | name | meaning |", "|---|---|---|"], -1
    for item, given, comment in re.findall(
            r"^ *([A-Z][A-Z0-9_]*)(?: = ([^,/\n]+?))? *,? *(?:/\*(.*?)\*/)? *$", body, re.M | re.S):
        value = eval(given, {}) if given and re.fullmatch(r"[\d <]+", given) else value + 1
        if item.endswith(("_COUNT", "_ALL", "_RIGHTS", "_MASK")):
            continue
        meaning = " ".join(comment.split()).replace("|", "\\|")
        rows.append(f"| {value} | `{item}` | {meaning} |")
    return rows


def table_partition_words():
    """The words of partition files, from the table of lib/partition/schema.c."""
    tool = os.path.join(ROOT, "build", "septum")
    return subprocess.run([tool, "words"], capture_output=True, text=True, check=True).stdout.splitlines()


def policy_rows(path):
    """The rows of a policy of vmm-server: ([first words], the reason) each."""
    text = source(path)
    body = text[text.index("static const struct row rows[] = {"):]
    body = body[body.index("{") + 1:body.index("\n};")]
    values = dict(re.findall(r"#define (\w+) +(0x[0-9a-f]+)u?\b", text))
    for row in re.findall(r'\n    (.*?"\s*[})]),', body, re.S):
        words = re.sub(r'"[^"]*"', "", row).replace("(", " ").replace("{", " ").replace(",", " ").split()
        if words[0] == "LEAF_HYPERVISOR" and words[1] == "+":
            words[0:3] = [hex(int(values[words[0]], 16) + int(words[2]))]
        yield [values.get(word, word) for word in words], "".join(re.findall(r'"([^"]*)"', row))


def table_guest_cpuid():
    rows = ["| leaf | what a guest sees of it, and why |", "|---|---|"]
    for words, reason in policy_rows("vmm-server/cpu/cpuid.c"):
        rows.append(f"| `{words[0]}` | {reason} |")
    return rows


def table_guest_msrs():
    rows = ["| MSR | vendor | kind | what it is, and why |", "|---|---|---|---|"]
    kinds = {"CONSTANT": "constant", "ABSENT": "#GP", "STATE": "register", "SPECIAL": "modelled"}
    for words, reason in policy_rows("vmm-server/cpu/msr.c"):
        kind = words[0].split("_")[0] if words[0].endswith("_ROW") else words[3]
        first, *rest = [word for word in words if word.startswith("0x")]
        last = first if kind == "STATE" else rest[0]
        vendor = next((word for word in words if word in ("INTEL", "AMD")), "BOTH")
        numbers = f"`{first}`" if first == last else f"`{first}` - `{last}`"
        rows.append(f"| {numbers} | {vendor.lower()} | {kinds[kind]} | {reason} |")
    return rows


TABLES = {"guest_cpuid": table_guest_cpuid, "guest_msrs": table_guest_msrs, "syscalls": table_syscalls, "errors": table_errors, "counters": table_counters,
          "limits": table_limits, "partition_words": table_partition_words}


def table_rows(name):
    return table_enum(name[5:]) if name.startswith("enum_") else TABLES[name]()


def count_lines(names):
    """Lines of files and folders of microvisor/, together."""
    total = 0
    for name in names.split():
        path = os.path.join(ROOT, "microvisor", name)
        files = [path] if os.path.isfile(path) else sorted(
            os.path.join(folder, file) for folder, _, found in os.walk(path) for file in found)
        for file in files:
            with open(file, "rb") as content:
                total += content.read().count(b"\n")
    return total


def lines_of(match):
    """What a mark of LINES should say."""
    if match[1] != "below":
        return count_lines(match[1])
    section = match.string[match.end():].partition("\n## ")[0]
    return sum(count_lines(names) for names, _ in LINES.findall(section) if names != "below")


def rewritten(text, measured):
    text = TABLE.sub(lambda m: f"<!--table {m[1]}-->\n" + "\n".join(table_rows(m[1]))
                     + "\n<!--/table-->", text)
    text = LINES.sub(lambda m: f"<!--lines {m[1]}-->{lines_of(m):,}<!--/lines-->", text)
    return FIGURE.sub(lambda m: f"<!--figure {m[1]}-->"
                      f"{with_commas(measured.get(m[1], m[2]))}<!--/figure-->", text)


def complaints(path, text, measured):
    """measured: None leaves the figures alone."""
    for name, quoted in [] if measured is None else FIGURE.findall(text):
        if name not in measured:
            yield f"{path}: figure {name} was not measured"
            continue
        try:
            quoted_value, value = float(quoted.replace(",", "")), float(measured[name])
        except ValueError:
            yield f"{path}: figure {name} has no value yet: run `make docs`"
            continue
        if abs(quoted_value - value) > (0.1 if name in LOOSE else 0.01) * abs(value):
            yield f"{path}: {name} is {measured[name]}, but the text says {quoted}: run `make docs`"
    for name, body in TABLE.findall(text):
        if name != "limits" and body.strip() != "\n".join(table_rows(name)):
            yield f"{path}: table {name} is out of date: run `tools/docs.py`"
    for match in LINES.finditer(text):
        lines, digits = lines_of(match), match[2].replace(",", "")
        if not digits.isdigit() or abs(int(digits) - lines) > max(30, lines / 4):
            yield f"{path}: {match[1]}: {lines} lines, but the text says {match[2]}: run `tools/docs.py`"


def main():
    parser = argparse.ArgumentParser(description="Keep docs/ true.")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--tables-only", action="store_true", help="with --check: no figures")
    options = parser.parse_args()
    measured, wrong = None if options.tables_only else figures(), []
    for path in [os.path.join(ROOT, "README.md")] + sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))):
        if not os.path.exists(path):
            continue
        with open(path) as file:
            text = file.read()
        if options.check:
            wrong += complaints(os.path.relpath(path, ROOT), text, measured)
        elif rewritten(text, measured) != text:
            with open(path, "w") as file:
                file.write(rewritten(text, measured))
            print(f"{os.path.relpath(path, ROOT)}: written")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
