"""What plait-remote says to those who are none of its own: nothing, and the same nothing to all.

All strangers of this file come in one crowd, once, because each stays for 10 to 15 s; the tests look at
what befell the kinds they are named after."""
import os
import random
import selectors
import socket
import threading
import time
from collections import defaultdict

import pytest

from plait_client import Identity, Target, Tls, abort, connect, decode, ending, knock
from topology import SERVER4, SLACK, Line, wait_for

LINES = [Line()]
TOPOLOGY = {"emulate": False}
EARLIEST, LATEST = 10.0, 15.5
REPEAT = 3


class Stranger:
    """One connection, what it says and when, and what became of it."""

    def __init__(self, kind, steps=(), fin=False, mptcp=False):
        self.kind, self.steps, self.fin, self.mptcp = kind, list(steps), fin, mptcp
        self.got, self.end, self.after, self.reset = b"", None, None, False

    def start(self, ns, watch):
        self.sock = connect(ns, mptcp=self.mptcp)
        self.since = time.monotonic()
        self.sock.setblocking(False)
        watch.register(self.sock, selectors.EVENT_READ, self)

    def speak(self, now):
        """Says what is due. A peer that no longer listens is not this side's trouble."""
        while self.steps and now - self.since >= self.steps[0][0] and not self.end:
            _, data = self.steps.pop(0)
            try:
                n = self.sock.send(data)
                if n < len(data):
                    self.steps.insert(0, (0, data[n:]))
                    return
            except BlockingIOError:
                self.steps.insert(0, (0, data))
                return
            except BrokenPipeError:
                return  # the reader will tell
            except ConnectionResetError:
                self.reset = True  # the kernel tells it once
                return
            if not self.steps and self.fin:
                self.sock.shutdown(socket.SHUT_WR)

    def listen(self, watch):
        try:
            data = self.sock.recv(65536)
            self.got += data
            if data:
                return
            self.end = "ConnectionResetError" if self.reset else "eof"
        except OSError as e:
            self.end = type(e).__name__
        self.after = time.monotonic() - self.since
        watch.unregister(self.sock)
        self.sock.close()


def at_once(data):
    return [(0, data)]


def slowly(data, pause):
    return [(i * pause, data[i:i + 1]) for i in range(len(data))]


def client_hello():
    a, b = socket.socketpair()
    with a, b:
        return Tls(a, None).hello()


