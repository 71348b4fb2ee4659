"""Encrypted artifacts: exported, verified and served, and nowhere in plain."""

import contextlib
import json
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.artifacts.artifact import MANIFEST, Artifact
from deploykit.core.candidate import Target
from deploykit.core.digest import file_digest
from deploykit.core.errors import ExportError, MissingExtraError, SettingError
from deploykit.exporters._contract import EXPORTERS
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.sandbox.scratch import scratch
from deploykit.serving._prepare import Preparation
from deploykit.serving._serve import serve
from deploykit.testing.exporters import exportable

#: Bytes of a needle: too many to be found by chance.
NEEDLE = 48


@pytest.fixture(autouse=True)
def key(monkeypatch):
    text = dk.new_key()
    monkeypatch.setenv("SHOE_KEY", text)
    return text


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def candidates(tmp_path):
    def make(kind, **changes):
        (tmp_path / "plain").mkdir(exist_ok=True)
        return exportable(kind, tmp_path / "plain", **changes)

    return make


def needles(candidate):
    """Pieces of the model's files and of the golden data."""
    files = [candidate.path] if candidate.path.is_file() else [f for f in candidate.path.rglob("*") if f.is_file()]
    files += candidate.path.parent.glob(f"{candidate.path.name}.data")
    found = []
    for content in (file.read_bytes() for file in files):
        found += [content[at : at + NEEDLE] for at in range(0, len(content) - NEEDLE, max(NEEDLE, len(content) // 9))]
    raw = next(iter(candidate.data.splits["evaluation"].inputs.values()))
    found += [np.ascontiguousarray(raw[0]).tobytes()[:NEEDLE]]
    return [needle for needle in found if len(set(needle)) > NEEDLE // 4]  # no zeros and no headers


class Watch:
    """Looks for needles in folders, again and again, in whatever files come and go."""

    def __init__(self, wanted, *folders):
        self.found, self.looks = set(), 0
        self._wanted, self._folders = wanted, folders
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def look(self):
        for folder in self._folders:
            for home, _, names in os.walk(folder):
                for path in (Path(home, name) for name in names):
                    with contextlib.suppress(OSError):
                        if path.is_symlink() or not path.is_file():  # a link to memory is the reader's own
                            continue
                        content = path.read_bytes()
                        self.found |= {(str(path), needle) for needle in self._wanted if needle in content}
        self.looks += 1

    def _run(self):
        while not self._end.is_set():
            self.look()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


@pytest.mark.parametrize(
    "kind",
    [
        "cnn_onnx",
        "cnn_external_onnx",
        pytest.param("cnn_tflite", marks=pytest.mark.long(seconds=3)),
        pytest.param("cnn_saved_model", marks=pytest.mark.long(seconds=6)),
    ],
)
def test_nothing_lies_anywhere_in_plain_while_it_is_exported_and_served(candidates, tmp_path, kind, key):
    candidate = candidates(kind)
    plain = export(candidate, tmp_path / "plain" / "out")
    wanted = needles(candidate)
    with Watch(wanted, tmp_path / "plain") as control:
        control.look()
    assert len(control.found) >= 2, "the needles are found where they are"
    home = tmp_path / "guarded"
    out = home / "out"
    raw = candidate.data.splits["evaluation"].inputs["image"][:3]
    with plain.opened() as files:
        inputs, golden = files.golden()
    with Watch(wanted, home, scratch(), "/dev/shm", tempfile.gettempdir()) as watch:
        artifact = export(candidate, out, encrypt="env:SHOE_KEY")
        assert verify(out, key="env:SHOE_KEY").difference == 0
        with serve(out, port=0, key="env:SHOE_KEY") as server:
            found = server.predict(raw)
            watch.look()
            log = server.log.read_text("utf-8")
    assert watch.looks > 1
    assert not watch.found
    np.testing.assert_allclose(found, next(iter(golden.values()))[:3], atol=1e-6)
    np.testing.assert_array_equal(inputs["image"][:3], raw)
    for text in (log, repr(artifact), (out / MANIFEST).read_text("utf-8"), (out / "README.md").read_text("utf-8")):
        assert key not in text
    manifest = json.loads((out / MANIFEST).read_text("utf-8"))
    assert manifest["encryption"]["key"] == artifact.key.id
    assert set(manifest["encryption"]["files"]) == {
        name for name in manifest["files"] if name.startswith(("model", "golden", f"{candidate.path.name}.data"))
    }
    assert any(line.startswith("cryptography==") for line in manifest["requirements"])
    assert "--key" in (out / "Dockerfile").read_text("utf-8")


def test_openvino_opens_it_from_memory_unless_its_weights_lie_beside(candidates, tmp_path):
    one = candidates("cnn_onnx", target=Target("openvino"))
    assert verify(export(one, tmp_path / "out", encrypt="env:SHOE_KEY"))
    two = candidates("cnn_external_onnx", target=Target("openvino"))
    with pytest.raises(ExportError, match=r"OpenVINO reads external data from disks alone: it cannot run .*model.onnx"):
        export(two, tmp_path / "two", encrypt="env:SHOE_KEY")
    assert not (tmp_path / "two").exists()


def test_without_its_key_only_the_manifest_can_be_read(candidates, tmp_path, monkeypatch):
    artifact = export(candidates("cnn_onnx"), tmp_path / "out", encrypt="env:SHOE_KEY")
    monkeypatch.setenv("OTHER_KEY", dk.new_key())
    opened = Artifact.open(artifact.path)
    assert (opened.manifest.name, opened.problems()) == ("cnn", [])
    missing = rf"out is encrypted with the key {artifact.key.id}, and no key was given\. Remedy: .*--key env:NAME"
    for use in (verify, lambda path: serve(path, port=0), lambda path: Artifact.open(path).opened().__enter__()):
        with pytest.raises(ExportError, match=missing):
            use(artifact.path)
    for use in (
        lambda: verify(artifact, key="env:OTHER_KEY"),
        lambda: serve(artifact.path, port=0, key="env:OTHER_KEY"),
        lambda: Artifact.open(artifact.path, "env:OTHER_KEY"),
    ):
        with pytest.raises(ExportError, match=rf"encrypted with the key {artifact.key.id}; the key given is"):
            use()
    with pytest.raises(SettingError, match="NO_KEY is not set"):
        serve(artifact.path, port=0, key="env:NO_KEY")
    assert "NO_KEY" in Preparation(artifact.path, port=0, key="env:NO_KEY").check().steps["models"]


def test_a_key_for_what_is_not_encrypted_is_refused(candidates, tmp_path):
    """Whoever gives a key expects that what is served was encrypted with it."""
    candidate = candidates("cnn_onnx")
    artifact = export(candidate, tmp_path / "out")
    for source in (artifact.path, candidate.path):
        with pytest.raises(dk.DeploykitError, match=r"not encrypted, and a key was given|not an encrypted artifact"):
            serve(source, port=0, key="env:SHOE_KEY")


def test_who_can_write_the_manifest_cannot_change_what_is_encrypted(candidates, tmp_path):
    artifact = export(candidates("cnn_onnx"), tmp_path / "out", encrypt="env:SHOE_KEY")
    file = artifact.path / "model.onnx"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    assert "model.onnx has changed since the export" in verify(artifact).problems[0]
    manifest = json.loads((artifact.path / MANIFEST).read_text("utf-8"))
    manifest["files"]["model.onnx"] = file_digest(file)
    (artifact.path / MANIFEST).write_text(json.dumps(manifest))
    found = verify(artifact.path, key="env:SHOE_KEY")
    assert not found
    assert "model.onnx has been changed: bytes" in found.problems[0]


def test_layouts_that_others_serve_refuse_by_name(candidates, tmp_path):
    able = {exporter.name for exporter in EXPORTERS.all() if exporter.encrypts}
    assert able == {"folder"}
    with pytest.raises(ExportError, match=r"layout 'tfserving' cannot be served encrypted.*Remedy: choose folder"):
        export(candidates("cnn_onnx"), tmp_path / "out", layout="tfserving", encrypt="env:SHOE_KEY")


def test_without_the_package_it_names_the_extra(candidates, tmp_path, monkeypatch):
    from deploykit.core import extras

    monkeypatch.setattr(extras, "installed", lambda module: module != "cryptography")
    with pytest.raises(MissingExtraError, match=r"pip install 'deploykit\[protect\]'"):
        export(candidates("cnn_onnx"), tmp_path / "out", encrypt="env:SHOE_KEY")
