# SPDX-License-Identifier: BSD-2-Clause
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
from leap import Leaping
from topology import VPS4, Line, wait_for, within

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


class Shared:
    """One pair for all tests that leave it as it was; who wants another one has it alone."""

    def __init__(self, topo):
        self.topo, self.pair = topo, None

    def stop(self):
        pair, self.pair = self.pair, None
        if pair:
            pair.stop()

    def get(self):
        if self.pair and not self.is_well():
            self.stop()
        if not self.pair:
            self.pair = Leaping(self.topo)
            self.pair.start()
        return self.pair

    def is_well(self):
        """A line that has lost much is called lossy until much more has passed, which at rest takes hours."""
        return within(3, lambda: all_up(self.pair) and far_up(self.pair))


@pytest.fixture(scope="module", name="shared", autouse=True)
def _shared(topo):
    shared = topo.shared = Shared(topo)
    yield shared
    shared.stop()


@contextlib.contextmanager
def healthy(topo, **kw):
    if kw:
        topo.shared.stop()
    with Leaping(topo, **kw) if kw else contextlib.nullcontext(topo.shared.get()) as pair:
        try:
            wait_for(lambda: all_up(pair) and far_up(pair), "all paths up on both sides")
            yield pair
        except BaseException:
            for d in (pair.local, pair.remote):
                print(f"--- {d.program.name}\n{d.logged()[-4000:]}")
            raise


def sent(pair):
    return sum(p[way]["packets"] for p in (path(pair, i) for i in range(2)) for way in ("up", "down"))


def sent_within(pair, seconds):
    before = sent(pair)
    time.sleep(seconds)
    return sent(pair) - before


def fall_asleep(pair):
    """The house is at rest: from now on there is a probe once in 25 s. Three at most are under way when the clock is put forward."""
    wait_for(lambda: sent_within(pair, 0.5) <= 4, "a probe a second")
    pair.leap(11, pair.local)
    wait_for(lambda: all_up(pair) and sent_within(pair, 1.5) == 0, "longer pauses")


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
    pair = topo.shared.pair
    if pair:
        wait_for(lambda: sent_within(pair, 0.2) > 10, "probes as under load")
    else:
        time.sleep(1)
    try:
        yield
    finally:
        p.kill()
        p.wait()


def test_measures_are_right(topo):
    """First of all, before the lines of the shared pair have lost anything."""
    with healthy(topo) as pair, business(topo):
        for i, rtt in ((0, 20), (1, 60)):
            wait_for(lambda: rtt - 1 <= path(pair, i)["rtt_min_ms"] <= rtt + 15 and path(pair, i)["up"]["loss"] == 0 == path(pair, i)["down"]["loss"],
                     f"line {i + 1} is measured")
        far = far_paths(pair)
        assert 19 <= far[0]["rtt_min_ms"] <= 35
        # what one side received, the other one sent
        assert far[0]["up"]["packets"] <= path(pair)["up"]["packets"] <= far[0]["up"]["packets"] + 100


# --- death is known, in either direction ---

@pytest.mark.parametrize("way, line", [("both", 0), ("up", 1), ("down", 0)])
def test_silent_death_is_known(topo, way, line):
    """After how many milliseconds it is suspected and down is asserted in unit/base/test_health.c."""
    with healthy(topo) as pair, business(topo):
        device = topo.line[line].device
        for _ in range(2):
            dead = time.time()
            topo.line[line].set(hole=way)
            wait_for(lambda: states(pair)[line] == "down", "down")
            said = [state for _, state, _ in events(pair.local, device, dead) if state != "up"]  # which is said a little after it is so
            assert said[:2] == ["suspect", "down"], said
            assert states(pair)[1 - line] == "up"
            side = path(pair, line)
            assert side["up"]["state"] != "up" if way != "down" else side["down"]["state"] == "down"
            topo.line[line].set(hole=None)
            wait_for(lambda: all_up(pair), "up again")
        assert not events(pair.local, topo.line[1 - line].device, dead), "the other line was doubted"


def test_a_line_that_died_while_all_was_idle(topo):
    with healthy(topo) as pair:
        fall_asleep(pair)
        topo.line[0].set(hole="both")
        woke = time.time()
        assert topo.peer("echo", count=20, interval=0.05)["ok"]
        wait_for(lambda: "down" in [state for _, state, _ in events(pair.local, "wan1", woke)], "its death is known")


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
        before = path(pair)
        topo.line[0].set(loss=5, jitter=10)
        wait_for(lambda: all(path(pair)[way]["packets"] - before[way]["packets"] > 200 and 0.5 < path(pair)[way]["loss"] < 15
                             for way in ("up", "down")), "the loss is measured")
        assert not [e for e in events(pair.local, "wan1", begun) if e[1] != "lossy"]
        topo.line[0].set(loss=25)
        wait_for(lambda: [s for _, s, _ in events(pair.local, "wan1", begun) if s == "lossy"], "it is called lossy")
        topo.line[0].set(loss=0, jitter=0)
        wait_for(lambda: all_up(pair), "the line is good again")


# --- the process, its keys and its clocks ---

def test_stopped_and_continued(topo):
    with healthy(topo) as pair, business(topo):
        for daemon in (pair.local, pair.remote):
            daemon.process.send_signal(signal.SIGSTOP)
            time.sleep(2)  # five times as long as it takes to call a path dead
            woke = time.time()
            daemon.process.send_signal(signal.SIGCONT)
            wait_for(lambda: all_up(pair) and far_up(pair) and time.time() > woke + 0.5, "it goes on")
            well = time.time()
            time.sleep(0.7)
            late = [e for d in ("wan1", "wan2") for e in events(pair.local, d, well)]
            assert not late, late


