"""Every format passes the suite; a new file in the package is tested unasked."""

import pytest

from deploykit.loading._contract import FORMATS
from deploykit.testing import models
from deploykit.testing.formats import FormatConformance


class TestFormats(FormatConformance):
    @pytest.fixture(params=FORMATS.names())
    def name(self, request):
        return request.param

    @pytest.fixture
    def source(self, name, zoo):
        return zoo(models.cnn({name}))
