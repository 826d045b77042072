# SPDX-License-Identifier: BSD-2-Clause
"""Fear: a kernel without something of what plait likes to have. It says so, once, and works without."""
import re

import pytest

from each import each
from inside import background, connect, end_of, through
from pair import Pair
from peer import read_pattern, send_pattern
from topology import SERVER4, SERVER6, Line, Topology, wait_for

LINES = [Line("50M", "50M", 5), Line("50M", "50M", 10)]
VPS = "::ffff:11.7.0.2"


@pytest.fixture(scope="module", name="topo")
def _topo():
    """A topology of its own: settings of whole namespaces are changed."""
    with Topology(lines=LINES) as t:
        yield t


def intercepted(pair):
    wait_for(lambda: pair.local.status()["rules"] != "out", "interception")


def carries(topo, listener, host=SERVER4):
    """Who the server sees, after a megabyte each way came across whole."""
    near, far = through(topo.lan, host, listener)
    for a, b in ((near, far), (far, near)):
        sender = background(send_pattern, a, 2, 1_000_000)
        check = read_pattern(b, 2, 0, 1_000_000)
        sender.join()
        assert check.exact
    who = far.getpeername()[0]
    near.close()
    assert end_of(far) == "eof"
    far.close()
    return who


def has(daemon, cap):
    return daemon.status()["kernel"][cap] == "yes"


@each("where", ["both", "gw", "vps"])
def test_without_mptcp(topo, listener, where):
    """Plain TCP, one warning, flagged."""
    spaces = {"both": (topo.gw, topo.vps), "gw": (topo.gw,), "vps": (topo.vps,)}[where]
    for ns in spaces:
        ns.sysctl(net__mptcp__enabled=0)
    try:
        with Pair(topo) as pair:
            intercepted(pair)
            for _ in range(3):
                assert carries(topo, listener) == VPS
            for d in (pair.local, pair.remote):
                off = d.ns in spaces
                assert has(d, "mptcp") != off
                warnings = [l for l in d.logged().splitlines() if re.search("(warn|error): .*(MPTCP|Multipath)", l)]
                assert len(warnings) == (1 if off else 0), warnings
            assert pair.local.status()["counters"]["fallbacks"] == 3
    finally:
        for ns in spaces:
            ns.sysctl(net__mptcp__enabled=1)


def test_gaps_are_named_with_what_they_cost(topo):
    """Status names each feature, and beside a missing one what goes with it."""
    topo.vps.sysctl(net__mptcp__enabled=0)
    topo.gw.sysctl(net__mptcp__enabled=0)
    try:
        with Pair(topo) as pair:
            for d in (pair.local, pair.remote):
                kernel = d.status()["kernel"]
                assert {"mptcp", "ipv6", "bbr"} <= set(kernel)
                gaps = {k: v for k, v in kernel.items() if v != "yes"}
                assert "mptcp" in gaps
                assert all(len(v) > 8 for v in gaps.values()), gaps
                text = d.ask("status").stdout
                assert gaps["mptcp"] in text
    finally:
        topo.vps.sysctl(net__mptcp__enabled=1)
        topo.gw.sysctl(net__mptcp__enabled=1)


def test_without_ipv6_of_the_vps_a_v6_destination_is_refused_not_half_proxied(topo, listener):
    topo.vps.sysctl(net__ipv6__conf__all__disable_ipv6=1)
    try:
        with Pair(topo) as pair:
            intercepted(pair)
            assert carries(topo, listener) == VPS
            near = connect(topo.lan, SERVER6, 9000)
            assert end_of(near) == "reset"
            assert not has(pair.remote, "ipv6")
    finally:
        topo.vps.sysctl(net__ipv6__conf__all__disable_ipv6=0)


def test_without_ipv6_of_the_gateway_ipv4_works_and_v6_is_not_taken(topo, listener):
    """With IPv6 off the gateway forwards none, so there is nothing to take: no rule, no trace of it.
    Last in this module, since switching IPv6 off takes the addresses away."""
    topo.gw.sysctl(net__ipv6__conf__all__disable_ipv6=1, net__ipv6__conf__default__disable_ipv6=1)
    with Pair(topo) as pair:
        intercepted(pair)
        assert carries(topo, listener) == VPS
        assert not has(pair.local, "ipv6")
        status = pair.local.status()
        assert all("address6" not in link for link in status["links"])
        rules = topo.gw.run("nft list table inet plait").stdout
        assert "tproxy ip6" not in rules
        assert topo.gw.run("ip -6 rule", check=False).stdout.count("lookup 25") == 0
        assert "error" not in pair.local.logged()
