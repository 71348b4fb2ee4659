"""Clustering of Keras and ONNX files, held against TF-MOT and NumPy."""

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from deploykit.core.errors import UnsupportedModelError
from deploykit.loading._contract import FORMATS
from deploykit.testing import work
from deploykit.transforms._weights.sharing import FewValues
from tests.surgery import graphs

ONNX = FORMATS.get("onnx")
#: What TF-MOT's wrappers make of a kernel before they train it.
TFMOT = """
import sys
import numpy as np, tensorflow as tf
from tensorflow_model_optimization.python.core.clustering.keras import clustering_algorithm, clustering_centroids
starts = clustering_centroids.CentroidInitialization
make = clustering_centroids.CentroidsInitializerFactory.get_centroid_initializer
found = {}
for key, kernel in np.load(sys.argv[1]).items():
    name, start, zeros = key.split("|")
    centers = make(starts[start])(tf.constant(kernel), 12, preserve_sparsity=zeros == "True").get_cluster_centroids()
    clustering = clustering_algorithm.ClusteringAlgorithm(tf.Variable(centers))
    found[key] = clustering.get_clustered_weight(clustering.get_pulling_indices(kernel), tf.constant(kernel)).numpy()
np.savez(sys.argv[2], **found)
"""


def kernels(path):
    """The kernels of a Keras file as converters store them: `norm` follows `second`."""
    found = work.weights_of(path)
    factors = found["norm.gamma"] / np.sqrt(found["norm.moving_variance"].astype(np.float64) + 1e-3)
    found["second.kernel"] = (found["second.kernel"] * factors).astype(np.float32)
    return {name: v for name, v in found.items() if name.endswith("kernel")}


def cluster(source, target, form="keras", **settings):
    return work.transformed("cluster_weights", form, source, target, None, **settings)


@pytest.fixture(scope="module")
def pruned(folder):
    target = folder / "pruned_wide.keras"
    work.transformed("prune_magnitude", "keras", work.made("wide_cnn", folder), target, None, epochs=0, sparsity=0.6)
    return target


@pytest.fixture(scope="module")
def tfmot(folder, pruned):
    """What TF-MOT makes of the kernels of the model and of the pruned one, by start."""
    sources = {False: kernels(work.made("wide_cnn", folder)), True: kernels(pruned)}
    given = {
        f"{name}|{start}|{zeros}": values
        for zeros, found in sources.items()
        for name, values in found.items()
        for start in ("LINEAR", "DENSITY_BASED", "KMEANS_PLUS_PLUS")
        if (values == 0).any() == zeros
    }
    np.savez(folder / "given.npz", **given)
    subprocess.run(
        [sys.executable, "-c", TFMOT, str(folder / "given.npz"), str(folder / "tfmot.npz")], check=True,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"}, capture_output=True,
    )  # fmt: skip
    found = np.load(folder / "tfmot.npz")

    def of(start, *, zeros):
        ending = f"|{start}|{zeros}"
        return {key.removesuffix(ending): found[key] for key in found if key.endswith(ending)}

    return of


@pytest.mark.parametrize("zeros", [False, True])
def test_linear_starts_give_what_tfmot_gives(zeros, folder, pruned, tfmot, tmp_path):
    source = pruned if zeros else work.made("wide_cnn", folder)
    cluster(source, tmp_path / "out", clusters=12, initialization="linear", iterations=0)
    expected, found = tfmot("LINEAR", zeros=zeros), kernels(tmp_path / "out")
    assert len(expected) >= 2
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)
        np.testing.assert_array_equal(found[name] == 0, values == 0)


def test_density_starts_are_near_those_of_tfmot(folder, tfmot, tmp_path):
    """TF-MOT reads them off a grid of 30 points, where several may coincide; these are the quantiles themselves."""
    source = work.made("wide_cnn", folder)
    cluster(source, tmp_path / "out", clusters=12, initialization="density", iterations=0)
    before, found = kernels(source), kernels(tmp_path / "out")
    for name, values in tfmot("DENSITY_BASED", zeros=False).items():
        step = (np.ptp(before[name]) + 0.02) / 29
        for start in np.unique(values):
            assert np.abs(np.unique(found[name]) - start).min() <= step
        assert len(np.unique(found[name])) >= len(np.unique(values))


def test_kmeans_errs_less_than_tfmot(folder, tfmot, tmp_path):
    source = work.made("wide_cnn", folder)
    cluster(source, tmp_path / "out", clusters=12)
    before, found = kernels(source), kernels(tmp_path / "out")
    for name, values in tfmot("KMEANS_PLUS_PLUS", zeros=False).items():
        assert np.square(found[name] - before[name]).sum() < np.square(values - before[name]).sum()


