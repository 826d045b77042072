"""The interception scripts, each in its own namespaces with a small listener in plait-local's place.

    lan (br-lan 192.168.77.2, 2a77:1::2) -- gateway -- inet (11.9.0.1, 2a11:9::1)

The server in `inet` answers "direct"; the listener on the gateway answers "taken <original destination>".
"""
import os
import subprocess
import sys
import textwrap
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "..", "..", "iptables")
LAN, GW, INET = "prule-lan", "prule-gw", "prule-inet"
SELF_MARK = 0x706C0002
PORT = 7201

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

LISTENER = textwrap.dedent("""
    import socket, struct, sys, threading
    mode, port = sys.argv[1], int(sys.argv[2])
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if mode == "tproxy":
        s.setsockopt(socket.SOL_IP, 19, 1)
        s.setsockopt(socket.IPPROTO_IPV6, 75, 1)
    s.bind(("::", port))
    s.listen(64)
    print("ready", flush=True)
    def where(c):
        a = c.getsockname()
        if mode == "redirect" and a[0].startswith("::ffff:"):
            raw = c.getsockopt(socket.SOL_IP, 80, 16)
            return socket.inet_ntoa(raw[4:8]), struct.unpack("!H", raw[2:4])[0]
        if mode == "redirect":
            raw = c.getsockopt(socket.IPPROTO_IPV6, 80, 28)
            return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack("!H", raw[2:4])[0]
        return a[0].replace("::ffff:", ""), a[1]
    def serve(c):
        try:
            c.sendall(("taken %s %d" % where(c)).encode())
        except OSError:
            c.sendall(b"taken nowhere")
        c.close()
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
""")

SERVER = textwrap.dedent("""
    import select, socket, sys
    socks = []
    for port in map(int, sys.argv[1:]):
        s = socket.socket(socket.AF_INET6)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("::", port))
        s.listen(64)
        socks.append(s)
    print("ready", flush=True)
    while True:
        for s in select.select(socks, [], [])[0]:
            c = s.accept()[0]
            c.sendall(b"direct")
            c.close()
""")

CLIENT = textwrap.dedent("""
    import socket, sys
    host, port, mark = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.settimeout(3)
    if mark:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    try:
        s.connect((host, port))
        print(s.recv(100).decode())
    except ConnectionRefusedError:
        print("refused")
    except ConnectionResetError:
        print("reset")
    except (TimeoutError, socket.timeout):
        print("timeout")
""")


