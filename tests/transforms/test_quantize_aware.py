import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.digest import path_digest
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.testing import work

pytestmark = pytest.mark.long

AWARE, PRUNE, CLUSTER = Step("quantize_aware"), Step("prune_magnitude", {"epochs": 0}), Step("cluster_weights")
LAYERS = {"first", "second", "hidden", "class"}


@pytest.fixture(scope="session")
def examples():
    """Images whose class is the third that is bright: learnable in a few steps."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    images = rng.random((400, 8, 8, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[:, label * 3 : label * 3 + 2] += 2.0
    return images, labels


@pytest.fixture(scope="session")
def data(folder, examples):
    Dataset.from_arrays(*examples).save(folder / "aware")
    return folder / "aware"


def train(variant, source, target, data, **parameters):
    settings = {"epochs": 4, "batch_size": 16, "learning_rate": 5e-3, **parameters}
    return work.transformed("quantize_aware", variant, source, target, data, **settings)


@pytest.fixture(scope="session")
def made(folder, data):
    """A model that was pruned and clustered, and both files that are trained of it, with their notes."""
    files = {name: folder / f"aware-{name}" for name in ("pruned", "clustered", "tflite", "onnx")}
    settings = {"sparsity": 0.5, "small_layers": True}
    work.transformed(
        "prune_magnitude", "keras", work.made("wide_cnn", folder), files["pruned"], data, epochs=0, **settings
    )
    work.transformed("cluster_weights", "keras", files["pruned"], files["clustered"], None, clusters=12)
    notes = {name: train(name, files["clustered"], files[name], data) for name in ("tflite", "onnx")}
    return files, notes


def integers(path):
    """The kernels of a file as they are stored, outputs first."""
    if path.name.endswith("onnx"):
        model = onnx.load(str(path))
        stored = [numpy_helper.to_array(i) for i in model.graph.initializer]
        return [a for a in stored if a.dtype == np.int8 and a.ndim > 1]
    tensors = [w for w in FORMATS.get("tflite").weights(path) if w.stored == "int8" and len(w.shape) > 1]
    return [np.rint(w.load() / np.asarray(w.load())[w.load() != 0].__abs__().min()) for w in tensors]


def test_zeros_and_shared_values_are_in_the_stored_integers(made):
    files, notes = made
    before = {n: v for n, v in work.weights_of(files["clustered"]).items() if n.endswith("kernel")}
    for form in ("tflite", "onnx"):
        found = integers(files[form])
        assert len(found) == len(before) == 4
        for kernel in before.values():
            (stored,) = (a for a in found if a.size == kernel.size)
            assert np.count_nonzero(stored == 0) == np.count_nonzero(kernel == 0) > kernel.size / 3
            assert len(np.unique(stored)) <= len(np.unique(kernel)) <= 12
            assert np.abs(stored).max() <= 127
        assert set(notes[form]["values_kept"]) == LAYERS
        assert notes[form]["loss_by_epoch"][-1] < 0.5 * notes[form]["loss_by_epoch"][0]
        assert notes[form]["quantized"]["CONV_2D"] == 2
        assert "float" not in notes[form]


def test_both_files_answer_the_same_and_right(made, examples):
    files, _ = made
    images, labels = examples
    found = [work.predicted(files[form], form, {"image": images})["class"] for form in ("tflite", "onnx")]
    assert np.abs(found[0] - found[1]).max() <= 1 / 256 + 1e-6  # the last bit of a probability
    assert (found[0].argmax(1) == labels).mean() > 0.95


def test_activations_of_onnx_files_are_uint8(made):
    """ONNX Runtime melts these into integer kernels on x86; int8 ones on both sides of a Reshape it does not."""
    model = onnx.load(str(made[0]["onnx"]))
    types = {i.name: i.data_type for i in model.graph.initializer}
    for node in model.graph.node:
        weights = node.op_type == "DequantizeLinear" and node.input[0] in types
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"} and not weights:
            assert types[node.input[2]] == onnx.TensorProto.UINT8
    assert sum(kind == onnx.TensorProto.INT8 for kind in types.values()) >= 4
    session = onnxruntime.InferenceSession(made[0]["onnx"], _optimized(made[0]["onnx"]))
    assert session.get_providers() == ["CPUExecutionProvider"]
    found = [node.op_type for node in onnx.load(f"{made[0]['onnx']}.optimized").graph.node]
    assert [found.count(kind) for kind in ("QLinearConv", "QGemm", "Conv", "Gemm", "MatMul")] == [2, 2, 0, 0, 0]


def _optimized(path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = f"{path}.optimized"
    options.log_severity_level = 3
    return options


def test_progress_is_told_by_epoch(made):
    _, notes = made
    assert notes["tflite"]["reports"][-1][2].endswith("epoch 4 of 4")
    assert len(notes["tflite"]["held_out_by_epoch"]) == 4


def test_runs_repeat_and_read_only_training_data(made, folder, examples, tmp_path):
    """With the examples for evaluation out of all bounds, the same seed gives the same file bit for bit."""
    files, _ = made
    spoiled = Dataset.from_arrays(*examples)
    for values in spoiled.splits["evaluation"].inputs.values():
        values[:] = np.nan
    spoiled.save(tmp_path / "spoiled")
    (read,) = Dataset.open(tmp_path / "spoiled").splits["evaluation"].inputs.values()
    assert np.isnan(read).all()
    train("tflite", files["clustered"], tmp_path / "again", tmp_path / "spoiled")
    assert path_digest(tmp_path / "again") == path_digest(files["tflite"])


def test_layers_of_all_kinds_come_through_without_labels(folder, examples, tmp_path):
    """Depthwise, separable and transposed convolutions; what TF-MOT does not know stays, and is named."""
    images, _ = examples
    Dataset.from_arrays(images).save(tmp_path / "data")
    source = work.made("mixed_cnn", folder)
    notes = train("tflite", source, tmp_path / "out", tmp_path / "data", epochs=1)
    assert notes["not_trained_for_int8"] == {"p_re_lu": "PReLU"}
    assert notes["loss"] == "KLDivergence"
    assert notes["quantized"].items() >= {"DEPTHWISE_CONV_2D": 2, "CONV_2D": 2, "TRANSPOSE_CONV": 1}.items()
    given, found = (
        work.predicted(p, f, {"image": images}) for p, f in ((source, "keras"), (tmp_path / "out", "tflite"))
    )
    assert np.abs(given["class"] - found["class"]).mean() < 0.03


def test_layers_stay_float_by_name(folder, data, examples, tmp_path):
    """Their weights are stored in float32 and trained all the same; nothing is rounded between them and their ReLU."""
    source, images, form = work.made("wide_cnn", folder), examples[0], "tflite"
    notes = train(form, source, tmp_path / "out", data, epochs=1, exclude="first, class")
    before = {n: v for n, v in work.weights_of(source).items() if n.endswith("kernel")}
    kinds = {}
    for weight in FORMATS.get(form).weights(tmp_path / "out"):
        for name, kernel in before.items():
            if len(weight.shape) > 1 and np.prod(weight.shape) == kernel.size:
                kinds[name.split(".")[0]] = weight.stored
    assert kinds == {"first": "float32", "second": "int8", "hidden": "int8", "class": "float32"}
    assert [name for name, _, _ in notes["units"]] == ["second", "hidden"]
    assert notes["float"]["CONV_2D"] == notes["quantized"]["CONV_2D"] == 1
    found = work.predicted(tmp_path / "out", form, {"image": images})["class"]
    assert (found.argmax(1) == examples[1]).mean() > 0.9
    with pytest.raises(dk.DeploykitError, match=r"no layer and no layer type 'frist'.*did you mean 'first'"):
        train(form, source, tmp_path / "none", data, epochs=1, exclude="frist")


def test_gelu_is_in_onnx_files(folder, tmp_path):
    """As an operator of TFLite, which tf2onnx does not know."""
    source = work.made("sequential", folder)
    inputs = work.examples_of(source)
    Dataset.from_arrays(*(np.repeat(values, 4, axis=0) for values in inputs.values())).save(tmp_path / "data")
    train("onnx", source, tmp_path / "out", tmp_path / "data", epochs=0)
    found = work.predicted(tmp_path / "out", "onnx", inputs)
    for name, values in work.outputs_of(source).items():
        assert np.abs(found[name] - values).mean() < 0.02


def test_what_is_nothing_but_zeros_has_a_scale(folder, data, examples, tmp_path):
    """TF-MOT gives it an empty range: no runtime opens a file with a scale of 0."""
    images, _ = examples
    work.run("qat:silence", "tensorflow", name="wide_cnn", layer="first", path=str(tmp_path / "silent"))
    train("tflite", tmp_path / "silent", tmp_path / "out", data, epochs=0)
    before, found = (
        work.predicted(tmp_path / name, form, {"image": images})["class"]
        for name, form in (("silent", "keras"), ("out", "tflite"))
    )
    assert np.abs(before - found).max() < 0.01


def test_orders_that_make_no_sense_are_refused_with_the_reason(folder, examples):
    free = Step("quantize_aware", {"preserve": "nothing"})
    recipes = [
        (PRUNE, CLUSTER, AWARE),
        (Step("quantize_static"), AWARE),
        (AWARE, PRUNE),
        (PRUNE, free),
        (CLUSTER, free),
    ]
    space = dk.Space([Recipe(steps) for steps in recipes], [Target("litert"), Target("onnxruntime")])
    plan = dk.plan(dk.load(work.made("wide_cnn", folder)), Dataset.from_arrays(*examples), space)
    assert [c.candidate.recipe.steps for c in plan.candidates if c.candidate.recipe.steps] == [recipes[0]] * 2
    assert len({o.reason for o in plan.left_out}) == 4
    reasons = "; ".join(o.reason for o in plan.left_out)
    for words in ("after int8 static: it is already quantized", "would not keep the zeros; leave preserve at auto"):
        assert words in reasons
    trained = [s for s in plan.steps.values() if s.adapter == "quantize_aware"]
    assert len(trained) == 3, "both files are made of one training"
