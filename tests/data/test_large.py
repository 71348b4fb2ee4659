"""Data that stay on the disk: the same examples as in memory, and memory that does not grow with them."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

import deploykit as dk
from deploykit.core import mapped
from deploykit.core.errors import DatasetError
from deploykit.core.mapped import Growing, blocks, distinct, stowed, taken
from deploykit.data.reading import duplicates
from deploykit.data.rows import Rows
from deploykit.data.split import Split
from deploykit.data.splits import MOST_SORTED, dealt, drawn

_ROWS = 600


@pytest.fixture
def little_memory(monkeypatch):
    """Arrays above 1 kB stay on the disk."""
    monkeypatch.setattr(mapped, "LARGE_BYTES", 1 << 10)
    monkeypatch.setattr(mapped, "BLOCK_BYTES", 1 << 9)


def _examples(kind="float32"):
    random = np.random.default_rng(0)
    return random.normal(0, 9, (_ROWS, 7)).astype(kind), random.integers(0, 3, _ROWS)


def _same(found, expected):
    assert found.digest == expected.digest
    for name, split in expected.splits.items():
        np.testing.assert_array_equal(np.asarray(found.splits[name].inputs["input"]), split.inputs["input"])
        np.testing.assert_array_equal(found.labels(name), split.labels)


@pytest.mark.parametrize("kind", ["stored", "compressed", "folder", "mapped", "fortran"])
def test_data_on_the_disk_are_split_as_in_memory(kind, tmp_path, little_memory):
    x, y = _examples()
    expected = dk.Dataset.from_arrays(x, y)
    if kind == "fortran":
        x = np.asfortranarray(x)
    if kind in ("folder", "mapped"):
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "y.npy", y)
        found = dk.Dataset.from_npz(tmp_path)
        if kind == "mapped":
            found = dk.Dataset.from_arrays(np.load(tmp_path / "x.npy", mmap_mode="r"), y)
    else:
        (np.savez_compressed if kind == "compressed" else np.savez)(tmp_path / "d.npz", x=x, y=y)
        found = dk.Dataset.from_npz(tmp_path / "d.npz")
    assert found.is_large
    assert not expected.is_large
    _same(found, expected)
    found.save(tmp_path / "saved")
    _same(dk.Dataset.open(tmp_path / "saved"), expected)
    few = found.batch("evaluation", slice(3, 5))["input"]
    np.testing.assert_array_equal(few, expected.batch("evaluation", slice(3, 5))["input"])
    _same(found.without_training(), expected.without_training())


def test_a_csv_on_the_disk_holds_the_numbers_of_the_file(tmp_path, little_memory):
    x, y = _examples("float64")
    x[:500] = np.rint(x[:500]) + 0.0  # whole numbers at first: what was taken for integers becomes real
    with (tmp_path / "d.csv").open("w", newline="") as file:
        names = np.array(["no", "yes", "maybe"])[y]
        rows = ([repr(float(v)) if i >= 500 else int(v) for v in row] for i, row in enumerate(x))
        csv.writer(file).writerows([[*"abcdefg", "label"], *([*row, n] for row, n in zip(rows, names, strict=True))])
    seen = []
    found = dk.Dataset.from_csv(tmp_path / "d.csv", progress=lambda *step: seen.append(step))
    assert found.is_large
    _same(found, dk.Dataset.from_arrays(x.astype(np.float32), names))
    done, total, unit = seen[-1]
    assert (done, total, unit) == (total, (tmp_path / "d.csv").stat().st_size, "bytes")


def test_images_on_the_disk_are_those_of_the_folder(tmp_path, little_memory):
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(20):
            gray = random.integers(0, 255, (6, 5), np.uint8)
            pixels = np.stack([gray] * 3, axis=-1) if (name, i) == ("b", 3) else gray  # widens what was read before
            Image.fromarray(pixels).save(tmp_path / name / f"{i:02}.png")
    found = dk.Dataset.from_image_folder(tmp_path)
    everything = np.concatenate([np.asarray(s.inputs["input"]) for s in found.splits.values()])
    expected = [
        np.broadcast_to(np.asarray(Image.open(p).convert("RGB")), (6, 5, 3)) for p in sorted(tmp_path.rglob("*.png"))
    ]
    assert found.is_large
    assert sorted(image.tobytes() for image in everything) == sorted(image.tobytes() for image in expected)


def test_nan_in_a_later_block_is_found(tmp_path, little_memory):
    x, y = _examples()
    x[450, 2] = np.nan
    np.savez(tmp_path / "d.npz", x=x, y=y)
    with pytest.raises(DatasetError, match=r"NaN .* in 1 of 600 examples \(the first is 450\)"):
        dk.Dataset.from_npz(tmp_path / "d.npz")


def test_a_file_that_becomes_shorter_is_an_error(tmp_path, little_memory):
    x, _ = _examples()
    np.save(tmp_path / "x.npy", x)
    array = np.load(tmp_path / "x.npy", mmap_mode="r")
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(300)
    with pytest.raises(DatasetError, match="has become shorter"):
        taken(array, np.arange(400, 500))


def test_reading_leaves_no_file_behind(tmp_path, monkeypatch, little_memory):
    monkeypatch.setenv("DEPLOYKIT_CACHE", str(tmp_path / "cache"))
    x, y = _examples()
    np.savez_compressed(tmp_path / "d.npz", x=x, y=y)
    data = dk.Dataset.from_npz(tmp_path / "d.npz")
    assert data.is_large
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


@pytest.mark.parametrize("index", [[5, 1, 1, 599], slice(10, 300, 3), -1, np.arange(_ROWS) % 5 == 0, (slice(2, 4), 1)])
def test_rows_index_as_arrays_do(index, little_memory):
    x, _ = _examples()
    rows = Rows([stowed([x[:200], x[200:]])])
    again = rows.take(np.arange(_ROWS)[::-1]).changed(lambda block: block * 2)
    np.testing.assert_array_equal(rows[index], x[index])
    np.testing.assert_array_equal(again[index], 2 * x[::-1][index])
    np.testing.assert_array_equal(np.asarray(rows.joined(Rows([x])))[[3, 603]], x[[3, 3]])


def test_blocks_cover_an_array_once(little_memory):
    rows = Growing()
    for start in range(0, _ROWS, 50):
        rows.append(np.arange(start, start + 50))
    array = rows.array()
    parts = [block for _, block in blocks(array)]
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(_ROWS))
    np.testing.assert_array_equal(distinct(array, array), np.arange(_ROWS))


def test_very_many_examples_are_dealt_in_proportion():
    count = MOST_SORTED + 1000
    labels = np.random.default_rng(0).choice(4, count, p=[0.7, 0.2, 0.1 - 5e-5, 5e-5]).astype(np.int8)
    shares = (0.4, 0.36, 0.24)
    parts = dealt(count, labels, 1, shares)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(count))
    sizes = np.bincount(labels)
    for part, share in zip(parts, shares, strict=True):
        assert (np.abs(np.bincount(labels[part], minlength=4) - share * sizes) <= 1).all()
    assert not np.array_equal(parts[0], dealt(count, labels, 2, shares)[0])
    few = np.bincount(labels[drawn(count, labels, 0, 1000)], minlength=4)
    assert np.abs(few - 1000 * sizes / count).max() <= 25  # of a random choice: at most 3 deviations


def test_examples_in_two_splits_are_counted_by_their_hashes(little_memory):
    x = np.random.default_rng(0).integers(0, 2, (_ROWS, 40)).astype(np.float32)  # differ in few bits
    x = np.unique(x, axis=0)
    source = stowed([x])
    both = {
        "train": Split({"input": Rows([source]).take(np.arange(0, 300))}, None),
        "evaluation": Split({"input": Rows([source]).take(np.arange(290, len(x)))}, None),
    }
    assert duplicates(both) == [f"10 of the {len(x) - 290} evaluation examples are also in train."]


_CHILD = """
import json, pathlib, re, sys
import numpy
import deploykit as dk
data = dk.Dataset.from_npz(sys.argv[1])
data.digest
data.save(pathlib.Path(sys.argv[2]))
opened = dk.Dataset.open(sys.argv[2])
order = numpy.random.default_rng(0).permutation(len(opened.splits["evaluation"]))
seen = sum(float(opened.batch("evaluation", order[i : i + 256])["input"].sum()) for i in range(0, len(order), 256))
status = pathlib.Path("/proc/self/status").read_text()  # getrusage also counts what the parent had
print(json.dumps([int(re.search(r"VmHWM:\\s*(\\d+)", status)[1]), seen]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of this process alone")
def test_memory_does_not_grow_with_the_rows(tmp_path):
    peaks = []
    for rows in (2_000, 40_000):
        x = np.random.default_rng(0).random((rows, 256), np.float32)  # 2 MB, and 41 MB
        np.savez(tmp_path / f"{rows}.npz", x=x, y=np.arange(rows) % 10)
        command = [sys.executable, "-c", _CHILD, str(tmp_path / f"{rows}.npz"), str(tmp_path / f"{rows}")]
        peak, seen = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        peaks.append(peak / 1024)
        assert seen > 0.3 * 0.4 * x.sum(dtype=np.float64)  # all of the evaluation split was read
    assert peaks[1] - peaks[0] < 20  # MiB, where the rows are 39
