# SPDX-License-Identifier: BSD-2-Clause
"""Fear: a line is dead and nobody knows, or is said to be dead and is not; somebody moves a path who has no right to."""
import contextlib
import datetime
import re
import signal
import time

import pytest

from each import each
from leap import Leaping
from topology import Line, wait_for, within

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

@each("way, line", [("both", 0), ("up", 1), ("down", 0)])
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


def test_load_is_not_death(topo):
    with healthy(topo) as pair:
        begun = time.time()
        for verb in ("down", "up"):
            assert topo.peer(verb, size=15_000_000)["ok"]
        for device in ("wan1", "wan2"):
            assert "down" not in {state for _, state, _ in events(pair.local, device, begun)}
        assert far_up(pair)


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
