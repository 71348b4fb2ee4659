"""Distillation and fine-tuning: accuracy comes back, the file stays the same graph, and runs repeat."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import deploykit as dk
from deploykit.core.errors import DatasetError, SettingError, UnsupportedModelError
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.testing import work
from deploykit.testing.graphs import graph, node, value
from deploykit.transforms._contract import TRANSFORMS

pytestmark = pytest.mark.long

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
MODEL = NOTEBOOKS / "models" / "fashion_cnn.onnx"
IMAGES = NOTEBOOKS / "data" / "fashion-mnist.npz"
FEW = {"epochs": 1, "train_examples": 320}


@pytest.fixture(scope="module")
def unlabeled(tmp_path_factory):
    """The tutorial's images without labels, and where they are saved."""
    images = np.load(IMAGES)["x_train"][..., None].astype(np.float32) / 255
    data = Dataset.from_arrays(images, calibration_size=600)
    folder = tmp_path_factory.mktemp("data") / "fashion"
    data.save(folder)
    return folder


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    data = Dataset.from_npz(IMAGES, preprocess=Preprocess(scale=1 / 255, reshape=(28, 28, 1)))
    folder = tmp_path_factory.mktemp("data") / "labeled"
    data.save(folder)
    return folder


@pytest.fixture(scope="module")
def pruned(unlabeled, tmp_path_factory):
    path = tmp_path_factory.mktemp("pruned") / "half.onnx"
    work.transformed("prune_channels", "onnx", MODEL, path, unlabeled, ratio=0.5)
    return path


@pytest.fixture(scope="module")
def test_images():
    arrays = np.load(IMAGES)
    return (arrays["x_test"][:3000, ..., None] / 255).astype(np.float32), arrays["y_test"][:3000]


def accuracy(path, images):
    x, y = images
    (found,) = work.predicted(path, "onnx", {"image": x}).values()
    return float((found.argmax(1) == y).mean())


def tensors(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}


def train(technique, source, target, data, **settings):
    return work.transformed(technique, "onnx", source, target, data, teacher=MODEL, **settings)


def test_a_pruned_file_comes_within_a_point_without_labels(pruned, unlabeled, test_images, tmp_path):
    notes = train("distill", pruned, tmp_path / "out", unlabeled)
    given, before, after = (accuracy(path, test_images) for path in (MODEL, pruned, tmp_path / "out"))
    assert after > before
    assert after > given - 0.01
    assert notes["loss"] == "KLDivergence"
    assert notes["held_out_by_epoch"][-1] < notes["held_out_by_epoch"][0]
    assert "steps of fine-tuning, epoch 8 of 8" in notes["reports"][-1][2]
    one, two = (onnx.load(str(path)).graph for path in (pruned, tmp_path / "out"))
    assert list(one.node) == list(two.node)
    old, new = tensors(pruned), tensors(tmp_path / "out")
    assert [(k, v.shape) for k, v in old.items()] == [(k, v.shape) for k, v in new.items()]
    assert sum((old[k] != new[k]).any() for k in old if old[k].dtype == np.float32 and old[k].ndim > 1) == 5


def test_the_same_seed_gives_the_same_file(pruned, unlabeled, tmp_path):
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        train("distill", pruned, tmp_path / name, unlabeled, seed=seed, learning_rate=1e-3, **FEW)
    one, two, three = ((tmp_path / name).read_bytes() for name in ("one", "two", "three"))
    assert one == two != three


@pytest.mark.parametrize("technique", ["distill", "finetune"])
def test_no_epochs_change_nothing(technique, pruned, tmp_path):
    train(technique, pruned, tmp_path / "out", None, epochs=0)
    assert onnx.load(tmp_path / "out") == onnx.load(pruned)


def test_pruned_weights_stay_zero(unlabeled, tmp_path):
    work.transformed("prune_magnitude", "onnx", MODEL, tmp_path / "sparse", sparsity=0.8)
    train("distill", tmp_path / "sparse", tmp_path / "out", unlabeled, epochs=2, train_examples=2000)
    before, after = tensors(tmp_path / "sparse"), tensors(tmp_path / "out")
    kernels = [name for name, array in before.items() if array.ndim > 1 and (array == 0).any()]
    assert kernels
    for name in kernels:
        assert ((before[name] == 0) == (after[name] == 0)).all()
        assert (before[name] != after[name]).any()


