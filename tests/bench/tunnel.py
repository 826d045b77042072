#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What is lost, late or slow in the UDP tunnel, on bad lines and on a line that dies; what it costs. Beside it what the lines alone do."""
import argparse
import re
import shutil
import subprocess
import time

import bench
import tunnel
from rig import INNER, LEFT, LONG, RIGHT, Rig, TWO, calls, hop, percent, used_ns
from topology import Line, SERVER4, Topology, VPS4, rate_bits, wait_for

UNEVEN = [Line("10M", "10M", 15), Line("3M", "3M", 90)]
OUTER = INNER + 52
GOAL_NOTE = "Packets are numbered and timed; both directions. goal: what the tunnel was built for."


class OpenVpn:
    """OpenVPN from the gateway to the VPS over one line, for comparison: TLS, AES-256-GCM, keys of its own."""

    def __init__(self, topo, near=None, far=VPS4, route=True):
        self.topo, self.near, self.far = topo, near or topo.wan_addresses(0)[0].split("/")[0], far
        self.route, self.ends = route, {}

    def _key(self, name):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        f"/CN={name}", "-keyout", self.tmp / f"{name}.key", "-out", self.tmp / f"{name}.crt"], check=True, capture_output=True)
        out = subprocess.run(["openssl", "x509", "-in", self.tmp / f"{name}.crt", "-noout", "-fingerprint", "-sha256"], check=True,
                             capture_output=True, text=True).stdout
        return out.strip().split("=")[1]

    def _run(self, side, ns, pin, *words):
        argv = ["openvpn", "--dev", "ovpn0", "--dev-type", "tun", "--proto", "udp", "--key", self.tmp / f"{side}.key", "--cert", self.tmp / f"{side}.crt",
                "--peer-fingerprint", pin, "--data-ciphers", "AES-256-GCM", "--tun-mtu", "1448", "--sndbuf", "4000000", "--rcvbuf", "4000000",
                "--txqueuelen", "1000", "--disable-dco", *words]
        self.ends[side] = ns.popen(argv, stdout=open(self.tmp / f"{side}.log", "w", encoding="utf-8"), stderr=subprocess.STDOUT)

    def __enter__(self):
        topo, gw, vps = self.topo, self.topo.gw, self.topo.vps
        self.tmp = topo.new_dir("openvpn")
        pins = {side: self._key(side) for side in ("local", "remote")}
        if self.route:
            gw.ip(f"route replace {self.far} via {topo.gateway(0)} dev wan1")
        vps.sysctl(net__ipv4__ip_forward=1)
        nat = "table ip ovpn {{ chain post {{ type nat hook postrouting priority srcnat; {} masquerade; }}; }}"
        gw.nft(nat.format('oifname "ovpn0"'))
        vps.nft(nat.format('ip saddr 10.97.0.0/24 oifname "eth0"'))
        self._run("remote", vps, pins["local"], "--tls-server", "--dh", "none", "--local", self.far, "--lport", "7400", "--ifconfig", "10.97.0.2", "10.97.0.1")
        self._run("local", gw, pins["remote"], "--tls-client", "--local", self.near, "--lport", "7401", "--remote", self.far, "7400",
                  "--ifconfig", "10.97.0.1", "10.97.0.2")
        wait_for(lambda: gw.run("ping -c 1 -W 1 10.97.0.2", check=False).returncode == 0, "OpenVPN")
        gw.ip(f"route replace {SERVER4} dev ovpn0")
        return self

    def pid(self, side):
        """Of the process in the namespace: popen's may be a wrapper."""
        p = self.ends[side].pid
        child = subprocess.run(["pgrep", "-P", str(p)], capture_output=True, text=True, check=False).stdout.split()
        return int(child[0]) if child else p

    def __exit__(self, *_):
        for p in self.ends.values():
            p.terminate()
            p.wait(10)
        self.topo.gw.nft("delete table ip ovpn")
        self.topo.vps.nft("delete table ip ovpn")
        if self.route:
            self.topo.gw.ip(f"route del {self.far}")


