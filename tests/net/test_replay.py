# SPDX-License-Identifier: BSD-2-Clause
"""What was overheard of a real pair and is sent again is never served. (A message at a time: tests/unit/whole_remote/test_replay.c)"""
import socket
import struct

from pair import Pair
from plait_client import abort, connect, ending, new_socket
from topology import SERVER4, Line, wait_for

LINES = [Line()]
TOPOLOGY = {"emulate": False}


def overheard(wire):
    """What went up to port 7200: each connection's bytes in their order."""
    streams = {}
    wire.setblocking(False)
    while True:
        try:
            ip = wire.recv(65536)[14:]
        except BlockingIOError:
            break
        if ip[0] != 0x45 or ip[9] != 6:
            continue
        tcp = ip[20:struct.unpack(">H", ip[2:4])[0]]
        source, port, seq = struct.unpack(">HHI", tcp[:8])
        if port == 7200 and tcp[tcp[12] >> 2 & 0x3C:]:
            streams.setdefault(source, {})[seq] = tcp[tcp[12] >> 2 & 0x3C:]
    return [b"".join(data for _, data in sorted(s.items())) for s in streams.values()]


def test_replay_of_a_whole_pair(topo, target):
    """Everything that a plait-local sent, overheard at the VPS and sent again while the pair lives: control connection,
    warm and used connections. No session, no dial."""
    wire = new_socket(topo.vps, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind(("eth0", 0))
    with Pair(topo) as pair:
        for i in range(3):
            s = connect(topo.lan, SERVER4, target.port)
            s.sendall(b"request %d" % i)
            assert s.recv(100) == b"request %d" % i
            s.close()
        streams, dialled = overheard(wire), target.dialled
        wire.close()
        attached = [s for s in streams if s[:1] == b"\x02"]
        assert [s for s in attached if len(s) > 100], "no request was overheard"
        assert [s for s in streams if s[:1] == b"\x01"], "no knock was overheard"
        crowd = [connect(topo.server) for _ in streams]
        for s, stream in zip(crowd, streams):
            s.sendall(stream)
        wait_for(lambda: pair.remote.status()["counters"]["attach_replayed"] == len(attached), "all were recognised")
        for s, stream in zip(crowd, streams):
            how, data = ending(s, 0.1)
            assert how == "open" and (data == b"" or stream[:1] == b"\x01")
            abort(s)
        status = pair.remote.status()
        assert target.dialled == dialled and status["sessions"] == 1 and status["relays"] == 0
