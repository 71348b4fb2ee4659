from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.core.dataset import Dataset
from deploykit.core.errors import DatasetError, SettingError
from deploykit.core.model import Model, TensorSpec
from deploykit.core.preprocess import Preprocess
from deploykit.core.reading import Reading
from deploykit.core.splitting import SPLITS


def images(count=100, classes=5):
    """Images whose first pixel says which one it is."""
    x = np.zeros((count, 4, 4), np.uint8)
    x[:, 0, 0] = np.arange(count)
    return x, np.arange(count) % classes


def numbers(split):
    return split.inputs["input"][:, 0, 0].tolist()


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


# -- splits ---------------------------------------------------------------------------------------------------------


@given(st.integers(50, 250), st.integers(1, 5), st.integers(0, 100))
def test_splits_are_disjoint_complete_seeded_and_stratified(count, classes, seed):
    x, y = images(count, classes)
    data = Dataset.from_arrays(x, y, seed=seed)
    assert tuple(data.splits) == SPLITS
    assert sorted(n for s in data.splits.values() for n in numbers(s)) == list(range(count))
    assert len(data) == count
    for name, share in zip(SPLITS, (0.4, 0.36, 0.24), strict=True):
        split = data.splits[name]
        assert abs(len(split) - share * count) <= 1
        assert [n % classes for n in numbers(split)] == split.labels.tolist()
        for label in range(classes):
            expected = len(split) / classes
            assert abs((split.labels == label).sum() - expected) <= 4
    again = Dataset.from_arrays(x, y, seed=seed)
    assert {n: numbers(s) for n, s in data.splits.items()} == {n: numbers(s) for n, s in again.splits.items()}
    assert data.digest == again.digest


def test_held_out_examples_are_never_trained_on():
    x, y = images(200)
    data = Dataset.from_arrays(x[:100], y[:100], x_test=x[100:], y_test=y[100:])
    assert numbers(data.splits["train"]) == list(range(100))
    assert sorted(numbers(data.splits["evaluation"]) + numbers(data.splits["test"])) == list(range(100, 200))
    assert len(data.splits["evaluation"]) == 60


@given(st.integers(1, 300), st.integers(0, 5))
def test_calibration_is_a_stratified_draw_from_train(size, seed):
    x, y = images(200)
    data = Dataset.from_arrays(x, y, seed=seed, calibration_size=size)
    drawn = data.calibration()["input"][:, 0, 0].tolist()
    assert len(set(drawn)) == len(drawn) == min(size, len(data.splits["train"]))
    assert set(drawn) <= set(numbers(data.splits["train"]))
    counts = np.bincount([n % 5 for n in drawn], minlength=5)
    assert counts.max() - counts.min() <= 3


def test_the_seed_moves_examples():
    x, y = images()
    one, other = Dataset.from_arrays(x, y, seed=0), Dataset.from_arrays(x, y, seed=1)
    assert numbers(one.splits["test"]) != numbers(other.splits["test"])
    assert one.digest != other.digest


# -- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "expected", "classes"),
    [
        (np.array([2, 0, 1] * 20, np.uint8), [2, 0, 1], ()),
        (np.array([True, False, True] * 20), [1, 0, 1], ()),
        (np.array([[2], [0], [1]] * 20), [2, 0, 1], ()),
        (np.eye(3)[[2, 0, 1] * 20], [2, 0, 1], ()),
        (np.eye(3, dtype=bool)[[2, 0, 1] * 20], [2, 0, 1], ()),
        (["cat", "ant", "bee"] * 20, [2, 0, 1], ("ant", "bee", "cat")),
        (np.array(["cat", "ant", "bee"] * 20, object), [2, 0, 1], ("ant", "bee", "cat")),
        (np.array(["käfer".encode(), b"ant", b"bee"] * 20), [2, 0, 1], ("ant", "bee", "käfer")),
        (np.array([["cat"], ["ant"], ["bee"]] * 20), [2, 0, 1], ("ant", "bee", "cat")),
    ],
    ids=["uint8", "bool", "column", "one-hot", "one-hot bool", "text", "objects", "bytes", "text column"],
)
def test_labels_become_class_indices(labels, expected, classes):
    data = Dataset.from_arrays(np.zeros((60, 2)), labels, x_test=np.zeros((60, 2)), y_test=labels)
    assert data.labels("train").dtype == np.int64
    assert data.labels("train")[:3].tolist() == expected
    assert data.classes == classes


