"""A model's summary shows whether it is already quantized."""

import pytest

import deploykit as dk
from deploykit.loading._contract import FORMATS
from deploykit.testing import models


def found(path):
    model = dk.load(path)
    return FORMATS.get(model.format).quantized(model)


@pytest.mark.parametrize("kind", ["cnn_onnx", "cnn_tflite", "cnn_keras", "cnn_saved_model"])
def test_float_models_are_not(kind, tmp_path):
    assert found(models.build(kind, tmp_path)) == ""


def test_tflite_in_int8_is(tmp_path):
    assert "hold quantized numbers" in found(models.build("cnn_int8_tflite", tmp_path))


@pytest.mark.parametrize("dynamic", [False, True])
def test_onnx_that_onnx_runtime_has_quantized_is(dynamic, tmp_path):
    import numpy as np
    from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static

    class Feed(CalibrationDataReader):
        rows = iter([{"image": np.ones((1, 1, 8, 8), np.float32)}])

        def get_next(self):
            return next(self.rows, None)

    source, path = models.build("cnn_onnx", tmp_path), tmp_path / "q.onnx"
    quantize_dynamic(source, path) if dynamic else quantize_static(source, path, Feed())
    assert ("DynamicQuantizeLinear" if dynamic else "QuantizeLinear") in found(path)
