#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a line pays, in a day, while nobody in the house wants anything."""
import argparse
import time

import bench
from pair import Pair
from topology import Line, Topology

DAY = 86400
COUNTERS = """table inet paid {
 counter paid_tcp { }
 counter paid_udp { }
 chain out {
  type filter hook output priority -300
  oifname "wan*" tcp dport 7200 counter name paid_tcp
  oifname "wan*" udp dport 7200 counter name paid_udp
 }
 chain in {
  type filter hook input priority -300
  iifname "wan*" tcp sport 7200 counter name paid_tcp
  iifname "wan*" udp sport 7200 counter name paid_udp
 }
}"""


def paid(topo):
    """Bytes so far: of each line, then of all lines' TCP and UDP (without Ethernet's 14)."""
    lines = [sum(line.bytes().values()) for line in topo.line]
    kinds = [int(topo.gw.run(f"nft list counter inet paid paid_{k}").stdout.split("bytes ")[1].split()[0]) for k in ("tcp", "udp")]
    return lines + kinds


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--settle", type=float, default=330, help="seconds of rest before")
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--metered", action="store_true", help="line 2 is")
    a = bench.arguments(p)
    extra = {"link wan2.metered": "yes"} if a.metered else {}
    with Topology(lines=[Line(), Line(delay_ms=30)]) as topo:
        topo.serve()
        topo.gw.nft(COUNTERS)
        with Pair(topo, local_set=extra):
            assert topo.peer("echo", count=5)["ok"]
            time.sleep(a.settle)
            before = paid(topo)
            time.sleep(a.seconds)
            after = paid(topo)
    day = [(y - x) * DAY / a.seconds / 1e6 for x, y in zip(before, after)]
    names = ["line 1", "line 2" + (", metered" if a.metered else ""), "both: TCP", "both: UDP"]
    bench.report("A day of rest", ["", "MB a day"], [[n, d] for n, d in zip(names, day)],
                 f"Measured for {a.seconds:.0f} s, {a.settle:.0f} s after the last connection, both directions, Ethernet included "
                 "for the lines.", a.save)


if __name__ == "__main__":
    main()
