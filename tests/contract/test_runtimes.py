"""Every runtime passes the suite; a new file in the package is tested unasked."""

import pytest

from deploykit.loading._load import load
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing import models
from deploykit.testing.runtimes import RuntimeConformance


class TestRuntimes(RuntimeConformance):
    @pytest.fixture(params=RUNTIMES.names())
    def name(self, request):
        return request.param

    @pytest.fixture
    def model(self, name, zoo):
        path = zoo(models.cnn(RUNTIMES.get(name).accepts))
        model = load(path)
        return path, model.format, model.inputs[0].example_shape
