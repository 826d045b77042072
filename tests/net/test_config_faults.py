# SPDX-License-Identifier: BSD-2-Clause
"""What an owner can get wrong: each is told in one line that says where, with exit code 78, before anything is touched."""
import contextlib
import os
import socket
import struct
import subprocess

import pytest

from each import each
from pair import Pair
from plait_client import FakeRemote, Identity, connect, new_socket
from topology import BUILD, SERVER4, Line, wait_for

LINES = [Line()]
TOPOLOGY = {"emulate": False}
EX_CONFIG = 78
PIN = "A" * 43 + "="

REMOTE = """[listen]
port = 7200
[remote]
key_file = {key}
control = {control}
[user home]
key = """ + PIN + "\n"

LOCAL = """[vps]
host = 11.7.0.2
key = """ + PIN + """
[local]
key_file = {key}
control = {control}
[lan]
device = lan0
[link adsl]
device = wan1
"""
BASE = {"plait-local": LOCAL, "plait-remote": REMOTE}
PROGRAMS = sorted(BASE)


class Bench:
    """One program with a good key and config to spoil."""

    def __init__(self, program, tmp):
        self.program, self.tmp = BUILD / program, tmp
        os.chmod(tmp, 0o700)
        self.key, self.config, self.control = tmp / "the.key", tmp / "the.conf", tmp / "the.sock"
        Identity.new().save(self.key)
        self.base = BASE[program].format(key=self.key, control=self.control)
        self.config.write_text(self.base)

    def call(self, verb, ns=None, prefix=()):
        argv = [*prefix, str(self.program), verb, "-c", str(self.config)]
        if ns:
            return ns.run(argv, check=False)
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    def refused(self, verb, words):
        """Exit 78, one line with these words in it, and nothing of it has begun to live."""
        out = self.call(verb)
        assert out.returncode == EX_CONFIG, (out.returncode, out.stdout, out.stderr)
        assert out.stdout == ""
        assert len(out.stderr.splitlines()) == 1 and len(out.stderr) < 500, out.stderr
        assert words in out.stderr
        assert not self.control.exists()


@pytest.fixture
def benches(tmp_path):
    def bench(program):
        (tmp_path / program).mkdir()
        return Bench(program, tmp_path / program)
    return [bench(p) for p in PROGRAMS]


def test_good_ones_are_ok(benches):
    for bench in benches:
        out = bench.call("check")
        assert (out.returncode, out.stdout, out.stderr) == (0, "ok\n", ""), bench.program


@each("verb", ["check", "run"])
def test_a_config_with_a_mistake_is_refused(benches, verb):
    """Of what can be wrong there, and how each is told, see tests/unit/local and remote/test_config.c."""
    for bench in benches:
        bench.config.write_text(bench.base + "[relay]\nidle = soon\n")
        line = len(bench.base.splitlines()) + 2
        bench.refused(verb, f"{bench.config}:{line}: idle: soon is not a time")


@each("verb", ["check", "run"])
def test_a_key_that_others_may_read_is_refused(benches, verb):
    """Of what else can be wrong with it see tests/unit/sys/test_identity.c."""
    for bench in benches:
        bench.key.chmod(0o640)
        bench.refused(verb, f"{bench.key}: others may read the key")


@each("side", [0, 1])
def test_more_relays_than_descriptors(topo, benches, side):
    """Refused, with both numbers; nothing was touched."""
    bench = benches[side]
    section = "[lan]\n" if bench.program.name == "plait-local" else "[remote]\n"
    bench.config.write_text(bench.base.replace(section, section + "max_relays = 5000\n"))
    ns = topo.gw if bench.program.name == "plait-local" else topo.vps
    before = ns.run("nft list ruleset; ip rule; ip mptcp endpoint").stdout
    out = bench.call("run", ns, ["prlimit", "--nofile=1000:1000"])
    assert out.returncode not in (0, -15) and "1000" in out.stderr and "max_relays" in out.stderr, out.stderr
    assert len([line for line in out.stderr.splitlines() if "error" in line or "descriptors" in line]) == 1
    assert not bench.control.exists()
    assert ns.run("nft list ruleset; ip rule; ip mptcp endpoint").stdout == before


