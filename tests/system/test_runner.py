"""The test runner itself: it must see what fails, hangs and dies, and leave nothing running."""
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from conftest import ROOT
from machines import CUT, EXITED, FIVE, EXTRA, MACHINES, SILENT, Missing
from protocol import Listener, run_suite
import run as runner


def verdicts(result):
    return [(outcome.verdict, outcome.name) for outcome in result.outcomes]


@pytest.mark.parametrize("name", FIVE + EXTRA)
def test_every_machine_boots_with_module_and_command_line(name, speaker, tmp_path):
    kernel, module = speaker
    try:
        run = MACHINES[name].boot(kernel, module, 'test=* seed=7 odd=$x*?;', tmp_path / "run",
                                   silence_s=30)
    except Missing as missing:
        pytest.skip(str(missing))
    with run:
        lines = list(run.lines())
    assert "EVENT modules: one" in lines
    assert "TEST end 2 1 1" in lines
    assert lines[0] == "EVENT command line: test=* seed=7 odd=$x*?;"
    assert run.end == EXITED
    if name.startswith("qemu"):
        assert run.exit_value == 1


@pytest.mark.parametrize("name", ["qemu-1", "svm-1"])
def test_a_result_counts_each_verdict(name, speaker, tmp_path):
    result = run_suite(MACHINES[name], *speaker, tmp_path)
    assert verdicts(result) == [("pass", "alpha"), ("fail", "beta"), ("skip", "gamma"),
                                ("pass", "omega")]
    assert result.boots == 1
    assert result.figures == [("alpha_time", "42", "instructions # of a test")]
    assert result.cover == {("ipc", "TIMEOUT")}


@pytest.mark.parametrize("times,reason", [(1, SILENT), (2, "the machine ended before the tests did")])
def test_one_crash_of_the_emulator_itself_is_no_failure(times, reason, speaker, tmp_path, monkeypatch):
    machine, runs = MACHINES["qemu-1"], []
    boot = machine.boot
    monkeypatch.setattr(machine, "boot", lambda *args, **named: runs.append(boot(*args, **named)) or runs[-1])

    def echo(line):
        if line == "TEST start hang" and len(runs) <= times:
            os.kill(runs[-1].process.pid, signal.SIGSEGV)

    result = run_suite(machine, *speaker, tmp_path, options="hang", silence_s=3, echo=echo)
    assert verdicts(result) == [("pass", "alpha"), ("fail", "beta"), ("skip", "gamma"), ("fail", "hang"), ("pass", "omega")]
    assert [outcome.text.startswith(reason) for outcome in result.outcomes if outcome.name == "hang"] == [True]
    assert result.crashes == ["SIGSEGV in hang"]
    assert result.boots == 3


def test_a_broken_boot_blames_its_test_and_goes_on_after_it(speaker, tmp_path):
    result = run_suite(MACHINES["qemu-1"], *speaker, tmp_path, options="hang fault die",
                       silence_s=3)
    assert verdicts(result) == [
        ("pass", "alpha"), ("fail", "beta"), ("skip", "gamma"), ("fail", "hang"),
        ("fail", "fault"), ("fail", "die"), ("pass", "omega")]
    assert result.boots == 4
    texts = {outcome.name: outcome.text for outcome in result.outcomes}
    assert texts["hang"].startswith(SILENT)
    assert texts["fault"].startswith("KERNEL FAULT page fault")
    assert "rip 0x" in texts["fault"]              # what follows a fault is heard, too
    assert texts["die"].startswith("the machine ended before the tests did")


def test_a_machine_that_never_ends_is_a_failure(speaker, tmp_path):
    result = run_suite(MACHINES["qemu-1"], *speaker, tmp_path, options="mute", silence_s=2)
    assert ("fail", "after-omega") in verdicts(result)


def test_no_match_is_a_failure(speaker, tmp_path):
    result = run_suite(MACHINES["qemu-1"], *speaker, tmp_path, test="nothing_*")
    assert verdicts(result) == [("fail", "nothing_*")]


def test_a_kernel_that_does_not_boot_is_a_failure(tmp_path):
    bad = tmp_path / "bad.elf"
    bad.write_text("not a kernel")
    result = run_suite(MACHINES["qemu-1"], str(bad), None, tmp_path / "run", silence_s=5)
    assert verdicts(result)[0] == ("fail", "boot")


def test_lost_lines_are_noticed():
    listener = Listener()
    for line in ["TEST start a", "TEST pass a", "TEST end 2 0 0"]:
        listener.hear(line)
    listener.check_count()
    assert [o.name for o in listener.outcomes if o.verdict == "fail"] == ["count"]


def test_a_line_without_an_end_is_not_believed():
    listener = Listener()
    listener.hear("TEST pass al" + CUT)
    assert listener.outcomes == []


def test_no_emulator_outlives_its_run(speaker, tmp_path):
    kernel, module = speaker
    with MACHINES["qemu-1"].boot(kernel, module, "hang", tmp_path / "run") as run:
        pid = run.process.pid
        for line in run.lines():
            if line == "TEST start hang":
                break
        assert os.path.exists(f"/proc/{pid}")
    assert not os.path.exists(f"/proc/{pid}")


def test_no_emulator_outlives_the_runner(speaker, tmp_path):
    kernel, module = speaker
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {os.path.join(ROOT, "tests")!r})
        from machines import MACHINES
        run = MACHINES["qemu-1"].boot({kernel!r}, {module!r}, "hang", {str(tmp_path / "run")!r})
        for line in run.lines():
            if line == "TEST start hang":
                print(run.process.pid, flush=True)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert os.path.exists(f"/proc/{pid}")
        parent.kill()
    for _ in range(1200):
        # A dead process that nobody has waited for yet is still listed, as a zombie.
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.05)
    pytest.fail("the emulator still runs")


def test_skips_are_failures_in_ci_unless_allowed(monkeypatch, capsys):
    monkeypatch.setenv("CI", "true")
    report = runner.Report(verbose=False)
    report.allowed = [("vmx-*", "known_*")]
    result = runner.Result()
    result.outcomes = [runner.Outcome("skip", "known_gap", "why", ""),
                       runner.Outcome("skip", "other", "why", "")]
    report.take("vmx-1 debug", "vmx-1", result, 0)
    assert report.finish() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 1 failed, 1 skipped"


def test_the_list_of_calls_gives_its_errors():
    text = """/* SYSCALL(9, no, (), ERRORS: NO, "a comment") */
    SYSCALL(0, ipc, (target, tag),
        ERRORS: BAD_SLOT | TIMEOUT |
            BUSY, "send")
    SYSCALL(1, create, (slot), ERRORS: NO_QUOTA, "make") """
    assert list(runner.listed_errors(text)) == [
        ("ipc", "BAD_SLOT"), ("ipc", "TIMEOUT"), ("ipc", "BUSY"), ("create", "NO_QUOTA")]


def test_the_real_list_is_understood():
    with open(os.path.join(ROOT, "microvisor", "abi", "syscalls.def")) as file:
        calls = {call for call, _ in runner.listed_errors(file.read())}
    assert calls == {"ipc", "create", "map", "unmap", "control", "schedule", "inspect"}
