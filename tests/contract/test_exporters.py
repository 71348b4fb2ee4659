"""Every export layout passes the suite; a new file in the package is tested unasked."""

import pytest

from deploykit.exporters._contract import EXPORTERS
from deploykit.measuring.exportable import Exportable
from deploykit.testing.exporters import ExporterConformance, exportable

#: Format → tiny model of it, the cheapest first.
TINY = {"onnx": "cnn_onnx", "tflite": "cnn_tflite", "saved_model": "cnn_saved_model"}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    made: dict[str, Exportable] = {}

    def get(format_name: str) -> Exportable:
        if format_name not in made:
            made[format_name] = exportable(TINY[format_name], tmp_path_factory.mktemp("tiny"))
        return made[format_name]

    return get


class TestExporters(ExporterConformance):
    @pytest.fixture(params=EXPORTERS.names())
    def name(self, request):
        return request.param

    @pytest.fixture
    def candidate(self, name, tiny):
        accepts = EXPORTERS.get(name).accepts
        return tiny(next(f for f in TINY if accepts is None or f in accepts))
