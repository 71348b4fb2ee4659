"""Files and folders of data, as people really have them."""

import os
import shutil
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploykit.core.dataset import Dataset
from deploykit.core.errors import DatasetError
from deploykit.core.model import Model, TensorSpec
from deploykit.core.preprocess import Preprocess
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

X, Y = np.arange(120, dtype=np.float32).reshape(60, 2), np.arange(60) % 3


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


# -- npz ------------------------------------------------------------------------------------------------------------


def test_npz_with_x_and_y(tmp_path):
    data = Dataset.from_npz(npz(tmp_path / "d.npz", x=X, y=Y), calibration_size=5)
    assert len(data) == 60
    assert data.labels().dtype == np.int64
    assert len(data.calibration()["input"]) == 5


def test_npz_with_train_and_test_and_classes(tmp_path):
    path = npz(tmp_path / "d.npz", x_train=X, y_train=Y, x_test=X + 0.5, y_test=Y, classes=np.array(["a", "b", "c"]))
    data = Dataset.from_npz(path)
    assert len(data.splits["train"]) == 60
    assert data.classes == ("a", "b", "c")
    assert (data.splits["evaluation"].inputs["input"] % 1 == 0.5).all()
    assert Dataset.from_npz(path, classes=["p", "q", "r"]).classes == ("p", "q", "r")


def test_npz_with_other_names(tmp_path):
    path = npz(tmp_path / "d.npz", images=X, targets=Y, x_train=X[:20], y_train=Y[:20])
    data = Dataset.from_npz(path, x_key="images", y_key="targets")
    assert len(data) == 60
    assert data.labelled


def test_npz_without_labels(tmp_path):
    assert not Dataset.from_npz(npz(tmp_path / "d.npz", x=X)).labelled


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"y": Y}, {}, r"has no array 'x'; it has y\..*--x-key"),
        ({"x": X, "y": Y}, {"y_key": "labels"}, r"has no array 'labels'; it has x, y"),
        ({"x": X, "y": Y}, {"x_key": "examples"}, r"has no array 'examples'"),
        ({}, {}, r"has no array 'x'; it has none"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, {}, r"x is empty: 0 examples"),
    ],
)
def test_npz_with_missing_arrays(tmp_path, arrays, options, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_npz(npz(tmp_path / "d.npz", **arrays), **options)


def test_pickled_arrays_are_refused_and_not_run(tmp_path):
    marker = tmp_path / "was run"
    path = npz(tmp_path / "d.npz", x=np.array([Trap(marker)], object), y=Y)
    with pytest.raises(DatasetError, match=r"d\.npz cannot be read: Object arrays cannot be loaded.*not objects"):
        Dataset.from_npz(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content", [b"", b"x,y\n1,2\n", os.urandom(300), b"\x80\x04\x95"], ids=["empty", "csv", "random", "pickle"]
)
def test_files_that_are_no_npz(tmp_path, content):
    path = tmp_path / "d.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"d\.npz is not an \.npz file.*numpy\.savez"):
        Dataset.from_npz(path)


def test_a_damaged_npz(tmp_path):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(60, 20)), y=Y)
    content = bytearray(path.read_bytes())
    content[200:400] = b"\0" * 200
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"d\.npz cannot be read"):
        Dataset.from_npz(path)


def test_an_npz_that_claims_a_huge_array(tmp_path):
    path = tmp_path / "d.npz"
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DatasetError, match=r"d\.npz cannot be read"):
        Dataset.from_npz(path)


@pytest.mark.parametrize("reader", [Dataset.from_npz, Dataset.from_csv, Dataset.from_image_folder])
def test_missing_data(tmp_path, reader):
    with pytest.raises(DatasetError, match=r"There are no data at '.*nothing here'"):
        reader(tmp_path / "nothing here")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs")
@pytest.mark.parametrize("reader", [Dataset.from_npz, Dataset.from_csv])
def test_a_fifo_does_not_hang(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match=r"pipe is not a regular file"):
        reader(tmp_path / "pipe")


