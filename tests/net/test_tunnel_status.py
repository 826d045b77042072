# SPDX-License-Identifier: BSD-2-Clause
"""Fear: the numbers that are shown of the tunnel stand still, or are on the wrong line."""
import pytest

import tunnel
from topology import Line, Topology

ROW = {"packets", "copies", "lost", "received", "duplicates", "repaired", "late"}


@pytest.fixture(scope="module")
def topo():
    with Topology(lines=[Line("20M", "20M", 10), Line("20M", "20M", 30)]) as t:
        tunnel.serve(t)
        yield t


@pytest.fixture(scope="module")
def engine(topo):
    with tunnel.Daemons(topo) as t:
        yield t


def rows(engine, side="local"):
    return {(r["path"], r["class"]): r for r in engine.status(side)["by_class"]}


def test_each_line_and_class_counts(topo, engine):
    before, there = rows(engine), rows(engine, "remote")
    assert set(before) == {(line, c) for line in (0, 1) for c in "RFB"} and ROW < set(before[0, "R"])
    for i, line in enumerate(topo.line):
        line.set(loss=10, up={"seed": i}, down={"seed": 9 + i})
    call = tunnel.Flow(topo, "call", 200, 160, seconds=3, wait=400)
    bulk = tunnel.Flow(topo, "send", 300, 1200, seconds=3, wait=0)
    call.result(), bulk.result()
    for line in topo.line:
        line.set(loss=0)
    after, far = rows(engine), rows(engine, "remote")
    for line in (0, 1):
        assert after[line, "R"]["received"] + after[line, "R"]["duplicates"] > before[line, "R"]["received"] + 300
    assert sum(after[line, "R"]["packets"] - before[line, "R"]["packets"] for line in (0, 1)) >= 600  # each is first on one line
    assert sum(after[line, "R"]["copies"] - before[line, "R"]["copies"] for line in (0, 1)) >= 400
    assert sum(far[line, "F"]["received"] - there[line, "F"]["received"] for line in (0, 1)) > 500
    assert sum(far[line, "F"]["repaired"] + far[line, "R"]["repaired"] for line in (0, 1)) > 0
    assert after[0, "B"]["packets"] == before[0, "B"]["packets"]
