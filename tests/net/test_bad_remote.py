"""What is malformed between two who know each other: plait-local against a remote that is broken, or somebody in its
place. What its LAN client then sees is RST, and never a second try of what may have been served."""
import os
import struct
import threading
import time

import pytest

from pair import Pair, connected
from plait_client import (FORBIDDEN, MALFORMED, NO_RESOURCES, UNSUPPORTED, FakeRemote, Identity, abort, connect, decode,
                          ending, open_plain)
from topology import SERVER4, Line, wait_for

LINES = [Line()]
TOPOLOGY = {"emulate": False}
DATA, OPEN, FIN, RST = decode.DATA, decode.OPEN, decode.FIN, decode.RST


def raw(kind, length, body=b""):
    return struct.pack(">H", kind << 14 | length) + body


class Broken:
    """plait-local, and a remote in Python whose next connections do what the test at hand says."""

    def __init__(self, topo):
        self.topo, self.act, self.opens, self.asked = topo, None, [], threading.Event()
        self.pair = Pair(topo, wait=False, local_set={"pool.min": 1, "pool.max": 2})
        self.pair.write_configs()
        self.fake = FakeRemote(topo.vps, Identity.load(self.pair.remote.key), self.serve)
        self.local = self.pair.local

    def __enter__(self):
        self.local.start()
        wait_for(lambda: connected(self.local.status()), "connected")
        return self

    def __exit__(self, kind, *_):
        self.fake.close()
        code = self.local.stop()
        if kind is None:
            assert code == 0
            assert not self.fake.errors, self.fake.errors

    def serve(self, up, wanted):
        self.opens.append(wanted)
        self.asked.wait(10)  # a reset might overtake the client's own connect()
        self.act(up)

    def client(self, act, first=b"request"):
        """A LAN client's connection, while the remote does `act(upstream)` after its OPEN."""
        self.act = act
        self.asked.clear()
        s = connect(self.topo.lan, SERVER4, 7001)
        s.sendall(first)
        self.asked.set()
        return s


@pytest.fixture(scope="module")
def broken(topo):
    with Broken(topo) as b:
        yield b


def accept(status=0, first=b""):
    return b"\1" + struct.pack(">H", status) + first


def test_the_fake_remote_can_be_honest(broken):
    """Otherwise the tests below would prove nothing."""
    def act(up):
        up.send(OPEN, accept(0, b"first "))
        up.send(DATA, b"second")
        up.send(FIN)
        up.ending()
    s = broken.client(act)
    assert ending(s) == ("eof", b"first second")
    s.close()


def cut(up):
    up.send(OPEN, accept(0, b"half of "))
    up.send(DATA, b"the answer")
    up.sock.shutdown(1)
    up.ending(2)


def cut_in_a_record(up):
    up.send(OPEN, accept(0, b"half of "))
    up.sock.sendall(up.up.record(DATA, b"the answer") + up.up.record(DATA, b"x" * 500)[:300])
    up.sock.shutdown(1)
    up.ending(2)


def closed_by_abort(up):
    up.send(OPEN, accept(0, b"half of "))
    up.send(DATA, b"the answer")
    time.sleep(0.1)
    abort(up.sock)


@pytest.mark.parametrize("act", [cut, cut_in_a_record, closed_by_abort])
def test_case_24_stream_cut_on_its_way_down(broken, act):
    """The LAN client gets what came and then RST: never the end of a file that was not meant."""
    how, data = ending(broken.client(act))
    assert how == "reset"
    assert b"half of the answer".startswith(data)


@pytest.mark.parametrize("status", [MALFORMED, UNSUPPORTED, FORBIDDEN, NO_RESOURCES, 0x141, 0x160, 0x161, 1, 0xffff])
def test_every_refusal_is_a_reset(broken, status):
    def act(up):
        up.send(OPEN, accept(status))
        up.ending(2)
    assert ending(broken.client(act)) == ("reset", b"")
    assert "the remote says: " in broken.local.logged()


def junk(up):
    up.sock.sendall(raw(OPEN, 100, os.urandom(4000)))
    up.ending(2)


def data_before_accept(up):
    up.send(DATA, b"not yet")
    up.ending(2)


