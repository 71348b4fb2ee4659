"""Every runtime passes the suite; a new file in the package is tested unasked."""

from pathlib import Path

import pytest

from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing import models
from deploykit.testing.runtimes import RuntimeConformance

#: Format → tiny model of it, and the shape of its examples.
TINY = {
    "tflite": ("cnn_tflite", models.IMAGE_SHAPE),
    "onnx": ("cnn_onnx", (1, 8, 8)),
    "saved_model": ("cnn_saved_model", models.IMAGE_SHAPE),
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    made: dict[str, Path] = {}

    def get(format_name: str) -> Path:
        if format_name not in made:
            made[format_name] = models.build(TINY[format_name][0], tmp_path_factory.mktemp("tiny"))
        return made[format_name]

    return get


class TestRuntimes(RuntimeConformance):
    @pytest.fixture(params=RUNTIMES.names())
    def name(self, request):
        return request.param

    @pytest.fixture
    def model(self, name, tiny):
        format_name = sorted(RUNTIMES.get(name).accepts)[0]
        return tiny(format_name), format_name, TINY[format_name][1]
