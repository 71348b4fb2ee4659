"""Every engine passes the suite; a new file in the package is tested unasked."""

import pytest

from deploykit.engines._contract import ENGINES, find
from deploykit.testing.cluster import Cluster
from deploykit.testing.engines import EngineConformance
from deploykit.testing.sshd import SshServer

pytestmark = pytest.mark.alone


#: Engines that need a program which is not everywhere.
_NAMES = [pytest.param(n, marks=[pytest.mark.sshd, pytest.mark.long]) if n == "ssh" else n for n in ENGINES.names()]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    with SshServer(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), 2) as running:
        yield running


class TestEngines(EngineConformance):
    @pytest.fixture(params=_NAMES)
    def name(self, request):
        return request.param

    @pytest.fixture
    def address(self, name, request):
        """Engines with workers get some of their own, and SSH a server; others start without an address."""
        if name == "ssh":
            return find(request.getfixturevalue("sshd").engine)[1]
        if not ENGINES.get(name).has_workers:
            return ""
        return find(request.getfixturevalue("cluster").engine)[1]
