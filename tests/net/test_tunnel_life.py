# SPDX-License-Identifier: BSD-2-Clause
"""The tunnel's life: killed, ended, started twice, without TUN, without its VPS; and QUIC."""
import os
import signal

import pytest
from each import each
from pair import Pair
from topology import SERVER4, SERVER6, VPS4, VPS6, Line, Topology, wait_for
from tunnelled import HOME4, SERVERS, ask, echo, leftovers, ping, seems, tunnel, udp, wait_tunnel

LINES = [Line("20M", "20M", 10), Line("20M", "20M", 30)]


@pytest.fixture(scope="module")
def topo():
    """One house; daemons of each test's own, which leave nothing in it."""
    with Topology(lines=LINES, servers=2) as t, echo(t.server), echo(t.server, 443), echo(t.server_hosts[1], 443):
        t.serve()
        yield t


@pytest.fixture(autouse=True)
def _nothing_is_left(topo):
    yield
    assert leftovers(topo.gw) == [] and leftovers(topo.vps) == []


@each("rules", ["nftables", "iptables"])
def test_nothing_is_left_and_all_comes_back(topo, rules):
    """Ended in order, killed, and started again, by either firewall."""
    ours = {"lan.rules": rules}
    pair = Pair(topo, local_set=ours, remote_set={"tunnel.rules": rules})
    with pair:
        wait_tunnel(pair)
        assert tunnel(pair)["rules"] == f"tunnel-{rules}"
        assert [seems(topo.lan, h) for h in SERVERS] == [VPS4, VPS6]
        forwarding = topo.vps.run("cat /proc/sys/net/ipv4/ip_forward").stdout
        assert forwarding == "1\n"
        for d in (pair.local, pair.remote):
            os.kill(d.pid, signal.SIGKILL)
            d.process.wait()
        for host in (topo.gw, topo.vps):
            wait_for(lambda h=host: not leftovers(h), f"{host.short} clean")
        assert topo.vps.run("cat /proc/sys/net/ipv4/ip_forward").stdout == "0\n"
        assert seems(topo.lan, SERVER4) == HOME4  # the house is online
        pair.remote.start()
        pair.local.start()
        pair.wait_connected()
        wait_tunnel(pair)
        assert [seems(topo.lan, h) for h in SERVERS] == [VPS4, VPS6]
    assert leftovers(topo.gw) == [] and leftovers(topo.vps) == []
    assert topo.vps.run("cat /proc/sys/net/ipv4/ip_forward").stdout == "0\n"


def test_killed_and_started_at_once(topo):
    """The guard of the dead takes out what his successor did not put in, and nothing else."""
    with Pair(topo) as pair:
        wait_tunnel(pair)
        for _ in range(2):
            for d in (pair.remote, pair.local):
                os.kill(d.pid, signal.SIGKILL)
                d.process.wait()
                d.start()
            pair.wait_connected()
            wait_tunnel(pair)
            assert [seems(topo.lan, h) for h in SERVERS] == [VPS4, VPS6]
            assert topo.vps.run("cat /proc/sys/net/ipv4/ip_forward").stdout == "1\n"


def test_a_second_instance_disturbs_nothing(topo):
    with Pair(topo) as pair:
        wait_tunnel(pair)
        for d in (pair.local, pair.remote):
            second = d.ask("run", check=False)
            assert second.returncode != 0 and "running already" in second.stderr
        assert [seems(topo.lan, h) for h in SERVERS] == [VPS4, VPS6]


def test_forward_policy_drop(topo):
    """A VPS and a gateway whose iptables forward nothing by themselves, as with Docker: plait chooses what helps."""
    for host in (topo.vps, topo.gw):
        host.run("iptables -P FORWARD DROP && ip6tables -P FORWARD DROP")
    try:
        with Pair(topo) as pair:
            wait_tunnel(pair)
            assert [seems(topo.lan, h) for h in SERVERS] == [VPS4, VPS6]
    finally:
        for host in (topo.vps, topo.gw):
            host.run("iptables -P FORWARD ACCEPT && ip6tables -P FORWARD ACCEPT")


