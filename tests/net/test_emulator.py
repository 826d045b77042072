"""The test bed measures itself: is a line what was ordered? Tolerances are those the figures need."""
import json
import socket
import statistics
import subprocess
import time

import pytest

import inside
import topology

LINES = [topology.Line(down="20M", up="5M", delay_ms=20, queue_ms=200)]
FRAME = 14 + 20 + 8  # what a UDP payload costs on the wire


def median_rtt(topo, **options):
    result = topo.peer("ping", count=40, **options)
    assert result["lost"] == 0
    return statistics.median(result["ms"])


@pytest.fixture
def line(topo):
    """The line, back at what was ordered when the test is over."""
    live, spec = topo.line[0], topo.lines[0]
    yield live
    live.set(down_rate=spec.down, up_rate=spec.up, hole=None, delay=spec.delay_ms, jitter=0, loss=0, duplicate=0,
             reorder=0, corrupt=0, outage=0, mtu=0, queue=f"{spec.queue_ms}ms")


def flood(topo, line, way, seconds=1.5, payload=1200):
    """Overloads one direction with UDP and returns (bit/s delivered, the direction's counters' growth)."""
    source, sink, target = (topo.lan, topo.server, "11.9.0.2") if way == "up" else (topo.isp[0], topo.gw, "192.168.1.2")
    code = ("import socket,time,sys\n"
            "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.setsockopt(1,7,4<<20)\n"
            f"end=time.monotonic()+{seconds}; step={payload}*8/40e6; t=time.monotonic()\n"
            "while t<end:\n"
            f"  s.sendto(bytes({payload}),('{target}',9)); t+=step\n"
            "  time.sleep(max(0,t-time.monotonic()))\n")
    assert sink
    p = source.popen(["python3", "-c", code])
    time.sleep(0.4)  # the queue is full by now
    before, t0 = line.stats()[way], time.monotonic()
    time.sleep(seconds - 0.7)
    after, t1 = line.stats()[way], time.monotonic()
    assert p.wait() == 0
    grown = {k: after[k] - before[k] for k in after}
    return 8 * grown["out_bytes"] / (t1 - t0), grown


@pytest.mark.parametrize("way, rate", [("down", 20e6), ("up", 5e6)])
def test_rate(topo, line, way, rate):
    bits, grown = flood(topo, line, way)
    assert bits == pytest.approx(rate, rel=0.05)
    assert grown["tail_drops"] > 0


def test_rate_changed_while_running(topo, line):
    line.set(down_rate="786k")
    assert flood(topo, line, "down")[0] == pytest.approx(786e3, rel=0.06)  # +- one frame of 1242 bytes


def test_tcp_gets_the_rate_less_its_headers(topo, line):
    line.set(delay=2)
    topo.set_congestion(topo.server, "cubic")  # keeps the queue filled; BBR, some kernels' default, at times leaves a tenth unused
    result = topo.peer("down", size=20_000_000)
    assert result["exact"] and 18.5 < result["mbit"] < 20 * 1448 / 1514 + 0.05


@pytest.mark.parametrize("host", [topology.SERVER4, topology.SERVER6])
def test_delay(topo, line, host):
    assert median_rtt(topo, host=host) == pytest.approx(40, abs=3.0)
    line.set(up={"delay": 5}, down={"delay": 0})
    assert median_rtt(topo, host=host) == pytest.approx(5, abs=3.0)


def test_jitter_keeps_order_and_mean(topo, line):
    line.set(jitter=8)
    result = topo.peer("ping", count=200, interval=0.02)
    assert statistics.mean(result["ms"]) == pytest.approx(41, abs=5)
    assert max(result["ms"]) - min(result["ms"]) > 10
    assert line.stats()["up"]["reordered"] == 0


def test_queue_delay_is_bounded(topo, line):
    line.set(queue="50ms")
    loader = topo.peer_popen("up", size=1_500_000)
    time.sleep(0.8)
    result = topo.peer("ping", count=20, interval=0.02)
    loader.communicate()
    assert max(result["ms"]) < 40 + 50 + 5
    assert statistics.median(result["ms"]) > 50  # and there was a queue


