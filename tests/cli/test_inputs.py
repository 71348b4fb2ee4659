"""Model, data and space as they are named on the command line."""

import argparse
import json

import numpy as np
import pytest
import soundfile
from PIL import Image

from deploykit.cli._shared import inputs
from deploykit.core.errors import DatasetError, SettingError
from deploykit.testing import bert

X, Y = np.zeros((60, 4), np.uint8), np.arange(60) % 3


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    inputs.add_data(parser)
    inputs.add_space(parser)
    return parser.parse_args([str(a) for a in arguments])


def data(*arguments):
    return inputs.data(parsed(*arguments))


def test_npz_with_flags(tmp_path):
    np.savez(tmp_path / "d.npz", images=X, kinds=Y)
    found = data(
        "--data", tmp_path / "d.npz", "--x-key", "images", "--y-key", "kinds", "--classes", "a, b,c",
        "--reshape", "2x2x1", "--scale", "1/255", "--offset", "-0.5", "--seed", 3,
    )  # fmt: skip
    assert found.classes == ("a", "b", "c")
    assert found.seed == 3
    assert found.batch()["input"].shape[1:] == (2, 2, 1)
    assert (found.batch()["input"] == -0.5).all()
    assert found.preprocess["input"].scale == pytest.approx(1 / 255)


def test_what_a_vision_model_takes(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=Y)
    found = data(
        "--data", tmp_path / "d.npz", "--scale", "1/255", "--mean", "0.485,0.456,1/4", "--std", "0.25",
        "--layout", "channels_first", "--channels", "reversed",
    )  # fmt: skip
    raw = found.splits["evaluation"].inputs["input"]
    wanted = ((raw[..., ::-1] / 255 - [0.485, 0.456, 0.25]) / 0.25).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found.batch()["input"], wanted, rtol=1e-5, atol=1e-5)
    turned = data("--data", tmp_path / "d.npz", "--transpose", "1,0,2", "--raw")
    assert turned.batch()["input"].shape[1:] == (6, 8, 3)
    assert turned.preprocess["input"].raw


def test_one_array_for_each_input(tmp_path):
    np.savez(tmp_path / "d.npz", a=X, b=X, y=Y)
    assert data("--data", tmp_path / "d.npz").inputs == ("a", "b")
    assert data("--data", tmp_path / "d.npz", "--x-key", "b,a", "--y-key", "").inputs == ("b", "a")


def test_columns_that_are_left_out(tmp_path):
    (tmp_path / "d.csv").write_text("id,a,label\n" + "".join(f"{i},{i},{i % 3}\n" for i in range(60)))
    assert data("--data", tmp_path / "d.csv", "--drop", "id").sample(1).shape == (1, 1)


def test_class_names_in_the_file_stay_when_no_flag_is_given(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=Y, classes=np.array(["p", "q", "r"]))
    assert data("--data", tmp_path / "d.npz").classes == ("p", "q", "r")


def test_csv_with_a_label_column(tmp_path):
    (tmp_path / "d.csv").write_text("a,kind\n" + "".join(f"{i},{'xyz'[i % 3]}\n" for i in range(60)))
    assert data("--data", tmp_path / "d.csv", "--label", "kind").classes == ("x", "y", "z")


def test_recordings_with_texts_in_columns_that_are_named(tmp_path):
    rows = ["wav\tsaid"]
    for i in range(30):
        soundfile.write(tmp_path / f"{i}.wav", np.full(80, (i + 1) / 64, np.float32), 8000, subtype="FLOAT")
        rows.append(f"{i}.wav\t{'ab'[i % 2]} {'ba'[i % 3 > 0]}")
    (tmp_path / "list.tsv").write_text("\n".join(rows))
    found = data(
        "--data", tmp_path / "list.tsv", "--file", "wav", "--text", "said", "--classes", "<pad>,|,a,b", "--rate", 4000,
        "--seconds", "0.01",
    )  # fmt: skip
    assert found.sample(1).shape == (1, 40)
    assert set(found.labels()) <= {"a b", "a a", "b b", "b a"}
    with pytest.raises(argparse.ArgumentTypeError, match="--text names one column of texts for recordings"):
        data("--data", tmp_path / "list.tsv", "--file", "wav", "--text", "said,wav")


