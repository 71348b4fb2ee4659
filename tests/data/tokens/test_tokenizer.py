"""A tokenizer gives what the package's own gives, padded and cut as the folder says."""

import json

import numpy as np
import pytest
import tokenizers

from deploykit.core.errors import DatasetError, SettingError
from deploykit.data.preprocess import Preprocess
from deploykit.data.tokens.tokenizer import Tokenizer
from deploykit.testing import bert

TEXTS = ["A good film!", "bad", "John lives in Paris, unbelievably", ""]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(bert.tokenizer_json()))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 48}))
    return tmp_path


def test_it_gives_what_the_package_gives(folder):
    own = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    own.enable_padding(pad_id=0)
    own.enable_truncation(8)
    wanted = own.encode_batch(TEXTS)
    found = Tokenizer.open(folder, max_length=8).encode(TEXTS)
    assert found["input_ids"].tolist() == [row.ids for row in wanted]
    assert found["attention_mask"].tolist() == [row.attention_mask for row in wanted]
    assert found["token_type_ids"].tolist() == [row.type_ids for row in wanted]
    assert found["input_ids"].dtype == np.int64
    assert found["input_ids"].shape == (4, 8)  # the long one was cut


def test_pairs_have_two_types(folder):
    found = Tokenizer.open(folder).encode(np.array([["a film", "the plot"]]))
    assert found["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]


def test_rows_are_filled_up_on_the_side_that_the_folder_names(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 48, "padding_side": "left"}))
    left = Tokenizer.open(folder).padded(6).feeding(["input_ids", "position_ids"])
    found = left.encode(["a film"])
    numbers = bert.vocabulary()
    ends = [numbers[t] for t in ("[CLS]", "a", "film", "[SEP]")]
    assert found["input_ids"].tolist() == [[0, 0, *ends]]
    assert found["position_ids"].tolist() == [[0, 0, 0, 1, 2, 3]]
    assert left.words(["a film"]).tolist() == [[-1, -1, -1, 0, 1, -1]]


def test_it_feeds_what_other_tools_call_its_columns(folder):
    found = Tokenizer.open(folder).feeding(["serving_default_input_word_ids:0", "input_mask", "age"])
    assert dict(found.feeds) == {"serving_default_input_word_ids:0": "ids", "input_mask": "mask"}


def test_the_first_token_of_a_word_stands_for_it(folder):
    found = Tokenizer.open(folder).words(["zz film, Paris"])  # [CLS] z ##z film , paris [SEP]
    assert found.tolist() == [[-1, 0, -1, 1, -1, 2, -1]]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"sentence_bert_config": {"max_seq_length": 20}}, (20, "sentence_bert_config.json")),
        ({}, (48, "tokenizer_config.json")),
        ({"config": {"max_position_embeddings": 32}}, (32, "config.json")),
        ({"config": {"max_position_embeddings": 34, "model_type": "roberta", "pad_token_id": 1}}, (32, "config.json")),
        (
            {"tokenizer_config": {"model_max_length": 1e30}, "config": {"max_position_embeddings": 9}},
            (9, "config.json"),
        ),
    ],
)
def test_how_long_texts_may_be(folder, files, wanted):
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    found = Tokenizer.open(folder)
    assert (found.max_length, found.why) == wanted


def test_it_survives_json_and_other_preprocessing_keeps_its_form(folder):
    step = Preprocess(tokenizer=Tokenizer.open(folder))
    assert Preprocess.from_json(json.loads(json.dumps(step.to_json()))) == step
    assert "tokenizer" not in Preprocess(scale=2.0).to_json()  # digests of stores that know no tokenizers
    assert step.words() == ("tokenized (WordPiece, 117 tokens; texts of at most 48)",)
    with pytest.raises(SettingError, match="scale is given"):
        Preprocess(tokenizer=step.tokenizer, scale=2.0)


def test_what_is_no_tokenizer_is_refused(folder, tmp_path):
    with pytest.raises(SettingError, match="leave no place"):
        Tokenizer.open(folder, max_length=2).encode(["a"])
    with pytest.raises(DatasetError, match="not UTF-8"):
        Tokenizer.open(folder).encode(np.array([b"\xff"], object))
    with pytest.raises(DatasetError, match=r"one text per example, or a pair; got int64"):
        Tokenizer.open(folder).encode(np.zeros(2, np.int64))
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(DatasetError, match=r"Nothing in .* says how many tokens"):
        Tokenizer.open(folder)
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(DatasetError, match="is not a tokenizer"):
        Tokenizer.open(folder, max_length=8)
    other = tmp_path / "other"
    other.mkdir()
    (other / "vocab.txt").write_text("a\n")
    with pytest.raises(DatasetError, match=r"has vocab\.txt and no tokenizer\.json") as error:
        Tokenizer.open(other)
    assert "AutoTokenizer" in error.value.remedy
