"""Data meet the signature of a model."""

import numpy as np
import pytest

from deploykit.core.errors import DatasetError
from deploykit.core.model import Model, TensorSpec
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.data.splitting import SPLITS

X, Y = np.zeros((60, 2), np.float32), np.arange(60) % 3


RAW = [b"\xff\xd8" + bytes([k, 0]) for k in range(60)]


def images(count=100, classes=5):
    """Images whose first pixel says which one it is."""
    x = np.zeros((count, 4, 4), np.uint8)
    x[:, 0, 0] = np.arange(count)
    return x, np.arange(count) % classes


def model(*inputs, outputs=((None, 5),)):
    return Model(
        path="/net.onnx",
        format="onnx",
        inputs=tuple(TensorSpec(*i) for i in inputs),
        outputs=tuple(TensorSpec(f"out{i}", s, "float32") for i, s in enumerate(outputs)),
        layers=(),
        parameter_count=0,
        size_bytes=0,
        digest="",
    )


def test_a_single_input_takes_the_models_name():
    x, y = images()
    data = Dataset.from_arrays(x, y, preprocess=Preprocess(scale=1 / 255, reshape=(4, 4, 1)))
    fit = data.check(model(("image", (None, 4, 4, 1), "float32")))
    assert fit.inputs == ("image",)
    assert fit.batch("evaluation", slice(0, 2))["image"].shape == (2, 4, 4, 1)
    assert fit.calibration()["image"].dtype == np.float32


def test_several_inputs_are_matched_by_name_and_put_in_the_models_order():
    data = Dataset.from_arrays(
        {"age": np.zeros((60, 1)), "image": np.zeros((60, 4))}, Y, preprocess={"age": Preprocess(scale=2)}
    )
    fit = data.check(model(("image", (None, 4), "float32"), ("serving_default_age:0", (None, 1), "float32")))
    assert fit.inputs == ("image", "serving_default_age:0")
    assert fit.preprocess == {"serving_default_age:0": Preprocess(scale=2)}
    assert fit.batch("evaluation", slice(0, 1))["image"].shape == (1, 4)


def test_other_names_are_matched_by_order_when_the_forms_differ():
    data = Dataset.from_arrays({"a": np.zeros((60, 1)), "b": np.zeros((60, 4))}, Y)
    assert data.check(model(("x", (None, 1), "float32"), ("y", (None, 4), "float32"))).inputs == ("x", "y")


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (
            [("image", (None, 28, 28, 1), "float32")],
            (None, 3),
            r"'image': the model takes examples of shape \(28, 28, 1\), the data give \(2,\) ",
        ),
        ([("image", (None, 3), "float32")], (None, 3), r"takes examples of shape \(3,\), the data give \(2,\)"),
        ([("image", (None, None, 2), "float32")], (None, 3), r"shape \('any', 2\)"),
        ([("image", (None, 2), "int64")], (None, 3), r"takes int64, the data are float32 .*"),
        ([("image", (None, 2), "uint8")], (None, 3), r"the model takes uint8, the data are float32"),
        ([("image", (None, 2), "string")], (None, 3), r"the model takes string, the data are float32"),
        ([("image", (None, 2), "float32")], (None, 2), r"the labels range from class 0 to 2, it has classes 0 to 1"),
        (
            [("image", (None, 2), "float32"), ("b", (None, 1), "float32")],
            (None, 3),
            r"Nothing feeds image, b: the model takes 2 inputs \(image: .*\), the data have 1: input",
        ),
    ],
)
def test_data_that_do_not_fit_are_found_before_any_work(inputs, outputs, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_arrays(X + 0.5, Y).check(model(*inputs, outputs=(outputs,)))


def test_class_names_must_be_as_many_as_outputs():
    with pytest.raises(DatasetError, match=r"3 class names are given .* has 5 classes"):
        Dataset.from_arrays(X, Y, classes=("a", "b", "c")).check(model(("image", (None, 2), "float32")))
    with pytest.raises(DatasetError, match=r"3 class names are given .* has 5 classes"):
        Dataset.from_arrays(X, classes=("a", "b", "c")).check(model(("image", (None, 2), "float32")))


def test_labels_of_every_split_are_checked():
    y = np.zeros(60, int)
    train_only = np.where(np.arange(60) == 0, 9, y)
    data = Dataset.from_arrays(X, train_only, x_test=X, y_test=y)
    with pytest.raises(DatasetError, match=r"the labels range from class 0 to 9, it has classes 0 to 4"):
        data.check(model(("image", (None, 2), "float32")))


def test_inputs_that_could_be_swapped_must_be_named():
    data = Dataset.from_arrays({"a": X, "b": X}, Y)
    twins = model(("left", (None, 2), "float32"), ("right", (None, 2), "float32"))
    with pytest.raises(
        DatasetError, match=r"not clear which array feeds which input: left.*left=a, right=b or left=b, right=a"
    ):
        data.check(twins)
    assert Dataset.from_arrays({"right": X, "left": X}, Y).check(twins).inputs == ("left", "right")


def test_quantized_and_free_inputs_take_real_numbers():
    data = Dataset.from_arrays(X, Y)
    assert data.check(model(("q", (1, 2), "int8", 0.5, 3))).inputs == ("q",)
    assert data.check(model(("free", None, "float32"))).inputs == ("free",)
    assert data.check(model(("ragged", (None, None), "float32"), outputs=((None, 3),))).inputs == ("ragged",)


def test_raw_bytes_stay_as_they_are_on_disk_too(tmp_path):
    raw = Preprocess(raw=True)
    data = Dataset.from_arrays({"image": RAW, "text": ["ä\0", "b"] * 30}, preprocess=raw)
    data.save(tmp_path / "data")
    again = Dataset.open(tmp_path / "data")
    for found in (data, again):
        parts = [found.splits[name].inputs for name in SPLITS]
        assert sorted(v for part in parts for v in part["image"].tolist()) == RAW
        assert {v for part in parts for v in part["text"].tolist()} == {"ä\0", "b"}
    assert again.digest == data.digest
    recomputed = Dataset(again.splits, again.preprocess, again.classes, again.seed, again.calibration_size).digest
    assert recomputed == data.digest
    other = [RAW[0][:-1], *RAW[1:]]
    assert Dataset.from_arrays({"image": other, "text": ["ä\0", "b"] * 30}, preprocess=raw).digest != data.digest
    spec = model(("image", (None,), "string"), ("text", (None,), "string"))
    assert data.check(spec).inputs == ("image", "text")
