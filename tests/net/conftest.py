# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the network tests: a topology a module, a pair of daemons when asked for."""
import os

import pytest

import inside
import pair as pair_module
import plait_client
import surfer
import topology


def pytest_collection_modifyitems(items):
    if os.geteuid():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="network namespaces need root: sudo make check-net"))


@pytest.fixture(scope="module")
def topo(request):
    """Two lines of 20 Mbit/s, 10 and 30 ms away; a module may set LINES and TOPOLOGY = {...} to differ."""
    options = dict(getattr(request.module, "TOPOLOGY", {}))
    if hasattr(request.module, "LINES"):
        options["lines"] = request.module.LINES
    with topology.Topology(**options) as t:
        t.serve()
        yield t


@pytest.fixture(scope="module")
def pair(topo, request):
    """plait-remote on the VPS and plait-local on the gateway, connected; PAIR = {...} in the module."""
    with pair_module.Pair(topo, **getattr(request.module, "PAIR", {})) as p:
        yield p


@pytest.fixture(scope="module")
def target(topo):
    """A destination on the server that remembers who dialled it and what was said."""
    with plait_client.Target(topo.server) as t:
        yield t


@pytest.fixture(scope="module")
def remote(topo):
    """plait-remote alone, with two users whose keys the test holds."""
    with plait_client.two_users(topo) as r:
        yield r


@pytest.fixture
def session(topo, remote):
    """What user a agreed with the remote."""
    control = remote.call(topo.server)
    yield control.session
    control.close()


@pytest.fixture
def listener(topo):
    """On the server's port 9000, for a test that holds both ends of a connection."""
    with inside.listen(topo.server, 9000) as s:
        yield s


@pytest.fixture(scope="module")
def mirror(topo):
    """The server that tells each visitor where he came from."""
    return surfer.Mirror(topo.server, surfer.PAGES)
