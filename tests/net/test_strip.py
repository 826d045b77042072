# SPDX-License-Identifier: BSD-2-Clause
"""Fear: a middlebox on one line that knows no Multipath TCP takes the whole house down to one line, or off the net."""
import re
import time


from each import each
from inside import reset, through
from test_roles import House
from topology import SERVER4, wait_for

DROP = ("table inet box { chain f { type filter hook forward priority 0; tcp flags & (syn | ack) == syn tcp option 30 exists counter; "
        "tcp option 30 exists drop; }; }")


def strip(house, line, on):
    house.topo.line[line].set(strip="on" if on else "off")


def drop(house, line, on):
    house.topo.isp[line].nft(DROP if on else "delete table inet box")


def counted(house, line, table="box"):
    """SYNs that came by there."""
    return int(re.search(r"packets (\d+)", house.topo.isp[line].run(f"nft list table inet {table}").stdout)[1])


def settle(house):
    """Connections wait, and are not of before."""
    def settled():
        pool = house.pair.local.status()["pool"]
        return pool["warm"] >= 4 and not pool["dialling"]
    wait_for(settled, "connections wait")


def renumber(house, host):
    """Line 2 gets another address: it is asked at once."""
    old = house.link("wan2")["address4"]
    house.topo.gw.ip(f"addr del {old}/24 dev wan2", f"addr add 192.168.2.{host}/24 dev wan2", *house.topo.wan_routes(1))


def asked(house, times=1):
    """Have both lines been asked, and found sound?"""
    said = house.pair.local.logged()
    return all(said.count(f"link {name}: Multipath TCP passes") >= times for name in ("wan1", "wan2"))


def passes(house):
    return house.pair.local.logged().count("link wan2: Multipath TCP passes")


def state(house, name, want, seconds=12):
    wait_for(lambda: house.link(name)["state"] == want, f"{name} is {want}")
    return house.link(name)


class Boxed(House):
    """A house with a middlebox on line 2 (or both) from the first packet on."""

    def __init__(self, box, lines=(1,), **local_set):
        super().__init__(**local_set)
        self.box, self.lines, start = box, lines, self.topo.start

        def prepared():
            start()
            for line in lines:
                box(self, line, True)
        self.topo.start = prepared


@each("box", [strip, drop])
def test_a_line_without_mptcp_is_found_used_whole_and_taken_back(box):
    with Boxed(box) as house:
        said = state(house, "wan2", "plain", 20)["why"]
        assert said.startswith("plain TCP: "), said
        assert house.link("wan1")["state"] == "up"
        settle(house)
        for _ in range(8):
            house.flow()
            house.flow(up=True)
        house.carries(0, 10)
        house.carries(1, 10)  # whole connections
        assert "MP_JOIN" not in house.topo.gw.run("ss -Htin src 192.168.2.2").stdout
        house.end_flows()
        box(house, 1, False)
        renumber(house, 77)
        state(house, "wan2", "up")
        house.flow()
        house.carries(0)
        house.carries(1)
        assert house.pair.local.logged().count("by mptcp") <= 3  # found once, healed once, no flapping


def test_a_house_where_no_line_has_mptcp_is_online_on_both():
    with Boxed(drop, lines=(0, 1)) as house:  # the session itself waits for this
        state(house, "wan1", "plain", 25)
        state(house, "wan2", "plain", 25)
        settle(house)
        ends = [through(house.topo.lan, SERVER4, house.listener) for _ in range(24)]
        on_line = [house.topo.gw.run(f"ss -Htn state established src 192.168.{i}.2 dport = 7200").stdout.count("\n") for i in (1, 2)]
        assert abs(on_line[0] - 5 - on_line[1]) <= 2, on_line  # in turn, but for five of when line 1 was the only one
        for near, far in ends:
            reset(near)
            reset(far)
        for _ in range(8):
            house.flow()
        house.carries(0, 10)
        house.carries(1, 10)


def test_plain_connections_of_an_address_that_is_gone_are_reset():
    """Nothing can carry them again; their clients shall not find out after two minutes of silence."""
    with Boxed(strip, lines=(0, 1)) as house:
        state(house, "wan1", "plain", 20)
        state(house, "wan2", "plain", 20)
        settle(house)
        ends = [through(house.topo.lan, SERVER4, house.listener) for _ in range(24)]
        on_line_2 = house.topo.gw.run("ss -Htn state established src 192.168.2.2 dport = 7200").stdout.count("\n")
        renumber(house, 77)
        wait_for(lambda: house.pair.local.status()["counters"]["streams_cut"] > 0, "relays are reset")
        wait_for(lambda: house.pair.local.status()["relays"] == 24 - house.pair.local.status()["counters"]["streams_cut"], "so many less")
        steady = house.pair.local.status()["counters"]["streams_cut"]
        time.sleep(0.5)
        cut = house.pair.local.status()["counters"]["streams_cut"]
        assert 0 < cut <= on_line_2 and cut < 24 and cut == steady
        for near, far in ends:
            reset(near)
            reset(far)


STRIP_AN_EIGHTH = ("table inet box { chain f { type filter hook forward priority 0; tcp dport 7200 tcp flags & (syn | ack) == syn "
                   "tcp option mptcp exists numgen random mod 8 0 reset tcp option mptcp; }; }")


def test_a_connection_that_fell_back_is_not_used_while_others_are_not():
    """What is plain TCP dies with its line. Lost SYNs make it, here a box that takes the option out of some of them."""
    with House() as house:
        wait_for(lambda: asked(house), "both lines asked")  # not while they are boxed: one of eight answers would be "plain"
        for isp in house.topo.isp:
            isp.nft(STRIP_AN_EIGHTH)
        ends = [through(house.topo.lan, SERVER4, house.listener) for _ in range(40)]
        wait_for(lambda: house.pair.local.status()["relays"] == 40, "relays")
        assert house.pair.local.status()["counters"]["fallbacks"] <= 1  # five otherwise; one in 4096 after four tries
        for near, far in ends:
            reset(near)
            reset(far)


def test_dropped_syns_do_not_switch_mptcp_off():
    """The kernel must not conclude from dead SYNs that MPTCP is to be left off for an hour."""
    with House() as house:
        assert house.topo.gw.run("cat /proc/sys/net/mptcp/blackhole_timeout").stdout == "0\n"
        for line in (0, 1):
            drop(house, line, True)
        house.topo.lan.run("timeout 4 python3 -c 'import socket; socket.create_connection((\"11.9.0.2\", 9001), 3).sendall(b\"x\")'", check=False)
        for name in ("wan1", "wan2"):  # the session is gone: all that is dialled is dialled with options that are dropped
            wait_for(lambda i=int(name[3]) - 1: counted(house, i) >= 8, "SYNs were lost and sent again")
        for line in (0, 1):
            drop(house, line, False)
        for name, host in (("wan1", 88), ("wan2", 77)):
            i = int(name[3]) - 1
            house.topo.gw.ip(f"addr del 192.168.{i + 1}.2/24 dev {name}", f"addr add 192.168.{i + 1}.{host}/24 dev {name}",
                             *house.topo.wan_routes(i))
        state(house, "wan1", "up", 20)
        state(house, "wan2", "up", 20)
        house.pair.wait_connected()
        house.pair.leap(10, house.pair.local)
        wait_for(lambda: house.pair.local.status()["rules"] != "out", "interception")
        settle(house)
        house.flow()
        house.carries(0, 8)
        house.carries(1, 8)
