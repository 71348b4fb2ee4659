"""Adding a technique is one file: the one that the how-to guide shows is picked up everywhere and does what it says."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import deploykit as dk
from deploykit.testing import models, work
from deploykit.testing.transforms import TechniqueConformance, VariantConformance
from deploykit.transforms._contract import TRANSFORMS

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "round_weights.py"
_ENTRY_POINTS = "[deploykit.transforms]\nround_weights = round_weights:ADAPTER\n"


@pytest.fixture(autouse=True)
def installed(install):
    install(GUIDE, _ENTRY_POINTS)


@pytest.fixture
def model(tmp_path):
    return models.build("cnn_onnx", tmp_path)


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    return dk.Dataset.from_arrays(rng.random((120, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 120))


class TestItsConformance(TechniqueConformance):
    @pytest.fixture
    def name(self):
        return "round_weights"


class TestItsVariant(VariantConformance):
    @pytest.fixture
    def name(self):
        return "round_weights"

    @pytest.fixture
    def variant(self):
        return "round_onnx"

    @pytest.fixture
    def source(self, tmp_path):
        target = tmp_path / "converted.onnx"
        work.converted("keras_to_onnx", work.made("wide_cnn", tmp_path), target)
        return target

    @pytest.fixture
    def data(self, tmp_path):
        rng = np.random.default_rng(0)
        images = rng.random((120, 8, 8, 1)).astype(np.float32)
        dk.Dataset.from_arrays(images, rng.integers(0, 3, 120), calibration_size=20).save(tmp_path / "data")
        return tmp_path / "data"


def test_it_is_built_and_rounds(model, examples):
    built = dk.build(dk.load(model), dk.Step("round_weights", {"bits": 3}), examples, target="onnxruntime")
    for tensor in onnx.load(built.path).graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            mantissas = values.view(np.uint32) & 0x007FFFFF
            assert not np.any(mantissas & ((1 << 21) - 1))  # the leading bit is implicit: two more are left
            assert np.any(mantissas)


def test_it_is_in_the_registry():
    assert "round_weights" in TRANSFORMS.names()