def flipped(data, bit):
    out = bytearray(data)
    out[bit // 8] ^= 0x80 >> bit % 8
    return bytes(out)


class Crowd:
    """Everybody, and those who come to see that the honest are served meanwhile."""

    def __init__(self, topo, remote, target):
        self.topo, self.remote, self.target, self.all = topo, remote, target, []
        self.a, self.b = remote.call(topo.server, "a"), remote.call(topo.server, "b")
        self.bits = random.Random(7)

    def add(self, kind, *args, repeat=REPEAT, **kw):
        self.all += [Stranger(kind, *args, **kw) for _ in range(repeat)]

    def cold(self, session=None, ctr=None):
        """A request that would be served."""
        return (session or self.a.session).cold(SERVER4, self.target.port, b"dialled!", ctr)[0]

    def attach_like(self, change, ctr=None):
        """A request whose ATTACH (the first 60 bytes) was changed."""
        data = self.cold(ctr=ctr)
        return change(data[:60]) + data[60:]

    def invite(self):
        pin = self.remote.identity.pin
        self.add("01 silent")
        self.add("01 silent, over MPTCP", mptcp=True)
        self.add("01 FIN and nothing else", at_once(b""), fin=True)
        for _ in range(REPEAT):
            self.add("02 59 of 60 bytes, then FIN", at_once(self.cold()[:59]), fin=True, repeat=1)
            self.add("02 33 of 34 bytes of a knock, then FIN", at_once(knock(pin)[:33]), fin=True, repeat=1)
            self.add("03 a byte each 250 ms", slowly(self.cold()[:60], 0.25), repeat=1)
            self.add("05 length 0", at_once(self.attach_like(lambda d: d[:2] + b"\0\0" + d[4:])), repeat=1)
            self.add("05 length 55", at_once(self.attach_like(lambda d: d[:2] + b"\0\x37" + d[4:])), repeat=1)
            self.add("05 length 57", at_once(self.attach_like(lambda d: d[:2] + b"\0\x39" + d[4:] + b"x")), repeat=1)
            self.add("05 length 65535", at_once(self.attach_like(lambda d: d[:2] + b"\xff\xff" + d[4:])), repeat=1)
            self.add("08 ATTACH version 0", at_once(self.attach_like(lambda d: b"\x02\0" + d[2:])), repeat=1)
            self.add("08 ATTACH version 255", at_once(self.attach_like(lambda d: b"\x02\xff" + d[2:])), repeat=1)
            self.add("20 a's ATTACH under b's session", repeat=1, steps=at_once(self.attach_like(
                lambda d: d[:4] + self.b.session.sid + d[20:])))
            self.add("a session that never was", at_once(self.attach_like(lambda d: d[:4] + os.urandom(16) + d[20:])),
                     repeat=1)
            self.add("05 a forged knock", at_once(flipped(knock(pin), 271)), repeat=1)
            self.add("a knock for another remote", at_once(knock(self.remote.users["a"].pin)), repeat=1)
        self.add("08 knock version 0", at_once(b"\x01\0" + knock(pin)[2:]))
        self.add("08 knock version 255", at_once(b"\x01\xff" + knock(pin)[2:]))
        self.add("RESET upwards", at_once(b"\x03\x01" + os.urandom(32)))
        for i in range(REPEAT):
            self.add("06 64 KiB of noise", at_once(bytes([0x80 + i]) + os.urandom(65535)), repeat=1)
        self.add("06 a megabyte", at_once(b"\x55" * (1 << 20)))
        self.add("06 noise that begins like a knock", at_once(b"\x01\x01" + os.urandom(65534)))
        self.add("06 noise that begins like ATTACH", at_once(b"\x02\x01\x00\x38" + os.urandom(65532)))
        self.add("07 HTTP", at_once(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"))
        self.add("07 TLS", at_once(client_hello()))
        self.add("07 SSH", at_once(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"))
        self.flip_bits()
        self.come_again()

    def flip_bits(self):
        """One bit of each byte; the unit tests flip them all."""
        for byte in range(60):
            bit = 8 * byte + self.bits.randrange(8)
            self.add("04 a flipped bit", at_once(self.attach_like(lambda d, b=bit: flipped(d, b))), repeat=1)

    def come_again(self):
        """Messages that were good once, or whose number is not acceptable."""
        used = self.a.session.attach(self.topo.server)
        first = self.a.session.next - 1
        self.used = [used]
        for _ in range(REPEAT):
            message, up, down = self.a.session.cold(SERVER4, self.target.port, b"served")
            s = connect(self.topo.server)
            s.sendall(message)
            assert s.recv(1)
            self.used.append(s)
            self.add("17 a replay at once", at_once(message), repeat=1)
            self.add("22 the same number, other salt", at_once(self.cold(ctr=self.a.session.next - 1)), repeat=1)
            self.add("22 the number of a waiting one", at_once(self.cold(ctr=first)), repeat=1)
            self.add("23 a jump to 2^60", at_once(self.cold(ctr=1 << 60)), repeat=1)
            self.add("23 a jump just too far", at_once(self.cold(ctr=self.a.session.next + (1 << 20) + 4096)), repeat=1)
            self.add("23 the last number of all", at_once(self.cold(ctr=(1 << 64) - 1)), repeat=1)
        self.served = REPEAT

    def watch(self):
        """Until the last is gone, or should be."""
        watch = selectors.DefaultSelector()
        for s in self.all:
            s.start(self.topo.server, watch)
        until = time.monotonic() + LATEST + 4
        while watch.get_map() and time.monotonic() < until:
            now = time.monotonic()
            for s in self.all:
                s.speak(now)
            for key, _ in watch.select(0.02):
                key.data.listen(watch)


class Handshakers(threading.Thread):
    """Strangers who know the pin, so that TLS answers them: (kind, when reset, bytes after the handshake)."""

    def __init__(self, topo, remote):
        super().__init__(daemon=True)
        self.topo, self.pin, self.found, self.threads = topo, remote.identity.pin, [], []

    def knocked(self):
        s = connect(self.topo.server)
        s.sendall(knock(self.pin))
        return s, time.monotonic()

    def see_end(self, kind, s, since):
        how, data = ending(s, LATEST + 4)
        self.found.append((kind, how, time.monotonic() - since, data))
        abort(s)

    def no_enrolled_key(self):
        s, since = self.knocked()
        tls = Tls(s, Identity.new()).handshake()
        tls.send(b"\x01\x00\x12\x01\x01" + os.urandom(16))
        self.see_end("a key that is nobody's", s, since)

    def silent(self):
        s, since = self.knocked()
        self.see_end("a knock and nothing else", s, since)

    def slow(self):
        """A knock that takes almost all of its time does not buy more of it for TLS."""
        s, since = connect(self.topo.server), time.monotonic()
        data = knock(self.pin)
        for i in range(34):
            s.sendall(data[i:i + 1])
            time.sleep(max(0, since + (i + 1) * 0.26 - time.monotonic()))
        self.see_end("a slow knock and nothing else", s, since)

    def half_a_hello(self):
        s, since = self.knocked()
        s.sendall(Tls(s, None).hello()[:100])
        self.see_end("a knock and half a ClientHello", s, since)

    def gone(self):
        s, since = self.knocked()
        s.shutdown(socket.SHUT_WR)
        self.see_end("a knock, then FIN", s, since)

    def noise(self):
        s, since = self.knocked()
        s.sendall(b"\x80" + os.urandom(4095))
        self.see_end("a knock, then noise", s, since)

    def run(self):
        kinds = [self.no_enrolled_key, self.silent, self.slow, self.half_a_hello, self.gone, self.noise]
        self.threads = [threading.Thread(target=k, daemon=True) for k in kinds for _ in range(REPEAT)]
        for t in self.threads:
            t.start()
        for t in self.threads:
            t.join()


@pytest.fixture(scope="module")
def crowd(topo, remote):
    """The whole crowd, come and gone; a legitimate user's times meanwhile are in .honest."""
    with Target(topo.server) as target, Target(topo.server) as other:
        c = Crowd(topo, remote, target)
        c.slow_ok = c.a.session.cold(SERVER4, other.port, b"slow but whole")
        c.invite()
        hands = Handshakers(topo, remote)
        hands.start()
        late = threading.Thread(target=be_slow, args=(c,), daemon=True)
        late.start()
        visit = threading.Thread(target=look_in, args=(c, other), daemon=True)
        visit.start()
        c.watch()
        for t in (hands, late, visit):
            t.join(LATEST + 10)
        c.handshakers, c.other = hands.found, other
        wait_for(lambda: remote.status()["strangers"] == 0, "all strangers are gone")
        c.counters = remote.status()["counters"]
        yield c


def be_slow(c):
    """Case 3: a byte each 100 ms, complete before the ten seconds are over."""
    message, up, down = c.slow_ok
    s = connect(c.topo.server, timeout=10)
    for i in range(60):
        s.sendall(message[i:i + 1])
        time.sleep(0.1)
    s.sendall(message[60:])
    c.slow_answer = list(down.records(s.recv(4096)))
    abort(s)


def look_in(c, other):
    """While the crowd stands there: the noise is read no further than 64 KiB, and the honest are served."""
    time.sleep(3)
    c.strangers = c.remote.status()["strangers"]
    c.swallowed = swallowed(c.topo.vps)
    begin = time.monotonic()
    c.honest = c.remote.call(c.topo.server, "b")
    up = c.honest.session.attach(c.topo.server)
    c.honest_status = up.open(SERVER4, other.port, b"x")["status"]
    c.honest_seconds = time.monotonic() - begin
    up.close()


def swallowed(vps):
    """Of connections of which much is left unread: how many bytes the remote has read."""
    out = vps.run("ss -HOtni state established sport = :7200").stdout
    received = [(int(line.split()[0]), int(line.split("bytes_received:")[1].split()[0]))
                for line in out.splitlines() if "bytes_received:" in line]
    return [total - unread for unread, total in received if unread > 10_000]


def of(crowd, case):
    found = [s for s in crowd.all if s.kind.startswith(case)]
    assert found, case
    return found


def met_with_silence(strangers):
    for s in strangers:
        assert s.got == b"", f"{s.kind}: was told {s.got[:40]!r}"
        assert s.end == "ConnectionResetError", f"{s.kind}: {s.end} after {s.after}"
        assert EARLIEST <= s.after <= LATEST, f"{s.kind}: reset after {s.after:.2f} s"


CASES = ["01", "02", "04", "05", "06", "07", "08", "17", "20", "22", "23", "RESET", "a session", "a knock for"]


@pytest.mark.parametrize("case", CASES)
def test_case(crowd, case):
    """01 nothing; 02 cut messages; 04 flipped bits; 05 wrong lengths; 06 noise; 07 HTTP, TLS, SSH; 08 versions;
    17 replay; 20 another's session; 22 a used number; 23 jumps: no byte, and RST between 10 and 15 s."""
    met_with_silence(of(crowd, case))


def test_nobody_was_dialled_for(crowd):
    """Each of them carried a whole OPEN where it could; only the three that were honest before their replay count."""
    assert crowd.target.first.count(b"dialled!") == 0
    assert crowd.target.dialled == crowd.served


def test_case_03_slow_but_in_time(crowd):
    kinds = [decode.answer(plain) for _, plain in crowd.slow_answer]
    assert kinds[0] == {"what": 0, "status": 0, "first": b""}
    assert b"slow but whole" in crowd.other.first
    met_with_silence(of(crowd, "03"))


def test_case_06_reads_no_more_than_64_kib(crowd):
    """A megabyte came; all but 64 KiB (and the first bytes, which were looked at) stay in the kernel."""
    assert len(crowd.swallowed) == REPEAT, crowd.swallowed
    assert max(crowd.swallowed) <= 65536 + 60


def test_case_31_the_honest_are_served_meanwhile(crowd):
    assert crowd.strangers > 100
    assert crowd.honest_status == 0
    assert crowd.honest_seconds < 1 * SLACK


def test_strangers_who_know_the_pin(crowd):
    """TLS answers them; but whatever then fails, they are reset when all others are."""
    assert len(crowd.handshakers) == 6 * REPEAT
    for kind, how, after, data in crowd.handshakers:
        assert how == "reset", f"{kind}: {how}"
        assert EARLIEST <= after <= LATEST, f"{kind}: reset after {after:.2f} s"
        assert data == b"", f"{kind}: was told {data[:40]!r}"


def test_the_moment_tells_nothing(crowd):
    """Whether the first byte was wrong, or a tag, or nothing came: the times are of one distribution, uniform
    from 10 to 15 s. Its mean is 12.5, within four standard errors of the mean."""
    groups = defaultdict(list)
    for s in crowd.all:
        slow = s.kind[:2] in ("01", "02", "03")
        session = s.kind[:2] in ("04", "17", "20", "22", "23")
        groups["incomplete" if slow else "of a session" if session else "wrong"].append(s.after)
    for name, times in groups.items():
        error = 4 * 1.443 / len(times) ** 0.5
        assert abs(sum(times) / len(times) - 12.5) < error + 0.1, (name, sorted(times))
        assert max(times) - min(times) > 2, (name, sorted(times))


def test_each_is_counted(crowd):
    n = crowd.counters
    assert n["attach_replayed"] >= 3 * REPEAT
    assert n["attach_forged"] >= 3 * REPEAT
    assert n["attach_unknown"] >= REPEAT
    assert n["quiet"] == len(crowd.all) + 6 * REPEAT
    assert n["quiet_overflow"] == 0


def test_request_cut_by_fin(topo, remote):
    """An admitted ATTACH with an OPEN that lacks its last byte: no dial, and nobody waits for it."""
    with Target(topo.server) as target:
        control = remote.call(topo.server)
        message, _, down = control.session.cold(SERVER4, target.port, b"cut")
        s = connect(topo.server)
        s.sendall(message[:-1])
        s.shutdown(socket.SHUT_WR)
        how, data = ending(s)
        assert how == "reset" and len(list(down.records(data))) <= 1
        assert target.dialled == 0
        control.close()
