"""Every converter passes the suite; a new file in the package is tested unasked."""

import pytest

from deploykit.converters._contract import CONVERTERS
from deploykit.testing import models
from deploykit.testing.converters import ConverterConformance

#: Networks that every converter takes, where there is a tiny model of them in its format.
NETWORKS = ("cnn", "dense", "two_inputs", "nested")
CASES = [
    (converter.name, kind) for converter in CONVERTERS.all()
    for kind in (f"{network}_{converter.accepts}" for network in NETWORKS) if kind in models.KINDS
]  # fmt: skip


def test_every_converter_has_a_case():
    assert {name for name, _ in CASES} == set(CONVERTERS.names())


class TestConverters(ConverterConformance):
    @pytest.fixture(params=CASES, ids="-".join)
    def case(self, request):
        return request.param

    @pytest.fixture
    def name(self, case):
        return case[0]

    @pytest.fixture
    def source(self, case, zoo):
        return zoo(case[1])
