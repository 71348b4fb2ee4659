"""The reference profile is part of an artifact, and the embedding comes beside answers that stay the same bits."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import deploykit as dk
from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.predictor import Predictor
from deploykit.core.candidate import Recipe, Target
from deploykit.core.serial import to_plain
from deploykit.data.dataset import Dataset
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.loading._load import load
from deploykit.measuring.exportable import Exportable
from deploykit.monitoring.profile import MOST_BYTES, Profile
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.profiles import profile_of
from deploykit.testing import models


def candidate(kind, folder, *, count=400, runtime="onnxruntime"):
    """A tiny model with data enough for a profile."""
    model = load(models.build(kind, folder))
    rng = np.random.default_rng(0)
    images = rng.random((count, 1, 8, 8), np.float32)
    data = Dataset.from_arrays(images, rng.integers(0, 3, count)).check(model)
    target = Target(runtime, "cpu", 1, 1)
    return Exportable(folder / model.path, model.format, "shoes", Recipe(), target, model, data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return export(candidate("cnn_onnx", tmp_path_factory.mktemp("models")), tmp_path_factory.mktemp("out") / "a")


def read(artifact):
    with artifact.opened() as files:
        return Profile.from_bytes(files.profile(), artifact.manifest.model_digest)


def images(count=70):
    return np.random.default_rng(5).random((count, 1, 8, 8), np.float32)


def test_the_profile_is_a_file_of_the_artifact_like_any_other(made):
    manifest = made.manifest
    assert manifest.profile in manifest.files
    assert (made.path / manifest.profile).stat().st_size <= MOST_BYTES
    profile = read(made)
    assert profile.head.tap == "flat_out"
    assert profile.head.examples == 144  # 36 % of 400 are evaluated
    assert [r.name for r in profile.head.inputs] == ["image"]
    assert profile.head.calibrated.examples == 144
    (made.path / manifest.profile).write_bytes((content := (made.path / manifest.profile).read_bytes())[:-1])
    assert "profile.dkp has changed since the export" in verify(made).problems[0]
    (made.path / manifest.profile).write_bytes(content)
    assert verify(made).ok


@pytest.mark.parametrize(
    ("kind", "runtime"),
    [
        ("cnn_onnx", "onnxruntime"),
        ("cnn_external_onnx", "onnxruntime"),
        pytest.param("cnn_onnx", "openvino", marks=pytest.mark.long),
    ],
)
def test_answers_are_the_same_bits_and_the_embedding_is_what_the_last_layer_sees(kind, runtime, tmp_path):
    chosen = candidate(kind, tmp_path, runtime=runtime)
    before = chosen.path.read_bytes()
    artifact = export(chosen, tmp_path / "a")
    assert (artifact.path / artifact.manifest.model).read_bytes() == before
    plane = DataPlane(artifact)
    bare = DataPlane(replace(artifact, manifest=replace(artifact.manifest, profile="")))
    model = onnx.load(chosen.path)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("flat_out"))
    for count in (1, 3, 70):
        raw = {"image": images(count)}
        found, wanted = plane.infer(plane.batch(raw)), bare.infer(bare.batch(raw))
        assert list(found) == list(wanted) == ["probabilities"]
        assert found["probabilities"].tobytes() == wanted["probabilities"].tobytes()
        _, hidden = ReferenceEvaluator(model).run(None, raw)
        np.testing.assert_allclose(plane.embedding, hidden, atol=1e-5)
        assert bare.embedding is None
        assert len(plane.profile.observe(raw, found, plane.embedding)) == count


def test_an_embedding_is_cut_like_the_answers_where_examples_run_a_few_at_a_time(made):
    with made.opened() as files:
        predictor = Predictor(Predictor.open(files, "flat_out").session, {}, batch_size=4)
        whole = Predictor.open(files, "flat_out")
        raw = {"image": images(10)}
        predictor(raw), whole(raw)
    np.testing.assert_allclose(predictor.embedding, whole.embedding, atol=1e-6)


def test_a_profile_that_cannot_be_read_keeps_nothing_from_being_served(made, tmp_path, caplog):
    copy = Artifact.open(shutil.copytree(made.path, tmp_path / "copy"))
    (copy.path / copy.manifest.profile).write_bytes(b"no profile")
    plane = DataPlane(copy)
    assert plane.profile is None
    assert plane.infer(plane.batch({"image": images(2)}))["probabilities"].shape == (2, 3)
    assert "is not watched for drift: Cannot read the profile" in caplog.text
    (copy.path / copy.manifest.profile).write_bytes(
        Profile(replace(read(made).head, model="cd" * 32), read(made).arrays).to_bytes()
    )
    assert profile_of(copy) is None
    assert "belongs to the model cdcdcdcdcdcd" in caplog.text


def test_an_artifact_from_before_profiles_still_serves(made, tmp_path):
    copy = shutil.copytree(made.path, tmp_path / "copy")
    old = {n: v for n, v in to_plain(made.manifest).items() if n != "profile"}
    (copy / "manifest.json").write_text(json.dumps({**old, "schema": 6}))
    plane = DataPlane(Artifact.open(copy))
    assert plane.profile is None
    assert plane.infer(plane.batch({"image": images(2)}))["probabilities"].shape == (2, 3)


def test_too_few_examples_give_an_artifact_without_a_profile(tmp_path):
    artifact = export(candidate("cnn_onnx", tmp_path, count=60), tmp_path / "a")
    assert artifact.manifest.profile == ""
    assert verify(artifact).ok


def test_a_profile_of_an_encrypted_artifact_is_encrypted(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOE_KEY", dk.new_key())
    artifact = export(candidate("cnn_onnx", tmp_path), tmp_path / "a", encrypt="env:SHOE_KEY")
    name = artifact.manifest.profile
    assert name in artifact.manifest.encryption.files
    assert not (artifact.path / name).read_bytes().startswith(b"DKPR")
    assert DataPlane(artifact).profile.head.tap == "flat_out"
    assert sorted(p.name for p in (artifact.path / "golden").iterdir()) == ["inputs.npz", "outputs.npz", "profile.dkp"]
