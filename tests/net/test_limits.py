# SPDX-License-Identifier: BSD-2-Clause
"""Every table of plait-remote has an end, and who reaches it troubles nobody but himself."""
import statistics
import threading
import time

from pair import Pair
from plait_client import NO_RESOURCES, Identity, Remote, Target, abort, connect, decode, two_users
from topology import SERVER4, Line, wait_for

LINES = [Line()]
TOPOLOGY = {"emulate": False}
STRANGERS_MAX = 512


def opened(session, ns, target, early=b"x"):
    """(the connection, the status it was answered with)"""
    up = session.attach(ns)
    return up, up.open(SERVER4, target.port, early)["status"]


def test_a_thousand_sockets_that_never_finish_keep_nobody_out(topo, target):
    """They are capped at 512; a user who is there stays, and one who comes is served, as if nobody stood there."""
    with two_users(topo) as remote:
        control = remote.call(topo.server)
        before, _ = opened(control.session, topo.server, target, b"")
        crowd = []
        for i in range(1000):
            s = connect(topo.server)
            if i % 2:
                s.sendall(b"\x02\x01\x00\x38" + bytes(20))
            crowd.append(s)
        wait_for(lambda: remote.counter("quiet_overflow") >= 1000 - STRANGERS_MAX, "all were accepted")
        assert remote.status()["strangers"] <= STRANGERS_MAX

        before.send(decode.DATA, b"still here")
        assert before.read() == (decode.DATA, b"still here")
        for _ in range(20):
            up, status = opened(control.session, topo.server, target)
            assert status == 0
            up.close()
        other = remote.call(topo.server, "b")
        assert opened(other.session, topo.server, target)[1] == 0
        assert remote.status()["strangers"] <= STRANGERS_MAX
        for s in crowd:
            abort(s)


def test_strangers_beyond_the_cap_while_judged_ones_hang(topo, target):
    """The same when all places are taken by those who were found out already."""
    with Remote(topo, a=Identity.new()) as remote:
        crowd = [connect(topo.server) for _ in range(STRANGERS_MAX + 100)]
        for s in crowd:
            try:
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            except OSError:
                pass  # the oldest had to make room
        wait_for(lambda: remote.counter("quiet") >= STRANGERS_MAX, "all were found out")
        control = remote.call(topo.server)
        assert opened(control.session, topo.server, target)[1] == 0
        assert remote.status()["strangers"] <= STRANGERS_MAX
        for s in crowd:
            abort(s)


def connect_times(session, ns, target, n):
    """Milliseconds from OPEN to ACCEPT, on connections that wait."""
    times = []
    for _ in range(n):
        up = session.attach(ns)
        begin = time.monotonic()
        assert up.open(SERVER4, target.port)["status"] == 0
        times.append(1e3 * (time.monotonic() - begin))
        up.close()
    return sorted(times)


def test_one_user_at_ten_times_his_cap_does_not_slow_the_other(topo, target):
    """He gets what is his and 0x140 for the rest; the other one's connects take no longer than twice their time."""
    with Remote(topo, a=Identity.new(), b=Identity.new(), caps={"a": "relays = 20\nopens = 50"}) as remote:
        a, b = (remote.call(topo.server, u).session for u in "ab")
        quiet = connect_times(b, topo.server, target, 100)
        stop, statuses = threading.Event(), []

        def storm():
            held = []
            while not stop.is_set():
                up, status = opened(a, topo.server, target)
                statuses.append(status)
                if status == 0:
                    held.append(up)
                else:
                    up.close()
        t = threading.Thread(target=storm)
        t.start()
        wait_for(lambda: len(statuses) >= 30, "the storm is on")
        busy = connect_times(b, topo.server, target, 100)
        wait_for(lambda: len(statuses) >= 200, "ten times the cap")
        stop.set()
        t.join()
        assert statuses.count(0) == 20 and set(statuses) == {0, NO_RESOURCES}
        assert statistics.median(busy) <= 2 * statistics.median(quiet) + 2, (quiet, busy)
        assert busy[98] <= 2 * quiet[98] + 20, (quiet, busy)  # this process is also the other user, in one interpreter


def test_one_too_many_waits_for_a_place(topo):
    """Through plait-local, which was told how many there may be: it is not asked for, and served when one ends. Those that are there live on."""
    with Pair(topo, remote_extra="relays = 3\n") as pair:
        with Target(topo.server) as target:
            mine = [connect(topo.lan, SERVER4, target.port) for _ in range(3)]
            for s in mine:
                s.sendall(b"mine")
                assert s.recv(10) == b"mine"
            dialled = target.dialled
            more = connect(topo.lan, SERVER4, target.port)
            more.sendall(b"one too many")
            wait_for(lambda: pair.local.status()["lan"]["waiting"] == 1, "it waits")
            assert target.dialled == dialled
            for s in mine:
                s.sendall(b"still")
                assert s.recv(10) == b"still"
            abort(mine.pop())
            assert more.recv(20) == b"one too many"
            assert pair.remote.status()["counters"]["refused_limit"] == 0
            for s in [more, *mine]:
                abort(s)
