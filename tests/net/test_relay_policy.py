# SPDX-License-Identifier: BSD-2-Clause
"""Fear: a LAN, or whoever got into it, reaches the VPS's inside.

The gateway's rules would not take most of these destinations, so here the connections are marked as taken by hand:
the remote must hold by itself. (An IPv4-mapped address is IPv4 before it leaves a client; the unit tests of policy
and addr speak of those in an OPEN.) The client sees a reset; on the VPS's loopback not one packet is seen."""
import time

import pytest

from each import each
from inside import connect, end_of, listen, through
from topology import LAN4, SERVER4, wait_for

MARK = 0x706C0001  # "taken", see iptables/common.sh
# What is inside is listed in unit/remote/test_policy.c; here stands what would arrive somewhere, were it dialled.
INSIDE4 = ["127.1.2.3", "10.0.0.1", "169.254.169.254", "11.7.0.77"]
INSIDE6 = ["::1", "64:ff9b::b07:4d", "2002:a9fe:a9fe::1", "fd00::1", "2a11:7::77"]


@pytest.fixture(scope="module", name="inside_vps")
def _inside_vps(topo, pair):
    """Listeners where a mistake would arrive, and a counter that sees every packet of `lo`."""
    topo.vps.ip("addr add 11.7.0.77/24 dev eth0", "addr add 2a11:7::77/64 dev eth0 nodad",
                "addr add 169.254.169.254/32 dev lo", "addr add 10.0.0.1/32 dev lo", "addr add fd00::1/128 dev lo")
    topo.vps.nft("table inet seen { counter lo { }; chain in { type filter hook input priority -200; "
                 'iifname "lo" meta l4proto tcp counter name lo; }; }')
    with listen(topo.vps, 9000) as s:
        wait_for(lambda: pair.local.status()["rules"] != "out", "interception")
        yield s


def seen_on_lo(topo):
    return int(topo.vps.run("nft list counter inet seen lo").stdout.split("packets ")[1].split()[0])


def attempt(topo, host):
    try:
        source = "" if host.startswith("127") or ":" in host else f"{LAN4}.1"
        with connect(topo.gw, host, 9000, 5, mark=MARK, source=source) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return end_of(s, 5)
    except ConnectionResetError:
        return "reset"


def test_the_marked_road_leads_to_the_remote(topo, pair, inside_vps):
    """Otherwise the tests below would prove nothing."""
    with listen(topo.server, 9001) as listener:
        near, far = through(topo.gw, SERVER4, listener, mark=MARK, source=f"{LAN4}.1")
        assert far.getpeername()[0] == "::ffff:11.7.0.2"
        near.close()
        far.close()


@each("host", INSIDE4 + INSIDE6)
def test_inside_is_reset_and_nothing_arrives(topo, pair, inside_vps, host):
    before, lo = pair.remote.status()["counters"]["refused_policy"], seen_on_lo(topo)
    assert attempt(topo, host) == "reset"
    assert pair.remote.status()["counters"]["refused_policy"] == before + 1
    assert seen_on_lo(topo) == lo
    inside_vps.settimeout(0.05)
    with pytest.raises(TimeoutError):
        inside_vps.accept()


def test_prefix_that_became_local_a_second_ago(topo, pair, inside_vps):
    """AnyIP: a whole prefix is routed to the VPS itself while plait-remote runs."""
    topo.vps.ip("route add local 11.55.0.0/24 dev lo")
    time.sleep(1)
    lo = seen_on_lo(topo)
    assert attempt(topo, "11.55.0.7") == "reset"
    assert seen_on_lo(topo) == lo
    topo.vps.ip("route del local 11.55.0.0/24 dev lo")


def test_a_denied_port_is_reset(topo, pair, inside_vps):
    with listen(topo.server, 25) as listener:
        with connect(topo.lan, SERVER4, 25) as s:
            assert end_of(s, 5) == "reset"
        listener.settimeout(0.05)
        with pytest.raises(TimeoutError):
            listener.accept()
