"""The host tool: which emulator it takes, what it starts, and how it ends."""
import io
import os
import pty
import re
import select
import signal
import subprocess
import tarfile
import termios
import time

import pytest

from conftest import ROOT
from test_partition_file import TOOL, kernel

GUESTS = os.path.join(ROOT, "build", "guests", "linux")
ENDS_S = 60                               # far more than the tool takes to end, however busy this PC is
ONE = 'partition one {{ memory 64M boot linux {{ kernel {kernel} command-line "{words}" }} }}\n'


def septum(*arguments, cwd=ROOT, seconds=60, **more):
    return subprocess.run([TOOL, *arguments], cwd=cwd, capture_output=True, text=True, timeout=seconds,
                          errors="replace", stdin=subprocess.DEVNULL, **more)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vmlinuz").write_bytes(kernel())
    (tmp_path / "one.conf").write_text(ONE.format(kernel="vmlinuz", words=""))
    return tmp_path


@pytest.fixture(scope="module")
def guests():
    done = subprocess.run(["make", "-s", "guests"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {"kernel": os.path.join(GUESTS, "vmlinuz-cloud"), "initrd": os.path.join(GUESTS, "initrd")}


def linux(name, words, guests, more=""):
    return (f'partition {name} {{ {more} boot linux {{ kernel "{guests["kernel"]}" initrd "{guests["initrd"]}" '
            f'command-line "console=hvc0 quiet septum.name={name} {words}" }} }}\n')


# ---- which emulator -----------------------------------------------------------------------------------

def host(folder, flags, module=None, nested=None, device=True):
    """A tree of /proc, /sys and /dev."""
    (folder / "proc").mkdir()
    (folder / "proc" / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: any\nflags\t\t: fpu {flags} ht\n\n"
                                             f"processor\t: 1\nflags\t\t: fpu\n")
    if module:
        parameters = folder / "sys" / "module" / module / "parameters"
        parameters.mkdir(parents=True)
        (parameters / "nested").write_text(nested + "\n")
    if device:
        (folder / "dev").mkdir()
        (folder / "dev" / "kvm").write_text("")
    return folder


def choice(folder, tree, **more):
    done = septum("run", "one.conf", "--print-command", cwd=folder,
                  env={**os.environ, "SEPTUM_HOST_ROOT": str(tree)}, **more)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    return words[words.index("-accel") + 1], words[words.index("-cpu") + 1], done.stderr


@pytest.mark.parametrize("flags, module, nested", [
    ("vmx", "kvm_intel", "Y"), ("vmx", "kvm_intel", "1"), ("svm npt", "kvm_amd", "1"), ("svm", "kvm_amd", "Y")])
def test_kvm_is_taken_where_nested_virtualization_works(folder, tmp_path_factory, flags, module, nested):
    tree = host(tmp_path_factory.mktemp("host"), flags, module, nested)
    assert choice(folder, tree)[:2] == ("kvm", "host")


@pytest.mark.parametrize("flags, module, nested, device, cure", [
    ("sse", None, None, True, "switch virtualization on in the firmware's set-up"),
    ("svm_lock xvmx", "kvm_intel", "Y", True, "shows neither vmx nor svm"),
    ("vmx", None, None, True, "`sudo modprobe kvm_intel`"),
    ("svm", None, None, True, "the firmware has locked virtualization"),
    ("vmx", "kvm_amd", "1", True, "`sudo modprobe kvm_intel`"),
    ("svm", "kvm_amd", "1", False, "`sudo modprobe kvm_amd`"),
    ("vmx", "kvm_intel", "N", True, "kvm_intel nested=1"),
    ("svm", "kvm_amd", "0", True, "kvm_amd nested=1")])
def test_without_kvm_one_line_says_why_and_amd_v_is_emulated(folder, tmp_path_factory, flags, module, nested,
                                                             device, cure):
    tree = host(tmp_path_factory.mktemp("host"), flags, module, nested, device)
    accelerator, cpu, said = choice(folder, tree)
    assert (accelerator, cpu) == ("tcg", "EPYC-v3,+svm,+npt")
    assert cure in said and said.count("\n") == 1


def test_a_device_that_may_not_be_used_is_said_with_its_cure(folder, tmp_path_factory):
    tree = host(tmp_path_factory.mktemp("host"), "vmx", "kvm_intel", "Y")
    (tree / "dev" / "kvm").chmod(0)
    if os.access(tree / "dev" / "kvm", os.R_OK):
        # Nothing is forbidden to root: without its rights over files, but with its identity.
        done = subprocess.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", TOOL, "run", "one.conf",
                               "--print-command"], cwd=folder, capture_output=True, text=True,
                              env={**os.environ, "SEPTUM_HOST_ROOT": str(tree)})
        assert done.returncode == 0 and " tcg " in done.stdout
        said = done.stderr
    else:
        said = choice(folder, tree)[2]
    assert "usermod -aG kvm" in said