def test_labels_are_needed_only_where_they_count(pruned, unlabeled, labeled, tmp_path):
    with pytest.raises(DatasetError, match="labeled training data"):
        train("distill", pruned, tmp_path / "out", unlabeled, alpha=0.5, **FEW)
    with pytest.raises(DatasetError, match="labeled training data"):
        train("finetune", pruned, tmp_path / "out", unlabeled, **FEW)
    notes = train("distill", pruned, tmp_path / "out", labeled, alpha=0.5, **FEW)
    assert notes["loss"] == "0.5 × SparseCategoricalCrossentropy + KLDivergence"


def test_fine_tuning_learns_labels(labeled, test_images, tmp_path):
    work.transformed("prune_channels", "onnx", MODEL, tmp_path / "cut", ratio=0.5, criterion="l2", reconstruct=False)
    notes = train("finetune", tmp_path / "cut", tmp_path / "out", labeled, epochs=3, train_examples=4000)
    assert accuracy(tmp_path / "out", test_images) > accuracy(tmp_path / "cut", test_images) + 0.2
    assert notes["loss"] == "SparseCategoricalCrossentropy"


def test_hidden_layers_come_nearer_to_the_original(pruned, unlabeled, test_images, tmp_path):
    """Attention maps of a convolution with half of the channels, by an independent run of both files."""
    nodes = onnx.load(str(MODEL)).graph.node
    conv = [n for n in nodes if n.op_type == "Conv"][1]
    settings = {"hidden": conv.name, "hidden_weight": 20.0, "epochs": 2, "train_examples": 2000}
    plain = train("distill", pruned, tmp_path / "plain", unlabeled, epochs=2, train_examples=2000)
    notes = train("distill", pruned, tmp_path / "out", unlabeled, **settings)
    assert "hidden" not in plain
    assert notes["hidden"] == {conv.name: "attention maps"}
    assert notes["loss"] == "KLDivergence + 20 × AttentionTransfer"

    def maps(path):
        model = onnx.load(str(path))
        name = next(n.output[0] for n in model.graph.node if n.name == conv.name)
        del model.graph.output[:]
        model.graph.output.append(onnx.ValueInfoProto(name=name))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"image": test_images[0][:200]})
        energy = np.square(found).sum(1).reshape(200, -1)
        return energy / np.linalg.norm(energy, axis=1, keepdims=True)

    wanted, before, without, after = (maps(p) for p in (MODEL, pruned, tmp_path / "plain", tmp_path / "out"))
    distances = [np.square(found - wanted).sum(1).mean() for found in (before, without, after)]
    assert distances[2] < 0.6 * min(distances[:2])


def test_a_hidden_layer_that_is_not_there_is_refused_by_name(pruned, unlabeled, tmp_path):
    with pytest.raises(SettingError, match=r"No layer of both models is called 'conv_99'.*layers of both"):
        train("distill", pruned, tmp_path / "out", unlabeled, hidden="conv_99", **FEW)
    keras = NOTEBOOKS / "models" / "fashion_cnn.keras"
    settings = {"teacher": keras, "hidden": "*", **FEW}
    with pytest.raises(UnsupportedModelError, match="compares layers by their names"):
        work.transformed("distill", "onnx", pruned, tmp_path / "out", unlabeled, **settings)


