# SPDX-License-Identifier: BSD-2-Clause
"""Fear: a line dies without a word, and somebody in the house notices."""
import contextlib
import socket
import threading
import time

import pytest

from each import each
from inside import accept, background, connect, end_of, read_exactly, reset
from peer import Check, send_pattern
from test_links import Bed
from topology import SERVER4, Line, wait_for
from tunnelled import ping

TWO = [Line("20M", "20M", 10, queue_ms=100), Line("20M", "20M", 30, queue_ms=100)]


@pytest.fixture(scope="module", name="bed")
def _bed():
    with Bed(TWO) as b:
        wait_for(lambda: all(l["standing"] == "in" for l in b.local()["links"]), "all lines in")
        yield b


@pytest.fixture(autouse=True)
def _all_lines_in(request):
    yield
    if "bed" in request.fixturenames:
        bed = request.getfixturevalue("bed")
        for line in bed.topo.line:
            line.set(hole=None)
        wait_for(lambda: all(l["standing"] == "in" for l in bed.local()["links"]), "all lines in again")


class Stream:
    """A pattern from one hand to the other; when its bytes came, and whether they were right."""

    def __init__(self, source, sink):
        self.source, self.check, self.at, self.sent = source, Check(1), [time.monotonic()], 0
        self.halt = threading.Event()
        for s in (source, sink):
            s.settimeout(60)
        self.reader, self.writer = background(self._read, sink), background(self._write)

    def _write(self):
        while not self.halt.is_set():
            send_pattern(self.source, 1, 100_000, offset=self.sent)
            self.sent += 100_000
        self.source.shutdown(socket.SHUT_WR)

    def _read(self, sink):
        with contextlib.suppress(ConnectionResetError):
            while data := sink.recv(1 << 17):
                self.check.add(data)
                self.at.append(self.check.at)

    def finish(self, seconds=60):
        self.halt.set()
        self.writer.join(seconds)
        self.reader.join(seconds)
        assert (self.check.size, self.check.exact) == (self.sent, True)


def stream(bed, way):
    """On its way, over both lines."""
    near, far = bed.through()
    before = [line.bytes()[way] for line in bed.topo.line]
    s = Stream(far, near) if way == "down" else Stream(near, far)
    wait_for(lambda: all(line.bytes()[way] - b > 300_000 for line, b in zip(bed.topo.line, before)), "both lines carry it")
    return s


def goes_on(s):
    """A megabyte more arrives than had been written by now: what had been is through, whatever line it went by."""
    through = s.sent
    wait_for(lambda: s.check.size > through + 1_000_000, "the stream goes on")


# --- one of two lines swallows everything, or one direction of everything; how long that is noticed is a figure ---

@pytest.mark.parametrize("way, line, hole", [("down", 0, "both"), ("up", 1, "both"), ("down", 1, "up")])
def test_a_stream_goes_on(bed, way, line, hole):
    """With the kernel's own subflows; tests/sim has every direction, moment and mixture."""
    s = stream(bed, way)
    bed.topo.line[line].set(hole=hole)
    goes_on(s)
    s.finish()


def ask(s, count):
    """Many small questions, one after the other."""
    for _ in range(count):
        s.sendall(b"?" * 64)
        read_exactly(s, 64)


def answer(s):
    with contextlib.suppress(OSError, EOFError):
        while True:
            s.sendall(read_exactly(s, 64))


@pytest.mark.parametrize("line", [0, 1])
def test_small_questions_beside_it_are_answered(bed, line):
    near, far = bed.through()
    background(answer, far)
    s = stream(bed, "down")
    near.settimeout(20)
    ask(near, 20)
    bed.topo.line[line].set(hole="both")
    ask(near, 40)
    s.finish()
    reset(near)


# --- new connections ---

def first_byte(bed, results):
    try:
        near = connect(bed.topo.lan, SERVER4, 7001)
        near.sendall(b"x")
        assert read_exactly(near, 1) == b"x"
        results.append("served")
        near.close()
    except (OSError, EOFError) as e:
        results.append(repr(e))


def test_a_hundred_new_connections_while_the_default_line_is_dead(bed):
    server = bed.topo.serve()
    results, threads = [], []
    try:
        bed.topo.line[0].set(hole="both")
        for _ in range(100):
            threads.append(background(first_byte, bed, results))
            time.sleep(0.02)
        for t in threads:
            t.join()
    finally:
        server.kill()
    assert results == ["served"] * 100, results


def test_a_modem_that_answers_though_its_internet_is_dead(bed):
    """Carrier, address and gateway are there; nothing says that the line is of no use but that nothing comes back."""
    isp = bed.topo.isp[0]
    near, far = bed.through()
    isp.nft("table inet cut { chain f { type filter hook forward priority 0; drop; }; }")
    try:
        assert None not in ping(bed.topo.gw, bed.topo.gateway(0), count=1)
        wait_for(lambda: bed.link("wan1")["standing"] == "out", "line 1 is out")
        assert bed.link("wan1")["reason"] == "health"
        bed.carries(200_000)
        near.sendall(b"still there")
        assert read_exactly(far, 11) == b"still there"
    finally:
        isp.nft("delete table inet cut")
    reset(near)
    reset(far)


