#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""How long does a stream stand still when a line dies in silence under it?

Two lines of 20 Mbit/s (10 and 30 ms, queues of 100 ms) carry one transfer at full rate; then one of them swallows
everything, both ways or one way, without a word. Told are the longest pause of the byte stream at its reader,
the longest pause of a small request and answer every 20 ms on a connection that was open before, and whether
every byte was right. `plain` is kernel MPTCP alone between the gateway and the VPS: endpoints, and nobody to judge the lines;
it meets the same at the same time in a house of its own.
"""
import argparse
import contextlib
import socket
import threading
import time

import bench
from inside import accept, background, connect, inside, listen, read_exactly, reset
from pair import Pair
from peer import Check, send_pattern
from topology import SERVER4, VPS4, Line, Topology, wait_for

LINES = [Line("20M", "20M", 10, queue_ms=100), Line("20M", "20M", 30, queue_ms=100)]
WARM_S, WATCH_S = 1.5, 2.0
ECHO_S = 0.02
CASES = [("down", line, hole) for line in (0, 1) for hole in ("both", "up", "down")] + \
    [("up", line, hole) for line in (0, 1) for hole in ("both", "up", "down")]


class Reader:
    """Reads a pattern to its end and remembers when bytes came."""

    def __init__(self, s, seed=1):
        self.s, self.check, self.at = s, Check(seed), []
        self.thread = background(self._read)

    def _read(self):
        with contextlib.suppress(OSError):
            while data := self.s.recv(1 << 17):
                self.check.add(data)
                self.at.append(self.check.at)

    def pause(self, begin, end):
        """The longest, of those that were not over before `begin`."""
        times = [t for t in self.at if t <= end]
        times.append(end)
        return max((b - a for a, b in zip(times, times[1:]) if b > begin), default=end - begin)


class Echo:
    """Asks every ECHO_S, each question answered before the next: (asked, answered)."""

    def __init__(self, near, far):
        self.near, self.far, self.over, self.trips = near, far, False, []
        self.threads = [background(self._ask), background(self._answer)]

    def _ask(self):
        with contextlib.suppress(OSError, EOFError):
            while not self.over:
                begin = time.monotonic()
                self.near.sendall(b"?" * 64)
                read_exactly(self.near, 64)
                self.trips.append((begin, time.monotonic()))
                time.sleep(max(0, begin + ECHO_S - time.monotonic()))

    def _answer(self):
        with contextlib.suppress(OSError, EOFError):
            while not self.over:
                self.far.sendall(read_exactly(self.far, 64))

    def pause(self, begin, end):
        """Between two answers, the question's own pace taken off."""
        times = [b for _, b in self.trips if b <= end] + [end]
        return max(b - a for a, b in zip(times, times[1:]) if b > begin)

    def stop(self):
        self.over = True
        for s in (self.near, self.far):
            reset(s)


class Plaits:
    """Connections from the LAN, through both daemons."""

    def __init__(self, topo, changes=None):
        self.topo = topo
        self.pair = Pair(topo, local_set=dict(changes or {}), remote_set=dict(changes or {})).start()
        wait_for(lambda: self.pair.local.status()["rules"] != "out", "interception")
        self.listener = listen(topo.server, 9000)

    def open(self):
        near = connect(self.topo.lan, SERVER4, 9000)
        near.sendall(b"hello")
        far = accept(self.listener)
        read_exactly(far, 5)
        return near, far

    def heal(self):
        """Waits until every line is found good again."""
        wait_for(lambda: all(l["standing"] == "in" for l in self.pair.local.status()["links"]), "all lines in")

    def stop(self):
        self.listener.close()
        self.pair.stop()


class Endpoints:
    """What lets the kernel's own Multipath TCP use every line of the gateway."""

    def __init__(self, topo):
        self.topo = topo
        for ns in (topo.gw, topo.vps):
            ns.run("ip mptcp limits set subflows 8; sysctl -qw net.mptcp.blackhole_timeout=0")
        for i in range(len(topo.lines)):
            self.endpoint(i)

    def endpoint(self, i):
        address = self.topo.wan_addresses(i)[0].split("/")[0]
        self.topo.gw.run(f"ip mptcp endpoint add {address} dev wan{i + 1} id {50 + i} subflow")

    def heal(self):
        """Nothing is there to wait for."""

    def stop(self):
        for i in range(len(self.topo.lines)):
            self.topo.gw.run(f"ip mptcp endpoint delete id {50 + i}")


