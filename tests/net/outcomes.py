# SPDX-License-Identifier: BSD-2-Clause
"""A plugin of pytest's, for tests/net/run: a line of JSON in the file PLAIT_OUTCOMES for each step of each test."""
import json
import os


def _tell(test, when, outcome, longrepr):
    crash = getattr(longrepr, "reprcrash", None)
    text = (crash.message if crash else str(longrepr or "")).strip()
    why = text.splitlines()[0 if crash else -1][:200] if text else ""
    with open(os.environ["PLAIT_OUTCOMES"], "a", encoding="utf-8") as f:
        f.write(json.dumps({"test": test, "when": when, "outcome": outcome, "why": why}) + "\n")


def _is_worker():
    """Whoever runs several modules at a time hears of all their tests."""
    return "PYTEST_XDIST_WORKER" in os.environ


def pytest_runtest_logreport(report):
    if not _is_worker():
        _tell(report.nodeid, report.when, report.outcome, report.longrepr)


def pytest_collectreport(report):
    """A file that does not load."""
    if report.failed and not _is_worker():
        _tell(report.nodeid, "collect", "failed", report.longrepr)
