"""Adding a metric is one file: an installed package with an entry point is picked up everywhere."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import deploykit as dk
from deploykit.metrics._contract import METRICS
from deploykit.testing.metrics import MetricConformance
from docs.tools import reference


@pytest.fixture(autouse=True)
def installed(install):
    install(Path(__file__).parent / "example" / "log_loss.py", "[deploykit.metrics]\nlog_loss = log_loss:ADAPTER\n")


class TestItsConformance(MetricConformance):
    @pytest.fixture
    def name(self):
        return "log_loss"


def test_the_registry_and_the_docs_list_it():
    assert "log_loss" in METRICS.names()
    assert "| `log_loss` | Cross entropy of the labels; max\\_drop is relative" in reference._table("metrics")


def test_a_sweep_scores_by_it(zoo, tmp_path):
    path = zoo("cnn_onnx")
    rng = np.random.default_rng(0)
    images, labels = rng.random((200, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 200)
    data = dk.Dataset.from_arrays(images, labels)
    space = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
    report = dk.sweep(
        dk.load(path), data, space, store=tmp_path / "s", metric="log_loss", launches=0, progress=lambda _p: None
    )
    base, int8 = (row.measurement.score for row in report.rows)
    assert base.metric == "log_loss"
    assert not base.higher_is_better
    held = data.splits["evaluation"]
    (found,) = onnxruntime.InferenceSession(path).run(None, {"image": np.asarray(next(iter(held.inputs.values())))})
    wanted = -np.log(found[np.arange(len(held.labels)), held.labels].astype(np.float64))
    assert base.value == pytest.approx(wanted.mean(), rel=1e-4)
    assert int8.drop.value == pytest.approx(int8.value / base.value - 1, abs=1e-9)
    assert report.facts["metric"] == "log_loss"
