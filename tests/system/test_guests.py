"""Guests on vmm-server: Debian's kernels and tiny ones, from their start to all the ways in which they end."""
import os
import re
import time

import pytest

from guests import System
from machines import ROOT

GUESTS = os.path.join(ROOT, "build", "guests")
BOTH = pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
LINUX = {"kernel": os.path.join(GUESTS, "linux", "vmlinuz-cloud"), "initrd": os.path.join(GUESTS, "linux", "initrd")}


def linux(name, words="", console="virtio", more="", memory="128M", run=""):
    device = "hvc0" if console == "virtio" else "ttyS0"
    script = f" septum.run='{run}'" if run else ""
    return (f'partition {name} {{\n memory {memory}\n {more}\n console {console}\n boot linux {{\n  kernel "kernel"\n'
            f'  initrd "initrd"\n  command-line "quiet console={device} septum.name={name} {words}{script}"\n }}\n}}\n')


def tiny(name, words, more="on panic stop"):
    return (f'partition {name} {{\n memory 32M\n {more}\n console uart\n boot linux {{\n  kernel "tiny"\n'
            f'  command-line "{words}"\n }}\n}}\n')


def system(machine, conf, tmp_path, files=None, seconds=180, **more):
    for path in (files or LINUX).values():
        if isinstance(path, str) and not os.path.exists(path):
            pytest.skip("the guests are not built: run `make guests`")
    return System(machine, conf, files=files or LINUX, directory=tmp_path / "run", seconds=seconds, **more)


def ends(machine, words, tmp_path, more="on panic stop"):
    files = {"tiny": os.path.join(GUESTS, "tiny", "ends")}
    return system(machine, tiny("one", words, more), tmp_path, files, memory_mib=256, seconds=60)


# ---- booting -----------------------------------------------------------------------------------------

def knows_the_day(run):
    run.type("web", "echo day=$(($(date +%s)/86400))=\n")
    run.run_for(lambda: re.search(r"day=\d+=", run.text("web")))
    day = int(re.search(r"day=(\d+)=", run.text("web"))[1])
    # QEMU's clock is the host's, Bochs's the one of tests/machines.py; emulated seconds run at their own pace.
    expected = time.time() if run.machine.name == "qemu-1" else 1700000000
    assert abs(day - expected / 86400) < 2, f"day {day} since 1970, expected {expected / 86400:.1f}"


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-1", "svm-1"])
def test_linux_boots_computes_and_powers_off(machine, tmp_path):
    """It passes its self test, takes what is typed, and knows the time of day; its power-off ends the partition."""
    with system(machine, linux("web", "septum.selftest", more="device random"), tmp_path,
                flavour="debug" if machine == "qemu-1" else "release") as run:
        run.wait("web", "SEPTUM-GUEST-UP web")
        run.wait("web", "SEPTUM-GUEST-OK web")
        run.type("web", "echo $((6*7))\n")
        run.wait("web", "42")
        knows_the_day(run)
        run.type("web", "poweroff -f\n")
        run.wait("system", "web: the guest has powered off")
        run.wait("system", "all partitions have ended")


def test_linux_boots_on_qemu_10(tmp_path):
    with system("qemu10-1", linux("web", "septum.selftest"), tmp_path) as run:
        run.wait("web", "SEPTUM-GUEST-OK web")


def test_linux_boots_on_a_uart(tmp_path):
    with system("qemu-1", linux("web", "septum.selftest", console="uart"), tmp_path) as run:
        run.wait("web", "SEPTUM-GUEST-OK web")
        run.type("web", "echo $((6*7))\n")
        run.wait("web", "42")


@pytest.mark.parametrize("kind", ["generic", "6.12"])
def test_other_kernels_of_debian_boot(kind, tmp_path):
    files = {"kernel": os.path.join(GUESTS, "linux", f"vmlinuz-{kind}"),
             "initrd": os.path.join(GUESTS, "linux", f"initrd-{kind}")}
    with system("qemu-1", linux("web", "pci=off septum.selftest", memory="256M"), tmp_path, files) as run:
        run.wait("web", "SEPTUM-GUEST-OK web")


# Bochs counts 35 million instructions in a time slice: vCPUs that wait for each other, two on a CPU, would take minutes.
@pytest.mark.parametrize("machine,cpus,vcpus", [("qemu-1", "0", 2), ("qemu-2", "0-1", 2), ("vmx-2", "0-1", 2),
                                                ("qemu-2", "0-1", 4)])
