"""Servers that partitions share, as root has them: devices, clients, ends and restarts. A stand-in (tests/stand-in) runs
in the place of block-server, net-server and the VMM, where their own work is not what is tested."""
import re
import socket

import pytest

from bundle import build_path
from guests import System

BOTH = pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
STAND_IN = ["vmm-server", "block-server", "net-server"]


def system(machine, conf, tmp_path, emulator_options=(), flavour="debug", stand_ins=STAND_IN, **more):
    return System(machine, conf, files={"kernel": bytes(5000), "image": b"X" * 8192}, flavour=flavour,
                  directory=tmp_path / "run", memory_mib=256, seconds=60, emulator_options=emulator_options,
                  programs={name: build_path(flavour, "tests/stand-in.elf") for name in stand_ins}, **more)


def partition(name, uses="", does="ready call-servers live", memory="4M", policies="on vmm-death stop"):
    return (f'partition {name} {{ memory {memory} {policies}\n {uses}\n'
            f' boot linux {{ kernel "kernel" command-line "{does}" }} }}\n')


def disk(tmp_path, number=0, kind="virtio-blk-pci,disable-legacy=on"):
    image = tmp_path / f"disk{number}"
    image.write_bytes(bytes(1 << 20))
    return ["-drive", f"file={image},format=raw,if=none,id=disk{number}", "-device", f"{kind},drive=disk{number}"]


VOLUMES = 'volume data { disk 0 }\nvolume image { file "image" access private changes 1M }\n'
NETWORK = "network inside { }\n"
USES = "disk data\n disk image\n network inside"
SERVERS = "".join(f"server {name} {{ on death restart 10 }}\n" for name in ["block", "network"])
GOOD = VOLUMES + NETWORK + partition("good", USES) + partition("other", "disk image\n network inside")


@BOTH
def test_clients_and_servers_reach_each_other(machine, tmp_path):
    with system(machine, GOOD, tmp_path) as run:
        for who, what in [("good", "data"), ("good", "image"), ("good", "inside"), ("other", "image"),
                          ("other", "inside")]:
            run.run_for(lambda: f"{who}: {what} has counted to 3, and written S" in run.text("system"))
        text = run.text("system")
        assert "block-server: the file of image has 8192 bytes and begins with X" in text
        assert re.search(r"block-server: client 0 is good, of data, with 4096 KiB of memory", text)
        assert "net-server: client 1 is other, of inside" in text
        assert "DMA NOT CONFINED: block-server, trusted by all partitions" in text
        assert "DMA NOT CONFINED: net-server" not in text        # its networks have no uplink
        assert "audit: passed, but DMA not confined: block-server, trusted by all partitions: " in run.monitor("audit")


@BOTH
def test_without_devices_the_audit_passes_plainly(machine, tmp_path):
    conf = NETWORK + 'volume image { file "image" access read-only }\n' + partition("good", "disk image\n network inside")
    with system(machine, conf, tmp_path) as run:
        run.wait("system", "good: inside has counted to 3")
        assert "audit: passed: " in run.monitor("audit")
        assert "DMA NOT CONFINED" not in run.text("system")
        assert "block-server: 0 devices" in run.text("system")


def test_servers_on_another_cpu(tmp_path):
    servers = "".join(f"server {name} {{ cpu 1 }}\n" for name in ["block", "network"])
    with system("qemu-2", servers + GOOD, tmp_path, disk(tmp_path)) as run:
        run.wait("system", "all partitions run")
        for server in ["block-server", "net-server"]:
            run.monitor(f"derail {server}")
            run.wait("system", f"{server}: started again")
            assert "CPU          1," in run.monitor(f"info {server}")
        run.monitor("reset good")
        run.run_for(lambda: run.text("system").count("good: inside has counted to 3") == 2)
        all_goes_on(run, "good", "other")


def many(partitions, disks):
    return "".join(f'volume v{n} {{ file "image" access private changes 1M }}\n' for n in range(disks)) + NETWORK + "".join(
        partition(f"p{n}", "\n".join(f" disk v{i}" for i in range(disks)) + "\n network inside" * disks)
        for n in range(partitions))


