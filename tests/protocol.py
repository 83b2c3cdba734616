"""What a test task says on the serial line, and how one boot after another is made of it.

    TEST start NAME | TEST pass NAME | TEST fail NAME FILE:LINE: text | TEST skip NAME reason
    TEST end PASSED FAILED SKIPPED
    FIGURE name value unit comment...
    COVER call error                      this call returned this error at least once
    EVENT ...                             for whoever reads the log
    KERNEL FAULT ... / ASSERTION ...      the running test has failed, and the boot with it
"""
import collections
import os
import re

from machines import CUT, EXITED, Missing

FATAL = ("KERNEL FAULT", "ASSERTION")
MAX_BROKEN_BOOTS = 10
CRASHES_MAX = 1                           # of the emulator, that a suite is run again for

Outcome = collections.namedtuple("Outcome", "verdict name text log")   # pass, fail or skip


class Listener:
    """Follows the lines of one run of tests (one boot, or one unit-test program)."""

    def __init__(self, log=""):
        self.log = log
        self.outcomes, self.figures, self.cover = [], [], []
        self.running = None               # the test between its start and its result
        self.last = None                  # the last test that ended
        self.fatal = None                 # the first fatal line
        self.end = None                   # (passed, failed, skipped) as the tests themselves count
        self.recent = collections.deque(maxlen=16)

    def hear(self, line):
        self.recent.append(line)
        if line.endswith(CUT):
            if line.startswith(FATAL):
                self.fatal = self.fatal or line
            return
        word = line.split(" ", 3)
        if word[0] == "TEST" and len(word) >= 3:
            self._test(word[1], word[2], word[3] if len(word) > 3 else "", line)
        elif word[0] == "FIGURE" and len(word) == 4:
            self.figures.append((word[1], word[2], word[3]))
        elif word[0] == "COVER" and len(word) == 3:
            self.cover.append((word[1], word[2]))
        elif line.startswith(FATAL) and self.fatal is None:
            self.fatal = line

    def _test(self, verb, name, text, line):
        if verb == "start":
            self.running = name
        elif verb == "end":
            count = re.fullmatch(r"TEST end (\d+) (\d+) (\d+)", line)
            if count:
                self.end = tuple(int(n) for n in count.groups())
        elif verb in ("pass", "fail", "skip"):
            self.outcomes.append(Outcome(verb, name, text, self.log))
            self.running, self.last = None, name

    def fail(self, name, text):
        self.outcomes.append(Outcome("fail", name, text, self.log))
        self.running, self.last = None, name

    def count(self, verdict):
        return sum(outcome.verdict == verdict for outcome in self.outcomes)

    def check_count(self):
        """The tests' own count must be ours: a line may have been lost or garbled."""
        ours = tuple(self.count(verdict) for verdict in ("pass", "fail", "skip"))
        if self.end != ours:
            self.fail("count", f"the tests count {self.end}, but their lines say {ours}")


class Result:
    """All boots of one suite on one machine."""

    def __init__(self):
        self.outcomes, self.figures, self.cover, self.boots = [], [], set(), 0
        self.crashes = []                 # of the emulator itself

    def take(self, listener):
        self.outcomes += listener.outcomes
        self.figures += listener.figures
        self.cover |= set(listener.cover)

    def count(self, verdict):
        return sum(outcome.verdict == verdict for outcome in self.outcomes)


def run_suite(machine, kernel, module, directory, options="", test=None, seed=None, echo=None,
              **boot_options):
    """Run a test task on a machine; boots again, after the culprit, when a boot breaks, and once from where it was
    when the emulator itself crashes."""
    result = Result()
    after = None
    while True:
        words = [options] if options else []
        words += [f"test={test}"] if test else []
        words += [f"after={after}"] if after else []
        words += [f"seed={seed}"] if seed is not None else []
        run_directory = os.path.join(directory, str(result.boots))
        try:
            run = machine.boot(kernel, module, " ".join(words), run_directory, **boot_options)
        except Missing as missing:
            result.outcomes.append(Outcome("skip", "machine", str(missing), ""))
            return result
        with run:
            listener = Listener(os.path.relpath(run.serial_path))
            for line in run.lines():
                if echo:
                    echo(line)
                listener.hear(line)
                if run.last_moment is None and (listener.fatal or listener.end):
                    run.end_within(5)
        result.boots += 1
        if listener.end and not listener.fatal:
            listener.check_count()
            result.take(listener)
            if not result.outcomes:
                result.outcomes.append(Outcome("fail", test or "tests", "no test ran", listener.log))
            return result

        # QEMU dies of some random guests, some once in a hundred runs: that says nothing of what runs in it.
        if run.crash() and len(result.crashes) < CRASHES_MAX:
            result.crashes.append(f"{run.crash()} in {listener.running or 'no test'}")
            print(f"note: {machine.name}: the emulator itself crashed, {result.crashes[-1]}: run again "
                  f"({listener.log})", flush=True)
            continue

        # The boot broke. The test that was running is the culprit, or what came after the last.
        culprit = listener.running
        reason = listener.fatal or (
            run.end if run.end != EXITED else "the machine ended before the tests did")
        name = culprit or (f"after-{listener.last}" if listener.last else "boot")
        progress = culprit or listener.last
        listener.fail(name, "\n    ".join(
            [reason, "its last lines:"] + [f"  {line}" for line in listener.recent]
            + [f"  emulator: {line}" for line in run.emulator_messages()]))
        result.take(listener)
        if listener.end:                  # fatal, but all tests had run
            return result
        if not progress or progress == after or result.boots >= MAX_BROKEN_BOOTS:
            result.outcomes.append(Outcome(
                "fail", "remaining-tests", f"not run: {result.boots} boots broke", listener.log))
            return result
        after = progress
