"""Fears: a NAT that forgets, datagrams overheard and sent again, floods of garbage, processes that sleep or start anew, marks and odd sizes:
each of them with a call going on."""
import contextlib
import random
import signal
import socket
import struct
import threading
import time

import pytest

import inside
import tunnel
from topology import SERVER4, SERVER6, SLACK, VPS4, Line, Topology, wait_for

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


@pytest.mark.parametrize("address", [False, True])
def test_a_nat_that_forgets(topo, plait, lines, address):
    before = plait.paths("remote")[0]
    call = tunnel.Flow(topo, "call", 100, 160, seconds=5)
    time.sleep(1)
    lines[0].rebind(address)
    wait_for(lambda: [g for g in plait.pair.remote.status()["gateways"][0]["paths"]
                      if g["path"] == 0 and g["state"] == "up" and g["address"].startswith(lines[0].outside)
                      and 20000 <= int(g["address"].rsplit(":", 1)[1]) < 60000], "the path at its new address")
    unchanged(call.result())
    lines[1].set(hole="both")  # and now it has to carry all
    unchanged(tunnel.flow(topo, "call", 100, 160, seconds=2))
    assert before["path"] == 0


def test_replays_do_nothing(topo, plait, lines):
    ear = Ear(topo.vps)
    unchanged(tunnel.flow(topo, "call", 400, 160, seconds=3))
    heard = ear.take()
    assert len(heard) > 1500
    paths = [g["address"] for g in plait.pair.remote.status()["gateways"][0]["paths"]]
    stranger, replies = udp(topo.server), 0
    stranger.setblocking(False)
    call = tunnel.Flow(topo, "call", 100, 160, seconds=3)
    with stranger:
        for datagram in heard * 3:
            stranger.sendto(datagram, (VPS4, PORT))
            with contextlib.suppress(BlockingIOError):
                replies += len(stranger.recv(2048))
    unchanged(call.result())
    assert replies < sum(map(len, heard))
    assert [g["address"] for g in plait.pair.remote.status()["gateways"][0]["paths"]] == paths
    for line in (0, 1):  # nothing of ours goes to the stranger
        lines[line].set(hole="both")
        unchanged(tunnel.flow(topo, "call", 100, 160, seconds=1.5))
        lines[line].set(hole=None)
        plait.wait_up()


def test_garbage(topo, plait, lines):
    ear = Ear(topo.vps)
    unchanged(tunnel.flow(topo, "call", 100, 160, seconds=1))
    good, rng = ear.take(), random.Random(1)
    bad = []
    for datagram in good:
        flipped = bytearray(datagram)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        bad += [bytes(flipped), datagram[:rng.randrange(len(datagram))], datagram + b"\0", rng.randbytes(rng.randrange(1500))]
        bad += [bytes([datagram[0] ^ bit]) + datagram[1:] for bit in (0x80, 0x40, 0x38, 0x07)]
    memory = [d.pss_kib() for d in (plait.pair.local, plait.pair.remote)]
    call = tunnel.Flow(topo, "call", 200, 160, seconds=4)
    end, stranger = time.monotonic() + 3, udp(topo.server)
    with stranger:
        while time.monotonic() < end:
            for datagram in bad:
                stranger.sendto(datagram, (VPS4, PORT))
            time.sleep(0.05)  # some 10,000 a second; the rest of this machine shall live
    unchanged(call.result())
    for d, was in zip((plait.pair.local, plait.pair.remote), memory):
        assert d.pss_kib() < was + 4096
        assert not d.status()["counters"]["tun_refused"]  # what a stranger sent stood where an inner packet was


def test_a_stranger_gets_no_more_than_he_gives(topo, plait):
    stranger, sent, got = udp(topo.server), 0, 0
    stranger.settimeout(0.2)
    with stranger:
        for i in range(2000):
            datagram = bytes([0x41]) + struct.pack("!I", i)[1:] + bytes(20 + i % 100)
            stranger.sendto(datagram, (VPS4, PORT))
            sent += len(datagram)
        with contextlib.suppress(TimeoutError):
            while True:
                got += len(stranger.recv(2048))
    assert got <= sent / 10
    assert plait.paths()[0]["state"] == "up"


