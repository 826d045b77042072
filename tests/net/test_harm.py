# SPDX-License-Identifier: BSD-2-Clause
"""Fear: a bad second line makes the house slower than the good one alone, or a good one is taken for bad and never comes back."""
import contextlib
import time

from each import each
from inside import background, connect, listen, read_exactly
from test_roles import House
from topology import SERVER4, Line, wait_for


class Unequal(House):
    def __init__(self, *lines, **local_set):
        super().__init__(**local_set)
        self.topo.lines = list(lines)


def settled(house, name, want, seconds):
    wait_for(lambda: house.link(name)["state"] == want, f"{name} is {want}")


def test_a_line_that_slows_the_others_is_put_aside():
    """In the other direction see unit/base/test_weigh.c."""
    with Unequal(Line("20M", "20M", 10), Line("1M", "1M", 10)) as house:
        house.flow()
        settled(house, "wan2", "aside", 30)
        wait_for(lambda: house.rate(1, 0.5) < 20_000, "what was given to it has arrived")
        assert house.rate(0, 10) > 0.95 * 2.5e6  # a whole cycle of BBR, which stands still for 0.2 s of it (PROBE_RTT)
        assert house.rate(1, 2) < 20_000
        wan2 = house.link("wan2")
        assert "slows the others" in wan2["why"] and wan2["share_percent"] < 9, wan2  # NEAR in weigh.c
        assert house.pair.local.logged().count("by aside") == 1
        house.topo.line[0].unplug()  # it is better than nothing
        wait_for(lambda: house.rate(1, 0.5) > 60_000, "the line aside carries when the other is gone")
        house.topo.line[0].plug()
        wait_for(lambda: house.rate(0, 0.5) > 1_000_000, "the first carries again")
        assert house.link("wan2")["state"] == "aside"
        house.topo.gw.ip("addr del 192.168.2.2/24 dev wan2", "addr add 192.168.2.60/24 dev wan2", "addr del 2a11:2::2/64 dev wan2",
                         "addr add 2a11:2::60/64 dev wan2 nodad", "route replace default via 192.168.2.1 dev wan2 metric 200",
                         "route replace default via fe80::1 dev wan2 metric 200")
        settled(house, "wan2", "up", 10)  # for all that is known it is another line


def test_a_line_that_got_better_is_taken_back_when_there_is_more_to_carry():
    with Unequal(Line("10M", "10M", 10), Line("200k", "200k", 10)) as house:
        house.flow()
        settled(house, "wan2", "aside", 40)  # what the first can carry alone is not seen before the second has harmed it for a while
        time.sleep(10)
        for line in house.topo.line:
            line.set(down_rate="30M", up_rate="30M")
        settled(house, "wan2", "up", 20)
        house.carries(1, 8)
        wait_for(lambda: not house.link("wan2")["trial"], "the trial is over")
        assert house.link("wan2")["state"] == "up"
        assert house.rate(1) > 1_500_000


@each("lines", [  # equal ones; a satellite beside DSL
    (Line("20M", "20M", 10), Line("20M", "20M", 30)),
    (Line("8M", "2M", 20), Line("20M", "5M", 200, queue_ms=500)),
])
def test_a_line_that_brings_its_part_is_never_put_aside(lines):
    with Unequal(*lines) as house:
        house.flow()
        time.sleep(8)  # five seconds are enough for a verdict; a hundred of them stand in unit/base/test_weigh.c
        house.flow(up=True)
        time.sleep(6)
        house.end_flows()
        house.flow(rate=3e6 / 8)  # a film: the first line would do
        time.sleep(8)
        assert "by aside" not in house.pair.local.logged()


def serve_objects(sock):
    """So many bytes as are asked for, in four bytes of a question each."""
    while True:
        visitor, _ = sock.accept()
        background(answer_objects, visitor)


def answer_objects(visitor):
    with visitor, contextlib.suppress(OSError):
        while len(question := visitor.recv(80)) == 80:
            visitor.sendall(b"x" * int(question))


def load(conn, sizes):
    for size in sizes:
        conn.sendall(b"%80d" % size)
        read_exactly(conn, size)


def load_page(topo):
    """Sixty objects of 3 to 33 KB over six kept connections, as a browser does."""
    conns = [connect(topo.lan, SERVER4, 9080) for _ in range(6)]
    loading = [background(load, c, [3000 + 500 * ((7 * n + i) % 60) for n in range(10)]) for i, c in enumerate(conns)]
    for t in loading:
        t.join()
    for c in conns:
        c.close()


def test_browsing_judges_nobody():
    """Pages ask for little at a time, which the kernel puts on the first line: the second has shown nothing by carrying none of it."""
    with Unequal(Line("20M", "20M", 10), Line("20M", "20M", 30)) as house:
        with listen(house.topo.server, 9080) as sock:
            background(serve_objects, sock)
            for _ in range(15):
                load_page(house.topo)
                time.sleep(0.5)
        assert house.link("wan2")["state"] == "up", house.link("wan2")
        assert "by aside" not in house.pair.local.logged()
        house.flow()
        house.carries(1, 5)
