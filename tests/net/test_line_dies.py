"""Fear: a line dies without a word, and somebody in the house notices."""
import contextlib
import socket
import threading
import time

import pytest

from inside import accept, background, connect, end_of, read_exactly, reset
from peer import Check, send_pattern
from test_links import Bed
from topology import SERVER4, SLACK, Line, wait_for
from tunnelled import ping

TWO = [Line("20M", "20M", 10, queue_ms=100), Line("20M", "20M", 30, queue_ms=100)]
WARM_S = 1.0


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

    def pause(self, begin):
        """The longest that was not over before `begin`."""
        times = [*self.at, time.monotonic()]
        return max(b - a for a, b in zip(times, times[1:]) if b > begin)

    def finish(self, seconds=60):
        self.halt.set()
        self.writer.join(seconds)
        self.reader.join(seconds)
        assert (self.check.size, self.check.exact) == (self.sent, True)


def stream(bed, way):
    near, far = bed.through()
    return Stream(far, near) if way == "down" else Stream(near, far)


# --- fault list 48: one of two lines swallows everything, or one direction of everything ---

@pytest.mark.parametrize("way", ["down", "up"])
@pytest.mark.parametrize("line", [0, 1], ids=["first line", "second line"])
@pytest.mark.parametrize("hole", ["both", "up", "down"])
def test_a_stream_goes_on_within_a_second(bed, way, line, hole):
    s = stream(bed, way)
    time.sleep(WARM_S)
    begin = time.monotonic()
    bed.topo.line[line].set(hole=hole)
    wait_for(lambda: s.at[-1] > begin + 2, "the stream goes on")
    assert s.pause(begin) < 0.9 * SLACK
    s.finish()


def ask(s, seconds, every=0.02):
    """The longest that one of many small questions waited for its answer."""
    until, worst = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        begin = time.monotonic()
        s.sendall(b"?" * 64)
        read_exactly(s, 64)
        worst = max(worst, time.monotonic() - begin)
        time.sleep(every)
    return worst


def answer(s):
    with contextlib.suppress(OSError, EOFError):
        while True:
            s.sendall(read_exactly(s, 64))


@pytest.mark.parametrize("line", [0, 1], ids=["first line", "second line"])
def test_small_questions_beside_it_hardly_wait(bed, line):
    near, far = bed.through()
    background(answer, far)
    s = stream(bed, "down")
    asking = background(ask, near, WARM_S + 2)
    time.sleep(WARM_S)
    bed.topo.line[line].set(hole="both")
    assert asking.join() < 0.6 * SLACK
    s.finish()
    reset(near)


# --- new connections ---

def first_byte(bed, results):
    begin = time.monotonic()
    try:
        near = connect(bed.topo.lan, SERVER4, 7001)
        near.sendall(b"x")
        assert read_exactly(near, 1) == b"x"
        results.append((begin, time.monotonic() - begin))
        near.close()
    except (OSError, EOFError) as e:
        results.append((begin, repr(e)))


