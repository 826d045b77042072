# SPDX-License-Identifier: BSD-2-Clause
"""Fear: one device of the house opens thousands of connections, and the others' pages fail."""
import contextlib
import json
import subprocess
import threading
import time

import pytest

from inside import connect, read_exactly
from topology import SERVER4, TOOLS, Line, wait_for

LINES = [Line("50M", "50M", 5), Line("50M", "50M", 10)]
TOPOLOGY = {"clients": 2}
# So few that a busy machine overruns them, too; and twice as many at once. What the house may have, the gateway hears from the VPS.
OPENS, RELAYS = 40, 160
PAIR = {"remote_set": {"user home.opens": OPENS, "user home.relays": RELAYS}}


@pytest.fixture(name="server", scope="module")
def _server(topo):
    p = topo.server.popen([TOOLS / "loadgen", "serve", "9100"], stdout=subprocess.PIPE)
    assert p.stdout.readline() == "ready\n"
    yield p
    p.kill()
    p.wait()


@pytest.fixture(autouse=True)
def _at_rest(pair):
    wait_for(lambda: pair.local.status()["rules"] != "out" and pair.local.status()["relays"] == 0 == pair.remote.status()["relays"], "nobody is there")


def pages(topo, count):
    """The second device's: how many of them came."""
    good = 0
    for _ in range(count):
        with contextlib.suppress(OSError, EOFError), connect(topo.lan_clients[1], SERVER4, 7001, 20) as s:
            s.sendall(b"page?")
            good += read_exactly(s, 5) == b"page?"
    return good


def refused(pair):
    return sum(d.status()["counters"]["refused_limit"] for d in (pair.local, pair.remote))


def waiting(pair):
    return pair.local.status()["lan"]["waiting"]


def test_more_openings_than_there_may_be(topo, pair, server):
    """Those of the flood wait, and are served as well; another device waits for one turn of it."""
    before = refused(pair)
    flood = topo.lan_clients[0].popen([TOOLS / "loadgen", "rate", SERVER4, "9100", "64", "6"], stdout=subprocess.PIPE)
    wait_for(lambda: waiting(pair) > 10, "the flood waits")
    assert pages(topo, 20) == 20
    assert waiting(pair) > 10, "the flood was over: this proves nothing"
    result = json.loads(flood.communicate(timeout=60)[0])
    assert result["failed"] == 0, result
    assert refused(pair) == before


def test_more_connections_than_there_may_be(topo, pair):
    """One device holds all it can get, to a server that never answers a SYN; the last quarter is left to others."""
    before = refused(pair)
    topo.server.nft("table inet deaf { chain i { type filter hook input priority 0; tcp dport 9200 drop; }; }")
    held, halt = [], threading.Event()

    def scan():
        while not halt.is_set() and len(held) < 2 * RELAYS:
            held.append(connect(topo.lan_clients[0], SERVER4, 9200))
            time.sleep(0.005)
    thread = threading.Thread(target=scan)
    try:
        thread.start()
        wait_for(lambda: pair.remote.status()["dialling"] >= RELAYS // 4 * 3, "three quarters are taken")
        assert pages(topo, 20) == 20
        assert waiting(pair) > 0
        assert pair.remote.status()["dialling"] == RELAYS // 4 * 3
        assert refused(pair) == before
    finally:
        halt.set()
        thread.join()
        for s in held:
            s.close()
        topo.server.nft("delete table inet deaf")
