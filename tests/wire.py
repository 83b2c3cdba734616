"""The other end of a machine's network card, in a test's own hands: every frame on the wire is seen, and made, here.

    with Wire() as wire, System("qemu-1", conf, emulator_options=wire.options("qemu-1", "e1000"), ...) as run:
        wire.send(arp_request("10.0.0.9", "10.0.0.1"))
        run.run_for(lambda: any(frame.type == ARP for frame in wire.frames))

QEMU's card is on a `dgram` network device, Bochs's on its `socket` module: a datagram is a frame. A Wire answers nothing by
itself but what `answers` is given.
"""
import collections
import contextlib
import os
import shutil
import socket
import struct
import tempfile
import threading

ARP, IPV4, IPV6, TAG = 0x0806, 0x0800, 0x86dd, 0x8100
MAC = "02:00:00:00:00:77"                # ours
BROADCAST = "ff:ff:ff:ff:ff:ff"
FRAME_LEAST = 60                          # a card adds zeros up to it, IEEE 802.3

Frame = collections.namedtuple("Frame", "to source tags type payload size_bytes")


def mac_bytes(text):
    return bytes(int(word, 16) for word in text.split(":"))


def frame(to, ethernet_type, payload, tags=(), source=MAC):
    """tags: what stands in the tag behind 0x8100, a priority among it; several for a frame with several tags."""
    head = mac_bytes(to) + mac_bytes(source) + b"".join(struct.pack(">HH", TAG, tag) for tag in tags)
    return (head + struct.pack(">H", ethernet_type) + payload).ljust(FRAME_LEAST, b"\0")


def taken_apart(data):
    """A Frame; tags are numbers, without priorities."""
    tags, place = [], 12
    kind, = struct.unpack_from(">H", data, place)
    while kind == TAG:
        tags.append(struct.unpack_from(">H", data, place + 2)[0] & 0xfff)
        place += 4
        kind, = struct.unpack_from(">H", data, place)
    text = [":".join(f"{byte:02x}" for byte in data[at:at + 6]) for at in (0, 6)]
    return Frame(*text, tags, kind, data[place + 2:], len(data))


def checksum(data):
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


# ---- what is asked and answered, RFC 826, 792, 4443, 4861 -------------------------------------------------------

def arp(operation, sender, target, target_mac="00:00:00:00:00:00"):
    return (struct.pack(">HHBBH", 1, IPV4, 6, 4, operation) + mac_bytes(MAC) + socket.inet_aton(sender)
            + mac_bytes(target_mac) + socket.inet_aton(target))


def arp_request(sender, target, tags=()):
    return frame(BROADCAST, ARP, arp(1, sender, target), tags)


def arp_sender(got):
    """Whose address an ARP frame tells."""
    return socket.inet_ntoa(got.payload[14:18])


def ping(to, sender, target, number, tags=()):
    """An ICMP echo request by IPv4."""
    echo = struct.pack(">BBHHH", 8, 0, 0, 0x5e, number) + b"on the wire"
    echo = echo[:2] + struct.pack(">H", checksum(echo)) + echo[4:]
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(echo), number, 0, 64, 1, 0)
    addresses = socket.inet_aton(sender) + socket.inet_aton(target)
    head = head[:10] + struct.pack(">H", checksum(head + addresses))
    return frame(to, IPV4, head + addresses + echo, tags)


def ping_answered(got, number):
    """Is it the answer to that ping, whole?"""
    if got.type != IPV4 or got.payload[9] != 1:
        return False
    echo = got.payload[20:struct.unpack_from(">H", got.payload, 2)[0]]
    return (echo[:2] == b"\0\0" and echo[4:] == struct.pack(">HH", 0x5e, number) + b"on the wire"
            and checksum(echo) == 0 and checksum(got.payload[:20]) == 0)


def link_local(mac):
    """The IPv6 address that is made of a MAC address, RFC 4291, appendix A."""
    mac = mac_bytes(mac)
    return bytes([0xfe, 0x80]) + bytes(6) + bytes([mac[0] ^ 2, *mac[1:3], 0xff, 0xfe, *mac[3:]])


def icmp6(to, source, target, body, tags=()):
    """body: an ICMPv6 message with a checksum of 0."""
    fake = source + target + struct.pack(">II", len(body), 58)
    body = body[:2] + struct.pack(">H", checksum(fake + body)) + body[4:]
    return frame(to, IPV6, struct.pack(">IHBB", 6 << 28, len(body), 58, 255) + source + target + body, tags)


