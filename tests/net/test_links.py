# SPDX-License-Identifier: BSD-2-Clause
"""Fear: lines that come, go, renumber, are all alike, speak one family only, lose, shrink or are tampered with."""
import pytest

from each import each
from inside import background, end_of, listen, read_exactly, through
from leap import Leaping
from peer import read_pattern, send_pattern
from topology import SERVER4, SERVER6, Line, Topology, wait_for

VPS = "::ffff:11.7.0.2"
TWO = [Line("20M", "20M", 5), Line("20M", "20M", 15)]


class Bed:
    """A topology with a connected pair and a listener on the server; what every test here needs."""

    def __init__(self, lines=None, pair=None, prepare=None, **options):
        self.topo = Topology(lines=lines or TWO, **options)
        self.how, self.prepare = pair or {}, prepare

    def __enter__(self):
        self.topo.start()
        try:
            if self.prepare:
                self.prepare(self.topo)
            self.pair = Leaping(self.topo, **self.how).start()
            wait_for(lambda: self.local()["rules"] != "out", "interception")
            self.listener = listen(self.topo.server, 9000)
        except BaseException:
            self.topo.stop()
            raise
        return self

    def __exit__(self, kind, *rest):
        self.listener.close()
        self.pair.__exit__(kind, *rest)
        self.topo.stop()

    def local(self):
        return self.pair.local.status()

    def link(self, name):
        return next(l for l in self.local()["links"] if l["name"] == name)

    def through(self, host=SERVER4):
        near, far = through(self.topo.lan, host, self.listener)
        assert far.getpeername()[0] in (VPS, "2a11:7::2"), "not relayed"
        return near, far

    def carries(self, size, host=SERVER4, seconds=40):
        """Bytes each line delivered (down, up) while `size` bytes went each way at once, whole."""
        before = [l.bytes() for l in self.topo.line]
        near, far = self.through(host)
        pumps = [background(send_pattern, near, 1, size), background(send_pattern, far, 2, size)]
        checks = [background(read_pattern, far, 1, 0, size), background(read_pattern, near, 2, 0, size)]
        for s in (near, far):
            s.settimeout(seconds)
        for c in checks:
            check = c.join(seconds)
            assert (check.size, check.exact) == (size, True)
        for p in pumps:
            p.join()
        near.close()
        assert end_of(far) == "eof"
        far.close()
        after = [l.bytes() for l in self.topo.line]
        return [a["down"] - b["down"] for a, b in zip(after, before)], [a["up"] - b["up"] for a, b in zip(after, before)]

    def both_lines_carry(self, size=4_000_000, host=SERVER4):
        down, up = self.carries(size, host)
        assert min(down + up) > size // 5, f"down {down}, up {up}"


@pytest.fixture(scope="module", name="bed")
def _bed():
    with Bed() as b:
        yield b


@pytest.fixture(scope="module", name="sound")
def _sound():
    """For who wants both lines used: `bed` may have one put aside for what it was made to do before."""
    with Bed() as b:
        yield b


# --- bad lines, each worse than the other ---

@each("faults", [
    {"loss": 20}, {"reorder": 20},
    {"loss": 3, "jitter": 10, "reorder": 5, "duplicate": 5, "corrupt": 1},
])
def test_bad_lines_deliver_every_byte(bed, faults):
    for line in bed.topo.line:
        line.set(both=faults)
    try:
        bed.carries(300_000 if faults.get("loss", 0) > 5 else 1_000_000)
    finally:
        for line in bed.topo.line:
            line.set(both=dict.fromkeys(faults, 0))


# --- a small path whose messages about it are swallowed ---

@each("host", [SERVER4, SERVER6])
def test_mtu_1280_with_icmp_blocked(bed, host):
    isp = bed.topo.isp[0]
    isp.ip("link set line mtu 1280", "link set inet mtu 1280")
    bed.topo.inet.ip("link set isp1 mtu 1280")
    bed.topo.isp[0].nft("table inet hush { chain o { type filter hook output priority 0; meta l4proto { icmp, ipv6-icmp } drop; }; }")
    bed.topo.inet.nft("table inet hush { chain o { type filter hook output priority 0; meta l4proto { icmp } drop; }; }")
    try:
        bed.topo.forget()
        bed.carries(1_000_000, host)
    finally:
        isp.nft("delete table inet hush")
        bed.topo.inet.nft("delete table inet hush")
        isp.ip("link set line mtu 1500", "link set inet mtu 1500")
        bed.topo.inet.ip("link set isp1 mtu 1500")


# --- a middlebox that knows no MPTCP ---

@each("which", ["both lines", "line 1"])
def test_stripped_mptcp_options_work_as_tcp_and_are_flagged(which):
    both = which == "both lines"

    def prepare(topo):
        for line in topo.line if both else topo.line[:1]:
            line.set(strip="on")
    with Bed(prepare=prepare) as bed:
        bed.carries(1_000_000)
        assert bed.topo.line[0].stats()["up"]["stripped"] > 0
        assert bed.local()["counters"]["fallbacks"] <= 1
        assert bed.local()["counters"]["fallbacks"] == 1 or not both  # line 1 alone may be found out before it is used
        for name in ("wan1", "wan2") if both else ("wan1",):
            wait_for(lambda name=name: bed.link(name)["standing"] == "plain", f"{name} is flagged")
        assert both or bed.link("wan2")["standing"] == "in"
        assert bed.local()["connected"]


