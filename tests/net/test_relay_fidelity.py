# SPDX-License-Identifier: BSD-2-Clause
"""Fear: a connection through plait is not quite a connection. Every way of speaking, ending and failing,
with both ends in the hands of the test, in SEALED streams and (where `clear` is allowed) behind a TLS record."""
import inspect
import hashlib
import http.server
import random
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from each import each
from inside import accept, background, connect, end_of, inside, listen, read_exactly, reset, through
from peer import read_pattern, send_pattern
from topology import ROOT, SERVER4, SERVER6, Line, wait_for

sys.path.insert(0, str(ROOT / "tests/bench"))
import chaos  # noqa: E402  pylint: disable=wrong-import-position

LINES = [Line("100M", "100M", 5), Line("100M", "100M", 15)]
PAIR = {"local_set": {"relay.clear": "yes"}, "remote_set": {"relay.clear": "yes", "relay.dial": "3s"}}
BIG = 20_000_000
TLS = b"\x16\x03\x01\x00\x05hello"  # looks like TLS: passes in CLEAR
HOSTS = each("host", [SERVER4, SERVER6])


@pytest.fixture(scope="module", name="listener")
def _listener(topo, pair):
    assert pair.local.status()["rules"] != "out"
    with listen(topo.server, 9000) as s:
        yield s


def sealed_and_clear(test):
    """The test with `both` ends of a connection whose bytes plait seals, and then of one that it need not."""
    def each_mode(topo, listener, **fixtures):
        for first in (b"hello", TLS):
            near, far = through(topo.lan, SERVER4, listener, first)
            assert came_by_the_vps(far)
            try:
                test(both=(near, far), **fixtures)
            except AssertionError as e:
                e.add_note("sealed" if first != TLS else "clear")
                raise
            finally:
                near.close()
                far.close()
    each_mode.__name__, each_mode.__doc__ = test.__name__, test.__doc__
    own = [p for n, p in inspect.signature(test).parameters.items() if n != "both"]
    house = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in ("topo", "listener")]
    each_mode.__signature__ = inspect.Signature(house + own)
    return each_mode


def came_by_the_vps(far):
    return far.getpeername()[0] in ("::ffff:11.7.0.2", "2a11:7::2")


@HOSTS
def test_server_that_speaks_first(topo, listener, host):
    near = connect(topo.lan, host, 9000)
    far = accept(listener)
    assert came_by_the_vps(far)
    far.sendall(b"220 ready\r\n")
    assert read_exactly(near, 11) == b"220 ready\r\n"
    near.sendall(b"QUIT\r\n")
    assert read_exactly(far, 6) == b"QUIT\r\n"
    far.close()
    assert end_of(near) == "eof"
    near.close()


@HOSTS
def test_typing_byte_by_byte_as_ssh_does(topo, listener, host):
    near, far = through(topo.lan, host, listener)
    for i in range(50):
        near.sendall(bytes([i]))
        assert read_exactly(far, 1) == bytes([i])
        far.sendall(bytes([i, i]))
        assert read_exactly(near, 2) == bytes([i, i])
    near.close()
    assert end_of(far) == "eof"


