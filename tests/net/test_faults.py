# SPDX-License-Identifier: BSD-2-Clause
"""Fear: what happens around plait rather than to it, and is not in the tests of its parts."""
import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

from each import each
from inside import background, end_of, read_exactly, through
from pair import Pair
from peer import read_pattern, send_pattern
from surfer import Surfer, page
from topology import BUILD, ROOT, SERVER4, Line, wait_for

LINES = [Line("50M", "50M", 5), Line("50M", "50M", 20)]
RULES = {"nftables": {"lan.rules": "nftables"}, "tproxy": {"lan.rules": "iptables"}, "redirect": {"lan.intercept": "redirect"}}
pytestmark = pytest.mark.usefixtures("mirror")


def relayed(topo):
    wait_for(lambda: page(topo, 2) == "relayed", "a page by the VPS")


def link(pair, name):
    return next(l for l in pair.local.status()["links"] if l["name"] == name)


def talk(near, far):
    near.sendall(b"still")
    assert read_exactly(far, 5) == b"still"
    far.sendall(b"there")
    assert read_exactly(near, 5) == b"there"


def kill(daemon):
    daemon.process.kill()
    daemon.process.wait()


# --- a middlebox that drops SYNs with data ---

def test_no_syn_carries_data_so_none_is_dropped_for_it(topo):
    """Every connection is a cold one here. A SYN with options alone has at most 80 (IPv4) bytes."""
    for isp in topo.isp:
        isp.nft("table inet box { chain f { type filter hook forward priority 0; "
                "tcp flags & (syn | ack) == syn ip length > 80 counter drop; tcp option fastopen exists counter drop; "
                "tcp flags & (syn | ack) == syn counter; }; }")
    try:
        with Pair(topo, local_set={"pool.min": 0, "pool.max": 0}) as pair:
            relayed(topo)
            assert [page(topo) for _ in range(20)] == ["relayed"] * 20
            assert pair.local.status()["pool"]["warm"] == 0
        counts = [int(n) for isp in topo.isp for n in re.findall(r"packets (\d+)", isp.run("nft list table inet box").stdout)]
        assert counts[0] == counts[1] == counts[3] == counts[4] == 0 and counts[2] + counts[5] >= 20, counts
    finally:
        for isp in topo.isp:
            isp.nft("delete table inet box")


# --- a thousand relays ---

def test_a_thousand_relays_are_reset_and_the_successor_serves(topo, listener):
    with Pair(topo, remote_set={"user home.opens": 5000}) as pair:
        relayed(topo)
        ends = [through(topo.lan, SERVER4, listener) for _ in range(1000)]
        kill(pair.local)
        assert {end_of(near) for near, _ in ends} == {"reset"}
        pair.local.start()
        how = []
        wait_for(lambda: how.append(page(topo)) or how[-1] == "relayed", "the successor serves")
        assert set(how) <= {"direct", "relayed", "ConnectionResetError"}, how
        assert {end_of(far) for _, far in ends} == {"reset"}, "a server took it for an end"
        wait_for(lambda: pair.remote.status()["relays"] == 0, "the remote has let go of all")


def test_nobody_is_refused_for_long_by_a_successor(topo):
    with Pair(topo) as pair:
        relayed(topo)
        surfer = Surfer(topo)
        for _ in range(3):
            kill(pair.local)
            pair.local.start()
            pair.wait_connected()
        relayed(topo)
        pages = surfer.stop()
    assert {how for *_, how in pages} <= {"relayed", "direct", "ConnectionResetError", "empty"}, pages
    assert sum(how not in ("relayed", "direct") for *_, how in pages) <= 6


# --- nobody is left to clean up ---

def guards(topo):
    found = []
    for p in topo.gw.pids():
        with contextlib.suppress(OSError):  # it may be gone by now
            found += [p] if Path(f"/proc/{p}/comm").read_text(encoding="ascii").strip() == "plait-guard" else []
    return found


def exec_stop_post(topo):
    """What systemd runs when the daemon is gone, by whatever death."""
    unit = (ROOT / "conf/plait-local.service").read_text()
    for name in re.findall(r"^ExecStopPost=-@LIBDIR@/(\S+) down$", unit, re.M):
        topo.gw.run([topo.rules_dir() / name, "down"], check=False)


