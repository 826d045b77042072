#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The two ends of every test connection: `peer.py serve` in one namespace, a client verb in another.

Six ports from --port on (7000 unless told):
  +0  commands: a header, then what it asks for      +3  accepts, then RST
  +1  echo, TCP and UDP                              +4  RST after the first bytes
  +2  speaks first (one byte 'S'), then echo         +5  accepts and never reads

The header is 5 bytes in the shape of a TLS record (type 0x16 when `tls`, else 'P'), then 4 bytes in
the shape of a ClientHello, then the command in ASCII:
  down SIZE SEED   the server sends SIZE bytes of pattern SEED and FIN, then reads to the end
  up SIZE SEED     the server reads to the end and answers with JSON {size, exact, at}
  kept 0 SEED      header after header, each of which is a SIZE: the server sends so many bytes, and waits for the next
  chaos JSON       see tests/bench/chaos.py
Every client verb prints one JSON object and exits 0 when the exchange was what it should be.
"""
import argparse
import json
import random
import socket
import struct
import sys
import threading
import time

BLOCK = 1_000_003  # a prime, so that lost or repeated buffers never line up with the pattern
LINGER_RST = struct.pack("ii", 1, 0)
_patterns = {}


def pattern(seed):
    seed = int(seed) % 16
    if seed not in _patterns:
        block = random.Random(seed).randbytes(BLOCK)
        _patterns[seed] = block + block
    return _patterns[seed]


def piece(seed, offset, n):
    """n <= BLOCK bytes of the endless pattern."""
    start = offset % BLOCK
    return memoryview(pattern(seed))[start:start + n]


class Check:
    """Counts what arrives and compares every byte with what should."""

    def __init__(self, seed):
        self.seed, self.size, self.exact, self.at = seed, 0, True, 0.0

    def add(self, data):
        offset = 0
        while offset < len(data):
            n = min(BLOCK, len(data) - offset)
            if data[offset:offset + n] != piece(self.seed, self.size + offset, n):
                self.exact = False
            offset += n
        self.size += len(data)
        self.at = time.monotonic()


def header(command, tls=False):
    body = command.encode()
    hello = b"\x01\x00" + struct.pack(">H", len(body)) + body
    return (b"\x16" if tls else b"P") + b"\x03\x01" + struct.pack(">H", len(hello)) + hello


def read_exactly(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError("the header was cut")
        data += more
    return data


def read_header(s):
    size = struct.unpack(">H", read_exactly(s, 5)[3:])[0]
    return read_exactly(s, size)[4:].decode()


def reset(s):
    """Closes with RST, whatever is queued."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RST)
    s.close()


def send_pattern(s, seed, size, offset=0, rate=0):
    """Sends size bytes; rate in bytes/s slows it down."""
    done, start = 0, time.monotonic()
    while done < size:
        n = min(size - done, 16384 if rate else 262144)
        s.sendall(piece(seed, offset + done, n))
        done += n
        if rate:
            time.sleep(max(0, start + done / rate - time.monotonic()))


def read_pattern(s, seed, rate=0, limit=None):
    """Reads to EOF, or to limit bytes; returns the Check."""
    check, start = Check(seed), time.monotonic()
    buffer = bytearray(4096 if rate else 262144)
    view = memoryview(buffer)
    while limit is None or check.size < limit:
        want = len(buffer) if limit is None else min(len(buffer), limit - check.size)
        n = s.recv_into(view[:want])
        if not n:
            break
        check.add(view[:n])
        if rate:
            time.sleep(max(0, start + check.size / rate - time.monotonic()))
    return check


# --- the server ---

def serve_down(s, size, seed):
    send_pattern(s, seed, int(size))
    s.shutdown(socket.SHUT_WR)
    while s.recv(65536):
        pass


def serve_up(s, _size, seed):
    c = read_pattern(s, seed)
    s.sendall(json.dumps({"size": c.size, "exact": c.exact, "at": c.at}).encode())


def serve_kept(s, _size, seed):
    while True:
        send_pattern(s, seed, int(read_header(s)))


def serve_echo(s, *_):
    while data := s.recv(262144):
        s.sendall(data)


def serve_first(s):
    s.sendall(b"S")
    serve_echo(s)


def serve_reset(s):
    reset(s)


def serve_reset_later(s):
    s.recv(65536)
    reset(s)


def serve_deaf(s):
    threading.Event().wait(3600)


def serve_command(s):
    verb, *args = read_header(s).split(" ", 2)
    if verb == "chaos":
        import chaos  # in tests/bench, put on the path by its driver
        chaos.serve(s, " ".join(args))
        return
    {"down": serve_down, "up": serve_up, "echo": serve_echo, "kept": serve_kept}[verb](s, *args)


def _one(handler, s):
    try:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handler(s)
    except (OSError, EOFError):
        pass
    finally:
        s.close()