def test_losses_are_chosen_and_refused(pruned, labeled, tmp_path):
    notes = train("distill", pruned, tmp_path / "out", labeled, loss="mse", **FEW)
    assert notes["loss"] == "MeanSquaredError of logits"
    with pytest.raises(SettingError, match="The loss mae compares numbers, but the labels are class indices"):
        train("finetune", pruned, tmp_path / "out", labeled, loss="mae", **FEW)
    one = train("finetune", pruned, tmp_path / "one", labeled, loss="cross_entropy", **FEW)
    two = train("finetune", pruned, tmp_path / "two", labeled, **FEW)
    assert one["loss"] == two["loss"]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_fixed_batch_is_kept_and_values_are_compared(tmp_path):
    """A regression from two inputs that takes batches of four; its normalization keeps its statistics."""
    rng = np.random.default_rng(0)
    nodes = [
        node("Concat", ["a", "b"], ["c"], axis=1), node("Gemm", ["c", "w"], ["g"]),
        node("BatchNormalization", ["g", "scale", "shift", "mean", "variance"], ["y"]),
    ]  # fmt: skip
    constants = {"scale": np.ones(2), "shift": np.zeros(2), "mean": np.full(2, 0.1), "variance": np.full(2, 2.0)}
    constants = {name: array.astype(np.float32) for name, array in constants.items()}

    def made(name, weights):
        (tmp_path / name).mkdir()
        return graph(
            tmp_path / name, nodes, [value("a", "float32", 4, 3), value("b", "float32", 4, 2)],
            [value("y", "float32", 4, 2)], w=weights.astype(np.float32), **constants,
        )  # fmt: skip

    weights = rng.normal(size=(5, 2))
    teacher, student = made("teacher", weights), made("student", weights + 0.3)
    feeds = {"a": rng.normal(size=(400, 3)).astype(np.float32), "b": rng.normal(size=(400, 2)).astype(np.float32)}
    Dataset.from_arrays(feeds).save(tmp_path / "data")
    notes = work.transformed(
        "distill", "onnx", student, tmp_path / "out", tmp_path / "data", teacher=teacher, epochs=20, learning_rate=0.05
    )
    with pytest.raises(UnsupportedModelError, match="kl compares class scores, but the output 'y' gives values"):
        work.transformed(
            "distill", "onnx", student, tmp_path / "kl", tmp_path / "data", teacher=teacher, epochs=1, loss="kl"
        )
    assert notes["loss"] == "MeanSquaredError"
    assert notes["batch"] == "4, which the model takes"
    assert "mean and variance stay" in notes["batch_normalization"]
    after = tensors(tmp_path / "out")
    for name in ("mean", "variance"):
        np.testing.assert_array_equal(after[name], constants[name])
    effect = after["w"] * after["scale"]
    np.testing.assert_allclose(effect, weights, atol=0.02)


def test_a_quantized_model_is_refused_by_name(unlabeled, tmp_path):
    work.transformed("quantize_dynamic", "onnxruntime", MODEL, tmp_path / "int8")
    with pytest.raises(UnsupportedModelError, match="MatMulInteger"):
        train("distill", tmp_path / "int8", tmp_path / "out", unlabeled, **FEW)
    routes = dk.plan(
        dk.load(MODEL), Dataset.open(unlabeled),
        dk.Space([dk.Recipe((dk.Step("quantize_dynamic"), dk.Step("distill")))], [dk.Target("onnxruntime")]),
    )  # fmt: skip
    assert "distillation after int8 dynamic" in routes.left_out[0].reason


def test_a_model_that_answers_like_its_teacher_stays_as_it_is(unlabeled, tmp_path):
    notes = train("distill", MODEL, tmp_path / "out", unlabeled, epochs=2, train_examples=320)
    assert "did not lower the loss" in notes["unchanged"]
    before, after = tensors(MODEL), tensors(tmp_path / "out")
    assert all((before[name] == after[name]).all() for name in before)


def test_all_outputs_are_distilled(tmp_path):
    """Class scores and a value: each comes back."""
    rng = np.random.default_rng(0)
    nodes = [
        node("MatMul", ["x", "w"], ["m"]), node("Softmax", ["m"], ["p"], axis=-1), node("MatMul", ["x", "v"], ["y"]),
    ]  # fmt: skip
    weights = {"w": rng.normal(size=(4, 3)), "v": rng.normal(size=(4, 2))}

    def made(name, more):
        (tmp_path / name).mkdir()
        return graph(
            tmp_path / name, nodes, [value("x", "float32", "N", 4)],
            [value("p", "float32", "N", 3), value("y", "float32", "N", 2)],
            **{key: (array * (1 + more * array)).astype(np.float32) for key, array in weights.items()},
        )  # fmt: skip

    teacher, student = made("teacher", 0.0), made("student", 0.2)
    x = rng.normal(size=(600, 4)).astype(np.float32)
    Dataset.from_arrays(x).save(tmp_path / "data")
    notes = work.transformed(
        "distill", "onnx", student, tmp_path / "out", tmp_path / "data", teacher=teacher, epochs=60, learning_rate=0.05
    )
    assert notes["loss"] == "KLDivergence + MeanSquaredError"
    wanted, before, after = (work.predicted(path, "onnx", {"x": x}) for path in (teacher, student, tmp_path / "out"))
    for name, array in wanted.items():
        assert np.abs(after[name] - array).mean() < 0.2 * np.abs(before[name] - array).mean()


