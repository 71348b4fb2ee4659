"""Data that are missing, cannot be read or are of other kinds, and those of tf.data."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from deploykit.core.errors import DatasetError
from deploykit.data.dataset import Dataset
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task


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


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros((60, 2), np.float32))
    path.chmod(0)
    with pytest.raises(DatasetError, match=r"may not be read: permission denied"):
        Dataset.from_npz(path)


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
