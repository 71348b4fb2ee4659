"""A decoder from a sweep to served texts, and what bare servers cannot do."""

import json
import urllib.request

import numpy as np
import pytest
from tokenizers import Tokenizer

import deploykit as dk
from deploykit.choosing.pareto import cost_of
from deploykit.core.errors import ExportError
from deploykit.reporting.views.footprint import text_table
from deploykit.testing import bert, decoder

TOKENS = 5


@pytest.fixture(scope="module")
def weights():
    return decoder.random_weights(len(bert.vocabulary()), width=32, heads=4, seed=3)


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    return decoder.write_folder(weights, tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def prompts():
    return [f"{who} {does}" for who, does in decoder.FACTS] * 8


@pytest.fixture(scope="module")
def report(folder, prompts, tmp_path_factory):
    return dk.sweep(
        dk.load(folder), dk.Dataset.from_text(prompts), dk.Space(["quantize_float16"], ["onnxruntime"]),
        store=tmp_path_factory.mktemp("store"), generate=TOKENS, launches=2, progress=lambda _: None,
    )  # fmt: skip


def wanted(weights, texts):
    plain = Tokenizer.from_str(json.dumps(decoder.tokenizer_json()))
    end = bert.vocabulary()["[SEP]"]
    return plain.decode_batch([decoder.written(weights, plain.encode(t).ids, TOKENS, (end,)) for t in texts])


def test_a_sweep_judges_what_is_written_and_times_it(report):
    original = next(row for row in report.rows if not row.candidate.recipe.steps)
    assert original.measurement.score.metric == "token_agreement"
    assert original.measurement.score.value == 1.0
    for row in report.rows:
        pace = row.measurement.footprint.tokens_per_second
        assert 0 < pace.low <= pace.value <= pace.high
    shown = report.to_frame().tokens_per_second
    assert shown.tolist() == [r.measurement.footprint.tokens_per_second.value for r in report.rows]
    headings, _, first, *_ = text_table(report.rows).splitlines()
    assert headings.split("  ")[-1].strip() == "Tokens/s"
    assert first.endswith("]")


def test_the_fastest_writer_may_be_chosen(report):
    paces = {row.key: row.measurement.footprint.tokens_per_second.value for row in report.rows}
    for row in report.rows:
        wanted = pytest.approx(1e3 / paces[row.key])
        assert cost_of("writing")(row).value == wanted
    assert report.best(minimize="writing", max_drop=0.9).key in paces


def test_texts_in_and_texts_out(report, weights, prompts, tmp_path):
    choice = report.choice_for(report.rows[0].key)
    some = prompts[:6]
    assert choice.predict(np.array(some))["logits"].tolist() == wanted(weights, some)
    artifact = dk.export(choice, tmp_path / "out", name="writer")
    assert [(s.name, s.dtype) for s in artifact.manifest.inputs] == [("text", "string")]
    assert [(s.name, s.dtype, s.shape) for s in artifact.manifest.outputs] == [("logits", "string", (None,))]
    assert dk.verify(artifact).ok
    with dk.serve(artifact, port=0) as server:
        assert server.predict(some).tolist() == wanted(weights, some)
        request = urllib.request.Request(
            f"{server.url}/v1/models/writer:predict", json.dumps({"instances": some[:2]}).encode()
        )
        with urllib.request.urlopen(request) as response:
            assert json.load(response) == {"predictions": wanted(weights, some[:2])}
        assert dk.verify(artifact, url=server.url).ok


def test_bare_servers_do_not_write(report, tmp_path):
    choice = report.choice_for(report.rows[0].key)
    with pytest.raises(ExportError, match=r"'triton' runs the model alone.*layout='folder'"):
        dk.export(choice, tmp_path / "out", layout="triton")


def test_a_client_may_carry_the_cache_of_a_served_decoder(folder, weights, tmp_path):
    data = dk.Dataset.from_arrays(np.random.default_rng(0).integers(5, 100, (40, 6)))
    choice = dk.build(dk.load(folder / "model.onnx"), dk.Recipe(), data, target="onnxruntime")
    artifact = dk.export(choice, tmp_path / "out", name="reader")
    assert artifact.manifest.contract.asked == ("input_ids",)
    assert dk.verify(artifact).ok
    row = np.array([7, 60, 41, 90])
    with dk.serve(artifact, port=0) as server:
        first = server.predict(row[None, :3])
        cache = {f"past_key_values.{n}.{p}": first[f"present.{n}.{p}"] for n in (0, 1) for p in ("key", "value")}
        second = server.predict({"input_ids": row[None, 3:], **cache})
    wanted = decoder.scores(weights, row[None])
    np.testing.assert_allclose(first["logits"], wanted[:, :3], atol=1e-3)
    np.testing.assert_allclose(second["logits"], wanted[:, 3:], atol=1e-3)


@pytest.mark.parametrize("runtime", ["litert", "tensorflow"])
def test_converted_decoders_write_the_same(folder, weights, prompts, runtime):
    data = dk.Dataset.from_text(prompts)
    choice = dk.build(dk.load(folder), dk.Recipe(), data, target=runtime, generate=TOKENS)
    assert choice.predict(np.array(prompts[:6]))["logits"].tolist() == wanted(weights, prompts[:6])
