# SPDX-License-Identifier: BSD-2-Clause
"""A plugin of pytest's, for tests/net/run: tests take turns, those of other runs on this machine included.

As many run at a time as PLAIT_TURNS_MAX says, whoever started them: two runs at once take longer, instead of starving each other
until whatever has a time to keep fails. A place is a file in the folder PLAIT_TURNS that is locked while a test runs; the kernel frees it when
its holder dies.
"""
import fcntl
import os
import random
import time
from pathlib import Path

import pytest


def _take(places):
    """The locked file of a place that is free, in any order: nobody is always the last."""
    while True:
        for place in random.sample(places, len(places)):
            file = open(place, "w", encoding="utf-8")  # pylint: disable=consider-using-with
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return file
            except BlockingIOError:
                file.close()
        time.sleep(0.05)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_protocol():
    """Around all steps of a test, and outside of its time limit."""
    folder = Path(os.environ["PLAIT_TURNS"])
    folder.mkdir(parents=True, exist_ok=True)
    with _take([folder / f"{i}" for i in range(int(os.environ["PLAIT_TURNS_MAX"]))]):
        yield
