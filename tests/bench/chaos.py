#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Is a connection through plait a connection? 200 chaotic ones, each end comparing what it saw with what was sent.

Both ends know the plan: how many bytes go each way, how fast each reads, and how it ends:
  both            each sends all, closes its half, and reads to the end
  client-first    the server speaks only after the client's FIN
  server-first    the client goes on sending after the server's FIN
  server-reset    the server resets after having read and sent part
  client-reset    the client resets after having read and sent part
A half-close must keep the other half whole, and a reset must be seen as a reset, never as an end.
"""
import argparse
import json
import random
import socket
import sys
import threading
import time

ENDS = ["both"] * 4 + ["client-first"] * 2 + ["server-first"] * 2 + ["server-reset", "client-reset"]
PROMPT = 5  # seconds after which whatever still stands is hanging


def plan(rng, number):
    def size():
        return rng.choice([0, 1, rng.randrange(2, 1400), rng.randrange(1400, 60_000), rng.randrange(60_000, 600_000)])

    def pace():
        return rng.choice([0, 0, 0, 300_000])
    p = {"id": number, "end": ENDS[number % len(ENDS)], "up": size(), "down": size(), "up_pace": pace(),
         "down_pace": pace(), "seed": rng.randrange(16), "tls": bool(number // len(ENDS) % 2)}
    if p["end"].endswith("reset"):
        p["up"] += 1
        p["down"] += 1
    return p


class Half:
    """One thread that sends; the caller reads meanwhile."""

    def __init__(self, s, seed, size, close=True):
        self.error = None
        self.thread = threading.Thread(target=self._run, args=(s, seed, size, close), daemon=True)
        self.thread.start()

    def _run(self, s, seed, size, close):
        import peer
        try:
            peer.send_pattern(s, seed, size)
            if close:
                s.shutdown(socket.SHUT_WR)
        except OSError as e:
            self.error = type(e).__name__

    def join(self):
        self.thread.join()
        return self.error


def exchange(s, seed, size_out, size_in, pace_in, wait_for_fin, close):
    """Sends and reads at once, or reads to the end first. What this end saw."""
    import peer
    out = None if wait_for_fin else Half(s, seed, size_out, close)
    saw = {"got": 0, "exact": True, "end": "fin"}
    try:
        check = Reader(s, seed + 1, pace_in, None if close else size_in)
        saw.update(got=check.size, exact=check.exact, end=check.end)
        if wait_for_fin and check.end == "fin":
            peer.send_pattern(s, seed, size_out)
            s.shutdown(socket.SHUT_WR)
    except OSError as e:
        saw["end"] = type(e).__name__
    error = out.join() if out else None
    if error and saw["end"] == "fin":
        saw["end"] = error
    return saw


class Reader:
    """Like peer.read_pattern(), but remembers what came before a reset."""

    def __init__(self, s, seed, pace, limit):
        import peer
        check, start = peer.Check(seed), time.monotonic()
        self.end = "fin"
        try:
            while limit is None or check.size < limit:
                want = 4096 if pace else 65536
                data = s.recv(want if limit is None else min(want, limit - check.size))
                if not data:
                    break
                check.add(data)
                if pace:
                    time.sleep(max(0, start + check.size / pace - time.monotonic()))
            else:
                self.end = "limit"
        except ConnectionResetError:
            self.end = "reset"
        self.size, self.exact = check.size, check.exact


# What the server saw, by plan; fetched over a connection of its own.
_saw = {}


def serve(s, text):
    import peer
    if text == "results":
        s.sendall(json.dumps(_saw).encode())
        return
    p = json.loads(text)
    _saw[p["id"]] = {"end": "hangs"}
    if p["end"] == "server-reset":
        saw = exchange(s, p["seed"], p["down"], p["up"], p["up_pace"], False, False)
        time.sleep(0.05)
        peer.reset(s)
    elif p["end"] == "client-reset":
        saw = exchange(s, p["seed"], p["down"], None, p["up_pace"], False, False)
    else:
        saw = exchange(s, p["seed"], p["down"], p["up"], p["up_pace"], p["end"] == "client-first", True)
    _saw[p["id"]] = saw


def client(host, port, p):
    import peer
    with socket.create_connection((host, port), timeout=30) as s:
        s.settimeout(30)
        s.sendall(peer.header("chaos " + json.dumps(p), p["tls"]))
        if p["end"].endswith("reset"):
            mine = p["end"] == "client-reset"
            out = Half(s, p["seed"] + 1, p["up"], False)
            r = Reader(s, p["seed"], p["down_pace"], p["down"] if mine else None)
            error = out.join()  # a reset is told once: to the reader or to the writer
            if mine:
                peer.reset(s)
            return {"got": r.size, "exact": r.exact, "end": "reset" if error == "ConnectionResetError" else r.end}
        if p["end"] == "server-first":
            r = Reader(s, p["seed"], p["down_pace"], None)
            peer.send_pattern(s, p["seed"] + 1, p["up"])
            s.shutdown(socket.SHUT_WR)
            return {"got": r.size, "exact": r.exact, "end": r.end}
        out = Half(s, p["seed"] + 1, p["up"])
        r = Reader(s, p["seed"], p["down_pace"], None)
        error = out.join()
        return {"got": r.size, "exact": r.exact, "end": error or r.end}


def judge(p, here, there):
    """None when both ends saw what the plan says, else what is wrong."""
    if here is None or there is None:
        return f"no connection ({'client' if here is None else 'server'})"
    if "hangs" in (here["end"], there["end"]):
        return f"{'client' if here['end'] == 'hangs' else 'server'} hangs"
    if not (here.get("exact", True) and there.get("exact", True)):
        return "wrong bytes"
    if p["end"] == "server-reset":
        return None if here["end"] == "reset" else f"server's reset seen as {here['end']}"
    if p["end"] == "client-reset":
        if here["got"] != p["down"]:
            return f"client got {here['got']} of {p['down']}: {here['end']}"
        return None if there["end"] == "reset" else f"client's reset seen as {there['end']}"
    if (here["got"], there["got"]) != (p["down"], p["up"]):
        return f"lost data: client {here['got']} of {p['down']} ({here['end']}), " \
               f"server {there['got']} of {p['up']} ({there['end']})"
    if (here["end"], there["end"]) != ("fin", "fin"):
        return f"ended by {here['end']} and {there['end']}"
    return None


def ask_results(host, port):
    import peer
    with socket.create_connection((host, port), timeout=10) as s:
        s.sendall(peer.header("chaos results"))
        s.shutdown(socket.SHUT_WR)
        data = b""
        while more := s.recv(65536):
            data += more
    return {int(k): v for k, v in json.loads(data).items()}


def run_client(host, port, count, seed, parallel):
    """All connections, `parallel` at a time; the tally as JSON on stdout."""
    rng = random.Random(seed)
    plans = [plan(rng, i) for i in range(count)]
    results, slots = {}, threading.Semaphore(parallel)

    def one(p):
        with slots:
            try:
                results[p["id"]] = client(host, port, p)
            except TimeoutError:
                results[p["id"]] = {"end": "hangs"}
            except OSError as e:
                results[p["id"]] = {"end": type(e).__name__, "got": 0, "exact": True}
    threads = [threading.Thread(target=one, args=(p,), daemon=True) for p in plans]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    deadline = time.monotonic() + PROMPT
    while True:
        there = ask_results(host, port)
        if all(v["end"] != "hangs" for v in there.values()) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    wrong = {}
    for p in plans:
        verdict = judge(p, results.get(p["id"]), there.get(p["id"]))
        if verdict:
            wrong[p["id"]] = f"{p['end']} {'clear' if p['tls'] else 'sealed'}: {verdict}"
    resets = [p for p in plans if p["end"].endswith("reset")]
    print(json.dumps({"count": count, "exact": count - len(wrong), "resets": len(resets),
                      "resets_seen": sum(p["id"] not in wrong for p in resets),
                      "hanging": sum("hangs" in w for w in wrong.values()), "wrong": wrong}))


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "client":
        _, _, host, port, count, seed, parallel = sys.argv
        return run_client(host, int(port), int(count), int(seed), int(parallel))
    import bench
    from pair import Pair
    from topology import SERVER4, Topology
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=200)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--parallel", type=int, default=20)
    p.add_argument("--direct", action="store_true", help="only the yardstick, without plait")
    a = bench.arguments(p)
    rows = []
    for system in ["direct"] if a.direct else ["direct", "plait"]:
        with Topology() as topo:
            topo.serve()
            pair = Pair(topo, **bench.CLEAR).start() if system == "plait" else None
            r = run_in(topo, SERVER4, a.count, a.seed, a.parallel)
            for number, wrong in r["wrong"].items():
                bench.progress(f"{system} {number}: {wrong}")
            rows.append([system, r["count"], r["exact"], r["resets"], r["resets_seen"], r["hanging"],
                         bench.in_clear(pair)])
            if pair:
                pair.stop()
    head = ["", "connections", "exact", "resets", "seen as reset", "hanging", "in clear"]
    bench.report("Fidelity", head, rows,
                 f"Seed {a.seed}, {a.parallel} at a time, every second ten as TLS. {bench.IN_CLEAR}", a.save)
    return 0 if rows[-1][1] == rows[-1][2] else 1


def run_in(topo, host, count=200, seed=1, parallel=20):
    """The tally, run from the LAN; tests use it too."""
    import os
    from topology import ROOT
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests/net")}
    out = topo.lan.run([sys.executable, ROOT / "tests/bench/chaos.py", "client", host, 7000, count, seed, parallel],
                       timeout=240, env=env)
    return json.loads(out.stdout)


if __name__ == "__main__":
    sys.exit(main())
