#!/usr/bin/python3
"""Long runs: the full counts of random system calls on every machine, of instructions that are executed by the VMM and
by the machine, and of the VMM's randomized unit tests.

A piece is one boot of the hostile task or of the execute task, or one run of a unit-test program, with its own seed. What is done is remembered in
build/soak/ as long as SEED and the binaries are the same, so an interrupted run resumes. With a
budget, the pieces start at a place that the commit decides, so that successive commits cover
different ones; what was left out is printed. The last line is the count.
"""
import argparse
import concurrent.futures
import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from machines import FIVE, MACHINES                                    # noqa: E402
from protocol import Listener, run_suite                                         # noqa: E402

WORK = os.path.join(ROOT, "build", "soak")
KERNEL = os.path.join(ROOT, "build", "debug", "septum.elf")
TASK = os.path.join(ROOT, "build", "debug", "tests", "hostile.elf")
CALLS = 10_000_000                       # on each machine
PIECE = {False: 500_000, True: 100_000}  # by machine.slow
# Runs of unit-test programs. One of execute_test compares 120,000 instructions with the processor's.
UNIT = {"execute_test": 9, "execute_decode_test": 5, "execute_faults_test": 20, "local_apic_random_test": 20,
        "virtio_hostile_test": 20}
# Boots of the task that compares the VMM's execution of instructions with the machine's: 1,000,000 on each.
COMPARE_TASK = os.path.join(ROOT, "build", "debug", "tests", "execute.elf")
COMPARE = {"execute-qemu-1": "qemu-1", "execute-vmx-1": "vmx-1"}
COMPARE_CASES, COMPARE_PIECE = 1_000_000, 100_000
UNIT_PROGRAM = os.path.join(ROOT, "build", "unit", "gcc")
WORKERS = 2


def seconds(text):
    """90, 90s, 20m, 2h"""
    match = re.fullmatch(r"(\d+)([smh]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: say 90s, 20m or 2h")
    return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def digest_of(*paths):
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()[:16]


def pieces(base_seed, names):
    """[(name, machine or unit test, seed, calls or 0)], mixed so that a short budget meets them all."""
    made = []
    for name in names:
        calls, count = 0, UNIT.get(name)
        if name in COMPARE:
            calls, count = COMPARE_PIECE, COMPARE_CASES // COMPARE_PIECE
        elif count is None:
            calls = PIECE[MACHINES[name].slow]
            count = CALLS // calls
        for number in range(count):
            seed = int(hashlib.sha256(f"{base_seed}/{name}/{number}".encode()).hexdigest()[:8], 16)
            made.append((number / count, f"{name}/{number}", name, seed, calls))
    return [piece[1:] for piece in sorted(made)]


def rotated(items):
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True,
                            cwd=ROOT).stdout.strip() or "0"
    start = int(commit[:8], 16) % max(1, len(items))
    return items[start:] + items[:start]


def run_unit(program, seed):
    """One run of a unit-test program, heard as the runner hears it."""
    listener = Listener()
    done = subprocess.run([os.path.join(UNIT_PROGRAM, program), f"seed={seed}"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=900)
    for line in done.stdout.splitlines():
        listener.hear(line)
    if not listener.end or (done.returncode != 0 and not listener.count("fail")):
        listener.fail(listener.running or program, f"ended with status {done.returncode}: {listener.recent}")
    return listener


def main():
    parser = argparse.ArgumentParser(description="Long hostile runs.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=seconds, help="stop starting pieces after this time, e.g. 20m")
    parser.add_argument("--machine", default="*", help="glob of machines and unit tests")
    options = parser.parse_args()
    os.chdir(ROOT)
    names = [name for name in FIVE + list(COMPARE) + list(UNIT) if fnmatch.fnmatchcase(name, options.machine)]
    if not all(os.path.exists(path) for path in (KERNEL, TASK, COMPARE_TASK)):
        print("soak: there is no kernel, or a task is missing")
        print("0 passed, 0 failed, 0 skipped")
        return 0

    os.makedirs(WORK, exist_ok=True)
    programs = [os.path.join(UNIT_PROGRAM, name) for name in UNIT]
    state_path = os.path.join(WORK, f"{digest_of(KERNEL, TASK, COMPARE_TASK, *programs)}-{options.seed}.json")
    state = {}
    if os.path.exists(state_path):
        with open(state_path) as file:
            state = json.load(file)
    every = pieces(options.seed, names)
    todo = [piece for piece in every if state.get(piece[0]) != "pass"]
    if options.budget:
        todo = rotated(todo)
    print(f"soak: SEED={options.seed}, {len(every)} pieces, {len(every) - len(todo)} done before",
          flush=True)
    deadline = time.monotonic() + options.budget if options.budget else None
    lock, counts, ran = threading.Lock(), {"pass": 0, "fail": 0, "skip": 0}, []

    def job(piece):
        name, machine, seed, calls = piece
        if deadline and time.monotonic() > deadline:
            return
        left = deadline - time.monotonic() + 60 if deadline else 3600
        started = time.monotonic()
        if machine in UNIT:
            result = run_unit(machine, seed)
            again = f"build/unit/gcc/{machine} seed={seed}"
        elif machine in COMPARE:
            result = run_suite(MACHINES[COMPARE[machine]].by_the_hosts_clock(), KERNEL, COMPARE_TASK,
                               os.path.join(WORK, "runs", name), options=f"cases={calls}", seed=seed,
                               total_s=max(left, 600))
            again = f"tests/run.py --kind execute --machine {COMPARE[machine]} --seed {seed} --calls {calls}"
        else:
            result = run_suite(MACHINES[machine].by_the_hosts_clock(), KERNEL, TASK,
                               os.path.join(WORK, "runs", name), options=f"calls={calls}", seed=seed,
                               total_s=max(left, 600))
            again = f"tests/run.py --kind hostile --machine {machine} --seed {seed} --calls {calls}"
        with lock:
            ran.append(name)
            failed = result.count("fail")
            state[name] = "fail" if failed else "skip" if result.count("skip") else "pass"
            for verdict in counts:
                counts[verdict] += result.count(verdict)
            print(f"{name} seed={seed}{f' calls={calls}' if calls else ''}: {state[name]} "
                  f"({time.monotonic() - started:.0f} s)", flush=True)
            for outcome in result.outcomes:
                if outcome.verdict == "fail":
                    print(f"FAIL {name} {outcome.name}: {outcome.text}\n    log: {outcome.log}\n"
                          f"    again: {again}")
            if not failed:
                shutil.rmtree(os.path.join(WORK, "runs", name), ignore_errors=True)
            with open(state_path + ".new", "w") as file:
                json.dump(state, file, indent=0)
            os.rename(state_path + ".new", state_path)

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for future in [pool.submit(job, piece) for piece in todo]:
            future.result()
    left = [piece[0] for piece in every if state.get(piece[0]) is None]
    for name in names:
        count = sum(piece.startswith(name + "/") for piece in left)
        if count and name in UNIT:
            print(f"left out: {name}: {count} of {UNIT[name]} runs")
        elif count and name in COMPARE:
            print(f"left out: {name}: {count * COMPARE_PIECE:,} of {COMPARE_CASES:,} instructions")
        elif count:
            calls = count * PIECE[MACHINES[name].slow]
            print(f"left out: {name}: {count} pieces ({calls:,} of {CALLS:,} calls)")
    print(f"{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped")
    return 1 if counts["fail"] else 0


if __name__ == "__main__":
    sys.exit(main())
