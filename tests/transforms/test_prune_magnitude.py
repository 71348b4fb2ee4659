import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deploykit.core.errors import DatasetError, SettingError
from deploykit.data.dataset import Dataset
from deploykit.testing import work
from deploykit.training.schedule import raised
from deploykit.training.tfmot import sparse
from deploykit.transforms._contract import TRANSFORMS

pytestmark = pytest.mark.long

TECHNIQUE = TRANSFORMS.get("prune_magnitude")


@pytest.fixture(scope="session")
def data(folder):
    """Images whose class is the third that is bright: learnable in a few steps."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    images = rng.random((400, 8, 8, 1)).astype(np.float32)
    for i, label in enumerate(labels):
        images[i, :, label * 3 : label * 3 + 2] += 2.0
    Dataset.from_arrays(images, labels).save(folder / "bright")
    return folder / "bright"


def prune(source, target, data, **parameters):
    settings = {"epochs": 2, "batch_size": 16, "small_layers": True, **parameters}
    return work.transformed("prune_magnitude", "tfmot", source, target, data, **settings)


@pytest.fixture(scope="session")
def pruned(folder, data):
    """A pruned model, and what was noted and reported while it was made."""
    target = folder / "pruned"
    notes = prune(work.made("wide_cnn", folder), target, data, sparsity=0.6, epochs=4, learning_rate=5e-3)
    return target, notes


def test_every_layer_reaches_the_sparsity_and_the_rest_is_trained(pruned, folder):
    target, notes = pruned
    assert set(notes["sparsity_by_layer"]) == {"first", "second", "hidden", "class"}
    assert all(0.55 < share < 0.65 for share in notes["sparsity_by_layer"].values())
    assert notes["sparsity"] == pytest.approx(0.6, abs=0.01)
    before, after = work.weights_of(work.made("wide_cnn", folder)), work.weights_of(target)
    kernels = [path for path in after if path.endswith("kernel")]
    assert len(kernels) == 4
    for path in kernels:
        zeros = after[path] == 0
        assert zeros.mean() == pytest.approx(0.6, abs=0.05)
        assert not np.array_equal(after[path][~zeros], before[path][~zeros]), "the weights that stay were not trained"
    assert not any((after[path] == 0).mean() > 0.5 for path in after if path.endswith("gamma"))


def test_fine_tuning_learns(pruned):
    _, notes = pruned
    assert notes["loss"] == "SparseCategoricalCrossentropy"
    assert notes["loss_by_epoch"][-1] < 0.5 * notes["loss_by_epoch"][0]


def test_progress_counts_steps(pruned):
    _, notes = pruned
    assert notes["reports"][0] == [1, 40, "steps of fine-tuning, epoch 1 of 4"]
    assert notes["reports"][-1] == [40, 40, "steps of fine-tuning, epoch 4 of 4"]


def test_the_same_seed_gives_the_same_weights(pruned, folder, data, tmp_path):
    prune(work.made("wide_cnn", folder), tmp_path / "again", data, sparsity=0.6, epochs=4, learning_rate=5e-3)
    again = work.weights_of(tmp_path / "again")
    for path, value in work.weights_of(pruned[0]).items():
        np.testing.assert_allclose(value, again[path], atol=1e-4)


def test_without_epochs_nothing_is_trained(folder, data, tmp_path):
    source = work.made("wide_cnn", folder)
    notes = prune(source, tmp_path / "out", data, sparsity=0.5, epochs=0)
    assert "loss" not in notes
    before, after = work.weights_of(source), work.weights_of(tmp_path / "out")
    for path, value in after.items():
        expected = sparse(before[path], 0.5) if path.endswith("kernel") else before[path]
        np.testing.assert_array_equal(value, expected)


def test_the_smallest_layers_are_spared_unless_asked_for(folder, data, tmp_path):
    notes = prune(work.made("wide_cnn", folder), tmp_path / "out", data, epochs=0, small_layers=False)
    assert "class" in notes["left_dense"]
    assert set(notes["sparsity_by_layer"]) == {"first", "second", "hidden"}


def test_regression_on_sequences(folder, tmp_path):
    source = work.made("attention", folder)
    examples, outputs = work.examples_of(source), work.outputs_of(source)
    rng = np.random.default_rng(0)
    inputs = {k: rng.normal(0, 1, (60, *v.shape[1:])).astype(np.float32) for k, v in examples.items()}
    targets = rng.normal(0, 1, (60, *next(iter(outputs.values())).shape[1:]))
    Dataset.from_arrays(inputs, targets).save(tmp_path / "data")
    notes = prune(source, tmp_path / "out", tmp_path / "data", epochs=1)
    assert notes["loss"] == "MeanSquaredError"
    assert notes["sparsity_by_layer"]["multi_head_attention"] == pytest.approx(0.5, abs=0.05)
    assert notes["sparsity_by_layer"]["einsum_dense"] == pytest.approx(0.5, abs=0.05)


def test_recurrent_layers_are_pruned(folder, tmp_path):
    source = work.made("wrapped_recurrent", folder)
    rng = np.random.default_rng(0)
    inputs = rng.normal(0, 1, (60, 6, 3)).astype(np.float32)
    Dataset.from_arrays({"sequence": inputs}, rng.normal(0, 1, (60, 3))).save(tmp_path / "data")
    notes = prune(source, tmp_path / "out", tmp_path / "data", epochs=0, sparsity=0.5)
    assert notes["sparsity_by_layer"].keys() == {"state"}
    assert set(notes["left_dense"]) == {"bidirectional", "time_distributed"}


def test_layers_behind_a_mask_stay_dense_and_are_named(folder, tmp_path):
    source = work.made("masked_recurrent", folder)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 9, (60, 6)).astype(np.int32)
    Dataset.from_arrays({"tokens": tokens}, rng.integers(0, 2, 60)).save(tmp_path / "data")
    notes = prune(source, tmp_path / "out", tmp_path / "data", epochs=0)
    assert {"embedding", "lstm", "gru"} <= set(notes["left_dense"])
    assert notes["sparsity_by_layer"] == {"positive": 0.5}


def test_a_second_output_is_pruned_without_labels_of_its_own(folder, tmp_path):
    source = work.made("two_inputs", folder)
    rng = np.random.default_rng(0)
    inputs = {k: rng.normal(0, 1, (60, *v.shape[1:])).astype(np.float32) for k, v in work.examples_of(source).items()}
    Dataset.from_arrays(inputs, rng.normal(0, 1, 60)).save(tmp_path / "data")
    notes = prune(source, tmp_path / "out", tmp_path / "data", epochs=1, schedule="constant")
    assert notes["sparsity_by_layer"]["label"] == pytest.approx(0.5, abs=0.05)
    assert notes["sparsity_by_layer"]["shared"] == pytest.approx(0.5, abs=0.05)


def test_inputs_and_outputs_are_told_apart_by_their_keys(folder, tmp_path):
    rng = np.random.default_rng(0)
    user, item = rng.normal(0, 1, (2, 400, 4)).astype(np.float32)
    wanted = user @ [1.0, 2.0, 0.0, 1.0] - item @ [0.0, -2.0, 3.0, 1.0]
    Dataset.from_arrays({"item": item, "user": user}, wanted).save(tmp_path / "data")
    settings = {"sparsity": 0.25, "epochs": 30, "learning_rate": 0.05}
    notes = prune(work.made("twins", folder), tmp_path / "out", tmp_path / "data", **settings)
    assert notes["loss_by_epoch"][-1] < 0.1 * notes["loss_by_epoch"][0]
    found = work.predicted(tmp_path / "out", "keras", {"user": user, "item": item})["value"][:, 0]
    assert np.mean((found - wanted) ** 2) < 0.1 * wanted.var()


def test_data_without_labels_are_refused(folder, tmp_path):
    Dataset.from_arrays(np.zeros((60, 8, 8, 1), np.float32)).save(tmp_path / "data")
    with pytest.raises(DatasetError, match="train"):
        prune(work.made("wide_cnn", folder), tmp_path / "out", tmp_path / "data")


@pytest.mark.parametrize("sparsity", [1.5, -0.1, 1.0])
def test_an_impossible_sparsity_names_the_range(sparsity):
    with pytest.raises(SettingError, match=r"sparsity must be between 0 and 0\.99"):
        TECHNIQUE.complete({"sparsity": sparsity})


def test_the_smallest_weights_become_zero():
    kernel = np.array([[3.0, -0.5], [0.1, -2.0]], np.float32)
    np.testing.assert_array_equal(sparse(kernel, 0.5), [[3.0, 0.0], [0.0, -2.0]])
    np.testing.assert_array_equal(sparse(kernel, 0.99), [[3.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(sparse(kernel, 0.0), kernel)
    assert sparse(np.full(10, 2.0), 0.5).tolist().count(0.0) == 5, "equal weights must not all go"


def test_layers_that_are_excluded_stay_dense(folder, data, tmp_path):
    source = work.made("wide_cnn", folder)
    notes = prune(source, tmp_path / "out", data, epochs=0, exclude="second, Dense")
    assert [unit[:2] for unit in notes["units"]] == [["first", "Conv2D"]]
    assert {"second", "hidden", "class"} <= set(notes["left_dense"])
    before, after = work.weights_of(source), work.weights_of(tmp_path / "out")
    for path in (p for p in after if "second" in p):
        np.testing.assert_array_equal(after[path], before[path])
    only = prune(source, tmp_path / "only", data, epochs=0, exclude="!second")
    assert set(only["sparsity_by_layer"]) == {"second"}
    with pytest.raises(SettingError, match=r"no layer and no layer type 'secnd'.*did you mean 'second'"):
        prune(source, tmp_path / "none", data, epochs=0, exclude="secnd")


ROUNDS = {"sparsity": 0.8, "rounds": 3, "epochs": 1, "batch_size": 16, "small_layers": True}


@pytest.fixture(scope="session")
def onnx_file(folder):
    path = work.made("wide_cnn", folder)
    if not (folder / "wide_cnn.onnx").exists():
        work.converted("keras_to_onnx", path, folder / "wide_cnn.onnx")
    return folder / "wide_cnn.onnx"


def onnx_kernels(path):
    graph = onnx.load(str(path)).graph
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    return {n.name: values[n.input[1]] for n in graph.node if n.op_type in {"Conv", "MatMul", "Gemm"}}


@pytest.fixture(scope="session")
def unlabeled(folder):
    """The bright images without their labels."""
    images = next(iter(Dataset.open(folder / "bright").batch("train", np.arange(160)).values()))
    Dataset.from_arrays(images).save(folder / "unlabeled")
    return folder / "unlabeled"


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("variant", ["onnx_rounds", "keras"])
def test_rounds_raise_the_sparsity_and_zeros_stay(variant, labels, data, unlabeled, onnx_file, folder, tmp_path):
    source = onnx_file if variant == "onnx_rounds" else work.made("wide_cnn", folder)
    given = data if labels else unlabeled
    notes = work.transformed("prune_magnitude", variant, source, tmp_path / "out", given, **ROUNDS)
    assert notes["sparsity_by_round"] == pytest.approx([0.8 * (1 - (1 - k / 3) ** 3) for k in (1, 2, 3)], abs=0.01)
    assert notes["sparsity"] == pytest.approx(0.8, abs=0.01)
    assert ("CategoricalCrossentropy" in notes["loss"]) == labels
    assert [len(told["loss_by_epoch"]) for told in notes["rounds"]] == [1, 1, 1]
    assert len({told["loss_by_epoch"][0] for told in notes["rounds"]}) == 3, "each round has its own"
    assert notes["reports"][-1][0] == notes["reports"][-1][1]
    assert notes["reports"][-1][2].endswith("round 3 of 3")
    if variant == "onnx_rounds":
        before, after = onnx_kernels(source), onnx_kernels(tmp_path / "out")
    else:
        before, after = (
            {k: v for k, v in work.weights_of(p).items() if k.endswith("kernel")} for p in (source, tmp_path / "out")
        )
    assert all((values == 0).mean() == pytest.approx(0.8, abs=0.05) for values in after.values())
    stays = [(before[name][values != 0], values[values != 0]) for name, values in after.items()]
    assert any(not np.allclose(old, new) for old, new in stays), "the weights that stay were not trained"


def test_rounds_repeat_bit_for_bit(data, onnx_file, tmp_path):
    for name in ("one", "two"):
        work.transformed("prune_magnitude", "onnx_rounds", onnx_file, tmp_path / name, data, seed=3, **ROUNDS)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_tfmot_raises_the_sparsity_in_the_same_rounds(data, folder, tmp_path):
    notes = prune(work.made("wide_cnn", folder), tmp_path / "out", data, **{**ROUNDS, "sparsity": 0.6})
    assert notes["sparsity"] == pytest.approx(0.6, abs=0.01)
    steps = {tuple(report[:2]) for report in notes["reports"]}
    assert max(done for done, _ in steps) == 3 * 10, "an epoch of ten steps for each round"


def test_the_schedule_and_patterns_are_those_of_tfmot(folder, tmp_path):
    source = work.made("wide_cnn", folder)
    notes = work.transformed(
        "prune_magnitude", "keras", source, tmp_path / "out", None, pattern="2:4", epochs=0, small_layers=True
    )
    assert notes["sparsity"] == pytest.approx(0.5, abs=0.02)
    before, after = work.weights_of(source), work.weights_of(tmp_path / "out")
    names = [name for name in before if name.endswith("kernel")]
    np.savez(tmp_path / "before.npz", **{name: before[name] for name in names})
    code = f"""
