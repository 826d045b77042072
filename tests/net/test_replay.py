"""What was recorded and is sent again: it is never served, whenever it comes."""
import os
import socket
import struct
import threading
import time

import pytest

from pair import Pair
from plait_client import ATTACH, abort, connect, decode, ending, new_socket, read_exactly, two_users
from topology import SERVER4, Line, wait_for

LINES = [Line()]
TOPOLOGY = {"emulate": False}


@pytest.fixture
def remote(topo):
    """A new one for each test."""
    with two_users(topo) as r:
        yield r


def send(topo, message):
    s = connect(topo.server)
    s.sendall(message)
    return s


def serve(topo, session, target, **kw):
    """A request that is served: its bytes as an eavesdropper has them."""
    message, _, down = session.cold(SERVER4, target.port, b"request", **kw)
    before = target.dialled
    s = send(topo, message)
    wait_for(lambda: target.dialled == before + 1, "it was served")
    abort(s)
    return message


def replayed_in_vain(topo, remote, target, message):
    """Sent again it is counted as seen before, not answered, and nobody is dialled."""
    seen, dialled = remote.counter("attach_replayed"), target.dialled
    s = send(topo, message)
    wait_for(lambda: remote.counter("attach_replayed") == seen + 1, "it was recognised")
    assert ending(s, 0.1) == ("open", b"")
    assert target.dialled == dialled
    abort(s)


def reset_in_vain(topo, remote, target, message, token):
    """Sent again it meets RESET, with the token that its sender knows, and then silence."""
    dialled = target.dialled
    s = send(topo, message)
    data = read_exactly(s, 34)
    decode.reset(data, message[4:20], remote.identity.secret())
    assert data[18:] == token
    assert ending(s, 0.1)[1] == b""
    assert target.dialled == dialled
    abort(s)


def test_case_17_replay_at_once(topo, remote, target):
    control = remote.call(topo.server)
    message = serve(topo, control.session, target)
    for _ in range(5):
        replayed_in_vain(topo, remote, target, message)
    serve(topo, control.session, target)


def test_case_17_replay_while_the_first_lives(topo, remote, target):
    control = remote.call(topo.server)
    message, up, down = control.session.cold(SERVER4, target.port, b"long")
    first = send(topo, message)
    wait_for(lambda: target.dialled, "it was served")
    replayed_in_vain(topo, remote, target, message)
    first.sendall(up.record(decode.DATA, b" lived"))
    got = b""
    while b" lived" not in got:
        hdr = read_exactly(first, 2)
        got += down.open(read_exactly(first, struct.unpack(">H", hdr)[0] & 0x3FFF), hdr)
    abort(first)


def test_case_17_replay_of_attach_alone(topo, remote, target):
    """With an OPEN of the attacker's own behind it, or the recorded one under another ATTACH: both are silence."""
    control = remote.call(topo.server)
    message = serve(topo, control.session, target)
    replayed_in_vain(topo, remote, target, message[:60])
    replayed_in_vain(topo, remote, target, message[:60] + os.urandom(80))
    head, _, _ = control.session.message()
    dialled = target.dialled
    how, _ = ending(send(topo, head + message[60:]))
    assert how == "reset" and target.dialled == dialled


def test_case_17_replay_after_rekey(topo, remote, target):
    """The old session is there for a minute, and it remembers. Under the new one the old message means nothing."""
    boot = os.urandom(16)
    old = remote.call(topo.server, boot=boot)
    message = serve(topo, old.session, target)
    new = remote.call(topo.server, boot=boot)
    replayed_in_vain(topo, remote, target, message)
    forged = remote.counter("attach_forged")
    dialled = target.dialled
    s = send(topo, message[:4] + new.session.sid + message[20:])
    wait_for(lambda: remote.counter("attach_forged") == forged + 1, "it is none of the new session's")
    assert target.dialled == dialled
    abort(s)


def test_case_17_replay_after_the_session(topo, remote, target):
    """Its session had to go for newer ones: RESET."""
    first = remote.call(topo.server)
    message = serve(topo, first.session, target)
    for _ in range(4):
        remote.call(topo.server)
    reset_in_vain(topo, remote, target, message, first.session.token)


def test_case_17_replay_after_a_restart(topo, remote, target):
    """RESET; also for a number that was never used; and the next session serves as ever."""
    control = remote.call(topo.server)
    message = serve(topo, control.session, target)
    unused, _, _ = control.session.cold(SERVER4, target.port, b"never sent before")
    remote.restart()
    reset_in_vain(topo, remote, target, message, control.session.token)
    reset_in_vain(topo, remote, target, unused, control.session.token)
    again = remote.call(topo.server)
    assert again.welcome["boot"] != control.welcome["boot"]
    serve(topo, again.session, target)
    reset_in_vain(topo, remote, target, message, control.session.token)


def test_reset_only_for_sids_of_its_own_making(topo, remote, target):
    """A sid that is not ours, or not any more after a change of the key: silence."""
    control = remote.call(topo.server)
    message = serve(topo, control.session, target)
    remote.restart()
    unknown = remote.counter("attach_unknown")
    for sid in (os.urandom(16), control.session.sid[:8] + os.urandom(8), os.urandom(8) + control.session.sid[8:], bytes(16)):
        s = send(topo, message[:4] + sid + message[20:])
        assert ending(s, 0.1) == ("open", b"")
        abort(s)
    assert remote.counter("attach_unknown") == unknown + 4
    remote.process.kill()
    remote.process.wait()
    remote.key.unlink()
    remote.make_key()
    remote.start()
    remote.wait()
    s = send(topo, message)
    assert ending(s, 0.1) == ("open", b"")
    abort(s)


