# SPDX-License-Identifier: BSD-2-Clause
"""What a house does all day: single objects, each on a fresh connection, and a page of sixty over six kept ones."""
import random
import time

import bench
from inside import background, connect
from peer import header, read_pattern
from topology import SERVER4, Line

# 20 and 60 ms there and back, queues of a hundred long packets.
LINES = [Line("20M", "20M", 10, queue_ms=60), Line("20M", "20M", 30, queue_ms=60)]
PORT, PATIENCE_S, REST_S = 7000, 30, 0.1
OBJECTS = {"20 KB": 20_000, "200 KB": 200_000, "1 MB": 1_000_000}
PAGE = random.Random(7).choices(range(3_000, 33_001), k=60)
PAGE_CONNECTIONS = 6


def fetch(topo, host, size):
    """Milliseconds from the first packet to the last byte."""
    begin = time.monotonic()
    with connect(topo.lan, host, PORT, PATIENCE_S) as s:
        s.sendall(header(f"down {size} 1"))
        return _took(read_pattern(s, 1), size, begin)


def _took(check, size, begin):
    assert check.exact and check.size == size, f"{check.size} of {size} bytes, {'right' if check.exact else 'wrong'}"
    return 1000 * (check.at - begin)


def page(topo, host):
    """The same for a page."""
    begin, waiting = time.monotonic(), iter(PAGE)
    return max(t.join() for t in [background(_some_of, topo, host, waiting, begin) for _ in range(PAGE_CONNECTIONS)])


def _some_of(topo, host, waiting, begin):
    """A connection that asks for what nobody has asked for yet, one after another; when its last byte came."""
    took = 0
    with connect(topo.lan, host, PORT, PATIENCE_S) as s:
        s.sendall(header("kept 0 1"))
        for size in waiting:
            s.sendall(header(str(size)))
            took = _took(read_pattern(s, 1, limit=size), size, begin)
    return took


KINDS = {name: lambda topo, host, size=size: fetch(topo, host, size) for name, size in OBJECTS.items()} | {"page": page}


def rounds(topo, count, host=SERVER4):
    """{kind: median ms} of `count` of each, in turns."""
    took = {kind: [] for kind in KINDS}
    for _ in range(count):
        for kind, ask in KINDS.items():
            topo.forget()
            took[kind].append(ask(topo, host))
            time.sleep(REST_S)
    return {kind: bench.median(values) for kind, values in took.items()}
