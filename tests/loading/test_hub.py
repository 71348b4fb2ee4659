"""Hugging Face folders: which model is read, and what the files beside it say."""

import json
import shutil

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import DatasetError, ModelFileError, UnsupportedModelError
from deploykit.testing import bert


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny text classifier."""
    return bert.write_folder(tmp_path_factory.mktemp("hub") / "tiny-bert.v1")


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it that may be changed."""
    return shutil.copytree(made, tmp_path / "tiny-bert")


def test_the_one_model_of_a_folder_is_read_with_the_names_of_its_classes(made):
    model = dk.load(made)
    assert (model.format, model.name, model.hub) == ("onnx", "tiny-bert.v1", str(made))
    assert model.classes == ("negative", "positive")
    assert [spec.name for spec in model.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [spec.rows for spec in model.inputs] == [len(bert.vocabulary()), 0, 2]
    assert model.warnings == ()


def test_the_usual_one_of_several_is_taken_and_the_others_are_named(folder):
    (folder / "onnx").mkdir()
    for name in ("model.onnx", "model_quantized.onnx"):
        shutil.copy(folder / "model.onnx", folder / "onnx" / name)
    (folder / "model.onnx").rename(folder / "old.onnx")
    (folder / "model.tflite").write_bytes(b"\0\0\0\0TFL3")
    found = dk.load(folder)
    assert found.path == str(folder / "onnx/model.onnx")
    assert found.warnings == ("took onnx/model.onnx; also there: old.onnx, onnx/model_quantized.onnx, model.tflite.",)
    named = dk.load(folder / "onnx/model_quantized.onnx")
    assert (named.name, named.hub, named.classes) == ("model_quantized", str(folder), ("negative", "positive"))


def test_several_of_which_none_is_the_usual_one(folder):
    for name in ("encoder_model.onnx", "decoder_model.onnx"):
        shutil.copy(folder / "model.onnx", folder / name)
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelFileError, match=r"holds 2 models.*decoder_model\.onnx, encoder_model\.onnx") as error:
        dk.load(folder)
    assert "decoder_model.onnx" in error.value.remedy


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForSequenceClassification", "text-classification"),
        ("BertForTokenClassification", "token-classification"),
        ("BertModel", "feature-extraction"),
        ("GPT2LMHeadModel", "text-generation-with-past"),
    ],
)
@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_weights_alone_are_refused_with_the_command_that_exports_them(tmp_path, weights, architecture, task):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture], "model_type": "bert"}))
    (tmp_path / weights).write_bytes(b"\0" * 64)
    with pytest.raises(UnsupportedModelError, match=weights) as error:
        dk.load(tmp_path)
    assert f"optimum-cli export onnx --model {tmp_path} --task {task} {tmp_path}-onnx" in error.value.remedy


def test_a_folder_without_a_model_and_one_whose_config_is_broken(folder):
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelFileError, match=r"has a config\.json and no model"):
        dk.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match="is not JSON"):
        dk.load(folder)


def test_names_of_classes_that_say_nothing_are_left_out(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}))
    assert dk.load(folder).classes == ()


TEXTS = [
    f"{a} {b} was {c}" for a in ("the", "this", "that") for b in ("film", "plot", "story") for c in bert.WORDS[15:23]
]


def test_text_reaches_the_model_as_tokens(made):
    labels = ["positive" if i % 2 else "negative" for i in range(len(TEXTS))]
    data = dk.Dataset.from_text(TEXTS, labels).check(dk.load(made))
    contract = data.checked
    assert contract.asked == ("text",)
    assert [(i.how, i.source) for i in contract.inputs] == [("tokens", "text")] * 3
    assert data.inputs == ("text",)
    fed = data.batch("evaluation", slice(0, 3))
    assert {k: v.shape for k, v in fed.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), (3, 6)
    )
    assert data.calibration()["input_ids"].shape[1] == 6


def test_classes_are_numbered_as_the_model_does(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": {"0": "Positive", "1": "Negative"}}))
    model, labels = dk.load(folder), ["positive" if i % 3 else "negative" for i in range(len(TEXTS))]
    data = dk.Dataset.from_text(TEXTS, labels).check(model)
    assert data.classes == ("Positive", "Negative")
    known = dict(zip(TEXTS, labels, strict=True))
    split = data.splits["evaluation"]
    assert [data.classes[i].lower() for i in split.labels] == [known[str(t)] for t in split.inputs["text"]]
    assert any("numbered as the model's config.json" in note for note in data.checked.notes)
    with pytest.raises(DatasetError, match=r"call classes 'bad', 'good'; .* 'Positive', 'Negative'"):
        dk.Dataset.from_text(TEXTS, ["good", "bad"] * 36).check(model)
    assert dk.Dataset.from_text(TEXTS, [0, 1] * 36).check(model).classes == ("Positive", "Negative")


def test_a_tokenizer_that_does_not_fit_the_table_is_refused(folder):
    plain = bert.tokenizer_json()
    plain["model"]["vocab"] |= {f"more{i}": len(bert.vocabulary()) + i for i in range(3)}
    (folder / "tokenizer.json").write_text(json.dumps(plain))
    with pytest.raises(DatasetError, match="it has 120 tokens, and the table for 'input_ids' has 117 rows"):
        dk.Dataset.from_text(TEXTS).check(dk.load(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DatasetError, match=r"has no tokenizer\.json") as error:
        dk.Dataset.from_text(TEXTS).check(dk.load(folder))
    assert "--tokenizer" in error.value.remedy


def test_texts_that_are_cut_are_counted(made):
    model = dk.load(made)
    step = dk.Preprocess(tokenizer=dk.Tokenizer.open(made, max_length=5))
    data = dk.Dataset.from_text([*TEXTS, "bad", "good"], preprocess={"text": step}).check(model)
    assert data.batch()["input_ids"].shape[1] == 5
    assert "72 of 74 texts are longer than 5 tokens (as given) and are cut." in data.checked.notes


def test_labels_of_words_stand_on_their_first_tokens(tmp_path):
    folder = bert.write_folder(tmp_path / "ner", "tokens", ("O", "B-PER", "B-LOC"))
    rows = [
        (["John", "lives", "in", "Paris"], ["B-PER", "O", "O", "B-LOC"]),
        (["qq", "visits", "Mary"], ["O", "O", "B-PER"]),
    ]
    words, tags = zip(*(rows * 20), strict=True)
    data = dk.Dataset.from_text(list(words), list(tags)).check(dk.load(folder))
    split = data.splits["evaluation"]
    wanted = {"John lives in Paris": [-1, 1, 0, 0, 2, -1], "qq visits Mary": [-1, 0, -1, 0, 1, -1]}  # q ##q
    assert {str(t): y for t, y in zip(split.inputs["text"], split.labels.tolist(), strict=True)} == wanted
    assert data.checked.labels.kind == "positions"
    assert np.array_equal(split.labels >= 0, np.array([np.array(wanted[str(t)]) >= 0 for t in split.inputs["text"]]))
