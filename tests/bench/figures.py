#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What plait promises, in one table and eight minutes: each figure with its bound, and whether it is kept.

Each is measured within the run against the same without plait, or against a house that only copies (the kernel's Multipath TCP
between bare relays), so that it means the same on every machine. Exit 1: a bound is not kept. What is measured while others use more
than a tenth of the machine is printed but not judged (`?`); exit 2.
"""
import argparse
import contextlib
import os
import sys
import time
import traceback
from typing import Callable, NamedTuple

import aggregate
import bench
import connect
import cpu
import everyday
import failover
import newcomer
import others
import plain
import rig
import tunnel
from inside import background
from pair import Pair
from topology import Topology, rate_bits, wait_for

BUSY = 10  # % of the machine's CPU that others may use meanwhile


class Bound(NamedTuple):
    what: str
    limit: float
    unit: str = ""
    least: bool = False

    def __str__(self):
        return f"{'>=' if self.least else '<='} {self.limit:g}{self.unit}"

    def kept(self, figure):
        return figure is not None and (figure >= self.limit if self.least else figure <= self.limit)


class Got(NamedTuple):
    """figure is what the bound is of; the others are for the reader."""
    figure: float | None
    plait: str
    beside: str


class Row(NamedTuple):
    """Figures that are measured together, for they share their houses; measure() tells {what: Got} of each bound."""
    measure: Callable
    bounds: list


def ratio(a, b):
    return a / b if a is not None and b else None


def middle(runs):
    """The median; of runs of which one failed there is none."""
    return None if None in runs else bench.median(runs)


def said(value, unit, digits=1):
    return f"{bench.number(value, digits)} {unit}"


def pair_in(topo, stack, **options):
    """A fresh pair that takes the LAN's connections."""
    pair = stack.enter_context(Pair(topo, **options))
    wait_for(lambda: pair.local.status()["rules"] != "out", "interception")
    return pair


def round_trip(topo, line):
    """Of a line alone, in ms."""
    server = topo.serve()
    try:
        with bench.direct(topo, line):
            return bench.percentile(topo.peer("ping", count=20)["ms"], 0.5)
    finally:
        server.kill()
        server.wait()


# --- a fresh connection's first byte ---

FIRST_COUNT = 150
VERBS = {"echo": "echo", "first": "server first"}
FIRST_BOUNDS = [Bound(f"first byte, {name}, {p}", limit, " RTT")
                for name in VERBS.values() for p, limit in (("p50", 1.1), ("p99", 1.5))]


def first_byte():
    with contextlib.ExitStack() as stack:
        topo = stack.enter_context(Topology())
        rtt = round_trip(topo, 0)
        topo.serve()
        direct = {verb: connect.measure(topo, verb, 20, 0.01)[0] for verb in VERBS}
        pair_in(topo, stack)
        got = {}
        for verb, name in VERBS.items():
            p50, p99, failed = connect.measure(topo, verb, FIRST_COUNT, 0.03)
            for p, ms in (("p50", p50), ("p99", p99)):
                got[f"first byte, {name}, {p}"] = Got(None if failed else ratio(ms, rtt), said(ms, "ms"),
                                                      f"direct {said(direct[verb], 'ms')}")
        return got


# --- a line dies in silence ---

STALL_MS = 250
WAYS = ("down", "up")
STALL_REPS = 3


def stall_name(way, line):
    return f"stall, {way}, line {line + 1} dead"


def stall_mute_name(way):
    return f"stall, {way}, a line dead one way"


STALL_BOUNDS = [Bound(name, STALL_MS, " ms") for way in WAYS for name in
                (stall_name(way, 0), stall_name(way, 1), stall_mute_name(way))]


def stalls(bed, way, cases):
    """The longest pause of each case, in ms; a byte that was wrong is no figure."""
    runs = [failover.once(bed, way, line, hole) for line, hole in cases]
    return [1000 * pause if exact else None for pause, _, exact in runs]


def at_once(jobs, limit):
    """{name: value} of {name: (function, arguments...)}, all at the same time."""
    running = {name: background(*job) for name, job in jobs.items()}
    return {name: t.join(limit) for name, t in running.items()}


@contextlib.contextmanager
def beds(make):
    """{way: a bed in a house of its own}"""
    with contextlib.ExitStack() as stack:
        made = {}
        for way in WAYS:
            made[way] = make(stack.enter_context(Topology(lines=failover.LINES)))
            stack.callback(made[way].stop)
        yield made