def test_as_many_clients_as_there_can_be(tmp_path):
    """28 disks and 28 cards, each with its channel and its changes; one more partition is too many."""
    with system("qemu-1", many(7, 4), tmp_path) as run:
        run.wait("system", "all partitions run")
        for n in range(7):
            run.run_for(lambda: f"p{n}: inside has counted to 3" in run.text("system"))
        run.monitor("derail block-server")
        run.wait("system", "block-server: started again")
        assert run.monitor("info block-server").count("  client ") == 28
        assert "not attached" not in run.monitor("info block-server")
        assert "audit: passed: " in run.monitor("audit")
    with system("qemu-1", many(8, 4), tmp_path) as run:
        assert run.wait_end() == 0x12
        assert "its partitions have 32 disks and 32 network cards; a server has at most 30 of either" in run.text("system")


@BOTH
@pytest.mark.parametrize("servers", ["stand-ins", "real"])
def test_a_client_can_do_no_more_than_ring(servers, machine, tmp_path):
    """At a server's door a client's word counts for nothing, and what it gives is not taken."""
    volumes = "".join(f'volume {name} {{ file "image" access private changes 1M }}\n' for name in ["data", "image"])
    conf = volumes + NETWORK + partition("bad", USES, "ready abuse-doors live") + partition(
        "good", "disk image\n network inside", "ready live" if servers == "real" else "ready call-servers live")
    stand_ins = STAND_IN if servers == "stand-ins" else ["vmm-server"]
    with system(machine, conf, tmp_path, stand_ins=stand_ins) as run:
        run.wait("system", "bad: doors: 9 answered, 18 refused")
        if servers == "stand-ins":
            run.wait("system", "good: inside has counted to 3")
        else:
            run.wait("system", "all partitions run")
        all_goes_on(run, "bad", "good")
        told = {server: run.monitor(f"info {server}") for server in ["block-server", "net-server"]}
        assert all("life 1," in info and "not attached" not in info for info in told.values()), told


# ---- ends and restarts --------------------------------------------------------------------------------------

def heartbeats(run, who):
    return len(re.findall(rf"^{who}: heartbeat", run.text("system"), re.M))


def all_goes_on(run, *partitions):
    before = {who: heartbeats(run, who) for who in partitions}
    run.run_for(lambda: all(heartbeats(run, who) >= before[who] + 2 for who in partitions))
    assert re.search(r"^audit: passed", run.monitor("audit"), re.M)


def free_memory(run):
    return re.findall(r"\d+", run.monitor("memory").split("capability")[0])


@BOTH
def test_a_partition_ends_and_begins(machine, tmp_path):
    """Twenty lives of a partition with disks and a card: each is attached anew, and nothing is left behind."""
    with system(machine, GOOD, tmp_path) as run:
        run.wait("system", "all partitions run")
        run.monitor("reset good")
        run.wait("system", "good: inside has counted to 3")
        before = free_memory(run)
        for _ in range(20):
            run.monitor("reset good")
            run.wait("system", "good: inside has counted to 3")
        assert free_memory(run) == before
        assert "was not emptied" not in run.text("system")
        all_goes_on(run, "good", "other")


@BOTH
@pytest.mark.parametrize("server", ["block-server", "net-server"])
def test_a_dead_server_is_started_again(server, machine, tmp_path):
    with system(machine, SERVERS + GOOD, tmp_path) as run:
        run.wait("system", "all partitions run")
        run.run_for(lambda: heartbeats(run, "good") and heartbeats(run, "other"))
        before = free_memory(run)
        for count in range(1, 11):
            assert f"{server}: this server died: it jumped to 0x10" in run.monitor(f"derail {server}") or run.wait(
                "system", f"{server}: this server died: it jumped to 0x10")
            run.wait("system", f"{server}: started again")
            assert f"started again {count} times" in run.monitor(f"info {server}")
            assert "not attached" not in run.monitor(f"info {server}")
        assert "at 0x10, thread 0, in program/" + server in run.text("system")
        assert free_memory(run) == before
        # Its clients are its clients again: a new life of one of them gets its answers.
        run.monitor("reset other")
        run.run_for(lambda: run.text("system").count("other: inside has counted to 3") == 2)
        all_goes_on(run, "good", "other")
        run.monitor(f"derail {server}")
        run.wait("system", f"{server}: it is not started again")
        assert re.search(rf"^{server} +off", run.monitor("list"), re.M)
        all_goes_on(run, "good", "other")
        run.monitor("reset other")
        run.wait("system", "which does not run")


