# SPDX-License-Identifier: BSD-2-Clause
"""Fear: there are two VPSs, and the house is offline because one of them is.

The second one lives at another place of the Internet; who relayed a page is told by the address the server saw."""
import struct

import pytest

import surfer
from inside import connect, listen, read_exactly, through
from leap import Leaping
from pair import Daemon
from test_names import NameServer, labels
from topology import SERVER4, VPS4, Line, wait_for

LINES = [Line("50M", "50M", 10), Line("50M", "50M", 20)]
TOPOLOGY = {"servers": 2}
SECOND = "11.9.1.2"
NAMES = {f"::ffff:{VPS4}": "first", f"::ffff:{SECOND}": "second"}
pytestmark = pytest.mark.usefixtures("mirror")


def page(topo, timeout=20):
    """first, second, direct, or how it failed."""
    return surfer.page(topo, timeout, names=NAMES)


class TwoVps(Leaping):
    """The pair, and a second remote, which the local knows as [vps second]."""

    first_away = False

    def __init__(self, topo, first_away=False, **how):
        super().__init__(topo, **how)
        self.first_away = first_away
        tmp = topo.new_dir("second")
        self.second = Daemon(topo.ns["server2"], "plait-remote", tmp)
        self.first = self.remote
        self.local_extra += f"[vps second]\nhost = {SECOND}\nport = 7200\nkey = {self.second.make_key()}\n"

    def write_configs(self):
        super().write_configs()
        self._write(self.second.config, {**self._remote_config(self.local.make_key()),
                                         "remote": {"key_file": self.second.key, "control": self.second.control, "log": "debug"}},
                    {}, "")

    def start_remotes(self):
        for remote in (self.second,) if self.first_away else (self.first, self.second):
            remote.start()  # before the house wakes up: whichever is late is taken for away, and waits for its minute
            wait_for(lambda remote=remote: "listening" in remote.logged(), "a remote listens")

    def __exit__(self, kind, *rest):
        super().__exit__(kind, *rest)
        if kind is not None and self.second.alive():
            self.second.process.kill()
            self.second.process.wait()

    def stop(self):
        assert self.second.stop() == 0
        super().stop()


def gone(topo, port):
    topo.inet.nft(f'table inet dead_{port} {{ chain f {{ type filter hook forward priority 0; oifname "{port}" tcp dport 7200 drop; '
                  f'oifname "{port}" udp dport 7200 drop; iifname "{port}" tcp sport 7200 drop; iifname "{port}" udp sport 7200 drop; }}; }}')


def back(topo, port):
    topo.inet.run(f"nft delete table inet dead_{port}", check=False)


@pytest.fixture(name="pair")
def _pair(topo):
    with TwoVps(topo) as p:
        wait_for(lambda: p.local.status()["rules"] != "out" and all(r["session"] for r in p.local.status()["vps"]["others"]),
                 "sessions with both")
        yield p
        back(topo, "vps")
        back(topo, "srv2")


def others(pair):
    return pair.local.status()["vps"]["others"]


def test_first_one_falls_silent_and_comes_back(topo, pair):
    """No page goes out directly, none fails when it is known; a minute after the first one is well again it is used again, and what the
    second one relays goes on. The seconds are those of unit/local/test_vps_choice.c."""
    assert page(topo) == "first"
    someone = surfer.Surfer(topo, NAMES)
    wait_for(lambda: someone.first("first", 0), "a page by the first")
    died = someone.now()
    gone(topo, "vps")
    took = wait_for(lambda: someone.first("second", died), "a page by the second") - died
    known = someone.now()
    wait_for(lambda: someone.first("second", known), "a page that was asked for after that")
    someone.running = False  # those of the instant may take their time
    with listen(topo.server, 9000) as listener:
        near, far = through(topo.lan, SERVER4, listener)
        assert far.getpeername()[0] == f"::ffff:{SECOND}"
        wait_for(lambda: not others(pair)[0]["session"], "its session is given up")
        back(topo, "vps")
        wait_for(lambda: others(pair)[0]["connected"], "the first one is well")
        assert page(topo) == "second", "it has to prove itself first"
        pair.leap(60, pair.local)
        wait_for(lambda: page(topo) == "first", "the first one again")
        near.sendall(b"still there?")
        assert read_exactly(far, 12) == b"still there?"
        near.close()
        far.close()
    pages = someone.stop()
    late = [p for p in pages if p[0] > died + took]
    assert late and {how for _, _, how in late} == {"second"}
    assert "direct" not in {how for _, _, how in pages}


def test_both_gone_is_direct_and_any_of_them_will_do(topo, pair):
    gone(topo, "vps")
    gone(topo, "srv2")
    wait_for(lambda: page(topo) == "direct", "direct")
    back(topo, "srv2")
    wait_for(lambda: pair.local.status()["vps"]["host"] == SECOND and pair.local.status()["vps"]["session"], "a session with the second")
    assert pair.local.status()["rules"] == "out", "it has to prove itself first"
    pair.leap(10, pair.local)
    wait_for(lambda: page(topo) == "second", "the second")


def test_neither_is_ever_intercepted(topo, pair):
    for host in (VPS4, SECOND):
        with connect(topo.lan, host, 7200) as s:
            s.sendall(b"\0")
    assert pair.local.status()["counters"]["relays_opened"] == 0
    assert pair.local.status()["counters"]["intercept_loops"] == 0


# --- from a name ---

SRV = 33


def service(query, *targets):
    """Each: priority, weight, port, name."""
    if query.type != SRV:
        return query.reply()
    return query.reply([(query.name, SRV, 30, struct.pack(">HHH", p, w, port) + labels(name)) for p, w, port, name in targets])


@pytest.fixture(name="dns")
def _dns(topo):
    server = NameServer(topo.server)
    server.moods["one.example"] = lambda q: [q.addresses(VPS4)]
    server.moods["two.example"] = lambda q: [q.addresses(SECOND)]
    yield server
    server.close()
    assert not server.errors


class ByService(TwoVps):
    """Both by one name, which must mean one key."""

    def __init__(self, topo, **how):
        Leaping.__init__(self, topo, **how, local_set={"vps.host": None, "vps.port": None, "vps.srv": "_plait._tcp.example",
                                                       "vps.resolver": SERVER4})
        tmp = topo.new_dir("second")
        self.second = Daemon(topo.ns["server2"], "plait-remote", tmp)
        self.remote.make_key()
        self.second.key = self.remote.key
        self.first = self.remote


def test_service_names_its_remotes(topo, dns):
    """The smallest priority is used, the other one when that is away; a target that is named no more is left alone."""
    targets = [(20, 5, 7200, "one.example"), (10, 5, 7200, "two.example")]
    dns.moods["_plait._tcp.example"] = lambda q: [service(q, *targets)]
    with ByService(topo) as pair:
        wait_for(lambda: page(topo) == "second", "the second, which comes first")
        status = pair.local.status()["vps"]
        assert [status["host"]] + [r["host"] for r in status["others"]] == ["two.example", "one.example"]
        pair.second.stop()
        wait_for(lambda: page(topo) == "first", "the first")
        pair.second.start()
        wait_for(pair.second.status, "the second again")