def test_class_names_give_text_labels_their_order():
    names = ["b", "a", "c"]
    data = Dataset.from_arrays(
        np.zeros((60, 2)), names * 20, x_test=np.zeros((60, 2)), y_test=names * 20, classes=names
    )
    assert data.labels("train")[:3].tolist() == [0, 1, 2]


def test_class_indices_stored_as_real_numbers_are_classes_when_names_are_given():
    y = np.array([0.0, 1.0] * 30, np.float32)
    assert Dataset.from_arrays(np.zeros((60, 2)), y, classes=["no", "yes"]).labels().dtype == np.int64
    assert Dataset.from_arrays(np.zeros((60, 2)), y).labels().dtype == np.float32


@pytest.mark.parametrize("shape", [(60,), (60, 3)])
def test_real_numbers_are_regression_targets(shape):
    y = np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)
    labels = Dataset.from_arrays(np.zeros((60, 2)), y).labels("train")
    assert labels.dtype == np.float32
    assert labels.shape[1:] == shape[1:]


def test_without_labels():
    data = Dataset.from_arrays(np.zeros((60, 2)))
    assert not data.labelled
    assert data.labels() is None
    assert "no labels" in repr(data)


# -- what is refused ------------------------------------------------------------------------------------------------

X, Y = np.zeros((60, 2), np.float32), np.arange(60) % 3
WITH_NAN = X.copy()
WITH_NAN[[7, 9], 1] = np.nan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), r"x is empty: 0 examples"),
        ((np.zeros((0, 28, 28)), np.zeros(0, int)), r"x is empty: 0 examples"),
        ((np.zeros((60, 0)),), r"The examples of input are empty: shape \(0,\)"),
        ((X, []), r"x has 60 examples, y has 0 labels"),
        ((X, np.zeros(0, int)), r"x has 60 examples, y has 0 labels"),
        ((X, Y[:-1]), r"x has 60 examples, y has 59 labels"),
        (
            (X[:1], Y[:1]),
            r"Too few examples: 1 leave 1 to evaluate with; at least 10 are needed.*more held-out examples",
        ),
        ((X[:12], Y[:12]), r"Too few examples: 12 leave 4"),
        (([[1, 2], [3]],), r"x is ragged: its examples differ in shape"),
        ((np.array([[1, 2], [3]], object),), r"x holds list objects, not numbers of one shape.*pad ragged"),
        ((np.array([1, "a", None], object),), r"x mixes int and str"),
        ((np.zeros((60, 2), complex),), r"x has dtype complex128"),
        ((np.zeros(60, "M8[s]"),), r"x has dtype datetime64"),
        ((np.zeros(60, [("a", "f4")]),), r"x has dtype"),
        ((3.5,), r"x is a single value"),
        ((WITH_NAN, Y), r"x holds NaN or infinite values in 2 of 60 examples \(the first is 7\)"),
        ((np.full((60, 2), np.inf),), r"x holds NaN or infinite values in 60 of 60"),
        ((X, np.where(Y == 1, np.nan, Y)), r"y holds NaN or infinite values in 20 of 60"),
        ((X, [["a", "b"]] * 60), r"y holds text of shape \(60, 2\)"),
        ((X, np.array([b"\xff"] * 60)), r"y holds bytes that are not UTF-8"),
        (({},), r"x is an empty dictionary"),
        (({"a": X, "b": X[:5]},), r"The inputs have different numbers of examples: \{'a': 60, 'b': 5\}"),
        (({"a": X, "b": WITH_NAN},), r"x\['b'\] holds NaN"),
    ],
)
def test_unusable_arrays_are_refused(arguments, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_arrays(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x_test": X}, r"y is given, y_test is not"),
        ({"y_test": Y}, r"y_test is given, x_test is not"),
        ({"x_test": X[:1], "y_test": Y[:1]}, r"Too few examples: 1 leave 1"),
        ({"x_test": X[:, :1], "y_test": Y}, r"Examples of x have shape \(2,\), those of x_test \(1,\)"),
        ({"x_test": {"a": X}, "y_test": Y}, r"x has inputs \['input'\], x_test has \['a'\]"),
        ({"x_test": X, "y_test": Y / 2}, r"y is int64 \(\), y_test is float32 \(\)"),
        ({"x_test": WITH_NAN, "y_test": Y}, r"x_test holds NaN"),
        ({"x_test": X, "y_test": Y[:5]}, r"x_test has 60 examples, y_test has 5 labels"),
        ({"classes": ["a", "b"]}, r"y holds class 2, but classes= names only 2"),
        ({"preprocess": Preprocess(reshape=(3,))}, r"Cannot reshape examples of shape \(2,\) to \(3,\)"),
        (
            {"preprocess": {"image": Preprocess()}},
            r"preprocess names the inputs \['image'\]; the data have \['input'\]",
        ),
    ],
)
def test_arguments_that_do_not_go_together(options, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_arrays(X, Y, **options)


def test_labels_outside_the_class_names():
    with pytest.raises(
        DatasetError, match=r"y_test holds labels that are not in classes: dog\..*the classes are ant, cat"
    ):
        Dataset.from_arrays(X, ["ant", "cat"] * 30, x_test=X, y_test=["dog", "cat"] * 30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, r"Dataset: seed must be at least 0, got -1"),
        ({"seed": 0.5}, r"Dataset: seed must be a whole number"),
        ({"calibration_size": 0}, r"Dataset: calibration_size must be at least 1, got 0"),
        ({"preprocess": {"input": 2}}, r"preprocess\['input'\] must be a Preprocess, got int"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(SettingError, match=message):
        Dataset.from_arrays(X, Y, **options)


def test_a_pair_is_a_dataset_and_nothing_else_is():
    data = Dataset.from_arrays(X, Y)
    assert Dataset.of(data) is data
    assert Dataset.of((X, Y)).digest == data.digest
    with pytest.raises(DatasetError, match=r"Expected a Dataset or a pair \(x, y\), got ndarray.*from_npz"):
        Dataset.of(X)


# -- use ------------------------------------------------------------------------------------------------------------


def test_batches_are_preprocessed_and_complete():
    x, y = images()
    data = Dataset.from_arrays(x, y, preprocess=Preprocess(scale=0.5, reshape=(4, 4, 1)))
    batches = list(data.batches("evaluation", 16))
    assert [len(b["input"]) for b, _ in batches] == [16, 16, 4]
    together = np.concatenate([b["input"] for b, _ in batches])
    assert together.shape == (36, 4, 4, 1)
    np.testing.assert_array_equal(together[:, 0, 0, 0] * 2, numbers(data.splits["evaluation"]))
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), data.labels())


