# SPDX-License-Identifier: BSD-2-Clause
"""What measurements of the UDP tunnel share: two lines, calls over them, and the rig that tells what a packet costs."""
import subprocess
import time

import bench
import tunnel
from topology import Line, SERVER4, Topology

TWO = lambda **kw: [Line("20M", "20M", 10, **kw), Line("20M", "20M", 30, **kw)]  # noqa: E731
INNER = 1400  # bytes of a long inner packet
LONG = INNER - 28


def percent(lost, count):
    return 100 * lost / count


def calls(topo, n, pps, size, count):
    """`count` packets, half of them on their way back, in n calls; lost, count, and the ways."""
    r = tunnel.flows(topo, n, "call", pps, size, count=count // n // 2, wait=400)
    return r["both"]["lost"], 2 * r["both"]["count"] - r["both"]["lost"], r


LEFT = "10.50.{}.1"
RIGHT = "10.50.{}.2"


class Rig:
    """Two cables from gateway to VPS, for the CPU: nobody between them, each packet on them one of its own. What comes out at the VPS is
    counted and dropped at the next host's door."""

    def __init__(self):
        self.topo = Topology(lines=[Line(), Line()], emulate=False)

    def __enter__(self):
        topo = self.topo.start()
        for i in range(2):
            topo.gw.ip(f"link add fast{i} type veth peer name fast{i} netns {topo.vps.name}")
            for ns, host in ((topo.gw, LEFT), (topo.vps, RIGHT)):
                ns.ip(f"link set fast{i} up", f"addr add {host.format(i)}/24 dev fast{i}")
            topo.gw.run(["ethtool", "-K", f"fast{i}", "tx-udp-segmentation", "off", "tso", "off", "gso", "on"])
            topo.vps.run(["ethtool", "-K", f"fast{i}", "gro", "on"])
        topo.gw.run("ethtool -K lan0 rx-udp-gro-forwarding on gro on", check=False)
        for ns, device in ((topo.vps, "fast0"), (topo.vps, "fast1"), (topo.gw, "lan0"), (topo.gw, "fast0"), (topo.gw, "fast1")):
            subprocess.run(["ip", "netns", "exec", ns.name, "sh", "-c", f"echo 2 > /sys/class/net/{device}/queues/rx-0/rps_cpus"], check=True)
        topo.inet.nft("table netdev stop { chain in { type filter hook ingress device vps priority 0; udp dport 7100 counter drop; }; }")
        return self

    def __exit__(self, *_):
        self.topo.stop()

    def tunnel(self, **options):
        words = [f"{k}={v}" for k, v in options.items()]
        return tunnel.Bare(self.topo, ways=[(LEFT.format(i), RIGHT.format(i), f"fast{i}") for i in range(2)], local=words, remote=words)

    def out(self):
        """Packets that came out so far, by their bytes: super-packets count as one."""
        text = self.topo.inet.run("nft list table netdev stop").stdout
        return int(text.split(" bytes ")[1].split()[0]) / (LONG + 1)


def ksoftirqd(core):
    out = subprocess.run(["pgrep", "-x", f"ksoftirqd/{core}"], capture_output=True, text=True, check=True)
    return tunnel.cpu_seconds(int(out.stdout))


def hop_ns(rig, count):
    """CPU ns that a packet costs its sender more when the gateway forwards it, than when it drops it at the door."""
    near, far = (DROP.format("gw", d) for d in ("lan0", "none"))
    used = []
    for text in (near, far):
        if text == near:
            rig.topo.gw.nft(near)
        before = ksoftirqd(0)
        r = tunnel.Flow(rig.topo, "send", 0, LONG, count=count, wait=0, core=0).result()
        used.append((r["cpu_s"] + ksoftirqd(0) - before) / count)
        if text == near:
            rig.topo.gw.nft("delete table netdev stop")
    return 1e9 * (used[1] - used[0])


DROP = "table netdev stop {{ chain in {{ type filter hook ingress device {1} priority 0; udp dport 7100 drop; }}; }}"


def hop(rig, reps, count=300000):
    """The least of several. The way is the LAN's cable in, a cable to the VPS out, where it is dropped at the door."""
    topo = rig.topo
    topo.gw.ip(f"route replace {SERVER4} via {RIGHT.format(0)} dev fast0")
    topo.vps.nft(DROP.format("vps", "fast0"))
    for device in ("fast0", "lan0"):
        for ns in (topo.gw, topo.vps):
            subprocess.run(["ip", "netns", "exec", ns.name, "sh", "-c", f"echo 0 > /sys/class/net/{device}/queues/rx-0/rps_cpus"],
                           check=False, capture_output=True)
    values = sorted(hop_ns(rig, count) for _ in range(2 * reps + 1))
    for device in ("fast0", "lan0"):
        for ns in (topo.gw, topo.vps):
            subprocess.run(["ip", "netns", "exec", ns.name, "sh", "-c", f"echo 2 > /sys/class/net/{device}/queues/rx-0/rps_cpus"],
                           check=False, capture_output=True)
    topo.vps.nft("delete table netdev stop")
    topo.gw.ip(f"route del {SERVER4}")
    return bench.median(values)


def used_ns(rig, tun, side, count, pps):
    """CPU ns for each packet that came out, of one end, which has core 0 for itself; and their share of those sent."""
    for end in ("local", "remote"):
        subprocess.run(["taskset", "-acp", "0" if end == side else "1", str(tun.pid(end))], capture_output=True, check=True)
    before, out = tunnel.cpu_seconds(tun.pid(side)), rig.out()
    sent = tunnel.Flow(rig.topo, "send", pps, LONG, count=count, batch=40, wait=0, core=1).result()["sent"]
    time.sleep(0.5)
    out = rig.out() - out
    return 1e9 * (tunnel.cpu_seconds(tun.pid(side)) - before) / max(1, out), out / sent
