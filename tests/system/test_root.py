"""Root, with a stand-in for the VMM (tests/stand-in) that lives, ends, dies or attacks as its command line says."""
import os
import re

import pytest

from bundle import build_path
from guests import MONITOR, System
from machines import MACHINES, ROOT, Qemu

BOTH = pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])


def partition(name, does, memory="4M", policies="on vmm-death stop", more=""):
    return (f'partition {name} {{ memory {memory} {more} {policies}\n'
            f' boot linux {{ kernel "kernel" command-line "{does}" }} }}\n')


def system(machine, conf, tmp_path, flavour="debug", **more):
    return System(machine, conf, files={"kernel": bytes(5000)}, flavour=flavour, directory=tmp_path / "run",
                  programs={"vmm-server": build_path(flavour, "tests/stand-in.elf")}, memory_mib=256, seconds=120, **more)


def beats(run, who="good"):
    return len(re.findall(rf"^{who}: heartbeat", run.text("system"), re.M))


def good_goes_on(run):
    """The neighbour's heart beats twice more, the monitor answers, and the audit passes."""
    before = beats(run)
    run.run_for(lambda: beats(run) >= before + 2)
    assert "NAME" in run.monitor("list")
    assert "audit: passed" in run.monitor("audit")


def line_with(run, text):
    return next((line for line in run.text("system").splitlines() if text in line), "")


GOOD = partition("good", "ready live")

DEATHS = {
    "die-writing": ("wrote to 0x18, where nothing is mapped", "die_writing+0x"),
    "die-reading": ("read from 0x7000000000, where nothing is mapped", "die_reading+0x"),
    "die-jumping": ("jumped to 0x10, where nothing is mapped", "0x10"),
    "die-by-instruction": ("exception 6", "die_by_instruction+0x"),
    "die-writing-text": ("which it may not", "die_writing_text+0x"),
    "die-by-port": ("exception 13", "die_by_port+0x"),
    "die-silently": ("has stopped for good", "die_writing+0x"),
    "stop-itself": ("has stopped for good", ""),
}


@BOTH
def test_deaths_are_told_with_cause_and_place(machine, tmp_path):
    conf = GOOD + "".join(partition(word, f"ready {word}") for word in DEATHS)
    with system(machine, conf, tmp_path) as run:
        run.run_for(lambda: all(f"{word}: its VMM has died; it is stopped" in run.text("system")
                                for word in DEATHS))
        lines = run.text(MONITOR).splitlines()
        for word, (cause, place) in DEATHS.items():
            at = next(i for i, line in enumerate(lines) if line.startswith(f"{word}: its VMM died"))
            assert cause in lines[at], lines[at]
            assert not place or f"at {place}" in lines[at + 1], lines[at + 1]
            if "+" in place:
                assert re.match(r"  rax [0-9a-f]{16} rbx ", lines[at + 2]), lines[at + 2]
        good_goes_on(run)


@pytest.mark.parametrize("word", ["die-writing", "die-silently"])
def test_a_death_before_it_is_ready(word, tmp_path):
    with system("qemu-1", GOOD + partition("bad", word), tmp_path) as run:
        run.wait("system", "bad: its VMM has died; it is stopped")
        good_goes_on(run)


def test_release_builds_tell_deaths_too(tmp_path):
    with system("qemu-1", GOOD + partition("bad", "ready die-writing"), tmp_path, flavour="release") as run:
        run.wait("system", "bad: its VMM has died; it is stopped")
        assert "at die_writing+0x" in run.text("system")
        assert "called from" in run.text("system")
        good_goes_on(run)


@BOTH
def test_policies_of_ends(machine, tmp_path):
    conf = GOOD + "".join([
        partition("a", "ready power-off", policies="on power-off stop"),
        partition("b", "ready reboot", policies="on reboot restart 2"),
        partition("c", "ready panic", policies="on panic leave"),
        partition("d", "refuse", policies="on failure stop"),
        partition("e", "ready odd-end")])
    with system(machine, conf, tmp_path) as run:
        run.run_for(lambda: all(text in run.text("system") for text in [
            "a: its guest has powered off; it is stopped",
            "b: its guest reboots; it is started again (1 of 2)",
            "b: its guest reboots; it is started again (2 of 2)",
            "b: its guest reboots; it is stopped, because it was started again as often as the file allows",
            "c: its guest can't go on; it is left as it is",
            "d: it could not be started; it is stopped",
            "e: its VMM died: it told root of an end that there is not"]))
        states = {line.split()[0]: line.split()[1] for line in run.monitor("list").splitlines()[1:]}
        assert states == {"good": "running", "a": "off", "b": "off", "c": "left", "d": "off", "e": "off",
                          "console": "running"}
        good_goes_on(run)


@pytest.mark.parametrize("does, value", [("ready power-off", 0x10), ("ready die-writing", 0x11)])
def test_the_machine_ends_with_the_last_partition(does, value, tmp_path):
    conf = partition("a", does, policies="on power-off stop on vmm-death stop")
    with system("qemu-1", conf, tmp_path) as run:
        assert run.wait_end() == value
        assert "all partitions have ended" in run.text("system")
        assert run.text("system").count("audit: passed") >= 1


