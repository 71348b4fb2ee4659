"""How decoders with a cache are found out, and what is refused."""

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.contract import Contract, Declared
from deploykit.core.errors import DatasetError, SettingError
from deploykit.testing import bert, decoder


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return decoder.write_onnx(decoder.random_weights(), tmp_path_factory.mktemp("decoder") / "model.onnx")


@pytest.fixture(scope="module")
def data():
    return dk.Dataset.from_arrays(np.random.default_rng(0).integers(1, 32, (40, 6)))


def test_the_next_token_is_the_label_where_there_is_none(path):
    ids = np.random.default_rng(0).integers(1, 32, (40, 6))
    mask = (np.arange(6) < np.arange(1, 41)[:, None] % 6 + 1).astype(np.int64)
    found = dk.Dataset.from_arrays({"input_ids": ids, "attention_mask": mask}).check(dk.load(path), Declared())
    for name, split in found.splits.items():
        rows, there = split.inputs["input_ids"], split.inputs["attention_mask"]
        wanted = [[r[t + 1] if t + 1 < m.sum() else -1 for t in range(6)] for r, m in zip(rows, there, strict=True)]
        assert split.labels.tolist() == wanted, name
    contract = found.checked
    assert contract.labels.kind == "positions"
    assert contract.labels.how == "the next token of each text"
    assert contract.asked == ("input_ids", "attention_mask")
    assert [i.how for i in contract.inputs] == ["name", "name", "derived", *["cache"] * 4]
    assert contract.decoder.cache == dict.fromkeys([i.name for i in contract.inputs[3:]], 2)
    assert Contract.from_json(contract.to_json()) == contract


def test_labels_that_are_given_stay(path):
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(0, 32, (40, 6)), rng.integers(0, 32, (40, 6))
    found = dk.Dataset.from_arrays(ids, labels).check(dk.load(path), Declared())
    assert set(found.labels().ravel()) <= set(range(32))
    assert found.checked.labels.how == "class numbers"


def test_a_cache_of_other_names_is_declared(tmp_path, data):
    import onnx

    path = decoder.write_onnx(decoder.random_weights(layers=1), tmp_path / "model.onnx")
    model = onnx.load(path)
    names = {
        "past_key_values.0.key": "k_in", "past_key_values.0.value": "v_in",
        "present.0.key": "k", "present.0.value": "v",
    }  # fmt: skip
    for node in model.graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.name = names.get(tensor.name, tensor.name)
    onnx.save(model, path)
    with pytest.raises(DatasetError, match=r"Nothing feeds .*k_in"):
        data.check(dk.load(path), Declared())
    contract = data.check(dk.load(path), Declared(state={"k": "k_in", "v": "v_in"})).checked
    assert contract.decoder.cache == {"k_in": 2, "v_in": 2}
    assert contract.state == {"k": "k_in", "v": "v_in"}


def test_what_is_said_of_it(path, data):
    said = str(data.check(dk.load(path), Declared(generate=5)).checked)
    assert "4 arrays keep earlier tokens, initially none; it writes 5 tokens after each example" in said
    assert "present.0.key → past_key_values.0.key" in said
    assert "output  logits: float32 (? × ? × 32), scored as text (token numbers, written one by one)" in said
    assert said.count("past_key_values.1.value") == 0


def test_models_without_a_cache_do_not_write(tmp_path):
    model = dk.load(bert.write_folder(tmp_path / "bert"))
    texts = dk.Dataset.from_text(["a good film"] * 40)
    with pytest.raises(DatasetError, match=r"The model carries no cache .*generate=5 tokens.*present\.0\.key"):
        texts.check(model, Declared(generate=5))


def test_texts_that_grow_longer_than_the_model_allows_are_refused(tmp_path):
    numbers = bert.vocabulary()
    folder = decoder.write_folder(decoder.random_weights(len(numbers), width=32, heads=4), tmp_path / "folder")
    model, data = dk.load(folder), dk.Dataset.from_text(["john lives in paris"] * 40)
    assert data.check(model, Declared(generate=59)).checked.decoder.most == 64
    with pytest.raises(DatasetError, match=r"Examples have up to 5 tokens, and 60 are to be written; .* 64"):
        data.check(model, Declared(generate=60))


@pytest.mark.parametrize("wrong", [-1, 1.5, "many"])
def test_how_much_is_written_is_a_whole_number(path, data, wrong):
    with pytest.raises(SettingError, match="generate"):
        dk.examine(dk.load(path), data, generate=wrong)
