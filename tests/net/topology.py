# SPDX-License-Identifier: BSD-2-Clause
"""A home with several lines, the Internet and a VPS, in network namespaces.

    lan ── gw ══ wan1 ══ isp1 ── inet ── vps
               ══ wan2 ══ isp2 ──┘  └─── server

A double stroke is a line of the emulator (or a veth pair, emulate=False). Each isp namespace is a
modem and its provider: IPv4 is masqueraded there, IPv6 routed. The gateway masquerades the LAN, so
that a connection which nobody intercepts leaves by the default route, line 1. The addresses of the
Internet side look globally routable, because they have to pass the default policy of a VPS.

Every namespace's name starts with a prefix of this process; all are removed by stop(), at exit, on
SIGINT and SIGTERM, and, should the process have been killed, by the next one that starts.
"""
import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("PLAIT_BUILD", "build"))
BUILD = BUILD if BUILD.is_absolute() else ROOT / BUILD
TOOLS = Path(os.environ.get("PLAIT_TOOLS", ROOT / "build"))  # the tools are never the sanitized ones

PEER = ROOT / "tests/net/peer.py"

LAN4, LAN6 = "192.168.77", "fd77:"
VPS4, VPS6 = "11.7.0.2", "2a11:7::2"
SERVER4, SERVER6 = "11.9.0.2", "2a11:9::2"

_living = []  # topologies to take down at exit
_serial = 0


@dataclass
class Line:
    """One line as ordered: rates in bit/s ("20M", "786k"), one-way delay, loss in percent."""
    down: str = "20M"
    up: str = "20M"
    delay_ms: float = 10
    loss: float = 0
    queue_ms: float = 200
    jitter_ms: float = 0
    ipv4: bool = True
    ipv6: bool = True


def rate_bits(text):
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(str(text)[-1])
    return float(str(text)[:-1]) * factor if factor else float(text)


def _ip_batch(ns, commands):
    text = "\n".join(commands) + "\n"
    out = subprocess.run(["ip", "-n", ns, "-batch", "-"], input=text, text=True, capture_output=True)
    if out.returncode:
        raise RuntimeError(f"ip -n {ns}: {out.stderr}\n{text}")


