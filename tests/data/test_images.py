"""Folders of images, as people really have them."""

import os
import shutil
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from deploykit.core.errors import DatasetError
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess


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


def test_the_reading_of_plain_images_has_nothing_to_note(tmp_path):
    data = Dataset.from_image_folder(pictures(tmp_path))
    assert data.reading.left_out == ()
    assert data.reading.inputs == (f"input from images of the class folders in {tmp_path.name}: uint8, 8x6x1",)
    assert data.reading.labels == "names of the folders: class indices"


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