def test_resets_are_few(topo, remote, target):
    """Fifty a second at most: a recorded message makes no flood. The rest is silence."""
    control = remote.call(topo.server)
    message = serve(topo, control.session, target)
    remote.restart()
    begin = time.monotonic()
    crowd = [send(topo, message) for _ in range(300)]
    wait_for(lambda: remote.counter("attach_unknown") == 300, "all were looked at")
    seconds = time.monotonic() - begin
    resets = 0
    for s in crowd:
        s.setblocking(False)
        try:
            resets += len(s.recv(100)) == 34
        except BlockingIOError:
            pass
        abort(s)
    assert 50 <= resets <= 50 * (2 + int(seconds))


def test_case_19_two_at_the_same_time(topo, remote, target):
    """The same ATTACH and OPEN on two connections at once, fifty times: one dial each."""
    control = remote.call(topo.server)
    for i in range(50):
        message, _, _ = control.session.cold(SERVER4, target.port, b"twin")
        before, pair = target.dialled, [connect(topo.server), connect(topo.server)]
        threads = [threading.Thread(target=s.sendall, args=(message,)) for s in pair]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        wait_for(lambda n=i: remote.counter("attach_replayed") == n + 1, "one was refused")
        wait_for(lambda n=before: target.dialled == n + 1, "one was served")
        for s in pair:
            abort(s)
    assert target.dialled == before + 1


def test_case_22_same_number_other_salt(topo, remote, target):
    """One dial for one number, whichever salt comes first."""
    control = remote.call(topo.server)
    one, two = (control.session.cold(SERVER4, target.port, b"salted", ctr=7)[0] for _ in range(2))
    before = target.dialled
    s = send(topo, one)
    wait_for(lambda: target.dialled == before + 1, "the first is served")
    replayed_in_vain(topo, remote, target, two)
    abort(s)


def test_case_23_far_ahead(topo, remote, target):
    """A jump is refused and moves nothing: those that wait and those that come are served; so is the largest step
    that is allowed, and after that no number that fell out of the window."""
    control = remote.call(topo.server)
    waits = control.session.attach(topo.server)
    for ctr in (1 << 60, (1 << 64) - 1, (1 << 20) + 2):
        forged = remote.counter("attach_forged") + remote.counter("attach_replayed")
        s = send(topo, control.session.cold(SERVER4, target.port, b"jump", ctr=ctr)[0])
        wait_for(lambda f=forged: remote.counter("attach_forged") + remote.counter("attach_replayed") == f + 1, "refused")
        assert ending(s, 0.05) == ("open", b"")
        abort(s)
    serve(topo, control.session, target)
    serve(topo, control.session, target, ctr=(1 << 20) + 2)
    replayed_in_vain(topo, remote, target, control.session.cold(SERVER4, target.port, b"old", ctr=(1 << 20) - 65540)[0])
    serve(topo, control.session, target, ctr=(1 << 20) - 60000)
    assert waits.open(SERVER4, target.port)["status"] == 0
    assert b"jump" not in target.first and b"old" not in target.first


def test_case_20_anothers_session(topo, remote, target):
    """a's message under b's sid opens nothing, and costs b nothing."""
    a, b = remote.call(topo.server, "a"), remote.call(topo.server, "b")
    message, _, _ = a.session.cold(SERVER4, target.port, b"swapped")
    forged = remote.counter("attach_forged")
    s = send(topo, message[:4] + b.session.sid + message[20:])
    wait_for(lambda: remote.counter("attach_forged") == forged + 1, "it was refused")
    assert ending(s, 0.05) == ("open", b"")
    abort(s)
    serve(topo, b.session, target)
    serve(topo, a.session, target, ctr=message[27])
    assert b"swapped" not in target.first and message[0] == ATTACH


def overheard(wire):
    """What went up to port 7200: each connection's bytes in their order."""
    streams = {}
    wire.setblocking(False)
    while True:
        try:
            ip = wire.recv(65536)[14:]
        except BlockingIOError:
            break
        if ip[0] != 0x45 or ip[9] != 6:
            continue
        tcp = ip[20:struct.unpack(">H", ip[2:4])[0]]
        source, port, seq = struct.unpack(">HHI", tcp[:8])
        if port == 7200 and tcp[tcp[12] >> 2 & 0x3C:]:
            streams.setdefault(source, {})[seq] = tcp[tcp[12] >> 2 & 0x3C:]
    return [b"".join(data for _, data in sorted(s.items())) for s in streams.values()]


def test_case_17_replay_of_a_whole_pair(topo, target):
    """Everything that a plait-local sent, overheard at the VPS and sent again while the pair lives: control connection,
    warm and used connections. No session, no dial."""
    wire = new_socket(topo.vps, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind(("eth0", 0))
    with Pair(topo) as pair:
        for i in range(3):
            s = connect(topo.lan, SERVER4, target.port)
            s.sendall(b"request %d" % i)
            assert s.recv(100) == b"request %d" % i
            s.close()
        streams, dialled = overheard(wire), target.dialled
        wire.close()
        attached = [s for s in streams if s[:1] == b"\x02"]
        assert [s for s in attached if len(s) > 100], "no request was overheard"
        assert [s for s in streams if s[:1] == b"\x01"], "no knock was overheard"
        crowd = [send(topo, s) for s in streams]
        wait_for(lambda: pair.remote.status()["counters"]["attach_replayed"] == len(attached), "all were recognised")
        for s, stream in zip(crowd, streams):
            how, data = ending(s, 0.1)
            assert how == "open" and (data == b"" or stream[:1] == b"\x01")
            abort(s)
        status = pair.remote.status()
        assert target.dialled == dialled and status["sessions"] == 1 and status["relays"] == 0
