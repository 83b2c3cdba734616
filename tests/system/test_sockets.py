"""Native tasks and their sockets: examples/echo and examples/greet as the world meets them, and a task that breaks the
rules."""
import http.server
import json
import os
import random
import re
import socket
import threading
import time
import urllib.request

import pytest

from guests import System
from machines import ROOT

PROGRAMS = os.path.join(ROOT, "build", "debug")
GUESTS = os.path.join(ROOT, "build", "guests", "linux")
OUTSIDE = "network outside { uplink 0 host dhcp http 80 }\nserver network { on death restart 10 }\n"
VIRTIO, E1000 = "virtio-net-pci,disable-legacy=on", "e1000"


def task(name, program, words=""):
    return f'task {name} {{ program "{program}.elf" network outside {words} }}\n'


ECHO = task("echo", "echo", "on death restart 2")


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ports:
    """Ports of this PC that lead to some of Septum's."""

    def __init__(self, *leads):
        self.of = {lead: free_port(socket.SOCK_DGRAM if lead[0] == "udp" else socket.SOCK_STREAM) for lead in leads}

    def options(self, card):
        forwards = "".join(f",hostfwd={kind}:127.0.0.1:{port}-:{to}" for (kind, to), port in self.of.items())
        return ["-netdev", "user,id=n0" + forwards, "-device", f"{card},netdev=n0"]


def system(conf, tmp_path, ports=None, card=VIRTIO, machine="qemu-1", seconds=120, files=None):
    programs = {name + ".elf": os.path.join(PROGRAMS, folder, name + ".elf")
                for folder, name in [("examples", "echo"), ("examples", "greet"), ("tests", "rogue")]}
    return System(machine, conf, files={**programs, **(files or {})}, directory=tmp_path / "run", seconds=seconds,
                  emulator_options=ports.options(card) if ports else ())


def connect(port, seconds=30):
    connection = socket.create_connection(("127.0.0.1", port), seconds)
    connection.settimeout(seconds)
    return connection


def read_all(connection):
    data = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece


def echoes(connection, data):
    """Does it all come back, and then the end?"""
    with connection:
        def send():
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        got = read_all(connection)
        sender.join()
        return got == data


def answering(run, port):
    """A connection to the echo, as soon as it answers: a server that was started anew asks for its address first."""
    found = []
    def try_it():
        connection = connect(port, 3)
        try:
            connection.sendall(b"anyone?")
            if connection.recv(100) == b"anyone?":
                found.append(connection)
                return
        except OSError:
            pass
        connection.close()
    def answered():
        if not found:
            try_it()
        return bool(found)
    run.run_for(answered)
    return found[0]


