"""There is one door to the bytes of an exported folder."""

import ast
import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from deploykit_widgets.code.clients import examples

import deploykit
from deploykit.artifacts import golden
from deploykit.artifacts.artifact import MANIFEST, Artifact, OpenedArtifact
from deploykit.core.errors import ExportError
from deploykit.core.security.keys import Key
from deploykit.exporters import _verify
from deploykit.exporters._export import export
from deploykit.serving._serve import serve
from deploykit.serving.dataplane import DataPlane
from deploykit.testing.exporters import exportable

ROOT = Path(deploykit.__file__).parents[1]
#: What opens an artifact's files by their paths. `exporters` and `sources.adopt` write them, `deploying` hands a
#: layout's own files to other tools; the suite damages them on purpose.
_PATHS = {"model_path", "golden_inputs", "golden_outputs", "load_arrays", "MANIFEST"}
_WRITERS = (
    "deploykit/artifacts/",
    "deploykit/deploying/",
    "deploykit/exporters/_export.py",
    "deploykit/exporters/_container/image.py",
    "deploykit/exporters/_profile.py",
    "deploykit/exporters/_save.py",
    "deploykit/exporters/_dense/source.py",
    "deploykit/exporters/edge.py",
    "deploykit/exporters/microcontroller.py",
    "deploykit/serving/sources/adopt.py",
    "deploykit/testing/exporters.py",
)


@pytest.fixture
def artifact(tmp_path):
    return export(exportable("cnn_onnx", tmp_path), tmp_path / "out")


def test_it_gives_the_model_and_the_golden_data(artifact):
    with artifact.opened() as files:
        assert files.model.read_bytes() == (artifact.path / "model.onnx").read_bytes()
        inputs, outputs = files.golden()
    assert inputs["image"].shape == (8, 8, 8)
    assert outputs["probabilities"].shape == (8, 3)


def test_a_key_to_what_is_not_encrypted_is_refused(artifact):
    with (
        pytest.raises(ExportError, match=r"out is not encrypted, and a key was given\. Remedy: leave the key out"),
        artifact.opened(Key(bytes(32))),
    ):
        pass


def test_everything_that_reads_an_artifact_goes_through_it(artifact, tmp_path, monkeypatch):
    """The files are elsewhere, and only the door knows where."""
    with serve(artifact, port=0) as server:
        elsewhere = Path(shutil.copytree(artifact.path, tmp_path / "elsewhere"))
        for name in artifact.manifest.files:
            (artifact.path / name).unlink()
        assert [p.name for p in artifact.path.rglob("*") if p.is_file()] == [MANIFEST]
        opened = []

        @contextlib.contextmanager
        def door(self, key=None):
            opened.append(self.path)
            yield OpenedArtifact(elsewhere, self.manifest)

        monkeypatch.setattr(Artifact, "opened", door)
        assert golden.replay({"artifact": str(artifact.path)}, print) == {"difference": 0.0, "problems": []}
        assert _verify._ask(artifact, server.url) == (0.0, [])
        raw = examples(artifact)
        plane = DataPlane(artifact)
        found = plane.infer(plane.batch(raw))
    wanted = np.load(elsewhere / "golden" / "outputs.npz")
    np.testing.assert_array_equal(found["probabilities"], wanted["probabilities"])
    assert set(opened) == {artifact.path}
    assert len(opened) >= 4  # a server that watches may read its reference meanwhile


def _named(tree):
    """Names and attributes a module uses, and files of an artifact that it makes paths of."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            left = ast.unparse(node.left)
            if left.endswith("artifact.path"):
                yield "model_path"


def _offenders(root):
    files = [p for package in ("deploykit", "widgets/deploykit_widgets") for p in (root / package).rglob("*.py")]
    names = {p: p.relative_to(root).as_posix() for p in files}
    return [
        name
        for file, name in names.items()
        if not name.startswith(_WRITERS) and _PATHS & set(_named(ast.parse(file.read_text("utf-8"))))
    ]


def test_no_other_module_opens_them_by_their_paths():
    assert _offenders(ROOT) == []


@pytest.mark.parametrize("line", ["load_arrays(f)", "x = self.artifact.path / 'model.onnx'", "artifact.model_path"])
def test_one_that_did_would_be_seen(tmp_path, line):
    (tmp_path / "deploykit").mkdir()
    (tmp_path / "deploykit" / "wrong.py").write_text(line)
    assert _offenders(tmp_path) == ["deploykit/wrong.py"]