@pytest.mark.parametrize("side", ["local", "remote"])
def test_a_process_that_slept(topo, plait, lines, side):
    plait.daemon(side).process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    plait.daemon(side).process.send_signal(signal.SIGCONT)
    time.sleep(1)
    unchanged(tunnel.flow(topo, "call", 100, 160, seconds=2))
    plait.wait_up()


@pytest.mark.parametrize("side", ["local", "remote"])
def test_a_restart_in_the_middle(side):
    with Topology(lines=LINES) as topo:
        tunnel.serve(topo)
        with tunnel.Daemons(topo) as plait:
            call = tunnel.Flow(topo, "call", 100, 160, seconds=9, series=1)
            time.sleep(2)
            plait.daemon(side).stop()
            plait.daemon(side).start()
            begun = time.monotonic()
            plait.wait_up()
            took = time.monotonic() - begun
            r = call.result()["both"]
            late = r["ms"][int(100 * (2.5 + took + 1)):]
            assert len(late) > 200 and None not in late and r["twice"] == 0
            assert took < 6 * SLACK


def test_either_family_outside():
    """Both families inside, either outside."""
    for options in ({"ipv6": False}, {"ipv4": False}):
        with Topology(lines=LINES, **options) as topo:
            tunnel.serve(topo)
            with tunnel.Daemons(topo):
                host = SERVER4 if topo.ipv4 else SERVER6
                unchanged(tunnel.flow(topo, "call", 200, 1200, seconds=2, host=host))


def test_every_mark_is_copied(topo, plait):
    ear = Ear(topo.vps)
    marks = list(range(0, 256, 4))
    for tos in marks:
        tunnel.flow(topo, "send", 1000, 777, count=4, tos=tos, wait=0)
    time.sleep(0.3)
    ear.take()
    assert ear.marks >= set(marks)


@pytest.mark.parametrize("less", ["", "gso", "gro", "mmsg", "gso,gro,mmsg", "uso", "vnet,uso,tso"])
def test_every_size_whatever_the_kernel_offers(monkeypatch, less):
    monkeypatch.setenv("PLAIT_WITHOUT", less)
    with Topology(lines=LINES) as topo:
        tunnel.serve(topo)
        with tunnel.Bare(topo):
            for size in (48, 49, 255, 1000, 1371, 1419, 1420, 1421, 2000, 9000, 30000):
                tunnel.flow(topo, "call", 100, size, count=2, wait=100)  # hosts learn from their first packets how long they may be
                r = tunnel.flow(topo, "call", min(100, 1_500_000 // size), size, count=10)  # 12 Mbit/s at most: a size is tried, not a rate
                assert r["both"]["lost"] <= 2 and r["damaged"] == 0, size
            for size, batch in ((100, 40), (1372, 40), (1372, 3)):
                server = tunnel.serve(topo, port=7102)
                tunnel.Flow(topo, "send", 400, size, count=120, batch=batch, port=7102, wait=0).result()
                time.sleep(0.3)
                counted = tunnel.counts(server)[0]
                assert counted["up"]["got"] >= 100 and not counted["damaged"]  # bursts of 40 may find a full queue


def test_a_hundred_gateways(topo):
    """The engine alone: 99 idle ends beside one that is used."""
    with Topology(lines=LINES) as crowd:
        tunnel.serve(crowd)
        with tunnel.Bare(crowd, local=["clients=100"], remote=["clients=100"]) as engine:
            time.sleep(4)  # a hundred times each size is a lot for one line
            unchanged(tunnel.flow(crowd, "call", 100, 160, seconds=2))
            time.sleep(12)  # until the idle ones are quiet
            before = tunnel.cpu_seconds(engine.pid("remote"))
            time.sleep(5)
            assert tunnel.cpu_seconds(engine.pid("remote")) - before <= 0.05
            with open(f"/proc/{engine.pid('remote')}/smaps_rollup", encoding="ascii") as f:
                pss = next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
            assert pss < 16384