@each("way", list(RULES))
def test_guard_and_daemon_both_killed(topo, listener, way):
    """No table needs an owner: with nftables the packets pass at once, with iptables once systemd ran ExecStopPost; nothing is left."""
    with Pair(topo, local_set=RULES[way]) as pair:
        relayed(topo)
        assert pair.local.status()["rules"] == way
        near, far = through(topo.lan, SERVER4, listener)
        guard, = guards(topo)
        os.kill(guard, signal.SIGKILL)
        talk(near, far)
        relayed(topo)
        kill(pair.local)
        assert end_of(near, 3) == "reset"
        if way == "nftables":
            assert page(topo, 1) == "direct"
        exec_stop_post(topo)
        assert page(topo, 1) == "direct"
        ruleset = topo.gw.run("nft list ruleset 2>/dev/null; iptables-save; ip6tables-save").stdout
        assert "PLAIT" not in ruleset and "table inet plait {" not in ruleset
        pair.local.start()
        pair.wait_connected()
        relayed(topo)


@each("way", list(RULES))
def test_the_guards_successor_knows_what_is_to_be_undone(topo, way):
    with Pair(topo, local_set=RULES[way]) as pair:
        relayed(topo)
        guard, = guards(topo)
        os.kill(guard, signal.SIGKILL)
        wait_for(lambda: guards(topo) not in ([], [guard]), "another guard")
        kill(pair.local)
        wait_for(lambda: page(topo, 0.5) == "direct", "online directly")
        wait_for(lambda: not guards(topo), "it goes when it is done")
        ruleset = topo.gw.run("nft list ruleset 2>/dev/null; iptables-save; ip6tables-save").stdout
        assert "PLAIT" not in ruleset and "table inet plait" not in ruleset
        pair.local.start()
        pair.wait_connected()


def test_the_guard_alone_is_killed_and_the_end_is_in_order(topo):
    with Pair(topo):
        relayed(topo)
        for _ in range(2):
            guard, = guards(topo)
            os.kill(guard, signal.SIGKILL)
            relayed(topo)
            wait_for(lambda: guards(topo) not in ([], [guard]), "another guard")
    assert page(topo, 1) == "direct" and not guards(topo)
    assert "table inet plait {" not in topo.gw.run("nft list ruleset").stdout


# --- rather offline than outside the tunnel ---

def test_closed_from_boot_to_the_end(topo):
    """With the table of conf/plait-closed.nft loaded at boot nothing ever leaves the house but through the VPS."""
    topo.gw.nft((ROOT / "conf/plait-closed.nft").read_text())
    closed = ("ConnectionRefusedError", "ConnectionResetError", "OSError", "PermissionError", "TimeoutError")
    try:
        surfer = Surfer(topo)
        assert page(topo, 1) in closed
        with Pair(topo, wait=False, local_set={"local.on_vps_down": "reject"}) as pair:
            pair.wait_connected()
            relayed(topo)
            wait_for(lambda: pair.local.status()["tunnel"]["state"] == "up", "the tunnel")
            assert "1 received" in topo.lan.run(f"ping -c1 -W3 {SERVER4}").stdout
            kill(pair.local)
            assert page(topo, 1) in closed
            assert topo.lan.run(f"ping -c1 -W1 {SERVER4}", check=False).returncode
            pair.local.start()
            pair.wait_connected()
            relayed(topo)
            wait_for(lambda: surfer.first("relayed", 0), "a page of the surfer came through")
        assert page(topo, 1) in closed
        assert not [p for p in surfer.stop() if p[2] == "direct"]
    finally:
        topo.gw.run("nft delete table inet plait_closed")
    assert page(topo, 1) == "direct"


# --- a kernel that cannot do it this way ---

def poorer(topo, missing):
    """The scripts, of which these ask nft and iptables for what they do not know."""
    there = topo.new_dir("rules")
    for f in topo.rules_dir().iterdir():
        text = f.read_text()
        if f.name in missing:
            text = text.replace("tcp tproxy ip", "tcp nothing ip").replace("-j TPROXY", "-j NOTHING").replace("-j REDIRECT", "-j NOTHING")
            assert text != f.read_text()
        (there / f.name).write_text(text)
        (there / f.name).chmod(0o755)
    return there


@each("missing, left", [(["nftables"], "tproxy"), (["nftables", "tproxy"], "redirect"),
                                           (["nftables", "tproxy", "redirect"], None)])
def test_the_next_best_way_or_a_clear_word(topo, missing, left):
    with Pair(topo, local_set={"lan.rules_dir": poorer(topo, missing)}) as pair:
        if left:
            relayed(topo)
            assert pair.local.status()["rules"] == left
        else:
            wait_for(lambda: "the LAN is not intercepted (tried again in" in pair.local.logged(), "the word")
            assert page(topo, 1) == "direct"
    assert page(topo, 1) == "direct"
    assert "PLAIT_PRE" not in topo.gw.run("iptables-save; ip6tables-save").stdout


