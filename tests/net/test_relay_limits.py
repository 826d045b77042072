# SPDX-License-Identifier: BSD-2-Clause
"""Fear: somebody uses up what all need. Descriptors, memory, ports: each runs out here, and the others go on."""
import json
import os
import resource
import select
import socket
import subprocess
import time

import pytest

from each import each
from inside import accept, connect, listen, read_exactly, sockets_in, tcp, through
from topology import BUILD, SERVER4, TOOLS, Line, wait_for

LINES = [Line("200M", "200M", 3), Line("200M", "200M", 5)]
PAIR = {"local_set": {"pool.max": 16}, "remote_set": {"user home.opens": 5000}}
DIRECTION = 64 * 1024  # what plait may hold of one direction
MEASURES_MEMORY = pytest.mark.skipif("san" in BUILD.name, reason="the sanitizer keeps what was freed")


@pytest.fixture(scope="module", name="listener")
def _listener(topo, pair):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with listen(topo.server, 9000, 4096) as s:
        yield s


def private_kib(daemon):
    """Memory of its own: the shared libraries' pages are not counted."""
    with open(f"/proc/{daemon.pid}/smaps_rollup", encoding="ascii") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith(("Private_Clean", "Private_Dirty")))


def relays_are(pair, n):
    return pair.local.status()["relays"] == n and pair.remote.status()["relays"] == n


def fill(sockets, seconds):
    """Writes to all of them until nothing has fitted in for a while; how many bytes went in."""
    block, total, last = b"f" * 65536, 0, time.monotonic()
    for s in sockets:
        s.setblocking(False)
    poll = select.epoll()
    by_fd = {s.fileno(): s for s in sockets}
    for fd in by_fd:
        poll.register(fd, select.EPOLLOUT)
    end = time.monotonic() + seconds
    while time.monotonic() < end and time.monotonic() - last < 0.5:
        for fd, _ in poll.poll(0.2):
            try:
                total += by_fd[fd].send(block)
                last = time.monotonic()
            except BlockingIOError:
                pass
    return total


def connect_all(ns, host, port, n, receive=0):
    """n connections at once, from a namespace."""
    socks = []
    for _ in range(n):
        s = tcp(ns, host)
        if receive:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        s.setblocking(False)
        try:
            s.connect((host, port))
        except BlockingIOError:
            pass
        socks.append(s)
    return socks


def close_all(*lists):
    for socks in lists:
        for s in socks:
            s.close()


def test_no_two_subflows_share_a_port(topo, pair, listener):
    """The kernel's joins are bound to a line's device, our dials are not, and it would let both begin from one address and port: the
    later one takes over what the VPS says to the earlier."""
    topo.gw.set_sysctls({"net.ipv4.ip_local_port_range": "40000 40500"})
    near, far = [], []
    try:
        for role in ("primary", "backup"):  # dials from one line and joins on the other, then the other way round
            pair.local.ask("link", "wan1", role)
            for _ in range(60):
                one, other = through(topo.lan, SERVER4, listener)
                near.append(one)
                far.append(other)
        told = topo.gw.run("ss -tnHO state established dport = :7200").stdout.splitlines()
        ends = [line.split()[2].replace("%wan1", "").replace("%wan2", "") for line in told]
        assert len(ends) > 240
        assert len(set(ends)) == len(ends), sorted(e for e in ends if ends.count(e) > 1)
    finally:
        topo.gw.set_sysctls({"net.ipv4.ip_local_port_range": "32768 60999"})
        pair.local.ask("link", "wan1", "primary")
        close_all(near, far)


# --- slow readers ---

@MEASURES_MEMORY
def test_three_hundred_slow_readers_cost_64_kib_a_direction(topo, pair, listener):
    n = 300
    before = {d: private_kib(d) for d in (pair.local, pair.remote)}
    near = connect_all(topo.lan, SERVER4, 9000, n, receive=4096)
    far = [accept(listener) for _ in range(n)]
    wait_for(lambda: relays_are(pair, n), "all relays")
    written = fill(far, 6)
    assert written > n * DIRECTION, "the test has not filled what it measures"
    for d, old in before.items():
        grown = private_kib(d) - old
        assert grown < n * DIRECTION / 1024 + 4096, f"{d.program.name} holds {grown} KiB for {n} readers"
    quick, other = through(topo.lan, SERVER4, listener)  # nobody else is stopped
    other.sendall(b"q" * 100_000)
    try:
        assert read_exactly(quick, 100_000)
    finally:
        close_all([quick, other], near, far)
    wait_for(lambda: relays_are(pair, 0), "relays gone")
    wait_for(lambda: pair.remote.status()["users"][0]["buffered"] == 0, "nothing is charged to the user")


