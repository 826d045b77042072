# SPDX-License-Identifier: BSD-2-Clause
"""The interception scripts, each in its own namespaces with a small listener in plait-local's place.

    lan (br-lan 192.168.77.2, 2a77:1::2) -- gateway -- inet (11.9.0.1, 2a11:9::1)

The server in `inet` answers "direct"; the listener on the gateway answers "taken <original destination>".
"""
import contextlib
import inspect
import os
import select
import socket
import struct
import subprocess
import threading

import pytest

from inside import inside
from topology import ROOT, Namespace, _sweep as sweep, wait_for

SCRIPTS = ROOT / "iptables"
OURS = f"plt{os.getpid()}.rules-"  # removed by the next that starts, should this process be killed
LAN, GW, INET, LATE = (Namespace(OURS + short, short) for short in ("lan", "gw", "inet", "late"))
SELF_MARK = 0x706C0002
PORT = 7201
IP_TRANSPARENT, IPV6_TRANSPARENT, SO_ORIGINAL_DST = 19, 75, 80

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Answering:
    """Listens in a namespace and tells each visitor one thing: say(connection). A thread of this process: tests ask it by the hundred."""

    def __init__(self, ns, ports, say, transparent=False):
        self.say, self.stop, self.listeners = say, os.pipe(), []
        for port in ports:
            with inside(ns):
                s = socket.socket(socket.AF_INET6)
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if transparent:
                s.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
                s.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
            s.bind(("::", port))
            s.listen(64)
            self.listeners.append(s)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            for s in select.select([self.stop[0], *self.listeners], [], [])[0]:
                if s == self.stop[0]:
                    return
                visitor, _ = s.accept()
                with visitor, contextlib.suppress(OSError):
                    visitor.sendall(self.say(visitor))

    def close(self):
        os.close(self.stop[1])
        self.thread.join()
        os.close(self.stop[0])
        for s in self.listeners:
            s.close()


def direct(_visitor):
    return b"direct"


def taken(visitor):
    host, port = visitor.getsockname()[:2]
    return f"taken {host.replace('::ffff:', '')} {port}".encode()


def taken_by_redirect(visitor):
    """Connection tracking remembers where it wanted to go."""
    try:
        if visitor.getsockname()[0].startswith("::ffff:"):
            raw = visitor.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
            host = socket.inet_ntoa(raw[4:8])
        else:
            raw = visitor.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
            host = socket.inet_ntop(socket.AF_INET6, raw[8:24])
    except OSError:
        return b"taken nowhere"
    return f"taken {host} {struct.unpack('!H', raw[2:4])[0]}".encode()


def run(ns, *cmd, env=None, check=True):
    done = ns.run(list(cmd), env=dict(os.environ, **(env or {})), check=False, stderr=subprocess.STDOUT)
    if check and done.returncode:
        raise AssertionError("%s: %s" % (" ".join(cmd), done.stdout))
    return done.stdout


def fetch(ns, host, port=80, mark=0, limit=60):
    """What a connection from there is told; limit: seconds after which "timeout" is believed, where it is expected."""
    with inside(ns):
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    with s:
        s.settimeout(limit)
        if mark:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        try:
            s.connect((host, port))
            return s.recv(100).decode()
        except ConnectionRefusedError:
            return "refused"
        except ConnectionResetError:
            return "reset"
        except TimeoutError:
            return "timeout"


def cable(ns_a, dev_a, ns_b, dev_b, addrs_a, addrs_b):
    ns_a.ip(f"link add {dev_a} type veth peer name {dev_b} netns {ns_b.name}")
    for ns, dev, addrs in ((ns_a, dev_a, addrs_a), (ns_b, dev_b, addrs_b)):
        ns.ip(*[f"addr add {a} dev {dev}{' nodad' if ':' in a else ''}" for a in addrs], f"link set {dev} up")


