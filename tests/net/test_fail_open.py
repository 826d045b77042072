"""Fear: the VPS is gone and the house is offline; or it blinks, and the house notices.

Who came is told by the address that the server sees: the VPS's (relayed) or the modem's (direct)."""
import re
import stat
import time

import pytest

from inside import listen, read_exactly, through
from pair import Pair
from surfer import PAGES, Surfer, page, vps_back, vps_gone
from topology import SERVER4, SERVER6, SLACK, Line, wait_for

LINES = [Line("50M", "50M", 10), Line("50M", "50M", 20)]
pytestmark = pytest.mark.usefixtures("mirror")


@pytest.fixture(name="healed", autouse=True)
def _healed(topo):
    yield
    topo.inet.run("nft delete table inet dead", check=False)


def ready(pair):
    wait_for(lambda: pair.local.status()["rules"] != "out" and pair.local.status()["pool"]["warm"] >= 4, "interception")


@pytest.fixture(name="pair")
def _pair(topo, healed):
    with Pair(topo) as p:
        ready(p)
        yield p


def test_vps_gone_and_back_under_way(topo, pair):
    """The figures: the first direct page within 6 s, nobody refused for longer than that, relayed again within 12 s. What was
    relayed before goes on behind it, and what went out directly is not broken by the return."""
    with listen(topo.server, 9000) as listener:
        old = through(topo.lan, SERVER4, listener)
        surfer = Surfer(topo)
        time.sleep(2)
        gone = surfer.now()
        vps_gone(topo)
        wait_for(lambda: surfer.first("direct", gone), "a direct page")
        amid = [through(topo.lan, host, listener) for host in (SERVER4, SERVER6)]
        assert pair.local.status()["rules"] == "out"
        time.sleep(3)
        back = surfer.now()
        vps_back(topo)
        wait_for(lambda: surfer.first("relayed", back), "a relayed page")
        time.sleep(1)
        pages = surfer.stop()
        for near, far in [old, *amid]:
            near.sendall(b"still there?")
            assert read_exactly(far, 12) == b"still there?"
            far.sendall(b"yes")
            assert read_exactly(near, 3) == b"yes"
            near.close()
            far.close()
    bad = [p for p in pages if p[2] not in ("relayed", "direct")]
    out, again = surfer.first("direct", 0) - gone, surfer.first("relayed", back) - back
    print(f"out after {out:.2f} s, in after {again:.2f} s, {len(bad)} of {len(pages)} pages failed: {bad[:1]} ... {bad[-1:]}")
    assert 3 < out < 6 * SLACK and 9.5 < again < 12 * SLACK
    assert {p[2] for p in bad} <= {"ConnectionResetError"}
    assert all(gone - 1 < end < gone + 6 * SLACK for _, end, _ in bad), bad


def busy(topo):
    """What the VPS's bytes go to: "address . port" of each subflow that carried some."""
    told = topo.vps.run("ss -tniHO state established '( sport = :7200 )'").stdout.splitlines()
    carried = [line.split()[3] for line in told if int((re.search(r"bytes_sent:(\d+)", line) or [0, 0])[1]) > 200_000]
    return [re.sub(r"\[::ffff:(.*)\]:(\d+)", r"\1 . \2", peer) for peer in carried]


def test_a_download_goes_on_while_nobody_else_is_heard(topo, pair):
    """One full line, or a box on the way that forgot a connection: the VPS is there as long as anything arrives from it."""
    for line in topo.line:
        line.set(down_rate="8M", up_rate="8M")
    download = topo.peer_popen("down", size=100_000_000)
    wait_for(lambda: len(busy(topo)) > 1, "the download uses both lines")
    topo.vps.nft(f"table inet dead {{ chain i {{ type filter hook input priority 0; meta l4proto tcp th dport 7200 jump j; }}; "
                 f"chain j {{ ip saddr . tcp sport {{ {', '.join(busy(topo))} }} accept; drop; }}; }}")
    try:
        time.sleep(9)
        assert "no session" not in pair.local.logged() and pair.local.status()["rules"] != "out"
        download.kill()
        wait_for(lambda: pair.local.status()["rules"] == "out", "nothing arrives any more")
        assert page(topo) == "direct"
    finally:
        download.kill()
        topo.vps.nft("delete table inet dead")
        for line in topo.line:
            line.set(down_rate="50M", up_rate="50M")
    wait_for(lambda: page(topo) == "relayed", "a relayed page")


