# SPDX-License-Identifier: BSD-2-Clause
"""Fear: a backup line that costs money carries traffic, a role that cannot be changed without a restart, a quota that is overrun."""
import json
import time


from each import each
from inside import background, listen, read_exactly, through
from leap import Leaping
from peer import read_pattern, send_pattern
from topology import Line, Topology, wait_for

TWO = [Line("20M", "20M", 5), Line("20M", "20M", 15)]
# Bytes of a line in a second that carries nothing, 4 % of what it can: probes, and what the kernel reinjects on a backup when a
# primary was slow to acknowledge.
FEW = 100_000


class House:
    """Two lines with a connected pair, and endless transfers through it."""

    def __init__(self, **local_set):
        self.topo = Topology(lines=TWO)
        self.set = {name.replace("__", "."): value for name, value in local_set.items()}

    def __enter__(self):
        self.topo.start()
        try:
            self.state = self.topo.new_dir("state")
            self.set.setdefault("local.state_dir", self.state / "plait")
            self.pair = Leaping(self.topo, local_set=self.set).start()
            wait_for(lambda: self.pair.local.status()["rules"] != "out", "interception")
            self.listener = listen(self.topo.server, 9000)
            self.flows = []
        except BaseException:
            self.topo.stop()
            raise
        return self

    def __exit__(self, kind, *rest):
        self.end_flows()
        self.listener.close()
        self.pair.__exit__(kind, *rest)
        self.topo.stop()

    def ask(self, *argv, check=False, **kw):
        return self.pair.local.ask(*argv, check=check, **kw)

    def link(self, name):
        answer = json.loads(self.ask("links", "--json", check=True).stdout)
        return next(l for l in answer["links"] if l["name"] == name)

    def flow(self, up=False, rate=0):
        """A transfer without end; rate: bytes a second, else as fast as it goes."""
        near, far = through(self.topo.lan, "11.9.0.2", self.listener)
        near.settimeout(30)
        far.settimeout(30)

        def pump(function, *args):
            try:
                function(*args)
            except OSError:  # the test is over
                pass
        source, sink = (near, far) if up else (far, near)
        self.flows += [near, far]
        background(pump, send_pattern, source, 1, 1 << 40, 0, rate)
        background(pump, read_pattern, sink, 1)

    def end_flows(self):
        for s in self.flows:
            s.close()
        self.flows = []

    def rate(self, line, seconds=1.0):
        """Bytes each way together in one second, of those that really went by."""
        begin, before = time.monotonic(), self.topo.line[line].bytes()
        time.sleep(seconds)
        after = self.topo.line[line].bytes()
        return sum(after[way] - before[way] for way in after) / (time.monotonic() - begin)

    def carries(self, line, within=4):
        wait_for(lambda: self.rate(line, 0.3) > 500_000, f"line {line + 1} carries")

    def quiet(self, line, within):
        wait_for(lambda: self.rate(line, 0.5) < FEW, f"line {line + 1} is quiet")
        assert self.rate(line) < FEW


@each("up", [False, True])
def test_a_backup_carries_only_while_no_primary_is_good(up):
    with House(**{"link wan2__role": "backup"}) as house:
        assert (house.link("wan2")["state"], house.link("wan2")["role"]) == ("backup", "backup")
        house.flow(up)
        house.carries(0)
        house.quiet(1, 1)
        house.topo.line[0].unplug()
        house.carries(1, 5)
        house.flow(up)  # this one begins on the backup
        assert house.link("wan2")["state"] == "up" and house.link("wan1")["state"] == "down"
        house.topo.line[0].plug()
        house.carries(0, 5)
        house.quiet(1, 5)
        house.carries(0)
        house.flow(up)  # and this one must not
        house.quiet(1, 2)


def test_a_role_changes_live_under_running_transfers():
    with House() as house:
        house.flow()
        house.flow(up=True)
        house.carries(0)
        house.carries(1)
        said = house.ask("link", "wan2", "backup", check=True).stdout
        assert said.startswith("wan2 was primary and is backup")
        house.quiet(1, 3)
        house.carries(0)
        assert house.ask("link", "wan2", "backup", check=True).stdout == "wan2 is backup already\n"
        house.ask("link", "wan2", "primary", check=True)
        house.carries(1)
        house.ask("link", "wan1", "off", check=True)
        house.quiet(0, 3)
        house.carries(1)
        assert (house.link("wan1")["state"], house.link("wan1")["why"]) == ("off", "its role is off")
        house.ask("link", "wan1", "primary", check=True)
        house.carries(0)
        house.carries(1)


