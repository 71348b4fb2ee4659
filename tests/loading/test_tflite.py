import struct

import numpy as np
import pytest

from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.core.model import TensorSpec
from deploykit.loading._load import load
from deploykit.readers.flatbuffers import FlatbufferError, Table


def test_a_float_model(zoo):
    model = load(zoo("cnn_tflite"))
    assert model.inputs == (TensorSpec("image", (None, 8, 8, 1), "float32"),)  # not serving_default_image:0
    assert model.outputs == (TensorSpec("output_0", (None, 3), "float32", operator="SOFTMAX"),)
    assert [(layer.type, layer.shape, layer.parameters) for layer in model.layers] == [
        ("CONV_2D", (None, 8, 8, 8), 80),  # batch normalization is folded into it
        ("DEPTHWISE_CONV_2D", (None, 8, 8, 8), 80),
        ("ADD", (None, 8, 8, 8), 0),
        ("MEAN", (None, 8), 0),
        ("FULLY_CONNECTED", (None, 3), 27),
        ("SOFTMAX", (None, 3), 0),
    ]
    assert (model.format, model.parameter_count, model.warnings) == ("tflite", 187, ())


def test_quantization_is_read(zoo):
    model = load(zoo("cnn_int8_tflite"))
    (image,), (output,) = model.inputs, model.outputs
    assert (image.dtype, image.zero_point) == ("int8", -128)
    assert image.scale == pytest.approx(1 / 255, rel=0.02)  # calibrated on numbers from 0 to 1
    assert (output.dtype, output.scale, output.zero_point) == ("int8", 1 / 256, -128)
    assert model.parameter_count == 187


def test_weights_in_half_precision_belong_to_their_operator(made, tmp_path):
    path = tmp_path / "half.tflite"
    made("tflite", kind="float16", path=path)
    model = load(path)
    assert [(layer.type, layer.parameters) for layer in model.layers] == [("FULLY_CONNECTED", 15)]
    assert model.parameter_count == 15


def test_an_operator_that_the_interpreter_lacks(made, tmp_path, refused):
    path = tmp_path / "custom.tflite"
    made("tflite", kind="custom", path=path)
    refused(path, UnsupportedModelError, "an operator that LiteRT lacks", "Erfinv", "builtin operators only")


@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN"), (np.inf, "infinite values")])
def test_weights_that_are_no_numbers_are_named(made, tmp_path, value, words):
    path = tmp_path / "m.tflite"
    made("tflite", kind="plain", path=path, value=7.25)
    data = path.read_bytes()
    assert data.count(struct.pack("<f", 7.25)) == 1
    path.write_bytes(data.replace(struct.pack("<f", 7.25), struct.pack("<f", value)))
    (warning,) = load(path).warnings
    assert f"holds {words}: outputs will be wrong" in warning
    assert warning.startswith("the tensor '")


def test_a_tensor_larger_than_its_data(copy, refused):
    path = copy("cnn_tflite")
    data = path.read_bytes()
    shape = struct.pack("<iiii", 8, 3, 3, 1)  # of the convolution's weights
    assert data.count(shape) == 1
    path.write_bytes(data.replace(shape, struct.pack("<iiii", 1 << 20, 1 << 20, 3, 1)))
    refused(path, ModelFileError, "damaged: tensor", "needs 13,194,139,533,312 bytes", "the file holds 288")


def test_a_shifted_root(copy, refused):
    path = copy("cnn_tflite")
    data = path.read_bytes()
    path.write_bytes(struct.pack("<I", 1 << 30) + data[4:])
    refused(path, ModelFileError, "truncated or damaged: it refers to byte 1,073,741,828", f"{len(data):,}")


def test_every_cut_of_a_sound_file_is_noticed(zoo, tmp_path):
    """The walk over offsets alone finds most truncations; none passes it with weights missing."""
    from deploykit.loading.tflite import check_bounds

    whole = zoo("cnn_tflite").read_bytes()
    path = tmp_path / "m.tflite"
    for keep in range(8, len(whole) - 64, 37):
        path.write_bytes(whole[:keep])
        with pytest.raises(ModelFileError, match=rf"truncated or damaged: .* \({keep:,} bytes are there\)"):
            check_bounds(path)


def test_tables_never_leave_the_file():
    data = struct.pack("<I4sHHi", 12, b"TFL3", 4, 4, 4)
    assert Table.root(memoryview(data)).number(0, "I", 7) == 7
    assert list(Table.root(memoryview(data)).tables(3)) == []
    with pytest.raises(FlatbufferError, match="byte"):
        Table.root(memoryview(data[:10]))
    with pytest.raises(FlatbufferError, match="byte"):
        Table(memoryview(struct.pack("<iHH", -500, 4, 4)), 0)
