"""Every export layout passes the suite; a new file in the package is tested unasked."""

import functools

import pytest

from deploykit.exporters._contract import EXPORTERS
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing import models
from deploykit.testing.exporters import ExporterConformance, exportable

RUNNABLE = frozenset(f for runtime in RUNTIMES.all() for f in runtime.accepts)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    return functools.cache(lambda kind: exportable(kind, tmp_path_factory.mktemp(kind)))


class TestExporters(ExporterConformance):
    @pytest.fixture(params=EXPORTERS.names())
    def name(self, request):
        return request.param

    @pytest.fixture
    def candidate(self, name, made):
        exporter = EXPORTERS.get(name)
        return made(exporter.sample or models.cnn(RUNNABLE & (exporter.accepts or RUNNABLE)))
