"""Exports are whole and proved, or not there."""

import dataclasses
import resource

import numpy as np
import pytest

import deploykit as dk
from deploykit.artifacts.arrays import load_arrays
from deploykit.artifacts.artifact import Artifact, files_of
from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.errors import ExportError, SettingError
from deploykit.core.result import Measurement, Result
from deploykit.exporters._export import export
from deploykit.exporters._save import save_file
from deploykit.exporters._verify import verify
from deploykit.loading._load import load
from deploykit.measuring.exportable import Exportable
from deploykit.sweeping.build import build
from deploykit.testing.exporters import data_for, exportable
from deploykit.testing.graphs import graph, node, value


def row(label, format_name, status="measured"):
    candidate = Candidate(Recipe((Step("prune_magnitude", {"sparsity": 0.5}),)), Target("tensorflow"))
    measurement = Measurement((), None, 1, 1)
    return Result("0123456789ab", candidate, status, label, "prune", format_name, measurement=measurement)


def test_the_manifest_says_what_clients_send_and_get(cnn, tmp_path):
    manifest = export(cnn, tmp_path / "out").manifest
    assert [str(i) for i in manifest.inputs] == ["image: uint8 (?, 8, 8)"]
    assert [str(o) for o in manifest.outputs] == ["probabilities: float32 (?, 3)"]
    assert manifest.classes == ("boot", "coat", "shirt")
    assert manifest.preprocess["image"].scale == 1 / 255
    assert manifest.source["digest"] == cnn.model.digest
    assert manifest.target == cnn.target
    assert any(r.startswith("onnxruntime==") for r in manifest.requirements)
    assert any(r.startswith("deploykit[onnx]==") for r in manifest.requirements)


def test_golden_data_are_raw_examples_and_the_measured_answers(cnn, tmp_path):
    artifact = export(cnn, tmp_path / "out")
    inputs = load_arrays(artifact.path / artifact.manifest.golden_inputs)
    outputs = load_arrays(artifact.path / artifact.manifest.golden_outputs)
    np.testing.assert_array_equal(inputs["image"], cnn.data.sample(8))
    assert inputs["image"].dtype == np.uint8
    assert outputs["probabilities"].shape == (8, 3)
    np.testing.assert_allclose(outputs["probabilities"].sum(axis=1), 1, rtol=1e-5)


def test_it_is_public_and_takes_what_best_returns(cnn, tmp_path):
    class Best:
        def exportable(self):
            return cnn

    artifact = dk.export(Best(), tmp_path / "out")
    assert isinstance(artifact, dk.Artifact)
    assert dk.verify(tmp_path / "out").ok


def test_something_else_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"Expected a candidate, got dict.*report\.best\(\)"):
        export({"recipe": []}, tmp_path / "out")


def test_an_unknown_layout_lists_the_known_ones(cnn, tmp_path):
    with pytest.raises(SettingError, match=r"Unknown layout 'foldr'.*did you mean 'folder'.*tfserving"):
        export(cnn, tmp_path / "out", layout="foldr")


def test_a_layout_names_the_best_candidate_it_can_hold(cnn, tmp_path):
    rows = (row("float32", "onnx"), row("failed one", "saved_model", "failed"), row("pruned 50 %", "saved_model"))
    with pytest.raises(ExportError) as caught:
        export(dataclasses.replace(cnn, alternatives=rows), tmp_path / "out", layout="tfserving")
    text = str(caught.value)
    assert text.startswith("TensorFlow Serving takes SavedModel, not ONNX.")
    assert "'pruned 50 %' on tensorflow" in text
    assert "key 0123456789ab" in text
    assert "report.best(layout='tfserving')" in text
    assert not (tmp_path / "out").exists()


def test_a_layout_without_any_fitting_candidate_says_so(cnn, tmp_path):
    with pytest.raises(ExportError, match=r"no candidate of this report fits it; export with layout='folder'"):
        export(cnn, tmp_path / "out", layout="tfserving")


@pytest.mark.parametrize(("given", "served"), [("my model (v2)", "my_model_v2"), ("mnist", "mnist"), ("模型", "model")])
def test_the_default_name_can_be_part_of_a_url(cnn, tmp_path, given, served):
    assert export(dataclasses.replace(cnn, name=given), tmp_path / "out").manifest.name == served


@pytest.mark.parametrize("name", ["a/b", "", "..", "x y", "a:b"])
def test_an_unusable_name_is_refused(cnn, tmp_path, name):
    with pytest.raises(SettingError, match="cannot be part of a URL"):
        export(cnn, tmp_path / "out", name=name)


def test_an_older_artifact_is_replaced(cnn, tmp_path):
    export(cnn, tmp_path / "out", name="old")
    assert export(cnn, tmp_path / "out", name="new").manifest.name == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert verify(tmp_path / "out").ok


def test_an_artifact_with_foreign_files_is_replaced_only_on_demand(cnn, tmp_path):
    artifact = export(cnn, tmp_path / "out")
    (artifact.path / "thesis.tex").write_text("precious")
    with pytest.raises(ExportError, match=r"not part of the artifact in it: thesis\.tex.*overwrite=True"):
        export(cnn, tmp_path / "out")
    assert (artifact.path / "thesis.tex").exists()
    export(cnn, tmp_path / "out", overwrite=True)
    assert not (artifact.path / "thesis.tex").exists()


def test_an_empty_folder_is_taken(cnn, tmp_path):
    (tmp_path / "out").mkdir()
    assert verify(export(cnn, tmp_path / "out")).ok


