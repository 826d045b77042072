# SPDX-License-Identifier: BSD-2-Clause
"""The house's UDP and ICMP: they go through the tunnel, with nothing configured in the LAN, and come out as the VPS's."""
import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from pair import Pair
from topology import ROOT, SERVER4, SERVER6, VPS4, VPS6, Line, Topology, wait_for
from tunnelled import HOME4, INNER4, SERVERS, ask, echo, leftovers, ping, seems, tunnel, udp, wait_tunnel

LINES = [Line("20M", "20M", 10), Line("20M", "20M", 30)]


@pytest.fixture(scope="module")
def house():
    with Topology(lines=LINES) as topo, Pair(topo) as pair, echo(topo.server) as server:
        topo.serve()
        wait_tunnel(pair)
        yield topo, pair, server


def test_the_server_sees_the_vps(house):
    topo, _, _ = house
    assert seems(topo.lan, SERVER4) == VPS4
    assert seems(topo.lan, SERVER6) == VPS6


def test_refusals_come_back(house):
    """ICMP's "port unreachable" of the server reaches the program that sent the datagram."""
    topo, _, _ = house
    for host in SERVERS:
        with udp(topo.lan, "::" if ":" in host else "0.0.0.0") as s:
            s.connect((host, 4999))
            s.send(b"anybody?")
            with pytest.raises(ConnectionRefusedError):
                s.recv(100)


def test_mtu_is_told_to_the_lan(house):
    """A datagram that may not be cut and does not fit: the sender hears what would."""
    topo, pair, _ = house
    topo.lan.run("ip route flush cache")
    mtu = tunnel(pair)["traffic"]["mtu"]
    assert mtu >= 1420  # lines of 1500
    with udp(topo.lan) as s:
        s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        s.connect((SERVER4, 4500))
        s.send(b"x" * 1472)
        with pytest.raises(OSError, match="too long"):
            s.recv(100)
            s.send(b"x" * 1472)
        assert s.getsockopt(socket.IPPROTO_IP, 14) == mtu  # IP_MTU
        s.send(b"x" * (mtu - 128))  # the answer is a little longer
        assert len(s.recv(2000)) > mtu - 128


DNS = """
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 53))
print("ready", flush=True)
while True:
    d, a = s.recvfrom(2000)
    end = d.index(0, 12) + 5
    s.sendto(d[:2] + bytes.fromhex("8180000100010000" "0000") + d[12:end] + bytes.fromhex("c00c000100010000003c000401020304"), a)
"""