# --- a line that a connection has lost before ---

def grown(line, seconds):
    before = line.bytes()["down"]
    time.sleep(seconds)
    return line.bytes()["down"] - before


@each("lost", [0, 1])
def test_a_subflow_was_reset_and_then_the_other_line_dies(lost):
    """A box on the way may reset one subflow, and the kernel does not join it again by itself: the last line's death is survived all the same."""
    with Bed([Line("20M", "20M", 10), Line("20M", "20M", 60)]) as bed:  # connections begin on line 1, which is much nearer
        wait_for(lambda: all(l["standing"] == "in" for l in bed.local()["links"]), "all lines in")
        s = stream(bed, "down")
        bed.topo.gw.nft("table inet rude { chain o { type filter hook output priority 0; "
                        f"ip saddr 192.168.{lost + 1}.2 tcp dport 7200 "
                        "reject with tcp reset; }; }")
        wait_for(lambda: grown(bed.topo.line[lost], 0.3) < 30_000, "the subflow is gone")
        bed.topo.gw.nft("delete table inet rude")
        bed.topo.line[1 - lost].set(hole="both")
        wait_for(lambda: bed.link(f"wan{2 - lost}")["standing"] == "out" and bed.link(f"wan{1 + lost}")["standing"] == "in", "one is left")
        goes_on(s)
        s.finish(30)


def unheard(ns, source):
    """Subflows from there on which something is not acknowledged."""
    out = ns.run(["ss", "-Htn", "state", "established", "src", source, "dport", "= :7200"]).stdout
    return [line for line in out.splitlines() if int(line.split()[1])]


def test_a_subflow_was_reset_under_a_request_and_then_the_other_line_dies():
    """So is the other line's death before the answer: a request that was served waits for it on its own connection."""
    with Bed([Line("20M", "20M", 10), Line("20M", "20M", 60)]) as bed:
        wait_for(lambda: all(l["path"]["state"] == "up" for l in bed.local()["links"]), "all lines up")

        def is_easy():
            """Answers are not kept for a second asking."""
            now = bed.local()
            return not now["uneasy"] and now["pool"]["warm"] >= 4 and all(l["path"]["state"] == "up" for l in now["links"])
        bed.pair.leap_until(60, is_easy, "the house is easy", bed.pair.local)
        bed.topo.vps.nft("table inet mute { chain o { type filter hook output priority 0; tcp sport 7200 meta length > 90 drop; }; }")
        near = connect(bed.topo.lan, SERVER4, bed.listener.getsockname()[1], timeout=20)
        near.sendall(b"hello")
        far = accept(bed.listener)
        assert read_exactly(far, 5) == b"hello"
        far.sendall(b"yes?")
        assert unheard(bed.topo.gw, "192.168.1.2")
        bed.topo.gw.nft("table inet rude { chain o { type filter hook output priority 0; "
                        "ip saddr 192.168.1.2 tcp dport 7200 reject with tcp reset; }; }")
        # hello was not acknowledged by anything that came through, and is said again
        wait_for(lambda: not unheard(bed.topo.gw, "192.168.1.2"), "line 1 is lost to it")
        bed.topo.line[1].set(hole="both")
        bed.topo.gw.nft("delete table inet rude")
        bed.topo.vps.nft("delete table inet mute")
        assert read_exactly(near, 4) == b"yes?"
        reset(near)
        reset(far)


# --- all lines ---

def test_all_lines_dead_for_a_while(bed):
    """What was open goes on when the first of them is back. Longer than a session lasts, and than the pause until a line is tried again."""
    s = stream(bed, "down")
    for line in bed.topo.line:
        line.set(hole="both")
    time.sleep(12)
    arrived = s.check.size
    bed.topo.line[1].set(hole=None)
    wait_for(lambda: s.check.size > arrived, "the stream goes on")
    bed.topo.line[0].set(hole=None)
    goes_on(s)
    s.finish()


def test_unacknowledged_for_too_long_is_a_reset():
    """With a shorter patience than 90 s."""
    with Bed(TWO, {"local_set": {"relay.stall": "6s"}, "remote_set": {"relay.stall": "6s"}}) as bed:
        near, far = bed.through()
        for line in bed.topo.line:
            line.set(hole="both")
        near.sendall(b"x" * 100_000)
        far.sendall(b"x" * 100_000)
        begin = time.monotonic()
        assert end_of(near, 60) == "reset"
        assert end_of(far, 60) == "reset"
        assert time.monotonic() - begin > 4, "a line that pauses for a moment is no death"