def test_several_vcpus_on_one_cpu_and_on_two(machine, cpus, vcpus, tmp_path):
    conf = linux("web", "septum.selftest", more=f"vcpus {vcpus}\n cpus {cpus}",
                 run="echo CPUS $(nproc); grep LOC: /proc/interrupts")
    with system(machine, conf, tmp_path, flavour="release") as run:
        run.wait("web", "SEPTUM-GUEST-OK web")
        run.wait("web", f"CPUS {vcpus}")
        run.wait("web", "LOC:")
        counts = [int(count) for count in re.findall(r"\d+", run.wait_line("web"))]
        assert len(counts) == vcpus and all(counts), counts
        if cpus == "0":
            # Who waits for another vCPU yields; if messages did not wake that one, this would be a million times.
            pauses = re.search(r"^PAUSE +(\d+)", run.monitor("exits web"), re.M)
            assert not pauses or int(pauses[1]) < 100000


@pytest.mark.parametrize("machine", ["qemu-1", "qemu-2", "vmx-1", "vmx-2"])
def test_a_second_interrupt_comes_although_the_first_was_taken_without_an_exit(machine, tmp_path):
    """Else a message to another vCPU would be lost now and then, and Linux waits for its answer for good."""
    conf = tiny("one", "", f"vcpus 2\n cpus {'0-1' if machine.endswith('2') else '0'}")
    files = {"tiny": os.path.join(GUESTS, "tiny", "twice")}
    with system(machine, conf, tmp_path, files, memory_mib=256, seconds=60) as run:
        run.wait("one", "TWICE 200 taken ")
        assert run.wait_line("one") == "400"


def test_eight_guests_at_once(tmp_path):
    """configs/many.conf: seven begin with the machine, the eighth by hand; each can be typed into."""
    with open(os.path.join(ROOT, "configs", "many.conf")) as file:
        conf = re.sub(r'"\.\./build/guests/\w+/([\w.-]+)"', r'"\1"', file.read())
    names = re.findall(r"^partition (\w+)", conf, re.M)
    files = {"vmlinuz-cloud": LINUX["kernel"], "initrd": LINUX["initrd"]}
    with system("qemu-1", conf, tmp_path, files, flavour="release", seconds=300) as run:
        run.wait("system", "all partitions run")
        run.monitor("start spare")
        for name in names:
            run.wait(name, f"SEPTUM-GUEST-UP {name}")
        for number, name in enumerate(names):
            run.type(name, f"echo $(({number}*7)) by {name}\n")
        for number, name in enumerate(names):
            run.wait(name, f"{number * 7} by {name}")
        states = re.findall(r"^(\w+) +(\w+) +96M", run.monitor("list"), re.M)
        assert states == [(name, "running") for name in names] and len(names) == 8


# ---- ends ----------------------------------------------------------------------------------------------

def test_reboot_starts_the_guest_again_as_often_as_the_file_says(tmp_path):
    with system("qemu-1", linux("web", more="on reboot restart 1", run="reboot -f"), tmp_path) as run:
        run.wait("web", "SEPTUM-GUEST-UP web")
        run.wait("system", "web: the guest reboots")
        run.wait("web", "SEPTUM-GUEST-UP web")
        run.wait("system", "all partitions have ended")


@BOTH
def test_panic_of_one_leaves_its_neighbour_alone(machine, tmp_path):
    crash = "sleep 1; echo c >/proc/sysrq-trigger"
    conf = linux("web", more="on panic stop", run=crash) + linux("db", run="probe heartbeat 200 0")
    with system(machine, conf, tmp_path, flavour="debug" if machine == "qemu-1" else "release") as run:
        run.wait("db", "BEAT")
        run.wait("system", "web: the guest says that it panicked")
        beats = run.text("db").count("BEAT")
        run.run_for(lambda: run.text("db").count("BEAT") >= beats + 5)
        times = [int(beat) for beat in re.findall(r"BEAT \S+ (\d+)", run.text("db"))]
        assert times == list(range(times[0], times[0] + len(times)))


@BOTH
@pytest.mark.parametrize("words,told", [
    ("triple", "triple fault: an exception, and then its handlers, could not be delivered"),
    ("lost", "an interrupt or exception could not be delivered: its stack or its tables are not in memory"),
    ("nowhere", "it jumped to where there is no memory"),
    ("odd", "it used an instruction on a device that this VMM does not execute"),
], ids=["triple", "lost", "nowhere", "odd"])
def test_a_guest_that_cannot_go_on_is_reported(machine, words, told, tmp_path):
    with ends(machine, words, tmp_path) as run:
        run.wait("system", "one: the guest can't go on: " + told)
        run.wait("system", "one: vCPU 0 was at RIP 0x")
        run.wait("system", "one: what can be done: ")
        run.wait("system", "one:   rax ")
        run.wait("system", "one:   code at RIP:")
        run.wait("system", "all partitions have ended")


def test_a_triple_fault_with_an_empty_idt_is_a_reboot(tmp_path):
    with ends("qemu-1", "reset", tmp_path, "on reboot restart 1") as run:
        run.wait("system", "one: the guest resets itself by a triple fault")
        run.wait("system", "it is started again")
        assert "can't go on" not in run.text("system")