def works(topo):
    return topo.peer("echo", count=1)["ok"]


def test_wrong_server_key(topo):
    """Nothing is sent to the wrong one that it could use; the log names the likely cause; the house is online directly."""
    pair = Pair(topo, wait=False)
    pair.write_configs()
    pair.local.config.write_text(pair.local.config.read_text().replace(pair.remote.make_key(), Identity.new().pin64))
    pair.remote.start()
    pair.local.start()
    try:
        # The remote answers a knock for another key with silence, so the line is the one of a handshake that fails.
        wait_for(lambda: "[vps] key" in pair.local.logged(), "the log names the key\n" + pair.local.logged())
        status = pair.local.status()
        assert not status["connected"] and status["rules"] == "out"
        assert works(topo)
        assert pair.remote.status()["sessions"] == 0 and pair.remote.status()["counters"]["quiet"] >= 1
    finally:
        assert pair.local.stop() == 0 and pair.remote.stop() == 0


def test_somebody_with_another_key_answers(topo):
    """A server in the middle that takes any knock but has a key of its own: not believed, and named."""
    pair = Pair(topo, wait=False)
    pair.write_configs()
    real = Identity.load(pair.remote.key)
    fake = FakeRemote(topo.vps, Identity.new(), lambda *_: None, knock_pin=real.pin)
    pair.local.start()
    try:
        wait_for(lambda: "its key is not the one in our configuration ([vps] key)" in pair.local.logged(), "named")
        assert fake.calls == 0, "it was told HELLO"
        assert not pair.local.status()["connected"]
        assert works(topo)
    finally:
        fake.close()
        assert pair.local.stop() == 0


def test_unknown_user(topo):
    """Our key is not among its users: the log says where to look; the remote's log tells its owner what he sees."""
    pair = Pair(topo, wait=False)
    pair.write_configs()
    pair.remote.config.write_text(pair.remote.config.read_text().replace(pair.local.make_key(), Identity.new().pin64))
    pair.remote.start()
    pair.local.start()
    try:
        wait_for(lambda: "is our key (plait-local pubkey) among its users?" in pair.local.logged(), "the cause is named")
        assert not pair.local.status()["connected"]
        assert works(topo)
        assert pair.local.make_key() in pair.remote.logged(), pair.remote.logged()
    finally:
        assert pair.local.stop() == 0 and pair.remote.stop() == 0


@each("ours, theirs, mode", [("yes", "no", "SEALED"), ("no", "yes", "SEALED"), ("yes", "yes", "CLEAR")])
def test_clear_on_one_side_only(topo, ours, theirs, mode):
    """What travels is sealed unless both sides say otherwise: watched on the wire, from a client that speaks TLS."""
    mark = b"CLEARLY-SEEN-" * 40
    with Pair(topo, local_set={"relay.clear": ours}, remote_set={"relay.clear": theirs}) as pair:
        wire = new_socket(topo.vps, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        wire.bind(("eth0", 0))
        s = connect(topo.lan, SERVER4, 7001)
        s.sendall(b"\x16\x03\x01\x02\x00\x01" + mark)
        got = b""
        while len(got) < 6 + len(mark):
            got += s.recv(4096)
        for _ in range(3):
            s.sendall(mark)
            got = b""
            while len(got) < len(mark):
                got += s.recv(4096)
        s.close()
        wait_for(lambda: pair.remote.status()["relays"] == 0, "the relay has ended")
        wan = [f for f in drain(wire) if struct.pack(">H", 7200) in (f[34:36], f[36:38])]  # ports behind 20 bytes of IPv4
        wire.close()
        assert sum(map(len, wan)) > 8 * len(mark), "the relay was not seen at all"
        assert any(b"CLEARLY-SEEN-" in f for f in wan) == (mode == "CLEAR")


def drain(wire):
    wire.setblocking(False)
    frames = []
    with contextlib.suppress(BlockingIOError):
        while True:
            frames.append(wire.recv(65536))
    return frames
