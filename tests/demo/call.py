# SPDX-License-Identifier: BSD-2-Clause
"""Telephone calls: RTP both ways, 50 packets a second of 12 + 160 bytes (G.711), each with its number and time stamp.

All calls of one run are held at the same time, so that every one meets the same lines in the same state. One loop in one
process is both ends of each, in their namespaces: a delay is the difference of two readings of one clock. The kernel
notes when a packet arrives.
"""
import hashlib
import os
import select
import socket
import struct
import time
from dataclasses import dataclass, field

from inside import inside

PORT = 4000
EVERY_NS = 20_000_000
VOICE = 160                      # bytes of sound in a packet
HEAD = struct.Struct("!BBHII")   # RTP: version, type, number, time stamp, whose voice
NUMBERS = 1 << 16
BUFFER_MS = 60                   # how long a telephone waits for stragglers
SO_TIMESTAMPNS = 35
RINGS = 50


@dataclass
class Leg:
    """One direction: when each packet left and when it came (by its number; None: never)."""
    voice: bytes
    number: int                  # of the speaker
    left: list = field(default_factory=list)
    came: list = field(default_factory=list)
    heard: dict = field(default_factory=dict)  # number -> sound

    def speak(self):
        seq = len(self.left)
        self.left.append(time.time_ns())
        self.came.append(None)
        return HEAD.pack(0x80, 0, seq % NUMBERS, seq * VOICE % (1 << 32), self.number) + self.voice[seq * VOICE:(seq + 1) * VOICE]

    def hear(self, packet, at_ns):
        kind, _, seq, stamp, number = HEAD.unpack_from(packet)
        if kind != 0x80 or number != self.number or seq >= len(self.left) or stamp != seq * VOICE or self.came[seq]:
            return
        self.came[seq] = at_ns
        self.heard[seq] = packet[HEAD.size:]

    @property
    def lost(self):
        return self.came.count(None)

    def delays(self):
        """Milliseconds; None for what is lost."""
        return [came and (came - left) / 1e6 for left, came in zip(self.left, self.came)]

    def silence(self):
        """The longest time without a packet, in ms; also that before the first and after the last."""
        offset = min((d for d in self.delays() if d is not None), default=0) * 1e6
        times = sorted([self.left[0] + offset, *[c for c in self.came if c], self.left[-1] + offset])
        return max(b - a for a, b in zip(times, times[1:])) / 1e6

    def equal(self):
        """Is the sound that came the sound that was sent, by SHA-256? (What is lost is left out of both.)"""
        sent, came = hashlib.sha256(), hashlib.sha256()
        for seq in sorted(self.heard):
            sent.update(self.voice[seq * VOICE:(seq + 1) * VOICE])
            came.update(self.heard[seq])
        return sent.digest() == came.digest()

    def score(self):
        """What a listener would say, from 1 to 4.4 (MOS), by the E-model of ITU-T G.107 for G.711 with concealment.

        A telephone plays each packet a fixed time after it was spoken: here the median delay and BUFFER_MS. What comes later is
        as good as lost. 93.2 points are perfect; delay costs 0.024 points a millisecond, beyond 177.3 ms another 0.11;
        a share of p per cent that is lost costs 95 p / (p + 25.1). Points become MOS by G.107's cubic.
        """
        delays = [d for d in self.delays() if d is not None]
        if not delays:
            return 1.0
        play = percentile(delays, 0.5) + BUFFER_MS
        lost = 100 * (1 - sum(d <= play for d in delays) / len(self.left))
        mouth_to_ear = play + EVERY_NS / 1e6
        r = 93.2 - 0.024 * mouth_to_ear - max(0, 0.11 * (mouth_to_ear - 177.3)) - 95 * lost / (lost + 25.1)
        return 1.0 if r <= 0 else 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6


def percentile(values, share):
    values = sorted(values)
    return values[round(share * (len(values) - 1))] if values else float("nan")


class Call:
    """From the LAN to `host`, where a telephone waits in the namespace `ns`."""

    def __init__(self, name, lan, ns, host, seconds):
        self.name, self.host = name, host
        n = seconds * 1_000_000_000 // EVERY_NS
        self.up, self.down = (Leg(os.urandom(n * VOICE), i) for i in (1, 2))
        self.home, self.far = self._socket(lan), self._socket(ns)
        self.far.bind(("::" if ":" in host else "0.0.0.0", PORT))
        self.home.connect((host, PORT))
        self.peer = None

    def _socket(self, ns):
        with inside(ns):
            s = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_DGRAM)
        if ":" in self.host:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        s.setblocking(False)
        return s

    def ring(self):
        """Until the other end knows where we are: what signalling does before a call."""
        for _ in range(RINGS):
            self.home.send(b"ring")
            if select.select([self.far], [], [], 0.1)[0]:
                self.peer = self.far.recvfrom(100)[1]
                return
        raise RuntimeError(f"{self.name}: nobody answers")

    def speak(self, leg):
        try:
            if leg is self.up:
                self.home.send(leg.speak())
            else:
                self.far.sendto(leg.speak(), self.peer)
        except OSError:
            pass  # sent into nowhere: it will be missing

    def listen(self, s):
        leg = self.down if s is self.home else self.up
        while True:
            try:
                packet, notes, _, _ = s.recvmsg(2000, 100)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error
            if len(packet) == HEAD.size + VOICE:
                sec, ns = struct.unpack("qq", notes[0][2])
                leg.hear(packet, sec * 1_000_000_000 + ns)

    @property
    def legs(self):
        return self.up, self.down

    def close(self):
        self.home.close()
        self.far.close()

    # What it was like, both directions together; of silence and score the worse one.
    @property
    def sent(self):
        return sum(len(leg.left) for leg in self.legs)

    @property
    def lost(self):
        return sum(leg.lost for leg in self.legs)

    @property
    def silence(self):
        return max(leg.silence() for leg in self.legs)

    @property
    def score(self):
        return min(leg.score() for leg in self.legs)

    @property
    def equal(self):
        return all(leg.equal() for leg in self.legs)

    def delay(self, share):
        return percentile([d for leg in self.legs for d in leg.delays() if d is not None], share)


class _Loop:
    def __init__(self, calls):
        self.poll, self.owner = select.poll(), {}
        for call in calls:
            for s in (call.home, call.far):
                self.owner[s.fileno()] = (call, s)
                self.poll.register(s, select.POLLIN)

    def until(self, when_ns):
        while True:
            left = when_ns - time.monotonic_ns()
            for fd, _ in self.poll.poll(max(0, -(-left // 1_000_000))):
                call, s = self.owner[fd]
                call.listen(s)
            if time.monotonic_ns() >= when_ns:
                return


def hold(calls, seconds, show, moments=()):
    """All at once, their packets evenly spread in time; each of `moments` (seconds, function) is called once, in time."""
    for call in calls:
        call.ring()
    loop, voices = _Loop(calls), [(c, leg) for c in calls for leg in c.legs]
    step, start, moments = EVERY_NS // len(voices), time.monotonic_ns(), list(moments)
    for n in range(seconds * 1_000_000_000 // EVERY_NS * len(voices)):
        loop.until(start + n * step)
        if moments and n * step >= moments[0][0] * 1e9:
            moments.pop(0)[1]()
        call, leg = voices[n % len(voices)]
        call.speak(leg)
        if n % (len(voices) * 25) == 0:
            show(n * step / 1e9, calls)
    loop.until(time.monotonic_ns() + 1_000_000_000)
    for call in calls:
        call.close()
