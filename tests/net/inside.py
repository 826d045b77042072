# SPDX-License-Identifier: BSD-2-Clause
"""Sockets of this process inside a topology's namespaces, so that a test can hold both ends in its own hands."""
import contextlib
import ctypes
import errno
import os
import socket
import struct
import threading
import time

from topology import LIMIT_S

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
LINGER_RST = struct.pack("ii", 1, 0)


@contextlib.contextmanager
def inside(ns):
    """This thread, and no other, is in the namespace meanwhile; sockets made here stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{ns.name}", os.O_RDONLY)
    try:
        if _libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if _libc.setns(home, CLONE_NEWNET):
                os._exit(70)  # nothing that follows would be where it believes to be
    finally:
        os.close(home)
        os.close(there)


def tcp(ns, host="0.0.0.0", mark=0):
    """A TCP socket there, of the family of `host`."""
    with inside(ns):
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    if mark:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def connect(ns, host, port, timeout=LIMIT_S, mark=0, receive=0, source="", from_port=0):
    """`receive`: SO_RCVBUF, set before the window is agreed on."""
    s = tcp(ns, host, mark)
    if receive:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    s.settimeout(timeout)
    try:
        if source or from_port:
            s.bind((source, from_port))
        s.connect((host, port))
    except OSError:
        s.close()
        raise
    return s


def listen(ns, port, backlog=1024):
    """Both families."""
    with inside(ns):
        s = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    s.settimeout(LIMIT_S)
    return s


def accept(listener, timeout=LIMIT_S):
    listener.settimeout(timeout)
    s, _ = listener.accept()
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.settimeout(timeout)
    return s


def through(ns, host, listener, first=b"hello", **how):
    """A connection from ns to `host`, where `listener` is: both ends, `first` having come across."""
    s = connect(ns, host, listener.getsockname()[1], **how)
    s.sendall(first)
    far = accept(listener)
    assert read_exactly(far, len(first)) == first
    return s, far


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RST)
    s.close()


def read_exactly(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError(f"{len(data)} of {n} bytes")
        data += more
    return data


def end_of(s, timeout=LIMIT_S):
    """How the connection ends for its reader, data thrown away: eof, reset, timeout."""
    until = time.monotonic() + timeout
    while True:
        left = until - time.monotonic()
        if left <= 0:
            return "timeout"
        s.settimeout(left)
        try:
            if not s.recv(1 << 18):
                return "eof"
        except TimeoutError:
            return "timeout"
        except OSError as e:
            return {errno.ECONNRESET: "reset", errno.EPIPE: "reset"}.get(e.errno, str(e))


def background(function, *args):
    """Runs it in a thread; join() returns its value or raises what it raised."""
    return _Thread(function, args)


class _Thread(threading.Thread):
    def __init__(self, function, args):
        super().__init__(daemon=True)
        self.function, self.args, self.value, self.error = function, args, None, None
        self.start()

    def run(self):
        try:
            self.value = self.function(*self.args)
        except BaseException as e:  # pylint: disable=broad-except
            self.error = e

    def join(self, timeout=60):
        super().join(timeout)
        assert not self.is_alive(), f"{self.function} did not end within {timeout} s"
        if self.error:
            raise self.error
        return self.value


def sockets_in(ns, state):
    """Lines of `ss` for TCP sockets in that state, e.g. time-wait."""
    return ns.run(["ss", "-Htan", "state", state]).stdout.splitlines()
