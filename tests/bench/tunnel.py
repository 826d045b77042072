#!/usr/bin/env python3
"""What is lost, late or slow in the UDP tunnel, on bad lines and on a line that dies; what it costs. Beside it what the lines alone do."""
import argparse
import subprocess
import time

import bench
import tunnel
from topology import Line, SERVER4, Topology, rate_bits

TWO = lambda **kw: [Line("20M", "20M", 10, **kw), Line("20M", "20M", 30, **kw)]  # noqa: E731
UNEVEN = [Line("10M", "10M", 15), Line("3M", "3M", 90)]
INNER = 1400  # bytes of a long inner packet
LONG = INNER - 28
OUTER = INNER + 52
GOAL_NOTE = "Packets are numbered and timed; both directions. goal: what the tunnel was built for."


class Direct:
    """No tunnel: the gateway's NAT over one line."""

    def __init__(self, topo, line=0):
        self.topo, self.line = topo, line

    def __enter__(self):
        self.topo.gw.ip(f"route replace {SERVER4} via {self.topo.gateway(self.line)} dev wan{self.line + 1}")
        return self

    def __exit__(self, *_):
        self.topo.gw.ip(f"route del {SERVER4}")


class Table:
    def __init__(self, title):
        self.title, self.rows = title, []

    def add(self, what, figure, goal="", good=None):
        self.rows.append([what, figure, goal, "" if good is None else "yes" if good else "NO"])
        bench.progress(f"{what}: {figure}" + (f" ({goal}: {self.rows[-1][3]})" if goal else ""))

    def report(self, note, save):
        bench.report(self.title, ["", "measured", "goal", "met"], self.rows, note, save)


def percent(lost, count):
    return 100 * lost / count


