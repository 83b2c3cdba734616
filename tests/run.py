#!/usr/bin/python3
"""Run Septum's tests and print one count for all of them as the last line.

    tests/run.py                                      everything, as `make test`
    tests/run.py --machine vmx-1 --test 'ipc_*'       some kernel tests on one machine
    tests/run.py --machine qemu-1 --test ipc_x --gdb  wait for `gdb -ex 'target remote :1234'`

Kinds: unit (host programs under sanitizers), system (pytest), kernel (the test task on the
machines), hostile (random system calls), execute (the VMM's execution of instructions
against the machine's own).  With CI=true a skip is a failure unless
tests/allowed-skips has it.
"""
import argparse
import concurrent.futures
import fnmatch
import glob
import os
import random
import re
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from machines import EXTRA, FIVE, MACHINES, ROOT                       # noqa: E402
from protocol import Listener, Outcome, Result, run_suite              # noqa: E402

KINDS = ["unit", "system", "kernel", "hostile", "execute"]
JOBS = 2
EXECUTE_MACHINES = ["qemu-1", "vmx-1"]
EXECUTE_CASES = 100_000
FIXED_SEED = 1
LINES_SHOWN = 60          # of what a failed system test says
# About how long the long files of tests/system take: only their order matters.
SYSTEM_SECONDS = {"partitions": 350, "guests": 300, "block": 280, "ipxe": 230, "xen": 220, "boot_kinds": 210, "uboot": 450,
                  "root": 165, "firmware": 154, "memtest": 154, "real_mode": 142, "old_disks": 140, "wire": 111, "queues": 110,
                  "services": 106, "iommu": 105, "pc": 104, "status_page": 100, "metronome": 67, "lost_writes": 65, "zoo": 65,
                  "septum": 64, "sockets": 62, "network": 45, "vmm_deaths": 43, "services_linux": 41, "mach": 32, "step": 31,
                  "runner": 27, "chips": 18}
SYSTEM_SECONDS_OTHERS = 10
HOSTILE_CALLS = {False: 400_000, True: 100_000}     # by machine.slow; half fixed seed, half fresh


class Report:
    """Counts, and prints what matters as it happens."""

    def __init__(self, verbose):
        self.verbose = verbose
        self.strict = os.environ.get("CI") == "true"
        self.allowed = list(read_allowed_skips())
        self.passed = self.failed = self.skipped = 0
        self.lock = threading.Lock()

    def say(self, text):
        with self.lock:
            print(text, flush=True)

    def skip_allowed(self, machine, name):
        return any(fnmatch.fnmatchcase(machine, m) and fnmatch.fnmatchcase(name, t)
                   for m, t in self.allowed)

    def take(self, title, machine, result, seconds):
        with self.lock:
            counts = {"pass": 0, "fail": 0, "skip": 0}
            for outcome in result.outcomes:
                verdict, text = outcome.verdict, outcome.text
                if verdict == "skip" and self.strict and not self.skip_allowed(machine, outcome.name):
                    verdict, text = "fail", f"skipped, and tests/allowed-skips has it not: {text}"
                counts[verdict] += 1
                if verdict != "pass" or self.verbose:
                    print(f"{verdict.upper()} {title} {outcome.name}{': ' if text else ''}{text}")
                if verdict == "fail" and outcome.log:
                    print(f"    log: {outcome.log}")
            boots = getattr(result, "boots", 0)
            print(f"{title}: {counts['pass']} passed, {counts['fail']} failed, "
                  f"{counts['skip']} skipped ({seconds:.0f} s{f', {boots} boots' if boots > 1 else ''})",
                  flush=True)
            self.passed += counts["pass"]
            self.failed += counts["fail"]
            self.skipped += counts["skip"]

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 1 if self.failed else 0


def read_allowed_skips():
    with open(os.path.join(ROOT, "tests", "allowed-skips")) as file:
        for line in file:
            words = line.split(None, 2)
            if words and not words[0].startswith("#"):
                yield words[0], words[1]


def flavour_path(flavour, name):
    return os.path.join(ROOT, "build", flavour, name)


def sanitizer_words(output):
    """The lines of a crash that say what and where."""
    lines = output.splitlines()
    first = next((at for at, line in enumerate(lines)
                  if "runtime error" in line or "ERROR:" in line), max(0, len(lines) - 12))
    return lines[first:first + 12]


