"""The remote has a name, and the name server has its moods."""
import contextlib
import ipaddress
import os
import socket
import struct
import threading
import time

import pytest

from pair import Daemon, Pair, connected
from plait_client import PORT, Identity, Remote, connect, new_socket
from topology import SERVER4, SLACK, VPS4, VPS6, Line, wait_for

LINES = [Line()]
TOPOLOGY = {"emulate": False, "servers": 23}  # the first is a server, each other has a plait-local
A, CNAME, AAAA = 1, 5, 28
NXDOMAIN, SERVFAIL, REFUSED = 3, 2, 5
WRONG = "11.9.0.99"  # where nobody is


# --- a name server ---

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

    def reply(self, records=(), rcode=0, cut=False, ident=None):
        """records: (owner, type, ttl, bytes)"""
        head = (ident or self.id) + struct.pack(">HHHHH", 0x8180 | cut << 9 | rcode, 1, len(records), 0, 0)
        return head + self.data[12:self.end] + b"".join(
            labels(owner) + struct.pack(">HHIH", kind, 1, ttl, len(value)) + value for owner, kind, ttl, value in records)

    def addresses(self, *addresses, owner=None, **kw):
        """Those that this query asks for."""
        ips = [ipaddress.ip_address(a) for a in addresses]
        want = {A: 4, AAAA: 6}.get(self.type)
        return self.reply([(owner or self.name, self.type, 1, ip.packed) for ip in ips if ip.version == want], **kw)


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


def nxdomain(q):
    return [q.reply(rcode=NXDOMAIN)]


def servfail(q):
    return [q.reply(rcode=SERVFAIL)]


def refused(q):
    return [q.reply(rcode=REFUSED)]


def silent(_):
    return []


def truncated(q):
    """Come over TCP; and there nobody answers."""
    return [] if q.tcp else [q.addresses(WRONG, cut=True)]


def cut_short(q):
    return [q.addresses(WRONG)[:-5]]


def zero_bytes(q):
    return [] if q.tcp else [b""]


def spoofed(q):
    """The answer of somebody who did not see the question."""
    return [q.addresses(WRONG, ident=bytes([q.id[0] ^ 1, q.id[1]]))]


def garbage(q):
    return [q.id + os.urandom(200)]


def no_addresses(q):
    return [q.reply()]


def loop(q):
    """a is b, b is a."""
    other = q.name[1:] if q.name.startswith("x") else "x" + q.name
    return [q.reply([(q.name, CNAME, 1, labels(other)), (other, CNAME, 1, labels(q.name))])]


def only_private(q):
    return [q.addresses("10.0.0.1", "127.0.0.1", "192.168.77.1", "169.254.9.9", "100.64.0.1", "0.0.0.0", "224.0.0.1",
                        "::1", "::", "fd00::1", "fe80::1", "ff02::1", "::ffff:127.0.0.1")]


def partly_private(q):
    return [q.addresses("10.0.0.1", VPS4, "::1")]


def loopback(q):
    return [q.addresses("127.0.0.1")]


def five_hundred(q):
    """More than a datagram holds; the first is the right one."""
    if not q.tcp:
        return [q.addresses(cut=True)]
    return [q.addresses(VPS4, *(f"11.200.{i // 250}.{i % 250 + 1}" for i in range(499)))]


def by_alias(q):
    owner = "alias." + q.name
    reply = q.addresses(VPS4, owner=owner)
    count = struct.unpack(">H", reply[6:8])[0]
    value = labels(owner)
    alias = labels(q.name) + struct.pack(">HHIH", CNAME, 1, 1, len(value)) + value
    return [reply[:6] + struct.pack(">H", count + 1) + reply[8:q.end] + alias + reply[q.end:]]


def spoofed_first(q):
    return [*spoofed(q), q.addresses(VPS4)]


def both_families(q):
    return [q.addresses(VPS4, VPS6)]


# --- many plait-locals, each with a name of its own ---

class Plain(Daemon):
    """plait-local that takes nobody's connections: it only keeps its session, by the kernel's routes."""

    def __init__(self, topo, name, number, pin, options=""):
        super().__init__(topo.server_hosts[1 + number], "plait-local", topo.new_dir(name))
        self.name, self.me = f"{name}.example", Identity.new()
        self.me.save(self.key)
        self.text = (f"[remote]\nhost = {self.name}\nport = {PORT}\nresolver = {SERVER4}\n{options}\nkey = {pin}\n"
                     f"[local]\nkey_file = {self.key}\ncontrol = {self.control}\nlog = debug\n"
                     f"[lan]\nrules = none\nport = 7201\n[pool]\nmin = 1\nmax = 1\n")
        self.slowest = 0

    def run(self):
        self.config.write_text(self.text)
        self.start()

    def look(self):
        """Its status, which must come at once whatever DNS does."""
        begin = time.monotonic()
        status = self.status()
        self.slowest = max(self.slowest, time.monotonic() - begin)
        return status

    def addresses(self):
        return self.look()["remote"]["addresses"]


