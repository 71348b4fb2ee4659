"""Every converter passes the suite; a new file in the package is tested unasked."""

import pytest

from deploykit.converters._contract import CONVERTERS
from deploykit.testing import models
from deploykit.testing.converters import ConverterConformance

#: Format → tiny models of it.
TINY = {
    "keras": ("cnn_keras", "dense_keras", "two_inputs_keras", "nested_keras"),
    "h5": ("cnn_h5",),
    "saved_model": ("cnn_saved_model",),
    "onnx": ("cnn_onnx",),
    "tflite": ("cnn_tflite",),
}
CASES = [(name, kind) for name in CONVERTERS.names() for kind in TINY[CONVERTERS.get(name).accepts]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = models.build(kind, tmp_path_factory.mktemp("tiny"))
        return made[kind]

    return get


class TestConverters(ConverterConformance):
    @pytest.fixture(params=CASES, ids="-".join)
    def case(self, request):
        return request.param

    @pytest.fixture
    def name(self, case):
        return case[0]

    @pytest.fixture
    def source(self, case, tiny):
        return tiny(case[1])