def unit_job(report, compiler, options):
    """Every unit-test program of one compiler."""
    started, result = time.monotonic(), Result()
    for program in sorted(glob.glob(os.path.join(ROOT, "build", "unit", compiler, "*_test"))):
        listener = Listener()
        arguments = [f"test={options.test}"] if options.test else []
        arguments += [f"seed={options.seed}"] if options.seed is not None else []
        try:
            done = subprocess.run([program] + arguments, stdout=subprocess.PIPE, errors="replace",
                                  stderr=subprocess.STDOUT, text=True, timeout=600)
            output, status = done.stdout, done.returncode
        except subprocess.TimeoutExpired as late:
            output, status = (late.stdout or b"").decode("utf-8", "replace"), "none, after 600 s"
        for line in output.splitlines():
            listener.hear(line)
        name = os.path.basename(program)
        if not listener.end or (status != 0 and not listener.count("fail")):
            listener.fail(listener.running or name, f"{name} ended with status {status}:\n"
                          + "\n".join(f"    {line}" for line in sanitizer_words(output)))
        result.take(listener)
    report.take(f"unit {compiler}", f"unit-{compiler}", result, time.monotonic() - started)


def system_name(path):
    return os.path.basename(path)[len("test_"):-len(".py")]


def system_files():
    """What pytest drives, a job each, those that take longest first, so that no long one is left alone at the end."""
    return sorted(glob.glob(os.path.join(ROOT, "tests", "system", "test_*.py")),
                  key=lambda path: -SYSTEM_SECONDS.get(system_name(path), SYSTEM_SECONDS_OTHERS))


def system_job(report, path, options):
    """A file of tests driven by pytest; their results come back as JUnit XML."""
    started, result = time.monotonic(), Result()
    directory = os.path.join(ROOT, "build", "runs")
    os.makedirs(directory, exist_ok=True)
    name = system_name(path)
    junit, log = (os.path.join(directory, f"pytest-{name}.{kind}") for kind in ("xml", "log"))
    if os.path.exists(junit):
        os.unlink(junit)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path,
               f"--junitxml={junit}"]
    if options.test:
        command += ["-k", options.test.replace("*", "")]
    with open(log, "w") as file:
        status = subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT).returncode
    log = os.path.relpath(log)
    if os.path.exists(junit):
        for case in xml.etree.ElementTree.parse(junit).iter("testcase"):
            verdict, text = "pass", ""
            for child in case:
                if child.tag in ("failure", "error"):
                    # Where the log is gone with the machine, this is all that is left of what came instead.
                    lines = (child.get("message") or "error").splitlines()
                    verdict, text = "fail", "\n      ".join(lines[:LINES_SHOWN])
                elif child.tag == "skipped":
                    verdict, text = "skip", child.get("message") or ""
            result.outcomes.append(Outcome(verdict, case.get("name"), text, log))
    if status not in (0, 1, 5) or (status == 1 and not result.count("fail")):
        result.outcomes.append(Outcome("fail", "pytest", f"pytest ended with status {status}", log))
    report.take(f"system {name}", "host", result, time.monotonic() - started)


def kernel_job(report, machine_name, flavour, options, cover):
    machine, started = MACHINES[machine_name], time.monotonic()
    echo = print if options.echo else None
    result = run_suite(
        machine, flavour_path(flavour, "septum.elf"), flavour_path(flavour, "tests/kernel.elf"),
        os.path.join(ROOT, "build", "runs", f"{machine_name}-{flavour}-kernel"),
        options=options.append or "", test=options.test, seed=options.seed, echo=echo,
        silence_s=options.silence, gdb=options.gdb)
    cover |= result.cover
    report.take(f"{machine_name} {flavour}", machine_name, result, time.monotonic() - started)
    for figure in result.figures if options.test else []:
        report.say("    " + " ".join(figure))


def hostile_job(report, machine_name, options, cover):
    """Half of the calls from a fixed seed, half from a fresh one, which is printed."""
    machine, started = MACHINES[machine_name].by_the_hosts_clock(), time.monotonic()
    total = Result()
    fresh = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    seeds = [FIXED_SEED, fresh] if options.seed is None else [fresh]
    calls = options.calls or HOSTILE_CALLS[machine.slow] // len(seeds)
    for seed in seeds:
        result = run_suite(
            machine, flavour_path("debug", "septum.elf"), flavour_path("debug", "tests/hostile.elf"),
            os.path.join(ROOT, "build", "runs", f"{machine_name}-hostile-{seed}"),
            options=f"calls={calls}", seed=seed, silence_s=options.silence)
        total.outcomes += [outcome._replace(name=f"{outcome.name} seed={seed}")
                           for outcome in result.outcomes]
        total.boots += result.boots
        cover |= result.cover
    report.take(f"{machine_name} hostile (seed {', '.join(map(str, seeds))})", machine_name, total,
                time.monotonic() - started)


def execute_job(report, machine_name, options):
    """Random instructions by the executor and by the machine: a fixed seed, or the one that is asked for."""
    machine, started = MACHINES[machine_name].by_the_hosts_clock(), time.monotonic()
    seed = options.seed if options.seed is not None else FIXED_SEED
    result = run_suite(
        machine, flavour_path("debug", "septum.elf"), flavour_path("debug", "tests/execute.elf"),
        os.path.join(ROOT, "build", "runs", f"{machine_name}-execute-{seed}"),
        options=f"cases={options.calls or EXECUTE_CASES}", seed=seed, silence_s=options.silence,
        echo=print if options.echo else None)
    report.take(f"{machine_name} execute (seed {seed})", machine_name, result, time.monotonic() - started)