FAULTS = [nxdomain, servfail, refused, silent, truncated, cut_short, zero_bytes, spoofed, garbage, no_addresses, loop,
          only_private]
GOOD = {"many": five_hundred, "alias": by_alias, "spoofed-first": spoofed_first, "mixed": partly_private,
        "families": both_families}
LATE = [nxdomain, silent, loop]
HERE = f"{VPS4}:{PORT}"


def slug(f):
    return f.__name__.replace("_", "-")


class Story:
    """All of them at once: good days, then each its fault while the remote is away, then the remote comes back."""

    def __init__(self, topo):
        self.dns = NameServer(topo.server)
        key = Identity.new()
        numbers = iter(range(100))

        def plain(name, options=""):
            return Plain(topo, name, next(numbers), key.pin64, options)
        self.faulty = {f: plain(slug(f)) for f in FAULTS}
        self.good = {name: plain(name) for name in GOOD}
        self.late = {f: plain("late-" + slug(f)) for f in LATE}
        self.private = plain("private")
        self.allowed = plain("allowed", "allow_private = yes")
        users = {p.name: p.me for p in self.all()}
        self.remote = Remote(topo, **{name.replace(".example", ""): me for name, me in users.items()})
        key.save(self.remote.key)

    def all(self):
        return [*self.faulty.values(), *self.good.values(), *self.late.values(), self.private, self.allowed]

    def tell(self):
        moods = self.dns.moods
        for p in self.faulty.values():
            moods[p.name] = fine
        for name, p in self.good.items():
            moods[p.name] = GOOD[name]
        moods[self.private.name], moods[self.allowed.name] = only_private, loopback
        with self.remote:
            early = [*self.faulty.values(), *self.good.values(), self.private, self.allowed]
            for p in early:
                p.run()
            for p in [*self.faulty.values(), *self.good.values()]:
                wait_for(lambda p=p: connected(p.look()), f"{p.name} is connected\n{p.logged()[-1500:]}")
            self.private_status, self.allowed_status = self.private.look(), self.allowed.look()
            self.pss = {name: p.pss_kib() for name, p in self.good.items()}
            self.bad_days()
            for p in self.all():
                assert p.stop() == 0, p.logged()[-2000:]
        self.dns.close()

    def bad_days(self):
        moods = self.dns.moods
        for f, p in self.faulty.items():
            moods[p.name] = f
        for f, p in self.late.items():
            moods[p.name] = f
            p.run()
        self.fell = time.monotonic()
        self.remote.process.kill()
        self.remote.process.wait()
        while time.monotonic() < self.fell + 4.5:
            for p in self.all():
                p.look()
        self.kept = {f: p.addresses() for f, p in self.faulty.items()}
        self.lost = {f: self.remote_connected(p) for f, p in self.faulty.items()}
        self.late_before = {f: p.look()["connected"] for f, p in self.late.items()}
        for p in self.late.values():
            moods[p.name] = fine
        self.remote.start()
        self.remote.wait()
        self.rose = time.monotonic()
        self.back = {}
        waiting = {**{("fault", f): p for f, p in self.faulty.items()}, **{("late", f): p for f, p in self.late.items()}}
        while waiting and time.monotonic() < self.rose + 20:
            for key in [k for k, p in waiting.items() if self.remote_connected(p)]:
                self.back[key] = time.monotonic() - self.rose
                del waiting[key]
            time.sleep(0.05)
        self.stuck = {k: p.logged()[-1500:] for k, p in waiting.items()}

    @staticmethod
    def remote_connected(p):
        return p.look()["remote"]["connected"]


@pytest.fixture(scope="module")
def story(topo):
    s = Story(topo)
    s.tell()
    return s


@pytest.mark.parametrize("fault", FAULTS, ids=slug)
def test_case_88_last_good_address_is_kept(story, fault):
    """With the remote away and only this fault for an answer, the address stays, and with it the way back."""
    p = story.faulty[fault]
    assert not story.lost[fault], "the remote was gone, so this was no test"
    assert story.kept[fault] == [HERE]
    assert story.back[("fault", fault)] < 7, "reconnecting is tried every 5 s at least"
    asked = [at for at, q in story.dns.of(p.name) if at > story.fell]
    assert asked, "it did not even ask again"