def needs(*programs):
    """The test is for programs as people have them; without them it says what it lacks."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = [p for p in programs if not shutil.which(p, path=path)]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")


@contextlib.contextmanager
def serving(ns, argv, port, kind="udp", **options):
    """A server that runs meanwhile; begun when it has its port."""
    options.setdefault("stdout", subprocess.DEVNULL)
    p = ns.popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        wait_for(lambda: f":{port} " in ns.run(f"ss -Hln{kind[0]}").stdout, f"{argv[0]} has port {port}")
        yield p
    finally:
        p.kill()
        p.wait()


def url(host):
    return f"[{host}]" if ":" in host else host


def test_dig(house):
    needs("dig")
    topo, _, _ = house
    with serving(topo.server, [sys.executable, "-c", DNS], 53, stdout=subprocess.PIPE):
        for host in SERVERS:
            out = topo.lan.run(["dig", "+time=2", "+tries=1", "+short", f"@{host}", "example.org"])
            assert out.stdout == "1.2.3.4\n"


def test_ping_program(house):
    """Also with packets of several fragments, and with one that may not be cut."""
    needs("ping")
    topo, pair, _ = house
    mtu = tunnel(pair)["traffic"]["mtu"]
    for host in SERVERS:
        topo.lan.run(["ping", "-c", 2, "-i", 0.2, "-s", 4000, host], check=False)  # each direction learns what fits
        for more in ([], ["-s", 4000], ["-M", "do", "-s", mtu - (48 if ":" in host else 28)]):
            out = topo.lan.run(["ping", "-c", 3, "-i", 0.2, *more, host]).stdout
            assert "3 received, 0% packet loss" in out and "DUP" not in out, out


def test_traceroute_program(house):
    """By UDP and by ICMP: the gateway, the VPS, and what is behind it."""
    needs("traceroute")
    topo, _, _ = house
    ways = {SERVER4: ["192.168.77.1", "10.78.0.1", "11.7.0.1", SERVER4], SERVER6: ["fd77::1", "fd78:6c61:6974::1", "2a11:7::1", SERVER6]}
    for host, hops in ways.items():
        for kind in ([], ["-I"]):
            out = topo.lan.run(["traceroute", "-n", "-q", 1, "-w", 2, *kind, host]).stdout
            assert [line.split()[1] for line in out.splitlines()[1:]] == hops, out


def test_a_stream_of_packets(house):
    """iperf3 at 8 Mbit/s each way: nothing is lost on lines that lose nothing."""
    needs("iperf3")
    topo, _, _ = house
    with serving(topo.server, ["iperf3", "-s"], 5201, "tcp"):
        for host, reverse in ((SERVER4, []), (SERVER4, ["-R"]), (SERVER6, []), (SERVER6, ["-R"])):
            out = topo.lan.run(["iperf3", "-c", host, "-u", "-b", "8M", "-l", "1200", "-t", "1", *reverse])
            last = [line for line in out.stdout.splitlines() if "receiver" in line][0]
            lost = float(last.split("(")[1].split("%")[0])
            assert lost < 0.1, out.stdout


def test_a_call(house):
    """A telephone call of each family at once, on lines that lose nothing: every sound comes. (How soon, is a figure.)"""
    sys.path.append(str(ROOT / "tests/demo"))
    import call  # pylint: disable=import-outside-toplevel
    topo, _, _ = house
    calls = [call.Call(host, topo.lan, topo.server, host, 3) for host in SERVERS]
    call.hold(calls, 3, lambda *_: None)
    for c in calls:
        assert c.lost == 0 and c.equal and c.sent == 300, c.host


def test_sip(house):
    """Five calls are set up and ended, no message repeated."""
    needs("sipp")
    topo, _, _ = house
    tmp = topo.new_dir("sip")
    with serving(topo.server, ["sipp", "-sn", "uas", "-i", SERVER4, "-p", 5060, "-nostdin"], 5060, cwd=tmp):
        out = topo.lan.run(["sipp", "-sn", "uac", "-i", "192.168.77.10", "-p", 5061, "-d", 500, "-m", 5, "-r", 5, "-nostdin",
                            f"{SERVER4}:5060"], cwd=tmp).stdout
    assert re.search(r"Successful call +\| +\d+ +\| +5", out), out
    assert re.search(r"INVITE -+> +5 +0 +0", out), out  # sent, repeated, timed out


def test_quic(house):
    """HTTP/3 by ngtcp2: a file in both families, and it is the file. (Not in our list of packages: ngtcp2-server starts a service.)"""
    needs("gtlsserver", "gtlsclient", "openssl")
    topo, _, _ = house
    tmp = topo.new_dir("quic")
    (tmp / "www").mkdir()
    film = os.urandom(1_000_000)
    (tmp / "www/film").write_bytes(film)
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server -keyout key -out cert"
    subprocess.run(make.split(), cwd=tmp, check=True, capture_output=True)
    with serving(topo.server, ["gtlsserver", "-q", "-d", "www", "*", 443, "key", "cert"], 443, cwd=tmp):
        for host in SERVERS:
            topo.lan.run(["gtlsclient", "-q", "--exit-on-all-streams-close", f"--download={tmp}", host, 443,
                          f"https://{url(host)}/film"], cwd=tmp)
            assert (tmp / "film").read_bytes() == film
            (tmp / "film").unlink()


@contextlib.contextmanager
def wireguard(ns, device, *settings):
    """An end of WireGuard: the kernel's where there is one, else the same in user space."""
    user = None
    if ns.run(f"ip link add {device} type wireguard", check=False).returncode:
        needs("wireguard-go")
        user = ns.popen(["wireguard-go", "-f", device], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: not ns.run(["wg", "show", device], check=False).returncode, "wireguard-go")
    try:
        ns.run(["wg", "set", device, *settings])
        yield
    finally:
        if user:
            user.send_signal(signal.SIGTERM)
            user.wait(10)
        else:
            ns.ip(f"link del {device}")


def test_wireguard(house):
    """Somebody's VPN inside: handshake, pings, and TCP over it."""
    needs("wg")
    topo, _, _ = house
    tmp, public = topo.new_dir("wg"), []
    for name in ("lan", "server"):
        key = subprocess.run(["wg", "genkey"], check=True, capture_output=True, text=True).stdout
        (tmp / name).write_text(key)
        public.append(subprocess.run(["wg", "pubkey"], input=key, check=True, capture_output=True, text=True).stdout.strip())
    for n, host in enumerate(SERVERS):
        inner = f"11.8.{n}"
        far = ["private-key", tmp / "server", "listen-port", 51820 + n, "peer", public[0], "allowed-ips", f"{inner}.1/32"]
        home = ["private-key", tmp / "lan", "peer", public[1], "allowed-ips", f"{inner}.2/32", "endpoint", f"{url(host)}:{51820 + n}"]
        with wireguard(topo.server, f"wgs{n}", *far), wireguard(topo.lan, f"wgl{n}", *home):
            topo.server.ip(f"addr add {inner}.2/24 dev wgs{n}", f"link set wgs{n} up")
            topo.lan.ip(f"addr add {inner}.1/24 dev wgl{n}", f"link set wgl{n} up")
            assert ping(topo.lan, f"{inner}.2", count=1, timeout=5) != [None]  # the handshake comes first
            assert None not in ping(topo.lan, f"{inner}.2", count=5, size=1200)
            got = topo.peer("down", host=f"{inner}.2", size=1_000_000)
            assert got["ok"], got