def test_samples_are_raw():
    x, y = images()
    data = Dataset.from_arrays(x, y, preprocess=Preprocess(scale=0.5))
    assert data.sample(3).dtype == np.uint8
    assert data.sample(3).shape == (3, 4, 4)
    both = Dataset.from_arrays({"a": x, "b": x}, y).sample(2)
    assert {k: v.shape for k, v in both.items()} == {"a": (2, 4, 4), "b": (2, 4, 4)}


def test_the_digest_sees_examples_labels_and_preprocessing():
    x, y = images()
    other = x.copy()
    other[3, 1, 1] += 1
    digests = {
        Dataset.from_arrays(x, y).digest,
        Dataset.from_arrays(other, y).digest,
        Dataset.from_arrays(x, (y + 1) % 5).digest,
        Dataset.from_arrays(x).digest,
        Dataset.from_arrays(x, y, preprocess=Preprocess(scale=2)).digest,
        Dataset.from_arrays(x, y, calibration_size=50).digest,
    }
    assert len(digests) == 6


@pytest.mark.parametrize("labelled", [True, False])
def test_a_saved_dataset_opens_as_it_was(tmp_path, labelled):
    x, y = images()
    data = Dataset.from_arrays(
        {"image": x, "name/with:odd characters": np.array(["ä", "b"] * 50)},
        y if labelled else None,
        preprocess={"image": Preprocess(scale=1 / 255)},
        classes=list("abcde"),
        seed=3,
        calibration_size=7,
    )
    data.save(tmp_path / "data")
    again = Dataset.open(tmp_path / "data")
    assert repr(again) == repr(data)
    assert again.digest == data.digest
    recomputed = Dataset(again.splits, again.preprocess, again.classes, again.seed, again.calibration_size).digest
    assert recomputed == data.digest
    for name in data.inputs:
        np.testing.assert_array_equal(again.batch("test")[name], data.batch("test")[name])
    np.testing.assert_array_equal(again.calibration()["image"], data.calibration()["image"])


