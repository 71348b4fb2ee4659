"""int8 programs of PyTorch by PT2E, held against NumPy and against PyTorch alone."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core import extras
from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.core.problem import Facts
from deploykit.exporters._verify import verify
from deploykit.loading._contract import FORMATS
from deploykit.planning.routes import Routes
from deploykit.readers.pytorch.program import opened
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task
from deploykit.testing import work

STATIC, DYNAMIC, COMPILE = dk.Step("quantize_static"), dk.Step("quantize_dynamic"), dk.Step("compile_graph")
TYPES = {2: np.int8, 5: np.int64, 7: np.float32}


@pytest.fixture
def torch_files(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def run(task, **arguments):
        return shared().run(Task(f"torch_files:{task}", arguments, group="torch", fresh=task == "answers"))

    return run


@pytest.fixture
def saved(torch_files, tmp_path):
    def save(name, **arguments):
        path = tmp_path / f"{name}.pt2"
        torch_files("save", name=name, path=str(path), **arguments)
        return path

    return save


def images(count=40, shape=(1, 8, 8), seed=0):
    return np.random.default_rng(seed).random((count, *shape)).astype(np.float32)


def dataset(folder, *arrays, names=None):
    x = dict(zip(names, arrays, strict=True)) if names else arrays[0]
    y = np.arange(len(arrays[0])) % 3
    dk.Dataset.from_arrays(x, y, calibration_size=16).save(folder / "data")
    return folder / "data"


def held(path):
    """All tensors of a program by their names, read from its archive without deploykit."""
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]
        config = json.loads(archive.read(f"{root}/data/weights/model_weights_config.json"))["config"]
        found = {}
        for name, entry in config.items():
            meta = entry["tensor_meta"]
            raw = archive.read(f"{root}/data/weights/{entry['path_name']}")
            shape = [size["as_int"] for size in meta["sizes"]]
            found[name] = np.frombuffer(raw, TYPES[meta["dtype"]])[: int(np.prod(shape))].reshape(shape)
        return found


def rounded(values, scale, zero, low, high):
    return (np.clip(np.round(values / scale) + zero, low, high) - zero) * scale


def on_uint8(values, like):
    """Values on a grid of 256 between the ends of others, which holds 0."""
    low, high = min(like.min(), 0), max(like.max(), 0)
    scale = (high - low) / 255
    return rounded(values, scale, np.round(-low / scale), 0, 255)


def test_weights_are_stored_as_integers_of_8_bits(zoo, tmp_path):
    """Normalization is folded into the convolution before it; a channel's largest weight is the end of its grid."""
    data = dataset(tmp_path, images())
    notes = work.transformed("quantize_static", "pytorch", zoo("cnn_pytorch"), tmp_path / "out", data)
    given, found = held(zoo("cnn_pytorch")), held(tmp_path / "out")
    factor = given["norm.weight"] / np.sqrt(given["norm.running_var"] + 1e-5)
    folded = given["conv.weight"] * factor[:, None, None, None]
    wanted = {"conv": folded, "depthwise": given["depthwise.weight"], "score": given["score.weight"]}
    assert {name for name, values in found.items() if values.dtype == np.int8} == {f"{n}.weight" for n in wanted}
    for name, values in wanted.items():
        ends = np.abs(values).reshape(len(values), -1).max(1)
        scale = found[f"{name}.weight_scale"]
        np.testing.assert_allclose(scale, ends / 127.5, rtol=1e-5)
        wide = scale.reshape(-1, *[1] * (values.ndim - 1))
        assert (np.abs(found[f"{name}.weight"] * wide - values) < wide * 0.501).all()
    assert not {"norm.weight", "norm.running_mean"} & found.keys(), "what nothing reads is not stored"
    assert [unit[:2] for unit in notes["units"]] == [["conv", "conv2d"], ["depthwise", "conv2d"], ["score", "linear"]]
    assert notes["quantized"] == {"conv2d": 2, "linear": 1}


