# SPDX-License-Identifier: BSD-2-Clause
"""The call that did not drop: the same call over each line alone, by the gateway's NAT, and over plait, on lines as they are."""
import call
import callpicture
from callpicture import Trouble
from pair import Pair
from topology import Line, Topology, wait_for

LINES = [Line("40M", "8M", 12, loss=0.5), Line("30M", "10M", 30, loss=1, jitter_ms=4)]
TITLE = "DSL and LTE of today that lose 0.5 and 1 of 100 packets"
SECONDS = 24
DEAD = Trouble(6, 12, 1, "line 1 is dead, silently")
LOSSY = Trouble(15, 20, 2, "line 2 loses 20 of 100")
# A call held if its listeners would hardly have noticed: of a hundred packets not one missing, and no pause longer than a syllable.
LOST_MAX = 0.005
SILENCE_MAX_MS = 250

NAMES = ["plait", "line 1", "line 2"]  # how each of the servers is reached
SERVERS = [("11.9.0.2", "2a11:9::2"), ("11.9.1.2", "2a11:9:0:1::2"), ("11.9.2.2", "2a11:9:0:2::2")]
HEAD = ["a call, both ways", "packets", "lost", "longest silence ms", "p50 ms", "p99 ms", "MOS of 4.4", "what came", "the call"]


def held(c):
    return c.equal and c.lost <= LOST_MAX * c.sent and c.silence <= SILENCE_MAX_MS


def verdict(c):
    return "held" if held(c) else "did not hold"


def moments(topo):
    one, two = topo.line
    return [(DEAD.start, lambda: one.set(hole="both")), (DEAD.end, lambda: one.set(hole=None)),
            (LOSSY.start, lambda: two.set(loss=20)), (LOSSY.end, lambda: two.set(loss=LINES[1].loss))]


def route(topo):
    """The second server is reached over line 1, the third over line 2; plait is told to leave both alone."""
    for i, hosts in enumerate(SERVERS[1:]):
        device = topo.line[i].device
        topo.gw.ip(f"route replace {hosts[0]} via {topo.gateway(i)} dev {device}", f"route replace {hosts[1]} via fe80::1 dev {device}")
    return ", ".join(f"{four}/32, {six}/128" for four, six in SERVERS[1:])


def tunnel_is_up(pair):
    tunnel = (pair.local.status() or {}).get("tunnel", {})
    paths = tunnel.get("traffic", {}).get("paths", [])
    return tunnel.get("state") == "up" and sum(p["state"] == "up" for p in paths) == len(LINES)


def play(screen, settle):
    """The calls, when they are over."""
    def show(at, calls):
        screen.live_line(f"  calls, {at:4.1f} s; missing so far: " + ", ".join(f"{c.name} {c.lost}" for c in calls[:3]))

    with Topology(lines=LINES, servers=len(SERVERS)) as topo:
        settle(topo)
        with Pair(topo, local_set={"lan.bypass": route(topo)}) as pair:
            wait_for(lambda: tunnel_is_up(pair), "the tunnel over both lines")
            calls = [call.Call(f"{NAMES[i]}, {family}", topo.lan, topo.server_hosts[i], SERVERS[i][f], SECONDS)
                     for f, family in enumerate(("IPv4", "IPv6")) for i in (1, 2, 0)]
            call.hold(calls, SECONDS, show, moments(topo))
    for c in calls:
        screen.say(f"  {c.name:<28} {c.lost:5d} of {c.sent} packets lost, longest silence {c.silence:.0f} ms: {verdict(c)}")
    return calls


def row(c):
    return [f"  {c.name}", str(c.sent), str(c.lost), f"{c.silence:.0f}", f"{c.delay(.5):.0f}", f"{c.delay(.99):.0f}", f"{c.score:.1f}",
            "equal" if c.equal else "DIFFERENT", verdict(c)]


def picture(calls):
    rows = [callpicture.Row(c.name if "plait" in c.name else f"{c.name}, alone",
                            f"{c.lost} of {c.sent} lost, longest silence {c.silence:.0f} ms, MOS {c.score:.1f}: {verdict(c)}", c)
            for c in calls if "IPv4" in c.name]
    return callpicture.draw("Three calls at the same time, over the same two lines", rows, [DEAD, LOSSY])


def passed(calls):
    """Only plait promises anything."""
    return all(held(c) for c in calls if "plait" in c.name)
