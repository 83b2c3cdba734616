"""What a network with a card says on the wire, and what it hears there: tags of VLANs, IPv6, limits of rates."""
import struct
import time

import pytest

import wire
from guests import System
from networks import partition, system, up

VIRTIO, E1000 = "virtio-net-pci,disable-legacy=on", "e1000"
CARDS = pytest.mark.parametrize("machine, card", [("qemu-1", VIRTIO), ("qemu-1", E1000), ("vmx-1", E1000)],
                                ids=["virtio", "e1000", "vmx-1"])

SEVEN, NINE, PLAIN = "10.0.7.1", "10.0.9.1", "10.0.0.1"
HOME = {SEVEN: [7], NINE: [9], PLAIN: []}
NETWORKS = (f"network seven {{ uplink 0 vlan 7 host {SEVEN}/24 }}\nnetwork nine {{ uplink 0 vlan 9 host {NINE}/24 }}\n"
            f"network plain {{ uplink 0 host {PLAIN}/24 }}\n")
ECHO = 'task echo { program "echo.elf" network seven }\n'


def neighbour(address):
    """Our own address beside it."""
    return address.rpartition(".")[0] + ".77"


def hosts(machine, card, line, tmp_path, conf=NETWORKS + ECHO):
    with open("build/debug/examples/echo.elf", "rb") as file:
        program = file.read()
    return System(machine, conf, files={"echo.elf": program}, directory=tmp_path / "run", memory_mib=256, seconds=120,
                  emulator_options=line.options(machine, card))


def speakers(line):
    """Who has said by ARP, with which tags, that an address is its own."""
    return {(wire.arp_sender(frame), *frame.tags) for frame in list(line.frames) if frame.type == wire.ARP}


def wait_for_ping(run, line, address, number, mac, tags=None):
    """Asks and waits for the answer; what was sent before it has been taken by then."""
    line.send(wire.ping(mac, neighbour(address), address, number, HOME[address] if tags is None else tags))
    run.run_for(lambda: any(wire.ping_answered(frame, number) for frame in list(line.frames)))
    answer = next(frame for frame in line.frames if wire.ping_answered(frame, number))
    assert answer.tags == HOME[address] and answer.to == wire.MAC


@CARDS
def test_a_networks_frames_have_its_tag(machine, card, tmp_path):
    """Three networks on one card: each hears what has its tag, or none, and answers so."""
    def answers(got):
        if got.type == wire.ARP and got.to == wire.BROADCAST and got.payload[24:28] == bytes([10, 0, got.payload[26], 77]):
            return wire.frame(got.source, wire.ARP, wire.arp(2, "10.0.%d.77" % got.payload[26], wire.arp_sender(got),
                                                           got.source), got.tags)
        return None

    with wire.Wire(answers) as line, hosts(machine, card, line, tmp_path) as run:
        for address in HOME:
            run.wait("system", f"Septum is {address}")
        # Each is asked by all tags, and by one that is nobody's; then by its own.
        for address in HOME:
            for tags in [[7], [9], [], [8], [7, 9], [9, 7]]:
                if tags != HOME[address]:
                    line.send(wire.arp_request(neighbour(address), address, tags))
            line.send(wire.arp_request(neighbour(address), address, HOME[address]))
            run.run_for(lambda: (address, *HOME[address]) in speakers(line))
        said = speakers(line)
        assert said == {(address, *tags) for address, tags in HOME.items()}
        mac = next(frame.source for frame in line.frames if frame.type == wire.ARP)
        for number, address in enumerate(HOME):
            wait_for_ping(run, line, address, number, mac)
            # A priority in the tag is no other network; tag 0 is a priority and no tag.
            wait_for_ping(run, line, address, 0x100 + number, mac, [tag | 5 << 13 for tag in HOME[address]] or [5 << 13])
        # Foreign pings are not answered: those that came behind them are.
        for address in HOME:
            for tags in [[7], [9], [], [8], [7, 9], [9, 7]]:
                if tags != HOME[address]:
                    line.send(wire.ping(mac, neighbour(address), address, 0x200, tags))
            wait_for_ping(run, line, address, 0x300 + HOME[address][0] if HOME[address] else 0x300, mac)
        assert not any(wire.ping_answered(frame, 0x200) for frame in line.frames)
        assert speakers(line) == said
        assert {tuple(frame.tags) for frame in line.frames} == {(7,), (9,), ()}