# --- both cables are changed over ---

def swap(topo):
    """What was wan1 is wan2 from now on, and the other way round."""
    gw = topo.gw
    gw.ip("link set wan1 down", "link set wan2 down", "link set wan1 name wanX", "link set wan2 name wan1", "link set wanX name wan2",
          "link set wan1 up", "link set wan2 up")


def renew(topo, physical, device):
    """Line `physical` has its addresses and routes on this device."""
    def put(command):
        return re.sub(r"dev wan\d", f"dev {device}", command)
    topo.gw.ip(*[f"addr replace {a} dev {device}" + (" nodad" if ":" in a else "") for a in topo.wan_addresses(physical)],
               *[put(r) for r in topo.wan_routes(physical)])


def test_both_lines_change_places_in_one_instant(topo, listener):
    with Pair(topo) as pair:
        relayed(topo)
        near, far = through(topo.lan, SERVER4, listener)
        for turn in (1, 0):
            swap(topo)
            for physical in (0, 1):
                renew(topo, physical, f"wan{(physical + turn) % 2 + 1}")
            own = [f"192.168.{(i + turn) % 2 + 1}.2" for i in (0, 1)]
            wait_for(lambda: [link(pair, d)["address4"] for d in ("wan1", "wan2")] == own, "the new addresses")
            wait_for(lambda: all(link(pair, d)["standing"] == "in" for d in ("wan1", "wan2")), "both lines in")
            relayed(topo)
            before = [l.bytes()["down"] for l in topo.line]
            pump = background(send_pattern, far, 3, 12_000_000)
            assert background(read_pattern, near, 3, 0, 12_000_000).join().exact
            pump.join()
            talk(near, far)
            carried = [l.bytes()["down"] - b for l, b in zip(topo.line, before)]
            assert min(carried) > 500_000, carried
            rules = topo.gw.run("ip rule").stdout
            assert rules.count("192.168.1.2 ") == rules.count("192.168.2.2 ") == 1, rules
            endpoints = topo.gw.run("ip mptcp endpoint").stdout
            for i, d in enumerate(("wan1", "wan2")):
                assert re.search(rf"^{own[i]} .* dev {d}", endpoints, re.M), endpoints


# --- one second up, one second down ---

def figures(pair):
    return {d: (len(os.listdir(f"/proc/{d.pid}/fd")), d.pss_kib(), len(d.logged().splitlines())) for d in (pair.local, pair.remote)}


def test_a_line_that_flaps_costs_nothing_that_lasts(topo, listener):
    """No descriptor, no memory, few words, few datagrams. PLAIT_FLAPS=150 is five minutes of it."""
    flaps = int(os.environ.get("PLAIT_FLAPS", "5"))
    with Pair(topo, local_set={"local.log": "info"}, remote_set={"remote.log": "info"}) as pair:
        relayed(topo)
        near, far = through(topo.lan, SERVER4, listener)
        wait_for(lambda: pair.local.status()["pool"]["warm"] >= 4, "all is there")
        before, begin, pages = figures(pair), time.monotonic(), []
        packets = topo.line[0].stats()["up"]["in_frames"]
        for _ in range(flaps):
            topo.line[0].set(hole="both")
            pages.append(page(topo))
            time.sleep(1)
            topo.line[0].set(hole=None)
            talk(near, far)
            time.sleep(1)
        took = time.monotonic() - begin
        rate = (topo.line[0].stats()["up"]["in_frames"] - packets) / took
        assert set(pages) == {"relayed"}
        wait_for(lambda: link(pair, "wan1")["standing"] == "in", "in at last")
        wait_for(lambda: all(files <= before[d][0] + 12 for d, (files, *_) in figures(pair).items()), "no descriptor is left")
        for d, (files, memory, lines) in figures(pair).items():
            print(f"{d.program.name}, {took:.0f} s: descriptors {before[d][0]} -> {files}, memory {before[d][1]} -> {memory} KiB, "
                  f"{(lines - before[d][2]) / took:.2f} lines of log/s, {rate:.1f} frames/s up on the line")
            assert files <= before[d][0] + 12 and ("san" in BUILD.name or memory <= before[d][1] * 1.15 + 500)
            assert lines - before[d][2] <= 3 * flaps + 20
        assert rate < 150