@MEASURES_MEMORY
def test_readers_with_a_zero_window_stay_up(topo, pair, listener):
    """One in each direction: a time in which nothing at all can be delivered, then every byte of it."""
    before = {d: private_kib(d) for d in (pair.local, pair.remote)}
    slow_near, far = through(topo.lan, SERVER4, listener, receive=4096)
    near, slow_far = through(topo.lan, SERVER4, listener)
    written = {w: fill([w], 3) for w in (far, near)}
    time.sleep(2)
    for d, old in before.items():
        assert private_kib(d) - old < 2 * DIRECTION / 1024 + 256, d.program.name
    assert relays_are(pair, 2)
    for reader, writer in ((slow_near, far), (slow_far, near)):
        writer.setblocking(True)
        writer.shutdown(socket.SHUT_WR)
        size = 0
        while data := reader.recv(1 << 18):
            size += len(data)
        assert size == written[writer]
    close_all([near, far, slow_near, slow_far])


# --- descriptors ---

@each("which", ["local", "remote"])
def test_out_of_descriptors_rests_and_recovers(topo, pair, listener, which):
    daemon = getattr(pair, which)
    wait_for(lambda: relays_are(pair, 0), "no relays of earlier tests")
    old, old_far = through(topo.lan, SERVER4, listener)
    limit = subprocess.run(["prlimit", f"--pid={daemon.pid}", "--nofile", "--raw", "--noheadings", "--output=SOFT,HARD"],
                           text=True, capture_output=True, check=True).stdout.split()
    used = len(list(os.scandir(f"/proc/{daemon.pid}/fd")))
    subprocess.run(["prlimit", f"--pid={daemon.pid}", f"--nofile={used + 30}:{limit[1]}"], check=True)
    try:
        near = connect_all(topo.lan, SERVER4, 9000, 200)
        wait_for(lambda: "resting" in daemon.logged(), "accept pauses")

        def calm():
            before = daemon.cpu_seconds()
            time.sleep(0.2)
            return daemon.cpu_seconds() == before
        wait_for(calm, "it rests")
        cpu, lines = daemon.cpu_seconds(), daemon.logged().count("resting")
        time.sleep(2)
        assert daemon.cpu_seconds() - cpu < 0.1, "more than 5 % of a core"
        assert daemon.logged().count("resting") - lines <= 6, "more than some lines"
        old.sendall(b"still here")
        assert read_exactly(old_far, 10) == b"still here"
    finally:
        subprocess.run(["prlimit", f"--pid={daemon.pid}", f"--nofile={limit[0]}:{limit[1]}"], check=True)
    close_all(near)
    wait_for(lambda: _serves(topo, listener), "a new connection after the shortage")
    old_far.sendall(b"and still")
    assert read_exactly(old, 9) == b"and still"
    close_all([old, old_far])
    wait_for(lambda: not _drop_one(listener) and relays_are(pair, 0), "relays gone")  # some arrive late


def _drop_one(listener):
    try:
        accept(listener, 1).close()
    except TimeoutError:
        return False
    return True


def _serves(topo, listener):
    """One of before may still arrive: it said nothing."""
    with connect(topo.lan, SERVER4, 9000) as near:
        near.sendall(b"new")
        try:
            with accept(listener, 1) as far:
                return far.recv(3) == b"new"
        except (TimeoutError, ConnectionResetError):
            return False


# --- ports ---

def test_connections_use_up_no_ports(topo, pair):
    """Three times as many as the gateway has ports, before any would be free again. Who closes first would keep the port for a minute;
    nobody does."""
    topo.gw.sysctl(net__ipv4__ip_local_port_range="32768 33567")
    server = topo.server.popen([TOOLS / "loadgen", "serve", "9100"], stdout=subprocess.PIPE)
    assert server.stdout.readline() == "ready\n"
    done, end = 0, time.monotonic() + 50
    while done < 2400 and time.monotonic() < end:
        result = json.loads(topo.lan.run([TOOLS / "loadgen", "rate", SERVER4, "9100", "32", "2"]).stdout)
        assert result["failed"] == 0, result
        done += 2 * result["per_second"]
    server.kill()
    topo.gw.sysctl(net__ipv4__ip_local_port_range="32768 60999")
    assert done >= 2400, "the test was too slow to mean anything"
    assert "Cannot assign" not in pair.local.logged() + pair.remote.logged()
    here, there = ([s.split()[2] for s in sockets_in(ns, "time-wait") if ":7200" in s] for ns in (topo.gw, topo.vps))
    first = [s for s in here if s.startswith("192.168.1.2")]  # the kernel closes later subflows as it likes
    # Who closed first as a rule would leave one each; a few are of clients whose FIN crossed the server's.
    assert len(first) < done * 0.25 and len(there) < done * 0.25, f"TIME-WAIT: {len(first)} at home, {len(there)} on the VPS"