def test_ssh(house):
    """TCP with much back and forth: a shell's answer, and a file through it."""
    needs("ssh", "sshd", "ssh-keygen")
    topo, _, _ = house
    tmp = topo.new_dir("ssh")
    for key in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp / key], check=True)
    (tmp / "conf").write_text(f"Port 2222\nHostKey {tmp}/host\nAuthorizedKeysFile {tmp}/client.pub\nStrictModes no\nPidFile none\n"
                              "PermitRootLogin prohibit-password\n")
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    film = os.urandom(500_000)
    (tmp / "film").write_bytes(film)
    with serving(topo.server, [shutil.which("sshd", path="/usr/sbin"), "-D", "-f", tmp / "conf"], 2222, "tcp"):
        for host, seen in ((SERVER4, VPS4), (SERVER6, VPS6)):
            ssh = ["ssh", "-F", "none", "-i", tmp / "client", "-p", 2222, "-o", "StrictHostKeyChecking=no",
                   "-o", f"UserKnownHostsFile={tmp}/known", f"root@{host}"]
            with open(tmp / "film", "rb") as f:
                words = topo.lan.run(ssh + ["echo $SSH_CONNECTION; exec sha256sum"], stdin=f).stdout.split()
            assert words[0] == seen and words[4] == hashlib.sha256(film).hexdigest(), words


def test_only_what_is_for_the_tunnel_goes_there(house):
    """TCP, the LAN, private networks and the VPS itself are led elsewhere."""
    topo, _, _ = house

    def way(to, more="", source="192.168.77.10"):
        out = topo.gw.run(f"ip route get {to} from {source} iif lan0 {more}").stdout
        return out.split(" dev ")[1].split()[0]

    assert way(SERVER4, "ipproto udp") == "plait0"
    assert way(SERVER4, "ipproto icmp") == "plait0"
    assert way(SERVER4) == "plait0"
    assert way(SERVER4, "ipproto tcp dport 80") == "wan1"
    assert way(SERVER6, "ipproto udp", "fd77::10") == "plait0"
    assert way(SERVER6, "ipproto tcp dport 80", "fd77::10") == "wan1"
    assert way(VPS4, "ipproto udp") == "wan1"
    assert way("192.168.2.1", "ipproto udp") == "wan2"  # a modem: the main table knows it
    assert way("10.99.0.1", "ipproto udp") == "wan1"  # a private network that only the default route knows
    assert way("192.168.77.20", "ipproto udp") == "lan0"
    assert topo.gw.run(f"ip route get {SERVER4} ipproto udp").stdout.split(" dev ")[1].split()[0] == "wan1"  # own = no


def test_nothing_begins_from_the_tunnel(house):
    """The VPS, or who has taken it over, cannot reach into the house by the inner address."""
    topo, _, _ = house
    with echo(topo.gw, port=4600) as gateway, echo(topo.lan, port=4600) as host:
        topo.gw.run("ip route get 192.168.77.10")
        with udp(topo.vps) as s:
            for to in (INNER4, "192.168.77.10"):
                try:
                    s.sendto(b"hello house", (to, 4600))
                except OSError:
                    continue
            s.settimeout(0.5)
            with pytest.raises(TimeoutError):
                s.recv(100)
        assert not gateway.seen and not host.seen


@pytest.fixture(scope="module")
def other():
    """A house without daemons: the tests that follow have each its own."""
    with Topology(lines=LINES, servers=2) as topo:
        yield topo


def test_bypass_and_own(other):
    """What the config bypasses goes out directly; with own = yes the gateway's own goes through the tunnel."""
    topo = other
    with echo(topo.server), echo(topo.server_hosts[1]):
        with Pair(topo, local_set={"lan.bypass": "11.9.1.0/24", "lan.own": "yes"}) as pair:
            wait_tunnel(pair)
            assert seems(topo.lan, SERVER4) == VPS4
            assert seems(topo.lan, "11.9.1.2") == HOME4
            assert seems(topo.gw, SERVER4) == VPS4
            assert seems(topo.gw, "11.9.1.2") == HOME4
            assert seems(topo.gw, SERVER6) == VPS6
            assert ping(topo.gw, "192.168.77.10", count=1) != [None]
        assert leftovers(topo.gw) == [] and leftovers(topo.vps) == []


def test_routed_networks_without_nat(other):
    """nat = no, and a route at the VPS: hosts of the LAN are seen by their own addresses, and can be reached."""
    topo = other
    with echo(topo.server) as server, echo(topo.lan, port=4700):
        topo.inet.ip("route add 192.168.77.0/24 via 11.7.0.2")
        with Pair(topo, local_set={"tunnel.nat": "no"}, remote_set={"user home.routes": "192.168.77.0/24"}) as pair:
            wait_tunnel(pair)
            assert seems(topo.lan, SERVER4) == "192.168.77.10"
            answer = ask(topo.server, "192.168.77.10", b"knock", port=4700)
            assert answer == (SERVER4, b"knock")
            assert server.seen
