"""Sizes of files whose weights have few values: as stored, after gzip, and computed from the bits."""

import zlib

import numpy as np
import onnx
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.loading._contract import FORMATS
from tests.surgery import graphs

CLUSTER, SIMULATE = Step("cluster_weights", {"clusters": 4}), Step("quantize_simulated", {"bits": 3})
#: Of the three kernels of the graph.
WEIGHTS = 8 * 27 + 6 * 72 + 6 * 4


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packing")
    onnx.save(graphs.graph("chain"), str(folder / "model.onnx"))
    data = dk.Dataset.from_arrays({"x": graphs.examples("chain", 200)})
    steps = ((CLUSTER,), (SIMULATE,), (CLUSTER, SIMULATE), (CLUSTER, Step("quantize_dynamic")))
    space = dk.Space([Recipe(some) for some in steps], [Target("onnxruntime")])
    model = dk.load(folder / "model.onnx")
    return dk.sweep(model, data, space, store=folder / "store", launches=0, progress=lambda _p: None)


@pytest.fixture
def rows(report):
    assert {row.status for row in report.rows} == {"measured"}
    return {tuple(step.technique for step in row.candidate.recipe.steps): row for row in report.rows}


def test_the_packed_size_is_computed_from_the_bits(report, rows):
    found = report.to_frame().packed_bytes
    sizes = {steps: row.measurement.size_bytes for steps, row in rows.items()}
    clustered, simulated = ("cluster_weights",), ("quantize_simulated",)
    # four values take two bits, and a table of four float32 numbers for each of three layers
    assert found[rows[clustered].key] == sizes[clustered] - int(4 * WEIGHTS - 2 * WEIGHTS / 8 - 3 * 16)
    # three bits, and minimum and step for each layer; the last step counts
    for steps in (simulated, clustered + simulated):
        assert found[rows[steps].key] == sizes[steps] - int(4 * WEIGHTS - 3 * WEIGHTS / 8 - 3 * 8)
    assert found.notna().sum() == 3, "a file that is quantized has a size of its own"


def test_the_size_after_gzip_is_the_files(report, rows):
    for row in rows.values():
        level_six = len(zlib.compress((report.path / row.artifact).read_bytes(), 6, 31))
        assert 0.9 * level_six < row.measurement.compressed_bytes < 1.05 * level_six
    original, clustered = rows[()].measurement, rows["cluster_weights",].measurement
    assert clustered.size_bytes == pytest.approx(original.size_bytes, rel=0.01)
    assert clustered.compressed_bytes < 0.5 * original.compressed_bytes


def test_it_is_said_with_the_other_sizes(report, rows):
    row = rows["cluster_weights",]
    packed = report.to_frame().packed_bytes[row.key]
    assert f"it would take {packed / 1000:.1f} kB: computed" in report.choice_for(row.key).explain()
    int8 = report.choice_for(rows["cluster_weights", "quantize_dynamic"].key)
    assert "computed" not in int8.explain()


def test_nothing_but_kernels_is_changed(report, rows):
    """What is stored has the values that were noted."""
    found = FORMATS.get("onnx").weights(report.path / rows["cluster_weights",].artifact)
    assert {weight.layer: len(np.unique(weight.load())) for weight in found} == {
        "layer_a": 4, "layer_c": 4, "layer_y": 4,
    }  # fmt: skip