# -- fitting a model ------------------------------------------------------------------------------------------------


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


# -- dtypes are kept --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "int64", "int32", "uint16", "uint8", "int8", "bool"]
)
def test_examples_keep_their_dtype(dtype):
    x = (np.arange(120).reshape(60, 2) % 2).astype(dtype)
    data = Dataset.from_arrays(x)
    assert {s.inputs["input"].dtype.name for s in data.splits.values()} == {dtype}
    assert data.batch()["input"].dtype == dtype


def test_float64_is_not_rounded():
    x = np.full((60, 2), 1 / 3)
    assert (Dataset.from_arrays(x).batch()["input"] == 1 / 3).all()
    assert (Dataset.from_arrays(np.full((60, 2), 1e300)).batch()["input"] == 1e300).all()


def test_object_arrays_of_numbers_are_numbers():
    found = Dataset.from_arrays(np.array([[i, i / 2] for i in range(60)], object))
    assert found.batch()["input"].dtype == np.float64
    assert Dataset.from_arrays(np.array([[np.int32(i)] for i in range(60)], object)).batch()["input"].dtype == np.int64


RAW = [b"\xff\xd8" + bytes([k, 0]) for k in range(60)]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array(RAW, object), r"x holds bytes that are not UTF-8 text: b'\\xff\\xd8\\x00\\x00' at 0.*raw=True"),
        (RAW, r"x holds bytes that are not UTF-8"),
        (["a"] * 59 + ["a\0"], r"x holds text that ends in a zero byte: 'a\\x00' at 59"),
        (
            np.ma.masked_array(np.zeros((60, 2)), np.arange(120).reshape(60, 2) < 3),
            r"masked array with 3 of 120 values",
        ),
        (np.zeros((60, 2), np.longdouble), r"x has dtype (float128|longdouble), which no runtime takes"),
        ([[1, "a"]] * 60, r"x mixes int and str"),
        (
            np.array([["a"]] * 59 + [[None]], object),
            r"x has 1 missing values \(None or NaN\) among 60; the first is at 59",
        ),
        (np.array([[1.5]] * 59 + [[None]], object), r"x has 1 missing values"),
        (np.array([[2**70]] * 60, object), r"integers that do not fit in 64 bits"),
        (np.zeros(60, "M8[s]"), r"x has dtype datetime64\[s\].*convert dates to numbers"),
        (pd.DataFrame({"a": [1.0] * 60, "city": ["x"] * 60}), r"columns that are not numbers .*: city \("),
        (pd.DataFrame({"a": [1.0] * 59 + [None], "b": [1] * 60}), r"x has empty cells in its column a"),
        (pd.DataFrame({"a": [1.0] * 60, "day": pd.to_datetime(["2024-01-01"] * 60)}), r"day \(datetime64"),
    ],
)
def test_examples_that_would_be_changed_are_refused(x, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_arrays(x)


def test_masked_arrays_without_masked_values_and_tables_of_numbers_are_read():
    x = np.arange(120.0).reshape(60, 2)
    for table in (np.ma.masked_array(x), pd.DataFrame(x, columns=["a", "b"])):
        found = Dataset.from_arrays(table, pd.Series(["u", "v"] * 30))
        assert found.classes == ("u", "v")
        first = np.concatenate([s.inputs["input"][:, 0] for s in found.splits.values()])
        np.testing.assert_array_equal(np.sort(first), x[:, 0])
    nullable = pd.DataFrame({"a": pd.array(range(60), "Int64")})
    assert Dataset.from_arrays(nullable).batch()["input"].dtype == np.int64


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


# -- labels in other forms --------------------------------------------------------------------------------------------


def read_labels(y, **options):
    x = np.arange(len(y) * 2.0).reshape(-1, 2)
    return Dataset.from_arrays(x, y, x_test=x + 0.5, y_test=y, **options)


def test_text_that_is_numbers_is_not_sorted_as_text():
    found = read_labels([str(i % 12) for i in range(60)])
    assert found.labels("train").tolist() == [i % 12 for i in range(60)]
    assert found.classes == ()
    assert any("numbers written as text" in note for note in found.reading.notes)
    assert read_labels(["0.5", "1.25", "-3e2"] * 20).labels("train")[:3].tolist() == [0.5, 1.25, -300.0]
    named = read_labels([str(i % 3 + 1) for i in range(60)], classes=["1", "2", "3"])
    assert named.labels("train")[:3].tolist() == [0, 1, 2]
    assert read_labels(["1e5x", "nan", "inf"] * 20).classes == ("1e5x", "inf", "nan")


@pytest.mark.parametrize("form", ["[{}, {}, {}]", "[{}. {}. {}.]", "({},{},{})"])
def test_rows_that_were_written_as_text_are_rows(form):
    rows = [(1, 0, 0), (0, 0, 1), (0, 1, 0)] * 20
    assert read_labels([form.format(*row) for row in rows]).labels("train")[:3].tolist() == [0, 2, 1]
    several = [(1, 0, 1), (0, 0, 0), (0, 1, 0)] * 20
    np.testing.assert_array_equal(read_labels([form.format(*row) for row in several]).labels("train"), several)


@pytest.mark.parametrize("dtype", [int, bool, float, np.uint8])
def test_several_labels_at_once_stay_whole_numbers(dtype):
    y = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]] * 20).astype(dtype)
    found = read_labels(y)
    assert found.labels("train").dtype == np.int64
    np.testing.assert_array_equal(found.labels("train"), y)


