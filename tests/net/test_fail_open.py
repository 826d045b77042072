# SPDX-License-Identifier: BSD-2-Clause
"""Fear: the VPS is gone and the house is offline; or it blinks, and the house notices.

Who came is told by the address that the server sees: the VPS's (relayed) or the modem's (direct)."""
import re
import time

import pytest

from each import each
from inside import listen, read_exactly, through
from leap import Leaping
from pair import Pair
from surfer import PAGES, Surfer, page, vps_back, vps_gone
from topology import SERVER4, SERVER6, Line, wait_for

LINES = [Line("50M", "50M", 10), Line("50M", "50M", 20)]
pytestmark = pytest.mark.usefixtures("mirror")


@pytest.fixture(name="healed", autouse=True)
def _healed(topo):
    yield
    topo.inet.run("nft delete table inet dead", check=False)


def ready(pair):
    wait_for(lambda: pair.local.status()["rules"] != "out" and pair.local.status()["pool"]["warm"] >= 4, "interception")


@pytest.fixture(name="shared", scope="module")
def _shared(topo):
    """One for all who leave it as it was; who starts another one stops it first."""
    shared = []
    yield shared
    for p in shared:
        p.stop()


@pytest.fixture(name="pair")
def _pair(topo, healed, shared):
    if not shared:
        shared.append(Leaping(topo))
        shared[0].start()
    ready(shared[0])
    return shared[0]


@pytest.fixture(name="alone")
def _alone(shared):
    while shared:
        shared.pop().stop()


def relayed_again(topo, pair):
    """The VPS is back: after ten good seconds (unit/local/test_intercept.c), and not at once, it is used."""
    wait_for(lambda: pair.local.status()["connected"], "a session")
    assert pair.local.status()["rules"] == "out", "it has to prove itself first"
    pair.leap(10, pair.local)
    wait_for(lambda: page(topo) == "relayed", "relayed")


def test_vps_gone_and_back_under_way(topo, pair):
    """What was relayed before goes on behind it, and what went out directly is not broken by the return. After how many seconds each
    happens: unit/local/test_vps.c and test_intercept.c."""
    with listen(topo.server, 9000) as listener:
        old = through(topo.lan, SERVER4, listener)
        surfer = Surfer(topo)
        wait_for(lambda: surfer.first("relayed", 0), "a relayed page")
        gone = surfer.now()
        vps_gone(topo)
        out = wait_for(lambda: surfer.first("direct", gone), "a direct page")
        amid = [through(topo.lan, host, listener) for host in (SERVER4, SERVER6)]
        assert pair.local.status()["rules"] == "out"
        vps_back(topo)
        relayed_again(topo, pair)
        back = surfer.now()
        wait_for(lambda: surfer.first("relayed", back), "a relayed page")
        pages = surfer.stop()
        for near, far in [old, *amid]:
            near.sendall(b"still there?")
            assert read_exactly(far, 12) == b"still there?"
            far.sendall(b"yes")
            assert read_exactly(near, 3) == b"yes"
            near.close()
            far.close()
    bad = [p for p in pages if p[2] not in ("relayed", "direct")]
    print(f"out after {out - gone:.2f} s, {len(bad)} of {len(pages)} pages failed: {bad[:1]} ... {bad[-1:]}")
    assert out - gone > 3, "it was not even asked twice"
    assert {p[2] for p in bad} <= {"ConnectionResetError"}
    assert not [p for p in bad if p[0] > out or p[1] < gone - 1], "a page failed that was asked for when it was known"


def busy(topo):
    """What the VPS's bytes go to: "address . port" of each subflow that carried some."""
    told = topo.vps.run("ss -tniHO state established '( sport = :7200 )'").stdout.splitlines()
    carried = [line.split()[3] for line in told if int((re.search(r"bytes_sent:(\d+)", line) or [0, 0])[1]) > 200_000]
    return [re.sub(r"\[::ffff:(.*)\]:(\d+)", r"\1 . \2", peer) for peer in carried]


def test_a_download_goes_on_while_nobody_else_is_heard(topo, pair):
    """One full line, or a box on the way that forgot a connection: the VPS is there as long as anything arrives from it."""
    for line in topo.line:
        line.set(down_rate="8M", up_rate="8M")
    since = len(pair.local.logged())
    download = topo.peer_popen("down", size=100_000_000)
    wait_for(lambda: len(busy(topo)) > 1, "the download uses both lines")
    topo.vps.nft(f"table inet dead {{ chain i {{ type filter hook input priority 0; meta l4proto tcp th dport 7200 jump j; }}; "
                 f"chain j {{ ip saddr . tcp sport {{ {', '.join(busy(topo))} }} accept; drop; }}; }}")
    try:
        time.sleep(6)  # who hears nobody gives up after 4.5 s
        assert pair.local.logged()[since:].count("no session") == 0 and pair.local.status()["rules"] != "out"
        download.kill()
        wait_for(lambda: pair.local.status()["rules"] == "out", "nothing arrives any more")
        assert page(topo) == "direct"
    finally:
        download.kill()
        topo.vps.nft("delete table inet dead")
        for line in topo.line:
            line.set(down_rate="50M", up_rate="50M")
    relayed_again(topo, pair)


