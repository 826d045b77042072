# SPDX-License-Identifier: BSD-2-Clause
"""Fear: a line, or all of them, let TCP through and no UDP, and the house has no DNS, no ping, no call."""
import contextlib
import re
import struct
import threading
import time

import pytest

from pair import Pair
from plait_client import BYE, CARRIER, PACKET, FakeRemote, Identity, Remote
from topology import SERVER4, SERVER6, VPS4, VPS6, Line, Topology, wait_for
from tunnelled import (INNER4, SERVERS, ask, checksum, counted, echo, ip4, ping, seems, tunnel, udp, udp4, wait_tunnel)

LINES = [Line("20M", "20M", 10), Line("20M", "20M", 30)]
PORT = 7200
TO_STREAM, TO_UDP = "no link lets UDP through", "UDP gets through again, and carries"


def filter_udp(topo, *lines):
    """The providers of these lines drop it, those of the others do not."""
    for i, isp in enumerate(topo.isp):
        isp.nft("table inet filter\nflush table inet filter\n")
        if i in lines:
            isp.nft(f"table inet filter {{\n chain f {{\n type filter hook forward priority 0\n udp dport {PORT} drop\n udp sport {PORT} drop\n }}\n}}\n")


def carrier(pair):
    """What both sides say: a word if they agree."""
    near = tunnel(pair).get("carrier")
    far = (pair.remote.status() or {}).get("tunnel", {}).get("users") or [{}]
    return near if near == far[0].get("carrier") else None


def wait_carrier(pair, word):
    wait_for(lambda: carrier(pair) == word, f"carried by {word}")


@contextlib.contextmanager
def knocking(topo, pause=0.05):
    """Somebody asks a server all the while, in both families by turns: {"asked": n, "missed": n}."""
    told, over = {"asked": 0, "missed": 0}, threading.Event()

    def run():
        sockets = [(udp(topo.lan, "::" if ":" in h else "0.0.0.0"), h) for h in SERVERS]
        while not over.wait(pause):
            s, host = sockets[told["asked"] % 2]
            s.settimeout(1)
            told["asked"] += 1
            s.sendto(struct.pack("!I", told["asked"]), (host, 4500))
            try:
                while s.recv(100).split(b"|", 1)[1] != struct.pack("!I", told["asked"]):
                    pass
            except TimeoutError:
                told["missed"] += 1
        for s, _ in sockets:
            s.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()


@pytest.fixture(scope="module")
def house():
    with Topology(lines=LINES) as topo, echo(topo.server):
        topo.serve()
        yield topo


@pytest.fixture(autouse=True)
def _nothing_is_filtered(house):
    filter_udp(house)
    yield
    filter_udp(house)


def all_is_well(topo):
    for host, vps in ((SERVER4, VPS4), (SERVER6, VPS6)):
        trips = ping(topo.lan, host, count=3)
        assert None not in trips, trips
        assert seems(topo.lan, host) == vps
        for size in (0, 500, 1200):
            answer = ask(topo.lan, host, b"x" * size)
            assert answer and answer[1] == b"x" * size, (host, size)


def test_filtered_on_all_lines_and_not_any_more(house):
    """Pings and questions go on, TCP beside them notices nothing, and it is said, once; when UDP is back, so is the tunnel."""
    with Pair(house) as pair:
        wait_carrier(pair, "udp")
        all_is_well(house)
        with knocking(house):
            download = house.peer_popen("down", size=15_000_000)
            filter_udp(house, 0, 1)
            wait_carrier(pair, "stream")
            assert download.wait(60) == 0 and '"ok": true' in download.stdout.read()
        all_is_well(house)
        log = pair.local.logged()
        assert log.count(TO_STREAM) == 1 and TO_UDP not in log
        assert pair.remote.logged().count("user home: UDP does not get through") == 1
        assert tunnel(pair)["state"] == "up" and tunnel(pair)["traffic"]["stream"]["received"] > 0
        page = pair.local.ask("status").stdout
        assert re.search(r"carrier +stream", page)
        assert house.peer("up", size=3_000_000)["ok"]
        filter_udp(house)
        with knocking(house) as told:
            wait_carrier(pair, "udp")
            asked = told["asked"]
            wait_for(lambda: told["asked"] > asked + 10, "ten questions more")
        assert told["missed"] <= 1, told
        sent = tunnel(pair)["traffic"]["stream"]["sent"]
        all_is_well(house)
        assert tunnel(pair)["traffic"]["stream"]["sent"] == sent
        assert pair.local.logged().count(TO_UDP) == 1 == pair.local.logged().count(TO_STREAM)
        assert counted(pair.remote, "relays_failed") == 0


def test_filtered_from_the_start(house):
    """The tunnel never knew UDP: it comes up all the same, and takes to UDP when that comes."""
    filter_udp(house, 0, 1)
    with Pair(house) as pair:
        wait_tunnel(pair)
        wait_carrier(pair, "stream")
        all_is_well(house)
        assert 1280 <= tunnel(pair)["traffic"]["mtu"] <= 1476
        filter_udp(house)
        with knocking(house):
            wait_carrier(pair, "udp")
        all_is_well(house)


def test_filtered_on_one_line(house):
    """The other one carries the tunnel; this one carries TCP."""
    line = 0
    with Pair(house) as pair:
        wait_tunnel(pair)
        wait_for(lambda: all(link["path"]["state"] == "up" for link in pair.local.status()["links"]), "both paths")
        with knocking(house) as told:
            filter_udp(house, line)
            wait_for(lambda: pair.local.status()["links"][line]["udp"] == "filtered", "it is said")
            before = [l.bytes()["down"] for l in house.line]
            got = house.peer("down", size=10_000_000)
        assert told["missed"] <= 1, told
        assert got["ok"], got
        assert all(l.bytes()["down"] - b > 1_000_000 for l, b in zip(house.line, before)), "both lines carry"
        all_is_well(house)
        wait_carrier(pair, "udp")
        assert tunnel(pair)["traffic"]["stream"]["sent"] == 0
        assert TO_STREAM not in pair.local.logged()