def test_what_is_read_of_such_a_file(zoo, tmp_path):
    work.transformed("quantize_static", "pytorch", zoo("cnn_pytorch"), tmp_path / "out", dataset(tmp_path, images()))
    before, after, stored = dk.load(zoo("cnn_pytorch")), dk.load(tmp_path / "out"), held(tmp_path / "out")
    assert after.inputs == before.inputs
    assert [(s.name, s.shape, s.dtype) for s in after.outputs] == [("softmax", (None, 3), "float32")]
    layers = {layer.name: layer for layer in after.layers}
    assert [layers[n].parameters for n in ("conv", "depthwise", "score")] == [72 + 8, 72 + 8, 24 + 3]
    assert after.parameter_count == 72 + 8 + 72 + 8 + 24 + 3, "scales are not weights of the model"
    form = FORMATS.get("pytorch")
    assert "dequantize_per_channel" in form.quantized(after)
    assert not form.quantized(before)
    for weight in form.weights(tmp_path / "out"):
        assert weight.stored == "int8"
        values, scale = stored[weight.name], stored[f"{weight.name}_scale"]
        real = (values * scale.reshape(-1, *[1] * (values.ndim - 1))).astype(np.float32)
        np.testing.assert_array_equal(weight.load(), real)


@pytest.mark.parametrize("technique", ["quantize_static", "quantize_dynamic"])
def test_answers_are_those_of_numpy(technique, zoo, tmp_path):
    """Static ranges are the ends of the calibration examples, dynamic ones those of the batch."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((40, 4)).astype(np.float32), rng.integers(0, 5, (40, 6))
    data = dataset(tmp_path, left, right, names=("left", "right"))
    source, made = zoo("two_inputs_pytorch"), tmp_path / "out"
    work.transformed(technique, "pytorch", source, made, data)
    stored = held(made)
    x = np.concatenate([left[:7] * 0.5, right[:7]], 1, dtype=np.float32)
    seen = dk.Dataset.open(data).calibration(slice(0, 16))
    like = np.concatenate([seen["left"], seen["right"]], 1) if technique == "quantize_static" else x
    found = work.predicted(made, "pytorch", {"left": left[:7] * 0.5, "right": right[:7]})
    for name in ("score", "label"):
        kernel = stored[f"{name}.weight"] * stored[f"{name}.weight_scale"][:, None]
        wanted = on_uint8(x, like) @ kernel.T + stored[f"{name}.bias"]
        if name == "label":
            wanted = np.exp(wanted) / np.exp(wanted).sum(1, keepdims=True)
        np.testing.assert_allclose(found[name], wanted, atol=1e-4)
    exact = work.predicted(source, "pytorch", {"left": left[:7] * 0.5, "right": right[:7]})["score"]
    assert 1e-4 < np.abs(found["score"] - exact).max() < 0.1, "the test cannot fail"


@pytest.mark.parametrize("name", ["separable", "block"])
def test_the_file_runs_in_pytorch_alone(name, saved, torch_files, tmp_path):
    x = images(40, (6, 16) if name == "block" else (1, 8, 8))
    source, made = saved(name), tmp_path / "out"
    work.transformed("quantize_static", "pytorch", source, made, dataset(tmp_path, x))
    np.save(tmp_path / "given.npy", x[:5])
    bare = torch_files("answers", path=str(made), given=str(tmp_path / "given.npy"))
    (output,) = dk.load(made).outputs
    key = dk.load(source).inputs[0].name
    np.testing.assert_allclose(work.predicted(made, "pytorch", {key: x[:5]})[output.name], bare["answers"], atol=1e-6)
    exact = work.predicted(source, "pytorch", {key: x[:5]})[output.name]
    assert 0 < np.abs(np.array(bare["answers"]) - exact).max() < 0.05
    assert not bare["torchao"]


def test_padding_in_words_does_not_keep_a_layer_in_float(saved, tmp_path):
    data = dataset(tmp_path, images())
    notes = work.transformed("quantize_static", "pytorch", saved("separable"), tmp_path / "out", data)
    assert [unit[0] for unit in notes["units"]] == ["stem", "deep", "wide", "head"]
    assert "stays_float" not in notes


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_outliers_are_clipped(method, zoo, tmp_path):
    """One example in 16 is a hundred times as large as the others."""
    x = images()
    x[::16] *= 100
    data = dataset(tmp_path, x)
    (loud,) = dk.Dataset.open(data).calibration(slice(0, 16)).values()
    scales = {}
    for calibration in ("minmax", method):
        made = tmp_path / calibration
        work.transformed("quantize_static", "pytorch", zoo("cnn_pytorch"), made, data, calibration=calibration)
        first = next(node for node in opened(made).nodes if node.operator == "quantize_per_tensor")
        scales[calibration] = float(first.attributes["scale"])
    assert scales["minmax"] == pytest.approx(loud.max() / 255, rel=1e-5)
    if method == "entropy":
        assert scales[method] < 0.9 * scales["minmax"]
    else:  # of a thousand values, 99.999 % are all but a part of the last bin
        assert scales["minmax"] * (1 - 2e-3) < scales[method] <= scales["minmax"]


def test_layers_are_left_out_by_name_type_or_kind(zoo, tmp_path):
    data, source = dataset(tmp_path, images()), zoo("cnn_pytorch")
    for number, (exclude, names) in enumerate(
        {"conv": {"depthwise", "score"}, "linear": {"conv", "depthwise"}, "depthwise convolutions": {"conv", "score"},
         "!score": {"score"}}.items()
    ):  # fmt: skip
        made = tmp_path / str(number)
        notes = work.transformed("quantize_static", "pytorch", source, made, data, exclude=exclude)
        assert {unit[0] for unit in notes["units"]} == names
        assert {n for n, v in held(made).items() if v.dtype == np.int8} == {f"{name}.weight" for name in names}
    with pytest.raises(SettingError, match="no layer and no operator 'convx'"):
        work.transformed("quantize_static", "pytorch", source, tmp_path / "none", data, exclude="convx")


def test_weights_of_7_bits(zoo, tmp_path):
    data = dataset(tmp_path, images())
    work.transformed("quantize_static", "pytorch", zoo("cnn_pytorch"), tmp_path / "out", data, reduce_range=True)
    values = np.concatenate([v.ravel() for v in held(tmp_path / "out").values() if v.dtype == np.int8])
    assert values.min() >= -64
    assert values.max() == 63


def test_what_cannot_be_quantized_says_why(saved, zoo, tmp_path):
    data = dataset(tmp_path, images())

    def refused(source, words, technique="quantize_static"):
        with pytest.raises(UnsupportedModelError, match=words):
            work.transformed(technique, "pytorch", source, tmp_path / "out", data)

    refused(zoo("script_pytorch"), "TorchScript")
    refused(saved("without"), r"none is left to quantize \(layers with weights: conv_transpose2d\)")
    refused(saved("separable", half=True), "with weights in float32")
    refused(saved("infinite"), "NaN or infinity at")


def planned(path, *recipes, target="torch", shape=(1, 8, 8)):
    data = (images(60, shape), np.arange(60) % 3)
    return dk.plan(dk.load(path), data, dk.Space([dk.Recipe(r) for r in recipes], [dk.Target(target)]))


def test_plans_know_what_is_senseless(zoo, saved):
    cnn = zoo("cnn_pytorch")
    half = dk.Step("quantize_float16")
    for recipe, words in [
        ((COMPILE, STATIC), "to be compiled already; compile last"),
        ((STATIC, half), "already quantized"),
        ((half, STATIC), "already quantized"),
        ((STATIC, DYNAMIC), "already quantized"),
        ((dk.Step("quantize_static", {"exclude": "conv"}), half), "quantized in part"),
        ((dk.Step("quantize_static", {"exclude": "convx"}),), "no layer and no operator 'convx'"),
    ]:
        (left,) = planned(cnn, recipe).left_out
        assert words in left.reason
    (left,) = planned(saved("without"), (STATIC,)).left_out
    assert "PyTorch quantizes convolutions and linear layers alone" in left.reason
    (left,) = planned(zoo("script_pytorch"), (STATIC,)).left_out
    assert "TorchScript can only be run and converted" in left.reason
    remarks = planned(cnn, (STATIC,), (STATIC, COMPILE)).pointless
    assert {r.label for r in remarks if "let compile_graph follow" in r.reason} == {"int8 static on PyTorch"}


def test_the_way_to_other_runtimes_goes_through_onnx_as_before(zoo):
    model = dk.load(zoo("cnn_pytorch"))
    data = dk.Dataset.from_arrays(images(60), np.arange(60) % 3).check(model)
    for runtime, variant in {"onnxruntime": "onnxruntime", "torch": "pytorch"}.items():
        for step in (STATIC, DYNAMIC):
            found = Routes(model, data, 0).find(dk.Recipe((step,)), dk.Target(runtime))
            assert variant in found.variants


@pytest.mark.parametrize(
    ("target", "machine", "effects", "words"),
    [
        (dk.Target("torch", device="cuda"), "x86_64", {"compiled"}, "on a GPU it is no faster"),
        (dk.Target("torch"), "aarch64", {"compiled"}, "on aarch64 it is no faster"),
        (dk.Target("torch"), "x86_64", set(), "let compile_graph follow"),
        (dk.Target("executorch"), "x86_64", set(), "uint8 activations"),
    ],
)
def test_where_it_is_no_faster(target, machine, effects, words, zoo):
    facts = Facts(dk.load(zoo("cnn_pytorch")), 16, machine, ("avx512_vnni",), 2)
    runtime = RUNTIMES.get(target.runtime)
    given = frozenset({"int8", "quantized", "fully quantized", *effects})
    assert any(words in p.reason for p in runtime.problems(target, given, facts))
    assert not any(words in p.reason for p in runtime.problems(target, frozenset({"float16", "quantized"}), facts))


def test_without_torchao_the_rest_works(zoo, monkeypatch):
    real = extras.installed
    monkeypatch.setattr(extras, "installed", lambda module: module != "torchao" and real(module))
    plan = planned(zoo("cnn_pytorch"), (), (STATIC,), (dk.Step("quantize_float16"),))
    assert [c.label for c in plan.candidates] == ["original", "float16"]
    assert "torchao" in plan.left_out[0].reason
    assert "pip install 'deploykit[torch]'" in plan.left_out[0].reason


@pytest.mark.long(seconds=20)
@pytest.mark.parametrize("name", ["cnn", "separable", "block"])
def test_a_sweep_measures_it_and_a_server_gives_its_answers(name, zoo, saved, tmp_path):
    source = zoo("cnn_pytorch") if name == "cnn" else saved(name)
    x = images(90, (6, 16) if name == "block" else (1, 8, 8))
    model = dk.load(source)
    data = dk.Dataset.from_arrays(x, np.arange(90) % 3).check(model)
    space = dk.Space([dk.Recipe(()), dk.Recipe((STATIC,)), dk.Recipe((DYNAMIC,))], [dk.Target("torch")])
    report = dk.sweep(model, data, space, store=tmp_path / "s", launches=0, progress=lambda _p: None)
    assert [row.status for row in report.rows] == ["measured"] * 3
    techniques = {row.key: [step.technique for step in row.candidate.recipe.steps] for row in report.rows}
    row = next(row for row in report.rows if techniques[row.key] == [STATIC.technique])
    file = tmp_path / "s" / row.artifact
    assert row.measurement.size_bytes == file.stat().st_size
    weights = sum(v.size for v in held(file).values() if v.dtype == np.int8)
    assert weights == sum(v.size for n, v in held(source).items() if v.ndim > 1), "all of them, a byte each"
    if name != "separable":
        return
    artifact = dk.export(report.choice_for(row.key), tmp_path / "out")
    assert verify(artifact).difference < 1e-6
    with dk.serve(artifact) as server:
        served = server.predict(x[:3])
    wanted = work.predicted(file, "pytorch", {model.inputs[0].name: x[:3]})
    np.testing.assert_allclose(served, next(iter(wanted.values())), atol=1e-6)
