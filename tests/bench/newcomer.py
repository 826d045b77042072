#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""New connections while the line of the default route is silently dead: how long until their first byte?

Two lines (10 and 30 ms). The first swallows everything; connections are begun every 20 ms from then on: each asks for one byte, and the
answer's round trip over the line that lives is 60 ms. `at once` are those of the first 400 ms, in which the death has to be found out, `later` those
after. `idle` is a house in which nobody had asked for anything for 10 s before; `busy` one with a connection every 20 ms. Plain kernel MPTCP
between gateway and VPS tries ten, once each, and gives up after 30 s.
"""
import argparse
import socket
import time

import bench
from failover import LINES, Plain, Plaits
from inside import background, connect, inside, read_exactly
from topology import SERVER4, VPS4, Topology

EVERY_S, KNOWN_S, PATIENCE_S = 0.02, 0.4, 30


class PlaitHouse(Plaits):
    name = "plait"

    def __init__(self, topo):
        super().__init__(topo)
        self.server = topo.serve()

    def ask(self):
        near = connect(self.topo.lan, SERVER4, 7001, timeout=PATIENCE_S)
        try:
            near.sendall(b"x")
            return read_exactly(near, 1) == b"x"
        finally:
            near.close()


class PlainHouse(Plain):
    name = "plain"

    def __init__(self, topo):
        super().__init__(topo)
        self.answering = background(self._answer)

    def _answer(self):
        self.listener.settimeout(None)
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            background(self._one, s)

    @staticmethod
    def _one(s):
        with s:
            while data := s.recv(1):
                s.sendall(data)

    def ask(self):
        with inside(self.topo.gw):
            near = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        with near:
            near.settimeout(PATIENCE_S)
            near.connect((VPS4, 9100))
            near.sendall(b"x")
            return read_exactly(near, 1) == b"x"


def one(bed, results, begin):
    at = time.monotonic()
    try:
        ok = bed.ask()
    except (OSError, EOFError):
        ok = False
    results.append((at - begin, (time.monotonic() - at) * 1000 if ok else None))


def begun(bed, count, begin):
    """Connections, one every EVERY_S: [(begun s after `begin`, took ms or None)]."""
    results, threads = [], []
    for i in range(count):
        threads.append(background(one, bed, results, begin))
        time.sleep(max(0, begin + (i + 1) * EVERY_S - time.monotonic()))
    for t in threads:
        t.join(2 * PATIENCE_S)
    return results


def once(bed, count, busy):
    bed.topo.forget()
    if busy:
        begun(bed, 50, time.monotonic())
    else:
        time.sleep(10 if bed.name == "plait" else 0)
    bed.topo.line[0].set(hole="both")
    results = begun(bed, count, time.monotonic())
    bed.topo.line[0].set(hole=None)
    bed.heal()
    time.sleep(1)
    return results


def row(name, results):
    took = [t for _, t in results if t is not None]
    return [name, len(results), len(results) - len(took), bench.percentile(took, 0.5), bench.percentile(took, 0.99),
            max(took, default=None)]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=100, help="connections of each repetition")
    p.add_argument("--plait", action="store_true", help="plait only")
    a = bench.arguments(p)
    rows = []
    for make in [PlaitHouse] if a.plait else [PlainHouse, PlaitHouse]:
        with Topology(lines=LINES) as topo:
            bed = make(topo)
            try:
                plain = make is PlainHouse
                for busy in (False,) if plain else (False, True):
                    results = []
                    for rep in range(1 if plain else a.reps):
                        run = once(bed, 10 if plain else a.count, busy)
                        results += run
                        bench.progress(f"{bed.name} {'busy' if busy else 'idle'} {rep + 1}: " + str(
                            [bench.number(v, 0) for v in row("", run)[1:]]))
                    name = f"{bed.name}, {'busy' if busy else 'idle'}"
                    rows.append(row(name + ", at once", [r for r in results if r[0] < KNOWN_S]))
                    if not plain:
                        rows.append(row(name + ", later", [r for r in results if r[0] >= KNOWN_S]))
            finally:
                bed.stop()
    bench.report("New connections while the first line is dead", ["", "begun", "failed", "first byte p50 ms", "p99", "worst"], rows,
                 f"{a.reps} repetitions of {a.count}. Given up after {PATIENCE_S} s.", a.save)


if __name__ == "__main__":
    main()