def test_labels_of_positions_are_kept():
    tags = np.arange(240).reshape(60, 4) % 5
    tags[3, 2] = -1
    np.testing.assert_array_equal(read_labels(tags).labels("train"), tags)
    masks = np.arange(60 * 9).reshape(60, 3, 3) % 2
    found = read_labels(masks.astype(np.uint8))
    assert found.labels("train").dtype == np.int64
    np.testing.assert_array_equal(found.labels("train"), masks)
    assert found.reading.labels == "integers, 3x3 per example"
    names = read_labels([["b", "a"]] * 60, classes=["a", "b"])
    assert names.labels("train")[0].tolist() == [1, 0]


def test_large_values_are_not_merged():
    y = np.arange(60) + 2.0**40
    np.testing.assert_array_equal(read_labels(y).labels("train"), y)


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        (
            np.arange(60) % 3 + 1,
            ("a", "b", "c"),
            r"y: the labels range from 1 to 3, but the 3 class names .* 0 to 2.*\(y - 1\)",
        ),
        (np.array([0, 5, 9] * 20), ("a", "b", "c"), r"y holds class 9, .*the labels have gaps \(0, 5, 9\)"),
        (np.array([0.0, 5.0] * 30), ("a", "b", "c"), r"have gaps"),
        (["a", ""] * 30, (), r"y holds 30 empty labels"),
        (["100", "010", "001"] * 20, (), r"labels such as '001' look like one-hot rows written as text.*classes="),
        (["1", "01"] * 30, (), r"The labels '01' and '1' are the same number written two ways.*classes="),
        (["a", "b"] * 30, ("a", "a", "b"), r"classes= lists 'a' more than once"),
    ],
)
def test_labels_that_do_not_go_with_their_classes(y, classes, message):
    with pytest.raises(DatasetError, match=message):
        read_labels(y, classes=classes)


# -- what was read ----------------------------------------------------------------------------------------------------


