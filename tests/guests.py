"""Septum with guests, driven by a test: what each console says, and typing into it.

    with System("qemu-1", conf, files={"vmlinuz": ...}, directory=...) as system:
        system.wait("web", "SEPTUM-GUEST-UP web")
        system.type("web", "echo $((6*7))\n")
        system.wait("web", "42")
        print(system.monitor("list"))

The serial line is framed (protocol/console.h), so that no guest's text is taken for another's. What is waited for
has a deadline; a failure shows the end of every console and where the logs are.
"""
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import tty

from bundle import write_bundle
from machines import MACHINES, ROOT, Patience

SYSTEM = "system"
MONITOR = "the monitor"              # what root says, without the logs of others, which tear its lines
FRAME, FRAME_NAME, FRAME_TAKEN, INPUT_FRAME_MAX = 0xfe, 0xff, 0xfd, 16
KIND_LOG, KIND_CONSOLE = 1, 2
PROMPT = "septum> "
NOTHING, ALL_ENDED = "root: nothing was started", "all partitions have ended"
VERDICT = re.compile(r"^audit: (passed.*|FAILED.*)$", re.M)
AUDIT_SECONDS = 120


class Failed(AssertionError):
    """Something that was waited for did not come."""


class Frames:
    """Takes the serial line's bytes apart."""

    def __init__(self, output):
        self.output = output              # called with (client or None, bytes)
        self.rest = b""
        self.clients = {}                 # number: (kind, name)
        self.typed = False                # a frame is under way that the server has not taken yet

    def feed(self, data):
        self.rest += data
        while self.rest:
            start = self.rest.find(FRAME)
            if start:
                end = start if start > 0 else len(self.rest)
                self.output(None, self.rest[:end])
                self.rest = self.rest[end:]
                continue
            if len(self.rest) < 3 or len(self.rest) < 3 + self.rest[2]:
                return
            channel, length = self.rest[1], self.rest[2]
            body, self.rest = self.rest[3:3 + length], self.rest[3 + length:]
            if channel == FRAME_NAME:
                # A client is named again when there is a new server: what its predecessor had not taken is lost.
                self.typed = self.typed and body[0] not in self.clients
                self.clients[body[0]] = (body[1], body[2:].decode("ascii", "replace"))
            elif channel == FRAME_TAKEN:
                self.typed = False
            else:
                self.output(channel, body)

    @staticmethod
    def pack(channel, data):
        """The frames that bear it to the server."""
        pieces = [data[i:i + INPUT_FRAME_MAX - 3] for i in range(0, len(data), INPUT_FRAME_MAX - 3)]
        return [bytes([FRAME, channel, len(piece)]) + piece for piece in pieces]


class Console:
    """All that one console has said."""

    def __init__(self):
        self.text = ""
        self.seen = 0                     # up to here it has been waited for

    def insert(self, lines):
        """Puts whole lines before the one that has only begun, so that they do not tear it."""
        begun = max(self.text.rfind("\n") + 1, self.seen)
        self.text = self.text[:begun] + lines + self.text[begun:]

    def lines(self):
        return self.text.replace("\r", "").split("\n")