def test_new_keys_are_not_noticed(topo):
    with healthy(topo, remote_set={"pool.rekey": "10s"}) as pair:
        for _ in range(2):
            wait_for(lambda: sent_within(pair, 0.5) <= 4, "a probe a second")
            first = counter(pair.local, "sessions")
            pair.leap(10, pair.local)
            wait_for(lambda: counter(pair.local, "sessions") > first, "new keys at rest")
            pair.leap(8, pair.local)  # the session is almost old enough again
            with business(topo):
                wait_for(lambda: all_up(pair), "all up")
                begun, sessions = time.time(), counter(pair.local, "sessions")
                wait_for(lambda: counter(pair.local, "sessions") > sessions, "new keys")
                renewed = sent(pair)
                wait_for(lambda: sent(pair) > renewed + 100, "datagrams with them")
                for device in ("wan1", "wan2"):
                    assert not events(pair.local, device, begun)
                assert far_up(pair)
        for daemon in (pair.local, pair.remote):
            assert counter(daemon, "udp_forged") == counter(daemon, "udp_old") == 0


def test_the_remote_starts_again(topo):
    with healthy(topo) as pair, business(topo):
        pair.remote.process.kill()
        pair.remote.process.wait()
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
    """What it costs in a day unit/tunnel/test_rest.c counts, without a clock; here the daemons themselves let it rest."""
    with healthy(topo) as pair:
        fall_asleep(pair)
        assert sent_within(pair, 4) <= 8, "a probe and its answer on each line, at most, or there is one every second"
        before = sent(pair)
        pair.leap(32, pair.local)
        wait_for(lambda: sent(pair) > before, "the modems' doors are held open")
        wait_for(lambda: all_up(pair), "all up")


# --- UDP is not let through ---

def filter_udp(topo, i, on=True):
    if on:
        topo.isp[i].nft(f"table inet filter {{\n chain f {{\n type filter hook forward priority 0\n udp dport {PORT} drop\n"
                        f" udp sport {PORT} drop\n }}\n}}\n")
    else:
        topo.isp[i].run("nft delete table inet filter")


def test_udp_filtered_everywhere_from_the_start(topo):
    topo.shared.stop()
    for i in range(2):
        filter_udp(topo, i)
    with Leaping(topo) as pair:
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
        with business(topo):  # who is at rest asks more rarely
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
        fall_asleep(pair)
        renumber_isp(topo, 0, 78)
        assert topo.peer("echo", count=20, interval=0.05)["ok"]
        wait_for(lambda: far_paths(pair)[0]["address"].startswith("11.1.0.78:") and all_up(pair), "the path has moved")


class Tap:
    """What passes a device of a namespace, without touching it: UDP payloads to the remote's port."""

    def __init__(self, ns, device):
        with inside(ns):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
            self.sock.bind((device, 0x0800))

    def datagrams(self, seconds, source=None, enough=1 << 20):
        """[(source, payload)] of what goes up."""
        found, until = [], time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and len(found) < enough:
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


def answers(sock, seconds=0.3):
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
        kept = tap.datagrams(60, enough=20)
        assert len(kept) >= 10
        was, moved, copies = far_paths(pair)[0]["address"], counter(pair.remote, "udp_moved"), counter(pair.remote, "udp_copies")
        begun = time.time()
        for _ in range(10):
            for _, data in kept:
                thief.send(data)
        wait_for(lambda: counter(pair.remote, "udp_copies") - copies >= 10 * len(kept), "all of it came")
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
        sent, held, got = 0, 0, []
        while held < 40 or not got:
            for _, data in tap.datagrams(0.1):
                thief.send(data)
                held, sent = held + 1, sent + len(data)
            got += answers(thief, 0.01)
            assert held < 2000, "no CHALLENGE"
        assert sum(map(len, got)) <= sent, "less than was sent"
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
    with healthy(topo) as pair, business(topo):
        tap, s = Tap(topo.inet, "isp1"), stranger(topo)
        _, good = tap.datagrams(60, enough=5)[-1]
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
        index = tap.datagrams(60, enough=1)[0][1][1:4]
        with inside(topo.vps):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        host, port = far_paths(pair)[0]["address"].rsplit(":", 1)
        for i in range(200):
            hint = b"\x78" + index + struct.pack(">I", 0x70000000 + i)
            raw.sendto(struct.pack(">HHHH", PORT, int(port), 8 + len(hint), 0) + hint, (host, 0))
        tap.datagrams(0.05)
        _, data = tap.datagrams(60, enough=1)[-1]
        for _ in range(200):
            hint = b"\x78" + data[1:8]
            raw.sendto(struct.pack(">HHHH", PORT, int(port), 8 + len(hint), 0) + hint, (host, 0))
        now = path(pair)["up"]["packets"]
        wait_for(lambda: path(pair)["up"]["packets"] > now + 20, "it goes on")
        assert counter(pair.local, "sessions") - sessions <= 1
        for device in ("wan1", "wan2"):
            assert not events(pair.local, device, begun)
        raw.close()
        tap.close()


def test_flapping_makes_no_storm(topo):
    """How much longer it waits each time is asserted in unit/base/test_health.c."""
    with healthy(topo) as pair, business(topo):
        begun = time.time()
        for _ in range(6):
            topo.line[0].set(hole="both")
            wait_for(lambda: states(pair)[0] == "down", "down")
            topo.line[0].set(hole=None)
            wait_for(lambda: states(pair)[0] != "down", "it answers")
            time.sleep(0.5)
        assert len([e for e in events(pair.local, "wan1", begun) if e[1] == "up"]) <= 4, events(pair.local, "wan1", begun)
        assert not events(pair.local, "wan2", begun)
        wait_for(lambda: all_up(pair), "up at last")