def test_a_folder_is_no_csv(tmp_path):
    with pytest.raises(DatasetError, match=r"is not a regular file"):
        Dataset.from_csv(tmp_path)


@pytest.mark.parametrize("name", ["labels", "Y", "y_val", "target", "Label", "train_labels", "y_true"])
def test_npz_labels_under_another_name(tmp_path, name):
    data = Dataset.from_npz(npz(tmp_path / "d.npz", x=X, **{name: Y}))
    assert data.labelled
    assert data.reading.labels == f"array {name}: class indices"
    for split in data.splits.values():
        np.testing.assert_array_equal(split.inputs["input"][:, 0] // 2 % 3, split.labels)


def test_npz_with_one_array_for_each_input(tmp_path):
    tokens, mask = np.arange(240).reshape(60, 4), np.ones((60, 4), np.int8)
    path = npz(tmp_path / "d.npz", input_ids=tokens, mask=mask, y=Y, mean=np.zeros(3), version=2)
    data = Dataset.from_npz(path)
    assert {k: v.dtype.name for k, v in data.splits["test"].inputs.items()} == {"input_ids": "int64", "mask": "int8"}
    assert data.reading.left_out == (
        "array mean (3,): not an input and not labels", "array version (): not an input and not labels",
    )  # fmt: skip
    one = Dataset.from_npz(npz(tmp_path / "one.npz", images=X, y=Y))
    assert one.inputs == ("images",)
    parted = Dataset.from_npz(
        npz(
            tmp_path / "p.npz", a_train=X, b_train=X[:, :1], y_train=Y, a_test=X + 0.5, b_test=X[:, :1] + 0.5, y_test=Y
        )
    )  # fmt: skip
    assert parted.inputs == ("a", "b")
    assert len(parted.splits["train"]) == 60
    assert (parted.splits["test"].inputs["b"] % 1 == 0.5).all()
    assert parted.reading.given_apart


def test_npz_parts_under_other_names(tmp_path):
    held = Dataset.from_npz(npz(tmp_path / "v.npz", x_train=X, y_train=Y, x_val=X + 0.5, y_val=Y))
    assert (held.splits["test"].inputs["input"] % 1 == 0.5).all()
    assert "validation arrays are used as the held-out examples" in held.reading.notes[0]
    three = Dataset.from_npz(npz(tmp_path / "t.npz", x_train=X, y_train=Y, x_val=X, y_val=Y, x_test=X + 0.5, y_test=Y))
    assert (three.splits["test"].inputs["input"] % 1 == 0.5).all()
    assert [line.split()[1] for line in three.reading.left_out] == ["x_val", "y_val"]
    alone = Dataset.from_npz(npz(tmp_path / "a.npz", x_test=X, y_test=Y))
    assert len(alone) == 60
    assert alone.labelled
    other = Dataset.from_npz(
        npz(tmp_path / "o.npz", train_images=X, train_labels=Y, test_images=X + 0.5, test_labels=Y)
    )
    assert (other.splits["test"].inputs["images"] % 1 == 0.5).all()
    assert other.labelled


def test_npz_keys_name_several_arrays_and_no_labels(tmp_path):
    path = npz(tmp_path / "d.npz", x=X, mask=X[:, :1], y=Y)
    assert Dataset.from_npz(path, x_key="x,mask").inputs == ("x", "mask")
    assert Dataset.from_npz(path, x_key=["mask", "x"]).inputs == ("mask", "x")
    assert Dataset.from_npz(path).reading.left_out == ("array mask (60, 1): not an input and not labels",)
    assert not Dataset.from_npz(path, y_key="").labelled
    kinds = npz(tmp_path / "k.npz", x=X, kinds=Y)
    assert Dataset.from_npz(kinds, y_key="kinds").labelled
    assert not Dataset.from_npz(kinds, y_key="").labelled


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "labels": Y, "target": Y}, r"array labels .* and array target .* each of them could be the .*y_key"),
        ({"x": X, "Y": Y, "labels": Y}, r"array Y \(60,\) and array labels \(60,\): each of them"),
        ({"x": X, "y_val": Y[:30]}, r"array y_val \(30,\): it could be the labels, but not of 60 examples"),
        ({"x": X, "kinds": Y}, r"array kinds \(60,\): it could be the labels of x.*y_key=.*x_key="),
        ({"x": X, "y": Y, "label": Y}, r"array y .* and array label .*: each of them"),
        ({"arr_0": X, "arr_1": Y}, r"array arr_0 .* and array arr_1 .*: each of them could be .*x_key= and y_key="),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_val": Y}, r"y is given, y_test is not"),
        ({"x": X, "y": Y[:50]}, r"x has 60 examples, y has 50 labels"),
    ],
)  # fmt: skip
def test_npz_that_can_be_read_in_two_ways_is_refused(tmp_path, arrays, message):
    with pytest.raises(DatasetError, match=message):
        Dataset.from_npz(npz(tmp_path / "d.npz", **arrays))


