# SPDX-License-Identifier: BSD-2-Clause
"""Fear: a line comes back, or gets another address, and nothing of what runs uses it again."""
import time

import pytest

from each import each
from test_line_dies import TWO, stream
from test_links import Bed
from topology import wait_for

ENOUGH = 2_000_000  # most of a second of 20 Mbit/s


@pytest.fixture(scope="module", name="bed")
def _bed():
    with Bed(TWO) as b:
        wait_for(lambda: all_in(b), "all lines in")
        b.carries(8_000_000)  # the lines' windows are learnt
        yield b


def all_in(bed):
    return all(l["standing"] == "in" and l["path"]["state"] == "up" for l in bed.local()["links"])


def renumber(bed, line, host):
    topo, dev, net = bed.topo, f"wan{line + 1}", bed.topo.gateway(line).rsplit(".", 1)[0]
    old = topo.gw.run(f"ip -4 -o addr show dev {dev} | awk '{{print $4}}'").stdout.split()[0]
    topo.gw.ip(f"addr del {old} dev {dev}", f"addr add {net}.{host}/24 dev {dev}",
               f"route replace default via {net}.1 dev {dev} metric {100 * (line + 1)}")


def carried(bed, line):
    return bed.topo.line[line].bytes()["down"]


def uses_both_again(bed, s):
    """The transfer that runs, on both lines, soon."""
    before = [carried(bed, i) for i in (0, 1)]
    wait_for(lambda: all(carried(bed, i) - before[i] > ENOUGH for i in (0, 1)), "both lines carry the same transfer again")
    wait_for(lambda: all_in(bed), "all lines in, their probes answered")
    s.finish()


@each("line", [0, 1])
def test_another_address_under_a_running_transfer(bed, line):
    s = stream(bed, "down")
    renumber(bed, line, 60)
    uses_both_again(bed, s)


@each("line", [0, 1])
def test_a_line_that_was_dead_for_a_while(bed, line):
    s = stream(bed, "down")
    bed.topo.line[line].set(hole="both")
    wait_for(lambda: not all_in(bed), "its death is known")
    quiet = carried(bed, line)
    time.sleep(1.5)  # the kernel has begun to wait ever longer before it tries again
    assert carried(bed, line) == quiet
    bed.topo.line[line].set(hole=None)
    uses_both_again(bed, s)
