# SPDX-License-Identifier: BSD-2-Clause
"""The UDP tunnel in a topology, and flows of numbered packets through it.

    with Bare(topo) as tunnel:                     # the engine alone (tunnel_driver.c)
    with Daemons(topo, local_set={...}) as tunnel: # plait-local and plait-remote
        call = Flow(topo, "call", pps=50, size=160, seconds=3).result()
        call["up"]["lost"], call["both"]["p99"]
"""
import contextlib
import json
import subprocess

from pair import Pair
from topology import BUILD, SERVER4, TOOLS, VPS4, wait_for

PORT = 7100
DEVICE = "plait0"


def serve(topo, ns=None, port=PORT):
    """dgram's server; counts() ends it and tells of each flow that came."""
    p = (ns or topo.server).popen([TOOLS / "dgram", "serve", port], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert p.stdout.readline() == "ready\n"
    return p


def counts(server):
    out, _ = server.communicate("", timeout=20)
    return [json.loads(line) for line in out.splitlines()]


class Flow:
    """One flow from the LAN: verb is call (reflected), send (up only) or pull (down only)."""

    def __init__(self, topo, verb, pps, size, seconds=None, count=None, host=SERVER4, ns=None, port=PORT, core=None, **options):
        self.verb, self.count = verb, count or max(1, int(pps * seconds))
        argv = [TOOLS / "dgram", verb, host, port, pps, size, self.count] + [f"{k}={v}" for k, v in options.items()]
        argv = (["taskset", "-c", core] if core is not None else []) + argv
        self.process = (ns or topo.lan).popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def result(self, timeout=300):
        out, err = self.process.communicate(timeout=timeout)
        assert out, f"dgram {self.verb}: {err}"
        return json.loads(out)


def flow(topo, *args, **kw):
    return Flow(topo, *args, **kw).result()


def flows(topo, n, *args, **kw):
    """n flows at a time, added up; delays are of all packets only where that needs no list (min, max), else of the worst flow."""
    results = [f.result() for f in [Flow(topo, *args, **kw) for _ in range(n)]]
    return {way: added([r[way] for r in results]) for way in ("up", "down", "both") if way in results[0]}


def added(ways):
    total = {k: sum(w[k] for w in ways) for k in ("count", "got", "lost", "twice", "overtaken", "strange")}
    total["min"] = min(w.get("min", 0) for w in ways)
    for k in ("run", "gap_ms", "p50", "p95", "p99", "p999", "max", "seconds"):
        total[k] = max(w.get(k, 0) for w in ways)
    return total


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Bare:
    """Two tunnel_drivers with fixed keys; the test does what the daemons' routes and rules would."""
    name = "engine"

    def __init__(self, topo, ways=None, local=(), remote=(), env=None):
        """ways: (our address, next hop, device) for each path, if not the topology's lines."""
        self.topo = topo
        self.ways = ways or [(topo.wan_addresses(i)[0].split("/")[0], topo.gateway(i), f"wan{i + 1}") for i in range(len(topo.lines))]
        self.options = {"local": list(local), "remote": list(remote)}
        self.env, self.ends = env, {}

    def _start(self, side, ns, *argv):
        log = open(self.tmp / f"{side}.log", "w", encoding="utf-8")
        p = ns.popen([BUILD / "tunnel_driver", side, DEVICE, *argv, *self.options[side]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                     stderr=log, env=self.env)
        assert p.stdout.readline() == "ready\n", (self.tmp / f"{side}.log").read_text()
        self.ends[side] = p

    def start(self):
        topo, gw, vps = self.topo, self.topo.gw, self.topo.vps
        self.tmp = topo.new_dir("bare")
        for i, (source, hop, device) in enumerate(self.ways):
            gw.ip(f"rule add from {source} lookup {101 + i}", f"route replace default via {hop} dev {device} table {101 + i}")
        vps.sysctl(net__ipv4__ip_forward=1)
        nat = 'table ip bare {{ chain post {{ type nat hook postrouting priority srcnat; {} masquerade; }}; }}'
        gw.nft(nat.format(f'oifname "{DEVICE}"'))
        vps.nft(nat.format('ip saddr 10.99.0.0/24 oifname "eth0"'))
        self._start("remote", vps, "10.99.0.2", "at", f"{VPS4}:7300")
        self._start("local", gw, "10.99.0.1", "to", f"{VPS4}:7300", "from", *[way[0] for way in self.ways])
        vps.ip(f"route add 10.99.0.1 dev {DEVICE}")
        gw.ip(f"route add 10.99.0.2 dev {DEVICE}")
        for i in range(len(topo.server_hosts)):
            gw.ip(f"route add 11.9.{i}.0/24 dev {DEVICE}")
        self.wait_up()
        return self

    __enter__ = start

    def status(self, side="local"):
        p = self.ends[side]
        p.stdin.write("status\n")
        p.stdin.flush()
        return json.loads(p.stdout.readline())

    def paths(self, side="local"):
        return {p["path"]: p for p in self.status(side)["paths"]}

    def wait_up(self, n=None):
        n = n or len(self.ways)
        wait_for(lambda: all(sum(p["state"] == "up" and p["mtu"] > 1232 for p in self.status(s)["paths"]) >= n
                             for s in self.ends), f"{n} paths up")

    def pid(self, side):
        return self.ends[side].pid

    def mtu(self, side="local"):
        ns = self.topo.gw if side == "local" else self.topo.vps
        return int(ns.run(["ip", "-j", "link", "show", DEVICE]).stdout.split('"mtu":')[1].split(",")[0])

    def stop(self):
        codes = {}
        for side, p in self.ends.items():
            with contextlib.suppress(BrokenPipeError):
                p.stdin.close()
            codes[side] = p.wait(10)
            text = (self.tmp / f"{side}.log").read_text(errors="replace")
            assert codes[side] == 0 and "Sanitizer" not in text and "runtime error" not in text, text[-4000:]
        for i, (source, _, _) in enumerate(self.ways):
            self.topo.gw.ip(f"rule del from {source} lookup {101 + i}", f"route flush table {101 + i}")
        self.topo.gw.nft("delete table ip bare")
        self.topo.vps.nft("delete table ip bare")

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
            return
        for side, p in self.ends.items():
            p.kill()
            p.wait()
            print(f"--- {side}\n{(self.tmp / f'{side}.log').read_text(errors='replace')[-3000:]}")



class Daemons:
    """plait-local and plait-remote, as a user runs them; the same questions as to Bare."""
    name = "plait"

    def __init__(self, topo, options=None, probed=True, **pair_options):
        """options: of [tunnel], on both sides. probed: it begins when every path takes more than the least, which it must be able to."""
        both = {f"tunnel.{k}": v for k, v in (options or {}).items()}
        for side in ("local_set", "remote_set"):
            pair_options[side] = {**both, **pair_options.get(side, {})}
        self.topo, self.probed, self.pair = topo, probed, Pair(topo, **pair_options)

    def start(self):
        self.pair.start()
        try:
            self.wait_up()
        except BaseException:
            self.pair.kill()
            raise
        return self

    __enter__ = start

    def daemon(self, side):
        return self.pair.local if side == "local" else self.pair.remote

    def status(self, side="local"):
        """What its tunnel tells, of the one user there is."""
        status = self.daemon(side).status()
        if side == "local":
            return status["tunnel"]["traffic"]
        return status["tunnel"]["users"][0]["tunnel"]

    paths = Bare.paths

    def mtu(self, side="local"):
        return self.status(side)["mtu"]

    def wait_up(self, n=None):
        n = n or len(self.topo.lines)

        def is_up():
            try:
                if self.pair.local.status()["tunnel"]["state"] != "up":
                    return False
                return all(sum(p["state"] == "up" and (p["mtu"] > 1232 or not self.probed) for p in self.status(side)["paths"]) >= n
                           for side in ("local", "remote"))
            except (KeyError, IndexError, TypeError):
                return False  # not that far
        wait_for(is_up, f"the tunnel over {n} paths")

    def pid(self, side):
        return self.daemon(side).pid

    def stop(self):
        self.pair.stop()

    def __exit__(self, *how):
        self.pair.__exit__(*how)
