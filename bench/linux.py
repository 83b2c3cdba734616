"""What a Linux guest costs: build/bench/linux.txt. Called by bench/run.py.

Instructions are counted by bench/plugin/count.c: all, and those of guests; the difference is the host's
(kernel, root, VMM, servers). Marks: `entry` the kernel's first instruction; 10 a VMM's first; 11 before a guest's
first; 12 and 13 around the zeroing of a guest's memory; 1 the guest's init; 4 behind the first line that it prints;
2 around each load that the guest runs.
"""
import os
import re
import subprocess
import sys

from guests import System
from machines import MACHINES, ROOT

PLUGIN = os.path.join(ROOT, "build", "bench", "count.so")
GUESTS = os.path.join(ROOT, "build", "guests")
KERNEL = os.path.join(ROOT, "build", "release", "septum.elf")
MACHINE = "qemu-count"
MEMORY_MIB = 128
SYSTEM_MIB = 1024
CONSOLE_BYTES = 65536
SECONDS = 200

# name: the guest's command. Each stands between two marks; `nothing` is what the marks themselves cost.
LOADS = {
    "nothing": ":",
    "cpu": "probe cpu 100000000",      # long enough that what Septum does once a while falls in by its share
    "forkexec": "probe forkexec 200",
    "pagefault": "probe pagefault 8192",
    "sleep": "probe sleep 200 1000",
    "console": f"head -c {CONSOLE_BYTES} /tmp/text",
}
PREPARE = f"yes a-line-of-text-on-the-console-of-a-guest | head -c {CONSOLE_BYTES} >/tmp/text"


def release():
    with open(os.path.join(GUESTS, "linux", "release-cloud")) as file:
        return file.read().strip()


def programs():
    """What is measured: for whoever wants to know whether figures are stale."""
    return [os.path.join(ROOT, "build", "release", name)
            for name in ["root.elf", "vmm-server.elf", "console-server.elf"]]


def script():
    marks = "; ".join(f"{command} >&2; probe mark 2" if name != "console" else f"{command}; probe mark 2"
                      for name, command in LOADS.items())
    return f"{PREPARE}; probe mark 2; {marks}; echo BENCH-DONE"


class Mark:
    def __init__(self, words):
        self.name = words[0]
        self.instructions, self.guest, self.entries, self.halts = map(int, words[1:5])

    def host(self):
        return self.instructions - self.guest


def read_marks(path):
    with open(path) as file:
        return [Mark(line.split()[1:]) for line in file if line.startswith("MARK")]


def find(marks, name, nth=0):
    found = [mark for mark in marks if mark.name == name]
    if len(found) <= nth:
        sys.exit(f"bench: mark {name} ({nth + 1}) was not reached; see build/runs/bench-linux-*")
    return found[nth]


def kernel_entry():
    text = subprocess.run(["readelf", "-h", KERNEL], capture_output=True, text=True, check=True).stdout
    return re.search(r"Entry point address:\s*0x([0-9a-f]+)", text).group(1)


def partition(name, command_line, kernel="vmlinuz", initrd="initrd", console="virtio"):
    boot = f'kernel "{kernel}"' + (f' initrd "{initrd}"' if initrd else "")
    return f"""partition {name} {{
    memory {MEMORY_MIB}M
    boot linux {{ {boot} command-line "{command_line}" }}
    console {console}
}}
"""


def files():
    return {"vmlinuz": os.path.join(GUESTS, "linux", "vmlinuz-cloud"),
            "initrd": os.path.join(GUESTS, "linux", "initrd")}


def counted(run, conf, wanted, wanted_files, progress, commands=(), devices=()):
    """Boots with the plugin until each (console, text) of wanted was seen; returns the marks, the consoles and what
    the monitor answers to commands."""
    progress(f"bench: linux: {run}")
    directory = os.path.join(ROOT, "build", "runs", f"bench-linux-{run}")
    output = os.path.join(directory, "marks")
    with System(MACHINE, conf, files=wanted_files, flavour="release", options="mitigations=off", memory_mib=SYSTEM_MIB,
                directory=directory, seconds=SECONDS,
                emulator_options=["-plugin", f"{PLUGIN},out={output},entry={kernel_entry()}", *devices]) as system:
        for who, text in wanted:
            system.wait(who, text)
        marks = read_marks(output)
        return marks, system, [system.monitor(command) for command in commands]


def kibibytes(pattern, text):
    """The sum of a pattern's numbers in a monitor's answer, in bytes."""
    found = re.search(pattern, text)
    if not found:
        sys.exit(f"bench: the monitor's answer has no {pattern!r}:\n{text}")
    return 1024 * sum(int(number) for number in found.groups())


def memory_figures(info, memory, bundle_bytes):
    """What a VMM takes beside its guest's memory; what the whole system takes beside guests and bundle."""
    vmm = kibibytes(r"VMM (\d+) KiB", info) + kibibytes(r"of (\d+) KiB used", info)
    pool = kibibytes(r"kernel memory: (\d+) KiB", memory)
    pool_taken = kibibytes(r"(\d+) KiB used by root, (\d+) KiB given to tasks", memory)
    machine = SYSTEM_MIB << 20
    system = machine - kibibytes(r"free (\d+) KiB", memory) - (2 * MEMORY_MIB << 20) - bundle_bytes - pool + pool_taken
    return vmm, system


