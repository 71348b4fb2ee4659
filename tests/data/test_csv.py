"""Tables in text files, as people really have them."""

import numpy as np
import pytest

from deploykit.core.errors import DatasetError
from deploykit.data.dataset import Dataset


def csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def rows(header, line, count=60):
    return "\n".join([header, *(line.format(i=i, c="xyz"[i % 3], n=i % 3) for i in range(count))]) + "\n"


@pytest.mark.parametrize(
    ("text", "options", "classes", "labels"),
    [
        (rows("a,b,label", "{i},{i}.5,{n}"), {}, (), [0, 1, 2]),
        (rows("a,b,Class", "{i},{i}.5,{c}"), {}, ("x", "y", "z"), [0, 1, 2]),
        (rows("kind,a,b", "{c},{i},{i}.5"), {"label": "kind"}, ("x", "y", "z"), [0, 1, 2]),
        ("\ufeff" + rows("a, b, y", "{i},{i}.5,{n}\n"), {}, (), [0, 1, 2]),
        (rows("a,b,target", "{i},{i}.5,{n}.25"), {}, (), [0.25, 1.25, 2.25]),
    ],
    ids=["whole numbers", "text", "named column", "byte order mark and blank lines", "regression"],
)
def test_csv(tmp_path, text, options, classes, labels):
    data = Dataset.from_csv(csv(tmp_path / "d.csv", text), **options)
    assert len(data) == 60
    assert data.classes == classes
    assert sorted({v.item() for s in data.splits.values() for v in s.labels}) == labels
    assert data.sample(1).shape == (1, 2)
    for split in data.splits.values():
        np.testing.assert_array_equal(split.inputs["input"][:, 1], split.inputs["input"][:, 0] + 0.5)


