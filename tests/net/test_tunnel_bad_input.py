# SPDX-License-Identifier: BSD-2-Clause
"""Fears: the tunnel mends, merges or loses what it should carry as it is; odd packets, small lines, lines that come and go, and old datagrams hurt."""
import contextlib
import json
import socket
import struct
import threading
import time

import pytest

import tunnel
from each import each
from inside import inside
from topology import SERVER4, Line, Topology, wait_for
from tunnelled import checksum, inject, ip4, ip6

LINES = [Line("20M", "20M", 10), Line("20M", "20M", 30)]
ENDS4 = {"local": "10.99.0.1", "remote": "10.99.0.2"}
ENDS6 = {"local": "fd99::1", "remote": "fd99::2"}
PORT = 7200  # of the daemons


def unchanged(call):
    assert call["both"]["lost"] == 0 and call["both"]["twice"] == 0 and call["damaged"] == 0


# --- packets as they are ---

def udp(src, dst, data, sport, dport=4600, kind="right"):
    """kind: of its checksum: right, zero, wrong."""
    v6 = ":" in src
    head = struct.pack("!HHH", sport, dport, 8 + len(data))
    family = socket.AF_INET6 if v6 else socket.AF_INET
    pseudo = socket.inet_pton(family, src) + socket.inet_pton(family, dst) + struct.pack("!HH", 17, 8 + len(data))
    body = pseudo + head + b"\0\0" + data
    right = checksum(body + b"\0" * (len(body) % 2)) or 0xffff
    value = {"right": right, "zero": 0, "wrong": right ^ 0x0101}[kind]
    datagram = head + struct.pack("!H", value) + data
    return ip6(src, dst, 17, datagram) if v6 else ip4(src, dst, 17, datagram)


def odd_packets(src4, dst4, src6, dst6, mtu):
    ports = iter(range(1024, 60000))
    for src, dst, most in ((src4, dst4, mtu - 28), (src6, dst6, mtu - 48)):
        for size in (0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 255, 256, 511, 1199, most - 1, most):
            for kind in ("right", "zero", "wrong"):
                yield udp(src, dst, bytes(i * 7 % 251 for i in range(size)), next(ports), kind=kind)
    data = bytes(range(200))
    for frag in (0x2000, 0x2010, 0x0019, 0x0001):  # first, middle and last pieces
        yield ip4(src4, dst4, 17, struct.pack("!HHHH", next(ports), 9, 300, 0) + data, frag=frag)
    yield ip4(src4, dst4, 17, data, options=bytes([1, 1, 1, 0]))
    yield ip4(src4, dst4, 17, data, options=bytes([7, 7, 4, 0, 0, 0, 0, 0]))  # record route
    for proto in (1, 6, 33, 47, 50, 132, 136, 253, 255):  # their checksums are all wrong
        yield ip4(src4, dst4, proto, bytes([proto]) + data)
        yield ip6(src6, dst6, proto, bytes([proto]) + data)
    options = bytes([60, 0, 1, 4, 0, 0, 0, 0])
    yield ip6(src6, dst6, 0, options + bytes([17, 0, 1, 4, 0, 0, 0, 0]) + struct.pack("!HHHH", next(ports), 9, 8, 7))
    yield ip6(src6, dst6, 44, bytes([17, 0, 0, 1, 0, 0, 0, 9]) + data)
    yield ip6(src6, dst6, 44, bytes([17, 0, 0, 64, 0, 0, 0, 9]) + data[:64])
    yield ip6(src6, dst6, 59)
    yield ip4(src4, dst4, 253)


class Witness(threading.Thread):
    """What comes out of the tunnel's device."""

    def __init__(self, ns):
        super().__init__(daemon=True)
        with inside(ns):
            self.s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
            self.s.bind((tunnel.DEVICE, 3))
        self.s.settimeout(0.05)
        self.seen, self.stop = [], False
        self.start()

    def run(self):
        while not self.stop:
            with contextlib.suppress(TimeoutError):
                packet, at = self.s.recvfrom(70000)
                if at[2] == socket.PACKET_HOST:
                    self.seen.append(packet)
        self.s.close()


def carried(topo, engine, side):
    """Packets in at this side's device, and what came out at the other's."""
    other = "remote" if side == "local" else "local"
    ns = {"local": topo.gw, "remote": topo.vps}
    sent = list(odd_packets(ENDS4[side], ENDS4[other], ENDS6[side], ENDS6[other], engine.mtu(side)))
    witness = Witness(ns[other])
    for packet in sent:
        inject(ns[side], tunnel.DEVICE, [packet])
        time.sleep(0.001)
    wait_for(lambda: set(witness.seen) >= set(sent), "all packets")
    witness.stop = True
    witness.join()
    return sent, witness.seen


