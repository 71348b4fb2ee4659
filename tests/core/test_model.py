import pytest

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.model import Layer, Model, TensorSpec, align, plain_name
from deploykit.core.serial import dump, parse

MODEL = Model(
    path="/models/net.onnx",
    format="onnx",
    inputs=(TensorSpec("image", (None, 28, 28, 1), "float32"),),
    outputs=(TensorSpec("scores", (None, 10), "float32"), TensorSpec("free", None, "int8", 0.5, -3)),
    layers=(Layer("conv", "Conv", (None, 26, 26, 8), 80),),
    parameter_count=80,
    size_bytes=1234,
    digest="ab" * 32,
    imports=("my_layers",),
    warnings=("NaN in conv",),
)


def test_a_model_is_plain_data():
    assert Model.from_json(parse(dump(MODEL))) == MODEL


def test_a_model_in_words():
    assert str(MODEL) == (
        "net.onnx: onnx, 80 parameters, 1 kB, 1 layer; in image: float32 (?, 28, 28, 1); "
        "out scores: float32 (?, 10); free: int8 (any shape)"
    )
    assert MODEL.name == "net"


def test_specs():
    assert MODEL.inputs[0].example_shape == (28, 28, 1)
    assert MODEL.inputs[0].batch_size is None
    assert TensorSpec("x", (4, 2), "float32").batch_size == 4
    assert MODEL.outputs[1].example_shape is None


@pytest.mark.parametrize(
    ("reference", "names", "expected"),
    [
        (["a", "b"], ["b", "a"], [1, 0]),
        (["image", "age"], ["serving_default_age:0", "serving_default_image:0"], [1, 0]),
        (["image", "age"], ["serving_default_age:0", "other:0"], [1, 0]),
        (["x"], ["whatever"], [0]),
        (["my input", "größe"], ["gr__e", "my_input"], [1, 0]),
        (["a", "b", "c"], ["c"], [-1, -1, 0]),
        (["model/a", "b"], ["b", "A"], [1, 0]),
        ([], [], []),
    ],
)
def test_names_are_matched_in_spite_of_decoration(reference, names, expected):
    assert align(reference, names) == expected


def test_tensors_that_could_be_exchanged_are_never_paired_by_order():
    names = ["StatefulPartitionedCall:0", "StatefulPartitionedCall:1"]
    with pytest.raises(UnsupportedModelError, match=r"not clear which of .*Call:0.*stands for which of 'a', 'b'"):
        align(["a", "b"], names)
    assert align(["a", "b"], names, (["wide", "narrow"], ["narrow", "wide"])) == [1, 0]
    with pytest.raises(UnsupportedModelError):
        align(["a", "b"], names, (["wide", "wide"], ["wide", "wide"]))


def test_plain_names():
    assert plain_name("serving_default_Image.x:0") == "image_x"
    assert plain_name("model_1/dense/BiasAdd:0") == "biasadd"
