# SPDX-License-Identifier: BSD-2-Clause
"""Fear: interception takes too much, too little, loops, or outlives the one who asked for it.

The same questions to each way of interception: nftables, iptables TPROXY, iptables REDIRECT. Who came is told
by the address the server sees: the VPS's (relayed) or the modem's (direct)."""
import os
import signal

import pytest

from each import each
from inside import background, connect, end_of, listen, through
from pair import Pair
from topology import LAN4, SERVER4, SERVER6, VPS4, Line, wait_for

LINES = [Line("100M", "100M", 5), Line("100M", "100M", 10)]
VPS = ("::ffff:11.7.0.2", "2a11:7::2")
WAYS = {
    "nftables": {"lan.rules": "nftables"},
    "tproxy": {"lan.rules": "iptables"},
    "redirect": {"lan.intercept": "redirect"},
}
EVERY_WAY = each("way", list(WAYS))
KERNEL = ("ip -4 rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all; ip mptcp endpoint; "
          "nft list ruleset; cat /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/ip_forward")
SETTINGS = "ip mptcp limits; cd /proc/sys/net/mptcp; grep . blackhole_timeout syn_retrans_before_tcp_fallback enabled"


def intercepting(topo, **how):
    """A pair whose rules are in: they follow the session by the time a script takes."""
    class Intercepting(Pair):
        def wait_connected(self):
            super().wait_connected()
            wait_for(lambda: self.local.status()["rules"] != "out", "interception")
    return Intercepting(topo, **how)


def kernel_of(ns, settings=True):
    """What a daemon could leave behind."""
    text = ns.run(KERNEL + "; " + SETTINGS if settings else KERNEL, check=False).stdout
    return [l for l in text.splitlines() if not l.startswith(("local ", "anycast ", "multicast ", "broadcast "))]


@pytest.fixture(scope="module", name="listener")
def _listener(topo):
    for tool in ("iptables", "ip6tables"):  # their empty base chains are there from now on
        for table, chains in (("mangle", "PREROUTING FORWARD OUTPUT"), ("nat", "PREROUTING OUTPUT POSTROUTING"),
                              ("filter", "INPUT FORWARD")):
            for chain in chains.split():
                topo.gw.run(f"for do in A D; do {tool} -w -t {table} -$do {chain} -j ACCEPT; done")
    with listen(topo.server, 9000) as s:
        yield s


def way_of(topo, listener, ns=None, host=SERVER4, **how):
    near, far = through(ns or topo.lan, host, listener, **how)
    near.close()
    assert end_of(far) == "eof"
    who = far.getpeername()[0]
    far.close()
    return "relayed" if who in VPS else "direct"


@EVERY_WAY
def test_both_families_are_relayed_and_nothing_is_left_after_the_end(topo, listener, way):
    before = {ns.short: kernel_of(ns) for ns in (topo.gw, topo.vps)}
    with intercepting(topo, local_set=WAYS[way]) as pair:
        assert pair.local.status()["rules"] == way
        assert way_of(topo, listener) == "relayed"
        assert way_of(topo, listener, host=SERVER6) == "relayed"
        assert kernel_of(topo.gw) != before["gw"], "the comparison below would mean nothing"
    for ns in (topo.gw, topo.vps):
        assert kernel_of(ns) == before[ns.short]
    assert way_of(topo, listener) == "direct"


@EVERY_WAY
@each("host", [SERVER4, SERVER6])
def test_a_call_from_before_goes_on_when_plait_begins_and_ends(topo, listener, way, host):
    """Its packets belong to no connection of ours: offered to the listener, they would end it. IPv6 is not masqueraded."""
    near, far = through(topo.lan, host, listener)
    with intercepting(topo, local_set=WAYS[way]):
        assert way_of(topo, listener) == "relayed"
        near.sendall(b"still there?")
        assert far.recv(100) == b"still there?"
        far.sendall(b"yes")
        assert near.recv(100) == b"yes"
    near.sendall(b"bye")
    assert far.recv(100) == b"bye"
    near.close()
    far.close()


def kill(daemon):
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()


def is_direct(topo, listener):
    try:
        return way_of(topo, listener, timeout=0.5) == "direct"
    except (ConnectionError, TimeoutError):
        return False


