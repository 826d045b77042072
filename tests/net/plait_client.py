# SPDX-License-Identifier: BSD-2-Clause
"""A peer in Python, after docs/protocol.md: it can say what no honest plait would.

    with Remote(topo, a=Identity.new()) as remote:
        control = remote.call(topo.server, remote.users["a"])     # knock, TLS, HELLO, WELCOME
        up = control.session.attach(topo.server)                  # ATTACH, ATTACHED
        assert up.open(SERVER4, 7001, b"early")["status"] == 0    # OPEN, ACCEPT

The arithmetic (keys, records, frames) is that of tests/vectors/decode.py. Sockets are made inside the
namespace that is named and used from here; every wait has an end.
"""
import contextlib
import datetime
import hashlib
import ipaddress
import os
import socket
import struct
import sys
import threading
import time
from base64 import b64encode
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from inside import inside
from pair import Daemon
from topology import ROOT, VPS4, wait_for

sys.path.insert(0, str(ROOT / "tests/vectors"))
import decode  # noqa: E402  pylint: disable=wrong-import-position

PORT = 7200
MPTCP = 262
CONTROL, ATTACH, RESET = 1, 2, 3
HELLO, WELCOME, PING, PONG, _, _, BYE, REVOKE, REVOKED, PACKET, CARRIER = range(1, 12)
MALFORMED, UNSUPPORTED, FORBIDDEN, NO_RESOURCES = 0x101, 0x102, 0x120, 0x140
SEALED, CLEAR = 0, 1


def new_socket(ns, family=socket.AF_INET, kind=socket.SOCK_STREAM, proto=0):
    with inside(ns):
        return socket.socket(family, kind, proto)


def connect(ns, host=VPS4, port=PORT, timeout=5, mptcp=False, source=None):
    s = new_socket(ns, socket.AF_INET6 if ":" in host else socket.AF_INET, proto=MPTCP if mptcp else 0)
    s.settimeout(timeout)
    if source:
        s.bind((source, 0))
    s.connect((host, port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def abort(s):
    """Closes with RST."""
    with contextlib.suppress(OSError):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()


def ending(s, timeout=5):
    """How a connection ends for who reads it: ("eof" | "reset" | "open", the bytes that came before)."""
    data, until = b"", time.monotonic() + timeout
    while (left := until - time.monotonic()) > 0:
        s.settimeout(left)
        try:
            more = s.recv(262144)
        except ConnectionResetError:
            return "reset", data
        except TimeoutError:
            break
        if not more:
            return "eof", data
        data += more
    return "open", data


def read_exactly(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError(f"ended after {len(data)} of {n} bytes")
        data += more
    return data


# --- who one is ---

class Identity:
    """An Ed25519 key, its certificate for TLS, and its pin (bytes; pin64 as a config wants it)."""

    def __init__(self, key):
        self.key = key
        spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.pin = hashlib.sha256(spki).digest()
        self.pin64 = b64encode(self.pin).decode()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anybody")])
        then = datetime.datetime(2001, 1, 1)  # long over: dates are to be ignored
        self.cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                     .serial_number(1).not_valid_before(then).not_valid_after(then + datetime.timedelta(1)).sign(key, None))

    @classmethod
    def new(cls):
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path):
        return cls(serialization.load_pem_private_key(Path(path).read_bytes(), None))

    def save(self, path):
        """As a key file of plait's."""
        path.touch(mode=0o600)
        path.write_bytes(self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                serialization.NoEncryption()))

    def secret(self):
        raw = self.key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
        return decode.hkdf(raw, b"", b"plait sid", 32)


def knock(pin, nonce=None):
    nonce = nonce or os.urandom(16)
    return b"\x01\x01" + nonce + decode.mac(pin, b"plait knock" + nonce)[:16]


# --- the control connection ---

