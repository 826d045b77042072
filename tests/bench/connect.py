#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""How long until a fresh connection's first answer, direct and through plait, in round trips of line 1?"""
import argparse

import bench
from pair import Pair
from topology import Topology


def measure(topo, verb, count, interval):
    result = topo.peer(verb, count=count, interval=interval, deadline=120)
    return bench.percentile(result.get("ms", []), 0.5), bench.percentile(result.get("ms", []), 0.99), \
        result.get("failed", count)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--count", type=int, default=200)
    p.add_argument("--interval", type=float, default=0.03)
    p.add_argument("--clear", action="store_true")
    a = bench.arguments(p)
    rows = []
    with Topology() as topo:
        topo.serve()
        rtt = bench.percentile(topo.peer("ping", count=20)["ms"], 0.5)
        for system in ("direct", "plait"):
            pair = Pair(topo, **(bench.CLEAR if a.clear else {})) if system == "plait" else None
            if pair:
                pair.start()
            for verb in ("echo", "first"):
                p50, p99, failed = measure(topo, verb, a.count, a.interval)
                rows.append([f"{system} {verb}", p50, p99, p50 and p50 / rtt, p99 and p99 / rtt, failed])
            if pair:
                pair.stop()
    bench.report("A fresh connection's first answer", ["", "p50 ms", "p99 ms", "p50 RTT", "p99 RTT", "failed"], rows,
                 f"{a.count} connections each; line 1's RTT is {rtt:.1f} ms. echo: one byte there and back; "
                 "first: the server speaks first.", a.save)


if __name__ == "__main__":
    main()
