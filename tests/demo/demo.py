#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Two slow lines on one machine, and what plait makes of them. Run by `sudo make demo`.

A home, two emulated lines and a VPS are raised in network namespaces. curl fetches and sends a file
over each line alone and over plait; then one line is cut in mid-download, silently. Then telephone calls
are held, over each line alone and over plait, while one line dies for seconds and the other loses much.
The figures end in two tables, the pictures in ./plait-demo.svg and ./plait-call.svg. Exit code 1: a file was
not the same, or a call over plait did not hold.

The parent only watches: a child does everything, in a session of its own. Whether the child ends, is
told to stop (Ctrl-C, SIGTERM) or is killed, the parent then takes away what is left of it: its
namespaces with all processes in them, and its one temporary directory.
"""
import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETTINGS = HERE.parents[1] / "conf/60-plait.conf"
sys.path[:0] = [str(HERE), str(HERE.parent / "net")]

import callstage  # noqa: E402
import picture  # noqa: E402
import table  # noqa: E402
import transfer  # noqa: E402
from pair import Pair  # noqa: E402
from topology import Line, SERVER4, SERVER6, Topology, _sweep, rate_bits  # noqa: E402

PORT = 80
SECONDS = 4       # of each transfer, at the sum of the lines
CUT_AT, CUT_SECONDS = 4, 11
CUT_LINE = 0

SETS = [
    ("two DSL lines of 2013", [Line("8.41M", "786k", 20), Line("8.76M", "746k", 20)]),
    ("DSL and LTE of today", [Line("40M", "8M", 12), Line("30M", "10M", 30)]),
]
FAMILIES = [("IPv4", SERVER4), ("IPv6", SERVER6)]
WAYS = [("down", "download"), ("up", "upload")]


class Screen:
    """One live line on a terminal; elsewhere one plain line for each transfer."""

    def __init__(self):
        self.live = sys.stdout.isatty()
        self.name, self.total = "", 1

    def say(self, text=""):
        print(("\r\033[K" if self.live else "") + text, flush=True)

    def live_line(self, text):
        if self.live:
            print(f"\r\033[K{text}", end="", flush=True)

    def begin(self, name, total_mbit):
        self.name, self.total = name, total_mbit

    def show(self, t):
        if not self.live or len(t.samples) < 4:
            return
        a, b = t.samples[-4], t.samples[-1]
        mbit = [8e-6 * (y - x) / (b.at - a.at) for x, y in zip(a.lines, b.lines)]
        bar = "".join(c * round(16 * m / self.total) for c, m in zip("#=", mbit))[:16]
        self.live_line(f"  {self.name:<28} {b.at:4.1f} s {sum(mbit):6.2f} = {mbit[0]:5.2f} + {mbit[1]:5.2f}  {bar}")

    def end(self, t):
        got = f"{t.mbit:6.2f} Mbit/s" if t.equal else f"failed: {t.error or 'not the same file'}"
        self.say(f"  {self.name:<28} {got}")


def mbit_of(line, way):
    return rate_bits(getattr(line, way)) / 1e6


def ordered(line):
    return f"{mbit_of(line, 'down'):g} down / {mbit_of(line, 'up'):g} up, {line.delay_ms:g} ms"


def settle(topo):
    """The kernel settings that `make install` brings, as far as a namespace has its own."""
    lines = SETTINGS.read_text(encoding="utf-8").splitlines()
    own = dict(line.lstrip("-").split(" = ") for line in lines if line.lstrip("-").startswith(("net.ipv4", "net.mptcp")))
    for ns in (topo.gw, topo.vps):
        for name, value in own.items():
            ns.run(["sysctl", "-qw", f"{name}={value}"], check=False)


class Stage:
    """One pair of lines, from raising to the last transfer."""

    def __init__(self, topo, film, screen, title):
        self.topo, self.film, self.screen, self.title = topo, film, screen, title
        self.done = {}  # (family, way, "line 1" | "line 2" | "plait") -> Transfer

    def serve(self):
        web = self.topo.server.popen([sys.executable, HERE / "web.py", self.film.path, PORT], stdout=subprocess.PIPE)
        if web.stdout.readline() != "ready\n":
            raise RuntimeError("the web server did not start")

    def one(self, family, host, way, who, mbit):
        size = int(mbit * 1e6 * SECONDS / 8)
        self.screen.begin(f"{family} {dict(WAYS)[way]}, {who}", mbit)
        move = transfer.download if way == "down" else transfer.upload
        t = move(self.topo, self.film, host, PORT, size, self.screen.show)
        self.screen.end(t)
        self.done[family, way, who] = t

    def alone(self, line):
        """Direct, by the gateway's NAT, with the way to the server on one line."""
        live = self.topo.line[line]
        ways = [f"{SERVER4} via {self.topo.gateway(line)}", f"{SERVER6} via fe80::1"]
        self.topo.gw.ip(*[f"route replace {w} dev {live.device}" for w in ways])
        for family, host in FAMILIES:
            for way, _ in WAYS:
                self.one(family, host, way, f"line {line + 1}", mbit_of(self.topo.lines[line], way))
        self.topo.gw.ip(*[f"route del {w} dev {live.device}" for w in ways])

    def together(self):
        for family, host in FAMILIES:
            for way, _ in WAYS:
                self.one(family, host, way, "plait", self.topo.sum_bits(way) / 1e6)

    def cut(self):
        """A long download; one line swallows everything from CUT_AT on, and nobody is told."""
        total = self.topo.sum_bits("down") / 1e6
        left = mbit_of(self.topo.lines[1 - CUT_LINE], "down")
        size = int(0.9 * (total * CUT_AT + left * (CUT_SECONDS - CUT_AT)) * 1e6 / 8)
        cut = [(CUT_AT, lambda: self.topo.line[CUT_LINE].set(hole="both"))]
        self.screen.begin(f"IPv4 download, line {CUT_LINE + 1} cut", total)
        t = transfer.download(self.topo, self.film, SERVER4, PORT, size, self.screen.show, cut)
        self.screen.end(t)
        self.done["IPv4", "down", "cut"] = t

    def rows(self):
        rows = [[self.title + ":"] + [""] * 6]
        for family, _ in FAMILIES:
            for way, name in WAYS:
                ts = [self.done[family, way, who] for who in ("line 1", "line 2", "plait")]
                share = ts[2].mbit and ts[2].mbit / (self.topo.sum_bits(way) / 1e6)
                rows.append([f"  {family} {name}", *[table.number(t.mbit) for t in ts],
                             f"{100 * share:.0f} %" if share else "failed", f"{1e3 * ts[2].stall:.0f}",
                             "equal" if all(t.equal for t in ts) else "DIFFERENT"])
        cut = self.done.get(("IPv4", "down", "cut"))
        if cut:
            rows.append([f"  IPv4 download, line {CUT_LINE + 1} cut", "", "", table.number(cut.mbit), "",
                         f"{1e3 * cut.stall:.0f}", "equal" if cut.equal else "DIFFERENT"])
        return rows


