# SPDX-License-Identifier: BSD-2-Clause
"""The remote has a name, and the name server has its moods."""
import contextlib
import ipaddress
import socket
import struct
import threading
import time

import pytest

from each import each
from pair import Pair
from plait_client import PORT, connect, new_socket
from topology import SERVER4, VPS4, Line, wait_for

LINES = [Line()]
TOPOLOGY = {"emulate": False}
A, AAAA = 1, 28
NXDOMAIN, SERVFAIL = 3, 2
HELD_S = 1.5  # a question that is not answered waits for 2 s


def labels(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


class Query:
    def __init__(self, data, source, tcp):
        self.data, self.source, self.tcp = data, source, tcp
        self.id, at, parts = data[:2], 12, []
        while data[at]:
            parts.append(data[at + 1:at + 1 + data[at]].decode())
            at += 1 + data[at]
        self.name, self.end = ".".join(parts).lower(), at + 5
        self.type = struct.unpack(">H", data[at + 1:at + 3])[0]

    def reply(self, records=(), rcode=0, cut=False):
        """records: (owner, type, ttl, bytes)"""
        head = self.id + struct.pack(">HHHHH", 0x8180 | cut << 9 | rcode, 1, len(records), 0, 0)
        return head + self.data[12:self.end] + b"".join(
            labels(owner) + struct.pack(">HHIH", kind, 1, ttl, len(value)) + value for owner, kind, ttl, value in records)

    def addresses(self, *addresses, **kw):
        """Those that this query asks for."""
        ips = [ipaddress.ip_address(a) for a in addresses]
        want = {A: 4, AAAA: 6}.get(self.type)
        return self.reply([(self.name, self.type, 1, ip.packed) for ip in ips if ip.version == want], **kw)


class NameServer:
    """Answers each name as .moods[name](query) says: a list of replies, which may be empty."""

    def __init__(self, ns):
        self.moods, self.queries, self.errors = {}, [], []
        self.udp = new_socket(ns, socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("0.0.0.0", 53))
        self.tcp = new_socket(ns)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind(("0.0.0.0", 53))
        self.tcp.listen(64)
        self.threads = [threading.Thread(target=loop, daemon=True) for loop in (self._udp, self._tcp)]
        for t in self.threads:
            t.start()

    def _ask(self, data, source, tcp):
        q = Query(data, source, tcp)
        self.queries.append((time.monotonic(), q))
        mood = self.moods.get(q.name)
        try:
            return mood(q) if mood else [q.reply(rcode=NXDOMAIN)]
        except Exception as e:  # pylint: disable=broad-except
            self.errors.append(repr(e))
            return []

    def _udp(self):
        with contextlib.suppress(OSError):
            while True:
                data, who = self.udp.recvfrom(4096)
                if not data:
                    return  # close()
                for reply in self._ask(data, who, False):
                    self.udp.sendto(reply, who)

    def _tcp(self):
        with contextlib.suppress(OSError):
            while True:
                s, who = self.tcp.accept()
                threading.Thread(target=self._tcp_one, args=(s, who), daemon=True).start()

    def _tcp_one(self, s, who):
        with contextlib.suppress(OSError), s:
            while (size := s.recv(2, socket.MSG_WAITALL)) and len(size) == 2:
                data = s.recv(struct.unpack(">H", size)[0], socket.MSG_WAITALL)
                replies = self._ask(data, who, True)
                if not replies:
                    return
                for reply in replies:
                    s.sendall(struct.pack(">H", len(reply)) + reply)

    def of(self, name):
        return [(at, q) for at, q in self.queries if q.name == name]

    def close(self):
        with contextlib.suppress(OSError):
            self.tcp.shutdown(socket.SHUT_RDWR)
        self.udp.sendto(b"", ("127.0.0.1", 53))
        for t in self.threads:
            t.join(5)
        self.tcp.close()
        self.udp.close()


def fine(q):
    return [q.addresses(VPS4)]


def servfail(q):
    return [q.reply(rcode=SERVFAIL)]


def silent(_):
    return []


@pytest.fixture
def dns(topo):
    server = NameServer(topo.server)
    yield server
    server.close()
    assert not server.errors


def echo(s, text):
    s.sendall(text)
    got = b""
    while len(got) < len(text):
        got += s.recv(100)
    return got == text


def sessions_at(topo, address):
    """Established connections of the remote at this address of the VPS."""
    out = topo.vps.run(f"ss -Htn state established sport = :{PORT} src {address}").stdout
    return len(out.splitlines())


class Watched:
    """A daemon's status, which must come at once whatever DNS does."""

    def __init__(self, daemon):
        self.daemon, self.slowest = daemon, 0

    def remote(self):
        begin = time.monotonic()
        status = self.daemon.status()
        self.slowest = max(self.slowest, time.monotonic() - begin)
        return status["vps"] if status else {"connected": False, "addresses": None}


def test_no_answer_at_the_start_and_none_while_the_remote_is_away(topo, dns):
    """It connects when the name has an address, which stays when the remote has gone and the name server as well. All else that
    a name server can say, and when it is asked again, is in tests/unit/sys/test_resolve.c."""
    dns.moods["vps.example"] = silent
    with Pair(topo, host="vps.example", local_set={"vps.resolver": SERVER4}, wait=False) as pair:
        local = Watched(pair.local)
        wait_for(lambda: len(dns.of("vps.example")) >= 2, "it asks")
        assert local.remote()["addresses"] == [] and not local.remote()["connected"]
        dns.moods["vps.example"] = fine
        wait_for(lambda: local.remote()["connected"], "it is connected")
        dns.moods["vps.example"] = servfail
        asked = len(dns.of("vps.example"))
        pair.remote.process.kill()
        pair.remote.process.wait()
        wait_for(lambda: len(dns.of("vps.example")) >= asked + 12, "two rounds of three tries of two questions")
        assert not local.remote()["connected"] and local.remote()["addresses"] == [f"{VPS4}:{PORT}"]
        dns.moods["vps.example"] = silent
        pair.remote.start()
        rose = time.monotonic()
        wait_for(lambda: local.remote()["connected"], "it is back")
        assert time.monotonic() - rose < 10, "reconnecting is tried every 5 s at least"
        assert local.slowest < HELD_S


@each("allowed", ["no", "yes"])
def test_a_private_address_needs_permission(topo, dns, allowed):
    """And the log says which option gives it."""
    dns.moods["vps.example"] = lambda q: [q.addresses("127.0.0.1")]
    pair = Pair(topo, host="vps.example", local_set={"vps.resolver": SERVER4, "vps.allow_private": allowed})
    pair.write_configs()
    pair.local.start()
    try:
        if allowed == "yes":
            wait_for(lambda: (pair.local.status() or {"vps": {}})["vps"].get("addresses") == [f"127.0.0.1:{PORT}"], "used")
        else:
            wait_for(lambda: "private address 127.0.0.1: not used (allow_private = yes would)" in pair.local.logged(), "named")
            assert pair.local.status()["vps"]["addresses"] == []
    finally:
        assert pair.local.stop() == 0


def test_address_changes(topo, dns):
    """The VPS moved: new connections go to the new address; those that are there stay where they are."""
    new = "11.7.0.3"
    topo.vps.ip(f"addr add {new}/24 dev eth0")
    dns.moods["vps.example"] = lambda q: [q.addresses(address[0])]
    address = [VPS4]
    with Pair(topo, host="vps.example", local_set={"vps.resolver": SERVER4, "pool.min": 2, "pool.max": 2},
              remote_set={"pool.rekey": "10s"}) as pair:
        old = connect(topo.lan, SERVER4, 7001)
        assert echo(old, b"before")
        address[0] = new
        topo.vps.nft(f"table inet moved {{ chain in {{ type filter hook input priority 0; ip daddr {VPS4} tcp dport {PORT} "
                     f"tcp flags & (syn | ack) == syn reject with tcp reset\n }}\n}}\n")
        try:
            wait_for(lambda: pair.local.status()["vps"]["addresses"] == [f"{new}:{PORT}"], "the new address")
            wait_for(lambda: sessions_at(topo, new) >= 1, "a session there")
            assert echo(old, b"the old one stays")
            for i in range(5):  # more than are warm, so some are new
                s = connect(topo.lan, SERVER4, 7001)
                assert echo(s, b"new %d" % i)
                s.close()
            assert sessions_at(topo, new) >= 2
            assert echo(old, b"and stays")
        finally:
            topo.vps.run("nft delete table inet moved")
            old.close()
    topo.vps.ip(f"addr del {new}/24 dev eth0")


def test_resolver_behind_plait(topo, dns):
    """The gateway's own connections are taken, and DNS comes over TCP: the daemon's own questions still go out directly,
    at the start (there is no session to take them) and while interception is in."""
    pair, rules = Pair(topo, host="vps.example", local_set={"vps.resolver": SERVER4, "lan.own": "yes"}), []

    def answer(q):
        if not q.tcp:
            return [q.addresses(cut=True)]
        rules.append((pair.local.status() or {}).get("rules"))
        return [q.addresses(VPS4)]

    dns.moods["vps.example"] = answer
    with pair:
        wait_for(lambda: pair.local.status()["rules"] != "out", "interception is in")
        other = connect(topo.gw, SERVER4, 7001)
        assert echo(other, b"own")
        peers = topo.server.run("ss -Htn state established sport = :7001").stdout
        assert VPS4 in peers, "the gateway's own connections are not taken: this would prove nothing"
        other.close()
        asked = len(rules)
        pair.remote.process.kill()
        pair.remote.process.wait()
        wait_for(lambda: rules[asked:], "it asks again")
        assert rules[asked] != "out", "interception went before the question was asked"
        pair.remote.start()
        wait_for(lambda: pair.local.status()["vps"]["connected"], "it is back")
        sources = {q.source[0] for _, q in dns.of("vps.example")}
        assert sources == {"11.1.0.2"}, "line 1's provider, never the VPS"