ATTACKS = ["flood", "flood-by-calls", "malformed", "eat-quota", "map-garbage", "scribble", "spin"]


@BOTH
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_vmm_costs_its_neighbour_nothing(attack, machine, tmp_path):
    conf = GOOD.replace("{ memory", "{ priority 30 memory") + partition("bad", f"ready {attack}")
    with system(machine, conf, tmp_path) as run:
        run.wait("system", "good: heartbeat 2")
        if attack.startswith("flood"):
            assert "bad: its VMM died: it floods root with messages" in run.text("system")
        elif attack == "malformed":
            assert "bad: it sends messages that root does not know" in run.text("system")
            assert "malformed messages are sent" in run.text("system")
            assert run.text("system").count("bad: it sends messages") == 1
        elif attack == "eat-quota":
            assert re.search(r"bad: quota eaten: .* then status 5$", run.text("system"), re.M)
        elif attack == "map-garbage":
            assert re.search(r"bad: garbage: \d{3,} maps refused", run.text("system"))
        good_goes_on(run)
        run.monitor("stop bad")
        good_goes_on(run)


def memory_of(run):
    return [int(n) for n in re.findall(r"\d+", run.monitor("memory"))]


@BOTH
def test_twenty_restarts_leave_nothing_behind(machine, tmp_path):
    with system(machine, GOOD + partition("other", "ready live", memory="6M"), tmp_path) as run:
        run.wait("system", "other: runs")
        run.monitor("reset other")
        before = memory_of(run)
        for _ in range(20):
            run.monitor("reset other")
        assert memory_of(run) == before
        assert re.search(r"^other +\w+ +6M +1 +22 ", run.monitor("list"), re.M)
        good_goes_on(run)


@BOTH
def test_deaths_and_restarts_leave_nothing_behind(machine, tmp_path):
    bad = partition("bad", "ready die-writing", policies="on vmm-death restart 6")
    with system(machine, GOOD + bad, tmp_path) as run:
        run.wait("system", "bad: its VMM has died; it is stopped")
        before = memory_of(run)
        run.monitor("start bad")
        run.wait("system", "bad: its VMM has died; it is stopped")
        assert memory_of(run) == before


@BOTH
def test_consoles_survive_the_console_server_and_the_vmm(machine, tmp_path):
    with system(machine, GOOD, tmp_path) as run:
        run.wait("good", "hello")
        run.type("good", "first words\n")
        run.wait("good", "first words")
        run.type("system", "derail\r")
        run.wait("system", "console: started again")
        before = beats(run)
        run.run_for(lambda: beats(run) >= before + 2)
        run.type("good", "after the server's death\n")
        run.wait("good", "after the server's death")
        run.monitor("reset good")
        run.wait("good", "hello")
        run.type("good", "in a new life\n")
        run.wait("good", "in a new life")
        assert "audit: passed" in run.monitor("audit")


@BOTH
def test_the_monitor(machine, tmp_path):
    with system(machine, GOOD + partition("other", "ready live"), tmp_path) as run:
        run.wait("system", "other: heartbeat 1")
        told = [line.strip() for line in run.monitor("help").splitlines() if line.strip()]
        with open(os.path.join(ROOT, "docs", "monitor.md")) as file:
            written = [line.strip() for line in file]
        assert len(told) >= 12 and not [line for line in told if line not in written]
        assert re.search(r"^good +running +4M +1 +1 ", run.monitor("list"), re.M)
        info = run.monitor("info good")
        assert "priority 20" in info and "command line ready live" in info and "thread 0" in info
        run.monitor("pause good")
        run.wait("system", "good is paused")
        assert re.search(r"^good +paused", run.monitor("list"), re.M)
        run.monitor("resume good")
        run.wait("system", "good runs again")
        assert re.search(r"^HLT +\d+ +1000$", run.monitor("exits good"), re.M)
        assert "good is off" in run.monitor("stop good")
        assert "good is off" in run.monitor("exits good")
        assert "good does not run: it is off" in run.monitor("pause good")
        run.monitor("start good")
        run.wait("system", "good: runs")
        assert "is not off" in run.monitor("start good")
        top = run.monitor("top")
        assert re.search(r"^idle, kernel +\d+\.\d%", top, re.M) and "root" in top
        assert "audit: passed" in run.monitor("audit")
        assert "the trace is on" in run.monitor("trace on calls")
        assert re.search(r"us ago, CPU 0: call ipc\(", run.monitor("trace"))
        assert "the trace is off" in run.monitor("trace off")
        assert "Did you mean list?" in run.monitor("lits")
        assert "`help` lists all" in run.monitor("xyzzy")
        nobody = run.monitor("info nobody")
        assert "There is neither partition nor server nobody. The partitions are: good other" in nobody
        assert "There is no partition nobody. The partitions are: good other" in run.monitor("stop nobody")
        assert "info whom?" in run.monitor("info")


