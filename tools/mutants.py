#!/usr/bin/python3
"""Plant one-line faults and show that each is caught by the test it names.

The format is described in tests/mutants/README.md. Work is done in copies of the tree under
build/mutants/, which keep their objects, so that a mutant costs one compilation, one link and
one boot.
"""
import argparse
import concurrent.futures
import fnmatch
import glob
import os
import queue
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from machines import MACHINES                                          # noqa: E402
from protocol import Listener, run_suite                               # noqa: E402

WORK = os.path.join(ROOT, "build", "mutants")
TREE = ["Makefile", "microvisor", "lib", "protocol", "root", "console-server", "block-server", "net-server",
        "vmm-server", "tests", "bench", "configs", "tools", "guests", "docs"]
WORKERS = 2
SILENCE_S = 30
UNIT_TIMEOUT_S = 30
SYSTEM_TIMEOUT_S = 300
SYSTEM_PROGRAMS = ["septum", "root", "console-server", "block-server", "net-server", "vmm-server", "tests/stand-in"]
DEFAULTS = {"kind": "kernel", "machine": "qemu-1", "flavour": "debug", "in": ""}


class Unusable(Exception):
    """A mutant that can't be tried: its text says why."""


def read_mutant(path):
    mutant = dict(DEFAULTS, name=os.path.basename(path)[:-len(".mutant")])
    with open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip() or line.startswith("#"):
                continue
            key, colon, value = line.partition(":")
            if not colon or key not in ("file", "in", "old", "new", "test", "kind", "machine", "flavour"):
                raise Unusable(f"{path}:{number}: not understood: {line.strip()}")
            mutant[key] = value.strip()
    missing = [key for key in ("file", "old", "new", "test") if key not in mutant]
    if missing:
        raise Unusable(f"{path}: lacks {', '.join(missing)}")
    if mutant["machine"] not in MACHINES:
        raise Unusable(f"{path}: no machine {mutant['machine']}")
    return mutant


def mutated(mutant, text):
    """The text with the fault in it."""
    lines = text.split("\n")
    first, last = 0, len(lines)
    if mutant["in"]:
        heads = [at for at, line in enumerate(lines) if mutant["in"] in line and not line.endswith(";")]
        if len(heads) != 1:
            raise Unusable(f"`in: {mutant['in']}` stands on {len(heads)} lines of {mutant['file']}")
        first = heads[0]
        last = next((at for at in range(first + 1, len(lines)) if lines[at].startswith("}")), last)
    hits = [at for at in range(first, last) if lines[at].strip() == mutant["old"]]
    if len(hits) != 1:
        raise Unusable(f"does not apply: `{mutant['old']}` stands {len(hits)} times in {mutant['file']}")
    old = lines[hits[0]]
    lines[hits[0]] = old[:len(old) - len(old.lstrip())] + mutant["new"]
    return "\n".join(lines)


