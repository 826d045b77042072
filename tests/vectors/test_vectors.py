# SPDX-License-Identifier: BSD-2-Clause
"""The committed vectors, read by the independent decoder; and every bit of them, flipped."""
import json
import pathlib

import pytest

import decode as d

HERE = pathlib.Path(__file__).parent


@pytest.fixture(params=["aes256", "chacha20"])
def v(request):
    raw = json.loads((HERE / f"{request.param}.json").read_text())
    return {k: bytes.fromhex(x) if isinstance(x, str) else x for k, x in raw.items()}


def streams(v, attach=None):
    open_key = d.session_keys(v["exported"])[b"open"]
    return d.attach(attach or v["attach"], v["sid"], open_key, v["aead"])


def flips(data):
    for bit in range(len(data) * 8):
        b = bytearray(data)
        b[bit // 8] ^= 1 << bit % 8
        yield bytes(b)


def refused(call, *args):
    with pytest.raises(d.Bad):
        call(*args)


def test_knock(v):
    d.knock(v["knock"], v["pin"])
    for bad in flips(v["knock"]):
        refused(d.knock, bad, v["pin"])


def test_sid_and_reset(v):
    assert d.is_our_sid(v["sid"], v["secret"])
    assert not any(d.is_our_sid(bad, v["secret"]) for bad in flips(v["sid"]))
    d.reset(v["reset"], v["sid"], v["secret"])
    for bad in flips(v["reset"][:2] + v["reset"][18:]):  # the random bytes between are nobody's promise
        refused(d.reset, bad[:2] + v["reset"][2:18] + bad[2:], v["sid"], v["secret"])


def test_session_keys(v):
    keys = d.session_keys(v["exported"])
    assert (keys[b"udp c2s"], keys[b"udp s2c"]) == (v["udp_c2s"], v["udp_s2c"])


def test_attach(v):
    assert streams(v)[0] == 0x0102
    for bad in flips(v["attach"]):
        refused(streams, v, bad)


def test_up(v):
    got = list(streams(v)[1].records(v["up"]))
    assert [k for k, _ in got] == [d.OPEN, d.DATA, d.DATA, d.FIN]
    assert d.open_(got[0][1]) == {"mode": 0, "keep": 0, "dst": ("192.0.2.80", 443), "src": ("2001:db8::7", 50123), "early": b"early"}
    assert got[1][1] + got[2][1] == bytes(i & 255 for i in range(16001))
    assert (len(got[1][1]), got[3][1]) == (16000, b"")


def test_keep_and_resume(v):
    assert d.open_(v["open_keep"])["keep"] == 1
    (kind, plain), = streams(v)[1].records(v["resume"])
    assert (kind, d.resume(plain)) == (d.OPEN, (v["sid"], 0x0102))
    for bad in (plain[:-1], plain + b"\0", b"\2\1" + plain[2:], b"\1" + plain[1:]):
        refused(d.resume, bad)


def test_down(v):
    got = list(streams(v)[2].records(v["down"]))
    assert [k for k, _ in got] == [d.OPEN, d.OPEN, d.DATA, d.RST]
    assert d.answer(got[0][1]) == {"what": 0, "status": 0, "first": b""}
    assert d.answer(got[1][1]) == {"what": 1, "status": 0, "first": b"first"}
    assert (got[2][1], got[3][1]) == (b"more", b"\x01\x60")


def test_any_bit_of_the_records(v):
    for bad in flips(v["down"]):
        refused(list, streams(v)[2].records(bad))
    for bad in flips(v["up"][:61]):  # the OPEN record: what follows it is not reached
        refused(list, streams(v)[1].records(bad))


def test_streams_do_not_change_places(v):
    refused(list, streams(v)[2].records(v["up"]))
    refused(list, streams(v)[1].records(v["down"]))


def test_control_frames(v):
    kind, value = d.frame(v["hello"])
    assert (kind, d.hello(value)) == (1, {"version": 1, "flags": 3, "boot": bytes(range(0x60, 0x70))})
    kind, value = d.frame(v["welcome"])
    w = d.welcome(value)
    assert (kind, len(value), w["aead"], w["sid"], w["token"]) == (2, 92, v["aead"], v["sid"], v["reset"][18:])
    assert [w[k] for k in "flags mtu pool_cap pool_age rekey relays opens index".split()] == [2, 1400, 64, 120, 3600, 2000, 200, 0xABCDEF]
    assert (w["inner4"], w["inner6"][:3], w["boot"][0]) == (bytes([10, 11, 12, 13]), b"\xfd\xfe\xff", 0x70)
    kind, value = d.frame(v["revoke"])
    assert (kind, d.revoke(value)) == (8, (v["sid"], 0x0102))
    kind, value = d.frame(v["revoked"])
    assert (kind, d.revoked(value)) == (9, (v["sid"], 0x0102, 1))
    kind, value = d.frame(v["packet"])
    assert (kind, value) == (10, b"\x45\0\x05\xc4" + bytes(i & 255 for i in range(4, 1476)))
    refused(d.frame, b"\x0a\x05\xc5" + value + b"x")  # one more than a datagram could hold
    refused(d.frame, b"\x0b\x04\x01" + value[:1025])  # and nothing else may be as long
    kind, value = d.frame(v["carrier"])
    assert (kind, d.carrier(value)) == (11, 1)
    for bad in (b"", b"\2", b"\xff"):
        refused(d.carrier, bad)
