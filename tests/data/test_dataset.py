from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.core.errors import DatasetError, SettingError
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.data.reading import Reading
from deploykit.data.splitting import SPLITS


def images(count=100, classes=5):
    """Images whose first pixel says which one it is."""
    x = np.zeros((count, 4, 4), np.uint8)
    x[:, 0, 0] = np.arange(count)
    return x, np.arange(count) % classes


def numbers(split):
    return split.inputs["input"][:, 0, 0].tolist()


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
    counted = Dataset.from_arrays(x, y + 1, x_test=x + 100, y_test=y + 1)
    assert counted.reading.notes == ("labels range from 1 to 5; no example has class 0 (classes are numbered from 0).",)
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


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's account of mapped memory")
def test_calibration_examples_of_a_saved_dataset_are_held_once(tmp_path):
    images = np.random.default_rng(0).random((400, 32, 32, 3), np.float32)
    Dataset.from_arrays(images, calibration_size=100).save(tmp_path / "data")
    data = Dataset.open(tmp_path / "data")
    first, second = data.calibration(), data.calibration()
    np.testing.assert_array_equal(*(next(iter(found.values())) for found in (first, second)))
    kept = Path("/proc/self/smaps").read_text().partition(f"{tmp_path}/data/train.0.npy")[2]
    assert kept, "the file is still mapped"
    assert int(kept.partition("Rss:")[2].split()[0]) == 0