def test_loss(topo, line):
    line.set(up={"loss": 10, "seed": 7})
    result = topo.peer("ping", count=1500, interval=0.001, timeout=1, size=100)
    assert result["lost"] == pytest.approx(150, abs=40)
    assert line.stats()["up"]["losses"] == pytest.approx(result["lost"], abs=3)


def dgram(topo, verb, pps, size, count, *options):
    """A flow of numbered packets from the LAN to the server and back."""
    server = topo.server.popen([topology.TOOLS / "dgram", "serve", 7100], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout.readline() == "ready\n"
    out = topo.lan.run([topology.TOOLS / "dgram", verb, topology.SERVER4, 7100, pps, size, count, *options])
    server.communicate("", timeout=10)
    return json.loads(out.stdout)


def test_outages_take_their_share_in_runs(topo, line):
    line.set(delay=1, up={"outage": 40, "loss": 20, "seed": 3})
    call = dgram(topo, "call", 1000, 64, 8000, "series=1", "wait=100")
    lost = [ms is None for ms in call["up"]["ms"]]
    runs = sum(b and not a for a, b in zip([False] + lost, lost))
    assert sum(lost) / len(lost) == pytest.approx(0.2, abs=0.08)
    assert sum(lost) / runs == pytest.approx(40, rel=0.4)
    line.set(outage=0, up={"loss": 20})
    lost = [ms is None for ms in dgram(topo, "call", 1000, 64, 2000, "series=1", "wait=100")["up"]["ms"]]
    assert sum(lost) / sum(b and not a for a, b in zip([False] + lost, lost)) < 1.6


def test_longer_packets_vanish(topo, line):
    line.set(delay=1, up={"mtu": 1400})
    assert dgram(topo, "call", 100, 1372, 20, "wait=100")["down"]["lost"] == 0
    assert dgram(topo, "call", 100, 1373, 20, "wait=100")["down"]["got"] == 0
    assert line.stats()["up"]["mtu_drops"] == 20
    assert dgram(topo, "pull", 100, 1400, 20, "wait=100")["down"]["got"] == 0  # asked for with as much
    line.set(mtu=0)
    assert dgram(topo, "pull", 100, 1400, 20, "wait=100")["down"]["lost"] == 0


def test_dgram_tells_times(topo, line):
    line.set(up={"delay": 5}, down={"delay": 30})
    call = dgram(topo, "call", 200, 200, 100, "wait=100")
    assert call["up"]["p50"] == pytest.approx(5, abs=4) and call["down"]["p50"] == pytest.approx(30, abs=4)
    assert call["both"]["lost"] == 0 and call["both"]["twice"] == 0 and call["both"]["gap_ms"] < 500
    line.set(duplicate=50)
    assert dgram(topo, "call", 200, 200, 100, "wait=100")["both"]["twice"] > 30


@pytest.mark.parametrize("address", [False, True])
def test_rebound_nat(topo, address):
    seen = []
    with inside.inside(topo.server):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside.inside(topo.lan):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind(("", 7101))
        server.settimeout(3)
        for _ in range(2):
            client.sendto(b"hello", (topology.SERVER4, 7101))
            seen.append(server.recvfrom(100)[1])
            topo.line[0].rebind(address)
            time.sleep(0.05)  # the kernel forgets in a work queue
    assert seen[0][1] != seen[1][1] and (seen[0][0] != seen[1][0]) == address


@pytest.mark.parametrize("way", ["up", "down", "both"])
def test_hole_swallows_one_direction_silently(topo, line, way):
    before = line.stats()
    line.set(hole=way)
    assert topo.peer("ping", count=5, timeout=0.3)["lost"] == 5
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
        with topology.Topology(lines=two, **{"ipv4" if family == "ipv6" else "ipv6": False}) as t:
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