@pytest.mark.parametrize("fault", FAULTS, ids=slug)
def test_case_88_back_off(story, fault):
    """A dead peer does not become a load on DNS: rounds come 1, 2, 4 ... s apart, each of at most three tries of
    two questions (and TCP for those that were told to come over TCP)."""
    p = story.faulty[fault]
    asked = [at for at, q in story.dns.of(p.name) if story.fell < at < story.fell + 7 and not q.tcp]
    assert len(asked) <= 3 * 3 * 2 + 2, len(asked)


@pytest.mark.parametrize("fault", LATE, ids=slug)
def test_case_88_no_answer_at_the_start(story, fault):
    """Then it waits for one, and connects when it comes."""
    assert not story.late_before[fault]
    assert not story.stuck
    assert story.back[("late", fault)] < 12 * SLACK


def test_case_88_the_loop_never_blocks(story):
    """status answers at once all the time: 22 of them share two cores with this test."""
    for p in story.all():
        assert p.slowest < 1, (p.name, p.slowest)


def test_case_88_spoofed_answers(story):
    """Neither kept nor waited for: the right one behind it counts."""
    assert WRONG not in "".join(p.logged() for p in story.all())
    assert story.good["spoofed-first"].logged().count("session with") >= 1


def test_case_89_private_addresses(story):
    """Not used, and said so; unless allowed. A good one beside them is used."""
    assert story.private_status["remote"]["addresses"] == [] and not story.private_status["connected"]
    assert "private address" in story.private.logged() and "allow_private" in story.private.logged()
    assert story.allowed_status["remote"]["addresses"] == [f"127.0.0.1:{PORT}"]
    assert "session with" in story.good["mixed"].logged()
    assert f"10.0.0.1:{PORT}" not in story.good["mixed"].logged()


def test_case_91_five_hundred_addresses(story):
    """Some are kept, the right one among them, and the rest costs no memory."""
    assert any(q.tcp for _, q in story.dns.of("many.example"))
    assert abs(story.pss["many"] - story.pss["alias"]) < 512


def test_case_91_alias_loop(story):
    """It ends by itself: a few questions a round."""
    p = story.late[loop]
    before = [q for at, q in story.dns.queries if q.name.endswith(p.name) and at < story.rose]
    assert 2 <= len(before) <= 60, len(before)


def test_no_fault_of_the_name_server_itself(story):
    assert not story.dns.errors


# --- a whole gateway ---

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


def test_case_90_address_changes(topo, dns):
    """The VPS moved: new connections go to the new address; those that are there stay where they are."""
    new = "11.7.0.3"
    topo.vps.ip(f"addr add {new}/24 dev eth0")
    dns.moods["vps.example"] = lambda q: [q.addresses(address[0])]
    address = [VPS4]
    with Pair(topo, host="vps.example", local_set={"remote.resolver": SERVER4, "pool.min": 2, "pool.max": 2},
              remote_set={"pool.rekey": "10s"}) as pair:
        old = connect(topo.lan, SERVER4, 7001)
        assert echo(old, b"before")
        address[0] = new
        topo.vps.nft(f"table inet moved {{ chain in {{ type filter hook input priority 0; ip daddr {VPS4} tcp dport {PORT} "
                     f"tcp flags & (syn | ack) == syn reject with tcp reset\n }}\n}}\n")
        try:
            wait_for(lambda: pair.local.status()["remote"]["addresses"] == [f"{new}:{PORT}"], "the new address")
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


def test_case_92_resolver_behind_plait(topo, dns):
    """The gateway's own connections are taken, and DNS comes over TCP: the daemon's own questions still go out directly,
    at the start (there is no session to take them) and while interception is in."""
    dns.moods["vps.example"] = lambda q: [q.addresses(VPS4)] if q.tcp else [q.addresses(cut=True)]
    with Pair(topo, host="vps.example", local_set={"remote.resolver": SERVER4, "lan.own": "yes"}) as pair:
        wait_for(lambda: pair.local.status()["rules"] != "out", "interception is in")
        other = connect(topo.gw, SERVER4, 7001)
        assert echo(other, b"own")
        peers = topo.server.run("ss -Htn state established sport = :7001").stdout
        assert VPS4 in peers, "the gateway's own connections are not taken: this would prove nothing"
        other.close()
        asked = len(dns.of("vps.example"))
        pair.remote.process.kill()
        pair.remote.process.wait()
        wait_for(lambda: [q for _, q in dns.of("vps.example")[asked:] if q.tcp], "it asks again")
        assert pair.local.status()["rules"] != "out", "interception went before the question was asked"
        pair.remote.start()
        wait_for(lambda: pair.local.status()["remote"]["connected"], "it is back")
        sources = {q.source[0] for _, q in dns.of("vps.example")}
        assert sources == {"11.1.0.2"}, "line 1's provider, never the VPS"
