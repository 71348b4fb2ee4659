"""Adding a runtime is one file: the registry, the planner and the suite pick it up from an installed package."""

from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core import registry
from deploykit.core.candidate import Target
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing import models
from deploykit.testing.runtimes import RuntimeConformance


class _Point:
    """What importlib.metadata gives for an entry point of the group ``deploykit.runtimes``."""

    name = "reference"
    value = "reference_runtime:ADAPTER"


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "example"))
    points = registry._entry_points
    monkeypatch.setattr(
        registry, "_entry_points", lambda group: (_Point,) if group == RUNTIMES.package else points(group)
    )


def test_the_registry_lists_it():
    assert "reference" in RUNTIMES.names()
    assert RUNTIMES.get("reference").label == "ONNX reference evaluator"


def test_it_runs_and_reports_its_devices(tmp_path):
    runtime = RUNTIMES.get("reference")
    assert [d.name for d in runtime.devices()] == ["cpu"]
    path = models.build("cnn_onnx", tmp_path)
    images = np.random.default_rng(0).random((4, 1, 8, 8)).astype(np.float32)
    mine = runtime.open(path, Target("reference"), "onnx").predict({"image": images})
    theirs = RUNTIMES.get("onnxruntime").open(path, Target("onnxruntime"), "onnx").predict({"image": images})
    for one, other in zip(mine.values(), theirs.values(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_planner_offers_it(tmp_path):
    model = dk.load(models.build("cnn_onnx", tmp_path))
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((60, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 60))
    plan = dk.plan(model, data, dk.Space(recipes=[], targets=[Target("reference"), Target("onnxruntime")]))
    assert [c.candidate.target.runtime for c in plan.candidates] == ["reference", "onnxruntime"]


class TestItsFacts(RuntimeConformance):
    """The suite's checks that run in this process; the others need it installed in child processes too."""

    @pytest.fixture
    def name(self):
        return "reference"

    test_devices_are_listed_with_reasons = None
    test_every_batch_size_gives_the_same_outputs = None
    test_an_unknown_device_is_refused = None
    test_a_foreign_format_is_refused = None
