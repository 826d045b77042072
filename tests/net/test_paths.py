"""Fear: a line is dead and nobody knows, or is said to be dead and is not; somebody moves a path who has no right to."""
import contextlib
import datetime
import os
import re
import signal
import socket
import struct
import time

import pytest

from inside import inside
from pair import Pair
from topology import SLACK, VPS4, Line, wait_for

LINES = [Line("20M", "20M", 10), Line("20M", "20M", 30)]
PORT = 7200


@pytest.fixture(autouse=True)
def _as_before(topo):
    yield
    for line, isp in zip(topo.line, topo.isp):
        line.set(hole=None, loss=0, jitter=0)
        isp.run("nft delete table inet filter", check=False)
    topo.inet.run("nft delete table inet thief", check=False)
    if "11.1.0.2/" not in topo.isp[0].run("ip -4 -br addr show inet").stdout:
        renumber_isp(topo, 0, 2)


def path(pair, i=0):
    return pair.local.status()["links"][i]["path"]


def states(pair):
    return [link.get("path", {}).get("state") for link in pair.local.status()["links"]]


def all_up(pair):
    return set(states(pair)) == {"up"}


def far_paths(pair):
    gateways = pair.remote.status()["gateways"]
    return {p["path"]: p for p in gateways[0]["paths"]} if gateways else {}


def far_up(pair):
    far = far_paths(pair)
    return len(far) == len(pair.topo.line) and all(p["state"] == "up" for p in far.values())


@contextlib.contextmanager
def healthy(topo, **kw):
    with Pair(topo, **kw) as pair:
        wait_for(lambda: all_up(pair) and far_up(pair), "all paths up on both sides")
        yield pair


def counter(daemon, name):
    return daemon.status()["counters"][name]


def events(daemon, device, since=0.0):
    """[(time, state, text)] of what the log says of a line's health."""
    found = []
    for line in daemon.logged().splitlines():
        m = re.match(rf"(\S+ \S+) info: link {device}: (\w+), was (\w+): (.*)", line)
        if m:
            at = datetime.datetime.fromisoformat(m[1]).timestamp()
            if at >= since:
                found.append((at, m[2], m[4]))
    return found


def after(daemon, device, state, since):
    return next((at - since for at, s, _ in events(daemon, device, since) if s == state), None)


@contextlib.contextmanager
def business(topo):
    """Somebody in the LAN does something all the while."""
    p = topo.peer_popen("echo", count=2000, interval=0.05)
    time.sleep(1)
    yield
    p.kill()
    p.wait()


# --- death is known, in either direction ---

@pytest.mark.parametrize("way", ["both", "up", "down"])
@pytest.mark.parametrize("line", [0, 1])
def test_silent_death_is_known_at_once(topo, way, line):
    with healthy(topo) as pair, business(topo):
        for _ in range(2):
            dead = time.time()
            topo.line[line].set(hole=way)
            wait_for(lambda: states(pair)[line] == "down", "down")
            device = topo.line[line].device
            suspect = after(pair.local, device, "suspect", dead)
            down = after(pair.local, device, "down", dead)
            assert suspect is not None and suspect <= 0.3 * SLACK, (suspect, down)
            assert down <= 0.5 * SLACK, (suspect, down)
            assert states(pair)[1 - line] == "up"
            side = path(pair, line)
            assert side["up"]["state"] != "up" if way != "down" else side["down"]["state"] == "down"
            time.sleep(1)
            healed = time.time()
            topo.line[line].set(hole=None)
            wait_for(lambda: all_up(pair), "up again")
            took = after(pair.local, device, "up", healed)
            assert took <= 2.5 * SLACK, took
        assert not events(pair.local, topo.line[1 - line].device, dead), "the other line was doubted"


def test_a_line_that_died_while_all_was_idle(topo):
    with healthy(topo) as pair:
        time.sleep(13)  # the pauses between probes are long now
        topo.line[0].set(hole="both")
        time.sleep(0.5)
        woke = time.time()
        assert topo.peer("echo", count=20, interval=0.05)["ok"]
        down = after(pair.local, "wan1", "down", woke)
        assert down is not None and down <= 0.8 * SLACK, events(pair.local, "wan1")


def test_load_is_not_death(topo):
    with healthy(topo) as pair:
        begun = time.time()
        for verb in ("down", "up"):
            assert topo.peer(verb, size=15_000_000)["ok"]
        for device in ("wan1", "wan2"):
            assert "down" not in {state for _, state, _ in events(pair.local, device, begun)}
        assert far_up(pair)