def test_zeros_of_pruning_stay_and_layers_can_be_left_out(pruned, tmp_path):
    notes = cluster(pruned, tmp_path / "out", clusters=8, exclude="class, second")
    before, after = work.weights_of(pruned), work.weights_of(tmp_path / "out")
    zeros = 0
    for name, values in before.items():
        if name not in ("first.kernel", "hidden.kernel"):
            np.testing.assert_array_equal(after[name], values)
            continue
        assert len(np.unique(after[name])) == 8
        np.testing.assert_array_equal(after[name][values == 0], 0.0)
        zeros += int((values == 0).sum())
    assert zeros > 1000
    assert [unit[0] for unit in notes["units"]] == ["first", "hidden"]
    # eight values take three bits, and a table of eight float32 numbers
    sizes = [before[f"{layer}.kernel"].size for layer in ("first", "hidden")]
    assert notes["saved_bytes"] == int(sum(4 * size - 3 * size / 8 - 32 for size in sizes))


def test_converted_files_have_the_same_shared_values(folder, tmp_path):
    """Converters multiply kernels by the normalization behind them: here, by exactly 1."""
    notes = cluster(work.made("residual_cnn", folder), tmp_path / "out.keras", clusters=5)
    assert notes["normalization_absorbed"]
    for converter, form in (("keras_to_onnx", "onnx"), ("keras_to_tflite", "tflite")):
        work.converted(converter, tmp_path / "out.keras", tmp_path / form)
        found = [w for w in FORMATS.get(form).weights(tmp_path / form) if math.prod(w.shape) > max(w.shape)]  # kernels
        assert [np.unique(w.load()).size for w in found] == [5] * len(notes["units"])


@pytest.mark.parametrize("start", ["kmeans++", "linear", "density"])
def test_an_onnx_file_gets_the_same_values(start, folder, tmp_path):
    source = work.made("wide_cnn", folder)
    if not (folder / "wide.onnx").exists():
        work.converted("keras_to_onnx", source, folder / "wide.onnx")
    cluster(source, tmp_path / "keras", clusters=6, initialization=start)
    cluster(folder / "wide.onnx", tmp_path / "onnx", "onnx", clusters=6, initialization=start)
    ours, theirs = kernels(tmp_path / "keras"), graphs.weights(onnx.load(str(tmp_path / "onnx")))
    for name, shape, order in (("first", (16, 1, 3, 3), (3, 2, 0, 1)), ("hidden", (864, 16), (0, 1))):
        (found,) = (v for v in theirs.values() if v.shape == shape)
        np.testing.assert_array_equal(found, ours[f"{name}.kernel"].transpose(order))


def test_seeds_matter_where_k_means_draws(tmp_path):
    onnx.save(graphs.graph("chain"), str(tmp_path / "model.onnx"))
    made = {}
    for start in ("kmeans++", "linear"):
        for seed in (0, 0, 1):
            work.transformed(
                "cluster_weights", "onnx", tmp_path / "model.onnx", tmp_path / "out", None, seed=seed, clusters=4,
                initialization=start,
            )  # fmt: skip
            made.setdefault((start, seed), set()).add((tmp_path / "out").read_bytes())
    assert all(len(files) == 1 for files in made.values())
    assert made["linear", 0] == made["linear", 1]
    assert made["kmeans++", 0] != made["kmeans++", 1]


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    model = graphs.graph("chain")
    values = graphs.weights(model)["w2"].copy()
    values.flat[0] = np.nan
    next(t for t in model.graph.initializer if t.name == "w2").CopyFrom(onnx.numpy_helper.from_array(values, "w2"))
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(UnsupportedModelError, match="'layer_c' has weights that are not finite"):
        cluster(tmp_path / "model.onnx", tmp_path / "out", "onnx")
    cluster(tmp_path / "model.onnx", tmp_path / "out", "onnx", exclude="layer_c")


def test_a_file_with_more_values_breaks_its_word(tmp_path):
    onnx.save(graphs.graph("chain"), str(tmp_path / "model.onnx"))
    notes = cluster(tmp_path / "model.onnx", tmp_path / "out", "onnx", clusters=5)

    def broken(path, most):
        return FewValues(most).broken(SimpleNamespace(units=notes["units"], weights=lambda: ONNX.weights(path)))

    assert not broken(tmp_path / "out", 5)
    assert "different weights instead of 4" in broken(tmp_path / "out", 4)
    assert "different weights instead of 5" in broken(tmp_path / "model.onnx", 5)