@BOTH
def test_a_server_that_keeps_a_partitions_memory_is_ended(machine, tmp_path):
    """It is cut off from its devices, ended and started again, and the partition's end goes on."""
    conf = VOLUMES + 'volume silent { file "image" access read-only }\n' + partition("good", "disk data") + partition(
        "quiet", "disk silent")
    with system(machine, conf, tmp_path) as run:
        run.wait("system", "all partitions run")
        run.monitor("stop quiet")
        run.wait("system", "block-server: this server died: it does not answer root")
        run.wait("system", "block-server: started again")
        assert re.search("^quiet +off", run.monitor("list"), re.M)
        assert "client 0     good, data:" in run.monitor("info block-server")
        all_goes_on(run, "good")
        run.monitor("start quiet")
        run.wait("system", "quiet: silent has counted to 3")


def test_a_volume_that_is_not_there(tmp_path):
    """The server refuses it: the partition can't be started, others run."""
    conf = VOLUMES + "volume missing { disk 7 }\n" + partition("good", "disk data") + partition(
        "bad", "disk missing", policies="on failure stop")
    with system("qemu-1", conf, tmp_path) as run:
        run.wait("system", "bad: its disk or network is not there")
        run.wait("system", "bad: it could not be started; it is stopped")
        all_goes_on(run, "good")


# ---- devices ------------------------------------------------------------------------------------------------

def test_devices_of_all_kinds(tmp_path):
    """Each controller and card of QEMU's is found, behind a bridge too, and its registers answer the server."""
    card = ["-netdev", "user,id=net{0}", "-device", "{1},netdev=net{0}"]
    options = disk(tmp_path) + ["-device", "ahci,id=ahci", "-device", "pci-bridge,id=bridge,chassis_nr=1"] + disk(
        tmp_path, 1, "virtio-blk-pci,disable-legacy=on,bus=bridge,addr=3") + [
            word.format(n, kind) for n, kind in enumerate(["virtio-net-pci,disable-legacy=on", "e1000"]) for word in card]
    conf = VOLUMES + "network out { uplink 0 }\n" + partition("good", "disk data\n network out")
    with system("qemu-1", conf, tmp_path, options) as run:
        run.wait("system", "good: out has counted to 3")
        info = run.monitor("info block-server") + run.monitor("info net-server")
        found = re.findall(r"^  device +(.*)$", info, re.M)
        assert sorted(found) == sorted([
            "IDE at 00:01.1, by its interrupt line", "virtio-blk at 00:02.0, by MSI-X", "AHCI at 00:03.0, by MSI",
            "virtio-blk at 01:03.0, by MSI-X", "virtio-net at 00:05.0, by MSI-X", "e1000 at 00:06.0, by its interrupt line"])
        text = run.text("system")
        assert len(re.findall(r"block-server: device 1af4:1042, interrupt [234], kind 2", text)) == 2
        assert "block-server: BAR 0: 8 ports at 0x1f0" in text
        assert re.search(r"net-server: BAR 0: 131072 bytes, the first are 0x14", text)       # CTRL of an e1000
        assert "audit: passed, but DMA not confined: block-server, net-server, trusted by all partitions" in run.monitor(
            "audit")


def bus_masters(path):
    """The devices that may reach memory by themselves, as QEMU says."""
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(path)
        monitor.sendall(b"info mtree\ninfo uuid\n")
        text = b""
        while not re.search(rb"\n0{8}-", text):
            text += monitor.recv(1 << 16)
    spaces = re.split(r"\r?\n(?=address-space: )", text.decode())
    return {space.split()[1] for space in spaces[1:] if "alias bus master" in space}