def test_npz_arrays_beside_x_are_inputs_of_a_model_that_takes_them(tmp_path):
    mask = (X[:, :1] > 30).astype(np.float32)
    two = Model("/n.onnx", "onnx", (TensorSpec("h", (None, 1), "float32"), TensorSpec("x", (None, 2), "float32")), (
        TensorSpec("o", (None, 3), "float32"),), (), 0, 0, "")  # fmt: skip
    data = Dataset.from_npz(npz(tmp_path / "d.npz", x=X, h=mask, y=Y, other=Y), preprocess=Preprocess(scale=2))
    assert data.inputs == ("input",)
    fit = data.check(two)
    assert fit.inputs == ("h", "x")
    assert fit.reading.left_out == ("array other (60,): not an input and not labels",)
    for split in fit.splits.values():
        np.testing.assert_array_equal(split.inputs["h"][:, 0], split.inputs["x"][:, 0] > 30)
    assert fit.batch()["h"].max() == 2
    parted = npz(tmp_path / "p.npz", x_train=X, h_train=mask, y_train=Y, x_test=X, h_test=mask, y_test=Y)
    assert Dataset.from_npz(parted).check(two).inputs == ("h", "x")


def test_npz_arrays_that_a_model_does_not_take_are_named(tmp_path):
    one = Model("/n.onnx", "onnx", (TensorSpec("images", (None, 2), "float32"),), (
        TensorSpec("o", (None, 3), "float32"),), (), 0, 0, "")  # fmt: skip
    fit = Dataset.from_npz(npz(tmp_path / "d.npz", images=X, weights=X[:, 0], labels=Y)).check(one)
    assert fit.inputs == ("images",)
    assert fit.reading.left_out == ("array weights: not an input of the model",)


def test_npz_parts_that_are_just_called_train_and_test(tmp_path):
    data = Dataset.from_npz(npz(tmp_path / "d.npz", train=X, test=X + 0.5, train_labels=Y, test_labels=Y))
    assert (data.splits["test"].inputs["input"] % 1 == 0.5).all()
    assert data.labelled


def test_npz_arrays_that_are_only_called_like_a_part(tmp_path):
    data = Dataset.from_npz(npz(tmp_path / "d.npz", a=X, train_mask=X, dev_id=X[:, 0], y=Y))
    assert data.inputs == ("a", "train_mask", "dev_id")


def test_class_indices_called_classes_are_labels_and_not_names(tmp_path):
    path = npz(tmp_path / "d.npz", x=X, y=Y, class_names=np.array(["p", "q", "r"]))
    assert Dataset.from_npz(path).classes == ("p", "q", "r")


# -- csv ------------------------------------------------------------------------------------------------------------


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


# -- images ---------------------------------------------------------------------------------------------------------


def pictures(folder, classes=("cat", "dog"), count=20, size=(8, 6), mode="L"):
    for shade, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            color = shade * 100 + i
            Image.new(mode, (size[1], size[0]), color if mode == "L" else (color, 0, 255)).save(
                folder / name / f"{i}.png"
            )
    return folder


