# SPDX-License-Identifier: BSD-2-Clause
"""Fear: a program dies, is started twice or starts again, and somebody is left with half a page, two orders, or nothing.

The order-taking server counts: no request may be served twice, whatever dies in between."""
import signal
import threading
import time

import pytest

from inside import background, connect, end_of, listen, read_exactly, through
from pair import Pair
from surfer import Mirror
from topology import SERVER4, Line, wait_for

LINES = [Line("100M", "100M", 5), Line("100M", "100M", 20)]


class Orders(Mirror):
    """Serves one-line requests and remembers how often each came."""

    def __init__(self, ns, port):
        self.seen, self.lock = {}, threading.Lock()
        super().__init__(ns, port)

    def _one(self, s):
        with s:
            try:
                order = s.recv(100)
                with self.lock:
                    self.seen[order] = self.seen.get(order, 0) + 1
                s.sendall(b"done " + order)
            except OSError:
                pass

    def twice(self):
        return [o for o, n in self.seen.items() if n > 1]


def order(topo, name, timeout=20):
    """done, reset, eof ... and how long it took."""
    begin = time.monotonic()
    try:
        with connect(topo.lan, SERVER4, 9200, timeout) as s:
            s.sendall(name)
            answer = b""
            while more := s.recv(100):
                answer += more
        how = "done" if answer == b"done " + name else "eof"
    except ConnectionResetError:
        how = "reset"
    except OSError as e:
        how = type(e).__name__
    return how, time.monotonic() - begin


@pytest.fixture(scope="module", name="orders")
def _orders(topo):
    return Orders(topo.server, 9200)


@pytest.fixture(name="pair")
def _pair(topo):
    with Pair(topo, remote_set={"user home.opens": 5000}) as p:
        wait_for(lambda: p.local.status()["pool"]["warm"] >= 4, "warm connections")
        yield p


def kill(daemon):
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()


def test_killed_local_resets_all_and_the_house_is_online(topo, pair, orders):
    """300 relays see a reset, never an end; new connections work at once."""
    with listen(topo.server, 9000) as listener:
        ends = [through(topo.lan, SERVER4, listener) for _ in range(300)]
        kill(pair.local)
        assert {end_of(near) for near, _ in ends} == {"reset"}
        assert {end_of(far, 5) for _, far in ends} == {"reset"}, "the servers think it was an end"
        near, far = through(topo.lan, SERVER4, listener)
        assert far.getpeername()[0] != "::ffff:11.7.0.2"
    pair.local.start()
    pair.wait_connected()
    assert order(topo, b"after the crash")[0] == "done"


def test_killed_remote_resets_all(topo, pair, orders):
    with listen(topo.server, 9000) as listener:
        ends = [through(topo.lan, SERVER4, listener) for _ in range(100)]
        kill(pair.remote)
        assert {end_of(near) for near, _ in ends} == {"reset"}
        assert {end_of(far, 5) for _, far in ends} == {"reset"}
    pair.remote.start()
    wait_for(lambda: order(topo, b"remote is back")[0] == "done", "an order after the restart")


def test_remote_restarts_under_load_and_serves_nothing_twice(topo, pair, orders):
    """Those in flight may be reset (served or not: nobody knows); those after it are served."""
    stop, results, lock = threading.Event(), [], threading.Lock()

    def shop(i):
        n = 0
        while not stop.is_set():
            n += 1
            how, took = order(topo, b"load %d.%d" % (i, n))
            with lock:
                results.append((how, took, time.monotonic()))
    shoppers = [background(shop, i) for i in range(20)]
    def served(n, since=0):
        """So many orders were, since then."""
        with lock:
            return sum(how == "done" and at > since for how, _, at in results) >= n
    wait_for(lambda: served(200), "business")
    for _ in range(3):
        kill(pair.remote)
        pair.remote.start()
        back = time.monotonic()
        wait_for(lambda: served(200, back), "business again")
    stop.set()
    for s in shoppers:
        s.join()
    assert orders.twice() == []
    kinds = {how for how, _, _ in results}
    assert kinds <= {"done", "reset"}, kinds
    resets = [r for r in results if r[0] == "reset"]
    assert len(resets) < 20 * 2 * 3, f"{len(resets)} orders were lost for three restarts and 20 shoppers"


def restart_unnoticed(topo, pair):
    """A killed kernel neighbour says RST; here nobody hears it, as after a power cut of the VPS."""
    topo.vps.nft("table inet mute { chain out { type filter hook output priority 0; tcp flags rst drop; }; }")
    kill(pair.remote)
    since = len(pair.remote.logged())
    pair.remote.start()
    wait_for(lambda: "listening" in pair.remote.logged()[since:], "the remote listens")
    topo.vps.nft("delete table inet mute")


