"""Folders of images and masks."""

import numpy as np
import pytest
from PIL import Image

import deploykit as dk
from deploykit.core.errors import DatasetError


def _folder(path, count=40, size=(6, 4), **changes):
    """Images that are their masks' values times 10; ``changes``: name → mask to write instead."""
    random = np.random.default_rng(0)
    masks = {}
    for part in ("images", "masks"):
        (path / part).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        values = random.integers(0, 3, size).astype(np.uint8)
        masks[f"{i:03}"] = values
        Image.fromarray(values * 10).save(path / "images" / f"{i:03}.png")
        Image.fromarray(changes.get(f"m{i}", values)).save(path / "masks" / f"{i:03}.png")
    return masks


def _together(data):
    """All images and labels, whatever split they are in."""
    x = np.concatenate([np.asarray(s.inputs["input"]) for s in data.splits.values()])[..., 0]
    return x, np.concatenate([np.asarray(data.labels(name)) for name in data.splits])


def test_masks_go_with_their_images(tmp_path):
    masks = _folder(tmp_path)
    data = dk.Dataset.from_masks(tmp_path, classes=["a", "b", "c"])
    x, y = _together(data)
    np.testing.assert_array_equal(x, y * 10)
    assert sorted(m.tobytes() for m in y.astype(np.uint8)) == sorted(m.tobytes() for m in masks.values())
    assert data.reading.kind == "masks"


def test_pixels_without_a_label_are_ignored(tmp_path):
    _folder(tmp_path, m3=np.full((6, 4), 255, np.uint8))
    data = dk.Dataset.from_masks(tmp_path)
    _, y = _together(data)
    assert (y == -1).sum() == 24
    assert y.max() == 2
    assert any("value 255 (2 %)" in note for note in data.reading.notes)
    with pytest.raises(DatasetError, match=r"hold the value 255, classes= names 0 to 2"):
        dk.Dataset.from_masks(tmp_path, classes=["a", "b", "c"], ignore=None)


@pytest.mark.parametrize("kind", ["palette", "colors", "gray in three channels", "black and white"])
def test_every_kind_of_mask_is_numbers(kind, tmp_path):
    masks = _folder(tmp_path)
    table = np.array([(0, 0, 0), (255, 0, 0), (0, 128, 255)], np.uint8)
    for name, values in masks.items():
        picture = Image.fromarray(values)
        if kind == "palette":
            picture = Image.fromarray(values, mode=None).convert("P")
            picture.putdata(values.ravel().tolist())
            picture.putpalette(table.ravel().tolist())
        elif kind == "colors":
            picture = Image.fromarray(table[values])
        elif kind == "gray in three channels":
            picture = Image.fromarray(np.stack([values] * 3, axis=-1))
        else:
            picture = Image.fromarray(np.where(values > 0, 255, 0).astype(np.uint8))
        picture.save(tmp_path / "masks" / f"{name}.png")
    colors = {"#000000": 0, (255, 0, 0): 1, "#0080ff": 2} if kind == "colors" else None
    x, y = _together(dk.Dataset.from_masks(tmp_path, colors=colors))
    np.testing.assert_array_equal(y, x > 0 if kind == "black and white" else x // 10)
    if kind == "colors":
        with pytest.raises(DatasetError, match=r"3 colors \(#000000, #0080ff, #ff0000\)"):
            dk.Dataset.from_masks(tmp_path)
        with pytest.raises(DatasetError, match="does not name: #0080ff"):
            dk.Dataset.from_masks(tmp_path, colors={"#000000": 0, "#ff0000": 1})


def test_masks_of_another_size_are_refused_or_scaled(tmp_path):
    _folder(tmp_path, m7=np.repeat(np.repeat(np.arange(6, dtype=np.uint8).reshape(3, 2) % 3, 4, 0), 4, 1))
    with pytest.raises(DatasetError, match=r"1 of 40 masks .*007\.png \(12 x 8, its image 6 x 4\)") as caught:
        dk.Dataset.from_masks(tmp_path)
    assert "--resize" in str(caught.value)
    data = dk.Dataset.from_masks(tmp_path, size=(3, 2))
    _, y = _together(data)
    assert y.shape == (40, 3, 2)
    assert any((mask == np.arange(6).reshape(3, 2) % 3).all() for mask in y)
    assert any(note.startswith("40 of 40 masks were scaled to 3 x 2") for note in data.reading.notes)


def test_what_has_no_counterpart_is_named(tmp_path):
    _folder(tmp_path)
    (tmp_path / "images" / "004.png").unlink()
    (tmp_path / "masks" / "009.png").unlink()
    data = dk.Dataset.from_masks(tmp_path / "images", tmp_path / "masks")
    assert len(data) == 38
    assert data.reading.left_out == ("1 images without a mask: 009.png", "1 masks without an image: 004.png")
    for file in (tmp_path / "masks").iterdir():
        file.rename(file.with_name(f"mask-{file.name}"))
    with pytest.raises(DatasetError, match=r"No image of .* has a mask of the same name"):
        dk.Dataset.from_masks(tmp_path)
    Image.new("L", (4, 6)).save(tmp_path / "masks" / "000.jpg")
    with pytest.raises(DatasetError, match=r"may not keep every pixel: 000\.jpg"):
        dk.Dataset.from_masks(tmp_path)