def test_dead_lines_are_no_filter(house):
    """Nothing gets through, not TCP either: that is another matter, and not said to be this one."""
    with Pair(house) as pair:
        wait_tunnel(pair)
        with knocking(house, 0.2):
            for line in house.line:
                line.set(hole="both")
            wait_for(lambda: not pair.local.status()["connected"], "the session is given up")
            for line in house.line:
                line.set(hole=None)
            pair.wait_connected()
            wait_carrier(pair, "udp")
        assert TO_STREAM not in pair.local.logged()


def flood(topo, over):
    """What no line carries, out of the LAN."""
    with udp(topo.lan) as s:
        s.setblocking(False)
        while not over.is_set():
            with contextlib.suppress(BlockingIOError):
                s.sendto(b"x" * 1200, (SERVER4, 4999))
            time.sleep(0.0001)


def test_a_flood_starves_nobody(house):
    """The control connection is full of packets, and still answers; what is urgent passes the rest."""
    filter_udp(house, 0, 1)
    with Pair(house) as pair:
        wait_tunnel(pair)
        wait_carrier(pair, "stream")
        over = threading.Event()
        thread = threading.Thread(target=flood, args=(house, over))
        thread.start()
        wait_for(lambda: pair.local.status()["tunnel"]["traffic"]["stream"]["dropped"] > 0, "more than fits")
        trips = [t for _ in range(10) for t in ping(house.lan, SERVER4, count=1) + ping(house.lan, SERVER6, count=1)]
        assert house.peer("down", size=2_000_000)["ok"]
        over.set()
        thread.join()
        assert trips.count(None) <= 1, trips
        status = pair.local.status()
        assert status["tunnel"]["traffic"]["stream"]["dropped"] > 0
        assert status["vps"]["connected"] and carrier(pair) == "stream"
        for text in ("control connection lost", "no session", "goes out directly"):
            assert text not in pair.local.logged()
        all_is_well(house)


def test_what_may_not_pass_does_not_pass_this_way(house):
    """What the VPS forbids is forbidden, however it comes."""
    filter_udp(house, 0, 1)
    with Pair(house) as pair:
        wait_tunnel(pair)
        wait_carrier(pair, "stream")
        refused = counted(pair.remote, "nat_policy")
        with udp(house.gw, device="plait0") as s:
            s.sendto(b"hello", ("10.78.0.1", 4500))
            s.sendto(b"hello", ("192.168.99.1", 4500))
        wait_for(lambda: counted(pair.remote, "nat_policy") == refused + 2, "policy")


# --- the frames, said by another implementation ---

@pytest.fixture(name="remote")
def _remote(house):
    with Remote(house, extra=f"[tunnel]\nrules_dir = {house.rules_dir()}\n", a=Identity.new()) as remote:
        yield remote


def inner4(control):
    return ".".join(map(str, control.welcome["inner4"]))


@contextlib.contextmanager
def fake(house, **how):
    """plait-local with a remote in Python, which hears no datagrams: (local, frames that it knew nothing of)."""
    seen = []
    pair = Pair(house, wait=False)
    pair.write_configs()
    answer = how.pop("answer", lambda control, value: None)

    def frame(control, kind, value):
        seen.append((kind, value))
        if kind == PACKET:
            answer(control, value)

    remote = FakeRemote(house.vps, Identity.load(pair.remote.key), lambda up, _: up.ending(), inner4=bytes([10, 78, 0, 2]), frame=frame, **how)
    pair.local.start()
    try:
        wait_for(lambda: (pair.local.status() or {}).get("connected"), "connected")
        yield pair, seen
    finally:
        remote.close()
        assert pair.local.stop() == 0
        assert not remote.errors and "Sanitizer" not in pair.local.logged()


def test_a_remote_that_does_not_know_such_frames(house):
    with fake(house) as (pair, seen):
        wait_for(lambda: tunnel(pair).get("carrier") == "none" and tunnel(pair)["state"] == "no link carries it", "no way")
        assert not [kind for kind, _ in seen if kind != BYE], seen
        assert TO_STREAM not in pair.local.logged()


def test_what_a_remote_sends_is_for_us_or_for_nobody(house):
    def answer(control, value):
        if value[9] != 1 or value[20] != 8:
            return
        back = value[28:]
        head = struct.pack("!BBH", 0, 0, 0) + value[24:28]
        head = struct.pack("!BBH", 0, 0, checksum(head + back)) + value[24:28]
        for bad in (b"", b"\x45" * 20, udp4(SERVER4, "192.168.77.10"), udp4(SERVER4, "10.78.0.3"), b"\xff" * 1476):
            control.send(PACKET, bad)
        control.send(CARRIER, b"\1")  # the local decides
        control.send(PACKET, ip4(SERVER4, INNER4, 1, head + back))

    with fake(house, flags=4, answer=answer) as (pair, seen):
        wait_for(lambda: tunnel(pair)["state"] == "up" and tunnel(pair)["carrier"] == "stream", "the tunnel")
        assert seen[0] == (CARRIER, b"\0") and (CARRIER, b"\1") in seen
        assert ping(house.lan, SERVER4, count=3, timeout=1).count(None) == 0
        assert all(value[12:16] == bytes([10, 78, 0, 2]) for kind, value in seen if kind == PACKET and value[0] == 0x45)
        assert counted(pair.local, "nat_nobody") == 6 and counted(pair.local, "tunnel_malformed") >= 6
