"""Every technique on architectures it was not written for: it makes a file that runs, or refuses by name."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.transforms._contract import TRANSFORMS

KERAS = ("resnet", "mobilenet", "convnext", "transformer", "two_ends", "nested")
ONNX = ("grouped_13", "grouped_18", "grouped_21", "attention_17")
#: Their layers are of modules of Keras that files may not name unless they are trusted.
TRUSTED = {"convnext"}
#: Errors that say what was found and what to do: anything else is a fault.
REFUSALS = {"UnsupportedModelError", "DatasetError", "MissingExtraError"}
_QUICK = {"epochs": 1, "batch_size": 16, "train_examples": 32, "rounds": 1}


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The models and their examples, made by a script that has Keras."""
    folder = tmp_path_factory.mktemp("architectures")
    script = Path(__file__).parent / "foreign" / "architectures.py"
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def space():
    """Each technique with settings that make it quick, and the presets' chain."""
    steps = {}
    for technique in TRANSFORMS.all():
        if not (technique.from_file or technique.keyed):
            known = {p.name for p in technique.parameters}
            steps[technique.name] = dk.Step(technique.name, {k: v for k, v in _QUICK.items() if k in known})
    chain = tuple(steps[name] for name in ("prune_channels", "distill", "quantize_static"))
    at_once = dk.Step("prune_magnitude", {"epochs": 0})  # ONNX files are not trained without rounds
    recipes = [*(dk.Recipe((step,)) for step in (*steps.values(), at_once)), dk.Recipe(chain)]
    return dk.Space(recipes, [dk.Target("litert"), dk.Target("onnxruntime")])


def swept(folder, name, file, store):
    """Rows of a sweep, and what the plan has left out."""
    with np.load(folder / f"{name}.npz") as arrays:
        found = dict(arrays)
    labels = found.pop("y")
    data = dk.Dataset.from_arrays(found, labels, calibration_size=24)
    model = dk.load(folder / file, trusted=name in TRUSTED)
    output = {"output": model.outputs[0].name} if len(model.outputs) > 1 else {}
    report = dk.sweep(model, data, space(), store=store, launches=0, progress=lambda _: None, **output)
    return report, dk.plan(model, data, space(), store=store, check=False, **output).left_out


@pytest.mark.proof(
    "Every technique runs on architectures it was not written for, or refuses by name",
    against="Keras Applications, ONNX as PyTorch writes it",
)
@pytest.mark.parametrize("name", [*KERAS, *ONNX])
def test_every_technique_runs_or_refuses(made, name, versions, tmp_path):
    folder, facts = made
    versions(keras=facts["keras"], onnx=facts["onnx"])
    report, left_out = swept(folder, name, facts["models"][name], tmp_path / "store")
    faults = [
        f"{row.label} on {row.candidate.target.runtime}: {row.failure.error}: {row.failure.cause}"
        for row in report.rows
        if row.failure is not None and row.failure.error not in REFUSALS
    ]
    assert not faults, "\n".join(faults)
    assert {row.status for row in report.rows} <= {"measured", "failed", "stopped"}
    assert all(left.reason for left in left_out)
    measured = [row for row in report.rows if row.status == "measured" and row.candidate.recipe.steps]
    assert len(measured) > len(TRANSFORMS.names()) // 2, "hardly any technique works on this model"
    assert all(np.isfinite(row.measurement.score.value) for row in measured)