def stall():
    """Both directions at the same time, each in a house of its own: the machine is idle meanwhile but for them."""
    dead, mute = [(0, "both"), (1, "both")], [(line, hole) for line in (0, 1) for hole in ("up", "down")]
    with beds(failover.Plain) as made:
        plains = at_once({way: (stalls, bed, way, dead) for way, bed in made.items()}, 60)
    with beds(failover.Plaits) as made:
        runs = at_once({way: (stalls, bed, way, dead * STALL_REPS + mute) for way, bed in made.items()}, 300)
    got = {}
    for way in WAYS:
        for line in (0, 1):
            ms = middle(runs[way][:-len(mute)][line::2])
            got[stall_name(way, line)] = Got(ms, said(ms, "ms", 0), f"plain {said(plains[way][line], 'ms', 0)}")
        ms = middle(runs[way][-len(mute):])
        got[stall_mute_name(way)] = Got(ms, said(ms, "ms", 0), "")
    return got


# --- a new connection while the line of the default route is dead ---

NEWCOMER_REPS, NEWCOMER_COUNT = 2, 100
NEWCOMER_BOUNDS = [Bound("new connection, line 1 just dead", 70, " ms"), Bound("new connection, line 1 known dead", 1.1, " RTT")]


def beside_dead():
    with Topology(lines=failover.LINES) as topo:
        rtt = round_trip(topo, 1)
        bed = newcomer.PlaitHouse(topo)
        try:
            runs = [r for _ in range(NEWCOMER_REPS) for r in newcomer.once(bed, NEWCOMER_COUNT, False)]
        finally:
            bed.stop()
    just, known = ([took for at, took in runs if (at < newcomer.KNOWN_S) == early] for early in (True, False))
    p50 = [None if None in took else bench.percentile(took, 0.5) for took in (just, known)]
    beside = f"line 2 {said(rtt, 'ms')} RTT"
    figures = (p50[0] and p50[0] - rtt, ratio(p50[1], rtt))
    return {bound.what: Got(figure, said(ms, "ms"), beside) for bound, figure, ms in zip(NEWCOMER_BOUNDS, figures, p50)}


# --- transfers of four seconds ---

WARM_REPS = 1

def transfer_bounds(name):
    """No transfer is behind the best line; one that is not a fresh pair's first is not behind a house that only copies either, but for
    what one run differs from the next."""
    return [bound for way in WAYS for bound in (
        Bound(f"{name} {way}, cold, of the best line", 0.97, least=True),
        Bound(f"{name} {way}, warm, of the best line", 0.97, least=True),
        Bound(f"{name} {way}, warm, of plain", 0.95, least=True))]


def contenders(topo, way):
    """Lines that may be the best one: which is, loss decides."""
    rates = [rate_bits(getattr(line, way)) for line in topo.lines]
    return {i: rate for i, rate in enumerate(rates) if rate >= 0.9 * max(rates)}


def without_plait(topo):
    """{way: (the best line alone, the relays), Mbit/s}"""
    best, relays = {}, {}
    for way in WAYS:
        alone = [aggregate.alone(topo, i, way, int(rate * aggregate.SECONDS / 8)) for i, rate in contenders(topo, way).items()]
        best[way] = max((x for x in alone if x), default=None)
    with plain.Relays(topo):
        for way in WAYS:
            relays[way] = aggregate.transfer(topo, way, size_of(topo, way), plain.GATEWAY)
    return {way: (best[way], relays[way]) for way in WAYS}


def size_of(topo, way):
    return int(topo.sum_bits(way) * aggregate.SECONDS / 8)


def with_plait(topo):
    """{way: (cold, warm), Mbit/s}: a fresh pair for each way, for only its first transfer is cold."""
    got = {}
    for way in WAYS:
        with contextlib.ExitStack() as stack:
            pair_in(topo, stack)
            cold = aggregate.transfer(topo, way, size_of(topo, way))
            got[way] = cold, middle([warm(topo, way) for _ in range(WARM_REPS)])
    return got


def warm(topo, way):
    time.sleep(aggregate.RENEWED_S)
    return aggregate.transfer(topo, way, size_of(topo, way))