def test_a_dead_servers_devices_are_cut_off(tmp_path):
    """Only a server that runs has devices that reach memory."""
    devices = disk(tmp_path) + ["-device", "ahci", "-device", "e1000", "-monitor", f"unix:{tmp_path}/hmp,server,nowait"]
    conf = "server block { on death stop }\n" + VOLUMES + "network out { uplink 0 }\n" + partition(
        "good", "disk data\n network out")
    with system("qemu-1", conf, tmp_path, devices) as run:
        run.wait("system", "good: out has counted to 3")
        assert bus_masters(f"{tmp_path}/hmp") == {"piix3-ide", "virtio-blk-pci", "ich9-ahci", "e1000"}
        run.monitor("derail block-server")
        run.wait("system", "block-server: it is not started again")
        assert bus_masters(f"{tmp_path}/hmp") == {"e1000"}
        assert "DMA          none" in run.monitor("info block-server")
        assert "audit: passed, but DMA not confined: net-server, trusted by" in run.monitor("audit")


def test_more_devices_than_a_server_drives(tmp_path):
    options = [word for number in range(5) for word in disk(tmp_path, number)]
    conf = VOLUMES + partition("good", "disk data")
    with system("qemu-1", conf, tmp_path, options) as run:
        run.wait("system", "good: data has counted to 3")
        assert "block-server: virtio-blk at 00:05.0 is left alone" in run.text("system")
        all_goes_on(run, "good")


@BOTH
def test_the_network_server_sees_how_the_system_fares(machine, tmp_path):
    with system(machine, GOOD, tmp_path) as run:
        run.wait("system", "net-server: status: context_switches is ")
        text = run.text("system")
        assert re.search(r"status: 1 CPUs, (VT-x|AMD-V), audit 1 0 passed, but DMA not confined: block-server, "
                         r"\d+ of \d+ KiB free", text)
        found = {name: (state, *map(int, numbers)) for name, state, *numbers in re.findall(
            r"status of (\S+): (\w+), (\d+) restarts, (\d+) vCPUs, (\d+) KiB, up (\d+) ms, ticks (\d+), hlt (\d+)", text)}
        assert set(found) == {"good", "other", "console-server", "block-server", "net-server"}
        for name, (state, restarts, vcpus, kib, up_ms, ticks, halts) in found.items():
            is_guest = name in ["good", "other"]
            assert (state, restarts, vcpus) == ("running", 0, is_guest)
            assert kib == 4096 if is_guest else 40 < kib < 2048
            assert 0 < up_ms < 60_000 and ticks > 1_000 and (halts > 0) == is_guest
        assert re.search(r"context_switches is [1-9]\d+, the log has [1-9]\d\d+ bytes and begins with \w", text)


# ---- the audit: what it must find -----------------------------------------------------------------------------

PLANTS = {
    "server-frame": r"frame 0x[0-9a-f]+ is reachable from block-server, in its own memory at 0x0*f000000, and was not given",
    "server-place": r"frame 0x[0-9a-f]+ is reachable from block-server, in its own memory at 0x0*f000000, and was not given",
    "server-memory": r"frame 0x[0-9a-f]+ is reachable from (block-server|web), in .*, and from (block-server|web), in ",
    "registers": r"frame 0x[0-9a-f]+ is reachable from (block-server|web), in .*, and from (block-server|web), in ",
    "channel": r"frame 0x[0-9a-f]+ is reachable from db, in its own memory at 0x0*f000000, and was not given",
    "changes": r"frame 0x[0-9a-f]+ is reachable from web, in its guest's memory at 0x0*f000000, and was not given",
    "device-port": r"port 0x1f7 is reachable from web, in its own ports, and was not given",
    "device-line": r"web holds a capability that it was not given, in slot 100: interrupt",
    "doorbell": r"one notification is reachable from (block-server|db), by slot \d+, and from (block-server|db), by slot",
    "door": r"one endpoint is reachable from (block-server|db), by slot \d+, and from (block-server|db), by slot",
}


# Bochs has no disk controller whose registers are memory.
@pytest.mark.parametrize("plant, machine", [(plant, machine) for plant in PLANTS for machine in ["qemu-1", "vmx-1"]
                                            if (plant, machine) != ("registers", "vmx-1")])
def test_the_audit_names_what_is_planted(plant, machine, tmp_path):
    conf = VOLUMES + partition("web", "disk image\n disk data") + partition("db")
    devices = disk(tmp_path) if machine == "qemu-1" else []
    with system(machine, conf, tmp_path, devices, options=f"plant={plant}") as run:
        run.wait("system", "root: nothing was started")
        assert re.search("audit: VIOLATION: " + PLANTS[plant], run.text("system")), run.text("system")
        assert "audit: FAILED" in run.text("system")
