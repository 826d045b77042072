#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The VPS falls silent under a house that opens ten pages a second, and comes back 15 s later."""
import argparse
import time

import bench
from pair import Pair
from surfer import PAGES, Mirror, Surfer, page, vps_back, vps_gone
from topology import Line, Topology, wait_for


def away(topo, awake):
    """Seconds until the first direct page, until the first relayed one again, and from the first page that failed to the last."""
    if not awake:
        time.sleep(8)
    surfer = Surfer(topo) if awake else None
    time.sleep(2)
    vps_gone(topo)
    surfer = surfer or Surfer(topo)
    gone = surfer.now()
    time.sleep(15)
    back = surfer.now()
    vps_back(topo)
    wait_for(lambda: surfer.first("relayed", back), "a relayed page")
    time.sleep(1)
    pages = surfer.stop()
    bad = [p for p in pages if p[2] not in ("relayed", "direct")]
    refused = bad[-1][1] - bad[0][0] if bad else 0.0
    return surfer.first("direct", gone) - gone, surfer.first("relayed", back) - back, refused, len(bad), len(pages)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    a = bench.arguments(p)
    rows = []
    with Topology(lines=[Line("50M", "50M", 10), Line("50M", "50M", 20)]) as topo:
        mirror = Mirror(topo.server, PAGES)
        for name, awake in (("under way", True), ("house asleep", False)):
            runs = []
            for i in range(a.reps):
                with Pair(topo) as pair:
                    wait_for(lambda: pair.local.status()["rules"] != "out" and page(topo) == "relayed", "interception")
                    runs.append(away(topo, awake))
                bench.progress(f"{name} {i + 1}: " + ", ".join(bench.number(v, 2) for v in runs[-1]))
            for what, column in (("median", bench.median), ("worst", max)):
                rows.append([f"{name}, {what}"] + [column([r[i] for r in runs]) for i in range(4)])
        mirror.listener.close()
    bench.report("The VPS gone and back", ["", "direct after s", "relayed after s", "refused for s", "pages failed"], rows,
                 f"{a.reps} repetitions each, ten pages begun a second. Asleep: nobody asked for 10 s before.", a.save)


if __name__ == "__main__":
    main()
