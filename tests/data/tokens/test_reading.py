"""Texts and labels of lists, files and folders."""

import json

import numpy as np
import pytest

from deploykit.core.errors import DatasetError
from deploykit.data.dataset import Dataset

TEXTS = [f"text number {i}" for i in range(60)]
LABELS = ["good" if i % 2 else "bad" for i in range(60)]


def pairs(data):
    """Text → class name, of all splits."""
    return {
        str(text): data.classes[label]
        for split in data.splits.values()
        for text, label in zip(split.inputs["text"].tolist(), split.labels.tolist(), strict=True)
    }


def test_lists():
    data = Dataset.from_text(TEXTS, LABELS)
    assert data.classes == ("bad", "good")
    assert pairs(data) == dict(zip(TEXTS, LABELS, strict=True))


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json"])
def test_files_with_named_columns(tmp_path, ending):
    path = tmp_path / f"reviews{ending}"
    rows = [{"id": i, "Review": t, "stars": y} for i, (t, y) in enumerate(zip(TEXTS, LABELS, strict=True))]
    rows[3]["Review"] = "with, a comma" if ending != ".tsv" else "with a comma"
    mark = {".csv": ",", ".tsv": "\t"}.get(ending)
    if mark:
        lines = [mark.join(rows[0])] + [mark.join([str(r["id"]), f'"{r["Review"]}"', r["stars"]]) for r in rows]
        path.write_text("\n".join(lines))
    elif ending == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        path.write_text(json.dumps(rows))
    data = Dataset.from_text(path)
    assert pairs(data) == {r["Review"]: r["stars"] for r in rows}
    assert data.reading.left_out == ("column id",)
    assert "column Review" in data.reading.inputs[0]
    with pytest.raises(DatasetError, match="no column 'nope'; it has id, Review, stars"):
        Dataset.from_text(path, text="nope")


def test_a_text_a_line(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join([*TEXTS, "", "  "]))
    data = Dataset.from_text(path)
    assert not data.labelled
    assert len(data) == 60
    assert data.reading.left_out == ("2 empty texts (lines 61, 62)",)
    path.write_text("\n".join(TEXTS))
    assert pairs(Dataset.from_text(path, LABELS))[TEXTS[1]] == "good"


@pytest.mark.parametrize("apart", [False, True])
def test_a_folder_per_class(tmp_path, apart):
    for part in ("train", "test") if apart else ("",):
        for i, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
            place = tmp_path / part / label
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{i}.txt").write_text(text + part)
    data = Dataset.from_text(tmp_path)
    assert pairs(data) == {
        t + p: y for t, y in zip(TEXTS, LABELS, strict=True) for p in (("train", "test") if apart else ("",))
    }
    assert data.reading.given_apart == apart


def test_empty_and_missing_texts_are_left_out_with_their_labels():
    data = Dataset.from_text([*TEXTS, "", None, " \n"], [*LABELS, "good", "good", "bad"])
    assert len(data) == 60
    assert data.reading.left_out == ("3 empty texts (texts 60, 61, 62)",)
    with pytest.raises(DatasetError, match="all 20 texts are empty"):
        Dataset.from_text([""] * 20, [0] * 20)


def test_words_with_a_tag_each():
    data = Dataset.from_text(
        [["John", "lives"], ["Paris"], ["in", "Paris", ""]] * 20, [["P", "O"], ["L"], ["O", "L", "O"]] * 20
    )
    assert data.classes == ("L", "O", "P")
    found = {
        t: y for s in data.splits.values() for t, y in zip(s.inputs["text"].tolist(), s.labels.tolist(), strict=True)
    }
    assert found == {"John lives": [2, 1], "Paris": [0, -1], "in Paris": [1, 0]}
    assert any("20 words are empty" in note for note in data.reading.notes)
    with pytest.raises(DatasetError, match="the texts, text 1: 2 words and 1 tags"):
        Dataset.from_text([["a"], ["b", "c"]] * 20, [["O"], ["O"]] * 20)


def test_several_labels_and_pairs():
    data = Dataset.from_text(["a b", "c", "d e f"] * 20, [["x"], ["y", "x"], []] * 20)
    found = {
        t: y for s in data.splits.values() for t, y in zip(s.inputs["text"].tolist(), s.labels.tolist(), strict=True)
    }
    assert found == {"a b": [1, 0], "c": [1, 1], "d e f": [0, 0]}
    data = Dataset.from_text([("a", "b"), ("c", "d")] * 20, [0, 1] * 20)
    assert data.splits["train"].inputs["text"].shape[1:] == (2,)


def test_one_long_text_does_not_make_all_of_them_as_wide():
    data = Dataset.from_text([*TEXTS * 400, "x" * 5000], [*LABELS * 400, "bad"])
    assert data.splits["train"].inputs["text"].dtype == object
    assert "text: text" in data.reading.inputs[0]


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(DatasetError, match="60 texts and 2 labels"):
        Dataset.from_text(TEXTS, ["a", "b"])
    with pytest.raises(DatasetError, match="int objects, not text"):
        Dataset.from_text([1, 2, 3], [0, 1, 0])
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "a"}\n[1]\n')
    with pytest.raises(DatasetError, match="line 2 is not an object"):
        Dataset.from_text(path)
    path.write_text("\n".join([json.dumps({"text": {"a": 1}, "label": 0})] * 20))
    with pytest.raises(DatasetError, match="column 'text' is nested"):
        Dataset.from_text(path, text="text")
    with pytest.raises(DatasetError, match="There are no data at"):
        Dataset.from_text(tmp_path / "none.csv")


def test_numbers_stay_numbers():
    data = Dataset.from_text(TEXTS, np.linspace(0, 1, 60))
    assert data.labels().dtype.kind == "f"
