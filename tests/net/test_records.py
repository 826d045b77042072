"""What is malformed between two who know each other: the remote against a bad local."""
import contextlib
import os
import struct
import time

import pytest

from plait_client import (BYE, CLEAR, FORBIDDEN, HELLO, MALFORMED, PING, PONG, REVOKE, UNSUPPORTED, Control, Tls,
                          abort, connect, decode, ending, knock, open_plain, resume_plain)
from topology import SERVER4, SERVER6, Line, wait_for

LINES = [Line()]
TOPOLOGY = {"emulate": False}
DATA, OPEN, FIN, RST = decode.DATA, decode.OPEN, decode.FIN, decode.RST


@pytest.fixture
def relayed(topo, session, target):
    """A relay that has moved a byte each way: (connection, destination's socket)."""
    up = session.attach(topo.server)
    assert up.open(SERVER4, target.port)["status"] == 0
    up.send(DATA, b"1")
    assert up.read() == (DATA, b"1")
    yield up, target.sockets[-1]
    up.close()


def raw(kind, length, body=b""):
    return struct.pack(">H", kind << 14 | length) + body


# --- OPEN ---

@pytest.mark.parametrize("plain, why", [
    (lambda p: b"", "empty"),
    (lambda p: open_plain(SERVER4, p)[:37], "one byte short"),
    (lambda p: open_plain(SERVER4, p, reserved=2), "a flag nobody knows"),
    (lambda p: open_plain(SERVER4, p, reserved=255), "all flags"),
    (lambda p: open_plain(SERVER4, p, mode=2), "mode 2"),
    (lambda p: open_plain(SERVER4, p, mode=255), "mode 255"),
    (lambda p: resume_plain(bytes(16), 0)[:25], "RESUME, one byte short"),
    (lambda p: resume_plain(bytes(16), 0) + b"x", "RESUME, one byte long"),
    (lambda p: resume_plain(bytes(16), 0, reserved=1), "RESUME, reserved is not 0"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_case_10_malformed_open(topo, session, target, plain, why):
    """Status 0x101 and no dial."""
    before, up = target.dialled, session.attach(topo.server)
    up.send(OPEN, plain(target.port))
    assert up.answer() == {"what": 1, "status": MALFORMED, "first": b""}, why
    assert target.dialled == before
    up.close()


def test_case_11_mode_that_is_not_supported(topo, session, target):
    """CLEAR where the config does not allow it: status 0x102, no dial."""
    before, up = target.dialled, session.attach(topo.server)
    assert up.open(SERVER4, target.port, b"\x16\x03\x01", mode=CLEAR)["status"] == UNSUPPORTED
    assert target.dialled == before


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "11.7.0.2", "2a11:7::2", "169.254.169.254", "10.0.0.1"])
def test_forbidden_destination(topo, session, host):
    """Status 0x120: the remote's inside is no destination, nor is its own port."""
    up = session.attach(topo.server)
    assert up.open(host, 7200)["status"] == FORBIDDEN


def test_first_record_is_no_open(topo, remote, session):
    before = remote.counter("records_forged")
    for kind in (DATA, FIN, RST):
        up = session.attach(topo.server)
        up.send(kind, b"")
        assert up.ending() == ("reset", [])
    assert remote.counter("records_forged") == before + 3


def test_open_in_pieces_and_with_much_behind_it(topo, session, target):
    """OPEN cut anywhere is one OPEN; what follows it in the same segment is not lost."""
    early, more = os.urandom(9000), os.urandom(16000)
    up = session.attach(topo.server)
    message = up.up.record(OPEN, open_plain(SERVER4, target.port, early)) + up.up.record(DATA, more) + up.up.record(FIN)
    for cut in (0, 1, 2, 3, 500, len(message) - 1):
        up.sock.sendall(message[cut:{0: 1, 1: 2, 2: 3, 3: 500, 500: len(message) - 1}.get(cut, len(message))])
        time.sleep(0.01)
    accept = up.answer()
    assert accept["status"] == 0
    how, records = up.ending()
    back = accept["first"] + b"".join(plain for kind, plain in records if kind == DATA)
    assert how == "eof" and records[-1] == (FIN, b"") and back == early + more


@pytest.mark.parametrize("end", [False, True], ids=["and then silence", "and then FIN"])
def test_case_04_flipped_bits_of_open(topo, session, target, end):
    """A bit of each byte of an OPEN behind a good ATTACH: none dials. (ATTACH itself is for the strangers.)"""
    before, flips = target.dialled, []
    for byte in range(2 + 38 + 5 + 16):
        message, _, _ = session.cold(SERVER4, target.port, b"early")
        flipped = bytearray(message)
        flipped[60 + byte] ^= 1 << byte % 8
        s = connect(topo.server)
        s.sendall(flipped)
        if end:
            with contextlib.suppress(OSError):  # it was reset already
                s.shutdown(1)
        flips.append((byte, s))
    for byte, s in flips:
        how, _ = ending(s, 2 if byte > 1 or end else 0.1)
        assert how == "reset" or byte < 2, byte  # a longer record is waited for
        abort(s)
    assert target.dialled == before


# --- records ---

@pytest.mark.parametrize("kind", [DATA, OPEN, FIN, RST])
@pytest.mark.parametrize("length", [0, 15, 16017, 16383])
def test_case_12_impossible_length(topo, session, relayed, length, kind):
    """In the middle of a relay, and in the place of OPEN: reset, also for the destination."""
    up, dest = relayed
    up.sock.sendall(raw(kind, length, bytes(16)))
    assert up.ending()[0] == "reset"
    wait_for(lambda: dest.fileno() < 0 or ended(dest), "the destination was told")
    waiting = session.attach(topo.server)
    waiting.sock.sendall(raw(kind, length, bytes(16)))
    assert waiting.ending() == ("reset", [])


def ended(s):
    """The echo thread reads until it sees the reset; then the socket has no peer."""
    try:
        s.getpeername()
        return False
    except OSError:
        return True


def test_longest_record(topo, session, target):
    """16,000 bytes are one record."""
    up = session.attach(topo.server)
    assert up.open(SERVER4, target.port)["status"] == 0
    data = os.urandom(16000)
    up.send(DATA, data)
    got = b""
    while len(got) < len(data):
        got += up.read()[1]
    assert got == data
    up.close()


@pytest.mark.parametrize("kind, plain", [(DATA, b"more"), (DATA, b""), (FIN, b""), (OPEN, b"again")],
                         ids=["data", "empty data", "second FIN", "OPEN"])
def test_case_13_after_fin(relayed, kind, plain):
    """Nothing may follow FIN in its direction: the relay is reset."""
    up, _ = relayed
    up.sock.sendall(up.up.record(FIN) + up.up.record(kind, plain))
    assert up.ending()[0] == "reset"


@pytest.mark.parametrize("kind, plain", [(OPEN, open_plain(SERVER4, 1)), (FIN, b"x"), (RST, b""), (RST, b"\1"), (RST, b"\1\x60\0")],
                         ids=["OPEN", "FIN with text", "RST of 0", "RST of 1", "RST of 3"])
def test_record_of_the_wrong_shape(relayed, kind, plain):
    up, dest = relayed
    up.send(kind, plain)
    assert up.ending()[0] == "reset"
    wait_for(lambda: ended(dest), "the destination was told")


def test_rst_record_resets_the_destination(relayed):
    up, dest = relayed
    up.send(RST, struct.pack(">H", 0x160))
    wait_for(lambda: ended(dest), "the destination was reset")


def test_flipped_bit_ends_one_relay_only(topo, remote, session, target, relayed):
    """A record that does not open: reset both ways, counted; the neighbours are not touched."""
    other = session.attach(topo.server)
    assert other.open(SERVER4, target.port)["status"] == 0
    before = remote.counter("relays_failed")
    up, dest = relayed
    record = bytearray(up.up.record(DATA, b"x" * 100))
    record[50] ^= 4
    up.sock.sendall(record)
    assert up.ending() == ("reset", [])
    wait_for(lambda: ended(dest), "the destination was told")
    assert remote.counter("relays_failed") == before + 1
    other.send(DATA, b"alive")
    assert other.read() == (DATA, b"alive")
    other.close()


@pytest.mark.parametrize("what", ["swapped", "repeated", "left out"])
def test_records_keep_their_order(relayed, what):
    up, _ = relayed
    one, two, three = (up.up.record(DATA, c) for c in (b"2", b"3", b"4"))
    up.sock.sendall({"swapped": two + one, "repeated": one + one, "left out": one + three}[what])
    how, records = up.ending()
    assert how == "reset"
    assert b"".join(p for _, p in records) in (b"", b"2")


def test_case_21_reflected_records(topo, session, relayed):
    """What came down is no valid record up: each direction has its own key."""
    up, _ = relayed
    up.send(DATA, b"mirror")
    hdr = up.sock.recv(2)
    up.sock.sendall(hdr + up.sock.recv(65536))
    assert up.ending()[0] == "reset"
    head, _, _ = session.message()
    s = connect(topo.server)
    s.sendall(head)
    s.sendall(s.recv(65536))  # ATTACHED, as OPEN
    assert ending(s) == ("reset", b"")


def test_case_24_stream_cut_on_its_way_up(remote, relayed):
    """TCP's end without a FIN record: the destination sees RST, not the end of a file."""
    up, dest = relayed
    before = remote.counter("streams_cut")
    up.sock.shutdown(1)
    assert up.ending()[0] == "reset"
    wait_for(lambda: ended(dest), "the destination was reset")
    assert remote.counter("streams_cut") == before + 1


def test_case_24_record_cut_on_its_way_up(remote, relayed):
    """The same inside a record."""
    up, dest = relayed
    before = remote.counter("streams_cut")
    up.sock.sendall(up.up.record(DATA, b"x" * 1000)[:500])
    up.sock.shutdown(1)
    assert up.ending()[0] == "reset"
    wait_for(lambda: ended(dest), "the destination was reset")
    assert remote.counter("streams_cut") == before + 1


# --- control frames ---

@pytest.fixture
def control(topo, remote):
    c = remote.call(topo.server)
    yield c
    c.close()


def says_goodbye(control, why):
    kind, value = control.recv()
    assert kind == BYE and why in value, (kind, value)
    with pytest.raises((EOFError, OSError)):
        control.recv()


def test_unknown_frames_are_ignored(control):
    for kind in (0, 5, 6, 10, 77, 255):
        control.send(kind, os.urandom(1024))
    control.send(PING, b"still there?")
    assert control.recv() == (PONG, b"still there?")


def test_frame_of_1025_bytes_ends_the_connection(control):
    control.send(77, bytes(1025))
    with pytest.raises((EOFError, OSError)):
        control.recv()


def test_second_hello(control):
    control.send(HELLO, b"\1\1" + os.urandom(16))
    says_goodbye(control, b"HELLO")


@pytest.mark.parametrize("value", [b"", b"\1\1" + bytes(15), b"\0\1" + bytes(16), b"\2\1" + bytes(16)],
                         ids=["empty", "short", "version 0", "version 2"])
def test_hello_that_makes_no_sense(topo, remote, value):
    s = connect(topo.server)
    s.sendall(knock(remote.identity.pin))
    c = Control(Tls(s, remote.users["a"]).handshake())
    sessions = remote.status()["sessions"]
    c.send(HELLO, value)
    says_goodbye(c, b"HELLO or version")
    assert remote.status()["sessions"] == sessions


def test_longer_hello_and_unknown_flags(topo, remote):
    """A later version may say more."""
    s = connect(topo.server)
    s.sendall(knock(remote.identity.pin))
    c = Control(Tls(s, remote.users["a"]).handshake())
    c.send(HELLO, b"\1\xfd" + os.urandom(16) + b"and more")
    assert decode.welcome(c.recv()[1])["version"] == 1
    c.close()


def test_anything_before_hello(topo, remote):
    s = connect(topo.server)
    s.sendall(knock(remote.identity.pin))
    c = Control(Tls(s, remote.users["a"]).handshake())
    c.send(PING, b"x")
    says_goodbye(c, b"HELLO comes first")


def test_aead_without_aes(topo, remote, target):
    """A gateway without AES instructions gets ChaCha20-Poly1305, for everything."""
    c = remote.call(topo.server, flags=0)
    assert c.welcome["aead"] == 2
    up = c.session.attach(topo.server)
    assert up.open(SERVER6, target.port, b"by ChaCha")["status"] == 0
    up.send(FIN)
    assert up.ending()[0] == "eof"
    c.close()


# --- REVOKE ---

def test_revoke_of_a_number_never_seen(topo, remote, control, target):
    """Not served, and its ATTACH comes too late for ever."""
    before = remote.counter("attach_replayed"), target.dialled
    message, _, _ = control.session.cold(SERVER4, target.port, b"too late")
    assert control.revoke(0) == 0
    s = connect(topo.server)
    s.sendall(message)
    wait_for(lambda: remote.counter("attach_replayed") == before[0] + 1, "it is met like a replay")
    assert target.dialled == before[1]
    abort(s)


def test_revoke_of_one_that_waits(topo, control, target):
    """Not served; its OPEN, still on its way, is not served either."""
    before, up = target.dialled, control.session.attach(topo.server)
    assert control.revoke(0) == 0
    up.send(OPEN, open_plain(SERVER4, target.port))
    assert up.ending() == ("reset", [])
    assert target.dialled == before


def test_revoke_of_one_that_is_served(topo, control, target):
    up = control.session.attach(topo.server)
    assert up.open(SERVER4, target.port)["status"] == 0
    assert control.revoke(0) == 1
    up.send(DATA, b"on")
    assert up.read() == (DATA, b"on")
    up.close()


def test_revoke_of_one_that_was_refused(topo, control):
    """The right to be served was spent on the refusal."""
    up = control.session.attach(topo.server)
    assert up.open("127.0.0.1", 80)["status"] == FORBIDDEN
    assert control.revoke(0) == 1


def test_revoke_twice(control):
    """The first answer may have been lost with its control connection; what it promised still holds."""
    assert control.revoke(0) == 0
    assert control.revoke(0) == 0


def test_revoke_of_anothers_session(topo, remote, control, target):
    """"Served or not known", and no harm to him."""
    b = remote.call(topo.server, "b")
    up = b.session.attach(topo.server)
    assert control.revoke(0, sid=b.session.sid) == 1
    assert up.open(SERVER4, target.port)["status"] == 0
    assert control.revoke(0, sid=os.urandom(16)) == 1
    b.close()


@pytest.mark.parametrize("ctr", [(1 << 20) + 70000, 1 << 60, (1 << 64) - 1])
def test_revoke_of_a_number_far_ahead(topo, control, target, ctr):
    """Not known, and it pushes no honest number out of the window."""
    up = control.session.attach(topo.server)
    assert control.revoke(ctr) == 1
    assert up.open(SERVER4, target.port)["status"] == 0
    up.close()


def test_revoke_over_the_next_session(topo, remote, target):
    """After a rekey the old session's numbers are answered for on the new connection."""
    boot = os.urandom(16)
    old = remote.call(topo.server, boot=boot)
    served, waits = old.session.attach(topo.server), old.session.attach(topo.server)
    assert served.open(SERVER4, target.port)["status"] == 0
    new = remote.call(topo.server, boot=boot)
    assert new.revoke(0, sid=old.session.sid) == 1
    assert new.revoke(1, sid=old.session.sid) == 0
    waits.send(OPEN, open_plain(SERVER4, target.port))
    assert waits.ending() == ("reset", [])
    old.close()
    new.close()


def test_malformed_revoke(control):
    control.send(REVOKE, bytes(23))
    says_goodbye(control, b"REVOKE")


def test_revoke_races_open(topo, remote, target):
    """Both set out at the same time, a hundred times: for each number exactly one of them wins."""
    c = remote.call(topo.server)
    verdicts = []
    for i in range(100):
        up, before = c.session.attach(topo.server), target.dialled
        if i % 2:
            up.send(OPEN, open_plain(SERVER4, target.port))
            verdict = c.revoke(i)
        else:
            ask = struct.pack(">16sQ", c.session.sid, i)
            c.send(REVOKE, ask)
            up.send(OPEN, open_plain(SERVER4, target.port))
            kind, value = c.recv()
            verdict = decode.revoked(value)[2]
        verdicts.append(verdict)
        if verdict:
            assert up.answer()["status"] == 0
            wait_for(lambda n=before: target.dialled == n + 1, "it was dialled once")
        else:
            assert up.ending() == ("reset", [])
            assert target.dialled == before
        up.close()
    c.close()