def test_loss_is_not_death(topo):
    with healthy(topo) as pair, business(topo):
        begun = time.time()
        topo.line[0].set(loss=5, jitter=10)
        time.sleep(10)
        assert not [e for e in events(pair.local, "wan1", begun) if e[1] != "lossy"]
        assert 0.5 < path(pair)["up"]["loss"] < 15
        assert 0.5 < path(pair)["down"]["loss"] < 15
        topo.line[0].set(loss=25)
        time.sleep(8)
        assert [s for _, s, _ in events(pair.local, "wan1", begun) if s == "lossy"]
        topo.line[0].set(loss=0, jitter=0)
        wait_for(lambda: all_up(pair), "the line is good again")


def test_measures_are_right(topo):
    with healthy(topo) as pair, business(topo):
        time.sleep(1)
        for i, rtt in ((0, 20), (1, 60)):
            p = path(pair, i)
            assert rtt - 1 <= p["rtt_min_ms"] <= rtt + 15, p
            assert p["up"]["loss"] == p["down"]["loss"] == 0
        far = far_paths(pair)
        assert 19 <= far[0]["rtt_min_ms"] <= 35
        # what one side received, the other one sent
        assert far[0]["up"]["packets"] <= path(pair)["up"]["packets"] <= far[0]["up"]["packets"] + 100


# --- the process, its keys and its clocks ---

def test_stopped_and_continued(topo):
    with healthy(topo) as pair, business(topo):
        for daemon in (pair.local, pair.remote):
            daemon.process.send_signal(signal.SIGSTOP)
            time.sleep(3)
            woke = time.time()
            daemon.process.send_signal(signal.SIGCONT)
            time.sleep(2)
            assert all_up(pair), events(pair.local, "wan1", woke)
            late = [e for d in ("wan1", "wan2") for e in events(pair.local, d, woke + 1.5)]
            assert not late, late


def test_new_keys_are_not_noticed(topo):
    with healthy(topo, remote_set={"pool.rekey": "10s"}) as pair, business(topo):
        begun, sessions = time.time(), counter(pair.local, "sessions")
        time.sleep(22)
        assert counter(pair.local, "sessions") - sessions >= 2
        for device in ("wan1", "wan2"):
            assert not events(pair.local, device, begun)
        assert far_up(pair)
        for daemon in (pair.local, pair.remote):
            assert counter(daemon, "udp_forged") == counter(daemon, "udp_old") == 0


def test_the_remote_starts_again(topo):
    with healthy(topo) as pair, business(topo):
        pair.remote.process.kill()
        pair.remote.process.wait()
        time.sleep(0.3)
        pair.remote.start()
        wait_for(lambda: pair.remote.status() and far_up(pair) and all_up(pair), "paths with the new process")
        assert topo.peer("down", size=1_000_000)["ok"]


def test_the_local_starts_again(topo):
    with healthy(topo) as pair:
        pair.local.process.kill()
        pair.local.process.wait()
        pair.local.start()
        pair.wait_connected()
        wait_for(lambda: all_up(pair) and far_up(pair), "paths of the new process")


def test_idle_costs_little(topo):
    with healthy(topo) as pair:
        time.sleep(14)
        before, begun = [path(pair, i) for i in range(2)], time.monotonic()
        time.sleep(45)
        day = 86400 / (time.monotonic() - begun)
        for i in range(2):
            now = path(pair, i)
            cost = sum(now[d]["bytes"] - before[i][d]["bytes"] + 28 * (now[d]["packets"] - before[i][d]["packets"])
                       for d in ("up", "down"))
            assert 0 < cost * day <= 20e6, cost * day  # probing as under load is 300 MB; what it is to be, test_rest counts without a clock
        assert all_up(pair)


# --- UDP is not let through ---

def filter_udp(topo, i, on=True):
    if on:
        topo.isp[i].nft(f"table inet filter {{\n chain f {{\n type filter hook forward priority 0\n udp dport {PORT} drop\n"
                        f" udp sport {PORT} drop\n }}\n}}\n")
    else:
        topo.isp[i].run("nft delete table inet filter")


def test_udp_filtered_everywhere_from_the_start(topo):
    for i in range(2):
        filter_udp(topo, i)
    with Pair(topo) as pair:
        assert topo.peer("down", size=5_000_000)["ok"]
        wait_for(lambda: [link["udp"] for link in pair.local.status()["links"]] == ["filtered"] * 2, "it is said")
        assert [link["standing"] for link in pair.local.status()["links"]] == ["in", "in"]
        assert pair.local.logged().count("UDP to the VPS is filtered") == 2
        assert "out by health" not in pair.local.logged()
        got = topo.peer("down", size=10_000_000)
        assert got["ok"] and got["mbit"] > 22, got  # both lines carry
        # and a line that really dies is found by TCP
        with business(topo):
            topo.line[0].set(hole="both")
            wait_for(lambda: pair.local.status()["links"][0]["standing"] == "out", "found dead by TCP")
            topo.line[0].set(hole=None)
            wait_for(lambda: pair.local.status()["links"][0]["standing"] == "in", "found alive by TCP")
        for i in range(2):
            filter_udp(topo, i, False)
        wait_for(lambda: all_up(pair), "UDP is used once it passes")
        assert [link["udp"] for link in pair.local.status()["links"]] == ["ok", "ok"]
        assert counter(pair.remote, "relays_failed") == 0


