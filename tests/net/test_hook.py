# SPDX-License-Identifier: BSD-2-Clause
"""Fear: the owner is not told, told twice, or told so slowly that the house waits for his program."""
from leap import Leaping
from topology import Line, Topology, wait_for

TWO = [Line("20M", "20M", 5), Line("20M", "20M", 15)]
NOTE = """#!/bin/sh
echo "$1|$PLAIT_LINK|$PLAIT_DEVICE|$PLAIT_STATE|$PLAIT_WAS|$PLAIT_VPS|$PLAIT_WHY" >> {}
{}
"""


class Told:
    """A topology with a pair whose program writes down what it is told."""

    def __init__(self, then="", **local_set):
        self.topo, self.then, self.set = Topology(lines=TWO), then, local_set

    def __enter__(self):
        self.topo.start()
        tmp = self.topo.new_dir("hook")
        self.book, program = tmp / "book", tmp / "program"
        program.write_text(NOTE.format(self.book, self.then))
        program.chmod(0o755)
        self.pair = Leaping(self.topo, local_set={"local.hook": program, "local.state_dir": tmp, **self.set})
        try:
            self.pair.start()
        except BaseException:
            self.topo.stop()
            raise
        return self

    def __exit__(self, *how):
        self.pair.__exit__(*how)
        self.topo.stop()

    def events(self):
        return [line.split("|") for line in self.book.read_text().splitlines()] if self.book.exists() else []

    def names(self, link=None):
        return [e[0] for e in self.events() if link in (None, e[1])]

    def wait(self, event, link=""):
        wait_for(lambda: any(e[0] == event and e[1] == link for e in self.events()), f"{event} {link} in {self.events()}")


def test_each_change_is_told_once_with_its_reason():
    with Told(**{"link wan2.role": "backup"}) as told:
        told.wait("vps-up")
        told.wait("link-up", "wan1")
        told.wait("link-backup", "wan2")
        told.topo.line[0].unplug()
        told.wait("link-down", "wan1")
        told.wait("link-up", "wan2")
        told.topo.line[0].plug()
        wait_for(lambda: told.names("wan1").count("link-up") == 2, "wan1 is up again")
        wait_for(lambda: told.names("wan2")[-1] == "link-backup", "wan2 is a backup again")
        told.pair.local.ask("link", "wan2", "off")
        told.wait("link-off", "wan2")
        down = next(e for e in told.events() if e[0] == "link-down")
        assert down[1:5] == ["wan1", "wan1", "down", "up"] and down[6], down
        off = next(e for e in told.events() if e[0] == "link-off")
        assert off[1:5] == ["wan2", "wan2", "off", "backup"] and off[6] == "its role is off", off
        assert told.names("wan1") == ["link-up", "link-down", "link-up"], told.events()
        assert told.names("wan2") == ["link-backup", "link-up", "link-backup", "link-off"], told.events()
        assert told.names("") == ["vps-up"], told.events()


def test_a_program_that_hangs_delays_nobody():
    with Told(then="sleep 600") as told:
        wait_for(told.events, "the first event")
        for _ in range(3):
            told.topo.line[1].unplug()
            wait_for(lambda: not told.pair.local.status()["links"][1]["up"], "the line is known to be down")
            told.topo.line[1].plug()
            wait_for(lambda: told.pair.local.status()["links"][1]["up"], "and up")
        assert len(told.events()) == 1, "two at a time"
        assert "killed" not in told.pair.local.logged(), "the house waited for it"
        told.pair.leap(10, told.pair.local)  # to the millisecond: unit/host/test_hook_limit.c
        wait_for(lambda: len(told.events()) >= 2, "the next event after the first was killed")
        assert told.pair.local.logged().count("killed after 10 s") == 1


def test_no_process_is_left_when_the_daemon_ends():
    with Told(then="sleep 600") as told:
        wait_for(told.events, "the first event")
        told.pair.local.stop()
        wait_for(lambda: not any(b"600" in open(f"/proc/{p}/cmdline", "rb").read() for p in told.topo.gw.pids()), "the program is gone")
