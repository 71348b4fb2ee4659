"""Files that users name are looked at before they are read: pipes, devices and giants never hang or fill the memory."""

import json
import os
import sys
from pathlib import Path

import pytest

import deploykit as dk
from deploykit.artifacts.artifact import MANIFEST, Artifact, Manifest
from deploykit.cli._shared import notebooks
from deploykit.core.errors import DatasetError, ExportError, SettingError, StoreError
from deploykit.core.files import read_small, replace_whole
from deploykit.storage.store import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices of POSIX")


def pipe(path):
    os.mkfifo(path)
    return path


def device(path):
    path.symlink_to("/dev/zero")
    return path


def giant(path):
    """A sparse file of a terabyte."""
    with path.open("wb") as file:
        file.truncate(1 << 40)
    return path


def folder(path):
    path.mkdir()
    return path


ODD = {pipe: "a named pipe", device: "a character device", giant: "1,099,511,627,776 bytes", folder: "a folder"}


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_odd_spaces(make, suffix, tmp_path):
    path = make(tmp_path / f"space.{suffix}")
    for read in (dk.Space.of, dk.Space.from_file):
        with pytest.raises(SettingError, match=rf"Cannot read the space '.*space\.{suffix}': it .*{ODD[make]}"):
            read(path)


@pytest.mark.parametrize("make", ODD)
def test_odd_notebooks(make, tmp_path):
    with pytest.raises(SettingError, match=rf"Cannot read the notebook '.*n\.ipynb': .*{ODD[make]}"):
        notebooks.typed(make(tmp_path / "n.ipynb"), {})


@pytest.mark.parametrize("make", ODD)
def test_odd_manifests(make, tmp_path):
    make(tmp_path / MANIFEST)
    with pytest.raises(ExportError, match="manifest"):
        Artifact.open(tmp_path)
    with pytest.raises(ExportError, match="manifest"):
        dk.verify(tmp_path)


@pytest.mark.parametrize("make", ODD)
def test_odd_files_of_an_artifact(make, tmp_path):
    make(tmp_path / "model.onnx")
    values = dict.fromkeys(Manifest.__dataclass_fields__) | {
        "model": "model.onnx", "golden_inputs": "model.onnx", "golden_outputs": "model.onnx",
        "files": {"model.onnx": "0" * 64}, "editable": (),
    }  # fmt: skip
    (problem,) = Artifact(tmp_path, Manifest(**values)).problems()
    assert problem.startswith("model.onnx is missing, or not a regular" if make is not giant else "model.onnx claims")


@pytest.mark.parametrize("make", [pipe, device, folder])
def test_odd_stores(make, tmp_path):
    make(tmp_path / "store.sqlite")
    for options in ({}, {"create": True}):
        with pytest.raises(StoreError):
            Store(tmp_path, **options)
    with pytest.raises(StoreError):
        dk.Report.open(tmp_path)


@pytest.mark.parametrize("make", [pipe, device, folder])
@pytest.mark.parametrize("name", ["d.npz", "d.csv"])
def test_odd_data(make, name, tmp_path):
    path = make(tmp_path / name)
    with pytest.raises(DatasetError, match=r"d\.(npz|csv)"):
        (dk.Dataset.from_npz if name.endswith("npz") else dk.Dataset.from_csv)(path)


def test_what_is_read_is_what_is_there(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_small(tmp_path / "a", 5, "it", SettingError) == b"12345"
    with pytest.raises(SettingError, match=r"Cannot read it '.*a': it has 5 bytes, more than the limit of 4"):
        read_small(tmp_path / "a", 4, "it", SettingError)
    with pytest.raises(SettingError, match=r"Cannot read it '.*b': No such file"):
        read_small(tmp_path / "b", 4, "it", SettingError)
    assert not [f for f in Path("/proc/self/fd").glob("*") if str(tmp_path) in os.path.realpath(f)]


# -- spaces that grow when they are read ------------------------------------------------------------------------------


def test_yaml_that_repeats_itself_without_end(tmp_path):
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    (tmp_path / "s.yaml").write_text(bomb)
    with pytest.raises(SettingError, match=r"s\.yaml: Its YAML aliases expand to more than"):
        dk.Space.from_file(tmp_path / "s.yaml")
    (tmp_path / "t.yaml").write_text("recipes: &r [*r]\n")
    with pytest.raises(SettingError, match=r"t\.yaml: Its YAML aliases expand to more than"):
        dk.Space.from_file(tmp_path / "t.yaml")


def test_yaml_may_repeat_a_step(tmp_path):
    text = "recipes:\n- steps: [&s {technique: quantize_static, parameters: {}}]\n- steps: [*s]\n"
    (tmp_path / "s.yaml").write_text(text)
    assert len(dk.Space.from_file(tmp_path / "s.yaml").recipes) == 2


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_what_is_nested_too_deeply(suffix, tmp_path):
    (tmp_path / f"s.{suffix}").write_text("[" * 50_000 + "]" * 50_000)
    with pytest.raises(SettingError, match=rf"s\.{suffix}"):
        dk.Space.from_file(tmp_path / f"s.{suffix}")


def test_yaml_values_that_are_none(tmp_path):
    (tmp_path / "s.yaml").write_text("recipes: 2020-13-45\n")
    with pytest.raises(SettingError, match=r"s\.yaml: Not YAML"):
        dk.Space.from_file(tmp_path / "s.yaml")
    (tmp_path / "s.json").write_text(json.dumps({"recipes": 3}))
    with pytest.raises(SettingError, match=r"s\.json"):
        dk.Space.from_file(tmp_path / "s.json")


def test_a_file_is_replaced_as_a_whole(tmp_path):
    replace_whole(tmp_path / "a.json", b"old")
    replace_whole(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        replace_whole(tmp_path / "folder", b"cannot take its place")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "folder"]
