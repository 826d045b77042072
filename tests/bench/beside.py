#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Small things beside a transfer that fills every line: one packet, or one question, every 50 ms.

Two lines of 20 Mbit/s with 10 and 30 ms, whose modems hold 200 ms of packets. First the round trips of an idle house, then those
beside one transfer at full rate, through plait: datagrams (UDP through the tunnel) and questions on an open TCP connection. `direct` is
the same over the default route of the house alone, without plait.
"""
import argparse
import contextlib
import socket
import threading
import time

import bench
from failover import Echo, Plaits, _feed
from inside import accept, background, connect, inside, listen, read_exactly
from topology import SERVER4, Line, Topology

LINES = [Line("20M", "20M", 10, queue_ms=200), Line("20M", "20M", 30, queue_ms=200)]
EVERY_S, WARM_S = 0.05, 2.0


class Packets:
    """Datagrams to an echo at the server."""

    def __init__(self, topo):
        with inside(topo.server):
            self.far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.far.bind(("0.0.0.0", 9001))
        with inside(topo.lan):
            self.near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.near.connect((SERVER4, 9001))
        self.sent, self.back, self.over = {}, {}, False
        self.threads = [background(self._answer), background(self._hear)]

    def _answer(self):
        with contextlib.suppress(OSError):
            while not self.over:
                data, who = self.far.recvfrom(2048)
                self.far.sendto(data, who)

    def _hear(self):
        while not self.over:
            try:
                number = int(self.near.recv(2048)[:12])
            except OSError:
                continue
            self.back.setdefault(number, time.monotonic())

    def run(self, seconds):
        """Round trips in ms, None for those that never came."""
        first, until = len(self.sent), time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            number = len(self.sent)
            self.sent[number] = now
            with contextlib.suppress(OSError):
                self.near.send(b"%012d" % number + b"." * 148)
            time.sleep(max(0, now + EVERY_S - time.monotonic()))
        time.sleep(0.5)
        return [(self.back[n] - self.sent[n]) * 1000 if n in self.back else None for n in range(first, len(self.sent))]

    def stop(self):
        self.over = True
        for s in (self.near, self.far):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()


class Questions(Echo):
    def run(self, seconds):
        begin = time.monotonic()
        time.sleep(seconds)
        return [(b - a) * 1000 for a, b in list(self.trips) if a >= begin]

    def _ask(self):
        with contextlib.suppress(OSError, EOFError):
            while not self.over:
                begin = time.monotonic()
                self.near.sendall(b"?" * 64)
                read_exactly(self.near, 64)
                self.trips.append((begin, time.monotonic()))
                time.sleep(max(0, begin + EVERY_S - time.monotonic()))


class Direct:
    """No plait: the ordinary default route."""

    def __init__(self, topo):
        self.topo, self.listener = topo, listen(topo.server, 9000)

    def open(self):
        near = connect(self.topo.lan, SERVER4, 9000)
        near.sendall(b"hello")
        far = accept(self.listener)
        read_exactly(far, 5)
        return near, far

    def stop(self):
        self.listener.close()


def measure(make, way, a):
    """{what: [round trips of each repetition]}, and Mbit/s of the transfer."""
    got, rate = {"packets idle": [], "questions idle": [], "packets": [], "questions": []}, []
    with Topology(lines=LINES) as topo:
        bed = make(topo)
        packets, questions = Packets(topo), Questions(*bed.open())
        try:
            time.sleep(2)
            for rep in range(a.reps):
                topo.forget()
                both(got, " idle", packets, questions, a.seconds / 2)
                near, far = bed.open()
                source, sink = (far, near) if way == "down" else (near, far)
                halt, count = threading.Event(), [0]
                writer, reader = background(_feed, source, halt), background(_count, sink, count)
                time.sleep(WARM_S)
                before, begin = count[0], time.monotonic()
                both(got, "", packets, questions, a.seconds)
                rate.append((count[0] - before) * 8 / (time.monotonic() - begin) / 1e6)
                halt.set()
                writer.join()
                source.shutdown(socket.SHUT_WR)
                reader.join()
                near.close()
                far.close()
                bench.progress(f"{make.__name__} {way} {rep + 1}/{a.reps}: " + ", ".join(
                    f"{k} {bench.number(bench.percentile(finished(v[-1]), 0.99), 1)}" for k, v in got.items()) + f", {rate[-1]:.1f} Mbit/s")
        finally:
            packets.stop()
            questions.stop()
            bed.stop()
    return got, rate


def both(got, suffix, packets, questions, seconds):
    asking = background(questions.run, seconds)
    got["packets" + suffix].append(packets.run(seconds))
    got["questions" + suffix].append(asking.join())


def _count(s, count):
    s.settimeout(30)
    while data := s.recv(1 << 17):
        count[0] += len(data)


def finished(trips):
    return [t for t in trips if t is not None]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--way", choices=["down", "up"])
    p.add_argument("--seconds", type=float, default=10, help="of each repetition")
    a = bench.arguments(p)
    rows = []
    for way in [a.way] if a.way else ["down", "up"]:
        for name, make in (("direct", Direct), ("plait", Plaits)):
            got, rate = measure(make, way, a)
            for what in ("packets", "questions"):
                idle, busy = ([t for run in got[w] for t in run] for w in (what + " idle", what))
                rows.append([f"{name} {way}, {what}"] + [bench.percentile(finished(idle), 0.5)] +
                            [bench.percentile(finished(busy), q) for q in (0.5, 0.99)] +
                            [bench.median([bench.percentile(finished(r), 0.99) for r in got[what]]), busy.count(None),
                             bench.median(rate)])
    bench.report("Beside a full transfer", ["", "idle p50 ms", "p50", "p99", "p99, median run", "lost", "Mbit/s"], rows,
                 f"{a.reps} repetitions of {a.seconds:.0f} s; one every 50 ms.", a.save)


if __name__ == "__main__":
    main()
