#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The floor: is the bond ever slower than its best line alone? A grid of unequal pairs.

For each pair plait carries one transfer over line A alone, over line B alone (the other one unplugged),
and over both. `floor` is both / the better line; `sum` is both / (A + B). Everything goes through the same
two daemons, so that congestion control and sealing are the same in all three. The bytes are those of --seconds
at the rates that were ordered, slow start and the tail included. Delays are one-way.
"""
import argparse
import time

import bench
from pair import Pair
from topology import Line, Topology, rate_bits, wait_for

GRID = {
    "equal": [Line("20M", "20M", 10), Line("20M", "20M", 10)],
    "delay x3": [Line("20M", "20M", 10), Line("20M", "20M", 30)],
    "rate 2:1": [Line("20M", "20M", 10), Line("10M", "10M", 20, queue_ms=100)],
    "rate 5:1": [Line("20M", "20M", 10), Line("4M", "4M", 30)],
    "rate 20:1": [Line("20M", "20M", 10), Line("1M", "1M", 10)],
    "rate 10:1": [Line("20M", "20M", 10), Line("2M", "2M", 10)],
    "rate 7:1": [Line("20M", "20M", 10), Line("3M", "3M", 20)],
    "10:1 far": [Line("20M", "20M", 10), Line("2M", "2M", 100)],
    "5:1 far": [Line("20M", "20M", 10), Line("4M", "4M", 200)],
    "3:1 far": [Line("20M", "20M", 10), Line("6M", "6M", 200)],
    "20:1 far": [Line("20M", "20M", 5), Line("1M", "1M", 200, queue_ms=1000)],
    "delay x20": [Line("20M", "20M", 10), Line("20M", "20M", 200)],
    "satellite": [Line("8M", "2M", 20), Line("20M", "5M", 400, queue_ms=500)],
    "short queues": [Line("20M", "20M", 10, queue_ms=20), Line("10M", "10M", 20, queue_ms=20)],
    "bloat": [Line("20M", "20M", 10), Line("5M", "5M", 20, queue_ms=1000)],
    "bloat x2": [Line("4M", "1M", 30, queue_ms=1000), Line("2M", "500k", 60, queue_ms=1000)],
    "loss 1+1": [Line("20M", "20M", 30, loss=1), Line("20M", "20M", 50, loss=1)],
    "loss 5": [Line("20M", "20M", 10), Line("20M", "20M", 30, loss=5)],
    "loss 2 slow": [Line("20M", "20M", 10), Line("5M", "5M", 50, loss=2)],
    "all bad": [Line("20M", "20M", 20), Line("2M", "2M", 300, loss=3, queue_ms=1000)],
    "bad first": [Line("2M", "2M", 200, loss=3, queue_ms=1000), Line("20M", "20M", 20)],
}
SETTLE_S = 3  # until the waiting connections know the lines as they are


def transfer(topo, way, rate, seconds):
    topo.forget()
    result = topo.peer(way, size=int(rate * seconds / 8), deadline=20 * seconds)
    return result["mbit"] if result.get("ok") else None


def alone(topo, way, line, seconds):
    other = topo.line[1 - line]
    other.unplug()
    try:
        time.sleep(SETTLE_S)
        return transfer(topo, way, rate_bits(getattr(topo.lines[line], way)), seconds)
    finally:
        other.plug()


def share(topo, before, way):
    """What line B carried of all bytes, in per cent."""
    moved = [line.bytes()[way] - b[way] for line, b in zip(topo.line, before)]
    return 100 * moved[1] / max(1, sum(moved))


def run_pair(name, way, a):
    with Topology(lines=GRID[name]) as topo:
        topo.serve()
        got = {"A": [], "B": [], "both": [], "share": []}
        with Pair(topo) as pair:
            wait_for(lambda: pair.local.status()["rules"] != "out", "interception")
            transfer(topo, way, topo.sum_bits(way), a.seconds)
            for _ in range(a.reps):
                for line, key in ((0, "A"), (1, "B")):
                    got[key].append(alone(topo, way, line, a.seconds))
                time.sleep(SETTLE_S)
                before = [line.bytes() for line in topo.line]
                got["both"].append(transfer(topo, way, topo.sum_bits(way), a.seconds))
                got["share"].append(share(topo, before, way))
                bench.progress(f"{name} {way}: " + "  ".join(f"{k} {bench.number(v[-1])}" for k, v in got.items()))
        return got


def row(name, way, got):
    m = {k: bench.median(v) for k, v in got.items()}
    best = max((m[k] for k in "AB" if m[k]), default=None)
    if not best or not m["both"]:
        return [f"{name} {way}", m["A"], m["B"], m["both"], None, None, m["share"]]
    return [f"{name} {way}", m["A"], m["B"], m["both"], m["both"] / best, m["both"] / ((m["A"] or 0) + (m["B"] or 0)), m["share"]]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pair", action="append", choices=GRID, help="only these")
    p.add_argument("--way", choices=["down", "up"])
    p.add_argument("--seconds", type=float, default=6, help="of each transfer, at the rates that were ordered")
    a = bench.arguments(p)
    rows = [row(name, way, run_pair(name, way, a)) for name in a.pair or GRID for way in ([a.way] if a.way else ["down", "up"])]
    bench.report("The floor", ["pair", "A", "B", "both", "floor", "sum", "B's share %"], bench.with_kept(a, rows),
                 f"Mbit/s of payload, medians of {a.reps}.", a.save)


if __name__ == "__main__":
    main()