HEAD = ["Mbit/s of the file", "line 1", "line 2", "plait", "of the sum", "longest stall ms", "SHA-256"]


def panels(old, new):
    runs = [picture.Run(who, old.done["IPv4", "down", who].samples) for who in ("line 1", "line 2", "plait")]
    runs[0].label, runs[1].label = "line 1 alone", "line 2 alone"
    cut = picture.Run(f"plait; nobody was told that line {CUT_LINE + 1} is dead",
                      new.done["IPv4", "down", "cut"].samples, [(CUT_AT, f"line {CUT_LINE + 1} cut")])
    return [picture.Panel(f"One download over {old.title}", runs, old.topo.sum_bits() / 1e6),
            picture.Panel(f"One download over {new.title}, cut on its way", [cut], new.topo.sum_bits() / 1e6)]


def transfers(screen):
    stages = []
    film = transfer.Film.make(Path(tempfile.mkdtemp(prefix="film-")), 80_000_000)
    for title, lines in SETS:
        screen.say(f"\n{title}, Mbit/s: " + "; ".join(map(ordered, lines)))
        with Topology(lines=lines) as topo:
            stage = Stage(topo, film, screen, title)
            stages.append(stage)
            stage.serve()
            settle(topo)
            for i in range(len(lines)):
                stage.alone(i)
            with Pair(topo):
                stage.together()
                if title == SETS[-1][0]:
                    stage.cut()
    return stages


def write(path, svg):
    path.write_text(svg, encoding="utf-8")
    owner = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if all(owner):
        os.chown(path, *map(int, owner))


def play(svg, call_svg):
    """The child's whole life."""
    begun, screen = time.monotonic(), Screen()
    stages = transfers(screen)
    screen.say(f"\n{callstage.TITLE}; {callstage.SECONDS} seconds")
    calls = callstage.play(screen, settle)
    screen.say("\n" + table.render(HEAD, [row for stage in stages for row in stage.rows()]))
    screen.say("\n" + table.render(callstage.HEAD, [callstage.row(c) for c in calls]))
    write(svg, picture.draw(panels(*stages)))
    write(call_svg, callstage.picture(calls))
    screen.say(f"\nThe pictures of it: {svg} and {call_svg}   ({time.monotonic() - begun:.0f} s)")
    return 0 if callstage.passed(calls) and all(t.equal for stage in stages for t in stage.done.values()) else 1


# The parent.

def die_with_parent():
    """In the child: SIGTERM when the parent is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Told(Exception):
    """A signal said stop."""


def watch(argv):
    """Runs the child to its end, whatever that is; its exit code."""
    if os.geteuid():
        sys.exit("demo: network namespaces need root: sudo make demo")
    tmp = tempfile.mkdtemp(prefix="plait-demo-")

    def stop(number, _frame):
        raise Told(number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    child, code = None, 1
    try:
        child = subprocess.Popen([sys.executable, __file__, "--play", tmp, *argv], start_new_session=True,
                                 preexec_fn=die_with_parent, env={**os.environ, "TMPDIR": tmp})
        code = child.wait()
    except Told as told:
        code = 128 + told.args[0]
        print("\ndemo: stopping", file=sys.stderr)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        clean(child, tmp)
    return code if code >= 0 else 128 - code


def clean(child, tmp):
    if child and child.poll() is None:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    if child:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    _sweep()  # namespaces whose owner no longer lives
    shutil.rmtree(tmp, ignore_errors=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--svg", type=Path, default=Path("plait-demo.svg"), help="where the picture of the transfers goes")
    p.add_argument("--call-svg", type=Path, default=Path("plait-call.svg"), help="where that of the calls goes")
    p.add_argument("--play", metavar="TMP", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.play:
        try:
            return play(a.svg, a.call_svg)
        finally:  # the parent may have been killed
            shutil.rmtree(a.play, ignore_errors=True)
    return watch(["--svg", str(a.svg), "--call-svg", str(a.call_svg)])


if __name__ == "__main__":
    sys.exit(main())