def attached_twice(up):
    up.send(OPEN, b"\0\0\0")
    up.ending(2)


def short_accept(up):
    up.send(OPEN, b"\1\0")
    up.ending(2)


def unknown_answer(up):
    up.send(OPEN, b"\2\0\0")
    up.ending(2)


def reset_after_attached(up):
    up.sock.sendall(b"\3\1" + os.urandom(32))
    up.ending(0.5)


def impossible(up):
    up.sock.sendall(raw(OPEN, 15, bytes(15)))
    up.ending(2)


def mirror(up):
    """The record just read, sent back."""
    back = Reflector(up)
    up.sock.sendall(back.record)
    up.ending(2)


class Reflector:
    def __init__(self, up):
        down = up.down
        down.ctr -= 1
        plain = open_plain(SERVER4, 7001, b"request")
        hdr = struct.pack(">H", OPEN << 14 | len(plain) + 16)
        self.record = hdr + down.aead.encrypt(struct.pack(">IQ", 0, down.ctr), plain, hdr)


BAD_ANSWERS = [junk, data_before_accept, attached_twice, short_accept, unknown_answer, reset_after_attached, impossible, mirror]


@pytest.mark.parametrize("act", BAD_ANSWERS)
def test_bad_answer_is_a_reset(broken, act):
    """The client is reset, the request is not sent a second time (it may have been served), the daemon lives."""
    before = len(broken.opens)
    assert ending(broken.client(act)) == ("reset", b"")
    assert len(broken.opens) == before + 1
    assert broken.local.status()["connected"]


def bad_tag(up):
    up.send(OPEN, accept())
    record = bytearray(up.up.record(DATA, b"x" * 100))
    record[40] ^= 1
    up.sock.sendall(record)
    up.ending(2)


def data_after_fin(up):
    up.send(OPEN, accept())
    up.sock.sendall(up.up.record(FIN) + up.up.record(DATA, b"more"))
    up.ending(2)


def too_long(up):
    up.send(OPEN, accept())
    up.sock.sendall(raw(DATA, 16017, bytes(100)))
    up.ending(2)


def repeated(up):
    up.send(OPEN, accept())
    record = up.up.record(DATA, b"")
    up.sock.sendall(record + record)
    up.ending(2)


def rst_record(up):
    up.send(OPEN, accept())
    up.send(RST, b"\1\x60")
    up.ending(2)


@pytest.mark.parametrize("act", [bad_tag, data_after_fin, too_long, repeated, rst_record])
def test_bad_record_is_a_reset(broken, act):
    how, data = ending(broken.client(act))
    assert how == "reset" and data == b""


def test_wrong_reset_token(broken):
    """RESET in the place of ATTACHED with another token: a broken connection, no new session, no answer twice."""
    real, calls, opens = broken.fake._attached, broken.fake.calls, []

    def forged(s, _head):
        s.settimeout(0.2)
        try:
            opens.append(s.recv(4096))  # it is a client's, not the pool's
        except TimeoutError:
            pass
        s.sendall(b"\3\1" + os.urandom(32))
        ending(s, 1)
        s.close()
    broken.fake._attached = forged
    try:
        for _ in range(5):  # the first find connections that were warm before
            before = len(opens)
            assert ending(broken.client(cut), 8)[0] == "reset"
            assert len(opens) <= before + 1, "the request was sent again"
        assert any(opens) and broken.fake.calls == calls
        assert "may have been served" in broken.local.logged()
    finally:
        broken.fake._attached = real


def test_attach_without_an_answer_does_not_use_up_the_pool(broken):
    """It did, sixteen times: when each had begun on a line that died before its ATTACH arrived, none was ever made again."""
    real, mute = broken.fake._attached, []

    def all_wait():
        pool = broken.local.status()["pool"]
        return pool["warm"] == 0 and pool["dialling"] >= pool["want"] and len(mute) >= pool["dialling"]
    broken.fake._attached = lambda s, _head: (mute.append(s), ending(s, 30))
    try:
        broken.client(cut)  # takes what is warm
        wait_for(all_wait, "all that are made wait for an answer")
    finally:
        broken.fake._attached = real
    wait_for(lambda: broken.local.status()["pool"]["warm"] > 0, "others are warm")
