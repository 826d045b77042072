#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""How much of the summed rates does one download, or one upload, get? 4 s at the sum, slow start included.

First line 1 and line 2 alone (direct, by NAT; each with its share of the bytes, so 4 s too), then
plait over all lines. TCP's memory of the paths is flushed before each. Delays are one-way.
plait's own first transfer begins with the kernel's first window and teaches it the lines'; it stands in a column of its own.
"""
import argparse
import re
import time

import bench
from pair import Pair
from topology import Line, SERVER4, Topology, rate_bits

SETS = {
    "2x20": [Line("20M", "20M", 10), Line("20M", "20M", 30)],
    "2013": [Line("8.41M", "786k", 20), Line("8.76M", "746k", 20)],
    "unequal": [Line("10M", "10M", 15), Line("3M", "3M", 90)],
    "lossy": [Line("20M", "20M", 10, loss=1), Line("20M", "20M", 30)],
    "three": [Line("30M", "30M", 10), Line("20M", "20M", 20), Line("10M", "10M", 60)],
}
SECONDS = 4
RENEWED_S = 3  # until the waiting connections begin with what was learnt


def alone(topo, line, way, size):
    with bench.direct(topo, line):
        return transfer(topo, way, size)


def transfer(topo, way, size, host=SERVER4):
    topo.forget()
    result = topo.peer(way, host, size=size, deadline=60)
    return result["mbit"] if result.get("ok") else None


def windows(topo, way):
    """The first windows that are installed now."""
    if way == "down":
        text = topo.vps.run("ip route show table 25050").stdout
    else:
        text = "".join(topo.gw.run(f"ip route show table {25000 + i} default").stdout for i in range(len(topo.lines)))
    return " ".join(re.findall(r"initcwnd (\d+)", text)) or "kernel"


def run_set(name, way, reps, pair_options):
    with Topology(lines=SETS[name]) as topo:
        topo.serve()
        total = topo.sum_bits(way) / 1e6
        size = int(total * 1e6 * SECONDS / 8)
        results = {"alone 1": [], "alone 2": [], "plait": []}
        for _ in range(reps):
            for line in (0, 1):
                share = int(rate_bits(getattr(topo.lines[line], way)) * SECONDS / 8)
                results[f"alone {line + 1}"].append(alone(topo, line, way, share))
        with Pair(topo, **pair_options):
            results["first"] = [transfer(topo, way, size)]
            for rep in range(reps):
                time.sleep(RENEWED_S)
                results["plait"].append(transfer(topo, way, size))
                bench.progress(f"{name} {way} {rep + 1}/{reps}: {results['plait'][-1]}")
            learnt = windows(topo, way)
        return total, {k: bench.median(v) for k, v in results.items()}, results["plait"], learnt


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--set", action="append", choices=SETS, help="only these")
    p.add_argument("--way", choices=["down", "up"])
    p.add_argument("--congestion", default="", help="[relay] congestion of both daemons")
    a = bench.arguments(p)
    change = {"relay.congestion": a.congestion} if a.congestion else {}
    options = {"local_set": dict(change), "remote_set": dict(change)}
    rows = []
    for name in a.set or SETS:
        for way in [a.way] if a.way else ["down", "up"]:
            total, m, all_runs, learnt = run_set(name, way, a.reps, options)
            good = [x for x in all_runs if x]
            rows.append([f"{name} {way}", total, m["alone 1"], m["alone 2"], m["plait"],
                         m["first"] / total if m["first"] else None, m["plait"] / total if m["plait"] else None,
                         min(good) / total if len(good) == len(all_runs) else None,
                         max(good) / total if good else None, learnt])
    bench.report("One transfer over several lines", ["lines", "sum Mbit/s", "line 1", "line 2", "plait",
                                                     "first/sum", "plait/sum", "worst", "best", "windows"], rows,
                 f"Mbit/s of payload, medians of {a.reps}; 0.956 of the sum is what frame headers leave.", a.save)


if __name__ == "__main__":
    main()