# --- lines that change under running relays ---

def test_renumbered_line_keeps_relays_and_carries_again(sound):
    """The DHCP server gives another address."""
    near, far = sound.through()
    gw = sound.topo.gw
    gw.ip("addr del 192.168.2.2/24 dev wan2", "addr add 192.168.2.77/24 dev wan2", *sound.topo.wan_routes(1))
    wait_for(lambda: sound.link("wan2")["address4"] == "192.168.2.77", "the new address is known")
    before = sound.topo.line[1].bytes()["down"]
    pump = background(send_pattern, far, 3, 12_000_000)
    check = background(read_pattern, near, 3, 0, 12_000_000)
    wait_for(lambda: sound.topo.line[1].bytes()["down"] - before > 500_000, "the old relay uses the new address")
    pump.join()
    assert check.join().exact
    near.close()
    far.close()
    rules = gw.run("ip rule").stdout
    assert "192.168.2.77" in rules and "192.168.2.2 " not in rules
    gw.ip("addr del 192.168.2.77/24 dev wan2", "addr add 192.168.2.2/24 dev wan2", *sound.topo.wan_routes(1))
    wait_for(lambda: sound.link("wan2")["address4"] == "192.168.2.2", "the old address again")


@each("index", [0, 1])
def test_unplugged_and_back_under_a_download(sound, index):
    near, far = sound.through()
    line, size = sound.topo.line[index], 24_000_000
    pump = background(send_pattern, far, 4, size)
    check = background(read_pattern, near, 4, 0, size)
    started = line.bytes()["down"]
    wait_for(lambda: line.bytes()["down"] - started > 500_000, "the relay uses it")
    line.unplug()
    wait_for(lambda: not sound.link(line.device)["up"], "the line is down")
    sound.carries(100_000)  # new connections do not wait for the dead one, while it is dead
    line.plug()
    sound.topo.gw.ip(*[f"addr replace {a} dev {line.device}" + (" nodad" if ":" in a else "")
                     for a in sound.topo.wan_addresses(index)], *sound.topo.wan_routes(index))
    wait_for(lambda: sound.link(line.device)["up"], "the line is up")
    before = line.bytes()["down"]
    wait_for(lambda: line.bytes()["down"] - before > 500_000, "the old relay uses the line that is back")
    pump.join()
    assert check.join().exact
    near.close()
    far.close()


def test_device_removed_and_made_anew():
    """A USB stick is pulled out and put in again: the device itself is gone meanwhile."""
    with Bed(emulate=False) as bed:
        topo = bed.topo
        near, far = bed.through()
        topo.gw.ip("link del wan2")
        wait_for(lambda: not bed.link("wan2")["up"], "the line is down")
        for s in (near, far):
            s.sendall(b"by the other line")
        assert read_exactly(far, 17) == read_exactly(near, 17) == b"by the other line"
        topo._veth(topo.gw, "wan2", topo.isp[1], "line")
        topo.gw.ip("link set wan2 up")
        topo._configure(topo.isp[1], "line", ["192.168.2.1/24", "2a11:2::1/64", "fe80::1/64"])
        topo._configure(topo.gw, "wan2", topo.wan_addresses(1))
        topo.gw.ip(*topo.wan_routes(1))
        wait_for(lambda: bed.link("wan2")["up"], "the line is up")
        before = topo.line[1].bytes()["down"]
        pump = background(send_pattern, far, 4, 50_000_000)
        assert background(read_pattern, near, 4, 0, 50_000_000).join().exact
        pump.join()
        assert topo.line[1].bytes()["down"] - before > 1_000_000, "the relay of before did not widen again"
        near.close()
        far.close()


# --- lines of all kinds ---

def test_two_lines_with_one_subnet_and_one_gateway_address():
    with Bed(same_subnet=True) as bed:
        bed.both_lines_carry()
        bed.topo.line[0].unplug()
        wait_for(lambda: not bed.link("wan1")["up"], "line 1 is down")
        bed.carries(500_000)


@each("odd", [{"ipv4": False}, {"ipv6": False}])
def test_lines_of_different_families_carry_together(odd):
    lines = [Line("20M", "20M", 5), Line("20M", "20M", 10, **odd)]
    pair = {"remote_set": {"listen.announce": "11.7.0.2, 2a11:7::2"}}
    with Bed(lines, pair) as bed:
        bed.both_lines_carry()
        bed.both_lines_carry(host=SERVER6)


def test_a_v4_only_and_a_v6_only_line_carry_together():
    """No family is common to both: the second line joins by the address that the VPS announces."""
    lines = [Line("20M", "20M", 5, ipv6=False), Line("20M", "20M", 10, ipv4=False)]
    pair = {"remote_set": {"listen.announce": "11.7.0.2, 2a11:7::2"}}
    with Bed(lines, pair) as bed:
        bed.both_lines_carry()
