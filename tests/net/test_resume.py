# SPDX-License-Identifier: BSD-2-Clause
"""Fear: the line dies between a request and its answer. The request was served, so it may not be sent again; the client is not reset
all the same, since another connection takes it up."""
import contextlib
import time

import pytest

from inside import background
from pair import Pair
from plait_client import decode, open_plain, resume_plain, two_users
from test_process_faults import Orders, order
from topology import SERVER4, Line, wait_for, within

LINES = [Line("50M", "50M", 5), Line("50M", "50M", 15)]
DATA, OPEN, FIN = decode.DATA, decode.OPEN, decode.FIN
KEEP, WAS_RESET = 1, 0x160


@pytest.fixture
def remote(topo):
    """A new one for each test."""
    with two_users(topo) as r:
        yield r


@contextlib.contextmanager
def muted(topo, *ups):
    """Nothing the VPS says on these connections arrives any more."""
    ports = ", ".join(str(up.sock.getsockname()[1]) for up in ups)
    topo.vps.nft(f"table inet mute {{ chain o {{ type filter hook output priority 0; tcp dport {{ {ports} }} drop; }}; }}")
    try:
        yield
    finally:
        topo.vps.nft("delete table inet mute")


def resumed(topo, session, sid, ctr):
    up = session.attach(topo.server)
    up.send(OPEN, resume_plain(sid, ctr))
    return up


def test_an_answer_that_was_lost_is_said_again(topo, remote, session, target):
    before, old = target.dialled, session.attach(topo.server)
    with muted(topo, old):
        old.send(OPEN, open_plain(SERVER4, target.port, b"hello", reserved=KEEP))
        wait_for(lambda: target.dialled == before + 1 and target.first[-1:] == [b"hello"], "it was served")
        wait_for(lambda: remote.status()["dialling"] == 1, "it is kept")
        up = resumed(topo, session, session.sid, old.ctr)
        said = up.answer()
        assert (said["what"], said["status"]) == (1, 0)
        first = said["first"] or up.read()[1]
        assert first == b"hello"
        up.send(DATA, b" again")
        assert up.read() == (DATA, b" again")
    assert target.dialled == before + 1
    up.close()


def test_a_connection_that_was_reset_while_the_destination_is_dialled(topo, remote, session, target):
    before, old = target.dialled, session.attach(topo.server)
    topo.server.nft(f"table inet slow {{ chain i {{ type filter hook input priority 0; tcp dport {target.port} drop; }}; }}")
    old.send(OPEN, open_plain(SERVER4, target.port, b"one", reserved=KEEP))
    wait_for(lambda: remote.status()["dialling"] == 1, "it is dialled")
    old.close()
    time.sleep(0.4)  # it is looked at four times a second
    assert remote.status()["dialling"] == 1
    topo.server.nft("delete table inet slow")
    up = resumed(topo, session, session.sid, old.ctr)
    up.send(DATA, b"two")
    said = up.answer()
    assert said["status"] == 0
    got = said["first"]
    while len(got) < 6:
        got += up.read()[1]
    assert got == b"onetwo"
    assert target.dialled == before + 1
    up.close()


def test_a_house_whose_lines_are_uneasy(topo):
    """All subflows are reset between OPEN and ACCEPT; the order is served once, and answered."""
    orders = Orders(topo.server, 9200)
    with Pair(topo) as pair:
        wait_for(lambda: pair.local.status()["pool"]["warm"] >= 4, "warm connections")
        topo.line[1].unplug()
        wait_for(lambda: not pair.local.status()["links"][1]["up"], "line 2 is down")
        topo.line[1].plug()
        topo.gw.ip(*[f"addr replace {a} dev wan2" + (" nodad" if ":" in a else "") for a in topo.wan_addresses(1)], *topo.wan_routes(1))
        wait_for(lambda: pair.local.status()["links"][1]["up"], "line 2 is up")
        for i in range(12):  # the connection may also be joined by a line again before its OPEN is given up
            if i >= 3 and pair.local.status()["counters"]["opens_resumed"]:
                break
            name = b"order %d" % i
            wait_for(lambda: pair.local.status()["pool"]["warm"] >= 4, "warm connections")  # a cold one asks and waits before OPEN
            topo.vps.nft("table inet mute { chain o { type filter hook output priority 0; tcp sport 7200 drop; }; }")
            asking = background(order, topo, name)
            if not within(3, lambda: name in orders.seen):  # on a busy machine the lines were found dead before it left
                topo.vps.nft("delete table inet mute")
                assert asking.join()[0] == "done"
                continue
            for isp in topo.isp:
                isp.nft("table inet cut { chain f { type filter hook forward priority 0; tcp dport 7200 tcp flags & (syn | fin | rst) == 0 "
                        "reject with tcp reset; }; }")
            time.sleep(0.7)
            for isp in topo.isp:
                isp.nft("delete table inet cut")
            topo.vps.nft("delete table inet mute")
            assert asking.join(25)[0] == "done"
        assert orders.twice() == []
        assert pair.local.status()["counters"]["opens_resumed"] >= 1