@contextlib.contextmanager
def host(ns):
    subprocess.run(["ip", "netns", "add", ns.name], check=True)
    try:
        ns.ip("link set lo up")
        ns.set_sysctls({"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})
        yield
    finally:
        subprocess.run(["ip", "netns", "del", ns.name], check=True)


@pytest.fixture(scope="module")
def topology():
    sweep()
    with host(LAN), host(GW), host(INET):
        cable(LAN, "eth0", GW, "br-lan", ["192.168.77.2/24", "2a77:1::2/64"], ["192.168.77.1/24", "2a77:1::1/64"])
        cable(GW, "wan0", INET, "isp", ["11.8.0.2/24", "2a11:8::2/64"], ["11.8.0.1/24", "2a11:8::1/64"])
        INET.ip(*[f"addr add {a} dev lo" for a in ("11.9.0.1/32", "11.9.0.2/32", "11.9.1.1/32", "2a11:9::1/128", "2a11:9::2/128",
                                                   "2a11:9:1::1/128", "172.20.0.1/32", "fd20::1/128")])
        LAN.ip("route add default via 192.168.77.1", "route add default via 2a77:1::1")
        GW.ip("route add default via 11.8.0.1", "route add default via 2a11:8::1")
        INET.ip("route add 192.168.77.0/24 via 11.8.0.2", "route add 2a77:1::/64 via 2a11:8::2")
        others_rules()
        server = Answering(INET, (80, 53, PORT), direct)
        yield
        server.close()


def others_rules():
    """What an owner may have: rules in the very chains we hook into, a table, policy rules and routes."""
    for tool in ("iptables", "ip6tables"):
        for rule in ("-t mangle -A PREROUTING -p udp -j MARK --set-xmark 0x100/0x3f00", "-t mangle -A OUTPUT -p udp -j MARK --set-xmark 0x200/0x3f00",
                     "-t nat -A OUTPUT -p udp --dport 9 -j REDIRECT --to-ports 10", "-t nat -A PREROUTING -p udp --dport 9 -j ACCEPT",
                     "-A INPUT -p tcp --dport 22 -j ACCEPT", "-N PLAIT_OTHER"):
            run(GW, tool, *rule.split())
    GW.nft("add table inet house\nadd chain inet house x\n")
    for f in ("-4", "-6"):
        run(GW, "ip", f, "rule", "add", "priority", "25181", "fwmark", "0x1", "lookup", "77")
        run(GW, "ip", f, "route", "add", "unreachable", "default", "table", "77")


DUMP = """iptables-save; ip6tables-save; printf 'list tables\\nlist table inet house\\n' | nft -f -
for f in -4 -6; do printf 'rule\\nroute show table all\\n' | ip $f -batch -; done"""


def dump():
    """All that is in the gateway's kernel of rules and routes."""
    lines = GW.run(DUMP).stdout.splitlines()
    return sorted(l for l in lines if l[:1] not in "#*:" and l != "COMMIT" and "expires" not in l and "fe80" not in l and "::1 dev lo" not in l)


def script(name, verb, check=True, **env):
    plain = {"PLAIT_LAN": "br-lan", "PLAIT_VPS": "11.9.0.2 2a11:9::2", "PLAIT_BYPASS": "11.9.1.0/24 2a11:9:1::/48"}
    return run(GW, str(SCRIPTS / name), verb, env=dict(plain, **env), check=check)


@pytest.fixture(scope="module")
def found(topology):
    """What is there while no script is in, as the last test left it."""
    return {"now": dump()}


WAYS = ["tproxy", "redirect", "nftables"]


def plaits_place(way):
    """A listener there."""
    return Answering(GW, (PORT,), taken_by_redirect if way == "redirect" else taken, transparent=way != "redirect")


def every_script(test):
    """The same with each of them: `rules`, what is there `before`, and a `listener` if asked for. All is as before in the end."""
    wants = inspect.signature(test).parameters

    def all_of_them(found):
        for way in WAYS:
            given = {"rules": way, "before": found["now"], "listener": plaits_place(way) if "listener" in wants else None}
            try:
                test(**{name: given[name] for name in wants})
            except AssertionError as e:
                e.add_note(f"with {way}")
                raise
            finally:
                script(way, "down")
                if given["listener"]:
                    given["listener"].close()
            before, found["now"] = found["now"], dump()
            assert [l for l in found["now"] if l not in before] == [l for l in before if l not in found["now"]] == [], way
    all_of_them.__name__, all_of_them.__doc__ = test.__name__, test.__doc__
    return all_of_them


@every_script
def test_takes_both_families(rules, listener):
    assert fetch(LAN, "11.9.0.1") == "direct"
    script(rules, "up")
    assert fetch(LAN, "11.9.0.1") == "taken 11.9.0.1 80"
    assert fetch(LAN, "2a11:9::1") == "taken 2a11:9::1 80"
    assert fetch(LAN, "11.9.0.1", PORT) == "taken 11.9.0.1 %d" % PORT
    script(rules, "down")
    assert fetch(LAN, "11.9.0.1") == "direct"
    assert fetch(LAN, "2a11:9::1") == "direct"


@every_script
def test_up_twice_is_up_once_and_down_alone_is_fine(rules, before):
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


@every_script
def test_a_changed_plan_replaces_the_old_one(rules, listener):
    script(rules, "up")
    script(rules, "up", PLAIT_BYPASS="11.9.0.1")
    assert fetch(LAN, "11.9.0.1") == "direct"
    assert fetch(LAN, "11.9.1.1") == "taken 11.9.1.1 80"


@every_script
def test_never_taken(rules, listener):
    script(rules, "up")
    for host in ("172.20.0.1", "fd20::1", "11.9.0.2", "2a11:9::2", "11.9.1.1", "2a11:9:1::1"):
        assert fetch(LAN, host) == "direct", host
    assert fetch(LAN, "11.8.0.2") == "refused"  # the gateway itself, by its WAN address: nobody listens there
    assert fetch(LAN, "2a77:1::1") == "refused"


@every_script
def test_the_listener_port_is_refused_and_the_vps_not_taken(rules, listener):
    script(rules, "up")
    for host in ("192.168.77.1", "11.8.0.2", "2a77:1::1", "2a11:8::2"):
        assert fetch(LAN, host, PORT) == "refused", host
    assert fetch(INET, "11.8.0.2", PORT) == "refused"
    assert fetch(GW, "127.0.0.1", PORT) == "refused"
    assert fetch(LAN, "11.9.0.2", PORT) == "direct"
    assert fetch(LAN, "2a11:9::2", PORT) == "direct"


@every_script
def test_a_vps_behind_the_lan_is_not_taken(rules, listener):
    """The route to the VPS leads back into the LAN: what comes back from there is not ours to take."""
    script(rules, "up", PLAIT_OWN="1")
    GW.ip("route add 11.9.0.2/32 via 192.168.77.2")
    try:
        assert fetch(GW, "11.9.0.2", 80, SELF_MARK, limit=1) in ("timeout", "direct")
    finally:
        GW.ip("route del 11.9.0.2/32 via 192.168.77.2")


@every_script
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


@every_script
def test_the_gateways_name_lookups_go_direct(rules, listener):
    script(rules, "up", PLAIT_OWN="1")
    assert fetch(GW, "11.9.0.1", 53) == "direct"
    assert fetch(LAN, "11.9.0.1", 53) == "taken 11.9.0.1 53"


@every_script
def test_own_does_not_break_who_visits_the_gateway(rules, listener):
    """Answers of the gateway's own servers to the Internet are no connections of its own."""
    visit = Answering(GW, (8022,), direct)
    try:
        script(rules, "up", PLAIT_OWN="1")
        assert fetch(INET, "11.8.0.2", 8022) == "direct"
        assert fetch(INET, "2a11:8::2", 8022) == "direct"
        assert fetch(LAN, "192.168.77.1", 8022) == "direct"
    finally:
        visit.close()


@every_script
def test_syn_cookies(rules, listener):
    script(rules, "up")
    GW.sysctl(net__ipv4__tcp_syncookies=2)
    try:
        assert fetch(LAN, "11.9.0.1") == "taken 11.9.0.1 80"
        assert fetch(LAN, "2a11:9::1") == "taken 2a11:9::1 80"
    finally:
        GW.sysctl(net__ipv4__tcp_syncookies=1)


@every_script
def test_dead_listener(rules):
    """Who answers when nobody listens differs; the scripts' headers say so, and this holds them to it."""
    script(rules, "up")
    expected = {"nftables": "direct", "redirect": "refused", "tproxy": "timeout"}[rules]
    limit = 1 if expected == "timeout" else 60
    assert fetch(LAN, "11.9.0.1", limit=limit) == expected
    assert fetch(LAN, "2a11:9::1", limit=limit) == expected


@every_script
def test_a_lan_device_that_appears_later(rules, listener):
    script(rules, "up", PLAIT_LAN="br-lan late0")
    with host(LATE):
        cable(LATE, "eth0", GW, "late0", ["192.168.78.2/24"], ["192.168.78.1/24"])
        LATE.ip("route add default via 192.168.78.1")
        assert fetch(LATE, "11.9.0.1") == "taken 11.9.0.1 80"
    wait_for(lambda: "late0" not in GW.run("ip link").stdout, "the device gone with its namespace")


@every_script
def test_ipv6_switched_off(rules, listener):
    GW.sysctl(net__ipv6__conf__lo__disable_ipv6=1)
    try:
        script(rules, "up")
        assert fetch(LAN, "11.9.0.1") == "taken 11.9.0.1 80"
        script(rules, "down")
    finally:
        GW.sysctl(net__ipv6__conf__lo__disable_ipv6=0)
        # the kernel took the owner's route, which lies on lo, with it
        run(GW, "ip", "-6", "route", "replace", "unreachable", "default", "table", "77")


@every_script
def test_one_script_relieves_another(rules, before):
    script(rules, "up")
    mine = dump()
    script(rules, "down")
    for other in WAYS:
        script(other, "up")
        script(rules, "up")
        assert dump() == mine, "%s left by %s" % (other, rules)
        script(rules, "down")
        assert dump() == before, "%s left by %s" % (other, rules)


@every_script
def test_bad_parameters_leave_nothing(rules, before):
    for env in ({"PLAIT_LAN": "br0;reboot"}, {"PLAIT_LAN": ""}, {"PLAIT_LAN": "a-name-beyond-ifnamsiz"}, {"PLAIT_LAN": "eth+"},
                {"PLAIT_LAN": "-j"}, {"PLAIT_VPS": "example.org"}, {"PLAIT_BYPASS": "11.9.0.0/24 }"}, {"PLAIT_BYPASS": "300"},
                {"PLAIT_PORT": "http"}, {"PLAIT_MARK": "1"}, {"PLAIT_MASK": "0xzz"}, {"PLAIT_BYPASS": "1.2.3.4/40"}):
        with pytest.raises(AssertionError):
            pytest.fail(f"{env} was taken: {script(rules, 'up', **env)}")
    assert dump() == before