@pytest.mark.parametrize("card", [VIRTIO, E1000], ids=["virtio", "e1000"])
def test_the_echo_is_reached_from_this_pc(tmp_path, card):
    """Streams by TCP, six at once; datagrams by UDP, the largest and an empty one among them; the status page as before."""
    ports = Ports(("tcp", 7), ("udp", 7), ("tcp", 80))
    data = [random.Random(n).randbytes(150_000) for n in range(6)]
    with system(OUTSIDE + ECHO, tmp_path, ports, card) as run:
        run.wait("echo", "echo: TCP and UDP, port 7")
        run.wait("system", "Septum is 10.0.2.15")
        results = []
        # One after the other until they stand: QEMU's listening port holds no more than one that it has not taken.
        connections = [answering(run, ports.of["tcp", 7]) for _ in data]
        def one(n):
            connections[n].settimeout(30)
            results.append(echoes(connections[n], data[n]))
        threads = [threading.Thread(target=one, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        run.run_for(lambda: not any(thread.is_alive() for thread in threads))
        assert results == [True] * 6
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(30)
            udp.connect(("127.0.0.1", ports.of["udp", 7]))
            for size in [1, 1452, 700]:
                udp.send(data[0][:size])
                assert udp.recv(2000) == data[0][:size]
        with urllib.request.urlopen(f"http://127.0.0.1:{ports.of['tcp', 80]}/status.json", timeout=30) as page:
            assert json.load(page)["audit_findings"] == 0
        assert "echo " in run.monitor("list")
        info = run.monitor("info echo")
        assert "program      echo.elf" in info and "network      outside" in info
        assert "passed" in run.monitor("audit")
        assert run.monitor("pause echo") == "echo is a task: it has no guest"


def test_the_echo_goes_on_after_the_network_server_has_died(tmp_path):
    """Its sockets end as if all peers had gone; it opens them anew, and is reached again."""
    ports = Ports(("tcp", 7))
    with system(OUTSIDE + ECHO, tmp_path, ports) as run:
        run.wait("system", "Septum is 10.0.2.15")
        for _ in range(2):
            run.wait("echo", "echo: TCP and UDP, port 7")
            with answering(run, ports.of["tcp", 7]):
                run.monitor("derail net-server")
                run.wait("system", "net-server: started again")
                run.wait("echo", "echo: the connection was broken off")
        run.wait("echo", "echo: TCP and UDP, port 7")
        assert echoes(answering(run, ports.of["tcp", 7]), b"after" * 1000)
        assert "echo: this task died" not in run.text("system")


def test_a_task_that_dies_is_started_again_as_often_as_the_file_says(tmp_path):
    """What it had is freed: its connections end, and its next life has the port again."""
    ports = Ports(("tcp", 7))
    with system(OUTSIDE + ECHO + task("greet", "greet"), tmp_path, ports) as run:
        for life in range(3):
            run.wait("echo", "echo: TCP and UDP, port 7")
            run.wait("system", "echo: runs")
            with answering(run, ports.of["tcp", 7]) as connection:
                run.monitor("derail echo")
                run.wait("system", "echo: this task died: it jumped to 0x10, where nothing is mapped")
                try:
                    assert connection.recv(100) == b""
                except ConnectionResetError:
                    pass
        run.wait("system", "echo: it has died; it is stopped, because it was started again as often as the file allows")
        assert "passed" in run.monitor("audit")
        assert "off" in next(line for line in run.monitor("list").splitlines() if line.startswith("echo"))


def test_a_task_that_breaks_the_rules_is_dropped_alone(tmp_path):
    """Each life of tests/rogue breaks another rule; each time one line tells it, and the echo notices nothing."""
    ports = Ports(("tcp", 7))
    with system(OUTSIDE + ECHO + task("rogue", "rogue", "on failure restart 3"), tmp_path, ports) as run:
        run.wait("echo", "echo: TCP and UDP, port 7")
        run.wait("system", "Septum is 10.0.2.15")
        with connect(ports.of["tcp", 7]) as connection:
            for why in ["has sent a part of a request", "has set a ring to a position that can't be",
                        "has sent a datagram that is not whole, or too long", "reads no answers"]:
                run.wait("system", f"net-server: rogue: {why}: its sockets are closed until it is started anew")
                run.wait("rogue", "rogue: the network server has dropped this task")
                connection.sendall(b"still here")
                assert connection.recv(100) == b"still here"
        run.wait("system", "rogue: it can't be started, or can't go on; it is stopped, because")
        assert run.text("system").count("its sockets are closed until") == 4
        assert "this server died" not in run.text("system")


def test_a_task_is_reached_in_its_network_alone(tmp_path):
    """The same program in a network of its own: from the other one there is no way to it."""
    ports = Ports(("tcp", 7), ("tcp", 8000))
    inside = 'network inside { host 10.0.0.1/24 }\ntask echo { program "echo.elf" network inside }\n'
    with system(OUTSIDE + inside + task("greet", "greet"), tmp_path, ports) as run:
        run.wait("echo", "echo: TCP and UDP, port 7")
        run.wait("greet", "greet: HTTP at port 8000")
        run.wait("system", "Septum is 10.0.2.15")
        with urllib.request.urlopen(f"http://127.0.0.1:{ports.of['tcp', 8000]}/", timeout=30) as page:
            assert page.read() == b"Hello from a Septum task"
        with connect(ports.of["tcp", 7], 3) as connection:
            try:
                connection.sendall(b"hello")
                assert connection.recv(100) == b""
            except (TimeoutError, ConnectionError):
                pass


def test_a_task_is_a_client_too(tmp_path):
    """examples/greet fetches a page of this PC, which QEMU's network calls 10.0.2.2; where nobody listens it is refused."""
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200, "From this PC")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tasks = "".join(task(name, "greet", f'arguments "10.0.2.2:{port}"')
                    for name, port in [("one", server.server_port), ("two", free_port())])
    with system(OUTSIDE + tasks, tmp_path, Ports()) as run:
        run.wait("one", "greet: 10.0.2.2 says: HTTP/1.0 200 From this PC")
        run.wait("two", "greet: 10.0.2.2 says: the connection was refused")
        # Two tasks of one network want one port: the second is told so.
        run.run_for(lambda: "greet: the port is in use" in run.text("one") + run.text("two"))
    server.shutdown()


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
def test_a_guest_reaches_a_task(tmp_path, machine):
    """A Linux guest and the echo in a network of their own; the guest's busybox speaks to it."""
    files = {"kernel": os.path.join(GUESTS, "vmlinuz-cloud"), "initrd": os.path.join(GUESTS, "initrd-disk")}
    for path in files.values():
        if not os.path.exists(path):
            pytest.skip("the guests are not built: run `make guests`")
    conf = ('network inside { host 10.0.0.1/24 }\ntask echo { program "echo.elf" network inside }\n'
            'partition web {\n memory 96M\n network inside\n boot linux {\n kernel "kernel"\n initrd "initrd"\n'
            ' command-line "quiet console=hvc0 septum.name=web septum.run=\'ip a a 10.0.0.2/24 dev eth0;'
            ' ip link set eth0 up; echo WEB-$((6*7))\'"\n }\n}\n')
    with system(conf, tmp_path, machine=machine, seconds=400, files=files) as run:
        run.wait("web", "WEB-42")
        run.type("web", "echo back-$((6*7)) | nc -w 60 10.0.0.1 7\n")
        run.wait("web", "back-42")
        # The same by IPv6: Septum's link-local address is made of its MAC address (RFC 4291, appendix A).
        run.type("web", "ip neigh show 10.0.0.1; echo MAC-$((6*7))\n")
        run.wait("web", "MAC-42")
        mac = [int(word, 16) for word in re.findall(r"lladdr ([0-9a-f:]{17})", run.text("web"))[-1].split(":")]
        low = [mac[0] ^ 2, *mac[1:3], 0xff, 0xfe, *mac[3:]]
        address = "fe80::" + ":".join(f"{low[i]:02x}{low[i + 1]:02x}" for i in range(0, 8, 2))
        # Until Linux has made sure that nobody else has its own, it sends from none.
        run.type("web", f"until echo six-$((6*7)) | nc -w 60 {address}%eth0 7; do sleep 1; done\n")
        run.wait("web", "six-42")
        assert "passed" in run.monitor("audit")
