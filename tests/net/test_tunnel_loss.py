# SPDX-License-Identifier: BSD-2-Clause
"""Fears: packets are lost though another line would have carried them; a line that dies in silence is heard. That real daemons on real lines do it at
all; how much is lost and how late the rest is, tests/unit/tunnel/test_tunnel_loss.c says, by a clock of its own."""
import pytest

import tunnel
from topology import Line, Topology, wait_for

LINES = [Line("20M", "20M", 10), Line("20M", "20M", 30)]
FAIR = {"loss": 0, "outage": 0, "reorder": 0, "duplicate": 0, "jitter": 0, "corrupt": 0, "mtu": 0}


@pytest.fixture(scope="module")
def engine(topo):
    tunnel.serve(topo)
    with tunnel.Daemons(topo) as t:
        yield t


@pytest.fixture
def lines(topo, engine):
    yield topo.line
    for live, spec in zip(topo.line, topo.lines):
        live.set(hole=None, delay=spec.delay_ms, down_rate=spec.down, up_rate=spec.up, **FAIR)
    engine.wait_up()


def counted(engine, side, name, kind="R"):
    return engine.status(side)["classes"][kind][name]


def grown(engine, side, name, kind="R"):
    """A question that is answered by how much that has grown meanwhile."""
    before = counted(engine, side, name, kind)
    return lambda: counted(engine, side, name, kind) - before


def test_two_bad_lines_make_a_good_one(topo, engine, lines):
    """A twentieth is lost on each, singly and in outages; of a call, nearly nothing: copies are at work."""
    for options in ({}, {"outage": 40}):
        for i, line in enumerate(lines):
            line.set(loss=5, up={"seed": i}, down={"seed": 9 + i}, **options)
        copies = grown(engine, "remote", "duplicates")
        r = tunnel.flow(topo, "call", 500, 100, count=500, wait=600)
        assert r["both"]["twice"] == 0 and r["both"]["lost"] <= 10  # 50, else
        assert copies() > 300 or options


FAR = [Line("8M", "8M", 70), Line("300k", "300k", 80)]  # the second has no room for copies, and a resend would be too late on both


def test_parity_where_both_sides_want_it():
    with Topology(lines=FAR) as topo:
        tunnel.serve(topo)
        for i, line in enumerate(topo.line):
            line.set(up={"seed": i}, down={"seed": 9 + i})
        needed = 0
        for remote in ("auto", "off"):
            for line in topo.line:
                line.set(loss=0)
            with tunnel.Daemons(topo, local_set={"tunnel.fec": "auto"}, remote_set={"tunnel.fec": remote}) as engine:
                for line in topo.line:
                    line.set(loss=5)
                if remote == "auto":
                    flow = tunnel.Flow(topo, "send", 500, 160, seconds=60, wait=0)
                    wait_for(lambda: counted(engine, "local", "parity") > 20 and counted(engine, "remote", "mended") > 5, "parity at work")
                    needed = counted(engine, "local", "packets")
                    flow.process.kill()
                    flow.process.communicate()
                else:
                    tunnel.flow(topo, "send", 500, 160, count=needed + 500, wait=0)
                    assert counted(engine, "local", "parity") == 0 and counted(engine, "remote", "mended") == 0


@pytest.mark.parametrize("way, line", [("both", 0), ("up", 1)])
def test_a_line_dies_in_silence(topo, engine, lines, way, line):
    through = grown(engine, "remote", "packets")
    call = tunnel.Flow(topo, "call", 200, 160, count=400)
    wait_for(lambda: through() > 100, "the call is held")
    lines[line].set(hole=way)
    wait_for(lambda: "down" in (engine.paths()[line]["state"], engine.paths("remote")[line]["state"]), "it is known")
    assert call.process.poll() is None or through() >= 400  # else nothing was proven
    assert call.result()["both"]["lost"] == 0
