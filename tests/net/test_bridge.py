# SPDX-License-Identifier: BSD-2-Clause
"""Fear: the LAN is a bridge, somebody installs Docker on the gateway, and the house is offline.

Docker has the firewall see packets that are still inside a bridge; TPROXY then loses them in silence."""
from pathlib import Path

import pytest
from pair import Pair
from topology import SERVER4, SERVER6, Topology, wait_for
from tunnelled import ask, echo, wait_tunnel

LOOK = {"net.bridge.bridge-nf-call-iptables": 1, "net.bridge.bridge-nf-call-ip6tables": 1}


@pytest.fixture(name="topo")
def _topo():
    if not Path("/proc/sys/net/bridge").exists():
        pytest.skip("needs br_netfilter")
    with Topology(clients=2) as topo, echo(topo.server):
        topo.serve()
        topo.gw.set_sysctls({name: 0 for name in LOOK})
        yield topo


def all_are_served(topo):
    for client in topo.lan_clients:
        for host in (SERVER4, SERVER6):
            got = topo.peer("down", host=host, ns=client, size=20_000, deadline=10)
            assert got["ok"], got
            assert ask(client, host), host


def test_docker_comes_and_goes(topo):
    with Pair(topo) as pair:
        wait_tunnel(pair)
        assert pair.local.status()["rules"] == "nftables"
        all_are_served(topo)
        topo.gw.set_sysctls(LOOK)
        wait_for(lambda: pair.local.status()["rules"] == "redirect", "another way of taking connections")
        all_are_served(topo)
        assert pair.local.status()["counters"]["relays_opened"] == 8
        topo.gw.set_sysctls({name: 0 for name in LOOK})
        wait_for(lambda: pair.local.status()["rules"] == "nftables", "the better way again")
        all_are_served(topo)
    assert "table inet plait" not in topo.gw.run("nft list tables").stdout
    assert "PLAIT" not in topo.gw.run("iptables-save").stdout


def test_one_who_wants_tproxy_is_told(topo):
    topo.gw.set_sysctls(LOOK)
    with Pair(topo, local_set={"lan.rules": "nftables"}) as pair:
        wait_for(lambda: "net.bridge.bridge-nf-call-iptables is 1" in pair.local.logged(), "a word about the bridge")
        assert pair.local.status()["rules"] == "out"
        assert topo.peer("down", size=20_000)["ok"]  # directly