def test_the_reading_says_what_was_taken_for_what(tmp_path):
    x, y = images()
    data = Dataset.from_arrays({"image": x, "age": np.arange(100.0)}, y)
    assert data.reading.inputs == ("image: uint8, 4x4", "age: float64, one value")
    assert data.reading.labels == "class indices"
    assert data.reading.splits == {"train": 40, "evaluation": 36, "test": 24}
    assert str(data.reading.classes["train"]) == "5 classes of 8"
    assert not data.reading.given_apart
    assert "train 40: 5 classes of 8" in data.reading.lines
    assert str(data.reading).splitlines()[0] == "read arrays in memory"
    data.save(tmp_path / "data")
    assert Dataset.open(tmp_path / "data").reading == data.reading
    assert replace(data, reading=Reading()).digest == data.digest


def test_gaps_single_examples_and_other_numbers_are_noted():
    x, y = images(60, 5)
    assert read_labels(y + 1).reading.notes == (
        "labels range from 1 to 5; no example has class 0 (classes are numbered from 0).",
    )
    assert Dataset.from_arrays(x, y * 2).reading.notes == ("no example has class 1, 3, 5, 7.",)
    lonely = y.copy()
    lonely[7] = 7
    notes = Dataset.from_arrays(x, lonely).reading.notes
    assert notes[0] == "no example has class 5, 6."
    assert notes[1].startswith("class 7 has only one example: it is in one split")
    apart = Dataset.from_arrays(
        x[y < 3], y[y < 3], x_test=x[y > 0], y_test=y[y > 0], classes=("a", "b", "c", "d", "e")
    ).reading.notes
    assert apart[:2] == ("no held-out example has class a.", "no training example has class d, e.")
    scaled = Dataset.from_arrays(x, y, x_test=x / 255, y_test=y).reading.notes
    assert scaled[0] == "x is uint8, x_test is float64: check that both are on the same scale."


def test_examples_in_two_splits_are_counted():
    rng = np.random.default_rng(0)
    x, held_out = rng.normal(size=(50, 300)), rng.normal(size=(50, 300))
    held_out[:10] = x[:10]
    nearly = x[20:30].copy()
    nearly[:, 7] += 1e-9  # seen only by looking at whole examples
    held_out[20:30] = nearly
    data = Dataset.from_arrays(x, x_test=held_out)
    shared = {n: sum(any((row == t).all() for t in x) for row in data.splits[n].inputs["input"]) for n in SPLITS[1:]}
    assert sum(shared.values()) == 10
    wanted = [
        f"{count} of the {len(data.splits[n])} {n} examples are also in train." for n, count in shared.items() if count
    ]
    assert list(data.reading.notes) == wanted
    assert Dataset.from_arrays(rng.normal(size=(50, 3))).reading.notes == ()


def test_a_model_that_cannot_be_trained_gives_its_training_examples_to_evaluation(tmp_path):
    x, y = images(200)
    data = Dataset.from_arrays(x, y, calibration_size=20)
    found = data.without_training()
    assert {n: len(s) for n, s in found.splits.items()} == found.reading.splits == {
        "train": 20, "evaluation": 72 + 36, "test": 48 + 24,
    }  # fmt: skip
    assert sorted(n for s in found.splits.values() for n in numbers(s)) == list(range(200))
    assert set(numbers(data.splits["evaluation"])) < set(numbers(found.splits["evaluation"]))
    assert set(numbers(data.splits["test"])) < set(numbers(found.splits["test"]))
    np.testing.assert_array_equal(found.calibration()["input"], data.calibration()["input"])
    for split in found.splits.values():
        assert [n % 5 for n in numbers(split)] == split.labels.tolist()
    assert found.digest == data.without_training().digest != data.digest
    assert "60 training examples" in found.reading.notes[-1]
    data.save(tmp_path / "data")
    assert Dataset.open(tmp_path / "data").without_training().digest == found.digest


def test_training_examples_that_were_given_apart_are_never_evaluated():
    x, y = images(200)
    data = Dataset.from_arrays(x[:100], y[:100], x_test=x[100:], y_test=y[100:], calibration_size=10)
    assert data.without_training() is data
    few = Dataset.from_arrays(x, y)
    assert few.without_training() is few  # all of them calibrate


