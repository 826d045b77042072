# SPDX-License-Identifier: BSD-2-Clause
"""Somebody who opens one page after another, and a server that tells each visitor where he came from."""
import itertools
import threading
import time

from inside import accept, connect, listen
from topology import SERVER4, VPS4, VPS6

RELAYED = {f"::ffff:{VPS4}": "relayed", VPS6: "relayed"}
PAGES = 9300
PORTS = itertools.cycle(range(61000, 1 << 16))  # above those that the kernel chooses by itself


class Mirror:
    """A server that tells each visitor where he came from."""

    def __init__(self, ns, port):
        self.listener = listen(ns, port)
        threading.Thread(target=self._loop, daemon=True).start()

    def _loop(self):
        while True:
            try:
                s = accept(self.listener, 3600)
            except OSError:
                return
            threading.Thread(target=self._one, args=(s,), daemon=True).start()

    @staticmethod
    def _one(s):
        with s:
            try:
                s.recv(100)
                s.sendall(s.getpeername()[0].encode())
            except OSError:
                pass


def page(topo, timeout=20, host=SERVER4, names=RELAYED):
    """relayed, direct, or how it failed; `names` says relayed by whom: the address that the server sees, and what to call it.

    Each is from another port: one that was taken leaves a track (10 s, after a reset), and whoever uses its port again meanwhile is on
    that track, taken like the first, whatever becomes of new connections."""
    try:
        with connect(topo.lan, host, PAGES, timeout, from_port=next(PORTS)) as s:
            s.sendall(b"page?")
            who = s.recv(100).decode()
    except OSError as e:
        return type(e).__name__
    return names.get(who, "direct") if who else "empty"


class Surfer:
    """A new page every 100 ms, each in a thread of its own; (begun, ended, what) of each, in seconds from the start."""

    def __init__(self, topo, names=RELAYED):
        self.topo, self.names, self.pages, self.running = topo, names, [], True
        self.begin = time.monotonic()
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    def now(self):
        return time.monotonic() - self.begin

    def _loop(self):
        tabs = []
        while self.running:
            tabs.append(threading.Thread(target=self._page, daemon=True))
            tabs[-1].start()
            time.sleep(0.1)
        for t in tabs:
            t.join()

    def _page(self):
        begun = self.now()
        what = page(self.topo, names=self.names)
        self.pages.append((begun, self.now(), what))

    def stop(self):
        self.running = False
        self.thread.join()
        self.pages.sort()
        return self.pages

    def first(self, what, after):
        """When the first page that began after that time and ended so was there."""
        return min((end for begun, end, how in self.pages if how == what and begun >= after), default=None)


def vps_gone(topo):
    topo.inet.nft('table inet dead { chain f { type filter hook forward priority 0; oifname "vps" drop; iifname "vps" drop; }; }')


def vps_back(topo):
    topo.inet.nft("delete table inet dead")
