"""How an artifact is served is kept in its manifest, and does not make it another artifact."""

import json
import os
import stat

import pytest

from deploykit.artifacts.artifact import MANIFEST, Artifact
from deploykit.core.candidate import Target
from deploykit.core.settings.serving import ServingSettings
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.testing.exporters import exportable

posix = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")


@pytest.fixture
def artifact(tmp_path):
    return export(exportable("cnn_onnx", tmp_path), tmp_path / "out")


def test_settings_are_kept_in_the_manifest_and_the_artifact_stays_the_same(artifact):
    before = artifact.digest
    artifact.served_with(ServingSettings(workers=2, threads=2)).save()
    again = Artifact.open(artifact.path)
    assert again.manifest.serving == ServingSettings(workers=2, threads=2)
    assert again.manifest.target.threads == 1
    assert again.manifest.served_target == Target("onnxruntime", threads=2)
    assert again.digest == before
    assert again.problems() == []
    assert verify(again).ok


def test_any_other_change_of_the_manifest_is_another_artifact(artifact):
    file = artifact.path / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_bytes()) | {"classes": ["a", "b", "c"]}))
    assert Artifact.open(artifact.path).digest != artifact.digest


def test_a_manifest_from_before_there_were_settings_is_read(artifact):
    file = artifact.path / MANIFEST
    old = json.loads(file.read_bytes()) | {"schema": 3}
    del old["serving"]
    file.write_text(json.dumps(old))
    assert Artifact.open(artifact.path).manifest == artifact.manifest


@posix
def test_a_manifest_keeps_its_permissions(artifact):
    file = artifact.path / MANIFEST
    file.chmod(0o644)
    artifact.served_with(ServingSettings(workers=2)).save()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert sorted(p.name for p in artifact.path.iterdir() if p.name.startswith(".")) == []
