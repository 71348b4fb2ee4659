"""What Triton finds in the folder; `make proof` has Triton itself read it."""

import shutil

import numpy as np
import onnxruntime
import pytest

from deploykit.artifacts.arrays import load_arrays
from deploykit.core.errors import ExportError
from deploykit.core.protos.messages import read_text
from deploykit.exporters._export import export
from deploykit.exporters._open_inference_client import ask
from deploykit.exporters._verify import verify
from deploykit.serving._serve import serve
from deploykit.testing.exporters import exportable
from deploykit.testing.graphs import carrying, exported, graph, joint, node, value


def config_of(artifact):
    file = artifact.path / artifact.manifest.name / "config.pbtxt"
    return read_text("inference.ModelConfig", file, "the configuration", ExportError, unknown=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """left (batch, 4) float32, right (batch, 6) int64 → score (batch, 1), label (batch, 3)."""
    folder = tmp_path_factory.mktemp("two")
    return export(exportable("two_inputs_onnx", folder), folder / "out", layout="triton", parameters={"delay_us": 200})


def test_the_configuration_names_what_the_file_takes_and_gives(two):
    name = two.manifest.name
    config, text = config_of(two), (two.path / name / "config.pbtxt").read_text("utf-8")
    assert (config.name, config.backend, config.max_batch_size) == (name, "onnxruntime", 32)
    names = type(config.input[0]).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    assert [(t.name, names[t.data_type].name, [*t.dims]) for t in (*config.input, *config.output)] == [
        ("left", "TYPE_FP32", [4]), ("right", "TYPE_INT64", [6]), ("score", "TYPE_FP32", [1]),
        ("label", "TYPE_FP32", [3]),
    ]  # fmt: skip
    assert "dynamic_batching { max_queue_delay_microseconds: 200 }" in text
    session = onnxruntime.InferenceSession(two.path / name / "1" / "model.onnx")
    assert [i.name for i in session.get_inputs()] == ["left", "right"]


def test_it_is_warmed_up_with_golden_inputs(two):
    raw = load_arrays(two.path / two.manifest.golden_inputs)
    home = two.path / two.manifest.name / "warmup"
    assert len(config_of(two).model_warmup) == 4
    for number in range(4):
        for place, name in enumerate(("left", "right")):
            content = np.frombuffer((home / f"{number}-{place}").read_bytes(), raw[name].dtype)
            np.testing.assert_array_equal(content, raw[name][number])


def test_a_server_that_knows_the_repository_alone_gives_the_golden_outputs(two, tmp_path):
    shutil.copytree(two.path / two.manifest.name, tmp_path / "models" / two.manifest.name)
    inputs, golden = (load_arrays(two.path / n) for n in (two.manifest.golden_inputs, two.manifest.golden_outputs))
    with serve(tmp_path / "models", port=0, ports={"grpc": 0}) as server:
        found = [ask(url, two.manifest, inputs) for url in (server.url, f"grpc://127.0.0.1:{server.ports['grpc']}")]
    for answer in found:
        assert answer.keys() == golden.keys()
        for name, wanted in golden.items():
            np.testing.assert_allclose(answer[name], wanted, atol=1e-6)


def test_images_are_preprocessed_for_it(cnn, tmp_path):
    artifact = export(cnn, tmp_path / "out", layout="triton", name="shoes", parameters={"version": 3, "max_batch": 8})
    assert artifact.model_path == tmp_path / "out" / "shoes" / "3" / "model.onnx"
    assert config_of(artifact).max_batch_size == 8
    assert [*config_of(artifact).input[0].dims] == [1, 8, 8]
    shutil.copytree(artifact.path / "shoes", tmp_path / "models" / "shoes")
    inputs, golden = (load_arrays(artifact.path / n) for n in ("golden/inputs.npz", "golden/outputs.npz"))
    assert next(iter(inputs.values())).dtype == np.uint8
    with serve(tmp_path / "models", port=0) as server:
        found = ask(server.url, artifact.manifest, inputs)
    for name, wanted in golden.items():
        np.testing.assert_allclose(found[name], wanted, atol=1e-5)
    assert verify(artifact).ok


def test_requests_are_not_joined_where_answers_depend_on_the_batch(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32) * (1 + np.arange(60)[:, None])
    artifact = exported(joint(tmp_path), (x, None), layout="triton")
    config = config_of(artifact)
    assert config.max_batch_size == 0
    assert [*config.input[0].dims] == [-1, 4]
    assert "dynamic_batching" not in (artifact.path / artifact.manifest.name / "config.pbtxt").read_text("utf-8")


def test_names_that_must_be_quoted_and_text(tmp_path):
    path = graph(
        tmp_path,
        [node("Identity", ['a "b" ü'], ["y"])],
        [value('a "b" ü', "string", "N", 2)],
        [value("y", "string", "N", 2)],
    )
    words = np.array([["red", "grün"], ["", "blue"]] * 30, object)
    artifact = exported(path, (words, None), layout="triton", name="words")
    config = config_of(artifact)
    assert config.input[0].name == 'a "b" ü'
    (content,) = (file.read_bytes() for file in artifact.path.glob("*/warmup/0-0"))
    (first,) = load_arrays(artifact.path / artifact.manifest.golden_inputs).values()
    texts = [text.encode() for text in first[0]]
    assert content == b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def test_sequences_are_refused_by_name(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 7, 4)).astype(np.float32)
    with pytest.raises(ExportError, match="sequences") as caught:
        exported(carrying(tmp_path), (x, None), layout="triton", state={"next": "state"})
    assert "folder" in caught.value.remedy