import numpy as np, tensorflow as tf
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_schedule, pruning_utils
schedule = pruning_schedule.PolynomialDecay({0.8 * raised(1, 4)}, 0.8, begin_step=0, end_step=30, frequency=10)
found = {{"shares": [float(schedule(tf.constant(10 * k))[1]) for k in range(4)]}}
for name, kernel in np.load({str(tmp_path / "before.npz")!r}).items():
    rows = pruning_utils.weights_rearrange(tf.constant(kernel))
    mask = pruning_utils.generate_m_by_n_mask(rows, (2, 4))
    found[name] = pruning_utils.m_by_n_sparsity_mask_prepare(mask, tf.constant(kernel).shape).numpy()
np.savez({str(tmp_path / "found.npz")!r}, **found)
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "TF_USE_LEGACY_KERAS": "1"}, capture_output=True
    )
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["shares"], [0.8 * raised(k, 4) for k in (1, 2, 3, 4)], rtol=1e-5)
    for name in names:
        np.testing.assert_array_equal(after[name], before[name] * found[name])


@pytest.mark.parametrize("settings", [{"scope": "global", "sparsity": 0.7}, {"threshold": 0.05}])
def test_keras_weights_are_compared_as_in_onnx_files(settings, folder, onnx_file, tmp_path):
    source = work.made("wide_cnn", folder)
    work.transformed(
        "prune_magnitude", "keras", source, tmp_path / "out", None, epochs=0, small_layers=True, **settings
    )
    before, after = work.weights_of(source), work.weights_of(tmp_path / "out")
    kernels = {name: values for name, values in before.items() if name.endswith("kernel")}
    limit = settings.get("threshold")
    if limit is None:
        sizes = np.sort(np.concatenate([np.abs(v).ravel() for v in kernels.values()]))
        limit = sizes[round(0.7 * sizes.size)]
    for name, values in kernels.items():
        np.testing.assert_array_equal(after[name], np.where(np.abs(values) < limit, 0, values))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pattern": "2:4", "threshold": 0.1}, "pattern and threshold"),
        ({"scope": "global", "threshold": 0.1}, "compares shares"),
        ({"rounds": 2, "epochs": 0}, "epochs is 0"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings, said, onnx_file, data, tmp_path):
    with pytest.raises(SettingError, match=said):
        work.transformed("prune_magnitude", "onnx_rounds", onnx_file, tmp_path / "out", data, **settings)
    facts = SimpleNamespace(batch_size=None, calibration_examples=10)
    (problem,) = TECHNIQUE.variant("onnx_rounds").problems(TECHNIQUE.complete(settings), facts)
    assert problem.severity == "impossible"
    assert said in problem.reason


def test_zeros_of_keras_models_survive_training(data, folder, tmp_path):
    source = work.made("wide_cnn", folder)
    work.transformed(
        "prune_magnitude", "keras", source, tmp_path / "pruned.keras", None, epochs=0, scope="global", small_layers=True
    )
    work.transformed("finetune", "keras", tmp_path / "pruned.keras", tmp_path / "tuned", data, epochs=2, batch_size=16)
    before, after = work.weights_of(tmp_path / "pruned.keras"), work.weights_of(tmp_path / "tuned")
    for name in (name for name in before if name.endswith("kernel")):
        assert (after[name][before[name] == 0] == 0).all()
    assert any(not np.array_equal(before[name], after[name]) for name in before)