@each("up", [False, True])
def test_a_line_that_began_as_backup_carries_what_runs_when_it_is_made_primary(up):
    with House(**{"link wan2__role": "backup"}) as house:
        house.flow(up)
        house.carries(0)
        house.quiet(1, 1)
        house.ask("link", "wan2", "primary", check=True)
        house.carries(1)
        house.carries(0)


@each("up", [False, True])
def test_what_is_said_while_no_line_is_used_arrives_when_one_is(up):
    """The kernel keeps what it cannot send, and some (Linux 6.18) look at it no more when a line comes back."""
    with House() as house:
        near, far = through(house.topo.lan, "11.9.0.2", house.listener)
        source, sink = (near, far) if up else (far, near)
        wait_for(lambda: house.pair.local.status()["relays"] == 1, "the gateway has heard ACCEPT")
        for line in ("wan1", "wan2"):
            house.ask("link", line, "off", check=True)
        wait_for(lambda: all(house.link(line)["state"] == "off" for line in ("wan1", "wan2")), "no line is used")
        source.sendall(b"can you hear me?")
        time.sleep(0.3)  # it has left its sender, and cannot leave the house
        house.ask("link", "wan2", "primary", check=True)
        assert read_exactly(sink, 16) == b"can you hear me?"
        near.close()
        far.close()


def test_wrong_names_and_an_absent_daemon_are_errors():
    with House() as house:
        for argv, said in ((("link", "wan9", "off"), "no link is called wan9"), (("link", "wan1", "spare"), "no role is called spare"),
                           (("link", "x" * 100, "off"), "no link is called"), (("link", "wan", "off"), "no link is called wan")):
            out = house.ask(*argv)
            assert out.returncode == 1 and said in out.stderr, out
        assert house.link("wan1")["role"] == "primary"
        house.pair.local.stop()
        for argv in (("link", "wan1", "off"), ("links", "--once"), ("links", "--json")):
            out = house.ask(*argv)
            assert out.returncode == 1 and "not running" in out.stderr, out


def test_a_metered_line_rests_until_there_is_much_to_carry():
    """After how many seconds it joins in and rests again is asserted in unit/local/test_metered.c."""
    with House(**{"link wan2__metered": "yes"}) as house:
        wait_for(lambda: house.link("wan2")["state"] == "idle", "it rests")
        wait_for(lambda: house.rate(1, 3) < 150, "idle, bytes a second")  # what a day costs, unit/tunnel/test_rest.c counts
        house.topo.line[0].unplug()
        wait_for(lambda: house.link("wan2")["state"] == "up", "it is used when nothing else is left")
        house.flow()
        house.carries(1)
        house.end_flows()
        house.topo.line[0].plug()
        wait_for(lambda: house.link("wan1")["state"] == "up" and house.link("wan2")["state"] in ("idle", "up"), "both lines")
        house.flow()
        house.carries(1)
        house.carries(0)
        assert house.link("wan2")["state"] == "up"


# --- money ---

def test_a_quota_ends_a_line_warns_before_and_outlives_a_restart():
    with House(**{"link wan2__quota": "20M", "link wan2__quota_day": "1"}) as house:
        house.flow()
        wait_for(lambda: house.link("wan2")["state"] == "off", "the quota ends the line")
        wan2 = house.link("wan2")
        assert wan2["why"].startswith("quota of 20M is used up, again on 1 "), wan2
        assert wan2["used"] >= 20_000_000
        house.quiet(1, 3)
        house.carries(0)
        log = house.pair.local.logged()
        assert log.count("80 % of its quota") == 1 and log.index("80 % of its quota") < log.index("is used up")
        assert log.count("is used up") == 1
        assert house.ask("link", "wan2", "primary").returncode == 0  # the owner's role does not undo it
        house.quiet(1, 1)
        for number in (15, 9):  # in order, and killed
            used = house.link("wan2")["used"]
            house.pair.local.stop(number)
            house.pair.local.start()
            house.pair.wait_connected()
            wan2 = house.link("wan2")
            assert wan2["state"] == "off" and used <= wan2["used"] < used + 500_000, (used, wan2)