def test_vps_gone_while_nobody_asks(topo, pair):
    """The house sleeps, and is pinged rarely; who wakes first waits no longer than anybody."""
    time.sleep(8)
    vps_gone(topo)
    time.sleep(1)
    begin = time.monotonic()
    how = []
    while not how or how[-1] != "direct":
        how.append(page(topo))
        assert time.monotonic() - begin < 6 * SLACK, how
    assert set(how) <= {"direct", "ConnectionResetError"} and len(how) <= 2, how
    vps_back(topo)
    wait_for(lambda: page(topo) == "relayed", "relayed again")


def test_vps_blinks_and_nobody_goes_out_directly(topo, pair):
    """Two seconds of silence: pages are late and nothing else. What was asked for in the very instant may have been served, and its
    answer lost with the line: that is told by a reset."""
    surfer = Surfer(topo)
    instants = []
    for _ in range(3):
        time.sleep(2)
        instants.append(surfer.now())
        vps_gone(topo)
        time.sleep(2)
        vps_back(topo)
    time.sleep(2)
    pages = [p for p in surfer.stop() if not any(-0.5 < p[0] - t < 0.5 and p[2] == "ConnectionResetError" for t in instants)]
    assert {how for _, _, how in pages} == {"relayed"}, [p for p in pages if p[2] != "relayed"]
    assert max(end - begun for begun, end, _ in pages) < 5 * SLACK


def test_remote_stopped(topo, pair):
    """Its host answers with resets, and the process stays away."""
    assert page(topo) == "relayed"
    pair.remote.stop()
    begin = time.monotonic()
    wait_for(lambda: page(topo) == "direct", "direct")
    begin = time.monotonic()
    pair.remote.start()
    wait_for(lambda: page(topo) == "relayed", "relayed")
    assert time.monotonic() - begin > 9.5, "it has to prove itself first"


def test_all_lines_gone_and_back(topo, pair):
    """Nothing can be done for new connections, but when the lines are back, so are they."""
    for line in topo.line:
        line.unplug()
    wait_for(lambda: pair.local.status()["rules"] == "out", "interception taken out")
    for line in topo.line:
        line.plug()
    wait_for(lambda: page(topo, 2) == "direct", "direct")
    wait_for(lambda: page(topo) == "relayed", "relayed")


def test_drained_rules_go_with_the_last_relay(topo, pair):
    with listen(topo.server, 9001) as listener:
        near, far = through(topo.lan, SERVER4, listener)
        vps_gone(topo)
        wait_for(lambda: page(topo) == "direct", "direct")
        assert "inet plait" in topo.gw.run("nft list tables").stdout
        near.close()
        far.close()
        pair.local.process.send_signal(0)
        near2, far2 = through(topo.lan, SERVER4, listener)
        vps_back(topo)
        wait_for(lambda: page(topo) == "relayed", "relayed")
        near2.sendall(b"direct still")
        assert read_exactly(far2, 12) == b"direct still"
        near2.close()
        far2.close()