def test_a_folder_of_images(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.new("L", (6, 5), i).save(tmp_path / name / f"{i}.png")
    found = data("--data", tmp_path, "--resize", "4,3")
    assert found.classes == ("cat", "dog")
    assert found.batch()["input"].shape[1:] == (4, 3, 1)


@pytest.mark.parametrize(
    ("file", "flag", "message"),
    [
        ("d.npz", "--label", r"--label applies to \.csv files and other tables, not to .*d\.npz"),
        ("d.csv", "--x-key", r"--x-key applies to \.npz files, not to .*d\.csv"),
        ("d.csv", "--y-key", r"--y-key applies to \.npz files"),
        ("d.npz", "--drop", r"--drop applies to \.csv and Parquet files"),
    ],
)
def test_flags_of_another_kind_of_data_are_wrong_usage(tmp_path, file, flag, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        data("--data", tmp_path / file, flag, "a")


def test_they_are_status_2(cli, desk, data_flags):
    status, _, err = cli("plan", desk / "net.onnx", *data_flags, "--label", "kind")
    assert status == 2
    assert "--label applies to .csv files and other tables" in err


def test_images_with_boxes(tmp_path):
    images, annotations = [], []
    (tmp_path / "pictures").mkdir()
    for i in range(40):
        Image.new("RGB", (16, 8), (5 * i, 0, 0)).save(tmp_path / "pictures" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png"})
        annotations.append({"image_id": i, "category_id": 4, "bbox": [0, 0, 8, 8]})
    found = {"images": images, "annotations": annotations, "categories": [{"id": 4, "name": "bus"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(found))
    flags = ("--data", tmp_path / "boxes.json", "--images", tmp_path / "pictures", "--resize", "32,32")
    boxed = data(*flags)
    assert boxed.classes == ("bus",)
    np.testing.assert_allclose(boxed.labels()[0, 0], [0, 0.25, 0.5, 0.75, 0, 0])
    step = boxed.preprocess["input"]
    assert (step.resize, step.fit) == ((32, 32), "letterbox")  # what is served gets the same bars
    stretched = data(*flags, "--fit", "stretch")
    np.testing.assert_allclose(stretched.labels()[0, 0], [0, 0, 0.5, 1, 0, 0])
    step = stretched.preprocess["input"]
    assert (step.resize, step.fit) == ((32, 32), "stretch")
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    with pytest.raises(argparse.ArgumentTypeError, match="--fit applies to"):
        data("--data", tmp_path / "d.npz", "--fit", "stretch")


def test_data_of_another_kind(tmp_path):
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"d\.parquet is not a Parquet file"):
        data("--data", tmp_path / "d.parquet")


def test_spaces_by_name_and_by_file(desk, tmp_path):
    assert inputs.space(parsed("--data", "d", "--space", "balanced")).name == "balanced"
    assert len(inputs.space(parsed("--data", "d", "--space", desk / "space.json")).targets) == 2
    with pytest.raises(SettingError, match=r"Unknown preset 'quik'.*did you mean 'quick'"):
        inputs.space(parsed("--data", "d", "--space", "quik"))
    with pytest.raises(SettingError, match=r"Cannot read the space '.*none\.json'"):
        inputs.space(parsed("--data", "d", "--space", tmp_path / "none.json"))


def test_text_with_a_tokenizer(tmp_path):
    folder = bert.write_folder(tmp_path / "tiny-bert")
    rows = "\n".join(f'"a film, number {i}",{i % 2},{i}' for i in range(60))
    (tmp_path / "d.csv").write_text(f"what,kind,id\n{rows}\n")
    flags = ("--data", tmp_path / "d.csv", "--text", "what", "--label", "kind")
    found = data(*flags, "--tokenizer", folder, "--max-length", 6)
    assert found.inputs == ("text",)
    assert found.batch("evaluation", slice(0, 2))["input_ids"].shape == (2, 6)
    assert sorted(set(found.labels().tolist())) == [0, 1]
    assert data(*flags).preprocess["text"].tokenizer is None
    with pytest.raises(argparse.ArgumentTypeError, match="--max-length applies only with --tokenizer"):
        data(*flags, "--max-length", 6)


def test_images_with_masks(tmp_path):
    for part in ("photos", "numbers"):
        (tmp_path / part).mkdir()
    for i in range(30):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / "photos" / f"{i}.png")
        Image.fromarray(np.full((4, 4, 3), (0, 0, 255 * (i % 2)), np.uint8)).save(tmp_path / "numbers" / f"{i}.png")
    found = data(
        "--data", tmp_path / "photos", "--masks", tmp_path / "numbers", "--colors", "#000000=0,#0000ff=1",
        "--resize", "2,2",
    )  # fmt: skip
    assert found.labels().shape == (len(found.labels()), 2, 2)
    images = found.splits["evaluation"].inputs["input"]
    np.testing.assert_array_equal(found.labels(), images[..., 0] % 2)
    with pytest.raises(argparse.ArgumentTypeError, match="--rate applies to recordings"):
        data("--data", tmp_path / "photos", "--rate", "8000")
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    assert len(data("--data", tmp_path)) == 60


def test_lengths_are_those_of_the_space():
    found = inputs.space(parsed("--data", "x.npz", "--space", "smallest", "--lengths", "64, 16"))
    assert found.lengths == (64, 16)
    assert found.name == "smallest"
    with pytest.raises(SystemExit):
        parsed("--data", "x.npz", "--lengths", "64,0")