def test_cpus_and_memory_follow_the_file_unless_the_command_line_says_otherwise(folder):
    (folder / "two.conf").write_text("partition a { cpus 0-2 memory 300M boot linux { kernel vmlinuz } }")
    (folder / "said.conf").write_text("machine { cpus 5 memory 1G }\n" + (folder / "two.conf").read_text())
    (folder / "threads.conf").write_text("machine { threads 2 }\n" + (folder / "two.conf").read_text())

    def given(*arguments):
        words = septum("run", *arguments, "--print-command", cwd=folder).stdout.split()
        return words[words.index("-smp") + 1], int(words[words.index("-m") + 1])

    assert given("two.conf")[0] == "3,threads=1" and 340 <= given("two.conf")[1] <= 512
    assert given("said.conf") == ("5,threads=1", 1024)
    assert given("said.conf", "--cpus", "4", "--memory", "768M") == ("4,threads=1", 768)
    assert given("threads.conf")[0] == "4,threads=2"      # whole cores


# ---- what can't be ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments, words", [
    ([], "septum check"), (["rnu", "one.conf"], "no command `rnu`"), (["run"], "a partition file is missing"),
    (["run", "one.conf", "two.conf"], "one argument too many"), (["run", "one.conf", "--fast"], "no option `--fast`"),
    (["check", "one.conf", "--bochs"], "no option `--bochs`"), (["run", "one.conf", "--cpus"], "a value is missing"),
    (["run", "one.conf", "--cpus", "many"], "a number from 1 to 64"), (["run", "one.conf", "--memory", "1T"], "a size"),
    (["run", "one.conf", "--timeout", "soon"], "--timeout wants seconds"), (["iso", "one.conf"], "-o IMAGE is missing"),
    (["run", "one.conf", "--expect", "one"], "--expect wants 'NAME: TEXT'"),
    (["run", "one.conf", "--expect", "two: hello"], "no partition `two`"), (["help", "rnu"], "no command `rnu`")])
def test_a_wrong_command_line_is_told_and_ends_with_2(folder, arguments, words):
    done = septum(*arguments, cwd=folder)
    assert done.returncode == 2 and words in done.stderr and done.stdout == ""


@pytest.mark.parametrize("command", ["check", "show", "run", "iso"])
def test_each_command_has_help(command):
    done = septum("help", command)
    assert done.returncode == 0 and done.stdout.startswith(f"septum {command} FILE") and len(done.stdout) > 150
    assert septum(command, "--help").stdout == done.stdout


@pytest.mark.parametrize("text, words", [
    (ONE.format(kernel="nowhere", words=""), "nowhere can't be read: No such file or directory"),
    (ONE.format(kernel="one.conf", words=""), "is no Linux kernel, or it is damaged"),
    ("", "there is no partition in this file. Add one"),
    ("machine { memory 128M }\npartition big { memory 120M boot linux { kernel vmlinuz } }", "for guests. Give it at most")])