class System:
    """One boot. conf: the partition file's text. files: {name in the partition file: bytes or path}."""
    audited = False                       # tests end with an audit (system/conftest.py), what measures does not

    def __init__(self, machine, conf, files=None, flavour="debug", options="", directory=None,
                 memory_mib=1024, programs=None, seconds=120,
                 emulator_options=()):
        self.machine, self.seconds = MACHINES[machine], seconds
        self.directory = os.path.abspath(directory or os.path.join(ROOT, "build", "runs", "system"))
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        bundle = os.path.join(self.directory, "bundle")
        write_bundle(bundle, conf, flavour, programs, {
            name: data if isinstance(data, bytes) else open(data, "rb").read()
            for name, data in (files or {}).items()})
        self.consoles = {SYSTEM: Console()}
        self.order = []                   # (console, line) as lines were ended
        self.begun = {}                   # log lines of which only the beginning has come, by channel
        self.frames = Frames(self._output)
        self.raw = open(os.path.join(self.directory, "serial.log"), "wb")
        self.fresh = False                # the last thing that the test did was an audit
        self.process = None
        self._start(os.path.join(ROOT, "build", flavour, "septum.elf"), bundle,
                    f"framed debug-exit {options}".strip(), memory_mib, emulator_options)

    # ---- the machine ----

    def _start(self, kernel, bundle, options, memory_mib, emulator_options):
        command = self.machine.command(kernel, bundle, options, self.directory, "SERIAL", False,
                                       memory_mib) + list(emulator_options)
        if {"-drive", "-blockdev", "-netdev"} & set(emulator_options):
            # An idle machine's clock must not jump to its next deadline while the host reads its disk: a driver
            # would take the disk for dead. Where nothing is counted the host's clock does.
            if "-plugin" in emulator_options:
                command = [word.replace("sleep=off", "sleep=on") for word in command]
            elif "-icount" in command:
                place = command.index("-icount")
                command = command[:place] + command[place + 2:]
        if "chardev:serial" in command:
            place = command.index("file,id=serial,path=SERIAL")
            command[place] = "stdio,id=serial,signal=off"
            self.input = None
        else:
            # Bochs wants a terminal for its port.
            master, slave = pty.openpty()
            tty.setraw(master)
            path = os.path.join(self.directory, "bochsrc")
            with open(path) as file:
                text = file.read().replace("mode=file, dev=SERIAL", f"mode=term, dev={os.ttyname(slave)}")
            with open(path, "w") as file:
                file.write(text)
            self.input, self.slave = master, slave
        with open(os.path.join(self.directory, "command"), "w") as file:
            file.write(shlex.join(command) + "\n")
        own = self.input is None
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL"] + command, cwd=self.directory,
            stdin=subprocess.PIPE if own else subprocess.DEVNULL,
            stdout=subprocess.PIPE if own else open(os.path.join(self.directory, "emulator.out"), "wb"),
            stderr=open(os.path.join(self.directory, "emulator.err"), "wb"), start_new_session=True)
        self.output = self.process.stdout.fileno() if own else self.input
        self.input = self.process.stdin.fileno() if own else self.input

    def _output(self, channel, data):
        kind, name = self.frames.clients.get(channel, (KIND_CONSOLE, SYSTEM))
        text = data.decode("utf-8", "replace")
        if kind == KIND_LOG:
            # A long line comes in several frames.
            *whole, self.begun[channel] = (self.begun.get(channel, "") + text).split("\n")
            self.consoles[SYSTEM].insert("".join(f"{name}: {line}\n" for line in whole))
        else:
            console = self.consoles.setdefault(name, Console())
            begun = console.text[console.text.rfind("\n") + 1:]
            console.text += text
            if name == SYSTEM:
                self.consoles.setdefault(MONITOR, Console()).text += text
            self.order += [(name, line.rstrip("\r")) for line in (begun + text).split("\n")[:-1]]

    def _read(self, seconds):
        """Takes what there is; False: the machine has ended and all is read."""
        ready, _, _ = select.select([self.output], [], [], seconds)
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self.output, 1 << 16)
        except OSError:
            data = b""
        self.raw.write(data)
        self.raw.flush()
        self.frames.feed(data)
        return bool(data)

    # ---- what tests do ----

    def wait(self, who, text, seconds=None):
        """Waits for text on a console, behind what was waited for before; returns the line that has it."""
        patience, self.fresh = Patience(self.process, seconds or self.seconds), False
        alive = True
        while True:
            console = self.consoles.get(who)
            place = console.text.find(text, console.seen) if console else -1
            if place >= 0:
                console.seen = place + len(text)
                begin = console.text.rfind("\n", 0, place) + 1
                stop = console.text.find("\n", place)
                return console.text[begin:stop if stop >= 0 else None].rstrip("\r")
            if not alive:
                self._fail(f"the machine ended before {who} said {text!r}", who)
            if patience.over():
                self._fail(f"{who} did not say {text!r} within {seconds or self.seconds} s", who)
            alive = self._read(0.1)

    def wait_line(self, who, seconds=None):
        """Waits for the end of the line; returns what of it lies behind what was waited for before."""
        start = self.consoles[who].seen
        self.wait(who, "\n", seconds)
        return self.consoles[who].text[start:self.consoles[who].seen].strip()

    def run_for(self, condition, seconds=None):
        """Reads until condition() holds."""
        patience, self.fresh = Patience(self.process, seconds or self.seconds), False
        while not condition():
            if patience.over():
                self._fail(f"what was waited for did not come within {seconds or self.seconds} s")
            if not self._read(0.1) and not condition():
                self._fail("the machine ended before what was waited for")

    def type(self, who, text):
        """The last frame may be under way still when this returns."""
        number = next((n for n, (kind, name) in self.frames.clients.items()
                       if name == who and kind == KIND_CONSOLE), None)
        if number is None:
            self._fail(f"there is no console {who} to type into")
        for frame in Frames.pack(number, text.encode()):
            patience = Patience(self.process, self.seconds)
            while self.frames.typed and self._read(0.1):
                if patience.over():
                    self._fail("the console server does not take what is typed", who)
            self.frames.typed = True
            os.write(self.input, frame)

    def log_in(self, who):
        """As root, at the login prompt of a Debian from a disk."""
        self.wait(who, "login:")
        self.type(who, "root\n")
        self.wait(who, "# ")

    def monitor(self, command, seconds=None):
        """Gives the monitor a command; returns its answer."""
        said = self.consoles.setdefault(MONITOR, Console())
        said.seen = len(said.text)        # what was said before is no answer
        self.type(SYSTEM, command + "\r")
        self.wait(MONITOR, command, seconds)
        start = self.consoles[MONITOR].seen
        self.wait(MONITOR, PROMPT, seconds)
        text = self.consoles[MONITOR].text[start:self.consoles[MONITOR].seen - len(PROMPT)]
        self.fresh = command == "audit"
        return text.replace("\r", "").strip("\n")

    def wait_end(self, seconds=None):
        """Until the machine ends by itself; returns what it wrote to debug-exit (QEMU), else None."""
        patience = Patience(self.process, seconds or self.seconds)
        while self._read(0.1):
            if patience.over():
                self._fail(f"the machine did not end within {seconds or self.seconds} s")
        status = self.process.wait()
        return status >> 1 if status > 0 and status & 1 else None

    def text(self, who):
        return self.consoles[who].text if who in self.consoles else ""

    def audit_last(self):
        """Whatever the test did, its partitions share nothing: the monitor is asked; where the machine has ended by
        itself, or is about to, root has audited last. What never came up has nothing to share."""
        def verdicts():
            return VERDICT.findall(self.text(MONITOR)[asked:].replace("\r", ""))

        asked, patience = 0, Patience(self.process, AUDIT_SECONDS)
        if NOTHING in self.text(SYSTEM) or not verdicts():
            return
        if ALL_ENDED in self.text(MONITOR):
            asked = self.text(MONITOR).rindex(ALL_ENDED)
        elif not self.fresh and self.process.poll() is None:
            asked = len(self.text(MONITOR))
            try:
                self.type(SYSTEM, "audit\r")
            except OSError:
                pass                      # it has ended just now
        while not verdicts() and self._read(0.1):
            if patience.over():
                self._fail(f"there was no audit at the end within {AUDIT_SECONDS} s")
        if not verdicts() or not verdicts()[-1].startswith("passed"):
            self._fail("the audit at the end found what must not be, or there was none")
        if "DMA not confined" in verdicts()[-1] and "DMA NOT CONFINED" not in self.text(SYSTEM):
            self._fail("the audit at the end tells of a server whose DMA is not confined, the start did not")

    def _fail(self, what, who=None):
        """The console that was waited for comes first: of a long report only the beginning may be shown."""
        status = self.process.poll()
        if status is not None:
            what += f" (its exit status is {status})"
        tails = "".join(f"\n  --- the end of {name}:\n" + "\n".join("    " + line for line in console.lines()[-15:])
                        for name, console in sorted(self.consoles.items(), key=lambda item: item[0] != who))
        raise Failed(f"{self.machine.name}: {what}{tails}\n  logs: {os.path.relpath(self.directory, ROOT)}")

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        try:
            if self.audited and not failure:
                self.audit_last()
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            self.raw.close()