def bare(progress):
    """The same kernel and loads without Septum."""
    progress("bench: linux: bare")
    machine = MACHINES[MACHINE]
    directory = os.path.join(ROOT, "build", "runs", "bench-linux-bare")
    os.makedirs(directory, exist_ok=True)
    output = os.path.join(directory, "marks")
    subprocess.run(
        [machine.program(), "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-cpu",
         machine.cpu_model, "-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config", "-display", "none",
         "-no-reboot", "-serial", f"file:{os.path.join(directory, 'serial.log')}", "-plugin",
         f"{PLUGIN},out={output}", "-kernel", files()["vmlinuz"], "-initrd", files()["initrd"], "-append",
         f"quiet console=ttyS0 panic=-1 septum.name=bare septum.run=\"{script()}; poweroff -f\""],
        timeout=SECONDS, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=open(os.path.join(directory, "emulator.err"), "w"))
    return read_marks(output)


def loads(marks, value):
    """{name: value of the load}, the marks' own cost taken off."""
    points = [mark for mark in marks if mark.name == "2"]
    if len(points) <= len(LOADS):
        sys.exit(f"bench: {len(points)} of {len(LOADS) + 1} marks of the loads were reached")
    spent = {name: value(points[i + 1]) - value(points[i]) for i, name in enumerate(LOADS)}
    return {name: ticks - spent["nothing"] for name, ticks in spent.items()}


def measure(progress):
    """[(name, value, unit and comment)]"""
    figures = []

    def add(name, value, unit, comment=""):
        figures.append((name, f"{value:.4f}" if isinstance(value, float) else value,
                        unit + (f" {comment}" if comment else "")))

    run = f'quiet console=hvc0 septum.name=one septum.run=\\"{script()}\\"'
    marks, _, _ = counted("quiet", partition("one", run), [("one", "BENCH-DONE")], files(), progress)
    start, init = find(marks, "10"), find(marks, "1")
    zeroing = sum(mark.instructions * (1 if mark.name == "13" else -1) for mark in marks
                  if mark.name in ("12", "13"))
    quiet = init.instructions - start.instructions
    add("linux_boot_exits", init.entries - start.entries, "count", "VM entries, VMM's start to the guest's init")
    add("linux_boot_host_instructions", init.host() - start.host() + zeroing, "instructions",
        "kernel, VMM, servers; with the zeroing of the guest's memory")
    add("linux_boot_host_instructions.zeroing", zeroing, "instructions", f"{MEMORY_MIB} MiB")
    add("linux_boot_instructions", quiet + zeroing, "instructions", "guest and host")

    loud_run = "console=hvc0 septum.name=one"
    loud_marks, _, _ = counted("loud", partition("one", loud_run), [("one", "one# ")], files(), progress)
    loud = find(loud_marks, "4").instructions - find(loud_marks, "10").instructions
    add("linux_boot_loud_ratio", loud / (find(marks, "4").instructions - start.instructions), "ratio",
        "full console output against quiet, to the guest's first line from user space")

    bare_marks = bare(progress)
    add("linux_boot_instructions_bare", find(bare_marks, "1").instructions, "instructions",
        "with QEMU's firmware and PC")
    ours = loads(marks, lambda mark: mark.instructions)
    host = loads(marks, Mark.host)
    theirs = loads(bare_marks, lambda mark: mark.instructions)
    add("console_char_host_instructions", host["console"] / CONSOLE_BYTES, "instructions",
        "guest to serial port, in lines")
    for name in ["cpu", "forkexec", "pagefault", "sleep"]:
        add(f"guest_{name}_ratio", ours[name] / theirs[name], "ratio", "against the same kernel bare")

    tiny = {"tiny": os.path.join(GUESTS, "tiny", "self_ipi")}
    _, system, _ = counted("self-ipi", partition("one", "none", "tiny", None, "uart"),
                        [("one", "taken "), ("one", "\n")], tiny, progress)
    found = re.search(r"SELF-IPI (\d+) taken (\d+)", system.text("one"))
    add("guest_self_ipi", int(found.group(1)), "instructions", "self-IPI, sti, nop, in a tiny guest")

    two = partition("web", "quiet console=hvc0 septum.name=web") + \
        partition("db", "quiet console=hvc0 septum.name=db")
    marks, system, (info, memory) = counted("two", two, [("web", "web# "), ("db", "db# ")], files(), progress,
                                            ["info web", "memory"])
    add("start_instructions", find(marks, "11", 1).instructions - find(marks, "entry").instructions,
        "instructions", "kernel entry to the last of two guests' first instruction")
    bundle = os.path.getsize(os.path.join(system.directory, "bundle"))
    vmm, whole = memory_figures(info, memory, bundle)
    add("vmm_memory_bytes", vmm, "bytes", "a VMM beside its guest's memory, with all of its kernel quota")
    add("system_memory_bytes", whole, "bytes", "all but two guests' memory and the bundle; of the kernel's pool what is given")
    add("boot_bundle_bytes", bundle, "bytes")
    return figures
