"""What an owner can get wrong: each is told in one line that says where, with exit code 78, before anything is touched."""
import contextlib
import os
import socket
import struct
import subprocess

import pytest

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

LOCAL = """[remote]
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
            return ns.run(argv, check=False, timeout=10)
        return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)

    def refused(self, *words, verb="check", ns=None):
        """Exit 78, one line with these words in it, and nothing of it has begun to live."""
        out = self.call(verb, ns)
        assert out.returncode == EX_CONFIG, (out.returncode, out.stdout, out.stderr)
        assert out.stdout == ""
        assert len(out.stderr.splitlines()) == 1 and len(out.stderr) < 500, out.stderr
        for word in words:
            assert word in out.stderr, (word, out.stderr)
        assert not self.control.exists()


@pytest.fixture(params=PROGRAMS)
def bench(request, tmp_path):
    return Bench(request.param, tmp_path)


@pytest.fixture
def local(tmp_path):
    return Bench("plait-local", tmp_path)


@pytest.fixture
def remote(tmp_path):
    return Bench("plait-remote", tmp_path)


def test_the_good_ones_are_good(bench):
    out = bench.call("check")
    assert (out.returncode, out.stdout, out.stderr) == (0, "ok\n", "")


def test_the_examples_are_good(bench, tmp_path):
    """The file in conf/, with its placeholders filled in."""
    text = (BUILD.parent / "conf" / f"{bench.program.name}.conf").read_text()
    for line in text.splitlines():
        if line.startswith("key_file ="):
            text = text.replace(line, f"key_file = {bench.key}")
    bench.config.write_text(text)
    assert bench.call("check").returncode == 0


# --- 77: the key ---

def readable(b):
    b.key.chmod(0o644)
    return "others may read"


def group_readable(b):
    b.key.chmod(0o640)
    return "others may read"


def symlink(b):
    b.key.rename(b.tmp / "real")
    b.key.symlink_to(b.tmp / "real")
    return "symbolic link"


def fifo(b):
    b.key.unlink()
    os.mkfifo(b.key, 0o600)
    return "not a regular file"


def folder(b):
    b.key.unlink()
    b.key.mkdir(0o700)
    return "not a regular file"


def empty(b):
    b.key.write_bytes(b"")
    return "empty"


def absent(b):
    b.key.unlink()
    return "No such file"


def thirty_one_bytes(b):
    b.key.write_bytes(os.urandom(31))
    return "not a private key"


def cut(b):
    b.key.write_bytes(b.key.read_bytes()[:-40])
    return "not a private key"


def a_gigabyte(b):
    os.truncate(b.key, 1 << 30)
    return "too long"


def another_kind(b):
    subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", b.key], check=True)
    return "not an Ed25519 key"


def with_passphrase(b):
    subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-aes256", "-pass", "pass:x", "-out", b.key], check=True,
                   capture_output=True)
    return "not a private key"


def public_half(b):
    subprocess.run(["openssl", "pkey", "-in", b.key, "-pubout", "-out", b.tmp / "pub"], check=True)
    b.key.write_bytes((b.tmp / "pub").read_bytes())
    return "not a private key"


def of_another_user(b):
    os.chown(b.key, 65534, -1)
    return "belongs to another user"


def folder_of_a_group(b):
    b.tmp.chmod(0o770)
    return "others can write the folder"


def folder_of_all(b):
    b.tmp.chmod(0o777)
    return "others can write the folder"


def folder_of_another_user(b):
    os.chown(b.tmp, 65534, -1)
    return "belongs to another user"


KEYS = [readable, group_readable, symlink, fifo, folder, empty, absent, thirty_one_bytes, cut, a_gigabyte, another_kind,
        with_passphrase, public_half, of_another_user, folder_of_a_group, folder_of_all, folder_of_another_user]


@pytest.mark.parametrize("spoil", KEYS)
def test_case_77_key_file(bench, spoil):
    """check and run say the same."""
    said = spoil(bench)
    bench.refused(str(bench.key), said)
    bench.refused(str(bench.key), said, verb="run")


# --- 78: the file ---

def numbered(text, needle):
    return next(i for i, line in enumerate(text.splitlines(), 1) if needle in line)


BOTH = [
    ("unknown option", "[pool]\nvolume = 11\n", "volume", "unknown option"),
    ("unknown section", "[poool]\n", "[poool]", "unknown section"),
    ("duplicate option", "[relay]\nidle = 5s\nidle = 6s\n", "idle = 6s", "is there already"),
    ("duplicate section", "[relay]\nidle = 5s\n[relay]\n", None, "is there already"),
    ("option without a section's name", "[relay]\nidle\n", "idle", "neither a [section]"),
    ("number that is none", "[pool]\nage = soon\n", "age = soon", "age"),
    ("unit that is none", "[pool]\nage = 100\n", "age = 100", "age"),
    ("yes or no", "[relay]\nclear = perhaps\n", "perhaps", "neither yes nor no"),
    ("too large", "[pool]\nage = 99999999s\n", "99999999", "age"),
    ("negative", "[relay]\nnotsent_lowat = -1\n", "lowat", "notsent_lowat"),
    ("empty value", "[relay]\nidle =\n", "idle", "idle"),
    ("text after the heading", "[relay] now\n", "now", "text after ]"),
    ("heading not closed", "[relay\n", "[relay", "neither a [section]"),
    ("carriage return inside", "[relay]\nidle = 5s\rstall = 6s\n", "idle", "carriage return"),
    ("NUL byte", "[relay]\nidle\0 = 5s\n", "idle", "NUL byte"),
    ("bell", "[relay]\nidle = 5s\a\n", "idle", "control character"),
    ("line of a megabyte", "[relay]\nidle = " + "5" * (1 << 20) + "\n", "555", "longer than"),
]


@pytest.mark.parametrize("text, needle, said", [b[1:] for b in BOTH], ids=[b[0] for b in BOTH])
def test_case_78_config(bench, text, needle, said):
    """FILE:LINE and what is wrong there, from check and from run."""
    whole = bench.base + text
    bench.config.write_text(whole, newline="")
    line = numbered(whole.replace("\r", " "), needle) if needle else len(whole.splitlines())
    for verb in ("check", "run"):
        bench.refused(f"{bench.config}:{line}: ", said, verb=verb)


LOCALS = [
    ("port 0", "key = ", "port = 0\nkey = ", "port = 0", "port"),
    ("port 65536", "key = ", "port = 65536\nkey = ", "port = 65536", "port"),
    ("key too short", "key = A", "key = ", "key = ", "key"),
    ("key missing", "key = " + PIN + "\n", "", "[remote]", "needs key ="),
    ("host missing", "host = 11.7.0.2\n", "", "[remote]", "needs host ="),
    ("host with a port", "host = 11.7.0.2", "host = 11.7.0.2:7200", "host", "neither a name nor an IP address"),
    ("resolver by name", "key = ", "resolver = dns.example\nkey = ", "resolver", "not the address of a name server"),
    ("bad prefix", "device = lan0", "device = lan0\nbypass = 10.0.0.0/33", "bypass", "10.0.0.0/33"),
    ("host bits in a prefix", "device = lan0", "device = lan0\nbypass = 10.0.0.1/8", "bypass", "10.0.0.1/8"),
    ("device name", "device = wan1", "device = wan/1", "wan/1", "device"),
    ("two lines of one device", "[link adsl]", "[link other]\ndevice = wan1\n[link adsl]", "[link adsl]", "already"),
    ("two lines of one name", "[link adsl]", "[link adsl]\ndevice = wan2\n[link adsl]", None, "is there already"),
    ("line without a name", "[link adsl]", "[link]", "[link]", "needs a name"),
    ("pool upside down", "[lan]", "[pool]\nmin = 9\nmax = 3\n[lan]", "[pool]", "min = 9 is more than max = 3"),
    ("nothing to take", "device = lan0\n", "", "[lan]", "nothing to take"),
]


@pytest.mark.parametrize("old, new, needle, said", [v[1:] for v in LOCALS], ids=[v[0] for v in LOCALS])
def test_case_78_config_of_local(local, old, new, needle, said):
    whole = local.base.replace(old, new, 1)
    assert whole != local.base
    local.config.write_text(whole)
    line = numbered(whole, needle) if needle else [i for i, v in enumerate(whole.splitlines(), 1) if v == "[link adsl]"][-1]
    local.refused(f"{local.config}:{line}: ", said)
    local.refused(f"{local.config}:{line}: ", said, verb="run")


REMOTES = [
    ("port 0", "port = 7200", "port = 0", "port = 0", "port"),
    ("port 65536", "port = 7200", "port = 65536", "port = 65536", "port"),
    ("address that is none", "port = 7200", "port = 7200\naddress = vps", "address", "address"),
    ("two users of one key", "[user home]", "[user other]\nkey = " + PIN + "\n[user home]", "[user home]", "same key as [user other]"),
    ("two users of one name", "[user home]", "[user home]\nkey = " + "B" * 42 + "A=\n[user home]", None, "is there already"),
    ("user without a key", "key = " + PIN, "", "[user home]", "needs key ="),
    ("user name", "[user home]", "[user ho/me]", "[user", "a name has"),
    ("bad prefix", "[user home]", "[policy]\nallow = 10.0.0.0/33\n[user home]", "allow", "10.0.0.0/33"),
    ("port to deny", "[user home]", "[policy]\ndeny_ports = 25, 0\n[user home]", "deny_ports", "0"),
    ("no relays at all", "[user home]", "[user home]\nrelays = 0", "relays", "relays"),
]


@pytest.mark.parametrize("old, new, needle, said", [v[1:] for v in REMOTES], ids=[v[0] for v in REMOTES])
def test_case_78_config_of_remote(remote, old, new, needle, said):
    whole = remote.base.replace(old, new, 1)
    assert whole != remote.base
    remote.config.write_text(whole)
    line = numbered(whole, needle) if needle else [i for i, v in enumerate(whole.splitlines(), 1) if v == "[user home]"][-1]
    remote.refused(f"{remote.config}:{line}: ", said)
    remote.refused(f"{remote.config}:{line}: ", said, verb="run")


def test_case_78_no_users(remote):
    remote.config.write_text(remote.base.split("[user")[0])
    remote.refused(str(remote.config), "[user NAME]")


def test_case_78_windows_line_ends_are_fine(bench):
    bench.config.write_bytes(b"\xef\xbb\xbf" + bench.base.replace("\n", "\r\n").encode())
    assert bench.call("check").returncode == 0


@pytest.mark.parametrize("what", ["absent", "folder", "fifo"])
def test_case_78_file_that_is_none(bench, what):
    bench.config.unlink()
    if what == "folder":
        bench.config.mkdir()
    elif what == "fifo":
        os.mkfifo(bench.config)
    bench.refused(str(bench.config), {"absent": "No such file"}.get(what, "not a regular file"))
    bench.refused(str(bench.config), verb="run")


# --- what shows itself at the start ---

def test_case_82_more_relays_than_descriptors(topo, bench):
    """Refused, with both numbers; nothing was touched."""
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


def test_case_80_wrong_server_key(topo):
    """Nothing is sent to the wrong one that it could use; the log names the likely cause; the house is online directly."""
    pair = Pair(topo, wait=False)
    pair.write_configs()
    pair.local.config.write_text(pair.local.config.read_text().replace(pair.remote.make_key(), Identity.new().pin64))
    pair.remote.start()
    pair.local.start()
    try:
        # The remote answers a knock for another key with silence, so the line is the one of a handshake that fails.
        wait_for(lambda: "[remote] key" in pair.local.logged(), "the log names the key\n" + pair.local.logged())
        status = pair.local.status()
        assert not status["connected"] and status["rules"] == "out"
        assert works(topo)
        assert pair.remote.status()["sessions"] == 0 and pair.remote.status()["counters"]["quiet"] >= 1
    finally:
        assert pair.local.stop() == 0 and pair.remote.stop() == 0


def test_case_80_somebody_with_another_key_answers(topo):
    """A server in the middle that takes any knock but has a key of its own: not believed, and named."""
    pair = Pair(topo, wait=False)
    pair.write_configs()
    real = Identity.load(pair.remote.key)
    fake = FakeRemote(topo.vps, Identity.new(), lambda *_: None, knock_pin=real.pin)
    pair.local.start()
    try:
        wait_for(lambda: "its key is not the one in our configuration ([remote] key)" in pair.local.logged(), "named")
        assert fake.calls == 0, "it was told HELLO"
        assert not pair.local.status()["connected"]
        assert works(topo)
    finally:
        fake.close()
        assert pair.local.stop() == 0


def test_case_80_unknown_user(topo):
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


@pytest.mark.parametrize("ours, theirs, mode", [("yes", "no", "SEALED"), ("no", "yes", "SEALED"), ("yes", "yes", "CLEAR")])
def test_case_83_clear_on_one_side_only(topo, ours, theirs, mode):
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