@pytest.mark.parametrize("technique", ["distill", "finetune"])
def test_keras_models_train_natively(technique, labeled, tmp_path):
    source = NOTEBOOKS / "models" / "fashion_cnn.keras"
    made = tmp_path / "noisy.keras"
    work.transformed("prune_magnitude", "tfmot", source, made, labeled, sparsity=0.9, epochs=0)
    notes = work.transformed(technique, "keras", made, tmp_path / "out", labeled, teacher=source, **FEW)
    assert len(notes["loss_by_epoch"]) == 1
    assert "unchanged" not in notes
    if technique == "distill":
        notes = work.transformed(
            technique, "keras", made, tmp_path / "hidden", labeled, teacher=NOTEBOOKS / "models" / "fashion_cnn.keras",
            hidden="conv*", **FEW,
        )  # fmt: skip
        assert set(notes["hidden"].values()) == {"activations"}
        assert (tmp_path / "hidden").read_bytes() != (tmp_path / "out").read_bytes()
    before, after = work.weights_of(made), work.weights_of(tmp_path / "out")
    assert before.keys() == after.keys()
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert {name for name in before if "kernel" in name or "gamma" in name} <= changed
    averages = {name for name in before if "moving" in name}
    assert changed & averages == (averages if technique == "finetune" else set())


def test_keras_models_are_distilled_as_they_predict(unlabeled, tmp_path):
    """Neither dropout nor statistics of batches come between a model and a teacher that answers the same."""
    source = NOTEBOOKS / "models" / "fashion_cnn.keras"
    settings = {**FEW, "learning_rate": 1e-7}
    notes = work.transformed("distill", "keras", source, tmp_path / "out", unlabeled, teacher=source, **settings)
    assert notes["loss_by_epoch"][0] < 1e-4
    assert "mean and variance stay" in notes["batch_normalization"]


def test_pruned_distilled_and_quantized_it_runs_on_litert(unlabeled, test_images):
    steps = [("prune_channels", {"ratio": 0.5}), ("distill", {"epochs": 2}), ("quantize_dynamic", {})]
    recipe = dk.Recipe(tuple(dk.Step(*step) for step in steps))
    built = dk.build(dk.load(MODEL), recipe, Dataset.open(unlabeled), target="litert")
    x, y = test_images
    (found,) = work.predicted(built.path, "tflite", {"image": x}).values()
    assert (found.argmax(1) == y).mean() > accuracy(MODEL, test_images) - 0.025
    assert built.path.stat().st_size < 50_000