def without_tun(daemon, tmp):
    """The daemon, in a file system without /dev/net/tun."""
    wrapper = tmp / daemon.program.name
    wrapper.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'mount -t tmpfs none /dev/net && exec "$0" "$@"\' {daemon.program} "$@"\n')
    wrapper.chmod(0o755)
    daemon.program = wrapper


@each("side", ["local", "remote"])
def test_without_tun_tcp_works(topo, side):
    """One side's kernel has no TUN: TCP is served, UDP goes out directly, and the status says so."""
    pair = Pair(topo)
    without_tun(getattr(pair, side), topo.new_dir("wrapper"))
    with pair:
        assert topo.peer("down", size=100000)["ok"]
        wait_for(lambda: tunnel(pair).get("state") in ("the VPS has no tunnel", getattr(pair, side).status()["tunnel"]["state"]), "the tunnel is judged")
        assert seems(topo.lan, SERVER4) == HOME4
        state = getattr(pair, side).status()["tunnel"]["state"]
        assert "no TUN device" in state
        assert tunnel(pair)["state"] == (state if side == "local" else "the VPS has no tunnel")
        assert leftovers(topo.gw)[:1] in ([], ["table inet plait"]) or side == "remote"


def test_disabled(topo):
    with Pair(topo, local_set={"tunnel.enable": "no"}) as pair:
        assert "switched off" in tunnel(pair)["state"]
        assert seems(topo.lan, SERVER4) == HOME4


def test_the_vps_dies_and_comes_back(topo):
    """Without the VPS datagrams go out directly within seconds, and through the tunnel again when it has been back for a while."""
    with Pair(topo) as pair:
        wait_tunnel(pair)
        with udp(topo.lan) as s:  # one flow all the time: its masquerading has to follow
            s.settimeout(0.2)

            def seen_as():
                try:
                    s.sendto(b"where am I", (SERVER4, 4500))
                    return s.recv(100).split()[0].decode()
                except OSError:
                    return None

            assert seen_as() == VPS4
            os.kill(pair.remote.pid, signal.SIGKILL)
            pair.remote.process.wait()
            wait_for(lambda: seen_as() == HOME4, "out directly")
            assert tunnel(pair)["state"] == "no session"
            pair.remote.start()
            wait_for(lambda: seen_as() == VPS4, "through the tunnel again")
        assert None not in ping(topo.lan, SERVER6)


def quic(topo, host, seconds=5):
    """"refused", the answer's view of us, or None."""
    with udp(topo.lan, "::" if ":" in host else "0.0.0.0") as s:
        s.settimeout(seconds)
        s.connect((host, 443))
        try:
            s.send(b"\xc0 initial")
            return s.recv(100).split()[0].decode()
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return None


def test_quic_reject(topo):
    """Refused at once, so that a browser turns to TCP; other ports and what is allowed go on."""
    with Pair(topo, local_set={"tunnel.quic": "reject", "tunnel.quic_allow": "11.9.1.0/24"}) as pair:
        wait_tunnel(pair)
        assert quic(topo, SERVER4) == "refused" and quic(topo, SERVER6) == "refused"
        assert quic(topo, "11.9.1.2") == VPS4
        assert ask(topo.lan, SERVER4) == (VPS4, b"hello")


def test_quic_auto(topo):
    """By the lines' rates: refused while the second line adds much, tunnelled when it is gone."""
    rates = {"link wan1.rate_down": "20M", "link wan2.rate_down": "16M"}
    with Pair(topo, local_set=rates) as pair:
        wait_tunnel(pair)
        wait_for(lambda: quic(topo, SERVER4) == "refused", "QUIC refused")
        topo.line[1].unplug()
        wait_for(lambda: quic(topo, SERVER4) == VPS4, "QUIC through the tunnel")
        topo.line[1].plug()
        wait_for(lambda: quic(topo, SERVER4) == "refused", "QUIC refused again")
        pair.local.config.write_text(pair.local.config.read_text().replace("rate_down = 16M", "rate_down = 5M"))
        pair.local.ask("reload")
        wait_for(lambda: quic(topo, SERVER4) == VPS4, "a line that adds little is no reason")