@BOTH
def test_pause_stops_all_vcpus_and_resume_lets_them_go_on(machine, tmp_path):
    conf = linux("web", more="vcpus 2", run="probe heartbeat 100 0") if machine == "qemu-1" else \
        linux("web", run="probe heartbeat 100 0")
    with system(machine, conf, tmp_path, flavour="release") as run:
        run.wait("web", "BEAT")
        run.monitor("pause web")
        run.wait("system", "web is paused")
        beats = run.text("web").count("BEAT")
        run.monitor("list")
        run.monitor("info web")
        assert run.text("web").count("BEAT") <= beats + 1
        run.monitor("resume web")
        run.run_for(lambda: run.text("web").count("BEAT") >= beats + 5)


def test_an_nmi_reaches_its_vcpu(tmp_path):
    with system("qemu-1", linux("web", run="echo READY"), tmp_path, flavour="release") as run:
        run.wait("web", "READY")
        run.monitor("nmi web 0")
        run.type("web", "sleep 1; echo NMIS $(grep NMI: /proc/interrupts)\n")
        run.wait("web", "NMIS NMI: 1")


# ---- what nobody models ----------------------------------------------------------------------------------

@BOTH
@pytest.mark.parametrize("policy,answer", [("ignore", "answers"), ("inject", "faults")])
def test_unknown_accesses_follow_the_policy_and_are_logged_once(machine, policy, answer, tmp_path):
    with ends(machine, "unknown", tmp_path, f"unknown {policy}") as run:
        for what in ["port", "msr", "address"]:
            run.wait("one", f"UNKNOWN {what} {answer}")
        for what in ["port 0x1234", "MSR 0x12345", "address 0xe0000000"]:
            told = f"one: unknown {what} is read at RIP 0x"
            run.wait("system", told)
            assert run.text("system").count(told) == 1


def test_unknown_halt_stops_the_guest_with_a_report(tmp_path):
    with ends("qemu-1", "unknown", tmp_path, "unknown halt\n on panic stop") as run:
        run.wait("system", "unknown port 0x1234 is read")
        run.wait("system", "its partition says `unknown halt`")
        run.wait("system", "all partitions have ended")


# ---- refusals ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kernel,told", [
    (b"", "is empty or cut off (0 bytes): copy or build it anew"),
    (bytes(70000), "is no Linux kernel for x86: give a bzImage"),
    ("cut", "is cut off: its header tells of"),
], ids=["empty", "zeroes", "cut"])
def test_a_kernel_that_is_none_is_refused_with_the_cure(kernel, told, tmp_path):
    if kernel == "cut":
        kernel = open(LINUX["kernel"], "rb").read()[:1 << 20]
    with system("qemu-1", linux("web"), tmp_path, {"kernel": kernel, "initrd": bytes(4096)}) as run:
        run.wait("system", "web: the guest can't be started: the kernel \"kernel\" " + told)
        run.wait("system", "all partitions have ended")


def test_too_little_memory_is_refused_with_how_much_it_takes(tmp_path):
    with system("qemu-1", linux("web", memory="16M"), tmp_path) as run:
        run.wait("system", "is too little for its kernel \"kernel\": give it at least")
        run.wait("system", "all partitions have ended")


# ---- a VMM that dies ------------------------------------------------------------------------------------------

# Exits that a Linux guest makes while it boots or runs (microvisor/abi/vcpu.h).
REASONS = {"CPUID": 8, "HLT": 9, "port": 19, "RDMSR": 20, "WRMSR": 21, "address": 26}
MAKES = {"CPUID": "probe cpuid 10", "HLT": "sleep 1", "port": "reboot -f", "RDMSR": "reboot -f",
         "WRMSR": "sleep 1", "address": "echo"}


def test_a_vmm_that_dies_at_an_exit_costs_its_neighbour_nothing(tmp_path):
    """Each time another Linux comes up in its place; test_vmm_deaths.py has the other exits, and VT-x."""
    conf = linux("web", more="on vmm-death restart") + linux("db", run="probe heartbeat 200 0")
    with system("qemu-1", conf, tmp_path) as run:
        run.wait("db", "BEAT")
        for name in sorted(REASONS):
            run.wait("web", "SEPTUM-GUEST-UP web")
            run.monitor(f"die web {REASONS[name]}")
            run.type("web", MAKES[name] + "\n")
            run.wait("system", "die_as_told")
            beats = run.text("db").count("BEAT")
            run.run_for(lambda: run.text("db").count("BEAT") >= beats + 5)
            assert "audit: passed" in run.monitor("audit")
        assert run.text("db").count("SEPTUM-GUEST-UP") == 1
