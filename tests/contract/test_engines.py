"""Every engine passes the suite; a new file in the package is tested unasked."""

import contextlib
import threading

import pytest

from deploykit.engines._android import adb, connected
from deploykit.engines._contract import ENGINES, find
from deploykit.testing.cluster import Cluster
from deploykit.testing.engines import EngineConformance
from deploykit.testing.sshd import SshServer

pytestmark = pytest.mark.alone


#: Marks of engines that need a program which is not everywhere.
_MARKS = {"ssh": [pytest.mark.sshd, pytest.mark.long], "adb": [pytest.mark.adb]}
#: Engines that are kept at work for the whole file, by address.
_OPEN = {}
_NAMES = [pytest.param(name, marks=_MARKS.get(name, ())) for name in ENGINES.names()]


@pytest.fixture(scope="module")
def android():
    """An Android device; without one, the server that adb starts to look for it is ended."""
    if ready := [serial for serial, state in connected().items() if state == "device"]:
        return ready[0]
    adb("kill-server")
    pytest.skip("no Android device is connected")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    """The address of a server, and a connection to it in `_OPEN`: a login and a worker's imports take seconds."""
    with SshServer(tmp_path_factory.mktemp("sshd")) as server:
        address = find(server.engine)[1]
        with ENGINES.get("ssh").start(address, threading.Event()) as _OPEN[address]:
            yield address
        _OPEN.clear()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), 2) as running:
        yield running


class TestEngines(EngineConformance):
    @staticmethod
    @contextlib.contextmanager
    def running(name, address, cancel=None):
        """A test that does not cancel the work shares a connection, where there is one."""
        if cancel is None and address in _OPEN:
            yield _OPEN[address]
            return
        with EngineConformance.running(name, address, cancel) as found:
            yield found

    @pytest.fixture(params=_NAMES)
    def name(self, request):
        return request.param

    @pytest.fixture
    def address(self, name, request):
        """Engines with workers get some of their own, SSH a server, adb the device that is there; others need none."""
        if name == "adb":
            return request.getfixturevalue("android")
        if name == "ssh":
            return request.getfixturevalue("sshd")
        if not ENGINES.get(name).has_workers:
            return ""
        return find(request.getfixturevalue("cluster").engine)[1]
