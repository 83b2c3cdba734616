"""The machines that Septum is tested on: emulators behind one small interface.

    machine = MACHINES["vmx-1"]
    with machine.boot("septum.elf", "kernel.elf", "test=ipc_*", run_dir) as run:
        for line in run.lines():
            ...
    print(run.end, run.exit_value)

A run never outlives its `with` block, nor the process that started it.
"""
import functools
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SETUP_STAMP = os.path.join(ROOT, "build", "setup", "test.stamp")
ISO_CACHE = os.path.join(ROOT, "build", "iso")
ISO_CACHE_FILES = 24

# How a run ended (Run.end).
EXITED = "the machine ended"             # debug-exit, Bochs's Shutdown port, or a reset
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
SILENT = "no output for too long"
TOO_LONG = "the run took too long"
STOPPED = "stopped by the runner"

CUT = " [cut]"                           # at the end of a last line that has no end


class Missing(Exception):
    """A machine that can't be had here; the text says why and what to do."""


@functools.lru_cache(maxsize=None)
def setup_values():
    """What set-up found or built: NAME=VALUE lines of its stamp."""
    try:
        with open(SETUP_STAMP) as file:
            return dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    except FileNotFoundError:
        return {}


def setup_value(name, what):
    value = setup_values().get(name)
    if not value or not os.path.exists(value):
        raise Missing(f"{what} is not there: run `make setup`")
    return value


