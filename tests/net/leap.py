# SPDX-License-Identifier: BSD-2-Clause
"""A pair whose daemons' clocks can be put forward: what is due after a while is due at once.

    with Leaping(topo) as pair:
        pair.leap(60)                     # both sides; or pair.leap(60, pair.local)

To the daemon it is as if it had been stopped for so long, while nothing happened around it. The figures themselves are asserted in unit
tests, with a clock that is passed in; here what follows from them is."""
import mmap
import struct
import subprocess
import time

from pair import Pair
from topology import BUILD, within

SHIM = r"""
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *ts)
{
	static int (*real)(clockid_t, struct timespec *);
	static const long long *ahead; /* seconds: of CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME */
	int rc, fd;

	if (!real) {
		fd = open(getenv("LEAPT"), O_RDONLY);
		ahead = mmap(NULL, 3 * sizeof(*ahead), PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	}
	rc = real(id, ts);
	if (id == CLOCK_BOOTTIME)
		ts->tv_sec += ahead[0];
	else if (id == CLOCK_REALTIME)
		ts->tv_sec += ahead[2];
	else if (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE)
		ts->tv_sec += ahead[1];
	return rc;
}
"""
SANITIZED = "san" in BUILD.name  # the sanitizer wants to be in front of libc itself


def wrap(daemon, tmp, command):
    """The daemon's program is started by `command` from now on."""
    script = tmp / f"wrapped-{daemon.program.name}"
    script.write_text(f'#!/bin/sh\n{command} {daemon.program} "$@"\n')
    script.chmod(0o755)
    daemon.program = script


class Clock:
    """Of a daemon that was not started yet."""

    def __init__(self, daemon, tmp):
        self.ahead = [0, 0, 0]
        book, shim = tmp / f"leapt-{daemon.program.name}", tmp / "leap.so"
        book.write_bytes(bytes(24))
        with open(book, "r+b") as f:
            self.book = mmap.mmap(f.fileno(), 24)
        if SANITIZED:
            return
        if not shim.exists():
            (tmp / "leap.c").write_text(SHIM)
            subprocess.run(["cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-O2", "-o", shim, tmp / "leap.c"], check=True)
        wrap(daemon, tmp, f"exec env LD_PRELOAD={shim} LEAPT={book}")

    def forward(self, boot, monotonic=0, real=0):
        """Seconds, of each clock."""
        if SANITIZED:
            time.sleep(max(boot, monotonic))
            return
        self.ahead = [a + b for a, b in zip(self.ahead, (boot, monotonic, real))]
        self.book[:] = struct.pack("=3q", *self.ahead)


class Leaping(Pair):
    def __init__(self, topo, **how):
        super().__init__(topo, **how)
        tmp = topo.new_dir("clock")
        self.clocks = {d: Clock(d, tmp) for d in (self.local, self.remote)}

    def leap(self, seconds, *daemons):
        """Whatever a tick makes of it, that it comes late included, has begun when this returns: no state of before is taken for one of after."""
        daemons = daemons or (self.local, self.remote)
        for d in daemons:
            self.clocks[d].forward(seconds, seconds)  # not the date, by which the log is read
        for d in daemons * 2:
            d.status()  # the second answer comes after all that was due when the first was given

    def leap_until(self, seconds, so, what, *daemons):
        """For what comes so long after the last change: the leap itself may be one, since a link that was silent for a minute is down at
        first."""
        for _ in range(6):
            self.leap(seconds, *daemons)
            if within(5, so):
                return
        raise AssertionError(f"not after six leaps of {seconds} s: {what}")