def test_cold_open_to_a_restarted_remote_is_told_so_at_once(topo, orders):
    """Without a pool every OPEN leaves right behind its ATTACH. A remote that does not know the session answers RESET,
    which proves that nothing was served: it is sent again under a new session, and the client does not notice."""
    with Pair(topo, local_set={"pool.min": 0, "pool.max": 0}) as pair:
        results = []
        for i in range(5):
            assert order(topo, b"before %d" % i)[0] == "done"
            restart_unnoticed(topo, pair)
            results.append(order(topo, b"cold %d" % i))
            assert pair.remote.status()["counters"]["attach_unknown"] >= 1, "this test has not tested it"
        assert [how for how, _ in results] == ["done"] * 5, results
        assert orders.twice() == []


def test_power_cut_of_the_remote_is_known_after_its_next_order(topo, pair, orders):
    """Nobody heard a reset: neither the relay, nor the warm connections, nor the session's own. An order sent now may
    have been served for all one knows, so it ends with a reset; soon, and the old relay with it."""
    with listen(topo.server, 9000) as listener:
        near, _ = through(topo.lan, SERVER4, listener)
        restart_unnoticed(topo, pair)
        how, took = order(topo, b"warm")
        assert how in ("done", "reset"), (how, took)
        assert end_of(near, 5) == "reset"
        assert [order(topo, b"next %d" % i)[0] for i in range(3)] == ["done"] * 3
    assert orders.twice() == []


def test_second_instance_refuses_and_the_first_is_unharmed(topo, pair, orders):
    with listen(topo.server, 9000) as listener:
        near, far = through(topo.lan, SERVER4, listener)
        wait_for(lambda: pair.local.status()["tunnel"]["state"] == "up", "all rules are in")
        before = topo.gw.run("ip rule; nft list ruleset; ip mptcp endpoint").stdout
        for d in (pair.local, pair.remote):
            out = d.ask("run", check=False, timeout=10)
            assert out.returncode not in (0, -signal.SIGSEGV), d.program.name
            assert len(out.stderr.splitlines()) <= 3 and out.stderr, out.stderr
        assert topo.gw.run("ip rule; nft list ruleset; ip mptcp endpoint").stdout == before
        near.sendall(b"unharmed")
        assert read_exactly(far, 8) == b"unharmed"
    assert order(topo, b"first instance")[0] == "done"


def test_second_instance_with_another_control_socket_refuses_too(topo, pair, orders):
    """Started from a copied configuration: nothing of the first one's may be taken out."""
    wait_for(lambda: pair.local.status()["tunnel"]["state"] == "up", "all rules are in")
    before = topo.gw.run("ip rule; ip route show table 25000; nft list ruleset; ip mptcp endpoint").stdout
    other = pair.local.config.with_name("other.conf")
    other.write_text(pair.local.config.read_text().replace("plait-local.sock", "other.sock"))
    out = topo.gw.run([pair.local.program, "run", "-c", other], check=False, timeout=10)
    assert out.returncode != 0
    after = topo.gw.run("ip rule; ip route show table 25000; nft list ruleset; ip mptcp endpoint").stdout
    assert after == before
    assert order(topo, b"one is enough")[0] == "done"


def test_dead_warm_connections_cost_the_client_nothing(topo, pair, orders):
    """The modems restart: their NAT forgets all warm connections, and resets what it does not know."""
    assert pair.local.status()["pool"]["warm"] >= 4
    for isp in topo.isp:
        isp.nft("table ip forgot { chain f { type filter hook forward priority -1; "
                "tcp dport 7200 tcp flags & (syn | fin | rst) == 0 ct original packets > 0 reject with tcp reset; }; }")
    results = []
    try:
        results.append(background(order, topo, b"stale").join(25))
    finally:
        for isp in topo.isp:
            isp.nft("delete table ip forgot")
    results += [order(topo, b"fresh %d" % i) for i in range(5)]
    assert [how for how, _ in results[1:]] == ["done"] * 5, results
    assert orders.twice() == []


def test_silently_dead_warm_connections_cost_little(topo, pair, orders):
    """The NAT forgets and drops in silence: what was sent on a dead connection is sent again on a living one."""
    for isp in topo.isp:
        isp.run("conntrack -F", check=False)
        isp.nft("table ip forgot { chain f { type filter hook forward priority -1; "
                "tcp dport 7200 ct state new tcp flags & syn == 0 drop; "
                "tcp sport 7200 ct state new drop; }; }")
    try:
        for isp in topo.isp:
            isp.sysctl(net__netfilter__nf_conntrack_tcp_loose=0)
            isp.run("conntrack -F", check=False)
        results = [order(topo, b"nat forgot %d" % i) for i in range(3)]
    finally:
        for isp in topo.isp:
            isp.nft("delete table ip forgot")
    assert [how for how, _ in results] == ["done"] * 3, results
    assert orders.twice() == []