def test_reject_never_goes_out_directly(topo):
    """on_remote_down = reject: from the start, and when the VPS goes, whoever asks is reset at once."""
    with Pair(topo, wait=False, local_set={"local.on_remote_down": "reject"}) as pair:
        pair.remote.stop()
        wait_for(lambda: pair.local.status() and pair.local.status()["rules"] != "out", "interception")
        for _ in range(3):
            begin = time.monotonic()
            assert page(topo) == "ConnectionResetError"
            assert time.monotonic() - begin < 0.5 * SLACK
        pair.remote.start()
        pair.wait_connected()
        assert page(topo) == "relayed"
        vps_gone(topo)
        begin, pages = time.monotonic(), []
        while time.monotonic() - begin < 8:
            asked = time.monotonic()
            pages.append((page(topo), time.monotonic() - asked))
            time.sleep(0.1)
        vps_back(topo)
        assert {how for how, _ in pages} == {"ConnectionResetError"}, pages
        assert pages[-1][1] < 0.5 * SLACK and max(t for _, t in pages) < 6 * SLACK
        wait_for(lambda: page(topo) == "relayed", "relayed")


def test_80_wrong_server_key_is_named_and_the_house_is_online(topo):
    stranger = Pair(topo).local.make_key()
    with Pair(topo, wait=False, local_set={"remote.key": stranger}) as pair:
        wait_for(lambda: "its key (plait-remote pubkey) the one in [remote] key" in pair.local.logged(), "a hint")
        assert page(topo, 1) == "direct"
        assert pair.local.status()["rules"] == "out"


def broken_scripts(topo, failures):
    """The directory of scripts, all of which fail so often before they work."""
    there = topo.new_dir("rules")
    for name in ("nftables", "tproxy", "redirect", "common.sh", "words.sh"):
        text = (topo.rules_dir() / name).read_text()
        if not name.endswith(".sh"):
            count = there / f"{name}.count"
            text = text.replace("here=", f'echo "$1" >>{count}\n[ "$1" = down ] || [ "$(grep -c up {count})" -gt {failures} ] || exit 9\n'
                                "here=", 1)
        (there / name).write_text(text)
        (there / name).chmod(stat.S_IRWXU)
    return there


def test_rules_that_cannot_be_put_in_are_tried_again(topo):
    """At boot another program may hold the lock, or a module may not be loaded yet."""
    with Pair(topo, local_set={"lan.rules_dir": broken_scripts(topo, 2)}) as pair:
        assert page(topo, 1) == "direct"
        wait_for(lambda: page(topo) == "relayed", "relayed")
        assert pair.local.logged().count("the LAN is not intercepted") == 2


def test_68_crash_loop_leaves_the_house_online(topo):
    """Killed again and again, at any moment of its start: never offline for longer than a second."""
    with Pair(topo) as pair:
        ready(pair)
        offline = []
        for i in range(8):
            pair.local.process.kill()
            pair.local.process.wait()
            begin = time.monotonic()
            wait_for(lambda: page(topo, 0.3) in ("direct", "relayed"), "online")
            offline.append(time.monotonic() - begin)
            pair.local.start()
            time.sleep(0.05 * i)
        pair.wait_connected()
        assert max(offline) < 1, offline
        wait_for(lambda: page(topo) == "relayed", "relayed")


def test_81_lan_device_that_comes_later(topo):
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


@pytest.mark.parametrize("way", ["addr flush dev eth0 scope global", "sysctl"])
def test_vps_without_ipv6_says_unreachable(topo, pair, way):
    """Not that it is out of resources, which would be looked for in the wrong place."""
    try:
        if way == "sysctl":
            topo.vps.sysctl(net__ipv6__conf__all__disable_ipv6=1)
        else:
            topo.vps.run("ip -6 " + way)
        assert page(topo, host=SERVER6) == "ConnectionResetError"
        assert f"[{SERVER6}]:{PAGES}: the remote says: destination unreachable" in pair.local.logged()
    finally:
        topo.vps.sysctl(net__ipv6__conf__all__disable_ipv6=0)
        topo.vps.run("ip -6 addr replace 2a11:7::2/64 dev eth0 nodad; ip -6 route replace default via 2a11:7::1 dev eth0")
