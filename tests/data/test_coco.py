"""Annotation files in COCO's form: what is read, what is left out and said, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

import deploykit as dk
from deploykit.core.errors import DatasetError, SettingError

COUNT = 40


def written(folder, change=None, *, size=(64, 48), count=COUNT):
    """Images of two sizes with a dark box each, and the file that describes them."""
    folder.mkdir(exist_ok=True)
    images, annotations = [], []
    for i in range(count):
        width, height = size if i % 2 else (32, 32)
        pixels = np.full((height, width, 3), 200, np.uint8)
        left, top = 4 + i % 5, 3
        pixels[top : top + 12, left : left + 16] = (10, 20, 30)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        images.append({"id": 100 + i, "file_name": f"{i}.png", "width": width, "height": height})
        annotations.append(
            {"id": i + 1, "image_id": 100 + i, "category_id": 3 + 8 * (i % 2), "bbox": [left, top, 16, 12]}
        )
    found = {"images": images, "annotations": annotations,
             "categories": [{"id": 11, "name": "dog"}, {"id": 3, "name": "cat"}]}  # fmt: skip
    if change is not None:
        change(found)
    path = folder / "boxes.json"
    path.write_text(json.dumps(found))
    return path


def everything(data):
    splits = data.splits.values()
    return np.concatenate([s.inputs["input"] for s in splits]), np.concatenate([s.labels for s in splits])


def test_boxes_lie_where_the_pixels_are(tmp_path):
    path = written(tmp_path / "images")
    for fit in ("letterbox", "stretch"):
        data = dk.Dataset.from_coco(path, size=(96, 96), fit=fit)
        assert data.classes == ("cat", "dog")
        images, labels = everything(data)
        assert images.shape == (COUNT, 96, 96, 3)
        for image, (box, *rest) in zip(images, labels, strict=True):
            assert all(row[4] == -1 for row in rest)
            found = image[..., 0] < 60
            rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
            wanted = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 96
            np.testing.assert_allclose(box[:4], wanted, atol=1.5 / 96)
            assert box[5] == 0
        reading = str(data.reading)
        assert (
            f"40 of 40 images were scaled to 96 x 96 {'with gray bars' if fit == 'letterbox' else 'to fill'}" in reading
        )
        assert "categories have ids 3 to 11; they became classes 0 to 1" in reading
        assert "40 boxes, up to 1 per image" in reading


def test_the_same_data_after_saving_and_without_a_folder(tmp_path):
    data = dk.Dataset.from_coco(written(tmp_path / "images"), tmp_path / "images", size=(32, 32))
    data.save(tmp_path / "saved")
    again = dk.Dataset.open(tmp_path / "saved")
    assert again.digest == data.digest
    np.testing.assert_array_equal(again.labels(), data.labels())
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 16, "evaluation": 14, "test": 10}


def test_held_out_images_come_from_a_file_of_their_own(tmp_path):
    train, test = written(tmp_path / "train"), written(tmp_path / "val", count=30)
    data = dk.Dataset.from_coco(train, size=(32, 32), test=test, test_images=tmp_path / "val")
    assert [len(s) for s in data.splits.values()] == [40, 18, 12]


def left_out(found):
    notes = found["annotations"]
    notes[0]["bbox"][2] = 0
    notes[1]["bbox"] = [300, 3, 16, 12]
    notes[2]["bbox"] = [20, 3, 40, 12]  # is cut
    notes[3]["iscrowd"] = 1
    notes.append(dict(notes[4]))
    notes.append({**notes[5], "id": 900, "image_id": 7})
    found["images"].append({"id": 1, "file_name": "gone.png"})
    notes.append({"id": 901, "image_id": 1, "category_id": 3, "bbox": [0, 0, 5, 5]})


def test_what_is_left_out_is_counted(tmp_path):
    data = dk.Dataset.from_coco(written(tmp_path / "images", left_out), size=(32, 32), fit="stretch")
    text = str(data.reading)
    for words in (
        "1 of 41 images of boxes.json, whose files are missing: gone.png", "1 boxes without area",
        "1 boxes outside their image", "1 boxes listed twice", "1 boxes of images it does not list",
        "1 boxes of images that are left out", "1 boxes reach beyond their image and were cut at its edge",
        "2 of 40 images have no box",
    ):  # fmt: skip
        assert words in text
    _, labels = everything(data)
    assert (labels[..., 4] >= 0).sum() == 38
    assert labels[..., 5].sum() == 1
    assert labels[..., 2].max() == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.pop("categories"), "has no categories"),
        (lambda found: found["annotations"][0].update(category_id=5), "1 boxes have a category that it does not list"),
        (lambda found: found["images"].append(found["images"][0]), "image id 100 occurs more than once"),
        (lambda found: found["categories"].append(found["categories"][0]), "category id 11 occurs more than once"),
        (lambda found: found["annotations"][1].update(id=1), "annotation id 1 occurs more than once, for different"),
        (lambda found: found["annotations"][0].update(bbox=[1, 2, 3]), "no bbox of four numbers"),
        (lambda found: found["annotations"][0].update(bbox=[1, 2, 3, float("nan")]), "not finite"),
        (lambda found: found["images"][0].update(width=64), "'0.png' is 64 x 32 (width x height), the file is 32 x 32"),
        (lambda found: found["images"][0].update(file_name="../0.png"), "outside"),
        (lambda found: [i.update(file_name="x") for i in found["images"]], "none of the 40 images"),
        (lambda found: found["annotations"].clear(), "no image has a box"),
        (lambda found: found["images"][0].pop("file_name"), "lacks id or file_name"),
    ],
)  # fmt: skip
def test_one_clear_error(tmp_path, change, words):
    with pytest.raises(DatasetError) as caught:
        dk.Dataset.from_coco(written(tmp_path / "images", change), size=(32, 32))
    assert words in str(caught.value)


def test_clients_images_are_fitted_as_those_that_are_judged(tmp_path):
    file = written(tmp_path / "images")
    for fit, other in (("letterbox", "stretch"), ("stretch", "letterbox")):
        step = dk.Preprocess(resize=(32, 32), fit=fit)
        data = dk.Dataset.from_coco(file, size=(32, 32), fit=fit, preprocess=step)
        assert data.preprocess["input"] == step
        with pytest.raises(
            SettingError, match=f"fitted by '{other}', and preprocess= fits those of clients by '{fit}'"
        ):
            dk.Dataset.from_coco(file, size=(32, 32), fit=other, preprocess=step)


def test_other_files(tmp_path):
    for text, words in (("[]", "detection results"), ("{", "is not JSON"), ("3", "has no images")):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(DatasetError, match=words):
            dk.Dataset.from_coco(tmp_path / "a.json")
    with pytest.raises(DatasetError, match="no data at"):
        dk.Dataset.from_coco(tmp_path / "b.json")
    with pytest.raises(SettingError, match="fit"):
        dk.Dataset.from_coco(tmp_path / "a.json", fit="crop")
