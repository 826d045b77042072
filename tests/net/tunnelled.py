# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of the tunnel share: waiting for it, pings and datagrams out of the LAN, packets made by hand."""
import contextlib
import os
import select
import socket
import struct
import threading
import time

from inside import inside
from topology import SERVER4, SERVER6, wait_for

INNER4, INNER6 = "10.78.0.2", "fd78:6c61:6974::2"
HOME4, HOME6 = "11.1.0.2", "2a11:1::2"  # line 1 as the Internet sees it, IPv4 masqueraded by the modem, IPv6 by the gateway


def tunnel(pair):
    """What the gateway says of it."""
    return (pair.local.status() or {}).get("tunnel", {})


def wait_tunnel(pair, state="up"):
    wait_for(lambda: tunnel(pair).get("state") == state, f"the tunnel being: {state}")


def counted(daemon, name):
    return daemon.status()["counters"][name]


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ping(ns, host, count=3, size=56, timeout=2.0, ttl=0):
    """Round trips in seconds, None for what did not come back; with ttl, who answered that it was exceeded."""
    v6 = ":" in host
    with inside(ns):
        s = socket.socket(family_of(host), socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    ident, seen = os.getpid() & 0xffff, []
    if ttl:
        s.setsockopt(socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP, socket.IPV6_UNICAST_HOPS if v6 else socket.IP_TTL, ttl)
    with s:
        for seq in range(count):
            head = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, ident, seq)
            if not v6:
                head = struct.pack("!BBHHH", 8, 0, checksum(head + bytes(size)), ident, seq)
            start = time.monotonic()
            s.sendto(head + bytes(size), (host, 0))
            seen.append(_answer(s, v6, ident, seq, start, timeout, ttl))
    return seen


def _answer(s, v6, ident, seq, start, timeout, ttl):
    while True:
        left = start + timeout - time.monotonic()
        if left <= 0 or not select.select([s], [], [], left)[0]:
            return None
        data, who = s.recvfrom(65536)
        data = data if v6 else data[20:]
        if data[0] == (129 if v6 else 0) and data[4:8] == struct.pack("!HH", ident, seq):
            return time.monotonic() - start
        if ttl and data[0] == (3 if v6 else 11):
            return who[0]


def udp(ns, host="0.0.0.0", port=0, connect=None, device=""):
    with inside(ns):
        s = socket.socket(family_of(host), socket.SOCK_DGRAM)
    if device:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.settimeout(2)
    s.bind((host, port))
    if connect:
        s.connect((connect, port_of(connect)))
    return s


def port_of(_host):
    return 4500


class Echo:
    """Answers datagrams in a namespace by what it saw: "address port|" and the data. Both families."""

    def __init__(self, ns, port=4500, tag=b""):
        self.sockets = [udp(ns, "0.0.0.0", port)]
        with inside(ns):
            six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        six.bind(("::", port))
        self.sockets.append(six)
        for s in self.sockets:
            s.settimeout(None)
        self.seen, self.tag, self.over = [], tag, False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.over:
            for s in select.select(self.sockets, [], [], 0.1)[0]:
                data, who = s.recvfrom(65536)
                self.seen.append((who[0], data))
                s.sendto(f"{who[0]} {who[1]}|".encode() + self.tag + data, who)

    def close(self):
        self.over = True
        self.thread.join()
        for s in self.sockets:
            s.close()


@contextlib.contextmanager
def echo(ns, port=4500, tag=b""):
    e = Echo(ns, port, tag)
    try:
        yield e
    finally:
        e.close()


def ask(ns, host, data=b"hello", port=4500, timeout=2.0, device=""):
    """One datagram and its answer: (who we seemed to be, data), or None."""
    with udp(ns, "::" if ":" in host else "0.0.0.0", device=device) as s:
        s.settimeout(timeout)
        s.sendto(data, (host, port))
        try:
            answer, who = s.recvfrom(65536)
        except TimeoutError:
            return None
    assert who[0] == host
    seemed, back = answer.split(b"|", 1)
    return seemed.split()[0].decode(), back


def seems(ns, host):
    """As whom the server sees ns; None when nothing comes back."""
    answer = ask(ns, host, timeout=1)
    return answer and answer[0]


def ip4(src, dst, proto=17, payload=b"", ttl=64, options=b"", total=None, frag=0):
    header = struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, total or 20 + len(options) + len(payload), 7, frag, ttl, proto, 0,
                         socket.inet_aton(src), socket.inet_aton(dst)) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ip6(src, dst, proto=17, payload=b"", length=None):
    return struct.pack("!IHBB", 6 << 28, len(payload) if length is None else length, proto, 64) + \
        socket.inet_pton(socket.AF_INET6, src) + socket.inet_pton(socket.AF_INET6, dst) + payload


def udp4(src, dst, data=b"forged", port=4500):
    head = struct.pack("!HHHH", 999, port, 8 + len(data), 0)
    return ip4(src, dst, 17, head + data)


def inject(ns, device, packets):
    """Puts packets into a device past the firewall, as a gateway would that is not honest."""
    with inside(ns):
        s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    with s:
        for p in packets:
            s.sendto(p, (device, 0x86dd if p[:1] and p[0] >> 4 == 6 else 0x0800))


def leftovers(ns, tables=("25100", "25110")):
    """What of the tunnel is in the kernel of this host."""
    found = []
    for f in ("-4", "-6"):
        rules = ns.run(f"ip {f} rule show").stdout.splitlines()
        found += [r for r in rules if r.split(":")[0].startswith("252")]
        for t in tables:
            found += ns.run(f"ip {f} route show table {t} 2>/dev/null", check=False).stdout.splitlines()
    found += [line for line in ns.run("ip -br link").stdout.splitlines() if line.startswith("plait0")]
    found += [line for line in ns.run("nft list tables").stdout.splitlines() if "plait" in line]
    for tool in ("iptables", "ip6tables"):
        saved = ns.run(f"{tool}-save 2>/dev/null", check=False).stdout
        found += [line for line in saved.splitlines() if "PLAIT" in line]
    return found


SERVERS = (SERVER4, SERVER6)