def transfers(name):
    """With plait and without at the same time, each in a house of its own."""
    with Topology(lines=aggregate.SETS[name]) as one, Topology(lines=aggregate.SETS[name]) as other:
        one.serve()
        other.serve()
        runs = at_once({"plait": (with_plait, one), "else": (without_plait, other)}, 180)
        sums = {way: one.sum_bits(way) / 1e6 for way in WAYS}
    got = {}
    for way in WAYS:
        (first, later), (best, relays) = runs["plait"][way], runs["else"][way]
        for what, mbit, beside, by in (("cold, of the best line", first, best, "direct"),
                                       ("warm, of the best line", later, best, "direct"), ("warm, of plain", later, relays, "plain")):
            got[f"{name} {way}, {what}"] = Got(ratio(mbit, beside), share_of(mbit, sums[way]),
                                               f"{by} {share_of(beside, sums[way])}")
    return got


def share_of(mbit, total):
    return "failed" if mbit is None else f"{mbit:.3g} Mbit/s, {mbit / total:.3f} of all"


# --- everyday: objects and a page ---

EVERYDAY_ROUNDS = 8
# What is promised today is what today's plait keeps on a fresh pair (.71 to .88, .76 to .94, .74 to .80, 1.05 to 1.17), so that a loss
# of it shows.
EVERYDAY_BOUNDS = [Bound("20 KB, of direct", 1.0), Bound("200 KB, of direct", 1.0), Bound("1 MB, of direct", 0.9),
                   Bound("page, of direct", 1.25)]


