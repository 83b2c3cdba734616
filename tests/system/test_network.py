"""Networks of guests through net-server: who reaches whom, and a stream over the server's deaths."""
import re
import time

from networks import command, partition, system, up

SERVERS = "server network { on death restart 10 }\n"


def test_guests_reach_each_other_as_far_as_they_share_a_network(tmp_path):
    """web and db share `inside`, where Septum serves its page; alone is in `other` with an address of the same range, and
    listens to everything."""
    conf = ("network inside { host 10.0.0.1/24 http 80 }\nnetwork other { }\n" + partition("web", ["inside"], up("10.0.0.2") + "echo WEB-$((6*7))")
            + partition("db", ["inside"], up("10.0.0.3") + "echo DB-$((6*7))")
            + partition("alone", ["other"], up("10.0.0.4") + "ip link set eth0 promisc on; echo ALONE-$((6*7))"))
    with system(conf, tmp_path) as run:
        for name in ["web", "db", "alone"]:
            run.wait(name, f"{name.upper()}-42")
        command(run, "web", "ping -c 3 -W 20 10.0.0.3 && echo GOOD-$((2*21))", "GOOD-42")
        command(run, "alone", "ping -c 3 -W 1 10.0.0.2 || echo BAD-$((2*21))", "BAD-42")
        command(run, "alone", "ping -c 3 -W 1 -b 10.0.0.255 || echo BAD-$((3*14))", "BAD-42")
        command(run, "web", "wget -q -O - http://10.0.0.1/status.json | grep -q uptime_ms && echo PAGE-$((6*7))", "PAGE-42")
        command(run, "alone", "wget -q -T 3 -O - http://10.0.0.1/status.json || echo NO-PAGE-$((6*7))", "NO-PAGE-42")
        # Neither heard a packet of the other network, ARP's broadcasts among them.
        command(run, "alone", "echo GOT-$(cat /sys/class/net/eth0/statistics/rx_packets)-END", "GOT-0-END")
        # A foreign address gets through nowhere, and is said once.
        command(run, "db", "ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:99; ip link set eth0 up;"
                " ping -c 2 -W 1 10.0.0.2 || echo BAD-$((1*42))", "BAD-42")
        assert "db: sent from 02:00:00:00:00:99, which is not its address" in run.text("system")
        assert "net-server: this server died" not in run.text("system")


def test_a_transfer_goes_on_after_the_server_has_died(tmp_path):
    """TCP streams between two guests, one after the other: while they run the network server dies, three times."""
    conf = (SERVERS + "network inside { }\n" + partition(
        "web", ["inside"], up("10.0.0.2") + "mkdir /tmp/served; dd if=/dev/urandom of=/tmp/served/f bs=64k count=256 2>&-;"
        " httpd -p 80 -h /tmp/served; md5sum /tmp/served/f; echo WEB-$((6*7))")
        + partition("db", ["inside"], up("10.0.0.3") + "echo DB-$((6*7))"))
    with system(conf, tmp_path) as run:
        run.wait("web", "WEB-42")
        run.wait("db", "DB-42")
        right = re.search(r"([0-9a-f]{32})  /tmp/served/f", run.text("web")).group(1)
        run.type("db", "(until [ -e /tmp/end ]; do wget -q -O - http://10.0.0.2/f | md5sum; done; echo END-$((6*7))) &\n")
        for _ in range(3):
            begun = time.monotonic()
            run.run_for(lambda: time.monotonic() > begun + 0.3)
            run.monitor("derail net-server")
            run.wait("system", "net-server: started again")
        run.type("db", "touch /tmp/end\n")
        run.wait("db", "END-42")
        sums = re.findall(r"([0-9a-f]{32})  -", run.text("db"))
        assert sums and set(sums) == {right}
