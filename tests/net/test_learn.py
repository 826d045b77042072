# SPDX-License-Identifier: BSD-2-Clause
"""The first window of each line is learnt from what the line carried, in both directions, and nothing of it stays behind."""
import re
import signal

from pair import Pair
from topology import wait_for

SIZE = 10_000_000  # two seconds on both lines


def windows(ns, table, family="-4"):
    """{destination: initcwnd} of a table's routes; None: the kernel's."""
    found = {}
    for line in ns.run(f"ip {family} route show table {table}", check=False).stdout.splitlines():
        window = re.search(r"initcwnd (\d+)", line)
        found[line.split()[0]] = int(window.group(1)) if window else None
    return found


def learnt_up(pair):
    return [link["initcwnd"] for link in pair.local.status()["links"]]


def fits(near, far):
    """20 Mbit/s are 35 packets in 20 ms and 103 in 60 ms, of which 44 are the most that every NAT lets pass. Half of that on a busy machine."""
    return near and far and 15 <= near <= 44 and 22 <= far <= 44


def waiting_windows(ns):
    """The windows of connections on which little was sent."""
    out = ns.run(["ss", "-Htin", "state", "established", "( sport = :7200 or dport = :7200 )"]).stdout
    return [int(c) for c in re.findall(r" cwnd:(\d+)", out)]


def good_enough(daemon, line, window):
    """The windows that a line's connections in stock may have begun with: learnt in steps, it is replaced for a doubling."""
    learnt = [int(n) for n in re.findall(rf" {line}:? holds (\d+) packets", daemon.logged())]
    assert window in learnt
    return {n for n in learnt if window < 2 * n < 4 * window}


def begin_with(ns, good):
    """How many connections on which little was sent began with one of these."""
    waiting = waiting_windows(ns)
    return sum(waiting.count(n) for n in good)


def transfer(topo, way):
    result = topo.peer(way, size=SIZE, deadline=30)
    assert result.get("ok"), result


def test_up(topo):
    with Pair(topo) as pair:
        assert learnt_up(pair) == [0, 0]
        assert windows(topo.gw, 25000)["default"] is None
        transfer(topo, "up")
        wait_for(lambda: fits(*learnt_up(pair)), "both lines learnt")
        for i, window in enumerate(learnt_up(pair)):
            for family in ("-4", "-6"):
                assert windows(topo.gw, 25000 + i, family)["default"] == window
        good = good_enough(pair.local, "wan2", learnt_up(pair)[1])
        wait_for(lambda: begin_with(topo.gw, good) >= 4, "the stock begins with it")
    assert not windows(topo.gw, 25000) and not windows(topo.gw, 25001)


def test_down_and_after_a_kill(topo):
    with Pair(topo) as pair:
        down_and_after_a_kill(topo, pair)
    assert not windows(topo.vps, 25050)


def down_and_after_a_kill(topo, pair):
    transfer(topo, "down")
    wait_for(lambda: pair.remote.status()["return_routes"]["learnt"] == 2, "both lines learnt")
    routes = windows(topo.vps, 25050)
    assert fits(routes["11.1.0.2"], routes["11.2.0.2"]), routes
    assert routes["default"] is None
    good = good_enough(pair.remote, "11.2.0.2", routes["11.2.0.2"])
    wait_for(lambda: begin_with(topo.vps, good) >= 4, "the stock begins with it")
    pair.remote.process.send_signal(signal.SIGKILL)
    pair.remote.process.wait()
    assert "11.1.0.2" in windows(topo.vps, 25050)
    pair.remote.start()
    wait_for(pair.remote.status, "plait-remote is back")
    assert set(windows(topo.vps, 25050)) == set(routes) - {"11.1.0.2", "11.2.0.2"}
