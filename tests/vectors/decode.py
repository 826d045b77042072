# SPDX-License-Identifier: BSD-2-Clause
"""An independent decoder of what travels between plait-local and plait-remote, after docs/protocol.md.

Standard library and the AEADs of python3-cryptography; nothing of plait's C. Everything that is not
exactly right raises Bad."""
import hashlib
import hmac
import ipaddress
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

AEADS = {1: AESGCM, 2: ChaCha20Poly1305}
DATA, OPEN, FIN, RST = range(4)


class Bad(Exception):
    pass


def need(ok, why):
    if not ok:
        raise Bad(why)


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(ikm, salt, info, length):
    prk, out, t = mac(salt or bytes(32), ikm), b"", b""
    while len(out) < length:
        t = mac(prk, t + info + bytes([len(out) // 32 + 1]))
        out += t
    return out[:length]


def session_keys(exported):
    return {name: hkdf(exported, b"", b"plait " + name, 32) for name in (b"open", b"udp c2s", b"udp s2c")}


def knock(data, pin):
    need(len(data) == 34 and data[:2] == b"\x01\x01", "not a knock")
    need(mac(pin, b"plait knock" + data[2:18])[:16] == data[18:], "forged knock")


def is_our_sid(sid, secret):
    return mac(secret, b"sid" + sid[:8])[:8] == sid[8:]


def reset(data, sid, secret):
    need(len(data) == 34 and data[:2] == b"\x03\x01", "not a reset")
    need(mac(secret, b"reset" + sid)[:16] == data[18:], "forged reset")


class Stream:
    """One direction: a key, an AEAD and a counter that is the nonce."""

    def __init__(self, aead, key, ctr):
        self.aead, self.ctr = AEADS[aead](key), ctr

    def open(self, box, aad):
        try:
            plain = self.aead.decrypt(struct.pack(">IQ", 0, self.ctr), box, aad)
        except InvalidTag:
            raise Bad("forged") from None
        self.ctr += 1
        return plain

    def records(self, data):
        while data:
            need(len(data) >= 2, "cut in a header")
            hdr = struct.unpack(">H", data[:2])[0]
            kind, length = hdr >> 14, hdr & 0x3FFF
            need(16 <= length <= 16016, "impossible length")
            need(len(data) >= 2 + length, "cut in a record")
            yield kind, self.open(data[2:2 + length], data[:2])
            data = data[2 + length:]


def attach(data, sid, open_key, aead):
    """(ctr, up stream, down stream)"""
    need(len(data) == 60 and data[:4] == b"\x02\x01\x00\x38", "not an attach")
    need(data[4:20] == sid, "another session")
    keys = hkdf(open_key, data[28:44], b"plait attach" + data[4:28], 64)
    up, down = Stream(aead, keys[:32], 0), Stream(aead, keys[32:], 0)
    need(up.open(data[44:], data[:44]) == b"", "the tag holds text")
    return struct.unpack(">Q", data[20:28])[0], up, down


def addr(data):
    ip, port = ipaddress.IPv6Address(data[:16]), struct.unpack(">H", data[16:18])[0]
    return str(ip.ipv4_mapped or ip), port


def open_(plain):
    need(len(plain) >= 38 and plain[0] <= 1 and plain[1] <= 1, "malformed open")
    return {"mode": plain[0], "keep": plain[1], "dst": addr(plain[2:20]), "src": addr(plain[20:38]), "early": plain[38:]}


def resume(plain):
    need(len(plain) == 26 and plain[:2] == b"\x02\x00", "malformed resume")
    return struct.unpack(">16sQ", plain[2:])


def answer(plain):
    need(len(plain) >= 3 and plain[0] <= 1, "malformed answer")
    return {"what": plain[0], "status": struct.unpack(">H", plain[1:3])[0], "first": plain[3:]}


def frame(data):
    need(len(data) >= 3, "cut in a frame header")
    kind, length = struct.unpack(">BH", data[:3])
    need(length <= (1476 if kind == 10 else 1024) and len(data) == 3 + length, "frame length")
    return kind, data[3:]


def hello(value):
    version, flags, boot = struct.unpack(">BB16s", value[:18])
    return {"version": version, "flags": flags, "boot": boot}


def welcome(value):
    names = "version flags aead reserved sid token boot inner4 inner6 mtu pool_cap pool_age rekey relays opens index".split()
    w = dict(zip(names, struct.unpack(">BBBB16s16s16s4s16sHHHHIII", value[:92])))
    need(w["reserved"] == 0 and w["aead"] in AEADS and w["index"] < 1 << 24, "malformed welcome")
    return w


def carrier(value):
    need(len(value) >= 1 and value[0] <= 1, "malformed carrier")
    return value[0]


def revoke(value):
    return struct.unpack(">16sQ", value)


def revoked(value):
    sid, ctr, verdict = struct.unpack(">16sQB", value)
    need(verdict <= 1, "unknown verdict")
    return sid, ctr, verdict
