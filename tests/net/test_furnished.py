# SPDX-License-Identifier: BSD-2-Clause
"""Fear: other programs own the firewall and the policy rules too, reload them at any time, and with them goes what is ours."""
import time

import pytest

from each import each
from inside import background
from pair import Pair
from surfer import PAGES, Mirror, page
from topology import Line, Topology, wait_for
from topology import VPS4, VPS6
from tunnelled import SERVERS, echo, seems, wait_tunnel

LINES = [Line("20M", "20M", 10), Line("20M", "20M", 30)]


@pytest.fixture(scope="module")
def topo():
    with Topology(lines=LINES, servers=2) as t, echo(t.server):
        t.serve()
        mirror = Mirror(t.server, PAGES)
        yield t
        del mirror


def works(topo):
    return page(topo, 1) == "relayed" and [seems(topo.lan, h) for h in SERVERS] == [VPS4, VPS6]


def reload_firewall(ns):
    """As its service does: all goes, and the owner's own comes."""
    own = "".join(ns.run(f"nft list table {t}").stdout for t in ("inet home",) if t in ns.run("nft list tables").stdout)
    ns.nft("flush ruleset\n" + own)


@each("rules", ["nftables", "iptables"])
def test_the_firewall_is_reloaded_on_either_machine(topo, rules):
    with Pair(topo, local_set={"lan.rules": rules}, remote_set={"tunnel.rules": rules}) as pair:
        wait_tunnel(pair)
        wait_for(lambda: works(topo), "all is carried")
        time.sleep(1)  # how the rules have to be is known
        for host, daemon in ((topo.gw, pair.local), (topo.vps, pair.remote)):
            reload_firewall(host)
            wait_for(lambda: works(topo), f"all is carried again after {host.short}")
            wait_for(lambda d=daemon: "they are put in again" in d.logged(), "it is said")
            assert daemon.status()["counters"]["rules_lost"] > 0


def test_the_policy_rules_are_flushed(topo):
    """A network manager that restarts: all rules go, and its own come."""
    with Pair(topo) as pair:
        wait_tunnel(pair)
        wait_for(lambda: works(topo), "all is carried")
        time.sleep(1)
        for f in ("-4", "-6"):
            topo.gw.run(f"ip {f} rule flush; ip {f} rule add lookup main priority 32766; ip {f} rule add lookup default priority 32767", check=False)
        wait_for(lambda: works(topo), "all is carried again")
        rules = topo.gw.run("ip rule; ip -6 rule").stdout
        assert rules.count("lookup 25080") == 2 and "lookup 25000" in rules and "lookup 25001" in rules and "\n252" in rules, rules


def test_one_rule_of_a_chain_is_deleted(topo):
    """The table is there, and does not do what it did."""
    with Pair(topo) as pair:
        wait_for(lambda: page(topo, 1) == "relayed", "it is carried")
        time.sleep(1)
        topo.gw.run("nft flush chain inet plait pre")
        wait_for(lambda: page(topo, 1) == "relayed", "it is carried again")
        assert "they are put in again" in pair.local.logged()


def test_who_takes_them_out_again_and_again_is_not_fought(topo):
    """The house goes directly, and it is said by what and why; nothing of ours is left to be half of something."""
    with Pair(topo) as pair:
        wait_for(lambda: page(topo, 1) == "relayed", "it is carried")
        time.sleep(1)
        over = []

        def fight():
            while not over:
                topo.gw.run("nft delete table inet plait", check=False)
                time.sleep(0.5)
        enemy = background(fight)
        wait_for(lambda: "another program takes out our rules (nftables) again and again" in pair.local.logged(), "it is given up")
        over.append(True)
        enemy.join()
        assert page(topo, 1) == "direct"
        assert pair.local.status()["rules"] == "out"
        assert "25080" not in topo.gw.run("ip rule; ip -6 rule").stdout
        assert pair.local.status()["counters"]["rules_lost"] == 4
