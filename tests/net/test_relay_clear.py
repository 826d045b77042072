# SPDX-License-Identifier: BSD-2-Clause
"""CLEAR leaves TLS as it is, saving the second encryption, but only where both owners want it.

With a real TLS server and curl, and a look at the wire: TLS's own records are seen there in CLEAR and nowhere in
SEALED. (The ClientHello is not, in either: it travels inside OPEN.)"""
import contextlib
import http.server
import socket
import ssl
import subprocess
import threading

import pytest

from each import each
from inside import end_of, inside, listen, through
from pair import Pair
from topology import SERVER4, VPS4, Line, wait_for

LINES = [Line("50M", "50M", 5), Line("50M", "50M", 10)]
NAME = "quite.readable.example"
FULL_RECORD = b"\x17\x03\x03\x40\x11"  # application data of 16 KiB and its tag
PAGE = b"0123456789abcdef" * 65536
LAST = b"the last of what passed"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # pylint: disable=invalid-name
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module", name="web")
def _web(topo):
    """A TLS server; the directory of its key."""
    d = topo.new_dir("web")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", f"/CN={NAME}", "-keyout", d / "key", "-out", d / "cert"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(d / "cert", d / "key")
    with inside(topo.server):
        server = http.server.ThreadingHTTPServer(("0.0.0.0", 443), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield d
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def wire(topo, path):
    """All that passes between the two plaits meanwhile is in the file afterwards: what tcpdump has not read when it is ended is lost, so
    it is ended when the last, a datagram of ours, is there."""
    dump = topo.inet.popen(["tcpdump", "-ni", "vps", "-s0", "-B32768", "--immediate-mode", "-U", "-w", path, "tcp port 7200 or udp port 9"],
                           stderr=subprocess.PIPE)
    assert "listening" in dump.stderr.readline()
    yield
    with inside(topo.inet), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(LAST, (VPS4, 9))
    wait_for(lambda: LAST in path.read_bytes()[-100_000:], "all that passed is in the file")
    dump.terminate()
    dump.wait()


def intercepting(pair):
    wait_for(lambda: pair.local.status()["rules"] != "out", "interception")


@each("here,there", [("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no")])
def test_clear_only_when_both_allow_it(topo, web, here, there):
    both = here == there == "yes"
    with Pair(topo, local_set={"relay.clear": here}, remote_set={"relay.clear": there}) as pair:
        intercepting(pair)
        with wire(topo, web / "wire"):
            for _ in range(3):
                out = topo.lan.run(["curl", "-sSk", "--resolve", f"{NAME}:443:{SERVER4}", f"https://{NAME}/"], text=False)
                assert out.stdout == PAGE
        assert pair.local.status()["vps"]["clear"] is both
    seen = (web / "wire").read_bytes()
    assert len(seen) > 3 * len(PAGE), "the capture missed something"
    assert (seen.count(FULL_RECORD) > 100) is both
    assert (seen.count(FULL_RECORD) == 0) is not both


def test_what_is_not_tls_is_sealed_also_on_a_port_of_tls(topo, web):
    with Pair(topo, local_set={"relay.clear": "yes"}, remote_set={"relay.clear": "yes"}) as pair, \
            listen(topo.server, 8443) as listener:
        intercepting(pair)
        with wire(topo, web / "wire"):
            for secret in (b"USER secret-name-of-me\r\n", b"\x15\x03\x01 secret-name-of-me"):
                near, far = through(topo.lan, SERVER4, listener, secret + b"x" * 20_000)
                assert far.getpeername()[0] == "::ffff:11.7.0.2"
                near.close()
                assert end_of(far) == "eof"
                far.close()
    seen = (web / "wire").read_bytes()
    assert len(seen) > 40_000, "the capture missed something"
    assert b"secret-name-of-me" not in seen
