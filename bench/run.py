#!/usr/bin/python3
"""Measure: write build/bench/kernel.txt, linux.txt, services.txt and guests.txt, and print the same.

A line is `name value unit # comment`. Bare names come from QEMU, where the time-stamp counter
counts instructions; what Bochs measures has `_bochs` in its name, unless the name says vmx.
Mitigations are off for the bare names; where `auto` gives another value, a line with
`_mitigated` shows it. Progress goes to standard error.
"""
import argparse
import datetime
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "tools")]
import kernel_size                                                     # noqa: E402
import linux                                                           # noqa: E402
import services                                                        # noqa: E402
import systems                                                         # noqa: E402
from machines import MACHINES                                          # noqa: E402
from protocol import run_suite                                         # noqa: E402

OUTPUT = os.path.join(ROOT, "build", "bench", "kernel.txt")
LINUX_OUTPUT = os.path.join(ROOT, "build", "bench", "linux.txt")
SERVICES_OUTPUT = os.path.join(ROOT, "build", "bench", "services.txt")
GUESTS_OUTPUT = os.path.join(ROOT, "build", "bench", "guests.txt")
OUTPUTS = [OUTPUT, LINUX_OUTPUT, SERVICES_OUTPUT, GUESTS_OUTPUT]
# What runs guests, by the word of --part: where its figures go, and what measures them.
PARTS = {"linux": (LINUX_OUTPUT, linux), "services": (SERVICES_OUTPUT, services), "guests": (GUESTS_OUTPUT, systems)}
LIMITS = os.path.join(ROOT, "bench", "limits.txt")
KERNEL = os.path.join(ROOT, "build", "release", "septum.elf")
TASK = os.path.join(ROOT, "build", "release", "bench", "kernel.elf")
QEMU, BOCHS = "qemu-count", "vmx-1"


def progress(text):
    print(text, file=sys.stderr, flush=True)


def with_suffix(name, suffix):
    """The suffix goes before the dot: a.cr3_loads becomes a_bochs.cr3_loads."""
    head, dot, tail = name.partition(".")
    return head + suffix + dot + tail


def bochs_name(name):
    return name if "vmx" in name else with_suffix(name, "_bochs")


def measure(machine, options):
    """[(name, value, "unit" or "unit comment")] of one boot of the bench task."""
    progress(f"bench: {machine} {options}")
    result = run_suite(
        MACHINES[machine], KERNEL, TASK,
        os.path.join(ROOT, "build", "runs", f"bench-{machine}-{options.replace('=', '-')}"),
        options=options, echo=lambda line: progress(f"    {line}"))
    failed = [outcome for outcome in result.outcomes if outcome.verdict != "pass"]
    for outcome in failed:
        progress(f"bench: {machine}: {outcome.name}: {outcome.text}")
    return result.figures, bool(failed)


def line(name, value, rest):
    unit, _, comment = rest.partition(" ")
    comment = comment.lstrip("# ")
    return f"{name} {value} {unit}" + (f" # {comment}" if comment else "")


def text_of(command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else "unknown"


def header():
    dirty = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=ROOT,
                           stderr=subprocess.DEVNULL).returncode
    return [
        f"# commit {text_of(['git', 'rev-parse', '--short=12', 'HEAD'])}{' (changed)' if dirty else ''}",
        f"# date {datetime.date.today().isoformat()}",
        f"# compiler {text_of(['gcc', '--version'])}",
        f"# qemu {MACHINES[QEMU].version()}, -cpu {MACHINES[QEMU].cpu_model}, icount",
        f"# bochs {MACHINES[BOCHS].version()}, model {MACHINES[BOCHS].cpu_model}",
    ]


def bench(repeat):
    bare, broken = measure(QEMU, "mitigations=off")
    if repeat:
        again, _ = measure(QEMU, "mitigations=off")
        for first, second in zip(bare, again):
            if first[:2] != second[:2]:
                progress(f"bench: does not repeat: {first} {second}")
                broken = True
    mitigated, bad = measure(QEMU, "mitigations=auto")
    broken |= bad
    bochs, bad = measure(BOCHS, "mitigations=off")
    broken |= bad

    lines = header()
    with_mitigations = {name: (value, rest) for name, value, rest in mitigated}
    for name, value, rest in bare:
        lines.append(line(name, value, rest))
        other = with_mitigations.get(name)
        if other and other[0] != value:
            lines.append(line(with_suffix(name, "_mitigated"), *other))
    lines += [line(bochs_name(name), value, rest) for name, value, rest in bochs]
    lines.append(line("kernel_lines", kernel_size.kernel_lines(), "lines"))
    lines += [line(f"kernel_lines.{part}", code, "lines") for part, code in kernel_size.part_lines().items()]
    lines.append(line("kernel_check_lines", kernel_size.check_lines(), "lines debug builds only"))
    lines.append(line("kernel_image_bytes", kernel_size.image_bytes(KERNEL),
                      "bytes text and read-only data without the symbol table"))
    foreign = kernel_size.foreign_objects(KERNEL + ".map")
    if foreign:
        progress("bench: linked into the kernel from outside microvisor/: " + " ".join(foreign))
        broken = True

    write(OUTPUT, lines)
    for part in PARTS:
        bench_part(part)
    return broken


def bench_part(part):
    output, module = PARTS[part]
    write(output, header() + [f"# guest kernel {linux.release()}"] + [line(*figure) for figure in module.measure(progress)])


def write(path, lines):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)


def read_figures(path):
    figures = {}
    with open(path) as file:
        for text in file:
            words = text.split()
            if words and not text.startswith("#"):
                figures[words[0]] = float(words[1])
    return figures


def check():
    figures, over = {name: value for path in OUTPUTS for name, value in read_figures(path).items()}, 0
    for name, limit in read_figures(LIMITS).items():
        value = figures.get(name)
        verdict = "missing" if value is None else "ok" if value <= limit else "over"
        over += verdict != "ok"
        shown = "-" if value is None else f"{value:g}" if value % 1 else str(int(value))
        print(f"{verdict:8} {name:30} {shown:>12}  at most {limit:g}" if limit % 1 else
              f"{verdict:8} {name:30} {shown:>12}  at most {int(limit)}")
    print(f"{over} of {len(read_figures(LIMITS))} limits are not kept" if over else "all limits are kept")
    return over


def main():
    parser = argparse.ArgumentParser(description="Measure the kernel and a Linux guest.")
    parser.add_argument("--check", action="store_true", help="compare with bench/limits.txt")
    parser.add_argument("--if-stale", action="store_true",
                        help="measure only when the binaries are newer than the figures")
    parser.add_argument("--repeat", action="store_true", help="measure QEMU twice: must be equal")
    parser.add_argument("--part", choices=sorted(PARTS), help="measure this part alone")
    options = parser.parse_args()
    os.chdir(ROOT)
    if not os.path.exists(KERNEL) or not os.path.exists(TASK):
        sys.exit("bench: there is no kernel or no bench task yet: run `make`")
    if options.part:
        return bench_part(options.part)
    newest = max(os.path.getmtime(path) for path in [KERNEL, TASK] + services.programs() + systems.programs())
    broken = False
    reuse = options.check or options.if_stale
    if not reuse or any(not os.path.exists(path) or os.path.getmtime(path) < newest for path in OUTPUTS):
        broken = bench(options.repeat)
    if options.check:
        return 1 if check() or broken else 0
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
