"""Parquet files, and folders as Hugging Face datasets saves them."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deploykit.core.errors import DatasetError
from deploykit.data.dataset import Dataset
from deploykit.data.kinds import reader_of

COUNT = 60
TEXTS = [f"text number {i}" for i in range(COUNT)]
STARS = [i % 2 for i in range(COUNT)]


def examples(data, name="text"):
    """Raw example → label, of all splits."""
    return {
        str(x): y if isinstance(y, int) else list(y)
        for split in data.splits.values()
        for x, y in zip(split.inputs[name].tolist(), split.labels.tolist(), strict=True)
    }


def saved(folder, table, features):
    """A folder as ``save_to_disk`` writes it: Arrow streams, their names, and what the columns are."""
    folder.mkdir(parents=True)
    half = table.num_rows // 2
    names = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
    for name, part in zip(names, (table.slice(0, half), table.slice(half)), strict=True):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(part)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": n} for n in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def test_a_parquet_file_of_texts(tmp_path):
    path = tmp_path / "reviews.parquet"
    pq.write_table(pa.table({"id": range(COUNT), "review": TEXTS, "stars": STARS, "meta": [{"a": 1}] * COUNT}), path)
    data = Dataset.from_parquet(path)
    assert examples(data) == dict(zip(TEXTS, STARS, strict=True))
    assert set(data.reading.left_out) == {"column id", "column meta"}
    with pytest.raises(DatasetError, match=r"column 'meta' is nested \(struct<a: int64>\)"):
        Dataset.from_parquet(path, text="meta")
    with pytest.raises(DatasetError, match="no column 'nope'; it has id, review, stars, meta"):
        Dataset.from_parquet(path, text="nope")


def test_a_parquet_file_of_numbers(tmp_path):
    path = tmp_path / "numbers.parquet"
    columns = {"a": np.arange(COUNT), "b": np.linspace(0, 1, COUNT), "label": ["x", "y"] * (COUNT // 2)}
    pq.write_table(pa.table({**columns, "id": range(COUNT)}), path)
    data = Dataset.from_parquet(path, drop=["id"])
    rows = np.concatenate([s.inputs["input"] for s in data.splits.values()])
    wanted = np.stack([columns["a"], columns["b"]], axis=1).astype(np.float32)
    np.testing.assert_array_equal(rows[np.argsort(rows[:, 0])], wanted)
    assert data.classes == ("x", "y")
    pq.write_table(pa.table({"a": [{"b": [1]}] * COUNT, "label": STARS}), path)
    with pytest.raises(DatasetError, match="column 'a' is nested") as error:
        Dataset.from_parquet(path)
    assert "flatten" in error.value.remedy
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DatasetError, match="is not a Parquet file"):
        Dataset.from_parquet(path)


def test_a_folder_of_parquet_files_with_held_out_ones(tmp_path):
    for part in ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001"):
        pq.write_table(pa.table({"text": [f"{t} {part}" for t in TEXTS], "label": STARS}), tmp_path / f"{part}.parquet")
    data = Dataset.from_parquet(tmp_path)
    assert data.reading.given_apart
    assert data.reading.splits["train"] == 2 * COUNT
    assert all("validation" in str(t) for t in data.splits["evaluation"].inputs["text"])


def test_a_saved_dataset_of_texts_with_named_classes(tmp_path):
    label = {"names": ["bad", "good"], "_type": "ClassLabel"}
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": label}
    for split in ("train", "test"):
        saved(tmp_path / split, pa.table({"text": [f"{t} {split}" for t in TEXTS], "label": STARS}), features)
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    data = Dataset.from_huggingface(tmp_path)
    assert data.classes == ("bad", "good")
    assert examples(data) == {f"{t} {s}": y for t, y in zip(TEXTS, STARS, strict=True) for s in ("train", "test")}
    one = Dataset.from_huggingface(tmp_path, split="test")
    assert (len(one), one.reading.left_out) == (COUNT, ("split train",))
    with pytest.raises(DatasetError, match="no split 'dev'; it has train, test"):
        Dataset.from_huggingface(tmp_path, split="dev")
    with pytest.raises(DatasetError, match="not a folder of datasets"):
        Dataset.from_huggingface(tmp_path.parent)


def test_a_saved_dataset_of_tags(tmp_path):
    names = ["O", "B-PER"]
    features = {"tokens": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"},
                "ner_tags": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}}  # fmt: skip
    table = pa.table({"tokens": [["John", "runs"], ["he", "is", "Jim"]] * 30, "ner_tags": [[1, 0], [0, 0, 1]] * 30})
    data = Dataset.from_huggingface(saved(tmp_path / "ner", table, features))
    assert data.classes == ("O", "B-PER")
    assert examples(data) == {"John runs": [1, 0, -1], "he is Jim": [0, 0, 1]}


def test_a_saved_dataset_of_images(tmp_path):
    def png(gray):
        buffer = io.BytesIO()
        Image.new("L", (6, 4), gray).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    table = pa.table({"image": [png(i) for i in range(COUNT)], "label": [i // 30 for i in range(COUNT)]})
    features = {"image": {"_type": "Image"}, "label": {"names": ["dark", "light"], "_type": "ClassLabel"}}
    folder = saved(tmp_path / "images", table, features)
    data = Dataset.from_huggingface(folder)
    split = data.splits["evaluation"]
    assert split.inputs["input"].shape[1:] == (4, 6, 1)
    assert [int(y) for y in split.labels] == [int(x[0, 0, 0]) // 30 for x in split.inputs["input"]]
    (folder / "data-00001-of-00002.arrow").write_bytes(b"no")
    with pytest.raises(DatasetError, match=r"data-00001-of-00002\.arrow is not an Arrow file"):
        Dataset.from_huggingface(folder)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../other.arrow"}]}))
    with pytest.raises(DatasetError, match="names no data files"):
        Dataset.from_huggingface(folder)


def test_which_constructor_reads_a_path(tmp_path):
    (tmp_path / "numbers.csv").write_text("a,label\n1,0\n")
    (tmp_path / "reviews.csv").write_text("review,stars\nfine,5\n")
    (tmp_path / "texts/good").mkdir(parents=True)
    (tmp_path / "texts/good/1.txt").write_text("a")
    (tmp_path / "pictures/cat").mkdir(parents=True)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/dataset_dict.json").write_text("{}")
    found = {n: reader_of(tmp_path / n) for n in ("numbers.csv", "reviews.csv", "texts", "pictures", "saved", "a.npz")}
    assert found == {
        "numbers.csv": "from_csv", "reviews.csv": "from_text", "texts": "from_text", "pictures": "from_image_folder",
        "saved": "from_huggingface", "a.npz": "from_npz",
    }  # fmt: skip