class Tree:
    """A copy of the sources with its own objects."""

    def __init__(self, number):
        self.path = os.path.join(WORK, str(number))
        os.makedirs(self.path, exist_ok=True)
        for name in TREE:
            target = os.path.join(self.path, name)
            if os.path.isdir(target):
                shutil.rmtree(target)
            if os.path.exists(os.path.join(ROOT, name)):
                subprocess.run(["cp", "-a", os.path.join(ROOT, name), target], check=True)
        for part in ("setup", "debug", "release", "unit", "guests"):
            built, target = os.path.join(ROOT, "build", part), os.path.join(self.path, "build", part)
            shutil.rmtree(target, ignore_errors=True)
            if os.path.isdir(built):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                subprocess.run(["cp", "-a", built, target], check=True)

    def built(self, *parts):
        return os.path.join(self.path, "build", *parts)

    def make(self, mutant):
        if mutant["kind"] == "unit":
            goals = [f"build/unit/gcc/{program}" for program in self.unit_programs(mutant)]
        elif mutant["kind"] == "system":
            goals = [f"build/{mutant['flavour']}/{program}.elf" for program in SYSTEM_PROGRAMS
                     if os.path.exists(os.path.join(self.path, program, "main.c")) or program == "septum"]
        else:
            goals = [f"build/{mutant['flavour']}/septum.elf",
                     f"build/{mutant['flavour']}/tests/{mutant['kind']}.elf"]
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        done = subprocess.run(["make", "-s", "-C", self.path] + goals, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=environment)
        if done.returncode != 0:
            errors = [line for line in done.stdout.splitlines() if "error" in line.lower()]
            raise Unusable("does not build: " + (errors or ["make failed"])[0])

    def run(self, mutant):
        """None when the named test passes, else how it fails."""
        if mutant["kind"] == "unit":
            outcomes = self.run_unit(mutant)
        elif mutant["kind"] == "system":
            return self.run_system(mutant)
        else:
            directory = os.path.join(ROOT, "build", "runs", f"mutant-{os.path.basename(self.path)}")
            calls = "calls=50000 seed=1" if mutant["kind"] == "hostile" else ""
            outcomes = run_suite(
                MACHINES[mutant["machine"]], self.built(mutant["flavour"], "septum.elf"),
                self.built(mutant["flavour"], "tests", f"{mutant['kind']}.elf"), directory,
                options=calls, test=mutant["test"], silence_s=SILENCE_S).outcomes
        named = [o for o in outcomes if o.name == mutant["test"]]
        if not named:
            first = outcomes[0] if outcomes else None
            raise Unusable(f"test {mutant['test']} did not run"
                           + (f" ({first.name}: {first.text.splitlines()[0]})" if first else ""))
        failed = [o for o in named if o.verdict == "fail"]
        if not failed and named[0].verdict == "skip":
            raise Unusable(f"test {mutant['test']} was skipped: {named[0].text}")
        return failed[0].text.splitlines()[0] if failed else None

    def run_system(self, mutant):
        """A test of tests/system: FILE::TEST."""
        try:
            done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
                                   os.path.join("tests", "system", mutant["test"])], cwd=self.path,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=SYSTEM_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"it did not end in {SYSTEM_TIMEOUT_S} s"
        if done.returncode not in (0, 1):
            raise Unusable(f"test {mutant['test']} did not run: {done.stdout.strip().splitlines()[-1]}")
        reasons = [line for line in done.stdout.splitlines() if line.startswith("E  ")]
        return (reasons or ["it failed"])[0][1:].strip() if done.returncode else None

    def unit_programs(self, mutant):
        """The unit-test programs that have the named test."""
        programs = []
        for path in sorted(glob.glob(os.path.join(self.path, "tests", "unit", "*_test.c"))):
            with open(path) as file:
                if f"TEST({mutant['test']}," in file.read():
                    programs.append(os.path.basename(path)[:-2])
        return programs

    def run_unit(self, mutant):
        outcomes = []
        for program in self.unit_programs(mutant):
            listener, ending = Listener(), "a sanitizer or a crash ended it"
            try:
                output = subprocess.run([self.built("unit", "gcc", program), f"test={mutant['test']}"],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        timeout=UNIT_TIMEOUT_S).stdout
            except subprocess.TimeoutExpired as expired:
                output, ending = expired.stdout or b"", f"it did not end in {UNIT_TIMEOUT_S} s"
            for line in output.decode(errors="replace").splitlines():
                listener.hear(line)
            if listener.running:
                listener.fail(listener.running, ending)
            outcomes += listener.outcomes
        return outcomes


def try_mutant(tree, mutant, baseline):
    path = os.path.join(tree.path, mutant["file"])
    if not os.path.exists(path):
        raise Unusable(f"no file {mutant['file']}")
    with open(path) as file:
        text = file.read()
    changed = mutated(mutant, text)
    key = (mutant["test"], mutant["kind"], mutant["machine"], mutant["flavour"])
    if key not in baseline:
        tree.make(mutant)
        baseline[key] = tree.run(mutant)
    if baseline[key] is not None:
        raise Unusable(f"{mutant['test']} fails without any fault: {baseline[key]}")
    try:
        with open(path, "w") as file:
            file.write(changed)
        tree.make(mutant)
        return tree.run(mutant)
    finally:
        with open(path, "w") as file:
            file.write(text)


def main():
    parser = argparse.ArgumentParser(description="Plant faults, and show that tests catch them.")
    parser.add_argument("--mutant", default="*", help="glob of mutant names")
    options = parser.parse_args()
    os.chdir(ROOT)
    paths = [path for path in sorted(glob.glob(os.path.join(ROOT, "tests", "mutants", "*.mutant")))
             if fnmatch.fnmatchcase(os.path.basename(path)[:-len(".mutant")], options.mutant)]
    trees, baseline = queue.SimpleQueue(), {}
    for number in range(min(WORKERS, len(paths))):
        trees.put(Tree(number))

    def job(path):
        started, tree = time.monotonic(), trees.get()
        name = os.path.basename(path)[:-len(".mutant")]
        try:
            mutant = read_mutant(path)
            how = try_mutant(tree, mutant, baseline)
            verdict = f"caught by {mutant['test']}: {how}" if how else f"SURVIVED {mutant['test']}"
            caught = how is not None
        except Unusable as why:
            caught, verdict = False, f"UNUSABLE: {why}"
        finally:
            trees.put(tree)
        print(f"{name}: {verdict} ({time.monotonic() - started:.0f} s)", flush=True)
        return caught

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        caught = list(pool.map(job, paths))
    print(f"{sum(caught)} passed, {len(caught) - sum(caught)} failed, 0 skipped")
    return 0 if all(caught) else 1


if __name__ == "__main__":
    sys.exit(main())