def test_images_by_class(tmp_path):
    pictures(tmp_path)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    data = Dataset.from_image_folder(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.sample(1).shape == (1, 8, 6, 1)
    assert len(data) == 40
    for split in data.splits.values():
        np.testing.assert_array_equal(split.inputs["input"][:, 0, 0, 0] >= 100, split.labels == 1)


def test_images_with_train_and_test_folders(tmp_path):
    pictures(tmp_path / "train", mode="RGB")
    pictures(tmp_path / "test", mode="RGB")
    data = Dataset.from_image_folder(tmp_path, size=(4, 4))
    assert len(data.splits["train"]) == 40
    assert data.sample(1).shape == (1, 4, 4, 3)
    assert (data.sample(1)[..., 2] == 255).all()


def test_images_of_several_sizes_and_modes_become_one_form(tmp_path):
    pictures(tmp_path)
    Image.new("RGBA", (20, 30), (9, 9, 9, 255)).save(tmp_path / "cat" / "odd.png")
    Image.new("P", (6, 8)).save(tmp_path / "dog" / "odd.gif")
    data = Dataset.from_image_folder(tmp_path)
    assert data.sample(1).shape == (1, 8, 6, 3)
    assert len(data) == 42


def test_the_order_of_classes_can_be_given(tmp_path):
    data = Dataset.from_image_folder(pictures(tmp_path), classes=["dog", "cat"])
    assert data.classes == ("dog", "cat")
    split = data.splits["evaluation"]
    np.testing.assert_array_equal(split.inputs["input"][:, 0, 0, 0] >= 100, split.labels == 0)


def test_folders_that_cannot_be_used(tmp_path):
    empty = tmp_path / "empty"
    (empty / "cat").mkdir(parents=True)
    (tmp_path / "flat").mkdir()
    (tmp_path / "file").write_text("")
    broken = pictures(tmp_path / "broken")
    (broken / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    pictures(tmp_path / "unequal" / "train")
    pictures(tmp_path / "unequal" / "test", ("cat", "owl"))
    for path, options, message in [
        (empty, {}, r"empty holds no images \(\.bmp"),
        (tmp_path / "flat", {}, r"flat has no class folders.*one sub-folder per class"),
        (tmp_path / "file", {}, r"file is not a folder"),
        (broken, {}, r"3\.png is not a readable image"),
        (tmp_path / "unequal", {}, r"holds the folder 'owl', which is not one of the classes \['cat', 'dog'\]"),
        (
            pictures(tmp_path / "named"),
            {"classes": ["cat"]},
            r"holds the folder 'dog', which is not one of the classes",
        ),
    ]:
        with pytest.raises(DatasetError, match=message):
            Dataset.from_image_folder(path, **options)


def save(array, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def whole(data):
    return np.concatenate([s.inputs["input"] for s in data.splits.values()])


@pytest.mark.parametrize("ending", [".tif", ".TIFF", ".PNG", ".bmp"])
def test_images_of_every_ending_are_read(tmp_path, ending):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for name in ("a", "b"):
        for i in range(20):
            save(pixels + i, tmp_path / name / f"{i}{ending}")
    data = Dataset.from_image_folder(tmp_path)
    assert sorted(p.tobytes() for p in whole(data)) == sorted((pixels + i).tobytes() for i in range(20) for _ in "ab")


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_images_of_16_bits_stay_so(tmp_path, ending):
    pixels = np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000
    for i in range(30):
        save(pixels + i, tmp_path / "ab"[i % 2] / f"{i}{ending}")
    found = whole(Dataset.from_image_folder(tmp_path))
    assert found.dtype == np.uint16
    assert sorted(found[:, 3, 3, 0].tolist()) == [60000 + i for i in range(30)]
    if ending == ".tif":
        wide = np.arange(16, dtype=np.int32).reshape(4, 4) * 100_000
        for i in range(30):
            save(wide, tmp_path / "wide" / "ab"[i % 2] / f"{i}.tif")
        assert whole(Dataset.from_image_folder(tmp_path / "wide")).max() == 1_500_000
        shutil.rmtree(tmp_path / "wide")
    save(np.zeros((4, 4), np.uint8), tmp_path / "a" / "small.png")
    with pytest.raises(DatasetError, match=r"different bit depths: uint16, uint8"):
        Dataset.from_image_folder(tmp_path)


def test_images_are_turned_laid_on_white_and_converted_and_it_is_said(tmp_path):
    pictures(tmp_path, mode="RGB", size=(8, 8))
    side = np.zeros((4, 8, 3), np.uint8)
    side[0] = 200  # the top, which is the right side once it is turned
    exif = Image.Exif()
    exif[0x0112] = 6
    save(side, tmp_path / "cat" / "turned.png", exif=exif)
    clear = np.full((8, 8, 4), 100, np.uint8)
    clear[..., 3] = 51  # a fifth
    save(clear, tmp_path / "cat" / "clear.png")
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cat" / "ink.jpg")
    Image.new("P", (8, 8)).save(tmp_path / "cat" / "palette.gif")
    Image.new("L", (8, 8), 7).save(tmp_path / "cat" / "gray.png")
    data = Dataset.from_image_folder(tmp_path)
    found = {tuple(p[4, 4].tolist()) for p in whole(data)}
    assert (224, 224, 224) in found  # 100 * 0.2 + 255 * 0.8
    assert (7, 7, 7) in found
    ink = next(p for p in whole(data) if p[0, 0, 0] > 240 and p[0, 0, 1] < 20)
    assert ink.shape == (8, 8, 3)
    turned = next(p for p in whole(data) if p[0, 7, 0] >= 190 and p[7, 7, 0] >= 190 and p[4, 0, 0] == 0)
    assert (turned[:, 0] == 0).all()
    said = " ".join(data.reading.notes)
    for words in (
        "1 of 45 images was rotated",
        "1 of 45 images was composited onto white",
        "1 of 45 images was gray among",
    ):
        assert words in said
    assert "1 of 45 images have a different size and were scaled to 8 x 8 (bilinear" in said


def test_color_images_of_16_bits_are_said_to_lose_half_of_them(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = np.full((4, 4, 3), 0x1234, ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    for i in range(30):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[i % 2] / f"{i}.png").write_bytes(png)
    data = Dataset.from_image_folder(tmp_path)
    assert (whole(data) == 0x12).all()
    assert data.reading.notes[0].startswith("30 of 30 images were read with 8 of their 16 bits")
    assert "remarks in .reading" in repr(data)


def test_opaque_alpha_changes_nothing(tmp_path):
    for i in range(30):
        pixels = np.full((4, 4, 4), i, np.uint8)
        pixels[..., 3] = 255
        save(pixels, tmp_path / "ab"[i % 2] / f"{i}.png")
    data = Dataset.from_image_folder(tmp_path)
    assert sorted(whole(data)[:, 0, 0, 0].tolist()) == list(range(30))
    assert data.reading.notes == ()


def test_one_odd_first_image_does_not_set_the_size(tmp_path):
    pictures(tmp_path, size=(8, 6))
    Image.new("L", (90, 70)).save(tmp_path / "cat" / "00 first.png")
    data = Dataset.from_image_folder(tmp_path)
    assert data.sample(1).shape == (1, 8, 6, 1)
    assert data.reading.notes[0].startswith("1 of 41 images have a different size and were scaled to 8 x 6")


def test_images_are_scaled_as_preprocessing_does_it(tmp_path):
    rng = np.random.default_rng(0)
    large = rng.integers(0, 256, (30, 20, 16, 3), dtype=np.uint8)
    for i, pixels in enumerate(large):
        save(pixels, tmp_path / "ab"[i % 2] / f"{i:02}.png")
    step = Preprocess(resize=(7, 5))
    small = Dataset.from_image_folder(tmp_path, size=(7, 5))
    later = Dataset.from_image_folder(tmp_path, preprocess=step)
    np.testing.assert_array_equal(small.batch()["input"], later.batch()["input"])
    wanted = [np.asarray(Image.fromarray(p).resize((5, 7), Image.Resampling.BILINEAR)) for p in large]
    assert sorted(p.tobytes() for p in whole(small)) == sorted(p.tobytes() for p in wanted)


def test_a_class_called_train_is_a_class(tmp_path):
    assert Dataset.from_image_folder(pictures(tmp_path / "a", ("bus", "train"))).classes == ("bus", "train")
    assert Dataset.from_image_folder(pictures(tmp_path / "b", ("test", "train"))).classes == ("test", "train")
    nested = pictures(tmp_path / "c", ("bus", "train"))
    pictures(nested / "train", ("old",))
    (nested / "train" / "0.png").rename(nested / "train" / "kept.png")
    data = Dataset.from_image_folder(nested)
    assert data.classes == ("bus", "train")
    assert data.reading.left_out == ("sub-folder of class folders, which are not read: train/old",)


def test_a_validation_folder_is_held_out_or_named(tmp_path):
    root = tmp_path / "split"
    pictures(root / "train", mode="RGB")
    pictures(root / "val", mode="RGB", count=30)
    data = Dataset.from_image_folder(root)
    assert len(data.splits["train"]) == 40
    assert len(data.splits["evaluation"]) + len(data.splits["test"]) == 60
    assert "the folder val is used for the held-out images" in data.reading.notes[0]
    pictures(root / "test", mode="RGB", count=20)
    (root / "extra").mkdir()
    data = Dataset.from_image_folder(root)
    assert len(data) == 80
    assert data.reading.left_out == (
        "folder val: the folder test holds the held-out images", "folder extra: it is not train, test or val",
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs, and no links without rights")
def test_what_is_not_an_image_is_named_and_counted_and_never_opened(tmp_path):
    root = pictures(tmp_path / "data")
    outside = save(np.zeros((8, 6), np.uint8), tmp_path / "outside.png")
    (root / "cat" / "link.png").symlink_to(outside)
    (root / "cat" / "own.png").symlink_to(root / "cat" / "1.png")
    (root / "cat" / "broken.png").symlink_to(root / "Nothing.png")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "dog" / "a.txt").write_text("")
    (root / "dog" / "b.TXT").write_text("")
    (root / "dog" / "more").mkdir()
    save(np.zeros((8, 6), np.uint8), root / "beside.png")
    data = Dataset.from_image_folder(root)
    assert len(data) == 41
    assert data.reading.left_out == (
        "1 image beside the class folders in data",
        "5 files that are not images: 2 .txt, 1 broken links, 1 links to outside, 1 pipes, sockets or devices",
        "sub-folder of class folders, which are not read: dog/more",
    )
    (root / "owl").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match=r"owl is a link to a folder outside .*, which is not followed"):
        Dataset.from_image_folder(root)


def test_classes_without_images_are_refused(tmp_path):
    root = pictures(tmp_path / "a")
    (root / "owl").mkdir()
    with pytest.raises(DatasetError, match=r"owl holds no images for the class 'owl'\."):
        Dataset.from_image_folder(root)
    (root / "owl" / "0.heic").write_bytes(b"\0")
    with pytest.raises(DatasetError, match=r"no images for the class 'owl', only 1 \.heic"):
        Dataset.from_image_folder(root)
    pictures(root / "owl", ("monday", "tuesday"))
    with pytest.raises(DatasetError, match=r"may be in the sub-folders owl/monday, owl/tuesday.*move the images"):
        Dataset.from_image_folder(root)


def test_an_empty_image_file(tmp_path):
    (pictures(tmp_path) / "cat" / "5.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"5\.png is not a readable image: it is empty"):
        Dataset.from_image_folder(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(tmp_path):
    path = npz(tmp_path / "d.npz", x=X)
    path.chmod(0)
    with pytest.raises(DatasetError, match=r"may not be read: permission denied"):
        Dataset.from_npz(path)


def test_the_reading_of_plain_images_has_nothing_to_note(tmp_path):
    data = Dataset.from_image_folder(pictures(tmp_path))
    assert data.reading.left_out == ()
    assert data.reading.inputs == (f"input from images of the class folders in {tmp_path.name}: uint8, 8x6x1",)
    assert data.reading.labels == "names of the folders: class indices"


# -- tf.data --------------------------------------------------------------------------------------------------------


@pytest.fixture
def from_tf(monkeypatch):
    """Runs one of the functions of ``tf_forms.py`` in a child that has TensorFlow."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def run(form):
        return shared().run(Task("tf_forms:read", {"form": form}, group="tensorflow", name=f"tf.data {form}"))

    return run


@pytest.mark.parametrize(
    "form",
    [
        "single",
        "batched",
        "full_batches",
        "one_hot",
        "one_hot_batched",
        "dictionary",
        "unlabelled",
        "unlabelled_batched",
        "text",
        "unlabelled_told",
    ],
)
def test_tf_data_in_every_form(from_tf, form):
    found = from_tf(form)
    assert found["count"] == 60
    assert found["shapes"] == ([[4, 3], [2]] if form == "dictionary" else [[]] if form == "text" else [[4, 3]])
    assert found["labels"] == ([] if form.startswith("unlabelled") else [0, 1, 2])


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("endless", r"infinite.*\.take\(n\)"),
        ("empty", r"The tf\.data\.Dataset is empty"),
        ("pair_of_inputs", r"The elements of the tf\.data\.Dataset are .*a dictionary of tensors"),
        ("ragged", r"The elements of the tf\.data\.Dataset are .*Ragged"),
    ],
)
def test_tf_data_that_cannot_be_used(from_tf, form, message):
    with pytest.raises(DatasetError, match=message):
        from_tf(form)


# -- what is easily meant otherwise -----------------------------------------------------------------------------------


def class_folders(root, names, count=12):
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((4, 4, 3), 10 * number + i, np.uint8)).save(root / name / f"{i:02}.png")
    return root


def test_folders_called_by_numbers_are_said_to_be_sorted_as_text(tmp_path):
    names = [str(i) for i in range(12)]
    folder = class_folders(tmp_path / "digits", names)
    data = Dataset.from_image_folder(folder)
    assert data.classes == tuple(sorted(names))
    assert any("sorted as text" in n and "'10' comes before '2'" in n for n in data.reading.notes)
    ordered = Dataset.from_image_folder(folder, classes=names)
    assert ordered.classes == tuple(names)
    few = Dataset.from_image_folder(class_folders(tmp_path / "few", names[:3]))
    assert not any("sorted as text" in n for n in (*ordered.reading.notes, *few.reading.notes))


def test_a_folder_around_the_class_folders_is_named_as_what_to_give(tmp_path):
    class_folders(tmp_path / "images", ["a", "b"])
    with pytest.raises(DatasetError) as refused:
        Dataset.from_image_folder(tmp_path)
    assert str(tmp_path / "images") in refused.value.remedy


def test_held_out_classes_that_are_not_trained_have_a_remedy(tmp_path):
    class_folders(tmp_path / "train", ["a", "b"])
    class_folders(tmp_path / "test", ["a", "b", "c"])
    with pytest.raises(DatasetError, match="folder 'c'") as refused:
        Dataset.from_image_folder(tmp_path)
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\x1f\x8b\x08\x00" + bytes(range(256)), "a gzip archive"),
        (b"PK\x03\x04\x14\x00\x00\x00", "a zip archive or an Excel file"),
        (b"PAR1\x15\x04\x00\xff\xfe", "a Parquet file"),
        (b"# made by a tool\na,b,label\n1,2,0\n", "begins with a comment"),
        (b"label\n" + b"0\n1\n" * 30, "no column beside its labels"),
    ],
)
def test_other_files_than_tables_are_called_what_they_are(tmp_path, content, found):
    file = tmp_path / "data.csv"
    file.write_bytes(content)
    with pytest.raises(DatasetError) as refused:
        Dataset.from_csv(file)
    assert found in refused.value.message
    assert refused.value.remedy
