#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A line comes back, or gets another address, under one transfer that never ends: when do both lines carry again?

Two lines of 20 Mbit/s (10 and 30 ms, queues of 100 ms). `dead`: one swallows everything for so many seconds, and then no more.
`renumbered`: the gateway gets another address on it, as from DHCP. Told is from when on, counted from the heal or the change, the reader
gets a whole second's worth at 0.9 of what it got before, or at 0.9 of the summed rates (36 Mbit/s; frame headers leave 38.2), and whether
every byte was right and an idle connection of before still answers. Plain kernel MPTCP meets the same at the same time, in a house of its own.
"""
import argparse
import contextlib
import socket
import threading
import time

import bench
from failover import LINES, Plain, Plaits, Reader, _feed
from inside import background, read_exactly, reset
from topology import Topology

WARM_S, WATCH_S, WINDOW_S = 4.0, 6.0, 1.0
SHARE = 0.9
CEILING = 40e6 / 8


class Counting(Reader):
    """When how many bytes had come."""

    def __init__(self, s):
        self.got = [(time.monotonic(), 0)]
        super().__init__(s)

    def _read(self):
        with contextlib.suppress(OSError):
            while data := self.s.recv(1 << 17):
                self.check.add(data)
                self.got.append((self.check.at, self.check.size))

    def size_at(self, t):
        low, high = 0, len(self.got)
        while low < high:
            mid = (low + high) // 2
            low, high = (mid + 1, high) if self.got[mid][0] <= t else (low, mid)
        return self.got[max(0, low - 1)][1]

    def rate(self, begin, end):
        return (self.size_at(end) - self.size_at(begin)) / (end - begin)

    def full_from(self, begin, end, rate):
        """Seconds after `begin` from which on a second's bytes came at `rate` or more."""
        t = begin
        while t + WINDOW_S <= end:
            if self.rate(t, t + WINDOW_S) >= rate:
                return t - begin
            t += 0.02
        return None


class Plainly(Plain):
    """Endpoints that know the device's present address: what a script of a distribution would do at best."""

    def renumbered(self, line):
        topo = self.topo
        topo.gw.run(f"ip mptcp endpoint delete id {50 + line}")
        self.endpoint_now(line)

    def endpoint_now(self, line):
        out = self.topo.gw.run(f"ip -4 -o addr show dev wan{line + 1} | awk '{{print $4}}'").stdout.split()[0].split("/")[0]
        self.topo.gw.run(f"ip mptcp endpoint add {out} dev wan{line + 1} id {50 + line} subflow")


def dead(bed, line, seconds):
    bed.topo.line[line].set(hole="both")
    time.sleep(seconds)
    bed.topo.line[line].set(hole=None)


def renumber(bed, line, serial):
    """A lease of another address."""
    topo, dev = bed.topo, f"wan{line + 1}"
    old = topo.gw.run(f"ip -4 -o addr show dev {dev} | awk '{{print $4}}'").stdout.split()[0]
    net = topo.gateway(line).rsplit(".", 1)[0]
    topo.gw.ip(f"addr del {old} dev {dev}", f"addr add {net}.{50 + serial % 100}/24 dev {dev}",
               f"route replace default via {net}.1 dev {dev} metric {100 * (line + 1)}")
    if isinstance(bed, Plainly):
        bed.renumbered(line)


def once(bed, way, line, seconds, serial):
    """(full again as before, full again as the sum, all right)."""
    bed.topo.forget()
    idle = bed.open()
    near, far = bed.open()
    source, sink = (far, near) if way == "down" else (near, far)
    for s in (source, sink):
        s.settimeout(60)
    reader, halt = Counting(sink), threading.Event()
    writer = background(_feed, source, halt)
    time.sleep(WARM_S)
    usual = reader.rate(time.monotonic() - 2, time.monotonic())
    if seconds:
        dead(bed, line, seconds)
    else:
        renumber(bed, line, serial)
    begin = time.monotonic()
    time.sleep(WATCH_S)
    end = time.monotonic()
    halt.set()
    with contextlib.suppress(OSError):
        sent = writer.join(90)
        source.shutdown(socket.SHUT_WR)
        reader.thread.join(90)
    right = reader.check.exact and reader.check.size == sent and alive(*idle)
    for s in (near, far):
        s.close()
    return reader.full_from(begin, end, SHARE * usual), reader.full_from(begin, end, SHARE * CEILING), right


def alive(near, far):
    try:
        near.settimeout(10)
        near.sendall(b"still")
        ok = read_exactly(far, 5) == b"still"
    except (OSError, EOFError):
        return False
    reset(near)
    reset(far)
    return ok


def series(bed, name, way, line, seconds, a):
    runs = []
    for rep in range(a.reps):
        bed.heal()
        runs.append(once(bed, way, line, seconds, rep))
        bench.progress(f"{name} {way} line {line + 1} {seconds or 'renumbered'} {rep + 1}/{a.reps}: "
                       f"{bench.number(runs[-1][0], 2)} {bench.number(runs[-1][1], 2)} {runs[-1][2]}")
    return runs


def worst(values):
    return None if None in values else max(values)


def middle(values):
    """None is worse than any number."""
    ordered = sorted(values, key=lambda v: float("inf") if v is None else v)
    return ordered[len(ordered) // 2]


def case(way, line, seconds, a):
    what = f"dead {seconds:g} s" if seconds else "renumbered"
    with Topology(lines=LINES) as one, Topology(lines=LINES) as other:
        beds = [(n, make(t)) for n, make, t in (("plain", Plainly, one), ("plait", Plaits, other))
                if not (a.plait and n == "plain")]
        try:
            running = [(n, background(series, bed, n, way, line, seconds, a)) for n, bed in beds]
            results = [(n, t.join(a.reps * (seconds + 120))) for n, t in running]
        finally:
            for _, bed in beds:
                bed.stop()
    return [[f"{n} {way}, line {line + 1} {what}"] + [f([r[i] for r in runs]) for i in (0, 1) for f in (middle, worst)] +
            [sum(not r[2] for r in runs)] for n, runs in results]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--dead", type=float, action="append", default=[], help="seconds; may stand there several times")
    p.add_argument("--renumber", action="store_true")
    p.add_argument("--way", choices=["down", "up"])
    p.add_argument("--line", type=int, help="1 or 2")
    p.add_argument("--plait", action="store_true", help="plait only")
    a = bench.arguments(p)
    what = a.dead + ([0] if a.renumber else []) or [10, 0]
    rows = []
    for seconds in what:
        for way in [a.way] if a.way else ["down", "up"]:
            for line in [a.line - 1] if a.line else [0, 1]:
                rows += case(way, line, seconds, a)
    bench.report("A line comes back", ["case", "as before s", "worst", "the sum s", "worst", "wrong"], rows,
                 f"Seconds after the heal, or the change, from which on a whole second came at 0.9; medians and worst of {a.reps}; "
                 f"failed: not within {WATCH_S - WINDOW_S:.0f} s.", a.save)


if __name__ == "__main__":
    main()
