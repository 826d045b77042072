# SPDX-License-Identifier: BSD-2-Clause
"""Fears: long packets vanish on a line without anybody noticing; LAN hosts are told a wrong size, or none."""
import contextlib
import socket

import pytest

from each import each
import inside
import tunnel
from topology import SERVER4, Line, Topology, wait_for

LINES = [Line("20M", "20M", 10), Line("20M", "20M", 30)]
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14


@pytest.fixture(scope="module")
def topo():
    with Topology(lines=LINES) as t:
        tunnel.serve(t)
        yield t


@pytest.fixture
def lines(topo):
    yield topo.line
    for line in topo.line:
        line.set(mtu=0, loss=0)


@pytest.fixture
def engine(topo, lines):
    """Daemons of each test's own: a size that was found too small is not tried again for ten minutes."""
    with tunnel.Daemons(topo) as t:
        yield t


@each("mtu, inner", [(1492, 1440), (1280, 1280)])
def test_lines_of_pppoe_and_mobile(topo, lines, mtu, inner):
    lines[1].set(mtu=mtu)
    with tunnel.Daemons(topo, probed=mtu > 1280) as engine:
        wait_for(lambda: engine.mtu() == inner and engine.mtu("remote") == inner, f"inner MTU {inner}")


@pytest.mark.parametrize("way, side", [("up", "local"), ("down", "remote")])
def test_a_line_becomes_smaller(topo, engine, lines, way, side):
    verb = "send" if way == "up" else "pull"
    flow = tunnel.Flow(topo, verb, 300, 1390, seconds=60, wait=500)
    call = tunnel.Flow(topo, "call", 100, 160, seconds=3)
    before = engine.status(side)["classes"]["F"]["packets"]
    wait_for(lambda: engine.status(side)["classes"]["F"]["packets"] > before + 50, "the long ones are on their way")
    lines[0].set(**{way: {"mtu": 1400}})
    wait_for(lambda: engine.mtu(side) == 1348, "the smaller MTU")
    other = "remote" if side == "local" else "local"
    assert engine.mtu(other) == 1448  # each direction by itself
    before = lines[0].stats()[way]["mtu_drops"]
    went = engine.status(side)["classes"]["F"]["packets"]
    wait_for(lambda: engine.status(side)["classes"]["F"]["packets"] > went + 50, "they go on")
    assert lines[0].stats()[way]["mtu_drops"] - before < 50  # in pieces, or over the other line
    flow.process.kill()
    flow.process.communicate()
    assert call.result()["both"]["lost"] == 0


def test_the_lan_is_told(topo, engine, lines):
    lines[0].set(mtu=1400)
    lines[1].set(mtu=1400)
    wait_for(lambda: tunnel.flow(topo, "send", 200, 1390, count=60, wait=0) and engine.mtu() == 1348, "the smaller MTU")
    with inside.inside(topo.lan):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        s.connect((SERVER4, 9))
        with contextlib.suppress(OSError):  # it may know already
            s.send(bytes(1400))
        wait_for(lambda: s.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1348, "the LAN host learns 1348")
    assert tunnel.flow(topo, "call", 100, 1348 - 28, count=50)["both"]["lost"] == 0


def test_too_long_for_a_line_arrives_in_pieces():
    with Topology(lines=LINES[:1]) as single:
        single.line[0].set(mtu=1280)
        tunnel.serve(single)
        with tunnel.Daemons(single) as engine:
            wait_for(lambda: engine.paths()[0]["mtu"] == 1252, "1280 on the line")
            assert engine.mtu() == 1280
            r = tunnel.flow(single, "call", 100, 1280 - 28, count=50)
            assert r["both"]["lost"] == 0 and r["damaged"] == 0
