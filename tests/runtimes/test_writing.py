"""Decoders with a cache: what is read and written, beside NumPy's reading of the whole text for each token."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer

import deploykit as dk
from deploykit.core.contract import Declared
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._writing import pace
from deploykit.testing import bert, decoder

RUNTIME = ["onnxruntime", "openvino"]


@pytest.fixture(scope="module")
def weights():
    return decoder.random_weights()


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).integers(0, 32, (6, 5))


def opened(path, data, runtime="onnxruntime", **declared):
    data = data.check(dk.load(path), Declared(**declared))
    return RUNTIMES.get(runtime).open(path, dk.Target(runtime), "onnx", data.contract)


@pytest.mark.parametrize("runtime", RUNTIME)
@pytest.mark.parametrize(("mask", "positions"), [(True, True), (False, True), (True, False)])
def test_what_is_read_and_written_is_what_numpy_finds_without_a_cache(
    tmp_path, weights, rows, runtime, mask, positions
):
    path = decoder.write_onnx(weights, tmp_path / "model.onnx", mask=mask, positions=positions)
    data = dk.Dataset.from_arrays(np.repeat(rows, 8, axis=0))
    session = opened(path, data, runtime)
    np.testing.assert_allclose(session.predict({"input_ids": rows})["logits"], decoder.scores(weights, rows), atol=1e-3)
    session = opened(path, data, runtime, generate=9)
    (found,) = session.predict({"input_ids": rows}).values()
    assert found.tolist() == [decoder.written(weights, row, 9) for row in rows]


def test_a_text_may_be_read_in_parts_by_a_caller_who_carries_the_cache(tmp_path, weights, rows):
    path = decoder.write_onnx(weights, tmp_path / "model.onnx")
    session = opened(path, dk.Dataset.from_arrays(np.repeat(rows, 8, axis=0)))
    first = session.predict({"input_ids": rows[:, :3]})
    carried = {f"past_key_values.{n}.{p}": first[f"present.{n}.{p}"] for n in (0, 1) for p in ("key", "value")}
    assert carried["past_key_values.0.key"].shape == (6, 2, 3, 8)
    rest = session.predict({"input_ids": rows[:, 3:], **carried})
    np.testing.assert_allclose(rest["logits"], decoder.scores(weights, rows)[:, 3:], atol=1e-3)
    assert rest["present.1.value"].shape == (6, 2, 5, 8)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_change_what_is_written(tmp_path, weights, rows, side):
    path = decoder.write_onnx(weights, tmp_path / "model.onnx")
    lengths = [5, 2, 3, 5, 1, 4]
    ids, mask = np.zeros_like(rows), np.zeros_like(rows)
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        place = slice(0, length) if side == "right" else slice(5 - length, 5)
        ids[number, place], mask[number, place] = row[:length], 1
    arrays = {"input_ids": ids, "attention_mask": mask}
    data = dk.Dataset.from_arrays({name: np.repeat(array, 8, axis=0) for name, array in arrays.items()})
    (found,) = opened(path, data, generate=6).predict(arrays).values()
    texts = [row[:length] for row, length in zip(rows, lengths, strict=True)]
    assert found.tolist() == [decoder.written(weights, text, 6) for text in texts]


def test_a_folder_with_a_tokenizer_is_answered_in_texts_up_to_the_token_that_ends_them(tmp_path):
    numbers = bert.vocabulary()
    weights = decoder.random_weights(len(numbers), width=32, heads=4, seed=3)
    folder = decoder.write_folder(weights, tmp_path / "folder")
    end = numbers["[SEP]"]
    prompts = [f"{who} {does}" for who, does in decoder.FACTS]
    data = dk.Dataset.from_text(prompts * 8).check(dk.load(folder), Declared(generate=12))
    assert data.contract.decoder.ends == (end,)
    session = RUNTIMES.get("onnxruntime").open(folder / "model.onnx", dk.Target("onnxruntime"), "onnx", data.contract)
    (found,) = session.predict(data.prepare({"text": np.array(prompts)})).values()
    plain = Tokenizer.from_str(json.dumps(decoder.tokenizer_json()))
    wanted = [decoder.written(weights, plain.encode(text).ids, 12, (end,)) for text in prompts]
    assert found.tolist() == plain.decode_batch(wanted)
    assert len(set(found)) > 1


def test_the_pace_is_that_of_a_text_which_nothing_ends(tmp_path, weights, rows):
    path = decoder.write_onnx(weights, tmp_path / "model.onnx")
    session = opened(path, dk.Dataset.from_arrays(np.repeat(rows, 8, axis=0)), generate=4)
    runs, run = [], session.run
    session.run = lambda arrays: runs.append(arrays[0].shape) or run(arrays)
    done, taken = pace(session, {"input_ids": rows}, session.contract.decoder, 20)
    assert done == 18  # the first two are not counted
    assert taken > 0
    assert runs == [(1, 5), *[(1, 1)] * 19]


def test_a_text_of_a_model_with_a_fixed_batch_is_filled_up(tmp_path, weights, rows):
    import onnx

    path = decoder.write_onnx(weights, tmp_path / "model.onnx")
    model = onnx.load(path)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, path)
    session = opened(path, dk.Dataset.from_arrays(np.repeat(rows, 8, axis=0)), generate=3)
    (found,) = session.predict({"input_ids": rows}).values()
    assert found.tolist() == [decoder.written(weights, row, 3) for row in rows]
