#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""An afternoon of bad lines: three of them are cut, healed, renumbered, unplugged and made lossy at random, one line being
left alone at any time, while parallel transfers run through plait, each comparing every byte. Not one may fail.

    python3 tests/bench/soak.py --minutes 60 --parallel 50 --seed 1
"""
import argparse
import json
import random
import socket
import sys
import threading
import time
from pathlib import Path

import bench

HERE = Path(__file__).resolve()
RATES = [("20M", "5M", 10), ("10M", "2M", 30), ("8M", "1M", 60)]


# --- the LAN's side: a process of its own, in the LAN's namespace ---

def transfer(host, rng, stop_at, who):
    """One exact transfer: (what went wrong or None, bytes, longest silence in s). Its port is left in `who`."""
    import peer
    up = rng.random() < 0.25
    size, seed = int(rng.choice([2e3, 5e4, 4e5, 3e6]) * rng.uniform(0.5, 2) * (0.2 if up else 1)), rng.randrange(16)
    begin = last = time.monotonic()
    longest = 0.0
    with socket.create_connection((host, 7000), timeout=60) as s:
        who.append(s.getsockname()[1])
        s.settimeout(max(60, stop_at - begin + 60))
        s.sendall(peer.header(f"{'up' if up else 'down'} {size} {seed}", rng.random() < 0.5))
        if up:
            peer.send_pattern(s, seed, size)
            s.shutdown(socket.SHUT_WR)
            got = json.loads(b"".join(iter(lambda: s.recv(4096), b"")) or b"{}")
            return None if got.get("exact") and got["size"] == size else f"up {size}: {got}", size, 0
        check = peer.Check(seed)
        while data := s.recv(65536):
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            check.add(data)
        ok = check.exact and check.size == size
        return None if ok else f"down {size}: got {check.size}, exact {check.exact}", size, longest


def client(a):
    sys.path.insert(0, str(HERE.parents[1] / "net"))
    stop_at, tally = time.monotonic() + a.seconds, {"done": 0, "bytes": 0, "longest": 0.0, "wrong": []}
    lock = threading.Lock()

    def one(number):
        rng = random.Random(a.seed * 1000 + number)
        while time.monotonic() < stop_at:
            who, begin = [], time.monotonic()
            try:
                wrong, size, longest = transfer(a.host, rng, stop_at, who)
            except OSError as e:
                wrong, size, longest = f"{type(e).__name__}: {e}, after {time.monotonic() - begin:.1f} s, port {who}", 0, 0
            with lock:
                tally["done"] += 1
                tally["bytes"] += size
                tally["longest"] = max(tally["longest"], longest)
                if wrong:
                    tally["wrong"].append(f"{a.seconds - (stop_at - time.monotonic()):.1f} s: {wrong}")
                    bench.progress(tally["wrong"][-1])
            time.sleep(rng.uniform(0, 0.5))
    threads = [threading.Thread(target=one, args=(i,)) for i in range(a.parallel)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(json.dumps(tally), flush=True)


# --- what happens to the lines ---

class Trouble:
    """Does something to one line and undoes it later. One line is left alone, and has been sound for `grace` seconds."""

    def __init__(self, topo, rng, grace):
        self.topo, self.rng, self.grace, self.host = topo, rng, grace, [2, 2, 2]
        self.healed = [0] * len(topo.line)
        self.undo = [None] * len(topo.line)  # (when, how)
        self.counts = {}

    def renumber(self, i):
        dev, net = f"wan{i + 1}", self.topo._subnet(i)
        old, self.host[i] = self.host[i], self.host[i] % 200 + 2
        self.topo.gw.ip(f"addr del {net}.{old}/24 dev {dev}", f"addr add {net}.{self.host[i]}/24 dev {dev}",
                        f"route replace default via {net}.1 dev {dev} metric {100 * (i + 1)}")

    def strike(self, i, now):
        line, rng = self.topo.line[i], self.rng
        what = rng.choice(["hole both", "hole up", "hole down", "unplug", "renumber", "loss", "slow"])
        self.counts[what] = self.counts.get(what, 0) + 1
        spec, until = line.spec, now + rng.choice([0.3, 1, 3, 10, 30])
        if what.startswith("hole"):
            line.set(hole=what.split()[1])
            self.undo[i] = until, lambda: line.set(hole=None)
        elif what == "unplug":
            line.unplug()
            self.undo[i] = until, line.plug
        elif what == "loss":
            line.set(loss=rng.choice([1, 5, 20]))
            self.undo[i] = until, lambda: line.set(loss=0)
        elif what == "slow":
            line.set(down_rate="1M", up_rate="500k")
            self.undo[i] = until, lambda: line.set(down_rate=spec.down, up_rate=spec.up)
        else:
            self.renumber(i)
            self.healed[i] = now
        return f"line {i + 1}: {what}"

    def step(self, now):
        for i, due in enumerate(self.undo):
            if due and now >= due[0]:
                due[1]()
                self.undo[i], self.healed[i] = None, now
        sound = [i for i, due in enumerate(self.undo) if not due]
        proven = [i for i in sound if now - self.healed[i] >= self.grace]
        if len(sound) > 1 and proven:
            spared = self.rng.choice(proven)
            return self.strike(self.rng.choice([i for i in sound if i != spared]), now)
        return None

    def heal(self):
        for i, due in enumerate(self.undo):
            if due:
                due[1]()
                self.undo[i] = None


def facts(daemon):
    fds = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
    return f"{daemon.program.name}: {fds} descriptors, {daemon.pss_kib()} KiB"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--host", default="11.9.0.2")
    p.add_argument("--seconds", type=float, default=0)
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--parallel", type=int, default=50)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--grace", type=float, default=3, help="seconds after which a healed line counts as sound")
    p.add_argument("--save", action="store_true")
    p.add_argument("--log", help="a file for what the daemons had to say")
    a = p.parse_args()
    if a.client:
        return client(a)
    from pair import Pair
    from topology import Line, Topology
    seconds = a.seconds or a.minutes * 60
    with Topology(lines=[Line(d, u, ms) for d, u, ms in RATES]) as topo:
        topo.serve()
        with Pair(topo) as pair:
            print(facts(pair.local), "|", facts(pair.remote), flush=True)
            trouble = Trouble(topo, random.Random(a.seed), a.grace)
            run = topo.lan.popen([sys.executable, HERE, "--client", "--seconds", seconds, "--parallel", a.parallel,
                                  "--seed", a.seed], stdout=-1)
            begin = time.monotonic()
            while run.poll() is None and time.monotonic() - begin < seconds - 5:
                time.sleep(trouble.rng.uniform(0.2, 4))
                if (said := trouble.step(time.monotonic())):
                    bench.progress(f"{time.monotonic() - begin:7.1f} s  {said}")
            trouble.heal()
            out, _ = run.communicate(timeout=300)
            tally = json.loads(out)
            time.sleep(5)
            print(facts(pair.local), "|", facts(pair.remote), flush=True)
            if a.log:
                Path(a.log).write_text("".join(f"--- {d.program.name}\n{d.logged()}\n" for d in (pair.local, pair.remote)))
            left = pair.local.status()["relays"], pair.remote.status()["relays"]
    rows = [["transfers", tally["done"]], ["wrong", len(tally["wrong"])], ["MB", tally["bytes"] / 1e6],
            ["longest silence, s", tally["longest"]], ["relays left", "%d, %d" % left],
            ["troubles", ", ".join(f"{n} {w}" for w, n in sorted(trouble.counts.items()))]]
    for wrong in tally["wrong"][:20]:
        print("wrong:", wrong)
    bench.report(f"Soak: {seconds / 60:.0f} min, {a.parallel} parallel transfers on three failing lines", ["", "value"], rows,
                 f"At any time one line at least is sound, and has been for {a.grace:.0f} s.", a.save)
    return 1 if tally["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
