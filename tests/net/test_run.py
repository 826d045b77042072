# SPDX-License-Identifier: BSD-2-Clause
"""The runner of these tests: a busy machine does not make it red, a fault does, and nothing makes it silently green."""
import os
import subprocess
import sys

import pytest

from topology import ROOT

RUN = ROOT / "tests/net/run"
FAILS_ONCE = """
def test_{name}():
    import pathlib
    been = pathlib.Path(r"{tmp}/{name}.been")
    first = not been.exists()
    been.touch()
    assert not first, "the machine was busy"
"""
COUNTS_OTHERS = """
import pathlib, time
def test_{name}():
    inside = pathlib.Path(r"{tmp}/inside")
    inside.mkdir(exist_ok=True)
    me = inside / "{name}"
    for _ in range(10):
        me.touch()
        with open(r"{tmp}/seen", "a") as f:
            print(len(list(inside.iterdir())), file=f)
        time.sleep(0.1)
    me.unlink()
"""
PASSES, FAILS = "def test_passes():\n    pass\n", "def test_fails():\n    assert 1 == 2, 'a fault'\n"
HOUSE_FAILS = """
import pytest
@pytest.fixture(scope="module")
def house():
    raise RuntimeError("no house")
def test_in_it(house):
    pass
"""


@pytest.fixture
def run(tmp_path):
    def call(**modules):
        files = []
        for name, text in modules.items():
            files.append(tmp_path / f"test_{name}.py")
            files[-1].write_text(text.replace("{tmp}", str(tmp_path)))
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_XDIST", "PLAIT_OUTCOMES"))}
        done = subprocess.run([sys.executable, RUN, *files], capture_output=True, text=True, check=False, timeout=120,
                              env={**env, "NET_JOBS": "2", "PLAIT_TURNS": str(tmp_path / "turns"), "PLAIT_TURNS_MAX": "2"},
                              cwd=tmp_path)
        return done.returncode, done.stdout
    return call


def once(*names):
    return {name: FAILS_ONCE.replace("{name}", name) for name in names}


def test_what_fails_once_is_named_and_passes(run):
    code, out = run(good=PASSES, **once("shaky"))
    assert code == 0, out
    assert "test_shaky.py::test_shaky (first: AssertionError: the machine was busy" in out
    assert out.splitlines()[-2].startswith("unsteady: ")
    assert out.endswith("\n1 passed, 0 failed, 1 unsteady\n"), out


def test_four_unsteady_ones_are_red(run):
    code, out = run(good=PASSES, **once("a", "b", "c", "d"))
    assert code == 1 and "\n1 passed, 0 failed, 4 unsteady\n" in out, out


def test_what_fails_twice_is_red(run):
    code, out = run(good=PASSES, bad=FAILS, **once("shaky"))
    assert code == 1 and "failed twice: " in out and "a fault" in out, out
    assert out.endswith("\n1 passed, 1 failed, 1 unsteady\n"), out


def test_a_house_that_cannot_be_raised_is_red(run):
    code, out = run(good=PASSES, bad=HOUSE_FAILS)
    assert code == 1 and "failed twice: " in out and "no house" in out, out


def test_two_runs_at_once_take_turns(tmp_path):
    """No more tests at a time than one run alone would have: what each saw is how many there were beside it."""
    for name in "abcd":
        (tmp_path / f"test_{name}.py").write_text(COUNTS_OTHERS.replace("{tmp}", str(tmp_path)).replace("{name}", name))
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_XDIST", "PLAIT_OUTCOMES"))}
    env |= {"NET_JOBS": "2", "PLAIT_TURNS": str(tmp_path / "turns"), "PLAIT_TURNS_MAX": "2"}
    runs = [subprocess.Popen([sys.executable, RUN, *map(str, sorted(tmp_path.glob(f"test_[{names}].py")))], stdout=subprocess.PIPE,
                             text=True, env=env, cwd=tmp_path) for names in ("ab", "cd")]
    said = [r.communicate(timeout=120)[0] for r in runs]
    assert [r.returncode for r in runs] == [0, 0], said
    most = max(int(n) for n in (tmp_path / "seen").read_text().split())
    assert most == 2, most


# --- what the pages say, tests/docs ---

def test_a_page_that_names_what_is_not_there_is_red(tmp_path):
    page = tmp_path / "page.md"
    wrong = ["`common/relay/no_such.c`", "`nothing" "_of_this_name()`", "`no_such_option = 3`", "`make nosuch`", "[a](no/such.md)"]
    page.write_text("\n".join(["As said in `README.md` and `common/relay/relay.c`.", *wrong]) + "\n")
    done = subprocess.run([ROOT / "tests/docs", page], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and all(f"{page}:{i + 2}: " in done.stdout for i in range(len(wrong))), done
