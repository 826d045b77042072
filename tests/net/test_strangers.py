# SPDX-License-Identifier: BSD-2-Clause
"""The port of a real plait-remote says nothing to strangers. (Every kind of them, and the moments: tests/unit/whole_remote/test_strangers.c)"""
import os
import time
from concurrent.futures import ThreadPoolExecutor

from plait_client import abort, connect, ending, knock
from topology import Line

LINES = [Line()]
TOPOLOGY = {"emulate": False}
EARLIEST, LATEST = 10.0, 15.5


def met(topo, said, mptcp):
    """(how it ended, what was said, after how many seconds)"""
    since = time.monotonic()
    s = connect(topo.server, mptcp=mptcp)
    s.sendall(said)
    how, data = ending(s, LATEST + 4)
    after = time.monotonic() - since
    abort(s)
    return how, data, after


def test_silence_and_then_a_reset(topo, remote):
    """Silent, a browser, a user of another remote, an ATTACH by chance, a knock and nothing else: over TCP and Multipath TCP."""
    said = [b"", b"GET / HTTP/1.1\r\n\r\n", knock(remote.users["a"].pin), b"\x02\x01\x00\x38" + os.urandom(56), knock(remote.identity.pin)]
    with ThreadPoolExecutor(2 * len(said)) as crowd:
        ends = list(crowd.map(lambda how: met(topo, *how), [(what, mptcp) for what in said for mptcp in (False, True)]))
    for how, data, after in ends:
        assert (how, data) == ("reset", b"")
        assert EARLIEST <= after <= LATEST, ends
    assert remote.counter("quiet") == len(ends)
    assert remote.status()["strangers"] == 0