def _accept_loop(port, handler):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)

    def loop():
        while True:
            s, _ = listener.accept()
            threading.Thread(target=_one, args=(handler, s), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()


def _udp_echo_loop(port):
    u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    u.bind(("::", port))

    def loop():
        while True:
            data, who = u.recvfrom(65536)
            u.sendto(data, who)
    threading.Thread(target=loop, daemon=True).start()


def serve(a):
    threading.stack_size(256 * 1024)
    handlers = (serve_command, serve_echo, serve_first, serve_reset, serve_reset_later, serve_deaf)
    for i, handler in enumerate(handlers):
        _accept_loop(a.port + i, handler)
    _udp_echo_loop(a.port + 1)
    print("ready", flush=True)
    threading.Event().wait()


# --- the clients ---

def dial(a, offset=0):
    source = (a.source, 0) if a.source else None
    s = socket.create_connection((a.host, a.port + offset), timeout=a.timeout, source_address=source)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def client_down(a):
    begin = time.monotonic()
    with dial(a) as s:
        s.sendall(header(f"down {a.size} {a.seed}", a.tls))
        c = read_pattern(s, a.seed, rate=a.rate)
    seconds = c.at - begin
    return {"ok": c.exact and c.size == a.size, "size": c.size, "exact": c.exact, "seconds": seconds,
            "mbit": c.size * 8e-6 / seconds if seconds > 0 else 0}


def client_up(a):
    begin = time.monotonic()
    with dial(a) as s:
        s.sendall(header(f"up {a.size} {a.seed}", a.tls))
        send_pattern(s, a.seed, a.size, rate=a.rate)
        s.shutdown(socket.SHUT_WR)
        reply = b""
        while more := s.recv(4096):
            reply += more
    got = json.loads(reply or b'{"size": 0, "exact": false, "at": 0}')
    seconds = got["at"] - begin  # one machine, one clock: when the last byte had arrived
    return {"ok": got["exact"] and got["size"] == a.size, "size": got["size"], "exact": got["exact"],
            "seconds": seconds, "mbit": got["size"] * 8e-6 / seconds if seconds > 0 else 0}


def _latency(a, offset, speak):
    times, failed = [], 0
    for _ in range(a.count):
        begin = time.monotonic()
        try:
            with dial(a, offset) as s:
                if speak:
                    s.sendall(b"x")
                if len(s.recv(1)) != 1:
                    raise OSError("closed")
                times.append(1e3 * (time.monotonic() - begin))
        except OSError:
            failed += 1
        time.sleep(a.interval)
    return {"ok": not failed, "failed": failed, "ms": times}


def client_echo(a):
    return _latency(a, 1, True)


def client_first(a):
    return _latency(a, 2, False)


def client_reset(a):
    """How does a reset by the server look? --later: after the first bytes."""
    seen = "nothing"
    try:
        with dial(a, 4 if a.later else 3) as s:
            if a.later:
                s.sendall(b"x")
            seen = "data" if s.recv(1) else "eof"
    except ConnectionResetError:
        seen = "reset"
    except ConnectionRefusedError:
        seen = "refused"
    except OSError as e:
        seen = str(e)
    return {"ok": seen == "reset", "seen": seen}


def client_halfclose(a):
    """Sends, closes its half, and must still get all of it back from the echo."""
    with dial(a, 1) as s:
        threading.Thread(target=lambda: (send_pattern(s, a.seed, a.size), s.shutdown(socket.SHUT_WR))).start()
        c = read_pattern(s, a.seed, rate=a.rate)
    return {"ok": c.exact and c.size == a.size, "size": c.size, "exact": c.exact}


def client_ping(a):
    """UDP datagrams of --size bytes to the echo, one at a time or --interval apart; lost after --timeout."""
    times, lost = [], 0
    family = socket.AF_INET6 if ":" in a.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as u:
        if a.source:
            u.bind((a.source, 0))
        u.connect((a.host, a.port + 1))
        u.settimeout(a.timeout)
        sent = {}

        def receive(until):
            while sent and (left := until - time.monotonic()) > 0:
                u.settimeout(left)
                try:
                    data = u.recv(65536)
                except (TimeoutError, ConnectionError):
                    continue
                begin = sent.pop(data[:4], None)
                if begin:
                    times.append(1e3 * (time.monotonic() - begin))
        for i in range(a.count):
            key = struct.pack(">I", i)
            sent[key] = time.monotonic()
            u.send(key.ljust(max(4, a.size), b"."))
            receive(time.monotonic() + a.interval)
        receive(time.monotonic() + a.timeout)
        lost = len(sent)
    return {"ok": lost == 0, "lost": lost, "sent": a.count, "ms": times}


CLIENTS = {"down": client_down, "up": client_up, "echo": client_echo, "first": client_first,
           "reset": client_reset, "halfclose": client_halfclose, "ping": client_ping}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("verb", choices=["serve", *CLIENTS])
    p.add_argument("host", nargs="?", default="11.9.0.2")
    p.add_argument("--port", type=int, default=7000)
    p.add_argument("--source", default="")
    p.add_argument("--size", type=int, default=0)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--rate", type=float, default=0, help="bytes/s: a slow reader (down, halfclose) or writer (up)")
    p.add_argument("--count", type=int, default=1)
    p.add_argument("--interval", type=float, default=0.01)
    p.add_argument("--timeout", type=float, default=30)
    p.add_argument("--tls", action="store_true", help="the first bytes look like a TLS record")
    p.add_argument("--later", action="store_true")
    a = p.parse_args()
    if a.verb == "serve":
        return serve(a)
    try:
        result = CLIENTS[a.verb](a)
    except OSError as e:
        result = {"ok": False, "error": f"{type(e).__name__}: {e}"}
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