def small_without(topo):
    direct = everyday.rounds(topo, EVERYDAY_ROUNDS)
    with plain.Relays(topo):
        return direct, everyday.rounds(topo, EVERYDAY_ROUNDS // 2, plain.GATEWAY)


def small_with(topo):
    with contextlib.ExitStack() as stack:
        pair_in(topo, stack)
        return everyday.rounds(topo, EVERYDAY_ROUNDS)


def small():
    with Topology(lines=everyday.LINES) as one, Topology(lines=everyday.LINES) as other:
        one.serve()
        other.serve()
        runs = at_once({"plait": (small_with, one), "else": (small_without, other)}, 120)
    direct, relays = runs["else"]
    return {f"{kind}, of direct": Got(ratio(ms, direct[kind]), said(ms, "ms"),
                                      f"direct {said(direct[kind], 'ms')}, plain {said(relays[kind], 'ms')}")
            for kind, ms in runs["plait"].items()}


# --- a call at 5 % loss on both lines ---

CALL_PACKETS = 16000
CALL_BOUNDS = [Bound(f"call at 5+5 % loss, lost of {CALL_PACKETS}", 0), Bound("call at 5+5 % loss, p99", 35, " ms")]


def call():
    with Topology(lines=rig.TWO()) as topo:
        tunnel.serve(topo)
        for i, line in enumerate(topo.line):
            line.set(loss=5, up={"seed": 10 + i}, down={"seed": 20 + i})
        with bench.direct(topo):
            gone, count, alone = rig.calls(topo, 4, 500, 100, CALL_PACKETS // 4)
        with tunnel.Daemons(topo):
            lost, _, r = rig.calls(topo, 4, 500, 100, CALL_PACKETS)
    p99, p99_alone = (max(x[way]["p99"] for way in WAYS) for x in (r, alone))
    got = [Got(lost, str(lost), f"line 1 {rig.percent(gone, count):.1f} %"), Got(p99, said(p99, "ms"), f"line 1 {said(p99_alone, 'ms')}")]
    return {bound.what: g for bound, g in zip(CALL_BOUNDS, got)}


# --- CPU of the daemons per GB, against the bare relays ---

CPU_REPS, CPU_BYTES = 3, int(1e9)
# What sealing costs today beside copying alone, so that it does not grow (2.1 and 3.0 where others took a third of the machine).
CPU_BOUNDS = [Bound(f"CPU per GB, {way}, of bare relays", limit) for way, limit in zip(WAYS, (2.5, 3.3))]


def cpu_of(topo, system, host):
    """{way: (s/GB of both ends, Gbit/s)}"""
    got = {}
    for way in WAYS:
        runs = [cpu.bulk(topo, system, way, 1, CPU_BYTES, host=host) for _ in range(CPU_REPS)]
        got[way] = middle([r[0] and r[1] + r[2] for r in runs]), middle([r[0] for r in runs])
    return got


def cpu_per_gb():
    """With cubic: BBR crawls where nothing shapes the line."""
    with cpu.raise_topology() as topo:
        with plain.Relays(topo, cpu.PORT) as relays:
            bare = cpu_of(topo, relays, plain.GATEWAY)
        with contextlib.ExitStack() as stack:
            plait = cpu_of(topo, pair_in(topo, stack, **cpu.cubic({})), cpu.SERVER4)
    told = {name: {way: f"{said(s, 's/GB', 2)} at {said(gbit, 'Gbit/s')}" for way, (s, gbit) in runs.items()}
            for name, runs in (("plait", plait), ("bare", bare))}
    return {f"CPU per GB, {way}, of bare relays": Got(ratio(plait[way][0], bare[way][0]), told["plait"][way], told["bare"][way])
            for way in WAYS}


# --- CPU per packet of the tunnel, against a kernel's hop ---

SIDES = {"local": "gateway", "remote": "VPS"}
PACKET_BOUNDS = [Bound(f"CPU per tunnel packet, {who}, of a hop", limit) for who, limit in zip(SIDES.values(), (3.0, 2.0))]


def cpu_per_packet():
    """Everything on both lines, by the engine alone."""
    with rig.Rig() as r:
        hop = rig.hop(r, 1)
        with r.tunnel(redundancy="always") as tun:
            rig.used_ns(r, tun, "local", 90000, 30000)  # until it knows how fast the lines are
            ns = {side: rig.used_ns(r, tun, side, 240000, 60000)[0] for side in SIDES}
    return {bound.what: Got(ratio(ns[side], hop), said(ns[side], "ns", 0), f"hop {said(hop, 'ns', 0)}")
            for side, bound in zip(SIDES, PACKET_BOUNDS)}


ROWS = {
    "first-byte": Row(first_byte, FIRST_BOUNDS),
    "stall": Row(stall, STALL_BOUNDS),
    "newcomer": Row(beside_dead, NEWCOMER_BOUNDS),
    **{name: Row(lambda name=name: transfers(name), transfer_bounds(name)) for name in aggregate.SETS},
    "everyday": Row(small, EVERYDAY_BOUNDS),
    "call": Row(call, CALL_BOUNDS),
    "cpu-gb": Row(cpu_per_gb, CPU_BOUNDS),
    "cpu-packet": Row(cpu_per_packet, PACKET_BOUNDS),
}


# --- the table ---

def measured(name):
    """{what: Got}; what broke while it was measured is told, and has no figure."""
    try:
        return ROWS[name].measure()
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc()
        return {}


def lines_of(name):
    """A row's lines of the table."""
    watch = others.Watch()
    got = measured(name)
    seconds, load = watch.seconds, watch.percent()
    lines = []
    for bound in ROWS[name].bounds:
        g = got.get(bound.what, Got(None, "failed", ""))
        met = "?" if load > BUSY else "yes" if bound.kept(g.figure) else "NO"
        lines.append([bound.what, g.plait, g.beside, bench.number(g.figure, 2), str(bound), met, "", ""])
        bench.progress("  ".join(lines[-1]))
    lines[0][-2:] = f"{seconds:.0f}", f"{load:.0f}"
    bench.progress(f"{name}: {seconds:.0f} s, others took {load:.0f} % of the machine")
    return lines


def machine_before():
    """What others take before anything is measured, and what would spoil all."""
    watch = others.Watch()
    time.sleep(2)
    load, memory = watch.percent(), others.tcp_memory()
    print(f"before: others take {load:.0f} % of the machine's CPU (load average {os.getloadavg()[0]:.1f}); above {BUSY} % nothing is judged",
          flush=True)
    if memory > 0.5:
        print(f"TCP's memory is at {memory:.2f} of tcp_mem's limit, past which every socket fails: only a restart of the machine frees it",
              flush=True)
    return load


def list_rows():
    for name, row in ROWS.items():
        print(name)
        for bound in row.bounds:
            print(f"    {bound.what}: {bound}")


def verdict(lines):
    met = [line[5] for line in lines]
    return 1 if "NO" in met else 2 if "?" in met else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--row", action="append", choices=ROWS, help="only these")
    p.add_argument("--list", action="store_true", help="the rows and their bounds, without measuring")
    p.add_argument("--save", action="store_true", help="append the table to docs/benchmarks.md")
    a = p.parse_args()
    if a.list:
        return list_rows()
    begin, load = time.monotonic(), machine_before()
    lines = [line for name in a.row or ROWS for line in lines_of(name)]
    bench.report("What plait promises", ["", "plait", "beside", "figure", "bound", "met", "s", "others %"], lines,
                 f"{time.monotonic() - begin:.0f} s in all. Others took {load:.0f} % of the machine's CPU before; where they took more than "
                 f"{BUSY} % nothing is judged (?).\nplain: kernel Multipath TCP between bare relays; of all: of the lines' summed rates.", a.save)
    return verdict(lines)


if __name__ == "__main__":
    sys.exit(main())
