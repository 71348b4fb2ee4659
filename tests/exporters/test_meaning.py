"""What an exported folder says of inputs and outputs: the original model decides, not the data it was measured on."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

import deploykit as dk
from deploykit.artifacts import artifact as artifacts
from deploykit.artifacts import golden as _golden
from deploykit.artifacts.arrays import load_arrays
from deploykit.artifacts.artifact import Artifact, Manifest
from deploykit.artifacts.golden import remembers
from deploykit.core.check import BaselineCheck
from deploykit.core.errors import ExportError
from deploykit.core.result import Judged, Measurement, Score
from deploykit.core.serial import to_plain
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.testing.graphs import carrying, exported, graph, joint, node, value


def shown(specs):
    return [str(spec) for spec in specs]


def same(folder, dtype, *shape):
    """A model that gives what it gets."""
    return graph(
        folder, [node("Identity", ["x"], ["y"])], [value("x", dtype, "N", *shape)], [value("y", dtype, "N", *shape)]
    )


def numbers(shape=(60, 4)):
    return np.random.default_rng(0).integers(0, 9, shape)


# -- dtypes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "data", "declared"),
    [
        ("float32", "int64", "float32"),
        ("float32", "uint8", "float32"),
        ("float32", "float64", "float32"),
        ("float64", "float64", "float64"),
        ("float64", "int32", "float64"),
        ("float16", "float32", "float16"),
        ("int64", "int64", "int64"),
        ("int64", "uint8", "int64"),
        ("int32", "int64", "int32"),
        ("uint8", "int64", "uint8"),
        ("bool", "bool", "bool"),
        ("string", "U2", "string"),
    ],
)
def test_an_input_has_the_dtype_of_the_model_as_given(tmp_path, model, data, declared):
    artifact = exported(same(tmp_path, model, 4), (numbers().astype(data), None))
    assert shown(artifact.manifest.inputs) == [f"x: {declared} (?, 4)"]
    assert verify(artifact).difference == 0.0


@pytest.mark.parametrize(
    ("steps", "declared"),
    [
        ({"scale": 1 / 255}, "x: uint8 (?, 8, 8, 3)"),
        ({"mean": (1.0, 2.0, 3.0)}, "x: uint8 (?, 8, 8, 3)"),
        ({"resize": (8, 8)}, "x: uint8 (?, ?, ?, 3)"),
        ({"channels": "reversed"}, "x: float32 (?, 8, 8, 3)"),
        ({}, "x: float32 (?, 8, 8, 3)"),
    ],
)
def test_bytes_of_images_stay_bytes_where_preprocessing_makes_numbers_of_them(tmp_path, steps, declared):
    images = dk.Dataset.from_arrays(numbers((60, 8, 8, 3)).astype(np.uint8), preprocess=dk.Preprocess(**steps))
    artifact = exported(same(tmp_path, "float32", 8, 8, 3), images)
    assert shown(artifact.manifest.inputs) == [declared]


# -- free dimensions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "model", "raw", "declared"),
    [
        ({}, ("L",), (5,), "(?, ?)"),
        ({}, ("L", 4), (5, 4), "(?, ?, 4)"),
        ({}, ("H", "W", "C"), (8, 6, 3), "(?, ?, ?, ?)"),
        ({"scale": 0.5}, ("L", 4), (5, 4), "(?, ?, 4)"),
        ({"layout": "channels_first"}, (3, "H", 6), (8, 6, 3), "(?, ?, 6, 3)"),
        ({"layout": "channels_last"}, ("H", 6, 3), (3, 8, 6), "(?, 3, ?, 6)"),
        ({"transpose": (1, 0)}, (4, "L"), (5, 4), "(?, ?, 4)"),
        ({"reshape": (20,)}, ("L",), (5, 4), "(?, 5, 4)"),
        ({"mean": (1.0, 2.0, 3.0)}, ("H", "W", "C"), (8, 6, 3), "(?, ?, ?, 3)"),
        ({"mean": (1.0, 2.0, 3.0), "layout": "channels_first"}, ("C", "H", "W"), (8, 6, 3), "(?, ?, ?, 3)"),
        ({"channels": "reversed"}, ("H", "W", "C"), (8, 6, 3), "(?, ?, ?, 3)"),
        ({"resize": (4, 4)}, (4, 4, 3), (8, 6, 3), "(?, ?, ?, 3)"),
    ],
)
def test_what_is_free_in_the_model_is_free_for_clients(tmp_path, steps, model, raw, declared):
    examples = np.random.default_rng(0).normal(size=(60, *raw)).astype(np.float32)
    artifact = exported(
        same(tmp_path, "float32", *model), dk.Dataset.from_arrays(examples, preprocess=dk.Preprocess(**steps))
    )
    assert shown(artifact.manifest.inputs) == [f"x: float32 {declared}"]
    free = ", ".join("?" if isinstance(d, str) else str(d) for d in model)
    assert shown(artifact.manifest.outputs) == [f"y: float32 (?, {free})"]


# -- state, constants, sequences ---------------------------------------------------------------------------------------


def test_a_state_may_be_sent_and_is_given(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    artifact = exported(carrying(tmp_path), (x, None), state={"next": "state"})
    assert shown(artifact.manifest.inputs) == ["x: float32 (?, 4)", "state: float32 (?, 1, 4)"]
    assert shown(artifact.manifest.outputs) == ["y: float32 (?, 4)", "next: float32 (?, 1, 4)"]
    golden, raw = (
        load_arrays(artifact.path / n) for n in (artifact.manifest.golden_outputs, artifact.manifest.golden_inputs)
    )
    assert list(raw) == ["x"]
    assert "| in `state` | float32 | (?, 1, 4) | may be omitted: zeros |" in (artifact.path / "README.md").read_text()
    np.testing.assert_allclose(golden["y"], 2 * raw["x"])
    np.testing.assert_allclose(golden["next"][:, 0], raw["x"])


def test_sequences_are_any_number_of_steps(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 7, 4)).astype(np.float32)
    artifact = exported(carrying(tmp_path), (x, None), state={"next": "state"})
    assert artifact.manifest.contract.sequences
    assert shown(artifact.manifest.inputs) == ["x: float32 (?, ?, 4)", "state: float32 (?, 1, 4)"]
    assert shown(artifact.manifest.outputs) == ["y: float32 (?, ?, 4)", "next: float32 (?, ?, 1, 4)"]
    golden = load_arrays(artifact.path / artifact.manifest.golden_outputs)
    raw = load_arrays(artifact.path / artifact.manifest.golden_inputs)
    np.testing.assert_allclose(golden["y"], 2 * np.cumsum(raw["x"], axis=1), rtol=1e-5)


def test_a_constant_is_nothing_that_clients_send(tmp_path):
    path = graph(
        tmp_path,
        [node("Cast", ["rate"], ["real"], to=1), node("Div", ["x", "real"], ["y"])],
        [value("x", "float32", "N", "L"), value("rate", "int64")],
        [value("y", "float32", "N", "L")],
    )
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    artifact = exported(path, (x, None), constants={"rate": 16})
    assert shown(artifact.manifest.inputs) == ["x: float32 (?, ?)"]
    golden = load_arrays(artifact.path / artifact.manifest.golden_outputs)
    np.testing.assert_allclose(golden["y"], load_arrays(artifact.path / artifact.manifest.golden_inputs)["x"] / 16)


# -- batches -----------------------------------------------------------------------------------------------------------


def test_examples_that_depend_on_their_batch_are_run_one_by_one(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32) * (1 + np.arange(60)[:, None])
    artifact = exported(joint(tmp_path), (x, None))
    assert artifact.manifest.batch_dependent
    assert "examples are run one by one and requests are not batched together" in (
        artifact.path / "README.md"
    ).read_text("utf-8")
    raw = load_arrays(artifact.path / artifact.manifest.golden_inputs)["x"]
    low, high = np.minimum(raw.min(axis=1), 0), np.maximum(raw.max(axis=1), 0)  # as the operator is defined
    scale = ((high - low) / 255)[:, None].astype(np.float32)
    zero = np.rint(-low[:, None] / scale)
    wanted = (np.clip(np.rint(raw / scale) + zero, 0, 255) - zero) * scale
    golden = load_arrays(artifact.path / artifact.manifest.golden_outputs)["y"]
    np.testing.assert_allclose(golden, wanted, atol=1e-5)
    assert not exported(same(tmp_path, "float32", 4), (x, None), name="same").manifest.batch_dependent


# -- text --------------------------------------------------------------------------------------------------------------


def test_text_keeps_the_zero_bytes_at_its_end(tmp_path):
    words = np.array([["a\0", "größe"], ["", "\0"]] * 30, object)
    artifact = exported(same(tmp_path, "string", 2), dk.Dataset.from_arrays(words, preprocess=dk.Preprocess(raw=True)))
    golden = load_arrays(artifact.path / artifact.manifest.golden_outputs)["y"]
    assert {tuple(row) for row in golden.tolist()} <= {("a\0", "größe"), ("", "\0")}
    assert verify(artifact).ok


# -- what is written ---------------------------------------------------------------------------------------------------


def test_the_manifest_holds_contract_and_check(cnn, tmp_path):
    check = BaselineCheck(examples=50, metric="accuracy", value=0.5, chance=0.4, warnings=("Looks wrong.",))
    made = export(dataclasses.replace(cnn, check=check), tmp_path / "out")
    manifest = Artifact.open(made.path).manifest
    assert manifest.contract == cnn.data.contract
    assert manifest.check == check
    assert manifest.input_names == {"image": "image"}
    assert manifest.output_names == {"probabilities": "probabilities"}
    text = (made.path / "README.md").read_text(encoding="utf-8")
    for _, line in cnn.data.contract.lines:
        assert line in text
    assert "check: 50 % right on 50 examples, 40 % by always giving the most frequent answer" in text
    assert "check: Looks wrong." in text


def test_the_readme_says_how_near_other_outputs_stay(cnn, tmp_path):
    from deploykit.core.candidate import Candidate
    from deploykit.core.result import Interval, Result

    zero = Interval(0.0, 0.0, 0.0)
    others = {
        "boxes": Judged("values", 0.031, None),
        "classes": Judged("classes", None, 0.995, missing=0.5),
        "odd": Judged("values", None, None, problem="(2,) instead of (3,)"),
    }
    measured = Measurement((Score("accuracy", 0.9, zero, zero, 60),), None, 1, 1, others=others)
    row = Result("k" * 12, Candidate(cnn.recipe, cnn.target), "measured", "given", "", "onnx", measurement=measured)
    made = export(dataclasses.replace(cnn, result=row), tmp_path / "out")
    text = (made.path / "README.md").read_text(encoding="utf-8")
    assert "output `boxes`, which is not scored: off by 3.1 % of the original's spread (worst column)" in text
    assert (
        "output `classes`, which is not scored: 99.5 % of its answers match the original's, 50 % of its values are NaN"
        in text
    )
    assert "output `odd`, which is not scored: not comparable with the original's: (2,) instead of (3,)" in text
    assert made.manifest.result.measurement.others == others


def test_a_change_of_the_manifest_needs_a_new_schema():
    """Who changes the manifest raises SCHEMA, writes a step or says why there is none, and puts the new digest here."""
    names = " ".join(f"{f.name}:{f.type}" for f in dataclasses.fields(Manifest))
    assert (artifacts.SCHEMA, hashlib.sha256(names.encode()).hexdigest()[:16]) == (7, "061d15c3a9bf6e3a")


def test_an_artifact_from_before_layouts_had_parameters_is_read(cnn, tmp_path):
    made = export(cnn, tmp_path / "out")
    old = {n: v for n, v in to_plain(made.manifest).items() if n not in ("parameters", "license")}
    (made.path / "manifest.json").write_text(json.dumps({**old, "schema": 2}))
    found = Artifact.open(made.path)
    assert found.manifest == made.manifest
    assert found.digest == made.digest


def test_an_artifact_without_a_contract_is_refused_with_the_remedy(cnn, tmp_path):
    made = export(cnn, tmp_path / "out")
    old = {n: v for n, v in to_plain(made.manifest).items() if n not in ("contract", "check", "batch_dependent")}
    (made.path / "manifest.json").write_text(json.dumps({**old, "schema": 1, "version": "0.0.9"}))
    with pytest.raises(ExportError) as caught:
        Artifact.open(made.path)
    assert "written by an older version of deploykit (0.0.9): it has schema 1, this version uses 7" in str(caught.value)
    assert "export the candidate again" in str(caught.value)


# -- a model that remembers --------------------------------------------------------------------------------------------


class Remembering:
    """A predictor that adds what it was given before."""

    def __init__(self, carried):
        self.before = 0.0
        self.carried = carried

    def __call__(self, inputs):
        found = inputs["x"] + self.before
        self.before = self.carried * float(inputs["x"].sum())
        return {"y": found}


@pytest.mark.parametrize(("carried", "refused"), [(0.0, False), (0.5, True)])
def test_a_model_that_carries_something_to_the_next_request_is_found(carried, refused):
    said = remembers(Remembering(carried), {"x": np.array([[1.0, 2.0], [3.0, 5.0]])}, 1e-3)
    assert ("does not always answer the same request the same way" in said) == refused


def test_an_artifact_whose_model_remembers_is_not_as_it_was_exported(tmp_path, monkeypatch):
    artifact = exported(same(tmp_path, "float32", 4), (numbers().astype(np.float32), None))
    for carried in (0.0, 0.5):
        monkeypatch.setattr(_golden.Predictor, "open", lambda _, carried=carried: Remembering(carried))
        found = _golden.replay({"artifact": str(artifact.path)}, print)
        assert found["difference"] == 0.0
        assert len(found["problems"]) == bool(carried)
