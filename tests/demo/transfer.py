# SPDX-License-Identifier: BSD-2-Clause
"""transfer: one file through one curl, watched: what arrived, what each line carried, and when."""
import hashlib
import json
import os
import select
import subprocess
import time
from dataclasses import dataclass, field

STEP = 0.1  # seconds between two looks at the lines' counters
LIMIT = 60


@dataclass
class Film:
    """The file that everybody fetches, and the directory it lies in."""
    path: object
    data: bytes

    @classmethod
    def make(cls, directory, size):
        film = cls(directory / "film.bin", os.urandom(size))
        film.path.write_bytes(film.data)
        return film

    def sha256(self, size):
        return hashlib.sha256(memoryview(self.data)[:size]).hexdigest()

    def piece(self, size):
        """A file with the first `size` bytes, to be uploaded."""
        path = self.path.parent / f"upload-{size}.bin"
        path.write_bytes(memoryview(self.data)[:size])
        return path


@dataclass
class Sample:
    at: float           # seconds since the start
    lines: list         # bytes each line has delivered since the start
    got: int            # bytes that curl has written out (downloads)


@dataclass
class Transfer:
    way: str            # "down" or "up"
    size: int
    seconds: float = 0  # by curl's own clock, connecting included
    stall: float = 0    # the longest time in which nothing arrived
    equal: bool = False  # SHA-256
    error: str = ""
    samples: list = field(default_factory=list)

    @property
    def mbit(self):
        return self.size * 8 / self.seconds / 1e6 if self.equal and self.seconds else None


class Watch:
    """Looks at the lines every STEP and tells `show` of it."""

    def __init__(self, topo, transfer, show):
        self.topo, self.transfer, self.show = topo, transfer, show
        self.before = self._count()
        self.start = time.monotonic()
        self.next = self.start + STEP
        transfer.samples.append(Sample(0, [0] * len(self.before), 0))

    def _count(self):
        stats = self.topo.emulator_stats()
        return [stats[line.name][self.transfer.way]["out_bytes"] for line in self.topo.line]

    def seconds(self):
        return time.monotonic() - self.start

    def look(self, got):
        if time.monotonic() < self.next:
            return
        self.next += STEP
        now = [a - b for a, b in zip(self._count(), self.before)]
        self.transfer.samples.append(Sample(self.seconds(), now, got))
        self.show(self.transfer)


def _curl(topo, *options):
    return topo.lan.popen(["curl", "-sS", "-g", "--max-time", LIMIT, "-w", "%{stderr}%{time_total}", *options],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False)


def _url(host, port):
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/film.bin"


def _finish(transfer, curl):
    err = curl.stderr.read().decode(errors="replace").strip()
    if curl.wait():
        transfer.error = err or f"curl: exit {curl.returncode}"
        return
    transfer.seconds = float(err.split()[-1])


def _pump(curl, watch, take, moments):
    """Reads curl's output as it comes; each of `moments` (seconds, function) is called once, in time."""
    fd, moments = curl.stdout.fileno(), list(moments)
    while True:
        if select.select([fd], [], [], max(0, watch.next - time.monotonic()))[0]:
            data = os.read(fd, 1 << 20)
            if not data:
                return
            take(data)
        watch.look(take.got)
        while moments and watch.seconds() >= moments[0][0]:
            moments.pop(0)[1]()


class _Take:
    """What came so far, its hash, and the longest pause."""

    def __init__(self):
        self.got, self.digest, self.last, self.stall = 0, hashlib.sha256(), None, 0.0

    def __call__(self, data):
        now = time.monotonic()
        self.stall, self.last = max(self.stall, now - (self.last or now)), now
        self.digest.update(data)
        self.got += len(data)


def download(topo, film, host, port, size, show, moments=()):
    t, take = Transfer("down", size), _Take()
    topo.forget()
    watch = Watch(topo, t, show)
    curl = _curl(topo, "-N", "-r", f"0-{size - 1}", _url(host, port))
    _pump(curl, watch, take, moments)
    _finish(t, curl)
    t.stall, t.equal = take.stall, take.got == size and take.digest.hexdigest() == film.sha256(size)
    return t


def upload(topo, film, host, port, size, show):
    t, answer = Transfer("up", size), bytearray()
    path = film.piece(size)
    topo.forget()
    watch = Watch(topo, t, show)
    curl = _curl(topo, "-T", path, _url(host, port))

    class Answer:
        got = 0

        def __call__(self, data):
            answer.extend(data)
    _pump(curl, watch, Answer(), ())
    _finish(t, curl)
    path.unlink()
    if answer:
        told = json.loads(bytes(answer))
        t.stall, t.equal = told["stall"], told["sha256"] == film.sha256(size)
    return t
