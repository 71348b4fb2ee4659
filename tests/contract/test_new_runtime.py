"""Adding a runtime is one file: an installed package with an entry point is picked up everywhere."""

from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Target
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing import models
from deploykit.testing.runtimes import RuntimeConformance

_ENTRY_POINTS = "[deploykit.runtimes]\nreference = reference_runtime:ADAPTER\n"


@pytest.fixture(autouse=True)
def installed(install):
    install(Path(__file__).parent / "example" / "reference_runtime.py", _ENTRY_POINTS)


class TestItsConformance(RuntimeConformance):
    @pytest.fixture
    def name(self):
        return "reference"

    @pytest.fixture
    def model(self, tmp_path):
        return models.build("cnn_onnx", tmp_path), "onnx", (1, 8, 8)


def test_the_registry_lists_it():
    assert "reference" in RUNTIMES.names()
    assert RUNTIMES.get("reference").label == "ONNX reference evaluator"


@pytest.mark.long
def test_a_sweep_runs_it(tmp_path):
    model = dk.load(models.build("cnn_onnx", tmp_path))
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((60, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 60))
    space = dk.Space(recipes=[], targets=[Target("reference"), Target("onnxruntime")])
    report = dk.sweep(model, data, space, store=tmp_path / "s", launches=2, progress=lambda _p: None)
    reference, fast = report.rows
    assert reference.status == fast.status == "measured"
    assert fast.measurement.score.change.value == 0
    assert fast.measurement.latency.speedup.value > 1  # a hundred times as fast: no noise makes up for that