class Namespace:
    """One host. run() waits, popen() does not; both take a list or a shell line."""

    def __init__(self, name, short):
        self.name, self.short = name, short
        self.started = []

    def _argv(self, cmd):
        cmd = ["sh", "-c", cmd] if isinstance(cmd, str) else [str(c) for c in cmd]
        return ["nsenter", f"--net=/run/netns/{self.name}", "--"] + cmd

    def popen(self, cmd, **kw):
        kw.setdefault("text", True)
        p = subprocess.Popen(self._argv(cmd), **kw)
        self.started.append(p)
        return p

    def run(self, cmd, check=True, timeout=60, **kw):
        """The finished process, its output as text in .stdout and .stderr."""
        kw.setdefault("text", True)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        done = subprocess.run(self._argv(cmd), timeout=timeout, **kw)
        if check and done.returncode:
            raise RuntimeError(f"{self.short}: {cmd}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def ip(self, *commands):
        _ip_batch(self.name, commands)

    def sysctl(self, **values):
        """sysctl(net__ipv4__ip_forward=1): two underscores are a dot."""
        self.set_sysctls({k.replace("__", "."): v for k, v in values.items()})

    def set_sysctls(self, values):
        lines = "".join(f"echo '{v}' > /proc/sys/{k.replace('.', '/')} || exit 1\n" for k, v in values.items())
        self.run(lines)

    def nft(self, text):
        self.run(["nft", "-f", "-"], input=text)

    def pids(self):
        out = subprocess.run(["ip", "netns", "pids", self.name], text=True, capture_output=True)
        return [int(p) for p in out.stdout.split()]


class LiveLine:
    """A line that is up: change it, read its counters."""

    def __init__(self, topo, index, spec):
        self.topo, self.index, self.spec = topo, index, spec
        self.name = f"l{index + 1}"
        self.bound, self.outside = 0, f"11.{index + 1}.0.2"
        self.device = f"wan{index + 1}"

    def set(self, down_rate=None, up_rate=None, hole=False, both=None, up=None, down=None, **properties):
        """Changes what is named: down_rate="1M", hole="up"|"down"|"both"|None, and for both directions
        delay=, jitter= (ms), loss=, duplicate=, reorder=, corrupt= (percent), queue= ("200ms" or bytes),
        outage= (ms: loss comes in outages of this mean length), mtu= (longer packets vanish; 0: any);
        for one direction up={"loss": 1} or down={...}."""
        send = self.topo.emulator_command
        if down_rate is not None:
            send(f"{self.name} down rate {down_rate}")
        if up_rate is not None:
            send(f"{self.name} up rate {up_rate}")
        if hole is not False:
            for way in ("up", "down"):
                send(f"{self.name} {way} hole {'on' if hole in (way, 'both') else 'off'}")
        for way, values in (("both", {**properties, **(both or {})}), ("up", up or {}), ("down", down or {})):
            for key, value in values.items():
                send(f"{self.name} {way} {key} {value}")

    def stats(self):
        """{"up": {"in_frames": ..., "out_bytes": ..., "tail_drops": ...}, "down": {...}}"""
        return self.topo.emulator_stats()[self.name]

    def bytes(self):
        """Bytes delivered in each direction: {"up": n, "down": n}."""
        if not self.topo.emulate:
            base = f"/sys/class/net/{self.device}/statistics"
            out = self.topo.gw.run(["ip", "netns", "exec", self.topo.gw.name, "cat", f"{base}/tx_bytes", f"{base}/rx_bytes"])
            tx, rx = out.stdout.split()
            return {"up": int(tx), "down": int(rx)}
        s = self.stats()
        return {"up": s["up"]["out_bytes"], "down": s["down"]["out_bytes"]}

    def rebind(self, address=False):
        """The modem forgets its NAT: what goes on gets another port, and another address if asked."""
        isp, n, self.bound = self.topo.isp[self.index], self.index + 1, self.bound + 1
        old = self.outside
        if address:
            self.outside = f"11.{n}.0.{2 + self.bound}"
        low = 20000 + 1000 * (self.bound % 40)
        rule, ports = 'add rule ip modem post oifname "inet"', f"masquerade to :{low}-{low + 999}"
        isp.nft(f"flush chain ip modem post\n{rule} meta l4proto udp {ports}\n{rule} meta l4proto tcp {ports}\n{rule} masquerade")
        # The kernel forgets the masqueraded connections of an address that goes.
        isp.ip(f"addr del {old}/24 dev inet", f"addr add {self.outside}/24 dev inet",
               f"route replace default via 11.{n}.0.1 dev inet")

    def unplug(self):
        """The cable is pulled: the gateway sees its device go down and loses its routes."""
        self.topo.gw.ip(f"link set {self.device} down")

    def plug(self):
        self.topo.gw.ip(f"link set {self.device} up", *self.topo.wan_routes(self.index))


@dataclass
class Topology:
    lines: list = field(default_factory=lambda: [Line(), Line(delay_ms=30)])
    clients: int = 1
    servers: int = 1
    emulate: bool = True
    same_subnet: bool = False      # all modems are 192.168.1.1, as out of one box
    ipv4: bool = True              # False: no IPv4 anywhere on lines and Internet
    ipv6: bool = True
    congestion: str = ""           # of every namespace, e.g. "cubic"

    def __post_init__(self):
        self.ns, self.emulator, self.up = {}, None, False

    # Names: topo.lan, topo.gw, topo.vps, topo.server, topo.isp[i], topo.inet, topo.line[i]
    def start(self):
        global _serial
        if self.up:
            return self
        if os.geteuid():
            raise PermissionError("network namespaces need root")
        _sweep()
        _serial += 1
        self.prefix = f"plt{os.getpid()}.{_serial}-"
        self.tmp = Path(tempfile.mkdtemp(prefix=f"plait-net-{os.getpid()}-"))
        _living.append(self)
        _catch_signals()
        try:
            self._raise()
        except BaseException:
            self.stop()
            raise
        self.up = True
        return self

    __enter__ = start

    def __exit__(self, *exc):
        self.stop()

    def _raise(self):
        n = len(self.lines)
        names = ["gw", "inet", "vps"] + [f"isp{i + 1}" for i in range(n)]
        names += [f"lan{i + 1}" for i in range(self.clients)] + [f"server{i + 1}" for i in range(self.servers)]
        for short in names:
            name = self.prefix + short
            subprocess.run(["ip", "netns", "add", name], check=True)
            self.ns[short] = Namespace(name, short)
        self.gw, self.inet, self.vps = self.ns["gw"], self.ns["inet"], self.ns["vps"]
        self.isp = [self.ns[f"isp{i + 1}"] for i in range(n)]
        self.lan_clients = [self.ns[f"lan{i + 1}"] for i in range(self.clients)]
        self.server_hosts = [self.ns[f"server{i + 1}"] for i in range(self.servers)]
        self.lan, self.server = self.lan_clients[0], self.server_hosts[0]
        self.line = [LiveLine(self, i, spec) for i, spec in enumerate(self.lines)]
        for ns in self.ns.values():
            self._prepare(ns)
        self._raise_lan()
        self._raise_lines()
        self._raise_internet()
        self._raise_nat()
        if self.emulate:
            self._tune_lines()
        if self.congestion:
            for ns in self.ns.values():
                self.set_congestion(ns, self.congestion)

    def set_congestion(self, ns, name):
        """By the routes: the kernel lets a namespace's sysctl choose only what the machine allows to all."""
        for family in ("-4", "-6"):
            routes = ns.run(["ip", family, "route", "show"]).stdout.splitlines()
            for route in (r.split(" congctl")[0] for r in routes if not r.startswith(("fe80", "multicast"))):
                ns.run(f"ip {family} route replace {route} congctl {name}".replace(" pref medium", ""))

    def _prepare(self, ns):
        router = int(ns.short in ("gw", "inet") or ns.short.startswith("isp"))
        values = {"net.ipv4.ip_forward": router, "net.ipv6.conf.all.forwarding": router,
                  "net.ipv6.conf.default.accept_dad": 0, "net.ipv6.conf.default.accept_ra": 0,
                  "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0}
        if self.same_subnet and ns is self.gw:
            values.update({"net.ipv4.conf.all.arp_ignore": 1, "net.ipv4.conf.all.arp_announce": 2,
                           "net.ipv4.conf.default.arp_ignore": 1})
        ns.set_sysctls(values)
        ns.ip("link set lo up")

    def addresses(self, v4, v6):
        """[v4, v6] without the families this topology has not."""
        return [a for a, have in ((v4, self.ipv4), (v6, self.ipv6)) if have and a]

    @staticmethod
    def _veth(a, a_dev, b, b_dev):
        a.ip(f"link add {a_dev} type veth peer name {b_dev} netns {b.name}")

    def _configure(self, ns, dev, addresses, via=()):
        def addr(a):
            return f"addr add {a} dev {dev}" + (" nodad" if ":" in a else "")
        ns.ip(f"link set dev {dev} up", *map(addr, addresses), *[f"route add default via {g} dev {dev}" for g in via])

    def _raise_lan(self):
        """The LAN keeps both families: it is the lines that may lack one."""
        gw_dev = "lan0"
        if self.clients > 1:
            self.gw.ip("link add lan0 type bridge forward_delay 0")
        for i, client in enumerate(self.lan_clients):
            port = f"port{i + 1}" if self.clients > 1 else gw_dev
            self._veth(client, "eth0", self.gw, port)
            if self.clients > 1:
                self.gw.ip(f"link set {port} master lan0 up")
        self._configure(self.gw, gw_dev, [f"{LAN4}.1/24", f"{LAN6}:1/64"])
        for i, client in enumerate(self.lan_clients):
            host = 10 + i
            self._configure(client, "eth0", [f"{LAN4}.{host}/24", f"{LAN6}:{host}/64"], [f"{LAN4}.1", f"{LAN6}:1"])

    def _subnet(self, i):
        return "192.168.1" if self.same_subnet else f"192.168.{i + 1}"

    def gateway(self, i):
        """The modem's IPv4 address on line i."""
        return f"{self._subnet(i)}.1"

    def wan_addresses(self, i):
        """What the gateway has on line i: one IPv4, one IPv6 address, or fewer."""
        spec = self.lines[i]
        host = 2 + i if self.same_subnet else 2
        return self.addresses(spec.ipv4 and f"{self._subnet(i)}.{host}/24", spec.ipv6 and f"2a11:{i + 1}::2/64")

    def wan_routes(self, i):
        metric, dev = 100 * (i + 1), f"wan{i + 1}"
        gateways = self.addresses(self.lines[i].ipv4 and f"{self._subnet(i)}.1", self.lines[i].ipv6 and "fe80::1")
        return [f"route replace default via {g} dev {dev} metric {metric}" for g in gateways]

    def _raise_lines(self):
        if self.emulate:
            self._start_emulator()
        for i, spec in enumerate(self.lines):
            isp, dev = self.isp[i], f"wan{i + 1}"
            if not self.emulate:
                self._veth(self.gw, dev, isp, "line")
            self.gw.ip(f"link set {dev} txqueuelen 2000 up")
            far = self.addresses(spec.ipv4 and f"{self._subnet(i)}.1/24", spec.ipv6 and f"2a11:{i + 1}::1/64")
            self._configure(isp, "line", far + self.addresses("", "fe80::1/64"))
            self._configure(self.gw, dev, self.wan_addresses(i))
            self.gw.ip(*self.wan_routes(i))

    def _raise_internet(self):
        for i, isp in enumerate(self.isp):
            self._veth(isp, "inet", self.inet, f"isp{i + 1}")
            self._configure(isp, "inet", self.addresses(f"11.{i + 1}.0.2/24", f"2a11:10{i + 1}::2/64"),
                            self.addresses(f"11.{i + 1}.0.1", f"2a11:10{i + 1}::1"))
            self._configure(self.inet, f"isp{i + 1}", self.addresses(f"11.{i + 1}.0.1/24", f"2a11:10{i + 1}::1/64"))
            if self.ipv6:
                self.inet.ip(f"route add 2a11:{i + 1}::/64 via 2a11:10{i + 1}::2")
        self._host(self.vps, "vps", "11.7.0", "2a11:7:")
        for i, server in enumerate(self.server_hosts):
            self._host(server, f"srv{i + 1}", f"11.9.{i}", f"2a11:9:0:{i}:" if i else "2a11:9:")

    def _host(self, ns, port, net4, net6):
        self._veth(ns, "eth0", self.inet, port)
        self._configure(ns, "eth0", self.addresses(f"{net4}.2/24", f"{net6}:2/64"),
                        self.addresses(f"{net4}.1", f"{net6}:1"))
        self._configure(self.inet, port, self.addresses(f"{net4}.1/24", f"{net6}:1/64"))

    def _raise_nat(self):
        rule = "table {} {{\n chain post {{\n type nat hook postrouting priority srcnat\n {} masquerade\n }}\n}}\n"
        self.gw.nft(rule.format("inet home", 'iifname "lan0" oifname "wan*"'))
        for isp in self.isp:
            isp.nft(rule.format("ip modem", 'oifname "inet"'))

    # The emulator: one process for all lines, commanded over its stdin.
    def _start_emulator(self):
        specs = [f"{l.name}:/run/netns/{self.gw.name}:{l.device}:/run/netns/{self.isp[l.index].name}:line"
                 for l in self.line]
        self.emulator = subprocess.Popen([str(TOOLS / "emulator"), *specs], text=True, bufsize=1,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        if self.emulator.stdout.readline() != "ready\n":
            raise RuntimeError("the emulator did not start")

    def emulator_command(self, command):
        self.emulator.stdin.write(command + "\n")
        lines = []
        while True:
            line = self.emulator.stdout.readline().rstrip("\n")
            if line == "ok":
                return lines
            if not line or line.startswith("error"):
                raise ValueError(f"emulator: {command}: {line or 'it has died'}")
            lines.append(line)

    def emulator_stats(self):
        stats = {}
        for line in self.emulator_command("stats"):
            name, way, *values = line.split()
            stats.setdefault(name, {})[way] = {k: int(v) for k, v in (x.split("=") for x in values)}
        return stats

    def _tune_lines(self):
        for live in self.line:
            s = live.spec
            live.set(down_rate=s.down, up_rate=s.up, delay=s.delay_ms, jitter=s.jitter_ms, loss=s.loss,
                     queue=f"{s.queue_ms}ms")

    def sum_bits(self, way="down"):
        return sum(rate_bits(getattr(l, way)) for l in self.lines)

    # The ends of test connections: see peer.py.
    def serve(self, host=None, port=7000):
        """Starts peer.py's server (on the server unless told) and waits until it listens."""
        p = (host or self.server).popen([sys.executable, PEER, "serve", "--port", port], stdout=subprocess.PIPE,
                                        env={**os.environ, "PYTHONPATH": str(ROOT / "tests/bench")})
        assert p.stdout.readline() == "ready\n", "the test server did not start"
        return p

    def peer_popen(self, verb, host=SERVER4, ns=None, **options):
        """A client of peer.py in the LAN (or ns): peer_popen("down", size=1000, tls=True)."""
        argv = [sys.executable, PEER, verb, host]
        for key, value in options.items():
            argv += [f"--{key}"] if value is True else [f"--{key}", str(value)]
        return (ns or self.lan).popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def peer(self, verb, host=SERVER4, ns=None, deadline=60, **options):
        """The same, waited for: what it printed, as a dict (["ok"] tells)."""
        p = self.peer_popen(verb, host, ns, **options)
        try:
            out, err = p.communicate(timeout=deadline)
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            return {"ok": False, "error": f"{verb}: no end after {deadline} s"}
        assert out, f"peer.py {verb}: {err}"
        return json.loads(out)

    def new_dir(self, name):
        """A directory that goes when the topology goes; PLAIT_KEEP=DIR keeps the logs there instead."""
        base = Path(os.environ["PLAIT_KEEP"]) if os.environ.get("PLAIT_KEEP") else self.tmp
        base.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=base))

    @staticmethod
    def rules_dir():
        return ROOT / "iptables"

    def forget(self):
        """Forgets what TCP learnt of the paths, so that repetitions do not help each other."""
        for ns in self.ns.values():
            ns.run("ip tcp_metrics flush all", check=False)

    def stop(self):
        if self not in _living:
            return
        _living.remove(self)
        self.up = False
        for ns in self.ns.values():
            for p in ns.started:
                if p.poll() is None:
                    p.kill()
                p.wait()
        if self.emulator:
            self.emulator.stdin.close()
            self.emulator.wait()
        for ns in self.ns.values():
            _remove(ns.name)
        shutil.rmtree(self.tmp, ignore_errors=True)


def _remove(name):
    pids = subprocess.run(["ip", "netns", "pids", name], text=True, capture_output=True).stdout.split()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _sweep():
    """Removes what processes that no longer live have left."""
    for entry in Path("/run/netns").glob("plt*.*-*"):
        owner = entry.name[3:].split(".")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _remove(entry.name)
    for entry in Path(tempfile.gettempdir()).glob("plait-net-*-*"):
        owner = entry.name.split("-")[2]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(entry, ignore_errors=True)


def _stop_all():
    for topo in list(_living):
        topo.stop()


def _on_signal(number, _frame):
    _stop_all()
    raise SystemExit(128 + number)


_caught = False


def _catch_signals():
    """SIGTERM ends a run in order; SIGINT arrives as KeyboardInterrupt and ends at atexit."""
    global _caught
    if not _caught:
        _caught = True
        atexit.register(_stop_all)
        signal.signal(signal.SIGTERM, _on_signal)


LOOK_S = 0.03  # a daemon's whole status is made for each look, on two cores for four tests at a time
LIMIT_S = 60  # catches what never happens; how long something may take is asserted where the clock is passed in, or a figure


def within(seconds, condition):
    """Whether it comes true in that time: for what may well not, and is no fault then."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(LOOK_S)
    return True


def wait_for(condition, what):
    """Polls until condition() is true; its value. An AssertionError names what did not happen."""
    end = time.monotonic() + LIMIT_S
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {LIMIT_S} s: {what}"
        time.sleep(LOOK_S)