def test_csv_without_a_label_column(tmp_path):
    data = Dataset.from_csv(csv(tmp_path / "d.csv", rows("a,b", "{i},{n}")))
    assert not data.labelled
    assert data.sample(1).shape == (1, 2)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, r"d\.csv is empty: it has no rows"),
        ("a,b,label\n", {}, r"d\.csv is empty: it has no rows below its header"),
        ("a,b,label\n1,2,0\n1,x,0\n", {}, r"d\.csv, line 3, column 'b': 'x' is not a number.*--label"),
        ("a,b,label\n1,2\n", {}, r"d\.csv, line 2: 2 cells, but the header has 3"),
        ("a,b,label\n1,2,\n", {}, r"d\.csv, line 2: the label is empty"),
        ("a,b,c\n1,2,0\n", {"label": "kind"}, r"d\.csv has no column 'kind'; it has a, b, c"),
        (rows("a,label", "nan,{n}"), {}, r"x holds NaN or infinite values in 60 of 60"),
        (rows("label", "{n}"), {}, r"has no column beside its labels"),
        ("a,label\n1,0\n", {}, r"Too few examples: 1 leave 1"),
        ("a,label\n\x00" + "9" * 200_000 + ",0\n", {}, r"d\.csv is not a CSV file: field larger than field limit"),
    ],
)
def test_broken_csv(tmp_path, text, options, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_csv(csv(tmp_path / "d.csv", text), **options)


def test_csv_that_is_not_utf8(tmp_path):
    path = csv(tmp_path / "d.csv", rows("größe,label", "{i},{n}"), "latin-1")
    with pytest.raises(DatasetError, match=r"d\.csv is not a CSV file: .*utf-8.*save it as UTF-8"):
        Dataset.from_csv(path)


def test_csv_a_feature_called_y_is_no_label(tmp_path):
    data = Dataset.from_csv(csv(tmp_path / "d.csv", rows("y,x,Label", "{i},{i}.5,{n}")))
    assert data.reading.labels == "column Label: class indices"
    assert data.reading.inputs == ("input from 2 columns (y, x): float32, 2",)
    assert sorted({int(v) for s in data.splits.values() for v in s.labels}) == [0, 1, 2]
    other = Dataset.from_csv(tmp_path / "d.csv", label="y", drop=["Label"])
    assert other.sample(1).shape == (1, 1)
    assert other.reading.left_out == ("column Label: named in drop=",)


def test_csv_columns_that_count_rows(tmp_path):
    data = Dataset.from_csv(csv(tmp_path / "d.csv", rows(",a,label", "{i},{i}.5,{n}")))  # as pandas writes an index
    assert data.sample(1).shape == (1, 1)
    assert "numbers" in data.reading.left_out[0]
    kept = Dataset.from_csv(csv(tmp_path / "k.csv", rows("id,a,label", "{i},{i}.5,{n}")))
    assert kept.sample(1).shape == (1, 2)
    assert "drop=['id'] (--drop id)" in kept.reading.notes[0]


@pytest.mark.parametrize(
    ("cell", "dtype"),
    [("16777217", np.float64), ("1e300", np.float64), ("1e-60", np.float64), ("0.1", np.float32), ("3", np.float32)],
)
def test_csv_numbers_are_not_changed(tmp_path, cell, dtype):
    text = "a,b\n" + f"{cell},0.5\n" * 30
    found = Dataset.from_csv(csv(tmp_path / "d.csv", text)).batch()["input"]
    assert found.dtype == dtype
    assert (found[:, 0] == dtype(float(cell))).all()


def test_csv_of_whole_numbers_is_whole_numbers(tmp_path):
    found = Dataset.from_csv(csv(tmp_path / "d.csv", rows("a,b,label", "{i},-{n},{n}")))
    assert found.sample(1).dtype == np.int64
    assert sorted(np.concatenate([s.inputs["input"][:, 0] for s in found.splits.values()])) == list(range(60))


def test_csv_of_large_whole_numbers(tmp_path):
    found = Dataset.from_csv(csv(tmp_path / "d.csv", f"a,b\n{'9007199254740993,1' + chr(10)}" + "2,3\n" * 40))
    values = np.concatenate([s.inputs["input"][:, 0] for s in found.splits.values()])
    assert values.dtype == np.int64
    assert 9007199254740993 in values.tolist()


def test_csv_class_names_that_are_numbers_and_quoted_cells(tmp_path):
    text = rows("a,label", '"{i}","{n}"')
    assert Dataset.from_csv(csv(tmp_path / "d.csv", text), classes=["2", "1", "0"]).classes == ("2", "1", "0")
    quoted = Dataset.from_csv(csv(tmp_path / "q.csv", rows("a,label", '{i},"{c}, the"')))
    assert quoted.classes == ("x, the", "y, the", "z, the")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (rows("label,a,Target", "{n},1,2"), {}, r"the columns 'label' and 'Target': any of them could be .*--label"),
        (rows("a;b;label", "1;2;{n}"), {}, r"columns separated by semicolons, expected commas.*sep=';'"),
        (rows("a\tlabel", "1\t{n}"), {}, r"separated by tabs"),
        (rows("a,label", '"1,5",{n}'), {}, r"line 2, column 'a': '1,5' is not a number.*decimal points"),
        (rows("a,label", "1,5,{n}"), {}, r"line 2: 3 cells, but the header has 2.*decimal points"),
        (rows("a,b,label", "1,,{n}"), {}, r"line 2, column 'b': the cell is empty.*drop"),
        (rows("a,label", "NA,{n}"), {}, r"'NA' stands for a missing value"),
        (rows("a,label", "1_000,{n}"), {}, r"'1_000' is not a number"),
        (rows("a,label", "1e999,{n}"), {}, r"'1e999' is beyond the range of float64"),
        (rows("a,b,label", "9007199254740993,0.5,{n}"), {}, r"9007199254740993 is an integer too large to be stored"),
        (rows("a,a,label", "1,2,{n}"), {}, r"two columns called 'a'"),
        (rows("a,,label", "1,2,{n}"), {}, r"column 2 has no name"),
        (rows("1,2,0", "1,2,{n}"), {}, r"has no header: its first line is numbers"),
        (rows("a,label", "1,{n}"), {"drop": ["b"]}, r"no column 'b'.*--drop"),
    ],
)  # fmt: skip
def test_csv_that_would_be_misread(tmp_path, text, options, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_csv(csv(tmp_path / "d.csv", text), **options)


def test_csv_lines_are_those_of_the_file(tmp_path):
    path = csv(tmp_path / "d.csv", 'a,label\n1,"two\nlines"\n\nx,b\n')
    with pytest.raises(DatasetError, match=r"line 5, column 'a'"):
        Dataset.from_csv(path)


@pytest.mark.parametrize(("encoding", "said"), [("latin-1", "Latin-1"), ("utf-16", "UTF-16")])
def test_csv_names_the_encoding(tmp_path, encoding, said):
    with pytest.raises(DatasetError, match=rf"not utf-8 text \(it .*{said}"):
        Dataset.from_csv(csv(tmp_path / "d.csv", rows("größe,label", "{i},{n}"), encoding))
