"""The screen of a `pc`: its text on the partition's console, what it costs, pictures of it."""
import os
import re
import struct
import zlib

import pytest

from guests import MONITOR, System
from machines import ROOT
from networks import card, free_port
from test_status_page import exchange

SCREEN = os.path.join(ROOT, "build", "guests", "tiny", "screen")
NAMES = {"fill": "filler", "scroll": "scroller", "modes": "changer", "graphics": "painter"}
CONF = "".join(f'partition {name} {{\n memory 16M\n board pc\n console vga\n boot linux {{\n  kernel "tiny"\n'
               f'  command-line "{word}"\n }}\n}}\n' for word, name in NAMES.items())
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def exits(run, name):
    """What `exits` says of a partition: {exit: count}."""
    rows = re.findall(r"^(\S.*?) +(\d+) +\d+\r?$", run.monitor(f"exits {name}"), re.M)
    return {reason: int(count) for reason, count in rows}


@pytest.mark.parametrize("machine", ["qemu-1", "vmx-1"])
def test_the_screen_is_shown_on_the_console(machine, tmp_path):
    if not os.path.exists(SCREEN):
        pytest.skip("the guests are not built: run `make guests`")
    with System(machine, CONF, files={"tiny": SCREEN}, directory=tmp_path / "run", memory_mib=512,
                seconds=60) as run:
        for word, name in NAMES.items():
            if word != "graphics":
                run.wait(name, "SEPTUM-GUEST-OK screen")
        # White on blue, from the top left corner of an empty screen.
        run.wait("painter", "\x1b[2J\x1b[H")
        assert "\x1b[0;97;44mSEPTUM-GUEST-UP screen" in run.text("filler")
        # All lines of a screen that moves up have been seen, as lines.
        run.wait("painter", "graphics: 640 x 480, 32 bits")
        last = [line.strip() for line in ESCAPES.sub("", run.text("scroller")).split("\n")]
        assert "line 59" in last and "wrong" not in run.text("changer")
        # A hundred fills need no exit each: the text memory is the guest's.
        assert exits(run, "filler")["device memory"] <= 10
        shown = run.monitor("screenshot scroller")
        run.wait(MONITOR, "SEPTUM-GUEST-OK screen")
        run.monitor("screenshot painter")
        run.wait(MONITOR, "painter: graphics, 640 x 480 pixels")
        # Stripes of 32 lines: the upper half of the second row of cells is orange, as the lower half is.
        run.wait(MONITOR, "\x1b[38;2;255;128;0;48;2;255;128;0m")
        assert "there is no picture" not in shown


def pixels(picture):
    """Width, height and the lines of a PNG file of three bytes a pixel, without filters."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(picture):
        size, kind = struct.unpack(">I4s", picture[place:place + 8])
        body = picture[place + 8:place + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack(">I", picture[place + 8 + size:place + 12 + size])[0]
        chunks[kind], place = body, place + 12 + size
    assert b"IEND" in chunks
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    plain = zlib.decompress(chunks[b"IDAT"])
    assert len(plain) == height * (1 + 3 * width)
    return width, height, [plain[y * (1 + 3 * width) + 1:(y + 1) * (1 + 3 * width)] for y in range(height)]


def test_the_status_page_has_pictures_of_screens(tmp_path):
    port = free_port()
    conf = "network outside { uplink 0 host dhcp http 80 }\n" + CONF
    with System("qemu-1", conf, files={"tiny": SCREEN}, directory=tmp_path / "run", memory_mib=512, seconds=60,
                emulator_options=card(port)) as run:
        run.run_for(lambda: "its status page is at port 80" in run.text("system"))
        run.wait("painter", "graphics: 640 x 480, 32 bits")

        def picture(name):
            answers = []

            def there():
                answers.append(exchange(port, f"GET /screen/{name}.png HTTP/1.1\r\nHost: x\r\n\r\n".encode()))
                return not answers[-1].startswith(b"HTTP/1.1 503")
            run.run_for(there)
            head, _, body = answers[-1].partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK") and b"Content-Type: image/png" in head
            return pixels(body)

        width, height, lines = picture("painter")
        assert (width, height) == (640, 480)
        assert lines[31] == b"\x00\x00\xff" * 640 and lines[32] == b"\xff\x80\x00" * 640
        width, height, lines = picture("scroller")
        assert (width, height) == (720, 400) and any(any(line) for line in lines)
        assert exchange(port, b"GET /screen/nobody.png HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 404")
