"""What disks and networks cost: build/bench/services.txt. Called by bench/run.py.

Host instructions are those of kernel, root, VMMs and servers: all but the guests' (bench/plugin/count.c). Mark 2 stands
around each load, and the same number of marks around nothing is taken off. Idle time is no instruction: the plugin
counts what is executed.
"""
import os
import socket
import threading

import linux

DISK_MIB = 64
READS = 2000
DEPTH = 32
STREAM_MIB = 64
PINGS = 200
REQUESTS = 50

# name: (the guest's command, requests)
DISK_LOADS = {
    "nothing": (":", 1),
    "read_64k": (f"ioprobe read /dev/vda 65536 {READS} 1", READS),
    "read_4k": (f"ioprobe read /dev/vda 4096 {READS} 1 random", READS),
    "in_flight": (f"ioprobe read /dev/vda 4096 {4 * READS} {DEPTH} random", 4 * READS),
}


# The same between two guests, and from a guest to the host.
STREAM_BYTES = STREAM_MIB << 20
NETWORK_LOADS = {
    "nothing": (":", 1),
    "stream": (f"ioprobe send 10.0.0.3 5000 {STREAM_BYTES}", STREAM_MIB),
    "ping": (f"ioprobe ping 10.0.0.3 {PINGS}", PINGS),
    "request": (f"ioprobe get 10.0.0.1 80 /status.json {REQUESTS}", REQUESTS),
}


def files(initrd="initrd-disk"):
    return {**linux.files(), "initrd": os.path.join(linux.GUESTS, "linux", initrd)}


def programs():
    return linux.programs() + [os.path.join(linux.ROOT, "build", "release", name)
                               for name in ["block-server.elf", "net-server.elf"]]


def disk_options():
    path = os.path.join(linux.ROOT, "build", "bench", "disk.img")
    with open(path, "wb") as image:
        image.truncate(DISK_MIB << 20)
    return ["-drive", f"if=none,id=disk0,format=raw,file={path}", "-device",
            "virtio-blk-pci,drive=disk0,disable-legacy=on"]


def script(commands, before="sleep 1"):
    return "; ".join([f"{before}; probe mark 2", *(f"{command}; probe mark 2" for command in commands),
                      "echo BENCH-DONE"])


def guest(name, run, more):
    text = linux.partition(name, f'quiet console=hvc0 septum.name={name} septum.run=\\"{run}\\"')
    return text.replace("    console virtio", f"    {more}\n    console virtio")


def between(marks, value):
    """The value's growth from each mark 2 to the next; the first is what the marks cost."""
    points = [value(mark) for mark in marks if mark.name == "2"]
    spent = [b - a for a, b in zip(points, points[1:])]
    return [one - spent[0] for one in spent]


def server_memory(info):
    return linux.kibibytes(r"memory +(\d+) KiB, seen in the bundle (\d+) KiB", info) + \
        linux.kibibytes(r"kernel +(\d+) of \d+ KiB used", info)


def disk_on(board, initrd, progress):
    """The marks of all loads on a board, and what is said of the server: the way of requests is the same on both boards,
    but only a pc's virtio interrupts by messages, which its guest need not acknowledge."""
    run = script(command for command, _ in DISK_LOADS.values())
    conf = "volume data { disk 0 }\n" + guest("one", run, f"board {board}\n    disk data")
    marks, _, (memory,) = linux.counted(f"disk-{board}", conf, [("one", "BENCH-DONE")], files(initrd), progress,
                                        ["info block-server"], disk_options())
    return marks, memory


