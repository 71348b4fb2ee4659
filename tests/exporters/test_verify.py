"""Verification notices whatever has changed, and never opens a changed model."""

import json
import shutil

import numpy as np
import pytest

from deploykit.artifacts.arrays import load_arrays, save_arrays
from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.golden import compare
from deploykit.core.errors import ExportError, SettingError
from deploykit.core.security.tokens import Tokens
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.serving._serve import serve


@pytest.fixture(scope="module")
def exported(cnn, tmp_path_factory):
    return export(cnn, tmp_path_factory.mktemp("exported") / "out")


@pytest.fixture
def artifact(exported, tmp_path):
    return Artifact.open(shutil.copytree(exported.path, tmp_path / "copy"))


def edit(artifact, **changes):
    file = artifact.path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_sound_artifact(artifact):
    found = verify(artifact.path)
    assert found
    found.require()
    assert found.difference == 0.0
    assert found.files == len(artifact.manifest.files)
    assert str(found).endswith("golden outputs reproduced within 0 of their range (limit 0.001)")


def test_every_problem_is_listed(artifact):
    (artifact.path / "model.onnx").write_bytes(b"other")
    (artifact.path / "README.md").unlink()
    found = verify(artifact)
    assert found.problems == (
        "README.md is missing.",
        "model.onnx has changed since the export (its SHA-256 differs from the manifest's).",
    )
    assert found.difference is None
    with pytest.raises(
        ExportError, match=r"has changed since it was exported: README\.md is missing\..*Remedy: export it again"
    ):
        found.require()


def test_golden_outputs_that_are_not_reproduced(artifact):
    file = artifact.path / artifact.manifest.golden_outputs
    outputs = load_arrays(file)
    outputs["probabilities"][0, 0] += 0.25
    save_arrays(file, outputs)
    edit(artifact, files={k: v for k, v in artifact.manifest.files.items() if k != artifact.manifest.golden_outputs})
    assert "gives no digest of golden/outputs.npz" in verify(artifact).problems[0]
    from deploykit.core.digest import file_digest

    edit(artifact, files={**artifact.manifest.files, artifact.manifest.golden_outputs: file_digest(file)})
    found = verify(artifact)
    assert not found.ok
    assert found.difference > 0.1
    assert "Outputs differ from the measured model's by" in found.problems[0]


def test_a_model_without_a_digest_is_not_opened(artifact):
    edit(artifact, files={k: v for k, v in artifact.manifest.files.items() if k != "model.onnx"})
    assert verify(artifact).problems == ("manifest.json gives no digest of model.onnx.",)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "", "a/../../b", "C:/x", "a\\b"])
def test_a_manifest_cannot_point_outside(artifact, name):
    edit(artifact, model=name)
    with pytest.raises(ExportError, match="is outside the folder"):
        verify(artifact)


def test_a_manifest_from_a_newer_version(artifact):
    edit(artifact, schema=99)
    with pytest.raises(ExportError, match=r"schema 99; this version reads schemas up to 7\. Remedy: upgrade"):
        verify(artifact)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b'{"schema": 1}'])
def test_a_broken_manifest(artifact, content):
    (artifact.path / "manifest.json").write_bytes(content)
    with pytest.raises(ExportError, match=r"manifest\.json"):
        verify(artifact)


def test_no_artifact(tmp_path):
    with pytest.raises(ExportError, match=r"is not an exported artifact: it has no manifest\.json"):
        verify(tmp_path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "grpc://127.0.0.1:9"])
def test_a_server_that_does_not_answer(artifact, url):
    found = verify(artifact, url=url)
    assert not found.ok
    assert f"No answer from {url}" in found.problems[0]


@pytest.mark.proves("folder", "engine", by="deploykit serve")
def test_a_server_is_asked_over_grpc(artifact, monkeypatch, tmp_path):
    tokens = Tokens()
    secret = tokens.add("all")
    tokens.save(tmp_path / "tokens.json")
    with serve(artifact, port=0, ports={"grpc": 0}, tokens=tmp_path / "tokens.json") as server:
        url = f"grpc://127.0.0.1:{server.ports['grpc']}"
        monkeypatch.delenv("DEPLOYKIT_TOKEN", raising=False)
        assert "UNAUTHENTICATED" in verify(artifact, url=url).problems[0]
        monkeypatch.setenv("DEPLOYKIT_TOKEN", secret)
        found = verify(artifact, url=url)
    assert found.ok, found
    assert found.url_difference == 0.0


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8501", "ftp://x", "http://", "http://x:y", "grpc://x", "grpc://x:y", "grpc://x:1/path"]
)
def test_an_unusable_address(artifact, url):
    found = verify(artifact, url=url)
    assert "is not a server" in found.problems[0]
    assert SettingError.__name__ not in found.problems[0]


# -- the comparison -----------------------------------------------------------------------------------------------


def test_the_difference_is_relative_to_the_range():
    golden = {"y": np.array([[0.0, 100.0]], np.float32)}
    difference, problems = compare(golden, {"y": np.array([[0.05, 100.0]], np.float32)}, 1e-3)
    assert difference == pytest.approx(5e-4)
    assert problems == []
    difference, problems = compare(golden, {"y": np.array([[0.5, 100.0]], np.float32)}, 1e-3)
    assert problems == ["Outputs differ from the measured model's by 0.005 of the range of 'y' (limit 0.001)."]


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        ([np.nan, 1.0], [np.nan, 1.0], True),
        ([np.nan, 1.0], [0.0, 1.0], False),
        ([np.inf, 1.0], [np.inf, 1.0], True),
        ([np.inf, 1.0], [-np.inf, 1.0], False),
        ([2.0, 2.0], [2.0, 2.0], True),
        ([0.0, 0.0], [0.0, 1e-9], True),
    ],
)
def test_values_that_are_no_numbers(wanted, got, same):
    _, problems = compare({"y": np.array(wanted)}, {"y": np.array(got)}, 1e-3)
    assert (problems == []) is same


def test_whole_numbers_text_and_truth_must_be_equal():
    large = {"y": np.array([0, 10_000_000])}
    assert compare(large, {"y": np.array([0, 10_000_001])}, 1e-3)[1]
    assert not compare(large, large, 1e-3)[1]
    assert compare({"y": np.array(["a"])}, {"y": np.array([b"b"])}, 1e-3)[1]
    assert not compare({"y": np.array(["a"])}, {"y": np.array([b"a"], object)}, 1e-3)[1]
    assert compare({"y": np.array([True])}, {"y": np.array([False])}, 1e-3)[1]


def test_missing_outputs_and_other_shapes():
    golden = {"a": np.zeros((2, 3)), "b": np.zeros(2)}
    _, problems = compare(golden, {"a": np.zeros((2, 4)), "c": np.zeros(2)}, 1e-3)
    assert problems == [
        "Output 'a' has shape (2, 4); the measured model gave (2, 3).",
        "Output 'b' is missing; there are a, c.",
    ]


def test_arrays_with_any_name_survive(tmp_path):
    arrays = {"file": np.arange(3), "serving/default:0": np.ones((2, 2)), "ünï": np.array(["a", "bc"])}
    save_arrays(tmp_path / "x.npz", arrays)
    found = load_arrays(tmp_path / "x.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_pickled_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.array([{}], object))
    with pytest.raises(ExportError, match="cannot be read"):
        load_arrays(tmp_path / "x.npz")
