# SPDX-License-Identifier: BSD-2-Clause
"""Fears: a NAT that forgets, datagrams overheard and sent again, floods of garbage, processes that sleep or start anew, marks and odd sizes:
each of them with a call going on."""
import contextlib
import signal
import socket
import struct
import threading
import time

import pytest

from each import each
import inside
import tunnel
from topology import SERVER4, SERVER6, Line, Topology, wait_for

LINES = [Line("20M", "20M", 10), Line("20M", "20M", 30)]
ETH_P_ALL = socket.htons(3)
PORT = 7200  # of the remote


@pytest.fixture(scope="module")
def plait(topo):
    tunnel.serve(topo)
    with tunnel.Daemons(topo) as t:
        yield t


@pytest.fixture
def lines(topo, plait):
    yield topo.line
    for line in topo.line:
        line.set(hole=None, loss=0)
    plait.wait_up()


class Ear(threading.Thread):
    """Overhears the UDP datagrams for a port that arrive at the VPS: what is in them, and their marks."""

    def __init__(self, ns, device="eth0", port=PORT):
        super().__init__(daemon=True)
        with inside.inside(ns):
            self.s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, ETH_P_ALL)
            self.s.bind((device, 3))
        self.s.settimeout(0.1)
        self.s.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        self.port, self.heard, self.marks, self.stop = port, [], set(), False
        self.start()

    def run(self):
        while not self.stop:
            with contextlib.suppress(TimeoutError):
                frame = self.s.recv(2048)
                if frame[12:14] == b"\x08\0" and frame[23] == 17 and struct.unpack("!H", frame[36:38])[0] == self.port:
                    self.heard.append(frame[42:14 + struct.unpack("!H", frame[16:18])[0]])
                    self.marks |= {frame[15]} if len(frame) > 777 else set()

    def take(self):
        self.stop = True
        self.join()
        self.s.close()
        return self.heard


def udp(ns):
    with inside.inside(ns):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def unchanged(call):
    assert call["both"]["lost"] == 0 and call["both"]["twice"] == 0 and call["damaged"] == 0


def packets(plait):
    """Sent back by the VPS so far."""
    return plait.status("remote")["classes"]["R"]["packets"]


@each("address", [False, True])
def test_a_nat_that_forgets(topo, plait, lines, address):
    before = plait.paths("remote")[0]
    call = tunnel.Flow(topo, "call", 100, 160, seconds=3)
    heard = packets(plait)
    wait_for(lambda: packets(plait) > heard + 50, "the call is held")
    lines[0].rebind(address)
    wait_for(lambda: [g for g in plait.pair.remote.status()["gateways"][0]["paths"]
                      if g["path"] == 0 and g["state"] == "up" and g["address"].startswith(lines[0].outside)
                      and 20000 <= int(g["address"].rsplit(":", 1)[1]) < 60000], "the path at its new address")
    unchanged(call.result())
    lines[1].set(hole="both")  # and now it has to carry all
    unchanged(tunnel.flow(topo, "call", 100, 160, count=50))
    assert before["path"] == 0


@each("side", ["local", "remote"])
def test_a_process_that_slept(topo, plait, lines, side):
    """The VPS until the house has given up every path; the house for longer than a VPS has to be silent to be given up."""
    try:
        plait.daemon(side).process.send_signal(signal.SIGSTOP)
        if side == "remote":
            wait_for(lambda: not any(p["state"] == "up" for p in plait.paths().values()), "it is missed")
        else:
            time.sleep(5)
    finally:
        plait.daemon(side).process.send_signal(signal.SIGCONT)
    plait.wait_up()
    unchanged(tunnel.flow(topo, "call", 100, 160, count=50))


def test_either_family_outside():
    """Both families inside, either outside."""
    for options in ({"ipv6": False}, {"ipv4": False}):
        with Topology(lines=LINES, **options) as topo:
            tunnel.serve(topo)
            with tunnel.Daemons(topo):
                host = SERVER4 if topo.ipv4 else SERVER6
                unchanged(tunnel.flow(topo, "call", 200, 1200, count=200, host=host))


def test_every_mark_is_copied(topo, plait):
    ear, marks = Ear(topo.vps), set(range(0, 256, 4))
    with udp(topo.lan) as s:
        for tos in sorted(marks):
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
            for _ in range(4):
                s.sendto(bytes(777), (SERVER4, 9))
            time.sleep(0.005)
        wait_for(lambda: ear.marks >= marks, "each mark outside")
    ear.take()


@pytest.fixture(scope="module")
def other():
    """A house for the engine alone."""
    with Topology(lines=LINES) as topo:
        tunnel.serve(topo)
        yield topo


@each("less", ["", "gso,gro,mmsg", "vnet,uso,tso"])
def test_every_size_whatever_the_kernel_offers(other, monkeypatch, less):
    monkeypatch.setenv("PLAIT_WITHOUT", less)
    with tunnel.Bare(other):
        for size in (48, 49, 255, 1000, 1371, 1419, 1420, 1421, 2000, 9000, 30000):
            wait_for(lambda n=size: passes(other, n, pps=min(100, 1_500_000 // n), count=10) >= 8, f"{size} bytes")  # 12 Mbit/s at most
        for size, batch in ((100, 40), (1372, 40), (1372, 3)):
            wait_for(lambda n=size, b=batch: passes(other, n, pps=400, count=120, batch=b) >= 100, f"{size} bytes, {batch} at once")


def passes(topo, size, pps, count, **how):
    """How many of so many come back unchanged. Not all at first: hosts learn how long they may be, and the pace what the lines carry."""
    r = tunnel.flow(topo, "call", pps, size, count=count, wait=200, **how)
    assert r["damaged"] == 0 and r["both"]["twice"] == 0
    return r["both"]["got"]


def frames(topo):
    return sum(line[way]["in_frames"] for line in topo.emulator_stats().values() for way in ("up", "down"))


def test_a_hundred_gateways(other):
    """The engine alone: 99 idle ends beside one that is used."""
    with tunnel.Bare(other, local=["clients=100"], remote=["clients=100"]) as engine:
        def quiet():
            before = frames(other)
            time.sleep(0.5)
            return frames(other) - before < 50
        wait_for(quiet, "the idle ones are quiet")  # a hundred times each size was a lot for one line
        unchanged(tunnel.flow(other, "call", 100, 160, count=100))
        wait_for(quiet, "quiet again")
        before = tunnel.cpu_seconds(engine.pid("remote"))
        time.sleep(2)
        assert tunnel.cpu_seconds(engine.pid("remote")) - before < 0.045
        with open(f"/proc/{engine.pid('remote')}/smaps_rollup", encoding="ascii") as f:
            pss = next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        assert pss < 16384