def test_a_student_with_half_of_the_width_has_the_architecture_of_pruning(unlabeled, test_images, pruned, tmp_path):
    """It starts from the channels with the largest norms, and learns the answers of the original."""
    start = train("distill", MODEL, tmp_path / "start", unlabeled, width=0.5, epochs=0)
    notes = train("distill", MODEL, tmp_path / "out", unlabeled, width=0.5, epochs=4)
    one, two = tensors(pruned), tensors(tmp_path / "out")
    assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in two.items()}
    assert notes["channels"] == start["channels"]
    assert all(before >= 2 * after for before, after in notes["channels"].values())
    assert notes["weights"][1] < 0.4 * notes["weights"][0]
    kernel = next(n.input[1] for n in onnx.load(str(MODEL)).graph.node if n.op_type == "Conv")
    given, kept = tensors(MODEL)[kernel], tensors(tmp_path / "start")[kernel]
    norms = np.square(given).sum((1, 2, 3))
    np.testing.assert_array_equal(kept, given[np.sort(np.argsort(norms)[len(norms) // 2 :])])
    found = [accuracy(path, test_images) for path in (MODEL, tmp_path / "start", tmp_path / "out")]
    assert found[2] > max(found[1] + 0.1, found[0] - 0.04)


def test_keras_students_are_narrower(unlabeled, tmp_path):
    source = NOTEBOOKS / "models" / "fashion_cnn.keras"
    notes = work.transformed("distill", "keras", source, tmp_path / "out", unlabeled, width=0.5, **FEW)
    cut = work.transformed("prune_channels", "keras", source, tmp_path / "cut", unlabeled, reconstruct=False)
    assert notes["channels"] == cut["channels"]
    assert notes["weights"] == cut["weights"]
    one, two = work.weights_of(tmp_path / "out"), work.weights_of(tmp_path / "cut")
    assert {k: v.shape for k, v in one.items()} == {k: v.shape for k, v in two.items()}


def test_a_student_has_half_of_the_blocks(tmp_path):
    """Four residual blocks, two of which hardly matter; and a file without any."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], {}, "x"
    for number, size in enumerate((1.0, 0.01, 0.8, 0.02)):
        weights[f"w{number}"] = (size * rng.normal(size=(6, 6))).astype(np.float32)
        nodes += [
            node("MatMul", [last, f"w{number}"], [f"m{number}"], name=f"product_{number}"),
            node("Relu", [f"m{number}"], [f"r{number}"]),
            node("Add", [last, f"r{number}"], [f"a{number}"], name=f"block_{number}"),
        ]
        last = f"a{number}"
    weights["v"] = rng.normal(size=(6, 3)).astype(np.float32)
    nodes.append(node("MatMul", [last, "v"], ["y"]))
    ends = [value("x", "float32", "N", 6)], [value("y", "float32", "N", 3)]
    source = graph(tmp_path, nodes, *ends, **weights)
    Dataset.from_arrays(rng.normal(size=(300, 6)).astype(np.float32)).save(tmp_path / "data")
    settings = {"depth": 0.5, "epochs": 2}
    notes = work.transformed("distill", "onnx", source, tmp_path / "out", tmp_path / "data", **settings)
    assert notes["blocks"] == [4, 2]
    assert sorted(notes["cut"]) == ["block_1", "block_3"]
    assert [n.op_type for n in onnx.load(str(tmp_path / "out")).graph.node].count("Add") == 2
    (tmp_path / "plain").mkdir()
    plain = graph(tmp_path / "plain", [node("MatMul", ["x", "v"], ["y"])], *ends, v=weights["v"])
    with pytest.raises(UnsupportedModelError, match="no block that can be left out"):
        work.transformed("distill", "onnx", plain, tmp_path / "none", tmp_path / "data", **settings)
    with pytest.raises(UnsupportedModelError, match="No layer of the model can be made narrower"):
        work.transformed("distill", "onnx", plain, tmp_path / "none", tmp_path / "data", width=0.5)


@pytest.mark.parametrize("variant", ["onnx", "keras"])
def test_both_models_see_the_same_changed_images(variant, unlabeled, tmp_path):
    """A model answers as a teacher that is the same, whatever the images, if they get the same."""
    source = MODEL if variant == "onnx" else NOTEBOOKS / "models" / "fashion_cnn.keras"
    settings = {**FEW, "learning_rate": 1e-7, "augment": "flip+crops+mixup"}
    notes = work.transformed("distill", variant, source, tmp_path / "out", unlabeled, teacher=source, **settings)
    assert notes["loss_by_epoch"][0] < 1e-5


def test_changed_images_repeat_with_the_seed(pruned, unlabeled, tmp_path):
    settings = {**FEW, "augment": "crops+mixup", "learning_rate": 1e-3}
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        train("distill", pruned, tmp_path / name, unlabeled, seed=seed, **settings)
    one, two, three = ((tmp_path / name).read_bytes() for name in ("one", "two", "three"))
    assert one == two != three
    train("distill", pruned, tmp_path / "plain", unlabeled, seed=1, learning_rate=1e-3, **FEW)
    assert (tmp_path / "plain").read_bytes() != one


def test_changed_images_with_labels(pruned, labeled, tmp_path):
    notes = train("distill", pruned, tmp_path / "out", labeled, alpha=0.5, augment="flip+mixup", **FEW)
    assert notes["loss"] == "0.5 × SparseCategoricalCrossentropy + KLDivergence"
    assert np.isfinite(notes["loss_by_epoch"]).all()


@pytest.mark.parametrize("variant", ["onnx", "keras"])
def test_labels_of_changed_images_train_as_well(variant, labeled, tmp_path):
    source = MODEL if variant == "onnx" else NOTEBOOKS / "models" / "fashion_cnn.keras"
    plain, mixed = (
        work.transformed("finetune", variant, source, tmp_path / name, labeled, augment=name, **FEW)["loss_by_epoch"][0]
        for name in ("none", "mixup")
    )
    assert mixed > plain + 0.2  # two classes at once are less certain than one


def test_what_takes_no_images_cannot_have_them_changed(tmp_path):
    rng = np.random.default_rng(0)
    source = graph(
        tmp_path, [node("MatMul", ["x", "w"], ["y"])], [value("x", "float32", "N", 4)],
        [value("y", "float32", "N", 3)], w=rng.normal(size=(4, 3)).astype(np.float32),
    )  # fmt: skip
    data = Dataset.from_arrays(rng.normal(size=(300, 4)).astype(np.float32))
    space = dk.Space([dk.Recipe((dk.Step("distill", {"augment": "flip"}),))], [dk.Target("onnxruntime")])
    (left,) = dk.plan(dk.load(source), data, space).left_out
    assert left.reason.endswith("the input 'x' takes float32 (?, 4): leave out augment for this model")


def test_a_given_student_learns_from_the_original(unlabeled, test_images, tmp_path):
    """A perceptron that was never trained, with the signature of the tutorial's network."""
    rng = np.random.default_rng(0)
    nodes = [
        node("Reshape", ["image", "shape"], ["flat"]), node("MatMul", ["flat", "w"], ["h"]), node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "v"], ["s"]), node("Softmax", ["s"], ["class"], axis=-1),
    ]  # fmt: skip
    weights = {"w": 0.05 * rng.normal(size=(784, 24)), "v": 0.2 * rng.normal(size=(24, 10))}
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    ends = [value("image", "float32", "N", 28, 28, 1)], [value("class", "float32", "N", 10)]
    student = graph(tmp_path, nodes, *ends, shape=np.array([-1, 784]), **weights)
    recipe = dk.Recipe(
        (dk.Step("existing_file", {"file": str(student)}), dk.Step("distill", {"learning_rate": 1e-2, "epochs": 4}))
    )
    built = dk.build(dk.load(MODEL), recipe, Dataset.open(unlabeled), target="onnxruntime")
    assert accuracy(student, test_images) < 0.3
    assert accuracy(built.path, test_images) > 0.75
    assert {k: v.shape for k, v in tensors(built.path).items()} == {k: v.shape for k, v in tensors(student).items()}


def test_keras_students_are_shallower(unlabeled, tmp_path):
    """One block of two goes, and the layer in it; a network without blocks is refused."""
    source, plain = (work.made(name, tmp_path, 1) for name in ("residual_cnn", "two_inputs"))
    images = np.random.default_rng(0).random((96, 8, 8, 1), np.float32)
    Dataset.from_arrays(images).save(tmp_path / "data")
    with np.load(plain.with_suffix(".inputs.npz")) as feeds:
        Dataset.from_arrays({name: np.repeat(array, 96, 0) for name, array in feeds.items()}).save(tmp_path / "pairs")
    notes = work.transformed("distill", "keras", source, tmp_path / "out", tmp_path / "data", depth=0.5, **FEW)
    assert notes["blocks"] == [2, 1]
    left = {name.split(".")[0] for name in work.weights_of(source)} - {
        name.split(".")[0] for name in work.weights_of(tmp_path / "out")
    }
    assert left in ({"second", "norm", "third"}, {"hidden"})
    with pytest.raises(UnsupportedModelError, match="no block that can be left out"):
        work.transformed("distill", "keras", plain, tmp_path / "none", tmp_path / "pairs", depth=0.5, **FEW)
    both = work.transformed(
        "distill", "keras", source, tmp_path / "both", tmp_path / "data", depth=0.5, width=0.5, **FEW
    )
    assert both["cut"] == notes["cut"]
    assert both["channels"]
    assert both["weights"][1] < notes["weights"][1]


def test_a_plan_says_that_a_student_is_smaller(unlabeled):
    shares = ({"width": 0.5}, {"depth": 0.5})
    space = dk.Space([dk.Recipe((dk.Step("distill", share),)) for share in shares], [dk.Target("onnxruntime")])
    plan = dk.plan(dk.load(MODEL), Dataset.open(unlabeled), space)
    assert [c.label for c in plan.candidates] == ["original", "distillation (width 50 %)"]
    (left,) = plan.left_out
    assert "depth 50 %" in left.label
    assert "no block that can be left out" in left.reason, "the network has neither blocks nor layers of one shape"
    assert "smaller" in TRANSFORMS.get("distill").effects({"width": 0.5})
    assert "smaller" not in TRANSFORMS.get("distill").effects({})
