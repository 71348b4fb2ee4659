"""Every metric passes the suite; a new file in the package is tested unasked."""

import pytest

from deploykit.metrics._contract import METRICS
from deploykit.testing.metrics import MetricConformance


class TestMetrics(MetricConformance):
    @pytest.fixture(params=METRICS.names())
    def name(self, request):
        return request.param