def listed_errors(text):
    """(call, error) pairs of abi/syscalls.def."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    for call, errors in re.findall(
            r"SYSCALL\(\s*\d+\s*,\s*(\w+)\s*,\s*\([^)]*\)\s*,\s*ERRORS:\s*([A-Z0-9_|\s]+?)\s*,", text):
        for error in re.split(r"[|\s]+", errors.strip()):
            if error and error != "OK":
                yield call, error


def cover_job(report, cover):
    """Every error that the list of calls names must have been returned by some run."""
    with open(os.path.join(ROOT, "microvisor", "abi", "syscalls.def")) as file:
        listed = list(listed_errors(file.read()))
    missing = [pair for pair in listed if pair not in cover]
    result = Result()
    result.outcomes = [Outcome("pass", f"cover_{call}_{error}", "", "")
                       for call, error in listed if (call, error) in cover]
    if missing:
        result.outcomes += [Outcome("fail", f"cover_{call}_{error}",
                                    "listed in syscalls.def, but no run returned it", "")
                            for call, error in missing]
    report.take("errors returned", "cover", result, 0)


def main():
    parser = argparse.ArgumentParser(description="Run Septum's tests.")
    parser.add_argument("--kind", default=None, help=f"comma list of {', '.join(KINDS)}")
    parser.add_argument("--machine", help=f"comma list or glob of {', '.join(MACHINES)}")
    parser.add_argument("--test", help="glob of test names")
    parser.add_argument("--flavour", choices=["debug", "release"])
    parser.add_argument("--debug", dest="flavour", action="store_const", const="debug")
    parser.add_argument("--release", dest="flavour", action="store_const", const="release")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--calls", type=int, help="how many hostile calls a seed makes, or instructions are compared")
    parser.add_argument("--append", help="more words for the kernel command line")
    parser.add_argument("--silence", type=float, default=120, help="seconds without output: hang")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--gdb", action="store_true", help="wait for gdb on port 1234 (QEMU)")
    parser.add_argument("--echo", action="store_true", help="show the serial lines as they come")
    parser.add_argument("--verbose", action="store_true", help="name the tests that pass, too")
    options = parser.parse_args()
    os.chdir(ROOT)

    narrowed = options.machine or options.test or options.flavour
    kinds = (options.kind or ("kernel" if narrowed else ",".join(KINDS))).split(",")
    if set(kinds) - set(KINDS):
        parser.error(f"--kind: choose from {', '.join(KINDS)}")
    names = [name for name in MACHINES
             if any(fnmatch.fnmatchcase(name, p) for p in options.machine.split(","))
             ] if options.machine else FIVE + EXTRA
    if not names:
        parser.error(f"no such machine; there are: {', '.join(MACHINES)}")
    if options.gdb or (len(names) == 1 and options.test):
        options.echo, options.jobs = True, 1
    if options.gdb:
        print("waiting for: gdb build/debug/septum.elf -ex 'target remote :1234'", flush=True)

    report, cover, jobs = Report(options.verbose), set(), []
    # The slow machines first, so that the two jobs end at about the same time.
    by_cost = sorted(names, key=lambda n: (-MACHINES[n].slow, -MACHINES[n].cpus))
    if "kernel" in kinds:
        have = {f: os.path.exists(flavour_path(f, "tests/kernel.elf"))
                and os.path.exists(flavour_path(f, "septum.elf")) for f in ("debug", "release")}
        matrix = [(n, options.flavour or "debug") for n in by_cost]
        if not options.flavour and not options.machine:
            matrix.append(("qemu-1", "release"))
        for name, flavour in matrix:
            if have[flavour]:
                jobs.append((kernel_job, report, name, flavour, options, cover))
        if not any(have.values()) and kinds == ["kernel"]:
            sys.exit("there is no kernel or no test task yet: run `make`")
    if "hostile" in kinds and os.path.exists(flavour_path("debug", "tests/hostile.elf")):
        jobs += [(hostile_job, report, name, options, cover) for name in by_cost if name in FIVE]
    if "execute" in kinds and os.path.exists(flavour_path("debug", "tests/execute.elf")):
        jobs += [(execute_job, report, name, options) for name in by_cost if name in EXECUTE_MACHINES]
    if "system" in kinds:
        jobs += [(system_job, report, path, options) for path in system_files()]
    if "unit" in kinds:
        jobs = [(unit_job, report, c, options) for c in ("gcc", "clang")] + jobs

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(*job) for job in jobs]
        for future in futures:
            future.result()
    complete = set(FIVE) <= set(names) and not options.test and "hostile" in kinds
    if complete and "kernel" in kinds and os.path.exists(flavour_path("debug", "tests/kernel.elf")):
        cover_job(report, cover)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