def test_other_preprocessing_of_the_same_examples():
    x, y = images()
    data = Dataset.from_arrays(x, y)
    read = data.preprocessed(Preprocess(scale=0.5))
    np.testing.assert_array_equal(read.batch()["input"], data.batch()["input"] * np.float32(0.5))
    assert read.digest == Dataset.from_arrays(x, y, preprocess=Preprocess(scale=0.5)).digest
    several = Dataset.from_arrays({"a": x, "b": x})
    assert several.preprocessed({"b": Preprocess(scale=2)}).preprocess == {"b": Preprocess(scale=2)}
    with pytest.raises(DatasetError, match="several inputs: a, b"):
        several.preprocessed(Preprocess(scale=2))
    with pytest.raises(SettingError, match="input 'c'"):
        several.preprocessed({"c": Preprocess()})


# -- what is easily meant otherwise -----------------------------------------------------------------------------------


def test_class_names_by_number_are_read_in_the_order_of_the_numbers():
    x, y = images()
    named = ("zero", "one", "two", "three", "four")
    assert Dataset.from_arrays(x, y, classes={i: named[i] for i in (3, 1, 0, 4, 2)}).classes == named
    assert Dataset.from_arrays(x, y, classes={name: i for i, name in enumerate(named)}).classes == named  # as Keras
    assert Dataset.from_arrays(x, y, classes={str(i): n for i, n in enumerate(named)}).classes == named  # as JSON
    for wrong in ({1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}, "zero"):
        with pytest.raises(DatasetError, match="classes is") as refused:
            Dataset.from_arrays(x, y, classes=wrong)
        assert "list of names" in refused.value.remedy


def test_class_names_that_differ_in_blanks_only_are_named():
    x, y = images(classes=3)
    reading = Dataset.from_arrays(x, np.array(["cat", "Cat ", "dog"])[y]).reading
    assert any("'Cat '" in n and "two classes" in n for n in reading.notes)


def test_rows_of_tables_are_not_paired_across_their_names():
    x, y = pd.DataFrame(np.arange(120.0).reshape(60, 2)), pd.Series(np.arange(60) % 3)
    turned = y.iloc[::-1]
    with pytest.raises(DatasetError, match="another order") as refused:
        Dataset.from_arrays(x, turned)
    assert "y.loc[x.index]" in refused.value.remedy
    for alike in (y, turned.to_numpy(), turned.reset_index(drop=True), turned.set_axis(range(100, 160))):
        assert len(Dataset.from_arrays(x, alike)) == 60


@pytest.mark.parametrize(
    ("labels", "found", "remedy"),
    [
        ({"main": np.arange(60) % 3, "aux": np.arange(60) % 3}, "y is a dictionary (main, aux)", "y['main']"),
        ([np.arange(60) % 3, np.arange(60)], "y is a list of 2 arrays", "y[0]"),
        ((np.arange(60) % 3, np.ones((60, 2))), "y is a list of 2 arrays", "output="),
        (np.arange(60)[None], "y has 1 labels", "y.T"),
        (np.array([1, "b"] * 30, object), "y mixes int and str", "all as text"),
        ([["a", "b"], ["c"]] * 30, "ragged", "columns of 0 and 1"),
        ([["a", "b"], ["c", "a"]] * 30, "text of shape (60, 2)", "columns of 0 and 1"),
    ],
)
def test_labels_of_another_form_are_refused_with_what_to_give(labels, found, remedy):
    with pytest.raises(DatasetError) as refused:
        Dataset.from_arrays(np.ones((60, 2)), labels)
    assert found in refused.value.message
    assert remedy in refused.value.remedy


def test_a_list_of_inputs_is_refused_with_what_to_give():
    with pytest.raises(DatasetError, match="list of 2 arrays with 60 examples") as refused:
        Dataset.from_arrays([np.ones((60, 2)), np.ones((60, 2))], np.arange(60) % 3)
    assert "dictionary" in refused.value.remedy
    assert len(Dataset.from_arrays(list(np.ones((60, 2))), np.arange(60) % 3)) == 60  # a list of examples