def test_udp_filtered_on_one_line_later(topo):
    with healthy(topo) as pair, business(topo):
        filter_udp(topo, 0)
        wait_for(lambda: pair.local.status()["links"][0]["udp"] == "filtered", "it is said")
        wait_for(lambda: pair.local.status()["links"][0]["standing"] == "in", "TCP's word counts")
        assert pair.local.status()["links"][1]["udp"] == "ok"
        filter_udp(topo, 0, False)
        wait_for(lambda: all_up(pair), "UDP again")


# --- addresses: NAT changes them, strangers pretend ---

def renumber_isp(topo, i, host):
    """The provider gives line i another public address; its NAT forgets everything while it has none, or it would move all a second time."""
    isp, old = topo.isp[i], topo.isp[i].run("ip -4 -br addr show inet").stdout.split()[2].split("/")[0]
    isp.ip(f"addr del {old}/24 dev inet")
    isp.run("conntrack -D -p udp", check=False)
    isp.ip(f"addr add 11.{i + 1}.0.{host}/24 dev inet", f"route replace default via 11.{i + 1}.0.1 dev inet")


def test_nat_gives_another_address(topo):
    with healthy(topo) as pair, business(topo):
        was, moved = far_paths(pair)[0]["address"], counter(pair.remote, "udp_moved")
        changed = time.time()
        renumber_isp(topo, 0, 77)
        wait_for(lambda: far_paths(pair)[0]["address"].startswith("11.1.0.77:"), "the path has moved")
        wait_for(lambda: all_up(pair) and far_up(pair), "and is well")
        assert counter(pair.remote, "udp_moved") == moved + 1
        assert was.startswith("11.1.0.2:")
        assert not events(pair.local, "wan2", changed)


def test_nat_forgets_while_idle(topo):
    with healthy(topo) as pair:
        time.sleep(13)
        renumber_isp(topo, 0, 78)
        assert topo.peer("echo", count=20, interval=0.05)["ok"]
        wait_for(lambda: far_paths(pair)[0]["address"].startswith("11.1.0.78:") and all_up(pair), "the path has moved")