def test_remote_stopped(topo, pair):
    """Its host answers with resets, and the process stays away."""
    assert page(topo) == "relayed"
    pair.remote.stop()
    wait_for(lambda: page(topo) == "direct", "direct")
    pair.remote.start()
    relayed_again(topo, pair)


def test_all_lines_gone_and_back(topo, pair):
    """Nothing can be done for new connections, but when the lines are back, so are they."""
    for line in topo.line:
        line.unplug()
    wait_for(lambda: pair.local.status()["rules"] == "out", "interception taken out")
    for line in topo.line:
        line.plug()
    wait_for(lambda: page(topo, 2) == "direct", "direct")
    relayed_again(topo, pair)


def test_drained_rules_take_nothing_new(topo, pair):
    with listen(topo.server, 9001) as listener:
        near, far = through(topo.lan, SERVER4, listener)
        vps_gone(topo)
        wait_for(lambda: page(topo) == "direct", "direct")
        assert "inet plait" in topo.gw.run("nft list tables").stdout
        near.close()
        far.close()
        near2, far2 = through(topo.lan, SERVER4, listener)
        vps_back(topo)
        relayed_again(topo, pair)
        near2.sendall(b"direct still")
        assert read_exactly(far2, 12) == b"direct still"
        near2.close()
        far2.close()


def test_reject_never_goes_out_directly(topo, alone):
    """on_vps_down = reject: from the start, and when the VPS goes, whoever asks is reset at once."""
    with Pair(topo, wait=False, local_set={"local.on_vps_down": "reject"}) as pair:
        pair.remote.stop()
        wait_for(lambda: pair.local.status() and pair.local.status()["rules"] != "out", "interception")
        for _ in range(3):
            assert page(topo) == "ConnectionResetError"
        pair.remote.start()
        pair.wait_connected()
        assert page(topo) == "relayed"
        vps_gone(topo)
        pages = [page(topo)]
        wait_for(lambda: pages.append(page(topo)) or not pair.local.status()["connected"], "it is known")
        pages += [page(topo) for _ in range(10)]
        vps_back(topo)
        assert set(pages) == {"ConnectionResetError"}, pages
        wait_for(lambda: page(topo) == "relayed", "relayed")


def test_crash_loop_leaves_the_house_online(topo, pair):
    """Killed again and again, at any moment of its start: the guard of each brings the house online before another one begins."""
    for i in range(8):
        pair.local.process.kill()
        pair.local.process.wait()
        wait_for(lambda: page(topo, 1) in ("direct", "relayed"), "online")
        pair.local.start()
        time.sleep(0.05 * i)
    pair.wait_connected()
    wait_for(lambda: page(topo) == "relayed", "relayed")


def test_lan_device_that_comes_later(topo, alone):
    """Not there when plait-local starts; when it comes, its connections are taken."""
    with Pair(topo, local_set={"lan.device": "late0"}) as pair:
        wait_for(lambda: pair.local.status()["rules"] != "out", "interception")
        assert page(topo, 1) == "direct"
        topo.gw.ip("link set lan0 down", "link set lan0 name late0", "link set late0 up",
                   "addr replace 192.168.77.1/24 dev late0", "addr replace fd77::1/64 dev late0 nodad")
        try:
            wait_for(lambda: page(topo) == "relayed", "relayed")
        finally:
            topo.gw.ip("link set late0 down", "link set late0 name lan0", "link set lan0 up",
                       "addr replace 192.168.77.1/24 dev lan0", "addr replace fd77::1/64 dev lan0 nodad")


@each("way", ["addr flush dev eth0 scope global", "sysctl"])
def test_vps_without_ipv6_says_unreachable(topo, pair, way):
    """Not that it is out of resources, which would be looked for in the wrong place."""
    try:
        if way == "sysctl":
            topo.vps.sysctl(net__ipv6__conf__all__disable_ipv6=1)
        else:
            topo.vps.run("ip -6 " + way)
        assert page(topo, host=SERVER6) == "ConnectionResetError"
        assert f"[{SERVER6}]:{PAGES}: the VPS says: destination unreachable" in pair.local.logged()
    finally:
        topo.vps.sysctl(net__ipv6__conf__all__disable_ipv6=0)
        topo.vps.run("ip -6 addr replace 2a11:7::2/64 dev eth0 nodad; ip -6 route replace default via 2a11:7::1 dev eth0")