class Patience:
    """A deadline for an emulator, since it last said something or since it began: in the time that it really ran.

    On a busy machine it may get a small part of a processor. Then the deadline moves, until the emulator has
    used most of the time itself, but not for ever: one that waits uses none.
    """
    OWN_SHARE, LONGEST = 0.7, 4

    def __init__(self, process, seconds):
        self.process, self.seconds = process, seconds
        self.heard()

    def heard(self):
        """It has said something: the time begins anew."""
        self.since, self.used = time.monotonic(), self._used()

    def _used(self):
        try:
            with open(f"/proc/{self.process.pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            return 0.0

    def over(self):
        waited = time.monotonic() - self.since
        if waited <= self.seconds:
            return False
        return waited > self.LONGEST * self.seconds or self._used() - self.used > self.OWN_SHARE * self.seconds


class Run:
    """One boot of one machine, from start to end."""

    def __init__(self, command, serial_path, directory, silence_s, total_s):
        self.serial_path = serial_path
        self.directory = directory
        self.silence_s = silence_s
        self.total_s = total_s
        self.end = None
        self.exit_value = None            # QEMU: the value written to debug-exit, else None
        self.last_moment = None           # see end_within
        self.command = command
        with open(os.path.join(directory, "command"), "w") as file:
            file.write(shlex.join(command) + "\n")
        open(serial_path, "wb").close()
        # setpriv: the kernel kills the emulator when the thread that started it is gone.
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL"] + command, cwd=directory, stdin=subprocess.DEVNULL,
            stdout=open(os.path.join(directory, "emulator.out"), "wb"), stderr=subprocess.STDOUT,
            start_new_session=True)

    def lines(self):
        """Yield the serial lines as they come; ends with the machine or at a deadline."""
        silence, total = (Patience(self.process, seconds) for seconds in (self.silence_s, self.total_s))
        rest = b""
        with open(self.serial_path, "rb") as serial:
            while True:
                ended = self.process.poll() is not None
                data = serial.read(1 << 16)
                if data and not (self.last_moment and time.monotonic() > self.last_moment):
                    silence.heard()
                    *whole, rest = (rest + data).split(b"\n")
                    for line in whole:
                        yield line.decode("utf-8", "replace").rstrip("\r")
                    continue
                if ended:
                    if rest:
                        yield rest.decode("utf-8", "replace").rstrip("\r") + CUT
                    self._ended(EXITED)
                    return
                now = time.monotonic()
                if self.silence_s and silence.over():
                    self._ended(SILENT)
                    return
                if self.last_moment and now > self.last_moment:
                    self._ended(STOPPED)
                    return
                if self.total_s and total.over():
                    self._ended(TOO_LONG)
                    return
                time.sleep(0.01)

    def end_within(self, seconds):
        """The run is over but for its last words: stop it after this time."""
        self.last_moment = time.monotonic() + seconds

    def _ended(self, how):
        if self.end is None:
            self.end = how
        self.kill()

    def kill(self):
        """End the emulator and everything that it started."""
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        status = self.process.wait()
        if status > 0 and status & 1:
            self.exit_value = status >> 1

    def crash(self):
        """The signal that ended the emulator by itself, or None: whatever its guest does, that is its own fault."""
        status = self.process.poll()
        if self.end != EXITED or status is None or -status not in CRASHES:
            return None
        return signal.Signals(-status).name

    def emulator_messages(self):
        """What the emulator itself had to say, for a failure's report."""
        text = ""
        for name in ("emulator.out", "bochs.log"):
            try:
                with open(os.path.join(self.directory, name), errors="replace") as file:
                    text += file.read()
            except FileNotFoundError:
                pass
        wanted = re.compile(r"PANIC|VMFAIL|VMENTER|triple|shutdown|panic|rror", re.I)
        return [line for line in text.splitlines() if wanted.search(line)][-8:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ended(STOPPED)


class Machine:
    """name: how it is called; backend: svm or vmx; cpus, and how many of them are threads of one core; slow: about ten
    times slower than QEMU."""

    def __init__(self, name, backend, cpus, memory_mib=256, threads=1):
        self.name, self.backend, self.cpus, self.memory_mib = name, backend, cpus, memory_mib
        self.threads = threads

    def boot(self, kernel, module, command_line, directory, silence_s=120, total_s=3600, gdb=False,
             memory_mib=None):
        """Start; the run's files (serial.log, command, emulator.out) go to directory."""
        directory = os.path.abspath(directory)
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        serial = os.path.join(directory, "serial.log")
        command = self.command(os.path.abspath(kernel), module and os.path.abspath(module),
                               command_line, directory, serial, gdb, memory_mib or self.memory_mib)
        if gdb:
            silence_s = total_s = 0
        return Run(command, serial, directory, silence_s, total_s)

    def by_the_hosts_clock(self):
        """The same, but time goes on whatever its processors do.

        Where instructions are counted it does not while a guest executes none: one whose exception handler
        begins with what raises that exception. No interrupt ends that.
        """
        return self


class Qemu(Machine):
    slow = False

    def __init__(self, name, cpus, cpu_model="EPYC-v3,+svm,+npt", program=None, options=(), threads=1):
        super().__init__(name, "svm", cpus, threads=threads)
        self.cpu_model, self.program_name, self.options = cpu_model, program, list(options)

    def program(self):
        if self.program_name:
            return setup_value(self.program_name, f"{self.name}'s QEMU")
        found = shutil.which("qemu-system-x86_64")
        if not found:
            raise Missing("qemu-system-x86_64 is not there: run `make setup`")
        return found

    def version(self):
        text = subprocess.run([self.program(), "--version"], capture_output=True, text=True).stdout
        return text.splitlines()[0] if text else "unknown"

    def command(self, kernel, module, command_line, _directory, serial, gdb, memory_mib):
        command = [
            self.program(), "-accel", "tcg", "-cpu", self.cpu_model, "-smp",
            f"{self.cpus},threads={self.threads}",
            "-m", str(memory_mib), "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-chardev", f"file,id=serial,path={serial}", "-serial", "chardev:serial",
            "-device", "isa-debug-exit,iobase=0xf4,iosize=2", "-kernel", kernel]
        if module:
            command += ["-initrd", module]
        if command_line:
            command += ["-append", command_line]
        if gdb:
            command += ["-s", "-S"]
        return command + self.options


class QemuCounting(Qemu):
    """QEMU whose time-stamp counter counts instructions: exactly repeatable, however busy the host."""

    def by_the_hosts_clock(self):
        return Qemu(self.name, self.cpus, self.cpu_model, self.program_name, self.options)

    def command(self, *arguments):
        command = super().command(*arguments)
        command[command.index("-accel") + 1] = "tcg,thread=single"
        return command + ["-icount", "shift=0,sleep=off"]


class Bochs(Machine):
    slow = True

    def __init__(self, name, backend, cpu_model, cpus, threads=1):
        super().__init__(name, backend, cpus, threads=threads)
        self.cpu_model = cpu_model

    def version(self):
        setup_value("BOCHS", "Bochs")
        return "Bochs " + setup_values()["BOCHS_KIND"]

    def command(self, kernel, module, command_line, directory, serial, gdb, memory_mib):
        if gdb:
            raise Missing("--gdb works on the QEMU machines; Bochs is built without its gdb stub")
        program = setup_value("BOCHS", "Bochs")
        packaged = setup_values()["BOCHS_KIND"] == "packaged"
        display = 'rfb, options="timeout=0"' if packaged else "nogui"
        if packaged:                       # see tools/bochs/README.md
            command_line += " vmx-timer"
        image = boot_image(kernel, module, command_line)
        with open(os.path.join(directory, "bochsrc"), "w") as file:
            file.write(f"""\
config_interface: textconfig
display_library: {display}
romimage: file={setup_value("BOCHS_BIOS", "Bochs's BIOS")}
vgaromimage: file={setup_value("BOCHS_VGABIOS", "Bochs's VGA BIOS")}
cpu: model={self.cpu_model}, count=1:{self.cpus // self.threads}:{self.threads}, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={memory_mib}, host={memory_mib}
pci: enabled=1, chipset=i440fx
boot: cdrom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={image}, status=inserted
clock: sync=none, time0=1700000000
com1: enabled=1, mode=file, dev={serial}
log: bochs.log
panic: action=fatal
error: action=report
info: action=ignore
""")
        command = [program, "-q", "-unlock", "-f", "bochsrc"]
        if packaged:
            # It has the debugger built in, which waits for a word, and sound drivers that crash
            # where there is no sound card.
            with open(os.path.join(directory, "debugger"), "w") as file:
                file.write("c\nq\n")
            with open(os.path.join(directory, "bochsrc"), "a") as file:
                file.write("sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy\n")
            command += ["-rc", "debugger"]
        return command


# The boot loader's modules: no menu, no video, no file-system search, so that it boots quickly.
GRUB_MODULES = ["biosdisk", "iso9660", "multiboot2", "boot"]


def grub_words(command_line):
    """The words, quoted for GRUB's rescue parser. GRUB itself adds backslashes before quotes and
    backslashes when it hands them on, so a command line must do without."""
    if re.search(r"[\"'\\]", command_line):
        raise ValueError(f"quotes and backslashes do not pass through GRUB: {command_line}")
    return " ".join(f"'{word}'" for word in command_line.split())


def boot_image(kernel, module, command_line):
    """A CD image that boots the kernel with its module and command line; cached by content."""
    digest = hashlib.sha256(command_line.encode() + b"\0")
    for path in [kernel, module]:
        if path:
            with open(path, "rb") as file:
                digest.update(hashlib.sha256(file.read()).digest())
    os.makedirs(ISO_CACHE, exist_ok=True)
    image = os.path.join(ISO_CACHE, digest.hexdigest()[:24] + ".iso")
    if os.path.exists(image):
        os.utime(image)
        return image

    work = f"{image}.{os.getpid()}.{time.monotonic_ns()}"
    tree = os.path.join(work, "tree")
    os.makedirs(tree)
    config = f"set root=cd\nmultiboot2 /septum.elf {grub_words(command_line)}\n"
    shutil.copy(kernel, os.path.join(tree, "septum.elf"))
    if module:
        shutil.copy(module, os.path.join(tree, "module.elf"))
        config += "module2 /module.elf root\n"
    with open(os.path.join(work, "grub.cfg"), "w") as file:
        file.write(config + "boot\n")
    try:
        checked(["grub-mkimage", "-O", "i386-pc-eltorito", "-p", "/", "-c",
                 os.path.join(work, "grub.cfg"), "-o", os.path.join(tree, "grub.img")] + GRUB_MODULES)
        checked(["xorriso", "-as", "mkisofs", "-quiet", "-R", "-b", "grub.img", "-no-emul-boot",
                 "-boot-load-size", "4", "-boot-info-table", "-o", os.path.join(work, "image"), tree])
        os.rename(os.path.join(work, "image"), image)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    old = sorted((entry for entry in os.scandir(ISO_CACHE) if entry.name.endswith(".iso")),
                 key=lambda entry: entry.stat().st_mtime)
    for entry in old[:-ISO_CACHE_FILES]:
        os.unlink(entry.path)
    return image


def checked(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stdout}")


# An Intel IOMMU, and a device whose DMA and interrupts a test can program.
IOMMU = ["-machine", "q35", "-device", "intel-iommu,intremap=on,aw-bits=48,caching-mode=on",
         "-device", "edu,dma_mask=0xffffffffffff"]

MACHINES = {machine.name: machine for machine in [
    QemuCounting("qemu-1", 1),
    Qemu("qemu-2", 2), # by the host's clock: spinning CPUs crawl when instructions are counted
    QemuCounting("qemu10-1", 1, program="QEMU10"),
    QemuCounting("qemu-count", 1),
    QemuCounting("q35-1", 1, options=IOMMU),
    QemuCounting("q35-10-1", 1, program="QEMU10", options=IOMMU),
    QemuCounting("qemu10-count", 1, program="QEMU10"),
    Bochs("vmx-1", "vmx", "corei7_skylake_x", 1),
    Bochs("vmx-2", "vmx", "corei7_skylake_x", 2),
    Bochs("svm-1", "svm", "ryzen", 1),
    # It does not tell its TSC's frequency, which is measured then as what it is here, 50 MHz, instead of the 3.5 GHz that
    # vmx-1 tells: for guests that wait by the clock, a second is 70 times shorter.
    Bochs("vmx-measured", "vmx", "corei7_haswell_4770", 1),
    Qemu("qemu-threads", 2, threads=2),
    Bochs("vmx-threads", "vmx", "corei7_skylake_x", 2, threads=2),
]}

# The five that every test runs on, the one with an IOMMU, and those that are taken along where they can be had.
FIVE = ["qemu-1", "qemu-2", "vmx-1", "vmx-2", "svm-1"]
EXTRA = ["q35-1", "qemu10-1", "q35-10-1"]
