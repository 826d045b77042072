# SPDX-License-Identifier: BSD-2-Clause
"""The test bed itself: does a line of the emulator do to real packets what was ordered? How exactly, tests/unit/emulator says, by a clock of
its own; here are lower bounds, which no busy machine breaks, and counters."""
import json
import socket
import subprocess
import time

import pytest

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


def burst(topo, line, way, n):
    """n datagrams at once: what the counters of that direction grew by, and the seconds until the last had left."""
    source, target = (topo.lan, "11.9.0.2") if way == "up" else (topo.isp[0], "192.168.1.2")
    with inside.inside(source):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        s.connect((target, 9))
        assert topo.peer("ping", count=1)["ok"]  # neighbours are found before time counts
        before, start = line.stats()[way], time.monotonic()
        for _ in range(n):
            s.send(bytes(PAYLOAD))

        def grown():
            now = line.stats()[way]
            return {k: now[k] - before[k] for k in now}
        gone = ("out_frames", "tail_drops", "losses", "hole_drops", "mtu_drops")
        wait_for(lambda: grown()["in_frames"] >= n and sum(grown()[k] for k in gone) >= grown()["in_frames"], "all have left the line")
        return grown(), time.monotonic() - start


@pytest.mark.parametrize("way, rate", [("down", 20e6), ("up", 5e6)])
def test_rate(topo, line, way, rate):
    line.set(queue="10000000b")
    grown, seconds = burst(topo, line, way, 200)
    assert grown["out_frames"] >= 200 and grown["tail_drops"] == 0
    assert seconds >= 200 * FRAME * 8 / rate + 0.020
    line.set(queue="10000b")
    grown, _ = burst(topo, line, way, 200)
    assert grown["tail_drops"] > 0


def test_rate_changed_while_running(topo, line):
    line.set(down_rate="786k", queue="10000000b")
    assert burst(topo, line, "down", 40)[1] >= 40 * FRAME * 8 / 786e3 + 0.020


def test_tcp_gets_no_more_than_the_rate_less_its_headers(topo, line):
    line.set(delay=2)
    topo.set_congestion(topo.server, "cubic")  # keeps the queue filled
    result = topo.peer("down", size=3_000_000)
    assert result["exact"] and result["mbit"] < 20 * 1448 / 1514 + 0.3


@pytest.mark.parametrize("host", [topology.SERVER4, topology.SERVER6])
def test_delay(topo, line, host):
    def quickest():
        result = topo.peer("ping", count=20, host=host)
        assert result["lost"] == 0
        return min(result["ms"])
    assert quickest() >= 40
    line.set(up={"delay": 5}, down={"delay": 0})
    assert 5 <= quickest() < 40


def test_jitter_keeps_order(topo, line):
    line.set(jitter=8)
    result = topo.peer("ping", count=50, interval=0.005)
    assert max(result["ms"]) - min(result["ms"]) > 8  # of 32
    assert min(result["ms"]) >= 40 - 16
    assert line.stats()["up"]["reordered"] == 0


def test_who_comes_behind_a_queue_waits(topo, line):
    line.set(queue="10000000b", delay=1)

    def on_it():
        up = line.stats()["up"]
        return up["in_bytes"] - up["out_bytes"]
    before = on_it()
    with inside.inside(topo.lan):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        for _ in range(200):
            s.sendto(bytes(PAYLOAD), (topology.SERVER4, 7102))
        wait_for(lambda: on_it() - before > 100 * FRAME, "a queue of 200 ms")
        s.settimeout(60)
        start = time.monotonic()
        s.sendto(b"first of all?", (topology.SERVER4, 7001))
        s.recv(100)
        assert time.monotonic() - start > 0.1


def test_loss(topo, line):
    line.set(up={"loss": 10, "seed": 7})
    before = line.stats()["up"]["losses"]
    result = topo.peer("ping", count=400, interval=0.001, timeout=2, size=100)
    assert result["lost"] == pytest.approx(40, abs=30)
    assert line.stats()["up"]["losses"] - before == pytest.approx(result["lost"], abs=3)


def dgram(topo, verb, pps, size, count, *options):
    """A flow of numbered packets from the LAN to the server and back."""
    server = topo.server.popen([topology.TOOLS / "dgram", "serve", 7100], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout.readline() == "ready\n"
    out = topo.lan.run([topology.TOOLS / "dgram", verb, topology.SERVER4, 7100, pps, size, count, *options])
    server.communicate("", timeout=60)
    return json.loads(out.stdout)


def test_outages_come_in_runs(topo, line):
    line.set(delay=1, up={"outage": 40, "loss": 40, "seed": 3})
    lost = [ms is None for ms in dgram(topo, "call", 1000, 64, 1500, "series=1", "wait=100")["up"]["ms"]]
    assert any(lost) and not all(lost)
    assert sum(lost) / sum(b and not a for a, b in zip([False] + lost, lost)) > 8


def test_longer_packets_vanish(topo, line):
    line.set(delay=1, up={"mtu": 1400})
    before = line.stats()["up"]["mtu_drops"]
    assert dgram(topo, "call", 200, 1372, 20, "wait=100")["down"]["lost"] == 0
    assert dgram(topo, "call", 200, 1373, 20, "wait=100")["down"]["got"] == 0
    assert line.stats()["up"]["mtu_drops"] - before >= 20
    assert dgram(topo, "pull", 200, 1400, 20, "wait=100")["down"]["got"] == 0  # asked for with as much
    line.set(mtu=0)
    assert dgram(topo, "pull", 200, 1400, 20, "wait=100")["down"]["lost"] == 0


def test_dgram_tells_times(topo, line):
    line.set(up={"delay": 5}, down={"delay": 60})
    call = dgram(topo, "call", 200, 200, 60, "wait=100")
    assert call["up"]["min"] >= 5 and call["down"]["min"] >= 60 and call["up"]["min"] < 60 and call["both"]["min"] >= 65
    assert call["both"]["lost"] == 0 and call["both"]["twice"] == 0
    line.set(duplicate=50)
    assert dgram(topo, "call", 200, 200, 60, "wait=100")["both"]["twice"] > 10


@pytest.mark.parametrize("address", [False, True])
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


@pytest.mark.parametrize("way", ["up", "down", "both"])
def test_hole_swallows_one_direction_silently(topo, line, way):
    before = line.stats()
    line.set(hole=way)
    assert topo.peer("ping", count=5, interval=0.001, timeout=0.3)["lost"] == 5
    after = line.stats()
    eaten = "up" if way != "down" else "down"
    assert after[eaten]["hole_drops"] - before[eaten]["hole_drops"] >= 5
    line.set(hole=None)
    assert topo.peer("ping", count=5)["ok"]


def test_duplicate_reorder_corrupt_do_not_harm_tcp(topo, line):
    line.set(delay=3, duplicate=2, reorder=2, corrupt=1)
    result = topo.peer("down", size=1_000_000)
    assert result["ok"]
    down = line.stats()["down"]
    assert down["duplicates"] and down["reordered"] and down["corrupted"]


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