def heard(topo, kinds):
    """One flow of datagrams alike, in one go, with these checksums: how many the far end's socket got, and whether the wrong ones."""
    with inside(topo.vps):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with s:
        s.bind(("10.99.0.2", 4601))
        s.settimeout(0.4)
        inject(topo.gw, tunnel.DEVICE, [udp("10.99.0.1", "10.99.0.2", kind.encode().ljust(500, b"."), 5000, 4601, kind) for kind in kinds])
        got = []
        with contextlib.suppress(TimeoutError):
            while True:
                got.append(s.recv(2000).rstrip(b".").decode())
        return got


@each("less", ["", "uso", "gso,gro,mmsg", "vnet,uso,tso"])
def test_packets_arrive_as_they_were_sent(topo, monkeypatch, less):
    monkeypatch.setenv("PLAIT_WITHOUT", less)
    with tunnel.Bare(topo) as engine:
        for side in ("local", "remote"):
            sent, seen = carried(topo, engine, side)
            assert set(sent) <= set(seen), [p.hex() for p in set(sent) - set(seen)][:5]
            assert all(seen.count(p) == 1 for p in sent)
        assert sorted(heard(topo, ["right"] * 20)) == ["right"] * 20
        assert sorted(heard(topo, ["zero"] * 20)) == ["zero"] * 20
        assert heard(topo, ["wrong"] * 20) == []
        mixed = ["right", "right", "wrong", "right", "zero", "wrong", "zero", "right"] * 3
        assert sorted(heard(topo, mixed)) == sorted(k for k in mixed if k != "wrong")


def test_the_longest_and_the_shortest(topo):
    """An empty datagram, and the longest there is, in some fifty pieces."""
    with inside(topo.server):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        server.bind(("0.0.0.0", 4602))
    with server, tunnel.Bare(topo):
        server.settimeout(2)
        tunnel.flow(topo, "send", 1500, 1200, seconds=2, wait=0)  # until the pace knows the lines: else so much at once is dropped
        time.sleep(0.2)
        with inside(topo.lan):
            lan = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with lan:
            lan.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER, IP_PMTUDISC_DONT
            for size in (0, 1, 65507, 65507, 0):
                data = bytes(i * 7 % 251 for i in range(size))
                lan.sendto(data, (SERVER4, 4602))
                assert server.recv(70000) == data


# --- datagrams of strangers, old ones, and none ---

@pytest.fixture(scope="module")
def plait():
    """Lines that are small later: each test leaves them as they were."""
    with Topology(lines=LINES) as topo:
        topo.serve()
        tunnel.serve(topo)
        with tunnel.Daemons(topo) as t:
            yield t


def test_a_cable_is_pulled_and_put_in_again(plait):
    topo = plait.topo
    call = tunnel.Flow(topo, "call", 100, 160, seconds=4)
    heard = plait.status("remote")["classes"]["R"]["packets"]
    wait_for(lambda: plait.status("remote")["classes"]["R"]["packets"] > heard + 30, "the call is held")
    for line in topo.line:
        line.unplug()
        wait_for(lambda i=line.index: plait.paths().get(i, {}).get("state", "gone") != "up", "the line gone")
        line.plug()
        wait_for(lambda: [p["state"] for p in plait.paths().values()] == ["up", "up"], "the line back")
    unchanged(call.result())


def test_loss_costs_a_flow_with_congestion_control_little():
    """Two lines that lose 5 % each: what backs off when it loses gets several times through the tunnel of what it gets on one of them."""
    with Topology(lines=LINES) as topo:
        for i, line in enumerate(topo.line):
            line.set(loss=5, up={"seed": i}, down={"seed": 9 + i})
        server = topo.server.popen(["iperf3", "-s"])
        try:
            wait_for(lambda: ":5201" in topo.server.run("ss -Hltn").stdout, "iperf3 listens")

            def rate():
                out = json.loads(topo.lan.run(["iperf3", "-c", SERVER4, "-C", "cubic", "-O", "1", "-t", "3", "-J"]).stdout)
                return out["end"]["sum_received"]["bits_per_second"]
            bare = rate()
            with tunnel.Bare(topo):
                through = rate()
        finally:
            server.kill()
            server.wait()
        print(f"{bare / 1e6:.2f} Mbit/s bare, {through / 1e6:.2f} through the tunnel")
        assert through >= 2 * bare  # 3.5 to 4 times on a quiet machine