@EVERY_WAY
def test_killed_and_the_house_is_online(topo, listener, way):
    """And the debris: killed, started, ended in order, nothing is left."""
    before = {ns.short: kernel_of(ns, False) for ns in (topo.gw, topo.vps)}
    with intercepting(topo, local_set=WAYS[way]) as pair:
        near, _ = through(topo.lan, SERVER4, listener)
        kill(pair.remote)
        kill(pair.local)
        assert end_of(near) == "reset"
        wait_for(lambda: is_direct(topo, listener), "online directly")
        pair.remote.start()
        pair.local.start()
        pair.wait_connected()
        assert pair.local.status()["rules"] == way
        assert way_of(topo, listener) == "relayed"
    for ns in (topo.gw, topo.vps):
        assert kernel_of(ns, False) == before[ns.short]


def test_killed_and_the_settings_are_as_before(topo):
    topo.gw.run("ip mptcp limits set subflows 2 add_addr_accepted 0; echo 2 >/proc/sys/net/mptcp/syn_retrans_before_tcp_fallback")
    before = topo.gw.run(SETTINGS).stdout
    with intercepting(topo) as pair:
        kill(pair.local)
        pair.local.start()
        pair.wait_connected()
    after = topo.gw.run(SETTINGS).stdout
    topo.gw.run("ip mptcp limits set subflows 2 add_addr_accepted 0; echo 2 >/proc/sys/net/mptcp/syn_retrans_before_tcp_fallback")
    assert after == before


@EVERY_WAY
def test_gateways_own_connections_and_no_loop(topo, listener, way):
    """own = yes takes the gateway's connections too, but never plait's own: not one more hop, no descriptors."""
    with intercepting(topo, local_set={**WAYS[way], "lan.own": "yes"}) as pair:
        for host in (SERVER4, SERVER6):
            assert way_of(topo, listener, topo.gw, host) == "relayed"
            assert way_of(topo, listener, topo.lan, host) == "relayed"
        status = pair.local.status()
        assert status["counters"]["relays_opened"] == 4
        assert status["counters"]["intercept_loops"] == 0
    assert way_of(topo, listener, topo.gw) == "direct"


@EVERY_WAY
def test_bypass_and_straight_to_us(topo, listener, way):
    """To plait's own port, and to the VPS's."""
    with intercepting(topo, local_set={**WAYS[way], "lan.bypass": f"11.9.0.0/24, {SERVER6}"}) as pair:
        assert way_of(topo, listener) == "direct"
        assert way_of(topo, listener, host=SERVER6) == "direct"
        with pytest.raises(ConnectionRefusedError):
            connect(topo.lan, f"{LAN4}.1", 7201)
        before = pair.remote.status()["strangers"]  # losers of the race between the lines
        with connect(topo.lan, VPS4, 7200) as s:  # not taken: a stranger to the remote, like any other
            wait_for(lambda: pair.remote.status()["strangers"] > before, "the remote sees it")
            assert pair.local.status()["counters"]["relays_opened"] == 0
            s.close()
        assert pair.local.status()["lan"]["connections"] == 0


def connect_to_the_vps(topo):
    try:
        with connect(topo.lan, VPS4, 7200) as s:
            return end_of(s, 5)
    except ConnectionResetError:
        return "reset"


def test_lan_device_as_the_way_to_the_vps(topo, listener):
    """The VPS's address is routed into the LAN, whose router sends it back to us: intercepted, it would
    be carried by the very connection it makes. It never becomes a relay, and it eats no descriptors."""
    with intercepting(topo) as pair:
        topo.gw.nft("table inet loop { chain pre { type filter hook prerouting priority mangle + 2; "
                    'iifname "lan0" ip daddr 11.7.0.2 tcp dport 7200 tproxy ip to :7201 meta mark set 0x706c0001 accept; }; }')
        n = len(list(os.scandir(f"/proc/{pair.local.pid}/fd")))
        ends = [background(connect_to_the_vps, topo) for _ in range(50)]
        assert {e.join() for e in ends} == {"reset"}
        status = pair.local.status()
        assert status["counters"]["intercept_loops"] == 50
        assert status["counters"]["relays_opened"] == 0
        assert "is there a loop?" in pair.local.logged()
        assert pair.local.logged().count("is there a loop?") < 10
        assert len(list(os.scandir(f"/proc/{pair.local.pid}/fd"))) < n + 20
        topo.gw.nft("delete table inet loop")


def test_without_a_remote_the_house_goes_out_directly(topo, listener):
    """The VPS is away when plait-local starts, and comes later."""
    with Pair(topo, wait=False) as pair:
        pair.remote.stop()
        assert way_of(topo, listener) == "direct"
        wait_for(lambda: (pair.local.status() or {}).get("rules") == "out", "plait-local, without rules")
        pair.remote.start()
        pair.wait_connected()
        wait_for(lambda: way_of(topo, listener) == "relayed", "relayed")
