"""The status page: what it says over HTTP and shows in a real browser, and that nothing can be changed or disturbed
through it."""
import concurrent.futures
import json
import os
import random
import re
import socket
import time

import pytest

import browser
from machines import ROOT
from networks import card, command, free_port, partition, system, up

DISK_BYTES = 16 << 20
PAGE = ("volume web-data { disk 0 }\nnetwork inside { }\nnetwork outside { uplink 0 host dhcp http 80 }\n"
        + partition("web", ["inside", "outside"], up("10.0.0.2", "10.0.2.20") + "echo WEB-$((6*7))", " disk web-data\n")
        + partition("db", ["inside"], up("10.0.0.3") + "echo DB-$((6*7))")
        + 'task echo { program "echo.elf" network outside }\n')


def machine(port, tmp_path, kind="virtio-net-pci,disable-legacy=on"):
    with open(tmp_path / "disk", "wb") as image:
        image.truncate(DISK_BYTES)
    return system(PAGE, tmp_path, card(port, kind) + [
        "-drive", f"file={tmp_path}/disk,format=raw,if=none,id=d0", "-device", "virtio-blk-pci,disable-legacy=on,drive=d0"],
        {"echo.elf": os.path.join(ROOT, "build", "debug", "examples", "echo.elf")})


def start(run):
    run.wait("web", "WEB-42")
    run.wait("db", "DB-42")
    run.run_for(lambda: "Septum is 10.0.2.15; its status page is at port 80" in run.text("system"))


