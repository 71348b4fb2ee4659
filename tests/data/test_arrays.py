"""Arrays and labels are kept as they are given, or refused with a remedy."""

import numpy as np
import pandas as pd
import pytest

from deploykit.core.errors import DatasetError
from deploykit.data.dataset import Dataset

X, Y = np.zeros((60, 2), np.float32), np.arange(60) % 3


def images(count=100, classes=5):
    """Images whose first pixel says which one it is."""
    x = np.zeros((count, 4, 4), np.uint8)
    x[:, 0, 0] = np.arange(count)
    return x, np.arange(count) % classes


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
        (pd.DataFrame({"a": [1.0] * 60, "city": ["x"] * 60}), r"columns that are not numeric: city \("),
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
