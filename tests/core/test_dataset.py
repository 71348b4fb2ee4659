import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.core.dataset import SPLITS, Dataset
from deploykit.core.errors import DatasetError, SettingError
from deploykit.core.model import Model, TensorSpec
from deploykit.core.preprocess import Preprocess


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
        ((np.zeros((60, 0)),), r"the examples of input are empty: shape \(0,\)"),
        ((X, []), r"x has 60 examples, y has 0 labels"),
        ((X, np.zeros(0, int)), r"x has 60 examples, y has 0 labels"),
        ((X, Y[:-1]), r"x has 60 examples, y has 59 labels"),
        (
            (X[:1], Y[:1]),
            r"too few examples: 1 leave 1 to evaluate with; at least 10 are needed.*more held-out examples",
        ),
        ((X[:12], Y[:12]), r"too few examples: 12 leave 4"),
        (([[1, 2], [3]],), r"x is ragged: its examples differ in shape"),
        ((np.array([[1, 2], [3]], object),), r"x holds list objects, not numbers of one shape.*pad ragged"),
        ((np.array([1, "a", None], object),), r"x holds int objects"),
        ((np.zeros((60, 2), complex),), r"x has dtype complex128"),
        ((np.zeros(60, "M8[s]"),), r"x has dtype datetime64"),
        ((np.zeros(60, [("a", "f4")]),), r"x has dtype"),
        ((3.5,), r"x is a single value"),
        ((WITH_NAN, Y), r"x holds NaN or infinite values in 2 of 60 examples \(the first is 7\)"),
        ((np.full((60, 2), 1e300),), r"x holds NaN or infinite values in 60 of 60"),
        ((X, np.where(Y == 1, np.nan, Y)), r"y holds NaN or infinite values in 20 of 60"),
        ((X, Y - 1), r"y holds the negative class index -1.*regression targets as real numbers"),
        ((X, [["a", "b"]] * 60), r"y holds text of shape \(60, 2\)"),
        ((X, np.array([b"\xff"] * 60)), r"y holds bytes that are not UTF-8"),
        (({},), r"x is an empty dictionary"),
        (({"a": X, "b": X[:5]},), r"inputs have different numbers of examples: \{'a': 60, 'b': 5\}"),
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
        ({"x_test": X[:1], "y_test": Y[:1]}, r"too few examples: 1 leave 1"),
        ({"x_test": X[:, :1], "y_test": Y}, r"examples of x have shape \(2,\), those of x_test \(1,\)"),
        ({"x_test": {"a": X}, "y_test": Y}, r"x has inputs \['input'\], x_test has \['a'\]"),
        ({"x_test": X, "y_test": Y / 2}, r"y is int64 \(\), y_test is float32 \(\)"),
        ({"x_test": WITH_NAN, "y_test": Y}, r"x_test holds NaN"),
        ({"x_test": X, "y_test": Y[:5]}, r"x_test has 60 examples, y_test has 5 labels"),
        ({"classes": ["a", "b"]}, r"y holds class 2, but classes names only 2"),
        ({"preprocess": Preprocess(reshape=(3,))}, r"cannot reshape examples of shape \(2,\) to \(3,\)"),
        ({"preprocess": {"image": Preprocess()}}, r"preprocess names inputs \['image'\], the data have \['input'\]"),
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
    with pytest.raises(DatasetError, match=r"expected a Dataset or a pair \(x, y\), got ndarray.*from_npz"):
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
            r"'image': the model takes examples of shape \(28, 28, 1\), the data give \(2,\) .*--reshape",
        ),
        ([("image", (None, 3), "float32")], (None, 3), r"takes examples of shape \(3,\), the data give \(2,\)"),
        ([("image", (None, None, 2), "float32")], (None, 3), r"shape \('any', 2\)"),
        ([("image", (None, 2), "int64")], (None, 3), r"takes int64, the data are float32 .*whole numbers"),
        ([("image", (None, 2), "uint8")], (None, 3), r"the model takes uint8, the data are float32"),
        ([("image", (None, 2), "string")], (None, 3), r"the model takes string, the data are float32"),
        ([("image", (None, 2), "float32")], (None, 2), r"the labels go up to class 2, the model has 2 outputs"),
        (
            [("image", (None, 2), "float32"), ("b", (None, 1), "float32")],
            (None, 3),
            r"takes 2 input\(s\) \(image: .*\), the data have 1: input",
        ),
    ],
)
def test_data_that_do_not_fit_are_found_before_any_work(inputs, outputs, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_arrays(X, Y).check(model(*inputs, outputs=(outputs,)))


def test_class_names_must_be_as_many_as_outputs():
    with pytest.raises(DatasetError, match=r"3 class names are given, the model has 5 outputs"):
        Dataset.from_arrays(X, Y, classes="abc").check(model(("image", (None, 2), "float32")))
    with pytest.raises(DatasetError, match=r"3 class names are given, the model has 5 outputs"):
        Dataset.from_arrays(X, classes="abc").check(model(("image", (None, 2), "float32")))


def test_labels_of_every_split_are_checked():
    y = np.zeros(60, int)
    train_only = np.where(np.arange(60) == 0, 9, y)
    data = Dataset.from_arrays(X, train_only, x_test=X, y_test=y)
    with pytest.raises(DatasetError, match=r"the labels go up to class 9, the model has 5 outputs"):
        data.check(model(("image", (None, 2), "float32")))


def test_inputs_that_could_be_swapped_must_be_named():
    data = Dataset.from_arrays({"a": X, "b": X}, Y)
    twins = model(("left", (None, 2), "float32"), ("right", (None, 2), "float32"))
    with pytest.raises(
        DatasetError, match=r"cannot tell which data belong to the model's inputs left, right.*called a, b"
    ):
        data.check(twins)
    assert Dataset.from_arrays({"right": X, "left": X}, Y).check(twins).inputs == ("left", "right")


def test_quantized_and_free_inputs_take_real_numbers():
    data = Dataset.from_arrays(X, Y)
    assert data.check(model(("q", (1, 2), "int8", 0.5, 3))).inputs == ("q",)
    assert data.check(model(("free", None, "float32"))).inputs == ("free",)
    assert data.check(model(("ragged", (None, None), "float32"), outputs=((None, 3),))).inputs == ("ragged",)
