# SPDX-License-Identifier: BSD-2-Clause
"""Fear: somebody's clock. Nothing that plait does may depend on the date, and an uptime may be any number.

The date is that of libfaketime, for one daemon alone; the uptime that of a time namespace; the sleep of a suspended machine, which
CLOCK_BOOTTIME counts and CLOCK_MONOTONIC does not, that of leap.py."""
import glob
import os
import signal
import time

import pytest

from each import each
from inside import read_exactly, through
from leap import SANITIZED, Clock, wrap
from pair import Pair
from topology import SERVER4, Line, wait_for

LINES = [Line("50M", "50M", 5), Line("50M", "50M", 10)]
LIB = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)
FAKE = pytest.mark.skipif(not LIB, reason="libfaketime is not installed (apt-get install faketime)")


def fake_date(daemon, tmp, date):
    """FILE holds the date from now on: it can be changed while the daemon runs."""
    stamp = tmp / f"date-{daemon.program.name}"
    stamp.write_text(date)
    wrap(daemon, tmp, f"exec env LD_PRELOAD={LIB} FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1 "
                      f"FAKETIME_TIMESTAMP_FILE={stamp}")
    return stamp


def relayed(pair, topo, listener):
    wait_for(lambda: pair.local.status()["rules"] != "out", "interception")
    near, far = through(topo.lan, SERVER4, listener)
    assert far.getpeername()[0] == "::ffff:11.7.0.2"
    return near, far


def counter(daemon, name):
    return daemon.status()["counters"][name]


def talk(near, far):
    near.sendall(b"still")
    assert read_exactly(far, 5) == b"still"
    far.sendall(b"there")
    assert read_exactly(near, 5) == b"there"


@FAKE
def test_1970_at_home_and_ten_years_ahead_at_the_vps(topo, listener):
    pair, tmp = Pair(topo), topo.new_dir("clocks")
    pair.write_configs()
    fake_date(pair.local, tmp, "@1970-01-01 00:10:00")
    fake_date(pair.remote, tmp, "+10y")
    with pair:
        talk(*relayed(pair, topo, listener))
        assert pair.local.logged().startswith("1970-01-01"), "this test has not tested it"


@FAKE
@each("which", ["local", "remote"])
def test_date_steps_by_a_year_on_one_side(topo, listener, which):
    """A battery that was empty, and the time server that is asked a minute later."""
    pair, tmp = Pair(topo), topo.new_dir("clocks")
    pair.write_configs()
    stamp = fake_date(getattr(pair, which), tmp, "+0")
    with pair:
        near, far = relayed(pair, topo, listener)
        sessions = pair.local.status()["counters"]["sessions"]
        for step in ("+365d", "-365d", "+0"):
            stamp.write_text(step)
            getattr(pair, which).process.send_signal(signal.SIGHUP)  # it says something, with a date
            for _ in range(4):
                talk(near, far)
                time.sleep(0.3)  # all is looked at four times a second
            talk(*relayed(pair, topo, listener))
        status = pair.local.status()
        assert all(l["standing"] == "in" for l in status["links"]), status["links"]
        assert status["counters"]["sessions"] == sessions, "the session was renewed"
        assert status["counters"]["relays_failed"] == status["counters"]["relays_reset"] == 0
        assert str(time.gmtime().tm_year + 1) in getattr(pair, which).logged(), "this test has not tested it"


@pytest.mark.skipif(SANITIZED, reason="the sanitizer wants to be in front of libc itself")
@each("which", ["local", "remote", "both"])
def test_suspended_for_two_hours(topo, listener, which):
    """Longer than a session lasts, shorter than an idle relay: there is a new session at once, and the relay goes on."""
    pair, tmp = Pair(topo), topo.new_dir("sleep")
    pair.write_configs()
    sleepers = [(d, Clock(d, tmp)) for d, name in ((pair.local, "local"), (pair.remote, "remote")) if which in (name, "both")]
    with pair:
        near, far = relayed(pair, topo, listener)
        talk(near, far)  # it is a relay: who is still being dialled has waited for two hours
        sessions = counter(pair.local, "sessions")
        for daemon, clock in sleepers:
            daemon.process.send_signal(signal.SIGSTOP)
            if which == "remote":  # a shorter pause ends no session: who wakes up finds that he was asked meanwhile
                wait_for(lambda: not pair.local.status()["connected"], "the VPS is missed")
            else:
                time.sleep(0.5)  # longer than it takes to call a line dead
            clock.forward(7200, real=7200)
            daemon.process.send_signal(signal.SIGCONT)
        wait_for(lambda: counter(pair.local, "sessions") > sessions, "another session")
        pair.wait_connected()
        talk(near, far)
        talk(*relayed(pair, topo, listener))
        wait_for(lambda: all(l["standing"] == "in" for l in pair.local.status()["links"]), "all lines in")
        time.sleep(1)
        assert counter(pair.local, "sessions") <= sessions + 2, "and then it is quiet again"
        for d in (pair.local, pair.remote):
            assert counter(d, "relays_failed") == 0
        talk(near, far)


@each("which", ["local", "remote"])
def test_uptime_wraps_a_32_bit_counter_of_milliseconds(topo, listener, which):
    """49.7 days after the start of the machine, in mid-session."""
    if not os.path.exists("/proc/self/timens_offsets"):
        pytest.skip("this kernel has no time namespaces")
    pair, tmp = Pair(topo), topo.new_dir("clocks")
    pair.write_configs()
    wrap_at = 4294967 - 4
    offset = wrap_at - int(time.clock_gettime(time.CLOCK_BOOTTIME))
    wrap(getattr(pair, which), tmp, f"exec unshare --time --monotonic {offset} --boottime {offset} --")
    with pair:
        near, far = relayed(pair, topo, listener)
        begin = time.clock_gettime(time.CLOCK_BOOTTIME)
        while time.clock_gettime(time.CLOCK_BOOTTIME) + offset < 4294967 + 2 or time.clock_gettime(time.CLOCK_BOOTTIME) < begin + 2:
            talk(near, far)
            talk(*relayed(pair, topo, listener))
            time.sleep(0.2)
        status = pair.local.status()
        assert status["counters"]["relays_failed"] == status["counters"]["relays_reset"] == 0
        assert status["connected"]