def test_what_netcat_sends_and_closes(topo, listener):
    p = topo.lan.popen(["nc", "-N", SERVER4, "9000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False)
    served = background(lambda: _answer_at_eof(accept(listener)))
    out, _ = p.communicate(b"question" * 10_000, timeout=60)
    assert served.join() == 80_000
    assert p.returncode == 0
    assert out == b"answer"


def _answer_at_eof(s):
    with s:
        size = 0
        while data := s.recv(1 << 16):
            size += len(data)
        s.sendall(b"answer")
    return size


def test_large_upload_by_curl(topo, pair):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self):  # pylint: disable=invalid-name
            left, h = int(self.headers["Content-Length"]), hashlib.sha256()
            while left:
                data = self.rfile.read(min(left, 1 << 16))
                h.update(data)
                left -= len(data)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(h.hexdigest().encode())

        def log_message(self, *_):
            pass
    body = random.Random(7).randbytes(BIG)
    with inside(topo.server):
        web = http.server.ThreadingHTTPServer(("0.0.0.0", 9080), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    up = {l.name: l.bytes()["up"] for l in topo.line}
    out = topo.lan.run(["curl", "-sS", "-T", "-", "-H", "Transfer-Encoding:", "-H", f"Content-Length: {BIG}",
                        "-H", "Expect:", f"http://{SERVER4}:9080/x"], input=body, text=False)
    web.shutdown()
    web.server_close()
    assert out.stdout.decode() == hashlib.sha256(body).hexdigest()
    shares = [l.bytes()["up"] - up[l.name] for l in topo.line]
    assert min(shares) > BIG // 20, f"one line did nearly all: {shares}"  # what the two make together is a figure


# --- half-close ---

@sealed_and_clear
def test_server_ends_and_client_goes_on(both):
    near, far = both
    far.shutdown(socket.SHUT_WR)
    assert near.recv(1) == b""
    sender = background(send_pattern, near, 3, BIG)
    got = background(read_pattern, far, 3, 0, BIG)
    sender.join()
    near.shutdown(socket.SHUT_WR)
    check = got.join()
    assert (check.size, check.exact) == (BIG, True)
    assert end_of(far) == "eof"


@sealed_and_clear
def test_client_ends_and_server_goes_on(both):
    near, far = both
    near.shutdown(socket.SHUT_WR)
    assert far.recv(1) == b""
    sender = background(send_pattern, far, 5, BIG)
    check = background(read_pattern, near, 5, 0, BIG).join()
    sender.join()
    far.close()
    assert (check.size, check.exact) == (BIG, True)
    assert end_of(near) == "eof"


# --- endings ---

@sealed_and_clear
def test_server_resets_in_mid_body(both):
    near, far = both
    send_pattern(far, 1, 200_000)
    check = read_pattern(near, 1, 0, 200_000)
    reset(far)
    assert end_of(near) == "reset"
    assert check.exact


@sealed_and_clear
def test_client_resets_in_mid_body(both):
    near, far = both
    near.sendall(b"x" * 50_000)
    assert read_exactly(far, 50_000)
    reset(near)
    assert end_of(far) == "reset"


@each("writer", ["server", "client"])
@sealed_and_clear
def test_reset_while_the_other_end_writes_without_end(both, writer):
    """The writer learns of it at once, not when a minute's patience of the kernel is over."""
    near, far = both if writer == "server" else both[::-1]

    def write():
        far.settimeout(30)  # half of that minute
        try:
            while True:
                far.sendall(b"w" * 65536)
        except OSError as e:
            return type(e).__name__
    writing = background(write)
    assert near.recv(1)  # it writes
    reset(near)
    assert writing.join() in ("ConnectionResetError", "BrokenPipeError")


@sealed_and_clear
def test_both_end_at_once(both):
    near, far = both
    threads = [background(lambda s: (s.sendall(b"last"), s.shutdown(socket.SHUT_WR)), s) for s in both]
    for t in threads:
        t.join()
    assert read_exactly(near, 4) == b"last" == read_exactly(far, 4)
    assert (end_of(near), end_of(far)) == ("eof", "eof")


@sealed_and_clear
def test_last_data_and_fin_in_one(both):
    near, far = both
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    far.sendall(b"z" * 1000)
    far.close()
    assert read_exactly(near, 1000) == b"z" * 1000
    assert end_of(near) == "eof"


@sealed_and_clear
def test_reset_after_the_end_of_the_other_direction(both):
    near, far = both
    far.shutdown(socket.SHUT_WR)
    assert near.recv(1) == b""
    near.sendall(b"too late")
    assert read_exactly(far, 8) == b"too late"
    reset(near)
    assert end_of(far) == "reset"


def test_nothing_lingers_when_all_is_said(topo, pair, listener):
    """No CLOSE-WAIT or FIN-WAIT of a daemon stays behind the endings above and these."""
    ends = [through(topo.lan, SERVER4, listener) for _ in range(20)]
    for i, (near, far) in enumerate(ends):
        (near.close, lambda f=far: reset(f), lambda f=far: f.shutdown(socket.SHUT_WR))[i % 3]()
    for near, far in ends:
        near.close()
        far.close()

    def clean():
        return pair.local.status()["relays"] == 0 and pair.remote.status()["relays"] == 0 and \
            not any(_half_closed(d) for d in (pair.local, pair.remote))
    wait_for(clean, "relays gone, no half-closed sockets of a daemon")


def _half_closed(daemon):
    lines = []
    for state in ("close-wait", "fin-wait-1", "closing", "last-ack"):
        out = daemon.ns.run(["ss", "-Htanp", "state", state]).stdout
        lines += [line for line in out.splitlines() if f"pid={daemon.pid}," in line]
    return lines


def test_refused_is_a_reset(topo, pair):
    near = connect(topo.lan, SERVER4, 9999)
    assert end_of(near) == "reset"


def test_target_that_swallows_syns_is_reset_in_time(topo, pair):
    """[relay] dial is 3 s here, 15 unless told."""
    topo.server.nft("table ip hole { chain in { type filter hook input priority 0; tcp dport 9998 drop; }; }")
    near = connect(topo.lan, SERVER4, 9998)
    begin = time.monotonic()
    near.sendall(b"anyone?")
    assert end_of(near, 60) == "reset"
    assert 2.5 < time.monotonic() - begin < 14  # 15, had the option not been taken
    assert pair.remote.status()["dialling"] == 0
    topo.server.nft("delete table ip hole")


def test_client_gone_before_the_answer_is_still_heard(topo, listener):
    """It connects, speaks and resets within a millisecond: the server sees the bytes, then a reset."""
    near = connect(topo.lan, SERVER4, 9000)
    near.sendall(b"fire and forget")
    reset(near)
    far = accept(listener)
    assert read_exactly(far, 15) == b"fire and forget"
    assert end_of(far) == "reset"


def test_client_gone_with_an_end_before_the_answer(topo, listener):
    near = connect(topo.lan, SERVER4, 9000)
    near.sendall(b"bye")
    near.shutdown(socket.SHUT_WR)
    far = accept(listener)
    assert read_exactly(far, 3) == b"bye"
    assert end_of(far) == "eof"
    far.sendall(b"yes")
    far.close()
    assert read_exactly(near, 3) == b"yes"
    assert end_of(near) == "eof"


def test_a_hundred_chaotic_connections(topo, pair):
    tally = chaos.run_in(topo, SERVER4, 100, 11, 20)
    assert tally["wrong"] == {}
    assert tally["exact"] == 100


def test_an_answer_long_after_the_question_was_closed(topo, pair, listener):
    """A program that says all it has to say, closes that direction and waits: the gateway's connection tracking forgets it after a minute
    of silence, and what is not tracked is not taken. So it must not be silent for a minute: both ends ask each 45 s whether it lives."""
    near, far = through(topo.lan, SERVER4, listener)
    near.sendall(b"question")
    near.shutdown(socket.SHUT_WR)
    assert read_exactly(far, 8) == b"question"
    assert far.recv(1) == b""
    for daemon, port in ((pair.local, near.getsockname()[1]), (pair.remote, 9000)):
        mine = [l for l in daemon.ns.run("ss -Htanop").stdout.splitlines() if f":{port} " in l and f"pid={daemon.pid}," in l]
        kept = re.search(r"timer:\(keepalive,(?:(\d+)min)?(?:([\d.]+)(sec|ms))?", mine[0])
        assert len(mine) == 1 and kept, mine
        assert int(kept[1] or 0) == 0 and float(kept[2]) * (0.001 if kept[3] == "ms" else 1) <= 45, mine
    far.sendall(b"answer")
    assert read_exactly(near, 6) == b"answer"
    far.close()
    assert end_of(near) == "eof"
    near.close()