@CARDS
def test_septum_answers_by_ipv6_on_the_wire(machine, card, tmp_path):
    """Its link-local address: found by neighbour discovery, and pinged, in a network with a tag."""
    with wire.Wire() as line, hosts(machine, card, line, tmp_path) as run:
        run.wait("system", f"Septum is {SEVEN}")
        line.send(wire.arp_request(neighbour(SEVEN), SEVEN, [7]))
        run.run_for(lambda: (SEVEN, 7) in speakers(line))
        mac = next(frame.source for frame in line.frames if frame.tags == [7])
        ours, its = wire.link_local(wire.MAC), wire.link_local(mac)
        # Bochs's card hears no multicast; a solicitation may go to the address itself (RFC 4861, 7.2.2).
        def solicit(target):
            line.send(wire.icmp6(mac, ours, its, struct.pack(">BBHI", 135, 0, 0, 0) + target + b"\1\1"
                                 + wire.mac_bytes(wire.MAC), [7]))

        def bodies(kind):
            return [body for body in map(wire.icmp6_body, list(line.frames)) if body[:1] == bytes([kind])]

        def answered():
            """It asks itself first whether anybody else has the address, for a second: until then it answers nobody."""
            solicit(ours)                                       # not its own
            solicit(its)
            return bodies(136)
        run.run_for(answered)
        advert = bodies(136)[0]
        assert {body[8:24] for body in bodies(136)} == {its}
        assert advert[8:24] == its and advert[26:32] == wire.mac_bytes(mac)
        echo = struct.pack(">BBHHH", 128, 0, 0, 0x5e, 42) + b"six on the wire" * 60
        line.send(wire.icmp6(mac, ours, its, echo, [9]))        # the wrong network
        line.send(wire.icmp6(mac, ours, its, echo[:-1] + b"?", [7]))
        line.send(wire.icmp6(mac, ours, its, echo, [7]))
        run.run_for(lambda: len(bodies(129)) == 2)
        assert [body[4:] for body in bodies(129)] == [echo[4:-1] + b"?", echo[4:]]
        assert all(frame.tags == [7] for frame in line.frames if wire.icmp6_body(frame)[:1] == b"\x81")


RATE, BROADCASTS = 200 << 10, 20
LIMITED = (f"network outside {{ uplink 0 vlan 7 }}\nnetwork loud {{ uplink 0 vlan 9 broadcast {BROADCASTS} }}\n"
           + partition("slow", [], up("10.0.7.2") + "echo SLOW-$((6*7))", f" network outside {{ rate {RATE >> 10}K }}\n")
           + partition("fast", ["outside", "loud"], up("10.0.7.3", "10.0.9.3") + "ip r a 224.0.0.0/4 dev eth1; echo FAST-$((6*7))"))
UDP_HEADERS, TAG_BYTES = 14 + 20 + 8, 4


class Datagrams:
    """Of the frames with datagrams between two addresses: how many, their bytes without their tags, and the largest."""

    def __init__(self, line, source, target):
        self.line, self.seen = line, 0
        self.wanted = bytes([*map(int, source.split(".")), *map(int, target.split("."))])
        self.count = self.bytes = self.largest = 0

    def look(self):
        for frame in self.line.frames[self.seen:]:
            self.seen += 1
            if frame.type == wire.IPV4 and frame.payload[9] == 17 and frame.payload[12:20] == self.wanted:
                self.count += 1
                self.bytes += frame.size_bytes - TAG_BYTES
                self.largest = max(self.largest, frame.size_bytes)
        return self


def most(rate, begun):
    """What a rate lets through since then: what it gains, the twentieth of a second that it may have saved, and a piece."""
    return rate * (time.monotonic() - begun) + rate / 20 + 1