def run(*cmd, ns=None, env=None, check=True):
    cmd = (["ip", "netns", "exec", ns] if ns else []) + list(cmd)
    done = subprocess.run(cmd, env=dict(os.environ, **(env or {})), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    if check and done.returncode:
        raise AssertionError("%s: %s" % (" ".join(cmd), done.stdout))
    return done.stdout


def start(ns, *cmd):
    p = subprocess.Popen(["ip", "netns", "exec", ns] + list(cmd), stdout=subprocess.PIPE, universal_newlines=True)
    assert p.stdout.readline() == "ready\n"
    return p


def stop(p):
    p.kill()
    p.wait()
    p.stdout.close()


def fetch(ns, host, port=80, mark=0):
    return run(sys.executable, "-c", CLIENT, host, str(port), str(mark), ns=ns).strip()


def cable(ns_a, dev_a, ns_b, dev_b, addrs_a, addrs_b):
    run("ip", "link", "add", dev_a, "netns", ns_a, "type", "veth", "peer", "name", dev_b, "netns", ns_b)
    for ns, dev, addrs in ((ns_a, dev_a, addrs_a), (ns_b, dev_b, addrs_b)):
        for a in addrs:
            run("ip", "addr", "add", a, "dev", dev, *(["nodad"] if ":" in a else []), ns=ns)
        run("ip", "link", "set", dev, "up", ns=ns)


def topology_down():
    for ns in (LAN, GW, INET):
        run("ip", "netns", "del", ns, check=False)


@pytest.fixture(scope="module")
def topology():
    topology_down()
    for ns in (LAN, GW, INET):
        run("ip", "netns", "add", ns)
        run("ip", "link", "set", "lo", "up", ns=ns)
        run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding", ns=ns)
    cable(LAN, "eth0", GW, "br-lan", ["192.168.77.2/24", "2a77:1::2/64"], ["192.168.77.1/24", "2a77:1::1/64"])
    cable(GW, "wan0", INET, "isp", ["11.8.0.2/24", "2a11:8::2/64"], ["11.8.0.1/24", "2a11:8::1/64"])
    for a in ("11.9.0.1/32", "11.9.0.2/32", "11.9.1.1/32", "2a11:9::1/128", "2a11:9::2/128", "2a11:9:1::1/128",
              "172.20.0.1/32", "fd20::1/128"):
        run("ip", "addr", "add", a, "dev", "lo", ns=INET)
    run("ip", "route", "add", "default", "via", "192.168.77.1", ns=LAN)
    run("ip", "-6", "route", "add", "default", "via", "2a77:1::1", ns=LAN)
    run("ip", "route", "add", "default", "via", "11.8.0.1", ns=GW)
    run("ip", "-6", "route", "add", "default", "via", "2a11:8::1", ns=GW)
    run("ip", "route", "add", "192.168.77.0/24", "via", "11.8.0.2", ns=INET)
    run("ip", "-6", "route", "add", "2a77:1::/64", "via", "2a11:8::2", ns=INET)
    others_rules()
    server = start(INET, sys.executable, "-c", SERVER, "80", "53", str(PORT))
    yield
    stop(server)
    topology_down()


def others_rules():
    """What an owner may have: rules in the very chains we hook into, a table, policy rules and routes."""
    for tool in ("iptables", "ip6tables"):
        run(tool, "-t", "mangle", "-A", "PREROUTING", "-p", "udp", "-j", "MARK", "--set-xmark", "0x100/0x3f00", ns=GW)
        run(tool, "-t", "mangle", "-A", "OUTPUT", "-p", "udp", "-j", "MARK", "--set-xmark", "0x200/0x3f00", ns=GW)
        run(tool, "-t", "nat", "-A", "OUTPUT", "-p", "udp", "--dport", "9", "-j", "REDIRECT", "--to-ports", "10", ns=GW)
        run(tool, "-t", "nat", "-A", "PREROUTING", "-p", "udp", "--dport", "9", "-j", "ACCEPT", ns=GW)
        run(tool, "-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT", ns=GW)
        run(tool, "-N", "PLAIT_OTHER", ns=GW)
    run("nft", "add table inet house", ns=GW)
    run("nft", "add chain inet house x", ns=GW)
    for f in ("-4", "-6"):
        run("ip", f, "rule", "add", "priority", "25181", "fwmark", "0x1", "lookup", "77", ns=GW)
        run("ip", f, "route", "add", "unreachable", "default", "table", "77", ns=GW)


def dump():
    text = "".join(run(tool, ns=GW) for tool in ("iptables-save", "ip6tables-save"))
    lines = sorted(l for l in text.splitlines() if l.startswith("-"))
    lines += run("nft", "list", "tables", ns=GW).splitlines() + run("nft", "list", "table", "inet", "house", ns=GW).splitlines()
    for f in ("-4", "-6"):
        lines += run("ip", f, "rule", ns=GW).splitlines()
        lines += sorted(l for l in run("ip", f, "route", "show", "table", "all", ns=GW).splitlines()
                        if "expires" not in l and "fe80" not in l and "::1 dev lo" not in l)
    return lines


def script(name, verb, check=True, **env):
    plain = {"PLAIT_LAN": "br-lan", "PLAIT_REMOTE": "11.9.0.2 2a11:9::2", "PLAIT_BYPASS": "11.9.1.0/24 2a11:9:1::/48"}
    return run(os.path.join(SCRIPTS, name), verb, ns=GW, env=dict(plain, **env), check=check)


@pytest.fixture(params=["tproxy", "redirect", "nftables"])
def rules(request, topology):
    before = dump()
    yield request.param
    script(request.param, "down")
    after = dump()
    assert [l for l in after if l not in before] == [l for l in before if l not in after] == []


@pytest.fixture
def listener(rules):
    p = start(GW, sys.executable, "-c", LISTENER, "redirect" if rules == "redirect" else "tproxy", str(PORT))
    yield p
    stop(p)


def test_takes_both_families(rules, listener):
    assert fetch(LAN, "11.9.0.1") == "direct"
    script(rules, "up")
    assert fetch(LAN, "11.9.0.1") == "taken 11.9.0.1 80"
    assert fetch(LAN, "2a11:9::1") == "taken 2a11:9::1 80"
    assert fetch(LAN, "11.9.0.1", PORT) == "taken 11.9.0.1 %d" % PORT
    script(rules, "down")
    assert fetch(LAN, "11.9.0.1") == "direct"
    assert fetch(LAN, "2a11:9::1") == "direct"


def test_up_twice_is_up_once_and_down_alone_is_fine(rules):
    before = dump()
    script(rules, "down")
    assert dump() == before
    script(rules, "up", PLAIT_OWN="1")
    once = dump()
    assert once != before
    script(rules, "up", PLAIT_OWN="1")
    assert dump() == once
    assert set(before) <= set(once)
    script(rules, "down")
    assert dump() == before
    script(rules, "down")
    assert dump() == before


def test_a_changed_plan_replaces_the_old_one(rules, listener):
    script(rules, "up")
    script(rules, "up", PLAIT_BYPASS="11.9.0.1")
    assert fetch(LAN, "11.9.0.1") == "direct"
    assert fetch(LAN, "11.9.1.1") == "taken 11.9.1.1 80"


def test_never_taken(rules, listener):
    script(rules, "up")
    for host in ("172.20.0.1", "fd20::1", "11.9.0.2", "2a11:9::2", "11.9.1.1", "2a11:9:1::1"):
        assert fetch(LAN, host) == "direct", host
    assert fetch(LAN, "11.8.0.2") == "refused"  # the gateway itself, by its WAN address: nobody listens there
    assert fetch(LAN, "2a77:1::1") == "refused"


def test_34_the_listener_port_is_refused_and_the_vps_not_taken(rules, listener):
    script(rules, "up")
    for host in ("192.168.77.1", "11.8.0.2", "2a77:1::1", "2a11:8::2"):
        assert fetch(LAN, host, PORT) == "refused", host
    assert fetch(INET, "11.8.0.2", PORT) == "refused"
    assert fetch(GW, "127.0.0.1", PORT) == "refused"
    assert fetch(LAN, "11.9.0.2", PORT) == "direct"
    assert fetch(LAN, "2a11:9::2", PORT) == "direct"


def test_35_a_vps_behind_the_lan_is_not_taken(rules, listener):
    """The route to the VPS leads back into the LAN: what comes back from there is not ours to take."""
    script(rules, "up", PLAIT_OWN="1")
    run("ip", "route", "add", "11.9.0.2/32", "via", "192.168.77.2", ns=GW)
    try:
        assert fetch(GW, "11.9.0.2", 80, SELF_MARK) in ("timeout", "direct")
        assert "taken" not in fetch(GW, "11.9.0.2", 80, SELF_MARK)
    finally:
        run("ip", "route", "del", "11.9.0.2/32", "via", "192.168.77.2", ns=GW)


def test_own_connections_only_when_asked(rules, listener):
    script(rules, "up")
    assert fetch(GW, "11.9.0.1") == "direct"
    script(rules, "up", PLAIT_OWN="1")
    assert fetch(GW, "11.9.0.1") == "taken 11.9.0.1 80"
    assert fetch(GW, "2a11:9::1") == "taken 2a11:9::1 80"
    assert fetch(GW, "11.9.0.1", 80, SELF_MARK) == "direct"
    assert fetch(GW, "2a11:9::1", 80, SELF_MARK) == "direct"
    assert fetch(GW, "11.9.0.1", 80, SELF_MARK | 0x100) == "direct"  # others' bits beside ours
    assert fetch(GW, "11.9.0.2") == "direct"
    assert fetch(LAN, "11.9.0.1") == "taken 11.9.0.1 80"


def test_92_the_gateways_name_lookups_go_direct(rules, listener):
    script(rules, "up", PLAIT_OWN="1")
    assert fetch(GW, "11.9.0.1", 53) == "direct"
    assert fetch(LAN, "11.9.0.1", 53) == "taken 11.9.0.1 53"


def test_own_does_not_break_who_visits_the_gateway(rules, listener):
    """Answers of the gateway's own servers to the Internet are no connections of its own."""
    visit = start(GW, sys.executable, "-c", SERVER, "8022")
    try:
        script(rules, "up", PLAIT_OWN="1")
        assert fetch(INET, "11.8.0.2", 8022) == "direct"
        assert fetch(INET, "2a11:8::2", 8022) == "direct"
        assert fetch(LAN, "192.168.77.1", 8022) == "direct"
    finally:
        stop(visit)


def test_syn_cookies(rules, listener):
    script(rules, "up")
    run("sh", "-c", "echo 2 >/proc/sys/net/ipv4/tcp_syncookies", ns=GW)
    try:
        assert fetch(LAN, "11.9.0.1") == "taken 11.9.0.1 80"
        assert fetch(LAN, "2a11:9::1") == "taken 2a11:9::1 80"
    finally:
        run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/tcp_syncookies", ns=GW)


def test_dead_listener(rules, topology):
    """Who answers when nobody listens differs; the scripts' headers say so, and this holds them to it."""
    script(rules, "up")
    expected = {"nftables": "direct", "redirect": "refused", "tproxy": "timeout"}[rules]
    assert fetch(LAN, "11.9.0.1") == expected
    assert fetch(LAN, "2a11:9::1") == expected


def test_81_a_lan_device_that_appears_later(rules, listener):
    script(rules, "up", PLAIT_LAN="br-lan late0")
    run("ip", "netns", "add", "prule-late")
    try:
        run("ip", "link", "set", "lo", "up", ns="prule-late")
        cable("prule-late", "eth0", GW, "late0", ["192.168.78.2/24"], ["192.168.78.1/24"])
        run("ip", "route", "add", "default", "via", "192.168.78.1", ns="prule-late")
        assert fetch("prule-late", "11.9.0.1") == "taken 11.9.0.1 80"
    finally:
        run("ip", "netns", "del", "prule-late")
        deadline = time.monotonic() + 2
        while "late0" in run("ip", "link", ns=GW) and time.monotonic() < deadline:
            time.sleep(0.02)


def test_ipv6_switched_off(rules, listener):
    run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6", ns=GW)
    try:
        script(rules, "up")
        assert fetch(LAN, "11.9.0.1") == "taken 11.9.0.1 80"
        script(rules, "down")
    finally:
        run("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/lo/disable_ipv6", ns=GW)
        # the kernel took the owner's route, which lies on lo, with it
        run("ip", "-6", "route", "replace", "unreachable", "default", "table", "77", ns=GW)


def test_one_script_relieves_another(rules, topology):
    before = dump()
    for other in ("tproxy", "redirect", "nftables"):
        script(other, "up")
        script(rules, "up")
        mine = dump()
        script(rules, "down")
        assert dump() == before, "%s left by %s" % (other, rules)
        script(rules, "up")
        assert dump() == mine
        script(rules, "down")


@pytest.mark.parametrize("env", [
    {"PLAIT_LAN": "br0;reboot"}, {"PLAIT_LAN": ""}, {"PLAIT_LAN": "a-name-beyond-ifnamsiz"}, {"PLAIT_LAN": "eth+"},
    {"PLAIT_LAN": "-j"}, {"PLAIT_REMOTE": "example.org"}, {"PLAIT_BYPASS": "11.9.0.0/24 }"}, {"PLAIT_BYPASS": "300"},
    {"PLAIT_PORT": "http"}, {"PLAIT_MARK": "1"}, {"PLAIT_MASK": "0xzz"}, {"PLAIT_BYPASS": "1.2.3.4/40"},
])
def test_bad_parameters_leave_nothing(rules, env):
    before = dump()
    with pytest.raises(AssertionError):
        script(rules, "up", **env)
    assert dump() == before