def test_a_hundred_new_connections_while_the_default_line_is_dead(bed):
    server = bed.topo.serve()
    results, threads = [], []
    try:
        bed.topo.line[0].set(hole="both")
        begin = time.monotonic()
        for _ in range(100):
            threads.append(background(first_byte, bed, results))
            time.sleep(0.02)
        for t in threads:
            t.join()
    finally:
        server.kill()
    took = [t for _, t in results]
    assert len(took) == 100 and all(isinstance(t, float) for t in took), took
    assert max(took) < 0.6 * SLACK
    known = sorted(t for b, t in results if b - begin > 0.4)
    assert known[len(known) // 2] < 0.09 * SLACK, "a round trip and a half of the line that lives is 90 ms"


def test_a_modem_that_answers_though_its_internet_is_dead(bed):
    """Carrier, address and gateway are there; nothing says that the line is of no use but that nothing comes back."""
    isp = bed.topo.isp[0]
    near, far = bed.through()
    isp.nft("table inet cut { chain f { type filter hook forward priority 0; drop; }; }")
    try:
        assert None not in ping(bed.topo.gw, bed.topo.gateway(0), count=1)
        wait_for(lambda: bed.link("wan1")["standing"] == "out", "line 1 is out")
        assert bed.link("wan1")["judge"] == "health"
        begin = time.monotonic()
        bed.carries(200_000, seconds=5)
        near.sendall(b"still there")
        assert read_exactly(far, 11) == b"still there"
        assert time.monotonic() - begin < 3 * SLACK
    finally:
        isp.nft("delete table inet cut")
    reset(near)
    reset(far)


# --- a line that a connection has lost before ---

@pytest.mark.parametrize("lost", [0, 1], ids=["first", "joined"])
def test_a_subflow_was_reset_and_then_the_other_line_dies(lost):
    """A box on the way may reset one subflow, and the kernel does not join it again by itself: the last line's death is survived all the same."""
    with Bed([Line("20M", "20M", 10), Line("20M", "20M", 60)]) as bed:  # connections begin on line 1, which is much nearer
        wait_for(lambda: all(l["standing"] == "in" for l in bed.local()["links"]), "all lines in")
        s = stream(bed, "down")
        time.sleep(WARM_S)
        bed.topo.gw.nft("table inet rude { chain o { type filter hook output priority 0; "
                        f"ip saddr 192.168.{lost + 1}.2 tcp dport 7200 "
                        "reject with tcp reset; }; }")
        time.sleep(0.5)
        bed.topo.gw.nft("delete table inet rude")
        time.sleep(0.5)
        begin = time.monotonic()
        bed.topo.line[1 - lost].set(hole="both")
        wait_for(lambda: bed.link(f"wan{2 - lost}")["standing"] == "out" and bed.link(f"wan{1 + lost}")["standing"] == "in", "one is left")
        wait_for(lambda: s.at[-1] > begin + 2, "the stream goes on")
        s.finish(30)


def unheard(ns, source):
    """Subflows from there on which something is not acknowledged."""
    out = ns.run(["ss", "-Htn", "state", "established", "src", source, "dport", "= :7200"]).stdout
    return [line for line in out.splitlines() if int(line.split()[1])]


def test_a_subflow_was_reset_under_a_request_and_then_the_other_line_dies():
    """So is the other line's death before the answer: a request that was served waits for it on its own connection."""
    with Bed([Line("20M", "20M", 10), Line("20M", "20M", 60)]) as bed:
        wait_for(lambda: all(l["path"]["state"] == "up" for l in bed.local()["links"]), "all lines up")
        wait_for(lambda: not bed.local()["uneasy"], "answers are not kept for a second asking")
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

def test_all_lines_dead_for_half_a_minute(bed):
    """Fault list 49: what was open goes on when the first of them is back."""
    s = stream(bed, "down")
    time.sleep(WARM_S)
    for line in bed.topo.line:
        line.set(hole="both")
    time.sleep(30)
    bed.topo.line[1].set(hole=None)
    begin = time.monotonic()
    wait_for(lambda: s.at[-1] > begin, "the stream goes on")
    bed.topo.line[0].set(hole=None)
    time.sleep(2)
    s.finish()


def test_unacknowledged_for_too_long_is_a_reset():
    """Fault list 50, with a shorter patience."""
    with Bed(TWO, {"local_set": {"relay.stall": "20s"}, "remote_set": {"relay.stall": "20s"}}) as bed:
        near, far = bed.through()
        for line in bed.topo.line:
            line.set(hole="both")
        near.sendall(b"x" * 100_000)
        far.sendall(b"x" * 100_000)
        begin = time.monotonic()
        assert end_of(near, 60) == "reset"
        assert end_of(far, 60) == "reset"
        assert 15 < time.monotonic() - begin < 50 * SLACK
