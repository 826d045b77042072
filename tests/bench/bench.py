# SPDX-License-Identifier: BSD-2-Clause
"""What the benchmarks share: the topology's path, an aligned table, a place to keep it."""
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/net"))
from topology import SERVER4  # noqa: E402  pylint: disable=wrong-import-position

REPORT = ROOT / "docs/benchmarks.md"
TLS_FIRST = {"tls": True}
CLEAR = {"local_set": {"relay.clear": "yes"}, "remote_set": {"relay.clear": "yes"}}


@contextlib.contextmanager
def direct(topo, line=0):
    """Without plait: the gateway's NAT, with the server's route on one line."""
    topo.gw.ip(f"route replace {SERVER4} via {topo.gateway(line)} dev {topo.line[line].device}")
    try:
        yield
    finally:
        topo.gw.ip(f"route del {SERVER4}")


def arguments(parser):
    parser.add_argument("--reps", type=int, default=5, help="repetitions, of which the median is printed")
    parser.add_argument("--save", action="store_true", help="append the table to docs/benchmarks.md")
    parser.add_argument("--rows", type=Path, help="a file that keeps rows between runs, for a table made in several")
    return parser.parse_args()


def with_kept(a, rows):
    """These rows, behind (or in the place of) those that earlier runs left in --rows."""
    if not a.rows:
        return rows
    kept = {row[0]: row for row in (json.loads(a.rows.read_text()) if a.rows.exists() else [])}
    kept.update({row[0]: row for row in rows})
    a.rows.write_text(json.dumps(list(kept.values())))
    return list(kept.values())


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def percentile(values, p):
    values = sorted(values)
    return values[round(p * (len(values) - 1))] if values else None


def number(value, digits=3):
    if value is None:
        return "failed"
    return value if isinstance(value, str) else f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def table(head, rows):
    cells = [head] + [[number(c) for c in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths)))
             for row in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="ascii")
                if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores {cpu}, Linux {platform.release()}"


def report(title, head, rows, note, save):
    text = table(head, rows)
    print(f"\n{title} ({machine()})\n{text}\n{note}\n", flush=True)
    if not save:
        return
    REPORT.parent.mkdir(exist_ok=True)
    new = not REPORT.exists()
    with open(REPORT, "a", encoding="utf-8") as f:
        if new:
            f.write("# Benchmarks\n\nMade by `make bench`; see tests/bench/.\n")
        f.write(f"\n## {title}, {time.strftime('%Y-%m-%d')}\n\n{machine()}\n\n```\n{text}\n```\n\n{note}\n")


def progress(text):
    print(f"  {text}", file=sys.stderr, flush=True)


IN_CLEAR = "In clear: how many of all connections so far the local, the remote relayed unsealed, as they counted."


def in_clear(pair):
    if not pair:
        return "-"
    counts = [d.status()["counters"] for d in (pair.local, pair.remote)]
    return ", ".join(f"{c['opens_clear']}/{c['relays_opened']}" for c in counts)


def loadgen(ns, topology, *args, timeout=120, **kw):
    """loadgen's answer as a dict; {"failed": -1} when it gave none."""
    done = ns.run([topology.TOOLS / "loadgen", *args], check=False, timeout=timeout, **kw)
    return json.loads(done.stdout) if done.stdout.strip() else {"failed": -1, "error": done.stderr}