@pytest.mark.parametrize("card", [VIRTIO, E1000], ids=["virtio", "e1000"])
def test_rates_hold_on_the_wire(card, tmp_path):
    """A guest that sends without end gets no more than its rate, and one beside it all that it wants; then multicasts, of which
    a network takes a few a second. Only what can be too fast is measured: a busy machine makes it slower."""
    def answers(got):
        if got.type == wire.ARP and got.payload[6:8] == b"\0\1" and got.payload[27] == 77:
            asked = ".".join(map(str, got.payload[24:28]))
            return wire.frame(got.source, wire.ARP, wire.arp(2, asked, wire.arp_sender(got), got.source), got.tags)
        return None

    with wire.Wire(answers) as line, system(LIMITED, tmp_path, line.options("qemu-1", card)) as run:
        run.wait("slow", "SLOW-42")
        run.wait("fast", "FAST-42")
        slow, fast = Datagrams(line, "10.0.7.2", "10.0.7.77"), Datagrams(line, "10.0.7.3", "10.0.7.77")
        loud, last = Datagrams(line, "10.0.9.3", "239.1.2.3"), Datagrams(line, "10.0.9.3", "10.0.9.77")
        # Until Linux knows a neighbour's address it keeps a few datagrams, and drops others.
        run.type("fast", "ioprobe datagrams 10.0.7.77 9 1000 1; ioprobe datagrams 10.0.9.77 9 100 1\n")
        run.run_for(lambda: fast.look().count == 1 and last.look().count == 1)
        begun = time.monotonic()
        run.type("slow", "ioprobe datagrams 10.0.7.77 9 1000 999999999 &\n")
        run.run_for(lambda: slow.look().count)
        run.type("fast", "ioprobe datagrams 10.0.7.77 9 1000 1000\n")
        run.run_for(lambda: fast.look().count == 1001)
        assert fast.bytes == 1001 * (1000 + UDP_HEADERS)
        run.run_for(lambda: slow.look().bytes > 3 * RATE)
        assert slow.bytes <= most(RATE, begun) + slow.largest
        begun = time.monotonic()
        run.type("fast", "ioprobe datagrams 239.1.2.3 9 100 200\n")
        run.run_for(lambda: loud.look().count)
        run.type("fast", "ioprobe datagrams 10.0.9.77 9 100 1\n")
        run.run_for(lambda: last.look().count == 2)
        assert loud.look().count <= most(BROADCASTS, begun) + 1
        assert {tuple(frame.tags) for frame in line.frames if frame.type == wire.IPV4} == {(7,), (9,)}
        assert "this server died" not in run.text("system")


@CARDS
def test_a_guests_stream_is_cut_for_the_wire(machine, card, tmp_path):
    """What a guest gives its card in large pieces arrives in frames that fit, each with lengths and sums that are right, whether
    the card cuts or the server: byte by byte what was sent, with the network's tag. Bochs hears for the card's address alone."""
    taker = wire.TcpReceiver("10.0.7.77", 9)

    def answers(got):
        if got.type == wire.ARP and got.payload[6:8] == b"\0\1" and got.payload[27] == 77:
            return wire.frame(got.source, wire.ARP, wire.arp(2, "10.0.7.77", wire.arp_sender(got), got.source), got.tags)
        return taker.answer(got)

    conf = "network outside { uplink 0 vlan 7 }\n" + partition(
        "one", [], up("10.0.7.2") + "echo UP-$((6*7))", " network outside { mac 52:54:00:5e:00:01 }\n")
    with wire.Wire(answers) as line, system(conf, tmp_path, line.options(machine, card), machine=machine) as run:
        run.wait("one", "UP-42")
        run.type("one", "seq 1 40000 >/tmp/f; nc 10.0.7.77 9 </tmp/f\n")
        run.run_for(lambda: taker.ended)
        assert bytes(taker.data) == b"".join(b"%d\n" % n for n in range(1, 40001))
        assert not taker.wrong and taker.largest == 1460
        assert {tuple(frame.tags) for frame in line.frames if frame.type == wire.IPV4} == {(7,)}
        assert max(frame.size_bytes for frame in line.frames) == 1518
