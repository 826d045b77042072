# SPDX-License-Identifier: BSD-2-Clause
"""The test bed itself: does a line of the emulator do to real packets what was ordered? How exactly, tests/unit/emulator says, by a clock of
its own; here are lower bounds, which no busy machine breaks, and counters."""
import json
import socket
import subprocess

import pytest

from each import each
import inside
import topology
from topology import wait_for

LINES = [topology.Line(down="20M", up="5M", delay_ms=20, queue_ms=200)]
PAYLOAD = 1200
FRAME = PAYLOAD + 14 + 20 + 8  # what a UDP payload costs on the wire


@pytest.fixture
def line(topo):
    """The line, back at what was ordered when the test is over."""
    live, spec = topo.line[0], topo.lines[0]
    yield live
    live.set(down_rate=spec.down, up_rate=spec.up, hole=None, delay=spec.delay_ms, jitter=0, loss=0, duplicate=0,
             reorder=0, corrupt=0, outage=0, mtu=0, queue=f"{spec.queue_ms}ms")


def test_tcp_gets_no_more_than_the_rate_less_its_headers(topo, line):
    line.set(delay=2)
    topo.set_congestion(topo.server, "cubic")  # keeps the queue filled
    result = topo.peer("down", size=3_000_000)
    assert result["exact"] and result["mbit"] < 20 * 1448 / 1514 + 0.3


@each("host", [topology.SERVER4, topology.SERVER6])
def test_delay(topo, line, host):
    def quickest():
        result = topo.peer("ping", count=20, host=host)
        assert result["lost"] == 0
        return min(result["ms"])
    line.set(up={"delay": 20}, down={"delay": 20})
    assert quickest() >= 40
    line.set(up={"delay": 5}, down={"delay": 0})
    assert 5 <= quickest() < 40


def dgram(topo, verb, pps, size, count, *options):
    """A flow of numbered packets from the LAN to the server and back."""
    server = topo.server.popen([topology.TOOLS / "dgram", "serve", 7100], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout.readline() == "ready\n"
    out = topo.lan.run([topology.TOOLS / "dgram", verb, topology.SERVER4, 7100, pps, size, count, *options])
    server.communicate("", timeout=60)
    return json.loads(out.stdout)


def test_dgram_tells_times(topo, line):
    line.set(up={"delay": 5}, down={"delay": 60})
    call = dgram(topo, "call", 200, 200, 60, "wait=100")
    assert call["up"]["min"] >= 5 and call["down"]["min"] >= 60 and call["up"]["min"] < 60 and call["both"]["min"] >= 65
    assert call["both"]["lost"] == 0 and call["both"]["twice"] == 0
    line.set(duplicate=50)
    assert dgram(topo, "call", 200, 200, 60, "wait=100")["both"]["twice"] > 10


@each("address", [False, True])
def test_rebound_nat(topo, address):
    with inside.inside(topo.server):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside.inside(topo.lan):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind(("", 7101))

        def seen_as():
            client.sendto(b"hello", (topology.SERVER4, 7101))
            return server.recvfrom(100)[1]
        first = seen_as()
        topo.line[0].rebind(address)
        wait_for(lambda: seen_as()[1] != first[1], "another port")  # the kernel forgets in a work queue
        assert (seen_as()[0] != first[0]) == address


@each("way", ["up", "down", "both"])
def test_hole_swallows_one_direction_silently(topo, line, way):
    before = line.stats()
    line.set(hole=way)
    assert topo.peer("ping", count=5, interval=0.001, timeout=0.3)["lost"] == 5
    after = line.stats()
    eaten = "up" if way != "down" else "down"
    assert after[eaten]["hole_drops"] - before[eaten]["hole_drops"] >= 5
    line.set(hole=None)
    assert topo.peer("ping", count=5)["ok"]


def test_unplugged_line_loses_its_route(topo, line):
    line.unplug()
    assert "wan1" not in topo.gw.run("ip route show default").stdout
    line.plug()
    assert topo.peer("ping", count=3, timeout=3)["ok"]


def test_identical_modems_and_single_families():
    two = [topology.Line(delay_ms=1), topology.Line(delay_ms=1)]
    with topology.Topology(lines=two, same_subnet=True) as t:
        t.serve()
        assert t.peer("echo")["ok"] and t.peer("echo", topology.SERVER6)["ok"]
    for family, host in (("ipv4", topology.SERVER6), ("ipv6", topology.SERVER4)):
        other = topology.SERVER4 if host == topology.SERVER6 else topology.SERVER6
        with topology.Topology(lines=two[:1], **{"ipv4" if family == "ipv6" else "ipv6": False}) as t:
            t.serve()
            assert t.peer("echo", other)["ok"]
            assert not t.peer("echo", host, timeout=1)["ok"]


def test_nothing_is_left_behind():
    with topology.Topology(lines=[topology.Line()], clients=2, servers=2) as t:
        t.serve(t.server_hosts[1])
        assert t.peer("echo", "11.9.1.2", ns=t.lan_clients[1])["ok"]
        prefix = t.prefix
        assert list(topology.Path("/run/netns").glob(prefix + "*"))
    assert not list(topology.Path("/run/netns").glob(prefix + "*"))
    assert not t.tmp.exists() and t.emulator.poll() == 0