class Tls:
    """TLS over a blocking socket; `sent` and `received` keep the raw bytes of both directions."""

    def __init__(self, sock, me, server=False):
        ctx = SSL.Context(SSL.TLS_METHOD)
        ctx.set_min_proto_version(SSL.TLS1_3_VERSION)
        ctx.set_options(SSL.OP_NO_TICKET)
        ctx.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        if me:
            ctx.use_certificate(crypto.X509.from_cryptography(me.cert))
            ctx.use_privatekey(crypto.PKey.from_cryptography_key(me.key))
        self.sock, self.conn = sock, SSL.Connection(ctx, None)
        self.sent, self.received = b"", b""
        (self.conn.set_accept_state if server else self.conn.set_connect_state)()

    def flush(self):
        with contextlib.suppress(SSL.WantReadError):
            while data := self.conn.bio_read(65536):
                self.sent += data
                self.sock.sendall(data)

    def _feed(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the peer closed")
        self.received += data
        self.conn.bio_write(data)

    def _do(self, step):
        while True:
            try:
                value = step()
                self.flush()
                return value
            except SSL.WantReadError:
                self.flush()
                self._feed()

    def hello(self):
        """Makes and returns the ClientHello without sending it."""
        with contextlib.suppress(SSL.WantReadError):
            self.conn.do_handshake()
        return self.conn.bio_read(65536)

    def handshake(self):
        self._do(self.conn.do_handshake)
        return self

    def peer_pin(self):
        key = self.conn.get_peer_certificate().to_cryptography().public_key()
        return hashlib.sha256(key.public_bytes(serialization.Encoding.DER,
                                               serialization.PublicFormat.SubjectPublicKeyInfo)).digest()

    def send(self, data):
        self._do(lambda: self.conn.sendall(data))

    def recv(self, n):
        return self._do(lambda: self.conn.recv(n))

    def export(self, context):
        return self.conn.export_keying_material(b"EXPORTER plait v1", 32, context)


class Control:
    """Frames over TLS; with call() the local's side of it up to WELCOME."""

    def __init__(self, tls):
        self.tls, self.sock, self.buffer = tls, tls.sock, b""
        self.session, self.welcome = None, None

    @classmethod
    def call(cls, ns, me, remote_pin, host=VPS4, boot=None, flags=1):
        sock = connect(ns, host)
        sock.sendall(knock(remote_pin))
        c = cls(Tls(sock, me).handshake())
        assert c.tls.peer_pin() == remote_pin
        c.send(HELLO, bytes([1, flags]) + (boot or os.urandom(16)))
        kind, value = c.recv()
        assert kind == WELCOME, (kind, value)
        c.welcome = decode.welcome(value)
        c.session = Session(c.welcome, c.tls.export(c.welcome["sid"]), host)
        return c

    def send(self, kind, value=b""):
        self.tls.send(struct.pack(">BH", kind, len(value)) + value)

    def recv(self):
        """The next frame: (type, value)."""
        while len(self.buffer) < 3 or len(self.buffer) < 3 + struct.unpack(">H", self.buffer[1:3])[0]:
            self.buffer += self.tls.recv(65536)
        end = 3 + struct.unpack(">H", self.buffer[1:3])[0]
        frame, self.buffer = self.buffer[:end], self.buffer[end:]
        return decode.frame(frame)

    def close(self):
        abort(self.sock)


# --- attached connections ---

class Sealer(decode.Stream):
    def seal(self, plain, aad):
        self.ctr += 1
        return self.aead.encrypt(struct.pack(">IQ", 0, self.ctr - 1), plain, aad)

    def record(self, kind, plain=b""):
        hdr = struct.pack(">H", kind << 14 | len(plain) + 16)
        return hdr + self.seal(plain, hdr)


def raw_addr(host, port):
    ip = ipaddress.ip_address(host)
    return (ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed) + struct.pack(">H", port)


def open_plain(host, port, early=b"", mode=SEALED, source=("192.168.77.10", 40000), reserved=0):
    return bytes([mode, reserved]) + raw_addr(host, port) + raw_addr(*source) + early


def resume_plain(sid, ctr, reserved=0):
    return bytes([2, reserved]) + sid + struct.pack(">Q", ctr)


class Session:
    """What WELCOME leaves behind: enough to make ATTACH messages of every kind."""

    def __init__(self, welcome, exported, host=VPS4):
        self.sid, self.aead, self.token, self.host = welcome["sid"], welcome["aead"], welcome["token"], host
        self.key, self.next = decode.session_keys(exported)[b"open"], 0

    def message(self, ctr=None, salt=None):
        """(ATTACH, up, down), up being past the tag."""
        if ctr is None:
            ctr, self.next = self.next, self.next + 1
        head = b"\x02\x01\x00\x38" + self.sid + struct.pack(">Q", ctr) + (salt or os.urandom(16))
        keys = decode.hkdf(self.key, head[28:], b"plait attach" + head[4:28], 64)
        up, down = Sealer(self.aead, keys[:32], 0), Sealer(self.aead, keys[32:], 0)
        return head + up.seal(b"", head), up, down

    def cold(self, dst, port, early=b"", ctr=None, **kw):
        """(ATTACH and OPEN in one piece, up, down)."""
        head, up, down = self.message(ctr)
        return head + up.record(decode.OPEN, open_plain(dst, port, early, **kw)), up, down

    def attach(self, ns, ctr=None, salt=None, mptcp=False):
        """A connection that waits: ATTACH was sent and ATTACHED has come."""
        head, up, down = self.message(ctr, salt)
        sock = connect(ns, self.host, mptcp=mptcp)
        sock.sendall(head)
        u = Upstream(sock, up, down)
        u.ctr = struct.unpack(">Q", head[20:28])[0]
        assert u.answer() == {"what": 0, "status": 0, "first": b""}
        return u


class Upstream:
    """An attached connection: records up and down."""

    def __init__(self, sock, up, down):
        self.sock, self.up, self.down = sock, up, down

    def send(self, kind, plain=b""):
        self.sock.sendall(self.up.record(kind, plain))

    def read(self):
        """The next record down: (kind, plaintext)."""
        hdr = read_exactly(self.sock, 2)
        value = struct.unpack(">H", hdr)[0]
        return value >> 14, self.down.open(read_exactly(self.sock, value & 0x3FFF), hdr)

    def answer(self):
        kind, plain = self.read()
        assert kind == decode.OPEN, kind
        return decode.answer(plain)

    def open(self, host, port, early=b"", **kw):
        """OPEN, and the ACCEPT that comes back."""
        self.send(decode.OPEN, open_plain(host, port, early, **kw))
        a = self.answer()
        assert a["what"] == 1, a
        return a

    def ending(self, timeout=5):
        """How it ends: ("eof" | "reset" | "open", [records that came before])."""
        how, data = ending(self.sock, timeout)
        return how, list(self.down.records(data))

    def close(self):
        abort(self.sock)


# --- the other side's counterparts ---

class Target:
    """A destination that counts: how often it was dialled, and what first bytes came. It echoes."""

    def __init__(self, ns, port=0, host="::"):
        self.listener = new_socket(ns, socket.AF_INET6)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.listener.listen(1024)
        self.port = self.listener.getsockname()[1]
        self.dialled, self.first, self.sockets = 0, [], []
        threading.Thread(target=self._loop, daemon=True).start()

    def _loop(self):
        with contextlib.suppress(OSError):
            while True:
                s, _ = self.listener.accept()
                self.dialled += 1
                self.sockets.append(s)
                threading.Thread(target=self._echo, args=(s,), daemon=True).start()

    def _echo(self, s):
        with contextlib.suppress(OSError):
            first = True
            while data := s.recv(65536):
                if first:
                    self.first.append(data)
                first = False
                s.sendall(data)
            s.shutdown(socket.SHUT_WR)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        for s in [self.listener, *self.sockets]:
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Remote(Daemon):
    """plait-remote on the VPS, alone: its users are Identities of this process. Text goes into a user's section
    with caps={"a": "opens = 3"}, into [remote] with options=, and to the end of the file with extra=."""

    def __init__(self, topo, options="", extra="", caps=None, **users):
        super().__init__(topo.vps, "plait-remote", topo.new_dir("remote"))
        self.users, self.caps, self.options, self.extra = users, caps or {}, options, extra

    def __enter__(self):
        self.make_key()
        text = f"[remote]\nkey_file = {self.key}\ncontrol = {self.control}\nlog = debug\n{self.options}\n"
        for name, who in self.users.items():
            text += f"[user {name}]\nkey = {who.pin64}\n{self.caps.get(name, '')}\n"
        self.config.write_text(text + self.extra, encoding="utf-8")
        self.identity = Identity.load(self.key)
        self.start()
        self.wait()
        return self

    def wait(self):
        wait_for(lambda: self.alive() and self.status(), f"plait-remote answers\n{self.logged()[-2000:]}")

    def __exit__(self, kind, *_):
        if kind is None:
            assert self.stop() == 0, self.logged()[-4000:]
        elif self.alive():
            self.process.kill()
        assert "Sanitizer" not in self.logged() and "runtime error:" not in self.logged(), self.logged()[-8000:]

    def restart(self):
        """Killed, and started again: it has forgotten everything but its key."""
        self.process.kill()
        self.process.wait()
        self.start()
        self.wait()

    def call(self, ns, user="a", **kw):
        return Control.call(ns, self.users[user], self.identity.pin, **kw)

    def counter(self, name):
        return self.status()["counters"][name]

    def user(self, name="a"):
        return next(u for u in self.status()["users"] if u["name"] == name)


def two_users(topo):
    """A Remote with the users a and b."""
    return Remote(topo, a=Identity.new(), b=Identity.new())


class FakeRemote:
    """A remote in Python with plait-remote's key: it welcomes whoever knocks and gives every attached
    connection to `serve(upstream, open)`, in a thread of its own. Other frames than it knows go to `frame(control, kind, value)`."""

    def __init__(self, ns, identity, serve, port=PORT, rekey=3600, knock_pin=None, flags=0, inner4=bytes(4), frame=None):
        self.identity, self.serve, self.rekey = identity, serve, rekey
        self.knock_pin = knock_pin or identity.pin
        self.flags, self.inner4, self.frame = flags, inner4, frame or (lambda *_: None)
        self.exported, self.errors, self.calls = {}, [], 0
        self.boot = os.urandom(16)
        self.listener = new_socket(ns, socket.AF_INET6, proto=MPTCP)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("::", port))
        self.listener.listen(256)
        threading.Thread(target=self._loop, daemon=True).start()

    def _loop(self):
        with contextlib.suppress(OSError):
            while True:
                s, _ = self.listener.accept()
                threading.Thread(target=self._one, args=(s,), daemon=True).start()

    def _one(self, s):
        try:
            first = read_exactly(s, 1)
            if first == b"\x01":
                self._control(s, first + read_exactly(s, 33))
            else:
                self._attached(s, first + read_exactly(s, 59))
        except (OSError, EOFError, SSL.Error):
            abort(s)
        except Exception as e:  # pylint: disable=broad-except
            self.errors.append(repr(e))
            abort(s)

    def _control(self, s, head):
        decode.knock(head, self.knock_pin)
        c = Control(Tls(s, self.identity, server=True).handshake())
        kind, _ = c.recv()
        assert kind == HELLO
        r = os.urandom(8)
        sid = r + decode.mac(self.identity.secret(), b"sid" + r)[:8]
        self.exported[sid] = c.tls.export(sid)
        self.calls += 1
        c.send(WELCOME, struct.pack(">BBBB16s16s16s4s16sHHHHIII", 1, self.flags, 1, 0, sid, os.urandom(16), self.boot, self.inner4,
                                    bytes(16), 0, 64, 120, self.rekey, 2000, 200, 0))
        while True:
            kind, value = c.recv()
            if kind == PING:
                c.send(PONG, value)
            elif kind == REVOKE:
                c.send(REVOKED, value + b"\x01")
            else:
                self.frame(c, kind, value)

    def _attached(self, s, head):
        sid = head[4:20]
        _, up, down = decode.attach(head, sid, decode.session_keys(self.exported[sid])[b"open"], 1)
        down.__class__ = Sealer
        u = Upstream(s, down, up)
        u.send(decode.OPEN, b"\x00\x00\x00")
        kind, plain = u.read()
        assert kind == decode.OPEN
        self.serve(u, decode.open_(plain))

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