def test_a_vmm_that_does_not_answer_is_told_of(tmp_path):
    with system("qemu-1", GOOD + partition("deaf", "ready"), tmp_path) as run:
        run.wait("system", "deaf: runs")
        run.monitor("pause deaf")
        run.wait("system", "deaf: its VMM does not answer; `stop deaf` ends it")
        good_goes_on(run)


PLANTS = {
    "frame": r"frame 0x\w+ is reachable from web, in its guest's memory, and from db",
    "port": r"port 0x3f8 is reachable from web, in its guest's ports, and from console",
    "interrupt": r"one interrupt is reachable from \w+, by slot \d+, and from \w+",
    "endpoint": r"one endpoint is reachable from (console|web), by slot \d+, and from (console|web)",
    "msr": r"MSR 0x1a0 is let through to web's vCPU 0",
}


@BOTH
@pytest.mark.parametrize("plant", PLANTS)
def test_the_audit_names_what_is_planted(plant, machine, tmp_path):
    conf = partition("web", "ready live") + partition("db", "ready live")
    with system(machine, conf, tmp_path, options=f"plant={plant}") as run:
        run.wait("system", "root: nothing was started")
        assert re.search("audit: VIOLATION: " + PLANTS[plant], run.text("system")), run.text("system")
        assert "audit: FAILED" in run.text("system")


def refusal(conf, tmp_path, **more):
    with system("qemu-1", conf, tmp_path, **more) as run:
        value = run.wait_end()
        return value, run.text("system")


def test_what_the_machine_lacks_is_told(tmp_path, monkeypatch):
    value, text = refusal(partition("big", "ready", memory="4G"), tmp_path)
    assert value == 0x12 and 'partition "big"' in text and "nothing was started" in text
    value, text = refusal(partition("far", "ready", more="cpus 3"), tmp_path)
    assert value == 0x12 and 'partition "far"' in text and "nothing was started" in text
    conf = partition("lost", "ready").replace('"kernel"', '"nowhere"')
    value, text = refusal(conf, tmp_path)
    assert value == 0x12 and "nowhere is not in the bundle" in text
    value, text = refusal("machine { cpus 1 memory 256M }\n", tmp_path)
    assert value == 0x12 and "nothing was started" in text
    monkeypatch.setitem(MACHINES, "qemu-1", Qemu("plain", 1, cpu_model="EPYC-v3,-svm"))
    value, text = refusal(GOOD, tmp_path)
    assert value == 0x12 and "neither VT-x nor AMD-V" in text


NAME = b"partition.conf\0\0\0"             # as a name in the archive's first header; not in root's text


def test_a_damaged_bundle_is_told(tmp_path):
    machine = MACHINES["qemu-1"]
    kernel = build_path("debug", "septum.elf")
    bundle = tmp_path / "bundle"
    for damage, words in [(lambda b: b[:os.path.getsize(build_path("debug", "root.elf"))], "no archive"),
                          (lambda b: b[:-9000], "cut off"),
                          (lambda b: b.replace(NAME, b"partition.cong\0\0\0"), "checksum")]:
        with system("qemu-1", GOOD, tmp_path) as run:
            run.wait("system", "good: runs")
        bundle.write_bytes(damage((tmp_path / "run" / "bundle").read_bytes()))
        with machine.boot(kernel, bundle, "debug-exit", tmp_path / "damaged", silence_s=20) as boot:
            text = "\n".join(boot.lines())
        assert boot.exit_value == 0x12 and words in text and "nothing was started" in text, text


def test_two_guests_start_quickly(tmp_path):
    """Kernel entry to the moment before the last guest runs, zeroing of both included."""
    conf = partition("web", "ready live", memory="128M") + partition("db", "ready live", memory="128M")
    with System("qemu-count", conf, files={"kernel": bytes(8 << 20)}, flavour="release",
                directory=tmp_path / "run", memory_mib=512,
                programs={"vmm-server": build_path("release", "tests/stand-in.elf")}) as run:
        line = run.wait("system", "ticks after the kernel began")
        assert int(re.search(r"(\d+) ticks", line).group(1)) < 80_000_000, line


THREADS = pytest.mark.parametrize("machine", ["qemu-threads", "vmx-threads"])


@THREADS
def test_threads_of_a_core_are_not_shared_without_leave(machine, tmp_path):
    conf = partition("good", "ready live", more="cpus 0 share-core yes") + partition("other", "ready live", more="cpus 1")
    with system(machine, conf, tmp_path) as run:
        run.wait("system", 'CPU 1 and CPU 0, on which partition "good" (line 1) runs, are threads of one core')
        run.wait_end()
        assert "heartbeat" not in run.text("system")


@THREADS
def test_threads_of_a_core_are_shared_where_both_say_so(machine, tmp_path):
    conf = "default partition { share-core yes }\n" + partition("good", "ready live") + \
        partition("other", "ready live", more="cpus 1")
    with system(machine, conf, tmp_path) as run:
        good_goes_on(run)
        run.run_for(lambda: beats(run, "other") >= 2)