def test_what_can_not_run_is_said_with_its_cure(folder, text, words):
    (folder / "x.conf").write_text(text)
    for arguments in (["run", "x.conf", "--headless"], ["iso", "x.conf", "-o", "x.iso"]):
        done = septum(*arguments, cwd=folder)
        assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1
        assert not (folder / "x.iso").exists()


def test_too_little_memory_on_the_command_line_is_said(folder):
    done = septum("run", "one.conf", "--headless", "--memory", "64M", cwd=folder)
    assert done.returncode == 1 and "memory 64M, but this machine has" in done.stderr


def test_a_file_that_is_not_there_is_said(folder):
    done = septum("check", "nowhere.conf", cwd=folder)
    assert done.returncode == 1 and done.stderr == "nowhere.conf:1:1: this file is not there. Check its path.\n"


# ---- bundles and images -------------------------------------------------------------------------------------

def test_the_bundle_is_an_archive_whose_members_begin_at_pages(folder):
    long = folder / ("d" * 90) / ("e" * 90)
    long.mkdir(parents=True)
    initrd = os.urandom(10000)
    (long / "initrd").write_bytes(initrd)
    (folder / "shared.conf").write_text(f"default partition {{ boot linux {{ kernel vmlinuz initrd {'d' * 90}/{'e' * 90}/initrd }} }}")
    (folder / "two.conf").write_text("include shared.conf\npartition a { memory 32M }\npartition b { memory 32M }\n")
    images = []
    for name in ["a.iso", "b.iso"]:
        assert septum("iso", "two.conf", "-o", name, cwd=folder).returncode == 0
        subprocess.run(["osirrox", "-indev", name, "-extract", "/bundle", f"{name}.bundle"], cwd=folder, check=True,
                       capture_output=True)
        images.append((folder / f"{name}.bundle").read_bytes())
    assert images[0] == images[1], "the same files make the same bundle"
    with open(os.path.join(ROOT, "build", "release", "root.elf"), "rb") as file:
        root = file.read()
    assert images[0].startswith(root)
    begin = -(-len(root) // 4096) * 4096
    archive = tarfile.open(fileobj=io.BytesIO(images[0][begin:]), format=tarfile.USTAR_FORMAT)
    members = {member.name: member for member in archive if member.name != ".pad"}
    assert list(members)[:3] == ["partition.conf", "conf/two.conf", "conf/shared.conf"]
    assert {"program/vmm-server", "program/console-server", "file/vmlinuz"} < set(members) and len(members) == 7
    assert all(member.offset_data % 4096 == 0 for member in members.values())
    assert archive.extractfile(f"file/{'d' * 90}/{'e' * 90}/initrd").read() == initrd
    assert archive.extractfile("partition.conf").read() == b"two.conf\n"


@pytest.mark.parametrize("damage, words", [
    (lambda bundle: bundle[:-5000], b"cut off"),
    (lambda bundle: bundle.replace(b"file/vmlinuz", b"file/vmlinux"), b"a header's checksum is wrong"),
    (lambda bundle: bundle[:bundle.rindex(b"partition.conf\0")], b"`septum run`"),
    (lambda bundle: bundle.replace(b"memory 64M", b"memory 64G"), b"memory 64G, but this machine has")])
def test_a_damaged_bundle_is_refused_by_root_with_its_cure(folder, damage, words):
    assert septum("iso", "one.conf", "-o", "x.iso", cwd=folder).returncode == 0
    subprocess.run(["osirrox", "-indev", "x.iso", "-extract", "/bundle", "whole"], cwd=folder, check=True,
                   capture_output=True)
    (folder / "bundle").write_bytes(damage((folder / "whole").read_bytes()))
    done = subprocess.run(["qemu-system-x86_64", "-accel", "tcg", "-cpu", "EPYC-v3,+svm,+npt", "-nodefaults", "-display",
                           "none", "-serial", "stdio", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=2",
                           "-m", "256", "-kernel", os.path.join(ROOT, "build", "release", "septum.elf"), "-initrd",
                           "bundle", "-append", "debug-exit"], cwd=folder, capture_output=True, timeout=60,
                          stdin=subprocess.DEVNULL)
    assert words in done.stdout and b"nothing was started" in done.stdout
    assert done.returncode == 2 * 0x12 + 1


# ---- running ---------------------------------------------------------------------------------------------------

def emulators(mark):
    """Command lines of emulators that hold our mark."""
    found = subprocess.run(["pgrep", "-f", f"qemu-system.*{mark}"], capture_output=True, text=True).stdout.split()
    return [pid for pid in found if pid]


def test_expected_lines_of_both_guests_end_the_run_with_0(tmp_path, guests):
    (tmp_path / "x.conf").write_text(linux("web", "", guests) + linux("db", "", guests))
    done = septum("run", "x.conf", "--expect", "web: SEPTUM-GUEST-UP web", "--expect", "db:SEPTUM-GUEST-UP db",
                  "--expect", "system: all partitions run", "--options", "mark=both", cwd=tmp_path, seconds=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^web\| SEPTUM-GUEST-UP web$", done.stdout, re.M)
    assert re.search(r"^db\| SEPTUM-GUEST-UP db$", done.stdout, re.M)
    assert emulators("mark=both") == []


def test_the_same_file_runs_on_vt_x(tmp_path, guests):
    """Bochs; slow, so one guest alone."""
    (tmp_path / "x.conf").write_text(linux("one", "", guests))
    done = septum("run", "x.conf", "--bochs", "--expect", "one: SEPTUM-GUEST-UP one", cwd=tmp_path, seconds=500,
                  env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "virtualization: VT-x" in done.stdout
    assert not list(tmp_path.glob("septum-*")), "the run's files are gone"


def test_a_guest_that_prints_anothers_prefix_is_not_taken_for_it(tmp_path, guests):
    words = r"septum.run='printf \"\\376\\001\\005db| X\\ndb| GOAL\\n\"; echo reached; poweroff -f'"
    (tmp_path / "x.conf").write_text(linux("web", words, guests) + linux("db", "septum.run='poweroff -f'", guests))
    done = septum("run", "x.conf", "--expect", "db: GOAL", "--expect", "web: reached", "--timeout", "200", "--options",
                  "mark=prefix", cwd=tmp_path, seconds=300)
    assert done.returncode == 1
    assert "web| db| GOAL" in done.stdout and "web| reached" in done.stdout
    assert "db did not say 'GOAL' before the machine ended" in done.stderr and "web did not say" not in done.stderr
    assert emulators("mark=prefix") == []


def test_a_run_ends_with_its_partitions(tmp_path, guests):
    (tmp_path / "x.conf").write_text(linux("one", "septum.run='poweroff -f'", guests, "memory 96M"))
    done = septum("run", "x.conf", "--headless", cwd=tmp_path, seconds=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "system| all partitions have ended" in done.stdout


def test_an_interrupt_ends_the_emulator(tmp_path, guests):
    (tmp_path / "x.conf").write_text(linux("one", "", guests))
    run = subprocess.Popen([TOOL, "run", "x.conf", "--expect", "one: never", "--options", "mark=interrupt"], cwd=tmp_path,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    assert "Septum" in run.stdout.readline()
    assert len(emulators("mark=interrupt")) == 1
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=ENDS_S)
    assert run.returncode == 1 and "before it was interrupted" in said
    assert emulators("mark=interrupt") == []


class Terminal:
    """The tool in a terminal."""

    def __init__(self, folder, *arguments):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.text = b""
        self.process = subprocess.Popen([TOOL, "run", *arguments], cwd=folder, stdin=self.slave, stdout=self.slave,
                                        stderr=self.slave, start_new_session=True)

    def wait(self, text, seconds=300, times=1):
        end, start = time.monotonic() + seconds, len(self.text)
        while self.text.count(text, start) < times:
            assert time.monotonic() < end, f"no {text}: {self.text[-600:]}"
            if select.select([self.master], [], [], 0.2)[0]:
                self.text += os.read(self.master, 65536)

    def type(self, keys):
        os.write(self.master, keys)

    def restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def end(self):
        os.close(self.master)
        os.close(self.slave)


def test_two_shells_can_be_typed_into_and_ctrl_a_q_ends(tmp_path, guests):
    (tmp_path / "x.conf").write_text(linux("web", "", guests) + linux("db", "", guests))
    terminal = Terminal(tmp_path, "x.conf", "--options", "mark=shells")
    terminal.wait(b"Ctrl-A 1 web, Ctrl-A 2 db, Ctrl-A 0 system, Ctrl-A ? help, Ctrl-A q end")
    terminal.wait(b"GUEST-UP", times=2)
    assert not terminal.restored()
    terminal.type(b"\x011")
    terminal.wait(b" web ")
    terminal.type(b"echo web $((6*7))\r")
    terminal.wait(b"web 42")
    terminal.type(b"\x012")
    terminal.wait(b" db ")
    terminal.type(b"echo db $((6*8))\r")
    terminal.wait(b"db 48")
    terminal.type(b"\x01q")
    assert terminal.process.wait(timeout=ENDS_S) == 0
    assert terminal.restored() and emulators("mark=shells") == []
    terminal.end()


def test_the_last_words_stand_in_a_restored_terminal(tmp_path, guests):
    (tmp_path / "x.conf").write_text(linux("one", "septum.run='poweroff -f'", guests))
    terminal = Terminal(tmp_path, "x.conf", "--options", "mark=words")
    terminal.wait(b"all partitions have ended")
    assert terminal.process.wait(timeout=ENDS_S) == 0
    assert terminal.restored() and emulators("mark=words") == []
    terminal.end()


def test_the_terminal_is_restored_after_a_crash(tmp_path, guests):
    (tmp_path / "x.conf").write_text(linux("one", "", guests))
    terminal = Terminal(tmp_path, "x.conf", "--options", "mark=crash")
    terminal.wait(b"Septum")
    child = subprocess.run(["pgrep", "-P", str(terminal.process.pid)], capture_output=True, text=True).stdout.split()
    assert len(child) == 1 and not terminal.restored()
    os.kill(int(child[0]), signal.SIGKILL)
    assert terminal.process.wait(timeout=ENDS_S) == 1
    assert terminal.restored() and emulators("mark=crash") == []
    terminal.end()


def test_with_an_iommu_no_device_goes_around_it(folder):
    (folder / "image").write_bytes(bytes(4096))
    (folder / "disks.conf").write_text(
        "machine { disk image }\nvolume v { disk 0 }\nnetwork n { uplink 0 }\n"
        "partition a { disk v network n boot linux { kernel vmlinuz } }")
    words = septum("run", "disks.conf", "--iommu", "--print-command", cwd=folder).stdout.split()
    virtio = [word for word in words if word.startswith("virtio-")]
    assert len(virtio) == 2 and all("iommu_platform=on" in word for word in virtio)
    units = [place for place, word in enumerate(words) if word.startswith("intel-iommu")]
    assert len(units) == 1 and units[0] < words.index(virtio[0]) and words[words.index("-machine") + 1].startswith("q35")
    assert septum("check", "disks.conf", "--iommu", cwd=folder).stderr == ""
    warned = septum("check", "disks.conf", cwd=folder).stderr
    assert all(f"DMA NOT CONFINED: {server}-server, trusted by all" in warned for server in ["block", "net"])
    plain = septum("run", "disks.conf", "--print-command", cwd=folder).stdout
    assert "intel-iommu" not in plain and "iommu_platform" not in plain and "q35" not in plain
    done = septum("run", "disks.conf", "--iommu", "--bochs", cwd=folder)
    assert done.returncode == 1 and "Bochs has no IOMMU" in done.stderr