class Table:
    def __init__(self, title):
        self.title, self.rows = title, []

    def add(self, what, figure, goal="", good=None):
        self.rows.append([what, figure, goal, "" if good is None else "yes" if good else "NO"])
        bench.progress(f"{what}: {figure}" + (f" ({goal}: {self.rows[-1][3]})" if goal else ""))

    def report(self, note, save):
        bench.report(self.title, ["", "measured", "goal", "met"], self.rows, note, save)


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
            with bench.direct(topo):
                lost, count, _ = calls(topo, 4, 500, 100, n // 4)
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
        with bench.direct(topo):
            r = tunnel.flows(topo, 4, "call", 500, 64, count=a.packets // 40, wait=400)["both"]
            t.add("three lines of 5 %: ping over line 1, lost %", percent(r["lost"], r["count"]))
        with a.system(topo):
            r = tunnel.flows(topo, 4, "call", 500, 64, count=a.packets // 4, wait=400)["both"]
            p = percent(r["lost"], r["count"])
            t.add(f"three lines of 5 %: ping, lost % of {r['count']}", p, "<= 0.005", p <= 0.005)


def dead(topo, t, way):
    """A call and bulk, and line 1 swallows everything from 3 s on."""
    call = tunnel.Flow(topo, "call", 200, 160, seconds=8, wait=400)
    bulk = tunnel.Flow(topo, "call", 800, LONG, seconds=8, wait=400)
    time.sleep(3)
    topo.line[0].set(hole=way)
    r, b = call.result(), bulk.result()
    topo.line[0].set(hole=None)
    lost = r["both"]["lost"]
    gap = max(r[w]["gap_ms"] for w in ("up", "down"))
    # 5 ms between two packets, and the slower line is 20 ms behind.
    t.add(f"line 1 dead ({way}): R lost", lost, "0", lost == 0)
    t.add(f"line 1 dead ({way}): R gap ms", gap, "<= 30", gap <= 30)
    lost, gap = b["both"]["lost"], max(b[w]["gap_ms"] for w in ("up", "down"))
    t.add(f"line 1 dead ({way}): B 9 Mbit/s each way, lost", lost, "0", lost == 0)
    t.add(f"line 1 dead ({way}): B stall ms", gap, "<= 120", gap <= 120)


def part_dead(t, a):
    for way in ("both", "up", "down"):
        with Topology(lines=TWO()) as topo:
            tunnel.serve(topo)
            with a.system(topo):
                dead(topo, t, way)


def part_idle(t, a):
    with Topology(lines=[Line("100M", "100M", 2), Line("100M", "100M", 12)]) as topo:
        tunnel.serve(topo)
        figures = {"direct": [], "plait": []}
        for _ in range(a.reps):
            with bench.direct(topo):
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


def part_jitter(t, a):
    for ms in (4, 8, 15):
        with Topology(lines=[Line("20M", "20M", delay, jitter_ms=ms) for delay in (20, 40)]) as topo:
            tunnel.serve(topo)
            with a.system(topo):
                for verb, way in (("send", "up"), ("pull", "down")):
                    r = bulk(topo, 8, 36, seconds=10, verb=verb)
                    t.add(f"2x20, jitter of {ms} ms to and fro: 8 flows at 90 % of the sum, {way}, delivered", r["got"] / r["count"])


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


def part_fec(t, a):
    """Where it can help, and where others do as well: the same calls, with parity and without."""
    near, far = Line("8M", "8M", 10), Line("8M", "8M", 70)
    for name, lines, bad in (("one line of 70 ms", [far], {"loss": 5}),
                             ("70 ms, and a second line too small for copies", [far, Line("300k", "300k", 80)], {"loss": 5}),
                             ("70 ms, outages of 40 ms", [far], {"loss": 5, "outage": 40}),
                             ("two lines of 70 ms", [far, far], {"loss": 5}),
                             ("one line of 10 ms", [near], {"loss": 5})):
        for fec in ("off", "auto"):
            with Topology(lines=lines) as topo:
                tunnel.serve(topo)
                for i, line in enumerate(topo.line):
                    line.set(up={"seed": 70 + i}, down={"seed": 80 + i}, **bad)
                with a.system(topo, fec=fec):
                    tunnel.flow(topo, "call", 500, 160, seconds=4, wait=400)
                    before = [sum(line.stats()[w]["in_bytes"] for w in ("up", "down")) for line in topo.line]
                    r = tunnel.flow(topo, "call", 500, 160, count=a.packets // 20, wait=400)["both"]
                    after = [sum(line.stats()[w]["in_bytes"] for w in ("up", "down")) for line in topo.line]
            times = (sum(after) - sum(before)) / (2 * r["count"] * (160 + 28 + 52 + 14))
            t.add(f"{name}, 5 %, fec = {fec}: R, lost % both ways; at times its bytes",
                  f"{percent(r['lost'], r['count']):.3f}; {times:.2f}")


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


def part_cpu(t, a):
    with Rig() as rig:
        one = hop(rig, a.reps)
        t.add("one kernel forwarding hop, ns a packet", one)
        for name, options, goals in (("everything on two lines", {"redundancy": "always"}, (3.0, 2.0)), ("on one line", {"redundancy": "never"}, ("", ""))):
            with rig.tunnel(**options) as tun:
                used_ns(rig, tun, "local", 120000, 30000)  # until it knows how fast the lines are
                for side, who, goal in (("local", "gateway", goals[0]), ("remote", "remote", goals[1])):
                    ns, share = min(used_ns(rig, tun, side, 300000, 60000) for _ in range(a.reps))
                    t.add(f"CPU, engine alone, {name}: {who}, ns a packet ({share:.3f} arrived)", ns)
                    t.add("... times the hop", ns / one, goal and f"<= {goal}", ns / one <= goal if goal else None)


def part_openvpn(t, a):
    """The same questions to OpenVPN, when it is there."""
    if not shutil.which("openvpn"):
        t.add("OpenVPN", "not installed: not compared")
        return
    version = re.search(r"[0-9][0-9.]+", subprocess.run(["openvpn", "--version"], capture_output=True, text=True, check=False).stdout).group()
    with Topology(lines=TWO()) as topo:
        tunnel.serve(topo)
        with OpenVpn(topo):
            for i, line in enumerate(topo.line):
                line.set(loss=5, up={"seed": 10 + i}, down={"seed": 20 + i})
            lost, count, _ = calls(topo, 4, 500, 100, a.packets // 4)
            t.add(f"OpenVPN {version} on line 1, 5 % each way: call, lost % of {count}", percent(lost, count))
            for line in topo.line:
                line.set(loss=0)
            call = tunnel.Flow(topo, "call", 200, 160, seconds=8, wait=400)
            time.sleep(3)
            topo.line[0].set(hole="both")
            r = call.result()["both"]
            t.add("OpenVPN, line 1 dead after 3 of 8 s: call, lost %", percent(r["lost"], r["count"]))
    with Rig() as rig:
        one = hop(rig, a.reps)
        with OpenVpn(rig.topo, LEFT.format(0), RIGHT.format(0), route=False) as tun:
            for side, who in (("local", "gateway"), ("remote", "remote")):
                ns, share = min(used_ns(rig, tun, side, 40000, 8000) for _ in range(a.reps))
                t.add(f"OpenVPN, CPU: {who}, times a kernel forwarding hop of {one:.0f} ns ({share:.3f} arrived)", ns / one)


def part_speed(t, a):
    best = 0
    with Rig() as rig:
        with rig.tunnel(redundancy="never") as tun:
            for pps in (60000, 90000, 120000, 160000, 200000):
                begun = time.monotonic()
                _, share = used_ns(rig, tun, "local", 3 * pps, pps)
                gbit = 8e-9 * share * 3 * pps * INNER / (time.monotonic() - begun - 0.5)
                best = max(best, gbit)
                bench.progress(f"{pps} pps offered: {gbit:.2f} Gbit/s, {share:.3f} arrived")
    t.add("UDP through the engine alone, Gbit/s", best, ">= 1", best >= 1)


def part_clients(t, a):
    with Topology(lines=TWO()) as topo:
        with tunnel.Bare(topo, local=["clients=100"], remote=["clients=100"]) as tun:
            time.sleep(15)  # the fast probes after the start are over
            before = tunnel.cpu_seconds(tun.pid("remote")), time.monotonic()
            time.sleep(20)
            used = (tunnel.cpu_seconds(tun.pid("remote")) - before[0]) / (time.monotonic() - before[1])
    t.add("100 idle clients: % of a core of the remote", 100 * used, "< 1", used < 0.01)


PARTS = {"loss": part_loss, "ping": part_ping, "dead": part_dead, "idle": part_idle, "bulk": part_bulk, "jitter": part_jitter, "beside": part_beside,
         "arq": part_arq, "fec": part_fec, "mtu": part_mtu, "cpu": part_cpu, "openvpn": part_openvpn, "speed": part_speed, "clients": part_clients}


def bare(topo, **options):
    words = [f"{k}={v}" for k, v in options.items()]
    return tunnel.Bare(topo, local=words, remote=words)


def daemons(topo, **options):
    return tunnel.Daemons(topo, {k: "yes" if v == "1" else v for k, v in options.items()})


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--part", action="append", choices=PARTS, help="only these")
    p.add_argument("--packets", type=int, default=100000, help="of a figure of loss")
    p.add_argument("--engine", action="store_true", help="the engine alone, without the daemons")
    a = bench.arguments(p)
    a.system = bare if a.engine else daemons
    t = Table("The UDP tunnel" + (", the engine alone" if a.engine else ""))
    for name in a.part or PARTS:
        PARTS[name](t, a)
    t.report(GOAL_NOTE, a.save)


if __name__ == "__main__":
    main()