def exchange(port, request, seconds=20):
    """What comes back for these bytes, until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        connection.settimeout(seconds)
        connection.sendall(request)
        answer = b""
        while True:
            try:
                data = connection.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return answer
            answer += data


def get(port, path, seconds=20):
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    head, _, body = exchange(port, request, seconds).partition(b"\r\n\r\n")
    return head.decode(), body.decode()


def answers(port):
    """Does it have room for one more client now? One that finds none waits."""
    try:
        return get(port, "/status.json", 5)[0].startswith("HTTP/1.1 200")
    except OSError:
        return False


def status(port):
    return json.loads(get(port, "/status.json")[1])


# ---- over HTTP --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["virtio-net-pci,disable-legacy=on", "e1000"])
def test_the_page_tells_programs_of_the_system(kind, tmp_path):
    port = free_port()
    with machine(port, tmp_path, kind) as run:
        start(run)
        head, body = get(port, "/")
        assert head.startswith("HTTP/1.1 200 OK") and "<title>Septum</title>" in body
        assert "default-src 'none'" in head
        run.run_for(lambda: status(port)["uptime_ms"] > 0)
        command(run, "web", "dd if=/dev/zero of=/dev/vda bs=64k count=4 conv=fsync && echo GOOD-$((2*21))", "GOOD-42")
        run.run_for(lambda: status(port)["disks"][0]["written_bytes"] == 4 << 16)
        state = status(port)
        tasks = {task["name"]: task for task in state["tasks"]}
        assert tasks["web"]["running"] == 1 and tasks["web"]["memory_bytes"] == 96 << 20
        assert tasks["web"]["kind"] == "partition" and sum(tasks["web"]["exits"].values()) > 100
        assert tasks["echo"]["kind"] == "task"
        assert tasks["net-server"]["kind"] == "server" and tasks["net-server"]["memory_bytes"] < 2 << 20
        assert "web: runs" in state["log"] and state["audit_done"] == 1
        assert [port["name"] for port in state["networks"][1]["ports"]] == ["card 0", "septum", "web"]
        disk = state["disks"][0]
        assert (disk["task"], disk["volume"], disk["errors"]) == ("web", "web-data", 0) and disk["flushes"] > 0
        metrics = get(port, "/metrics")[1]
        assert re.search(r'^septum_task_up\{task="web"\} 1$', metrics, re.M)
        assert re.search(r'^septum_disk_written_bytes_total\{task="web",volume="web-data"\} 262144$', metrics, re.M)
        assert get(port, "/nothing")[0].startswith("HTTP/1.1 404")
        command(run, "web", "ping -c 2 -W 20 10.0.2.2 && echo GOOD-$((2*22))", "GOOD-44")
        run.run_for(lambda: status(port)["uptime_ms"] > state["uptime_ms"])


# ---- in a browser -----------------------------------------------------------------------------------------------

TEXT = "document.body.innerText"
# {section: [[cell, ...] of each row but the heads]}; what is hidden is left out.
TABLES = """Object.fromEntries([...document.querySelectorAll("section:not([hidden]) table")].map(t =>
    [t.id, [...t.rows].slice(1).map(r => [...r.cells].map(c => c.innerText))]))"""
# What sticks out of the page to the side.
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def look(run, condition, seconds=120):
    """Reads the consoles until the condition holds of what a browser shows."""
    asked = [0]

    def holds():
        if time.monotonic() < asked[0]:
            return False
        asked[0] = time.monotonic() + 0.5
        return condition()
    run.run_for(holds, seconds)


def browser_in(tmp_path):
    if not browser.program():
        pytest.skip("Chromium is not there: run `make setup`")
    return browser.Browser(tmp_path / "browser")


def test_a_browser_shows_the_system_live(tmp_path):
    port = free_port()
    with machine(port, tmp_path) as run, browser_in(tmp_path) as chromium:
        start(run)
        page = chromium.open(f"http://127.0.0.1:{port}/")
        look(run, lambda: page.evaluate(TABLES).get("partitions"))
        run.type("web", "while :; do dd if=/dev/zero of=/dev/vda bs=64k count=4 conv=fsync 2>/dev/null; sleep 1; done &\n")
        run.type("db", "ping -q 10.0.0.2 >/dev/null &\n")
        # Rates need two answers, and they come once a second.
        look(run, lambda: re.match(r"[\d.]+ KiB/s$", page.evaluate(TABLES)["disks"][0][3]))
        look(run, lambda: all(re.match(r"[1-9][\d.]* B/s$", row[3]) for row in page.evaluate(TABLES)["networks"]
                              if row[1] == "inside"))
        shown = page.evaluate(TABLES)
        web, db = shown["partitions"]
        assert web[0] == "web" and db[0] == "db"
        for row in (web, db):
            assert row[1] == "running" and row[5] == "96 MiB" and row[4] == "1" and row[7] == "0"
            assert re.fullmatch(r"\d+\.\d %", row[2]) and re.fullmatch(r"[\d.,]+/s", row[8])
            assert re.search(r"cpuid [\d,]+ · ", row[9])
        assert [row[0] for row in shown["servers"]] == ["console-server", "block-server", "net-server"]
        assert shown["disks"][0][:2] == ["web-data", "web"]
        assert {row[0] for row in shown["networks"]} == {"web", "db", "septum", "card 0"}
        assert [row[:2] for row in shown["natives"]] == [["echo", "running"]]
        text = page.evaluate(TEXT)
        for words in ["AMD-V · 1 CPU · up ", "Audit: passed, but DMA not confined: block-server, net-server", "web: runs",
                      "IPC, general path"]:
            assert words in text
        assert page.evaluate("document.title") == "Septum: 2 partitions run"
        # It updates itself: a partition ends, and a server dies and is started again.
        run.monitor("stop db")
        look(run, lambda: page.evaluate(TABLES)["partitions"][1][1] == "off")
        assert page.evaluate("document.title") == "Septum: 1 partition runs"
        run.monitor("derail net-server")
        look(run, lambda: page.evaluate(TABLES)["servers"][2][6] == "1")
        assert page.evaluate("document.getElementById('lost').hidden")
        # Nothing was asked for but the page and its facts, and the browser has nothing to complain of.
        assert set(page.requests) == {f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{port}/status.json"}
        assert not [words for words in page.complaints if "ERR_" not in str(words)]      # the server's death


def test_the_page_fits_screens_and_phones(tmp_path):
    """Light and dark, nothing sticks out to the side, and text can be told from what is behind it."""
    port = free_port()
    contrast = """(() => {
        const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
            return .2126 * r + .7152 * g + .0722 * b; };
        const back = light(getComputedStyle(document.querySelector(".card")).backgroundColor);
        return Math.min(...[...document.querySelectorAll("p, th, td, .few, pre, a")].filter(e => e.checkVisibility())
            .map(e => light(getComputedStyle(e).color)).map(l => (Math.max(l, back) + .05) / (Math.min(l, back) + .05)));
        })()"""
    with machine(port, tmp_path) as run, browser_in(tmp_path) as chromium:
        start(run)
        for dark in (False, True):
            page = chromium.open(f"http://127.0.0.1:{port}/", dark=dark)
            look(run, lambda: page.evaluate(TABLES).get("partitions"))
            assert page.evaluate(contrast) >= 4.5                  # WCAG 2.1, 1.4.3
            for width in (1600, 1200, 1000, 700, 390, 320):
                page.resize(width, 800)
                assert page.evaluate(TOO_WIDE) == 0, f"at {width} pixels"


# ---- nothing can be changed or disturbed -------------------------------------------------------------------------

def refused(noise):
    """Requests that change things where servers let them, and such that are none."""
    body = b"Content-Length: 5\r\n\r\noff\r\n"
    changes = [method + b" " + path + b" HTTP/1.1\r\nHost: x\r\n" + body
               for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS") for path in (b"/", b"/status.json")]
    return changes + [
        b"POST / HTTP/1.1\r\nContent-Length: 4294967295\r\n\r\nx", b"GET /" + b"../" * 400 + b"etc HTTP/1.1\r\n\r\n",
        b"GET\0/\0\r\n\r\n", b"\r\n" * 500, b"GET /%2e%2e/%2e%2e/x HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 5000 + b"\r\n\r\n", b"GET " + b"/" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"get / http/1.1\r\n\r\n", b"GET http://[::1 HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise.randbytes(300)] + [
        noise.randbytes(noise.randrange(1, 3000)) + b"\r\n\r\n" for _ in range(15)]


AT_ONCE = 6


def answer_of(port, request):
    """Nothing, where it waits for the rest of a request."""
    try:
        return exchange(port, request, 2)
    except TimeoutError:
        return b""


def test_nothing_can_be_changed_through_the_page(tmp_path):
    """Each bad request is refused, and changes nothing; a browser's page goes on beside hundreds of connections."""
    port, noise = free_port(), random.Random(4)
    with machine(port, tmp_path) as run, browser_in(tmp_path) as chromium:
        start(run)
        page = chromium.open(f"http://127.0.0.1:{port}/")
        look(run, lambda: page.evaluate(TABLES).get("partitions"))
        before = [(task["name"], task["state"], task["restarts"]) for task in status(port)["tasks"]]
        requests = refused(noise)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as several:
            for request, answer in zip(requests, several.map(lambda request: answer_of(port, request), requests)):
                assert not answer.startswith(b"HTTP/1.1 200"), (request[:60], answer[:60])
        code = "fetch('/', {method: 'POST', body: 'off'}).then(a => a.status, () => 0)"
        assert page.evaluate(code) != 200
        # More connections than it takes, that say nothing or only begin, and stay; then those that only come and go.
        idle = []
        for number in range(60):
            idle.append(socket.create_connection(("127.0.0.1", port), 20))
            if number % 2:
                idle[-1].sendall(b"GET /status.json HT")
        for _ in range(100):
            socket.create_connection(("127.0.0.1", port), 20).close()
        run.run_for(lambda: answers(port), 120)
        uptime = page.evaluate("last.uptime_ms")
        look(run, lambda: page.evaluate("last.uptime_ms") > uptime + 2000 and
             page.evaluate("document.getElementById('lost').hidden"))
        for connection in idle:
            connection.close()
        run.run_for(lambda: answers(port), 120)
        assert [(task["name"], task["state"], task["restarts"]) for task in status(port)["tasks"]] == before
        assert "lwIP:" not in run.text("system") and "this server died" not in run.text("system")