def disk(add, progress):
    marks, memory = disk_on("pc", "initrd-pc-cloud", progress)
    host = dict(zip(DISK_LOADS, between(marks, linux.Mark.host)))
    marks_lean, _ = disk_on("lean", "initrd-disk", progress)
    lean = dict(zip(DISK_LOADS, between(marks_lean, linux.Mark.host)))
    entries = dict(zip(DISK_LOADS, between(marks, lambda mark: mark.entries)))
    add("blk_read_64k_host", round(host["read_64k"] / READS), "instructions", "64 KiB, sequential, direct, one at a time")
    add("blk_read_4k_host", round(host["read_4k"] / READS), "instructions", "4 KiB, random, direct, one at a time")
    for size in ["64k", "4k"]:
        add(f"blk_read_{size}_lean_host", round(lean[f"read_{size}"] / READS), "instructions",
            "the same on a lean board, whose guest acknowledges each interrupt by an exit")
    add("blk_exits_per_request", entries["in_flight"] / DISK_LOADS["in_flight"][1], "count",
        f"VM entries, 4 KiB, random, {DEPTH} in flight")
    add("blk_in_flight_host", round(host["in_flight"] / DISK_LOADS["in_flight"][1]), "instructions",
        f"4 KiB, random, {DEPTH} in flight")
    add("block_server_memory", server_memory(memory), "bytes", "with its program and the kernel memory that it uses")


def card_up(address):
    return f"ip addr add {address}/24 dev eth0; ip link set eth0 up"


def per_request(loads, marks):
    """{load: host instructions of one request}"""
    spent = dict(zip(loads, between(marks, linux.Mark.host)))
    return {name: round(spent[name] / count) for name, (_, count) in loads.items()}


def network(add, progress):
    """Two guests on one CPU; Septum's own address in their network serves the page. No device has a part in it."""
    peer = f"{card_up('10.0.0.3')}; ioprobe receive 5000 {STREAM_BYTES}"
    ready = f"{card_up('10.0.0.2')}; sleep 3; ioprobe get 10.0.0.1 80 /status.json 1"
    conf = "network inside { host 10.0.0.1/24 http 80 }\n" + guest("peer", peer, "network inside") + guest(
        "one", script((command for command, _ in NETWORK_LOADS.values()), ready), "network inside")
    marks, _, (memory,) = linux.counted("network", conf, [("one", "BENCH-DONE")], files(), progress,
                                        ["info net-server"])
    host = per_request(NETWORK_LOADS, marks)
    add("net_guest_to_guest_host_per_mib", host["stream"], "instructions", f"TCP, {STREAM_MIB} MiB")
    add("net_rtt_host", host["ping"], "instructions", "a ping between guests, there and back, each guest idle between")
    add("lwip_http_request_host", host["request"], "instructions",
        "GET /status.json by a guest, with connecting and closing")
    add("net_server_memory", server_memory(memory), "bytes", "with its program and the kernel memory that it uses")


def take_stream(door):
    """What `ioprobe send` sends, to its end."""
    stream, left = door.accept()[0], STREAM_BYTES
    with stream:
        while left and (data := stream.recv(min(left, 1 << 16))):
            left -= len(data)
        stream.sendall(b"x")


def uplink(progress, card):
    """Host instructions for each MiB that a guest sends to the emulator's user network."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=take_stream, args=[door], daemon=True).start()
        loads = {"nothing": (":", 1), "stream": (f"ioprobe send 10.0.2.2 {door.getsockname()[1]} {STREAM_BYTES}", STREAM_MIB)}
        conf = "network outside { uplink 0 }\n" + guest(
            "one", script((command for command, _ in loads.values()), f"{card_up('10.0.2.20')}; sleep 1"),
            "network outside")
        marks, _, _ = linux.counted("uplink", conf, [("one", "BENCH-DONE")], files(), progress, [],
                                    ["-netdev", "user,id=n0", "-device", f"{card},netdev=n0"])
    return per_request(loads, marks)["stream"]


def uplinks(add, progress):
    """By a card that cuts TCP into segments and sums them, and by one from which the user network takes both."""
    add("net_guest_to_uplink_host_per_mib", uplink(progress, "e1000"), "instructions",
        f"TCP, {STREAM_MIB} MiB, to the emulator's user network by an 82540EM, which cuts segments")
    add("net_guest_to_uplink_uncut_host_per_mib", uplink(progress, "virtio-net-pci,disable-legacy=on"), "instructions",
        "the same by a virtio-net that does not: the server cuts and sums")


def measure(progress):
    """[(name, value, unit and comment)]"""
    figures = []

    def add(name, value, unit, comment=""):
        figures.append((name, f"{value:.4f}" if isinstance(value, float) else value,
                        unit + (f" {comment}" if comment else "")))

    disk(add, progress)
    network(add, progress)
    uplinks(add, progress)
    return figures
