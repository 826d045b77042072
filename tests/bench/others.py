# SPDX-License-Identifier: BSD-2-Clause
"""What others take of the machine while something is measured, for figures of a busy machine are worth nothing.

Others are all processes that do not descend from this one. Each counts with its children that have ended, so that a
compiler which lives for a moment is not overlooked. Kernel threads and interrupts belong to nobody: most of what they do here is
our packets. What the host of a virtual machine takes ("steal") is others' too.
"""
import os
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
KTHREADD = 2


def processes():
    """{pid: (parent, ticks of it and of its ended children)}"""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has ended
        found[int(entry.name)] = int(fields[1]), sum(int(f) for f in fields[11:15])
    return found


def descends(pid, ancestor, found):
    while pid != ancestor and pid in found:
        pid = found[pid][0]
    return pid == ancestor


def others_ticks():
    found, me = processes(), os.getpid()
    return sum(ticks for pid, (_, ticks) in found.items() if not descends(pid, me, found) and not descends(pid, KTHREADD, found))


def stolen_ticks():
    return int(Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[8])


class Watch:
    """From here on."""

    def __init__(self):
        self.at, self.ticks = time.monotonic(), others_ticks() + stolen_ticks()

    @property
    def seconds(self):
        return time.monotonic() - self.at

    def percent(self):
        """Others' share of all cores since."""
        used = max(0, others_ticks() + stolen_ticks() - self.ticks) / TICKS
        return 100 * used / os.cpu_count() / max(self.seconds, 0.01)


def tcp_memory():
    """TCP's buffers as a share of what the machine may have of them: past 1 every socket fails."""
    sockstat = Path("/proc/net/sockstat").read_text(encoding="ascii")
    tcp = next(line.split() for line in sockstat.splitlines() if line.startswith("TCP:"))
    return int(tcp[tcp.index("mem") + 1]) / int(Path("/proc/sys/net/ipv4/tcp_mem").read_text(encoding="ascii").split()[2])
