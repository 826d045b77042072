# SPDX-License-Identifier: BSD-2-Clause
"""Who sends through the tunnel what is not his to send: counted on the VPS, and nowhere else to be seen."""
import struct

import pytest
from pair import Pair
from topology import SERVER4, SERVER6, VPS4, VPS6, Line, Topology, wait_for
from tunnelled import INNER4, INNER6, counted, echo, inject, ip6, ping, udp4, wait_tunnel

OTHER_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture(scope="module")
def house():
    with Topology(lines=[Line("20M", "20M", 10), Line("20M", "20M", 30)]) as topo:
        with Pair(topo, remote_extra=f"[user other]\nkey = {OTHER_KEY}\n") as pair, echo(topo.server) as server:
            wait_tunnel(pair)
            yield topo, pair, server


def refused(house, counter, packets):
    """Each of the packets is dropped on the VPS under that name, none reaches the server, and honest ones still do."""
    topo, pair, server = house
    before, seen = counted(pair.remote, counter), len(server.seen)
    inject(topo.gw, "plait0", packets)
    wait_for(lambda: counted(pair.remote, counter) >= before + len(packets), f"{len(packets)} more of {counter}")
    assert counted(pair.remote, counter) == before + len(packets)
    assert len(server.seen) == seen
    assert None not in ping(topo.lan, SERVER4, count=2)


def test_a_source_that_is_not_ours(house):
    refused(house, "nat_source", [udp4(src, SERVER4) for src in
                                  ("10.78.0.3", "10.78.0.1", "10.78.200.1", "8.8.8.8", VPS4, SERVER4, "127.0.0.1", "0.0.0.0",
                                   "192.168.77.10", "224.0.0.1", "255.255.255.255")])
    datagram = struct.pack("!HHHH", 9, 4500, 8, 0)
    refused(house, "nat_source", [ip6(src, SERVER6, 17, datagram) for src in
                                  ("fd78:6c61:6974::3", VPS6, "fe80::1", "::1", "::", "fd77::10", "2a11:9::2")])


def test_tenants_cannot_reach_each_other(house):
    refused(house, "nat_policy", [udp4(INNER4, "10.78.0.3"), udp4(INNER4, INNER4),
                                  ip6(INNER6, "fd78:6c61:6974::3", 17, struct.pack("!HHHH", 9, 4500, 8, 0))])


def test_the_inside_of_the_vps(house):
    topo, _, _ = house
    with echo(topo.vps) as inside_vps:
        refused(house, "nat_policy", [udp4(INNER4, dst) for dst in
                                      ("127.0.0.1", "10.78.0.1", "10.78.0.0", VPS4, "0.0.0.0", "169.254.169.254", "10.0.0.1",
                                       "192.168.1.1", "172.16.0.1", "100.64.0.1", "255.255.255.255")])
        datagram = struct.pack("!HHHH", 9, 4500, 8, 0)
        refused(house, "nat_policy", [ip6(INNER6, dst, 17, datagram) for dst in
                                      ("::1", VPS6, "fd78:6c61:6974::1", "fe80::1", "fd00::1", "2002:7f00:1::1",
                                       "64:ff9b::7f00:1")])
        assert not inside_vps.seen


def test_ports_that_are_denied(house):
    refused(house, "nat_policy", [udp4(INNER4, SERVER4, port=25), udp4(INNER4, SERVER4, port=0)])


def test_nobody_outside_begins_with_an_inner_address(house):
    """A neighbour of the VPS who routes the inner addresses to it gets nothing into the tunnel."""
    topo, pair, _ = house
    topo.inet.ip("route add 10.78.0.0/16 via 11.7.0.2")
    try:
        sent = tunnelled_packets(pair)
        assert ping(topo.server, INNER4, count=3, timeout=0.3) == [None] * 3
        assert tunnelled_packets(pair) == sent
    finally:
        topo.inet.ip("route del 10.78.0.0/16")


def tunnelled_packets(pair):
    users = pair.remote.status()["tunnel"]["users"]
    return sum(c["packets"] for c in users[0]["tunnel"]["classes"].values())