class Plain(Endpoints):
    """Multipath TCP of the kernel from the gateway to the VPS."""

    def __init__(self, topo):
        super().__init__(topo)
        with inside(topo.vps):
            self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("", 9100))
        self.listener.listen(64)

    def open(self):
        with inside(self.topo.gw):
            near = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        near.settimeout(10)
        near.connect((VPS4, 9100))
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far = accept(self.listener)
        return near, far

    def stop(self):
        self.listener.close()
        super().stop()


def once(bed, way, line, hole):
    """(pause of the stream, pause of the echo, every byte right)."""
    topo = bed.topo
    topo.forget()
    echo = Echo(*bed.open())
    near, far = bed.open()
    source, sink = (far, near) if way == "down" else (near, far)
    sink.settimeout(30)
    source.settimeout(30)
    reader = Reader(sink)
    halt = threading.Event()
    writer = background(_feed, source, halt)
    time.sleep(WARM_S)
    begin = time.monotonic()
    topo.line[line].set(hole=hole)
    time.sleep(WATCH_S)
    end = time.monotonic()
    topo.line[line].set(hole=None)
    pauses = reader.pause(begin, end), echo.pause(begin, end)
    halt.set()
    sent = writer.join()
    source.shutdown(socket.SHUT_WR)
    reader.thread.join()
    exact = reader.check.exact and reader.check.size == sent
    echo.stop()
    near.close()
    far.close()
    bed.heal()
    time.sleep(1)
    return (*pauses, exact)


def _feed(s, halt):
    """The pattern until told to stop; how much."""
    sent = 0
    while not halt.is_set():
        send_pattern(s, 1, 100_000, offset=sent)
        sent += 100_000
    return sent


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--way", choices=["down", "up"])
    p.add_argument("--hole", choices=["both", "up", "down"])
    p.add_argument("--line", type=int)
    p.add_argument("--plain", action="store_true", help="plain only")
    p.add_argument("--plait", action="store_true", help="plait only")
    a = bench.arguments(p)
    rows = []
    cases = [c for c in CASES if (a.way or c[0]) == c[0] and (a.line is None or a.line == c[1]) and
             (a.hole or c[2]) == c[2]]
    for case in cases:
        rows += run(case, [(n, m) for n, m in (("plain", Plain), ("plait", Plaits)) if not (a.plain and n == "plait") and
                           not (a.plait and n == "plain")], a)
    bench.report("A line dies in silence", ["case", "stream ms", "worst", "echo ms", "worst", "wrong"], bench.with_kept(a, rows),
                 f"Longest pauses in the {WATCH_S:.0f} s after the death, medians and worst of {a.reps}.", a.save)


def series(name, bed, way, line, hole, reps):
    runs = []
    for rep in range(reps):
        runs.append(once(bed, way, line, hole))
        bench.progress(f"{name} {way} line {line + 1} {hole} {rep + 1}/{reps}: "
                       f"{runs[-1][0] * 1000:.0f} {runs[-1][1] * 1000:.0f} ms {runs[-1][2]}")
    return runs


def run(case, systems, a):
    """Both systems at the same time, each in a house of its own."""
    way, line, hole = case
    with contextlib.ExitStack() as stack:
        beds = []
        for name, make in systems:
            bed = make(stack.enter_context(Topology(lines=LINES)))
            stack.callback(bed.stop)
            beds.append((name, bed))
        running = [(name, background(series, name, bed, *case, a.reps)) for name, bed in beds]
        results = [(name, t.join(30 * a.reps)) for name, t in running]
    return [row(f"{name} {way}, line {line + 1} {hole}", runs) for name, runs in results]


def row(name, runs):
    stream, echo = [r[0] * 1000 for r in runs], [r[1] * 1000 for r in runs]
    return [name, bench.median(stream), max(stream), bench.median(echo), max(echo), sum(not r[2] for r in runs)]


if __name__ == "__main__":
    main()
