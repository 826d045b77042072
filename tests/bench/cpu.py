#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What does plait cost? CPU per GB, short connections per second, memory of idle relays. Lines are veth pairs."""
import argparse
import json
import subprocess

import bench
import topology
from pair import Pair
from topology import Line, SERVER4, Topology

PORT = 8443  # of TLS: where CLEAR is allowed the first bytes are waited for, however busy the machine is
UNLIMITED = [Line(), Line()]


def raise_topology():
    topo = Topology(lines=UNLIMITED, emulate=False, congestion="cubic").start()
    for ns in topo.ns.values():
        ns.run("echo 2 > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait", check=False)
        ns.run("echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range; "
               "echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse; echo 65535 > /proc/sys/net/core/somaxconn")
    server = topo.server.popen(f"ulimit -n $(ulimit -Hn); exec {topology.TOOLS}/loadgen serve {PORT}",
                               stdout=subprocess.PIPE)
    assert server.stdout.readline() == "ready\n"
    return topo


def cubic(options):
    """The pair's options with cubic on every leg, and without the limit on opens."""
    out = {k: dict(options.get(k, {})) for k in ("local_set", "remote_set")}
    for side in out.values():
        side["relay.congestion"] = "cubic"
    out["remote_set"]["user home.opens"] = 100000  # the daemons are measured, not the limit
    return out


def bulk(topo, pair, way, streams, size, tls=(), host=SERVER4):
    """(Gbit/s, daemon CPU s/GB local, remote) or Nones."""
    before = [d.cpu_seconds() for d in (pair.local, pair.remote)] if pair else [0, 0]
    r = bench.loadgen(topo.lan, topology, "bulk", host, PORT, way, streams, size // streams, *tls)
    after = [d.cpu_seconds() for d in (pair.local, pair.remote)] if pair else [0, 0]
    if r["failed"]:
        return None, None, None
    gb = r["bytes"] / 1e9
    return 8 * gb / r["seconds"], (after[0] - before[0]) / gb, (after[1] - before[1]) / gb


def bulk_rows(name, options, reps, size):
    topo = raise_topology()
    with topo:
        pair = Pair(topo, **cubic(options)).start() if name != "direct" else None
        for streams in (1, 8):
            for way in ("down", "up"):
                runs = [bulk(topo, pair, way, streams, size, ["tls"] if name == "CLEAR" else []) for _ in range(reps)]
                gbit, local, remote = (bench.median([r[i] for r in runs]) for i in range(3))
                both = local + remote if local is not None else None
                bench.progress(f"{name} {way} x{streams}: {runs}")
                yield [f"{name} {way} x{streams}", gbit, local, remote, both, sum(r[0] is None for r in runs),
                       bench.in_clear(pair)]
        if pair:
            pair.stop()


def rate_row(name, options, reps, seconds, concurrency):
    topo = raise_topology()
    with topo:
        pair = Pair(topo, **cubic(options)).start() if name != "direct" else None
        runs, micro = [], []
        for _ in range(reps):
            before = sum(d.cpu_seconds() for d in (pair.local, pair.remote)) if pair else 0
            r = bench.loadgen(topo.lan, topology, "rate", SERVER4, PORT, concurrency, seconds)
            after = sum(d.cpu_seconds() for d in (pair.local, pair.remote)) if pair else 0
            bench.progress(f"{name} rate: {r}")
            if r.get("connections"):
                runs.append(r)
                micro.append(1e6 * (after - before) / r["connections"])
        if pair:
            pair.stop()
    return [name] + [bench.median([r[k] for r in runs]) for k in ("per_second", "p50", "p99")] + \
        [sum(r["failed"] for r in runs), bench.median(micro)]


def idle_row(count):
    topo = raise_topology()
    options = cubic({})
    options["local_set"]["lan.max_relays"] = options["remote_set"]["remote.max_relays"] = count + 1000
    options["remote_set"]["user home.relays"] = count + 1000
    with topo, Pair(topo, **options) as pair:
        daemons = (pair.local, pair.remote)
        before = [d.pss_kib() for d in daemons]
        p = topo.lan.popen([topology.TOOLS / "loadgen", "idle", SERVER4, PORT, count], stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE)
        held = json.loads(p.stdout.readline() or '{"held": 0}')["held"]
        after = [d.pss_kib() for d in daemons]
        out, _ = p.communicate(timeout=120)
        alive = json.loads(out or '{"alive": 0}')["alive"]
        each = [(y - x) / held if held else None for x, y in zip(before, after)]
    return [f"{count} idle", held, alive, *each]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--size", type=float, default=2, help="GB a transfer")
    p.add_argument("--seconds", type=float, default=3)
    p.add_argument("--concurrency", type=int, default=64)
    p.add_argument("--idle", type=int, default=5000)
    p.add_argument("--part", action="append", choices=["bulk", "rate", "idle"])
    a = bench.arguments(p)
    parts = a.part or ["bulk", "rate", "idle"]
    systems = {"direct": {}, "SEALED": {}, "CLEAR": bench.CLEAR}
    if "bulk" in parts:
        rows = [row for n, o in systems.items() for row in bulk_rows(n, o, a.reps, int(a.size * 1e9))]
        bench.report("CPU per GB", ["", "Gbit/s", "local s/GB", "remote s/GB", "both s/GB", "failed", "in clear"], rows,
                     f"Medians of {a.reps} transfers of {a.size:g} GB; user and system time of the daemons; cubic. "
                     f"{bench.IN_CLEAR}", a.save)
    if "rate" in parts:
        rows = [rate_row(n, systems[n], a.reps, a.seconds, a.concurrency) for n in ("direct", "SEALED")]
        bench.report("Short connections", ["", "per s", "p50 ms", "p99 ms", "failed", "daemons us"], rows,
                     f"{a.concurrency} at a time for {a.seconds:g} s, medians of {a.reps}: connect, one byte there and "
                     "back, close.", a.save)
    if "idle" in parts:
        bench.report("Idle relays", ["", "held", "alive", "local KiB", "remote KiB"], [idle_row(a.idle)],
                     "PSS a relay; alive: answered one more byte at the end.", a.save)


if __name__ == "__main__":
    main()