def icmp6_body(got):
    """The ICMPv6 message in a frame, its checksum looked at; else nothing."""
    if got.type != IPV6 or got.payload[6] != 58:
        return b""
    body = got.payload[40:40 + struct.unpack_from(">H", got.payload, 4)[0]]
    good = checksum(got.payload[8:40] + struct.pack(">II", len(body), 58) + body) == 0
    return body if good else b""


class TcpReceiver:
    """Takes one connection to its address and port, and what comes in it, to its end; RFC 9293. `answer` gives what is to be
    sent for a frame. Of each frame of the connection lengths and sums are looked at: what is wrong stands in `wrong`."""

    def __init__(self, address, port):
        self.address, self.port = socket.inet_aton(address), port
        self.data, self.next, self.ended, self.wrong, self.largest = bytearray(), 0, False, [], 0

    def answer(self, got):
        if got.type != IPV4 or got.payload[9] != 6 or got.payload[16:20] != self.address:
            return None
        total, = struct.unpack_from(">H", got.payload, 2)
        source, segment = got.payload[12:16], got.payload[20:total]
        fake = source + self.address + struct.pack(">HH", 6, len(segment))
        if len(segment) != total - 20 or checksum(got.payload[:20]) or checksum(fake + segment):
            self.wrong.append(got)
            return None
        theirs, ours, number, _, offset, flags = struct.unpack_from(">HHIIBB", segment)
        data = segment[(offset >> 4) * 4:]
        if ours != self.port or not (data or flags & 3):
            return None
        self.largest = max(self.largest, len(data))
        if flags & 2:                                      # SYN
            self.next, kind, more = number + 1, 0x12, struct.pack(">BBH", 2, 4, 1460)
        else:
            kind, more = 0x10, b""
            if number == self.next:
                self.data += data
                self.ended |= flags & 1
                self.next += len(data) + (flags & 1)
            self.next &= 0xffffffff
        body = struct.pack(">HHIIBBHHH", ours, theirs, 1000 + (kind == 0x10), self.next, (20 + len(more)) * 4, kind,
                           65535, 0, 0) + more
        fake = self.address + source + struct.pack(">HH", 6, len(body))
        body = body[:16] + struct.pack(">H", checksum(fake + body)) + body[18:]
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 6, 0)
        head = head[:10] + struct.pack(">H", checksum(head + self.address + source)) + self.address + source
        return frame(got.source, IPV4, head + body, got.tags)


class Wire:
    """frames: all that the card has sent, in order. answers: called with each, on the reader's thread; bytes that it returns
    are sent."""

    def __init__(self, answers=None):
        self.frames, self.answers = [], answers
        self.directory = tempfile.mkdtemp(prefix="wire.")       # short: a socket's path has 107 bytes at most
        self.socket = self.thread = None

    def options(self, machine, card):
        """The emulator's options for a card on this wire."""
        if machine.startswith("q"):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.bind(os.path.join(self.directory, "test"))
            self.peer = os.path.join(self.directory, "card")
            options = ["-netdev", f"dgram,id=n0,local.type=unix,local.path={self.peer},remote.type=unix,"
                       f"remote.path={self.directory}/test", "-device", f"{card},netdev=n0"]
        else:
            self.socket, port = self._bochs_ports()
            self.peer = ("127.0.0.1", port)
            options = ["pci: enabled=1, chipset=i440fx, slot1=e1000",
                       f"e1000: enabled=1, mac=52:54:00:5e:00:01, ethmod=socket, ethdev={port}"]
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        return options

    @staticmethod
    def _bochs_ports():
        """Bochs listens at a port and sends to the next: that is ours, and the one before it is free now."""
        while True:
            ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ours.bind(("127.0.0.1", 0))
            port = ours.getsockname()[1] - 1
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind(("0.0.0.0", port))
                    return ours, port
                except OSError:
                    ours.close()

    def _read(self):
        while True:
            try:
                data = self.socket.recv(1 << 17)
            except OSError:
                return
            if not data:
                return
            got = taken_apart(data)
            self.frames.append(got)
            answer = self.answers(got) if self.answers else None
            if answer:
                self.send(answer)

    def send(self, data):
        self.socket.sendto(data, self.peer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.socket:
            with contextlib.suppress(OSError):               # it says that nobody is connected, and wakes the reader
                self.socket.shutdown(socket.SHUT_RDWR)
            self.thread.join()
            self.socket.close()
        shutil.rmtree(self.directory)
