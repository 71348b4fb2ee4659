"""Every engine passes the suite; a new file in the package is tested unasked."""

import pytest

from deploykit.engines._contract import ENGINES, find
from deploykit.testing.cluster import Cluster
from deploykit.testing.engines import EngineConformance

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), 2) as running:
        yield running


class TestEngines(EngineConformance):
    @pytest.fixture(params=ENGINES.names())
    def name(self, request):
        return request.param

    @pytest.fixture
    def address(self, name, request):
        """Engines with workers get some of their own; others start without an address."""
        if not ENGINES.get(name).has_workers:
            return ""
        return find(request.getfixturevalue("cluster").engine)[1]
