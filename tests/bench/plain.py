# SPDX-License-Identifier: BSD-2-Clause
"""A house that only copies: bare relays of loadgen on the gateway and the VPS, the kernel's own Multipath TCP between them."""
import subprocess

from failover import Endpoints
from topology import LAN4, SERVER4, TOOLS, VPS4
from tunnel import cpu_seconds

GATEWAY = f"{LAN4}.1"


class Relay:
    """One of the two; it tells of its CPU as pair.Daemon does."""

    def __init__(self, ns, port, host, side):
        self.process = ns.popen([TOOLS / "loadgen", "relay", port, host, port, side], stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n", "the bare relay did not start"

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Relays(Endpoints):
    """The LAN reaches the server's `port` at the gateway's own address, GATEWAY."""

    def __init__(self, topo, port=7000):
        super().__init__(topo)
        self.remote = Relay(topo.vps, port, SERVER4, "near")
        self.local = Relay(topo.gw, port, VPS4, "far")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.local.stop()
        self.remote.stop()
        super().stop()