def test_the_working_folder_is_never_replaced(cnn, tmp_path, monkeypatch):
    (tmp_path / "work" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "deep")
    for path in (".", "..", tmp_path / "work"):
        with pytest.raises(ExportError, match="working folder"):
            export(cnn, path, overwrite=True)


def test_a_file_in_the_place_is_refused(cnn, tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(ExportError, match="exists and is not a folder"):
        export(cnn, tmp_path / "out", overwrite=True)


def test_an_unwritable_place_gives_one_clear_error(cnn, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExportError, match=r"Cannot write .*out: Not a directory\. Remedy: check the folder's perm"):
        export(cnn, tmp_path / "file" / "sub" / "out")


def test_a_full_disk_leaves_nothing_behind(cnn, tmp_path):
    export(cnn, tmp_path / "out", name="old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))  # files cannot grow: what a full disk looks like
    try:
        with pytest.raises(ExportError, match=r"Cannot write .*File too large.*free space"):
            export(cnn, tmp_path / "out", name="new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert Artifact.open(tmp_path / "out").manifest.name == "old"
    assert verify(tmp_path / "out").ok


def test_leftovers_of_a_killed_export_are_removed(cnn, tmp_path):
    dead, alive = tmp_path / ".out.deploykit-new-999999999-ab", tmp_path / ".out.deploykit-new-1-ab"
    dead.mkdir()
    alive.mkdir()
    export(cnn, tmp_path / "out")
    assert not dead.exists()
    assert alive.exists()


def test_a_model_that_answers_differently_is_not_exported(tmp_path):
    from onnx import TensorProto, helper, save

    nodes = [
        helper.make_node("RandomNormalLike", ["features"], ["noise"], scale=5.0),
        helper.make_node("Add", ["features", "noise"], ["sum"]),
    ]
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 4])],
    )
    path = tmp_path / "random.onnx"
    save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), path)
    model = load(path)
    candidate = Exportable(path, model.format, "random", Recipe(), Target("onnxruntime"), model, data_for(model))
    with pytest.raises(ExportError) as caught:
        export(candidate, tmp_path / "out")
    assert "Outputs differ from the measured model's by" in str(caught.value)
    assert "(limit 0.001). Not exported." in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["two_inputs_onnx", "log_onnx", "text_onnx", "matmul_onnx"])
def test_all_kinds_of_tensors_are_exported(kind, tmp_path):
    found = verify(export(exportable(kind, tmp_path), tmp_path / "out"))
    assert found.ok, found
    assert found.difference == 0.0


def test_external_data_travel_with_the_model(tmp_path):
    candidate = exportable("cnn_external_onnx", tmp_path)
    artifact = export(candidate, tmp_path / "out")
    (data,) = [f for f in files_of(artifact.path) if f.endswith(".data")]
    assert (artifact.path / data).read_bytes() == (candidate.path.parent / data).read_bytes()
    (artifact.path / data).unlink()
    assert verify(artifact).problems == (f"{data} is missing.",)
    saved = save_file(candidate, tmp_path / "copy" / "x.onnx")
    assert files_of(saved.parent) == [data, "x.onnx"]


def test_int8_input_and_output_stay_within_the_limit(tmp_path):
    artifact = export(exportable("cnn_int8_tflite", tmp_path), tmp_path / "out")
    assert str(artifact.manifest.inputs[0]) == "image: uint8 (?, 8, 8)"
    assert artifact.manifest.outputs[0].dtype == "float32"
    # One and a half steps of 1/256 in outputs between 0 and 1.
    assert 0.005 < artifact.manifest.tolerance < 0.1
    assert verify(artifact).difference == 0.0


def test_the_file_that_was_read_is_exported_not_another_with_its_content(tmp_path):
    """Two files with one content: what became of the first one later does not matter to the second."""
    places = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        places.append(graph(tmp_path / name, *doubled("Add")))
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    first = build(load(places[0]), Recipe(), (x, None), target="onnxruntime")
    graph(tmp_path / "one", *doubled("Mul"))
    with pytest.raises(ExportError, match="has changed since it was measured"):
        export(first, tmp_path / "first")
    second = export(build(load(places[1]), Recipe(), (x, None), target="onnxruntime"), tmp_path / "second")
    inputs, outputs = (load_arrays(second.path / n) for n in ("golden/inputs.npz", "golden/outputs.npz"))
    np.testing.assert_array_equal(outputs["y"], 2 * inputs["x"])


def doubled(operator):
    return [node(operator, ["x", "x"], ["y"])], [value("x", "float32", "N", 4)], [value("y", "float32", "N", 4)]


# -- just the file ------------------------------------------------------------------------------------------------


def test_save_gives_just_the_file(cnn, tmp_path):
    path = save_file(cnn, tmp_path / "new" / "x.onnx")
    assert path.read_bytes() == cnn.path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["x.onnx"]
    assert save_file(cnn, path) == path


def test_save_gives_just_the_folder(saved_model, tmp_path):
    path = save_file(saved_model, tmp_path / "x")
    assert files_of(path) == files_of(saved_model.path)


def test_a_wrong_ending_names_the_right_one(cnn, saved_model, tmp_path):
    with pytest.raises(ExportError, match=r"'x\.tflite': the candidate's format is onnx\. Remedy: name it 'x\.onnx'"):
        save_file(cnn, tmp_path / "x.tflite")
    with pytest.raises(
        ExportError,
        match=r"format is saved_model, a folder, so its name has no suffix\. Remedy: name it 'x' \('x\.pb' for a ",
    ):
        save_file(saved_model, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_save_over_a_folder_is_refused(cnn, tmp_path):
    (tmp_path / "x.onnx").mkdir()
    with pytest.raises(ExportError, match="is a folder"):
        save_file(cnn, tmp_path / "x.onnx")