def calls(topo, n, pps, size, count):
    """`count` packets each way in n calls; lost, count, and the ways."""
    r = tunnel.flows(topo, n, "call", pps, size, count=count // n, wait=400)
    return r["up"]["lost"] + r["down"]["lost"], r["up"]["count"] + r["up"]["got"], r


def part_loss(t, a):
    n = a.packets
    for name, lines, bad, goal in (
            ("5 %+5 % random", TWO(), {"loss": 5}, 0.002),
            ("5 %+5 %, outages of 8 ms", TWO(), {"loss": 5, "outage": 8}, 0.01),
            ("5 %+5 %, outages of 40 ms", TWO(), {"loss": 5, "outage": 40}, 0.01)):
        with Topology(lines=lines) as topo:
            tunnel.serve(topo)
            for i, line in enumerate(topo.line):
                line.set(up={"seed": 10 + i}, down={"seed": 20 + i}, **bad)
            with Direct(topo):
                lost, count, _ = calls(topo, 4, 500, 100, n // 10)
                t.add(f"{name}: line 1 alone, lost %", percent(lost, count))
            with a.system(topo) as tun:
                lost, count, r = calls(topo, 4, 500, 100, n)
                t.add(f"{name}: R, lost % of {count}", percent(lost, count), f"<= {goal}", percent(lost, count) <= goal)
                if "outage" not in bad:
                    t.add(f"{name}: R, p50 ms", max(r[w]["p50"] for w in ("up", "down")), "<= 11", max(r[w]["p50"] for w in ("up", "down")) <= 11)
                    t.add(f"{name}: R, p99 ms", max(r[w]["p99"] for w in ("up", "down")), "<= 35", max(r[w]["p99"] for w in ("up", "down")) <= 35)
                t.add(f"{name}: delivered twice", r["both"]["twice"], "0", r["both"]["twice"] == 0)
                t.add(f"{name}: longest gap ms", max(r[w]["gap_ms"] for w in ("up", "down")))
                del tun


def part_ping(t, a):
    lines = [Line("20M", "20M", d) for d in (10, 20, 40)]
    with Topology(lines=lines) as topo:
        tunnel.serve(topo)
        for i, line in enumerate(topo.line):
            line.set(loss=5, up={"seed": 30 + i}, down={"seed": 40 + i})
        with Direct(topo):
            r = tunnel.flows(topo, 4, "call", 500, 64, count=a.packets // 40, wait=400)["both"]
            t.add("three lines of 5 %: ping over line 1, lost %", percent(r["lost"], r["count"]))
        with a.system(topo):
            r = tunnel.flows(topo, 4, "call", 500, 64, count=a.packets // 4, wait=400)["both"]
            p = percent(r["lost"], r["count"])
            t.add(f"three lines of 5 %: ping, lost % of {r['count']}", p, "<= 0.005", p <= 0.005)


def dead(topo, t, way, verb):
    """A call and bulk, and line 1 swallows everything from 3 s on."""
    call = tunnel.Flow(topo, "call", 200, 160, seconds=8, wait=400)
    bulk = tunnel.Flow(topo, verb, 800, LONG, seconds=8, wait=400)
    time.sleep(3)
    topo.line[0].set(hole=way)
    r, b = call.result(), bulk.result()
    topo.line[0].set(hole=None)
    lost = r["up"]["lost"] + r["down"]["lost"]
    gap = max(r[w]["gap_ms"] for w in ("up", "down"))
    # 5 ms between two packets, and the slower line is 20 ms behind.
    t.add(f"line 1 dead ({way}): R lost", lost, "0", lost == 0)
    t.add(f"line 1 dead ({way}): R gap ms", gap, "<= 30", gap <= 30)
    ways = ("up", "down") if verb == "call" else ("down",)
    lost, gap = sum(b[w]["lost"] for w in ways), max(b[w]["gap_ms"] for w in ways)
    t.add(f"line 1 dead ({way}): B 9 Mbit/s {verb}, lost", lost, "0", lost == 0)
    t.add(f"line 1 dead ({way}): B stall ms", gap, "<= 120", gap <= 120)


def part_dead(t, a):
    for way in ("both", "up", "down"):
        with Topology(lines=TWO()) as topo:
            tunnel.serve(topo)
            with a.system(topo):
                dead(topo, t, way, "call")


def part_idle(t, a):
    with Topology(lines=[Line("100M", "100M", 2), Line("100M", "100M", 12)]) as topo:
        tunnel.serve(topo)
        figures = {"direct": [], "plait": []}
        for _ in range(a.reps):
            with Direct(topo):
                figures["direct"].append(tunnel.flow(topo, "call", 50, 100, seconds=4)["both"]["p50"])
            with a.system(topo):
                figures["plait"].append(tunnel.flow(topo, "call", 50, 100, seconds=4)["both"]["p50"])
        added = (bench.median(figures["plait"]) - bench.median(figures["direct"])) / 2
        t.add("idle: added one-way latency, p50 ms", added, "<= 0.2", added <= 0.2)


def bulk(topo, n, mbit, seconds=8, verb="send", server=None):
    """n flows, together this many Mbit/s of inner packets: what the far end counted, the share, the overtaken."""
    pps = mbit * 1e6 / 8 / INNER / n
    if verb == "send":
        server = tunnel.serve(topo, port=7101)
        for f in [tunnel.Flow(topo, "send", int(pps), LONG, seconds=seconds, port=7101, wait=0) for _ in range(n)]:
            f.result()
        time.sleep(0.7)
        return tunnel.added([c["up"] for c in tunnel.counts(server)])
    return tunnel.flows(topo, n, "pull", int(pps), LONG, seconds=seconds)["down"]


def part_bulk(t, a):
    for name, lines, n, options, goal in (("2x20", TWO(), 8, {}, 0.95), ("2x20, one flow, aggregate", TWO(), 1, {"aggregate": "1"}, 0.95),
                                          ("10/15 + 3/90", UNEVEN, 8, {}, 0.9)):
        with Topology(lines=lines) as topo:
            tunnel.serve(topo)
            total = sum(rate_bits(line.down) for line in lines) / 1e6
            with a.system(topo, **options):
                for verb, way in (("send", "up"), ("pull", "down")):
                    r = bulk(topo, n, 0.9 * total, verb=verb)
                    share, over = r["got"] / r["count"], percent(r["overtaken"], max(1, r["got"]))
                    t.add(f"{name}: {n} flows at 90 % of the sum, {way}, delivered", share, f">= {goal}", share >= goal)
                    if goal == 0.95:
                        t.add(f"{name}: {way}, overtaken %", over, "< 1", over < 1)


def part_beside(t, a):
    for name, lines, slow in (("2x20", TWO(), 30), ("10/15 + 3/90", UNEVEN, 90)):
        with Topology(lines=lines) as topo:
            tunnel.serve(topo)
            total = sum(rate_bits(line.down) for line in lines) / 1e6
            with a.system(topo):
                flows = [tunnel.Flow(topo, verb, int(0.9 * total * 1e6 / 8 / INNER / 4), LONG, seconds=14, wait=400)
                         for verb in ["pull"] * 4 + ["send"] * 4]
                time.sleep(1)
                r = tunnel.flow(topo, "call", 100, 160, seconds=12)
                for f in flows:
                    f.result()
                for way in ("up", "down"):
                    t.add(f"{name}: call beside bulk both ways, {way}, p99 ms", r[way]["p99"], f"<= {slow + 10}", r[way]["p99"] <= slow + 10)
                lost = percent(r["both"]["lost"], r["both"]["count"])
                t.add(f"{name}: call beside bulk, lost %", lost, "<= 0.01", lost <= 0.01)


def part_arq(t, a):
    with Topology(lines=TWO()) as topo:
        tunnel.serve(topo)
        for i, line in enumerate(topo.line):
            line.set(loss=5, up={"seed": 50 + i}, down={"seed": 60 + i})
        with a.system(topo, redundancy="never"):
            before = [line.stats()["down"]["in_bytes"] for line in topo.line]
            r = tunnel.flow(topo, "pull", 700, LONG, count=a.packets // 2, wait=600)["down"]
            after = [line.stats()["down"]["in_bytes"] for line in topo.line]
    times = (sum(after) - sum(before)) / (r["count"] * (OUTER + 14))
    p = percent(r["lost"], r["count"])
    t.add(f"one bulk flow, resends only, 5 %: lost % of {r['count']}", p, "<= 0.02", p <= 0.02)
    t.add("... at so many times its bytes", times, "<= 1.12", times <= 1.12)


def part_mtu(t, a):
    with Topology(lines=TWO()) as topo:
        tunnel.serve(topo)
        with a.system(topo) as tun:
            capture = topo.line[0].stats()["up"]
            before = capture["in_bytes"], capture["in_frames"]
            tunnel.flow(topo, "send", 100, 1000, count=200, wait=0)
            del before
            t.add("inner MTU on lines of 1500", tun.mtu(), "1448", tun.mtu() == 1448)
            for mtu in (1400, 1300):
                flow = tunnel.Flow(topo, "send", 400, 1200, seconds=4, wait=0)
                time.sleep(0.5)
                topo.line[0].set(mtu=mtu)
                begun, goal = time.monotonic(), max(1280, mtu - 52)
                while tun.mtu() > goal + 20 and time.monotonic() < begun + 5:
                    time.sleep(0.01)
                took = time.monotonic() - begun
                flow.result()
                t.add(f"one line now {mtu}, ICMP filtered: inner MTU {tun.mtu()} after s", took, "<= 1", took <= 1)


def veth_topology(n=2):
    topo = Topology(lines=[Line() for _ in range(n)], emulate=False).start()
    for i, isp in enumerate(topo.isp):  # what the line's far end does is done on the other core
        topo.gw.run(["ethtool", "-K", f"wan{i + 1}", "tx-udp-segmentation", "off"], check=False)
        isp.run("echo 2 > /sys/class/net/line/queues/rx-0/rps_cpus", check=False)
    return topo


def sender_ns(topo, count, rules):
    """CPU ns a packet of a sender whose packets end where `rules` drop them."""
    topo.gw.nft(rules["gw"])
    topo.isp[0].nft(rules["isp"])
    r = tunnel.Flow(topo, "send", 0, LONG, count=count, wait=0).result()
    topo.gw.nft("delete table netdev stop")
    topo.isp[0].nft("delete table netdev stop")
    return 1e9 * r["cpu_s"] / count


DROP = 'table netdev stop {{ chain in {{ type filter hook ingress device "{}" priority 0; udp dport 7100 drop; }}; }}'
NONE = "table netdev stop { }"


def part_cpu(t, a):
    count = 300000
    topo = veth_topology()
    with topo:
        server = tunnel.serve(topo)
        with Direct(topo):
            near = bench.median([sender_ns(topo, count, {"gw": DROP.format("lan0"), "isp": NONE}) for _ in range(a.reps)])
            far = bench.median([sender_ns(topo, count, {"gw": NONE, "isp": DROP.format("line")}) for _ in range(a.reps)])
        hop = far - near
        t.add("one kernel forwarding hop, ns a packet", hop)
        with a.system(topo, redundancy="always") as tun:
            for side in ("local", "remote"):
                subprocess.run(["taskset", "-acp", "0" if side == "local" else "1", str(tun.pid(side))], capture_output=True, check=False)
            runs = []
            for _ in range(a.reps):
                before = [tunnel.cpu_seconds(tun.pid(s)) for s in ("local", "remote")]
                sent = tunnel.Flow(topo, "send", 60000, LONG, count=count, batch=16, wait=0).result()
                time.sleep(0.5)
                after = [tunnel.cpu_seconds(tun.pid(s)) for s in ("local", "remote")]
                runs.append([1e9 * (y - x) / sent["sent"] for x, y in zip(before, after)])
            status = tun.status("remote")
        local, remote = (bench.median([r[i] for r in runs]) for i in (0, 1))
        t.add("CPU, everything on two lines: gateway, ns a packet", local)
        t.add("... times the hop", local / hop, "<= 3.0", local / hop <= 3)
        t.add("CPU, everything on two lines: remote, ns a packet", remote)
        t.add("... times the hop", remote / hop, "<= 2.0", remote / hop <= 2)
        got = sum(c["up"]["got"] for c in tunnel.counts(server))
        t.add("... of which arrived", got / (count * a.reps))
        del status


def part_speed(t, a):
    topo = veth_topology()
    with topo:
        with a.system(topo, redundancy="never") as tun:
            for side in ("local", "remote"):
                subprocess.run(["taskset", "-acp", "0" if side == "local" else "1", str(tun.pid(side))], capture_output=True, check=False)
            best = 0
            for pps in (60000, 100000, 150000, 200000):
                server = tunnel.serve(topo)
                r = tunnel.Flow(topo, "send", pps, LONG, count=2 * pps, batch=32, wait=0).result()
                time.sleep(0.5)
                c = tunnel.counts(server)[0]["up"]
                gbit = 8e-9 * c["got"] * INNER / c["seconds"]
                best = max(best, gbit)
                bench.progress(f"{pps} pps offered: {gbit:.2f} Gbit/s, {c['got'] / r['sent']:.3f} arrived")
    t.add("UDP through it, Gbit/s", best, ">= 1", best >= 1)


def part_clients(t, a):
    with Topology(lines=TWO()) as topo:
        with tunnel.Bare(topo, local=["clients=100"], remote=["clients=100"]) as tun:
            time.sleep(15)  # the fast probes after the start are over
            before = tunnel.cpu_seconds(tun.pid("remote")), time.monotonic()
            time.sleep(20)
            used = (tunnel.cpu_seconds(tun.pid("remote")) - before[0]) / (time.monotonic() - before[1])
    t.add("100 idle clients: % of a core of the remote", 100 * used, "< 1", used < 0.01)


PARTS = {"loss": part_loss, "ping": part_ping, "dead": part_dead, "idle": part_idle, "bulk": part_bulk, "beside": part_beside,
         "arq": part_arq, "mtu": part_mtu, "cpu": part_cpu, "speed": part_speed, "clients": part_clients}


def bare(topo, **options):
    words = [f"{k}={v}" for k, v in options.items()]
    return tunnel.Bare(topo, local=words, remote=words)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--part", action="append", choices=PARTS, help="only these")
    p.add_argument("--packets", type=int, default=100000, help="of a figure of loss")
    p.add_argument("--engine", action="store_true", help="the engine alone, without the daemons")
    a = bench.arguments(p)
    a.system = bare
    t = Table("The UDP tunnel")
    for name in a.part or PARTS:
        PARTS[name](t, a)
    t.report(GOAL_NOTE, a.save)


if __name__ == "__main__":
    main()
