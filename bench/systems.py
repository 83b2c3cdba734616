"""What other systems than Linux, and our own real-time guest, cost or get: build/bench/guests.txt.

Called by bench/run.py. Each figure has a function in MEASURES: it gets add(name, value, unit, comment) and
progress(text). Counts of VM entries and instructions come from marks, as bench/linux.py explains; a guest that
measures by itself is asked by its console.
"""
import os
import re

import linux
from guests import System

SECONDS = 300
METRONOME = os.path.join(linux.GUESTS, "metronome", "metronome")
NEIGHBOUR = re.compile(r"^partition load \{.*?^\}\n", re.M | re.S)
FIRMWARE = os.path.join(linux.ROOT, "build", "firmware")
BOOT_DISK = os.path.join(linux.GUESTS, "linux", "boot.img")
EXITS = re.compile(r"^[A-Za-z][A-Za-z ]*?  +(\d+)  +\d+$", re.M)
REPORT = re.compile(r"(\d+) min (\d+) median (\d+) p99 (\d+) max (\d+) missed (\d+) check (\w+)")


def programs():
    return linux.programs() + [METRONOME]


def config(name):
    """A file of configs/ for a bundle that is made here: names of files without their folders."""
    with open(os.path.join(linux.ROOT, "configs", name + ".conf")) as file:
        return re.sub(r'"\.\./build/guests/\w+/([\w.-]+)"', r'"\1"', file.read())


def metronome_files():
    return {"metronome": METRONOME, "vmlinuz-cloud": linux.files()["vmlinuz"], "initrd": linux.files()["initrd"]}


def metronome_report(name, conf, periods, progress):
    """min, median, p99 and max of a report that began when the neighbour, if there is one, was at work."""
    progress(f"bench: guests: metronome {name}")
    with System(linux.MACHINE, conf.replace("periods=1000", f"periods={periods}"), files=metronome_files(),
                flavour="release", options="mitigations=off", seconds=SECONDS,
                directory=os.path.join(linux.ROOT, "build", "runs", f"bench-metronome-{name}")) as system:
        if NEIGHBOUR.search(conf):
            system.wait("load", "PROBE forkexec")
        for _ in range(2):                # the first may have begun before
            system.wait("metronome", "METRONOME periods")
            numbers = REPORT.match(system.wait_line("metronome"))
        return [int(number) for number in numbers.groups()[1:5]]


def metronome(add, progress):
    """How late metronome wakes: alone, and under load with and without its share and priority."""
    share, unset = config("metronome"), config("metronome-unset")
    for suffix, conf, periods, comment in [
            ("", share, 1000, "TSC ticks from deadline to timer interrupt; a busy Linux on the same CPU"),
            ("_alone", NEIGHBOUR.sub("", share), 1000, "no neighbour"),
            ("_unset", unset, 100, "a busy Linux, neither share nor priority set")]:
        least, median, p99, most = metronome_report(suffix.lstrip("_") or "set", conf, periods, progress)
        name = "metronome_jitter_p99" + suffix
        add(name, p99, "instructions", comment)
        for word, value in [("min", least), ("median", median), ("max", most)]:
            add(f"{name}.{word}", value, "instructions")


def mmio(add, progress):
    """A register in memory, by the executor of instructions: a tiny guest measures itself."""
    progress("bench: guests: mmio")
    with System(linux.MACHINE, linux.partition("one", "none", "tiny", None, "uart"),
                files={"tiny": os.path.join(linux.GUESTS, "tiny", "mmio")}, flavour="release",
                options="mitigations=off", seconds=SECONDS,
                directory=os.path.join(linux.ROOT, "build", "runs", "bench-mmio")) as system:
        system.wait("one", "MMIO read")
        read, write = re.match(r" ?(\d+) write (\d+) good", system.wait_line("one")).groups()
    add("mmio_exit_roundtrip", read, "instructions",
        "the IOAPIC's window read: exit, bytes compared and executed by the VMM, entry; the loop's taken off")
    add("mmio_exit_roundtrip.write", write, "instructions")


def bios_boot(add, progress):
    """SeaBIOS, GRUB and Linux from a virtio disk to the login prompt, on both boards: what the VMM is called for."""
    for board, image in [("lean", "bios-microvm.bin"), ("pc", "bios-256k.bin")]:
        progress(f"bench: guests: SeaBIOS boots a disk on {board}")
        conf = ("volume system { disk 0 access private }\n"
                f"partition guest {{ memory 192M board {board} boot bios {{ firmware \"bios\" }} disk system }}\n")
        with System(linux.MACHINE, conf, files={"bios": os.path.join(FIRMWARE, image)}, flavour="release",
                    options="mitigations=off", seconds=SECONDS, memory_mib=512,
                    directory=os.path.join(linux.ROOT, "build", "runs", f"bench-bios-{board}"),
                    emulator_options=["-drive", f"file={BOOT_DISK},format=raw,if=none,id=disk,snapshot=on",
                                      "-device", "virtio-blk-pci,disable-legacy=on,drive=disk"]) as system:
            system.wait("guest", "debian login:")
            counts = EXITS.findall(system.monitor("exits guest"))
        add(f"bios_boot_exits_{board}", sum(int(count) for count in counts), "count",
            "SeaBIOS, GRUB and Linux from a virtio disk to the login prompt")


def mach(add, progress):
    """A call and its answer between two tasks of GNU Mach, in a partition: to stand beside ipc_roundtrip_cross_space."""
    progress("bench: guests: mach")
    conf = re.sub(r"^partition linux \{.*?^\}\n", "", config("mach-and-linux"), flags=re.M | re.S)
    files = {"gnumach": os.path.join(linux.GUESTS, "zoo", "gnumach"),
             "mach-bootstrap": os.path.join(linux.GUESTS, "mach", "mach-bootstrap")}
    with System(linux.MACHINE, conf, files=files, flavour="release", options="mitigations=off", seconds=SECONDS,
                directory=os.path.join(linux.ROOT, "build", "runs", "bench-mach")) as system:
        system.wait("mach", "MACH-GUEST done")
        for name, what in [("mach_rpc_roundtrip", "rpc between tasks"), ("mach_trap", "mach_thread_self"),
                           ("mach_rpc_roundtrip_same_task", "rpc between threads")]:
            found = re.search(rf"MACH-GUEST {what}: (\d+) ticks", system.text("mach"))
            add(name, int(found.group(1)), "instructions", f"GNU Mach 1.8, {what}, of the guest's own")


def screen(add, progress):
    """A hundred fills of the text screen: what the memory of the screen costs in exits, the first access's included."""
    progress("bench: guests: text screen")
    conf = 'partition one { memory 16M board pc console vga boot linux { kernel "tiny" command-line "fill" } }\n'
    with System(linux.MACHINE, conf, files={"tiny": os.path.join(linux.GUESTS, "tiny", "screen")}, flavour="release",
                options="mitigations=off", seconds=SECONDS,
                directory=os.path.join(linux.ROOT, "build", "runs", "bench-screen")) as system:
        system.wait("one", "SEPTUM-GUEST-OK screen")
        count = re.search(r"^device memory +(\d+) ", system.monitor("exits one"), re.M)
    add("vga_clear_exits", count[1], "count", "device memory: the text screen filled a hundred times")


MEASURES = [metronome, mmio, bios_boot, mach, screen]


def measure(progress):
    """[(name, value, unit and comment)]"""
    figures = []

    def add(name, value, unit, comment=""):
        figures.append((name, value, unit + (f" {comment}" if comment else "")))

    for measure_one in MEASURES:
        measure_one(add, progress)
    return figures