class Tap:
    """What passes a device of a namespace, without touching it: UDP payloads to the remote's port."""

    def __init__(self, ns, device):
        with inside(ns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
            self.sock.bind((device, 0x0800))

    def datagrams(self, seconds, source=None):
        """[(source, payload)] of what goes up."""
        found, until = [], time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                break
            head = (data[0] & 15) * 4
            if data[9] != 17 or struct.unpack(">H", data[head + 2:head + 4])[0] != PORT:
                continue
            sender = socket.inet_ntoa(data[12:16])
            if source in (None, sender):
                found.append((sender, data[head + 8:struct.unpack(">H", data[2:4])[0]]))
        return found

    def close(self):
        self.sock.close()


def stranger(topo):
    with inside(topo.server):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.connect((VPS4, PORT))
    return s


def answers(sock, seconds=0.5):
    got, until = [], time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            got.append(sock.recv(65536))
        except (TimeoutError, ConnectionError):
            break
    return got


def test_replayed_from_another_address(topo):
    with healthy(topo) as pair, business(topo):
        tap, thief = Tap(topo.inet, "isp1"), stranger(topo)
        kept = tap.datagrams(1.5)
        assert len(kept) >= 10
        was, moved, copies = far_paths(pair)[0]["address"], counter(pair.remote, "udp_moved"), counter(pair.remote, "udp_copies")
        begun = time.time()
        for _ in range(10):
            for _, data in kept:
                thief.send(data)
            time.sleep(0.05)
        assert not answers(thief)
        assert counter(pair.remote, "udp_copies") - copies == 10 * len(kept)
        assert far_paths(pair)[0]["address"] == was and counter(pair.remote, "udp_moved") == moved
        assert not events(pair.local, "wan1", begun)
        tap.close()
        thief.close()


def test_held_back_and_sent_from_another_address(topo):
    """The thief is on the path: what he sends is new to the remote, and still he cannot answer."""
    with healthy(topo) as pair, business(topo):
        tap, thief = Tap(topo.inet, "isp1"), stranger(topo)
        was, moved = far_paths(pair)[0]["address"], counter(pair.remote, "udp_moved")
        topo.inet.nft("table inet thief {\n chain f {\n type filter hook forward priority 0\n"
                      f' iifname "isp1" udp dport {PORT} drop\n }}\n}}\n')
        sent = 0
        until = time.monotonic() + 2
        got = []
        while time.monotonic() < until:
            for _, data in tap.datagrams(0.1):
                thief.send(data)
                sent += len(data)
            got += answers(thief, 0.01)
        assert got and sum(map(len, got)) <= sent, "a CHALLENGE, and less than was sent"
        assert all(len(data) == 34 for data in got)
        for data in got:  # neither an echo nor a flipped bit is an answer
            thief.send(data)
        assert far_paths(pair)[0]["address"] == was and counter(pair.remote, "udp_moved") == moved
        topo.inet.run("nft delete table inet thief")
        wait_for(lambda: all_up(pair) and far_up(pair), "the path is back")
        assert far_paths(pair)[0]["address"] == was
        tap.close()
        thief.close()


def test_bad_datagrams_are_dropped_and_counted(topo):
    """Fault list 14."""
    with healthy(topo) as pair, business(topo):
        tap, s = Tap(topo.inet, "isp1"), stranger(topo)
        _, good = tap.datagrams(1)[-1]
        begun = time.time()
        names = ("udp_malformed", "udp_forged", "udp_unknown", "udp_copies")
        before = {n: counter(pair.remote, n) for n in names}
        bad = [b"", b"\x48", good[:7], good[:23], b"\0" * 100, os.urandom(8).replace(b"\x48", b"\x49"), b"\x08" + good[1:],
               b"\xff" * 1500, bytes([good[0] | 0x07]) + good[1:], bytes([0x60]) + good[1:]]
        for data in bad:
            s.send(data)
        forged = [good[:4] + struct.pack(">I", struct.unpack(">I", good[4:8])[0] + 1000 + i) + good[8:] for i in range(50)]
        forged += [good[:4] + os.urandom(4) + os.urandom(60) for _ in range(50)]
        for data in forged:
            s.send(data)
        for _ in range(50):
            s.send(b"\x48" + os.urandom(3) + good[4:])
        got = answers(s)
        assert all(len(data) == 8 for data in got) and 0 < len(got) <= 45
        now = {n: counter(pair.remote, n) - before[n] for n in names}
        assert now["udp_malformed"] >= len(bad) - 2 and now["udp_malformed"] <= len(bad)
        assert now["udp_forged"] >= 95, now
        assert now["udp_unknown"] >= 49, now
        assert all_up(pair) and far_up(pair)
        for device in ("wan1", "wan2"):
            assert not events(pair.local, device, begun)
        tap.close()
        s.close()


def test_hints_from_strangers_do_nothing(topo):
    """Eight bytes that say "unknown", to the local's own port, from the VPS's address: only a recent number counts, and then
    the remote is asked, no more."""
    with healthy(topo) as pair, business(topo):
        tap = Tap(topo.inet, "isp1")
        sessions, begun = counter(pair.local, "sessions"), time.time()
        index = tap.datagrams(0.5)[0][1][1:4]
        with inside(topo.vps):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        host, port = far_paths(pair)[0]["address"].rsplit(":", 1)
        for i in range(200):
            hint = b"\x78" + index + struct.pack(">I", 0x70000000 + i)
            raw.sendto(struct.pack(">HHHH", PORT, int(port), 8 + len(hint), 0) + hint, (host, 0))
        _, data = tap.datagrams(0.5)[-1]
        for _ in range(200):
            hint = b"\x78" + data[1:8]
            raw.sendto(struct.pack(">HHHH", PORT, int(port), 8 + len(hint), 0) + hint, (host, 0))
        time.sleep(2)
        assert counter(pair.local, "sessions") - sessions <= 1
        for device in ("wan1", "wan2"):
            assert not events(pair.local, device, begun)
        raw.close()
        tap.close()


def test_flapping_makes_no_storm(topo):
    with healthy(topo) as pair, business(topo):
        begun = time.time()
        for _ in range(8):
            topo.line[0].set(hole="both")
            time.sleep(1)
            topo.line[0].set(hole=None)
            time.sleep(1)
        assert len([e for e in events(pair.local, "wan1", begun) if e[1] == "up"]) <= 6, events(pair.local, "wan1", begun)
        assert not events(pair.local, "wan2", begun)
        wait_for(lambda: all_up(pair), "up at last")
