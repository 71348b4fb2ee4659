"""Files of PyTorch: what is known of them, what is refused, and modules that live in the process that loads them."""

import io
import json
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core import errors
from deploykit.core.errors import ModelFileError, SettingError, UnsafeModelError, UnsupportedModelError
from deploykit.core.model import Model
from deploykit.loading._contract import FORMATS
from deploykit.readers.pytorch.program import opened
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task
from deploykit.testing import work

PYTORCH = FORMATS.get("pytorch")


@pytest.fixture
def made(monkeypatch):
    """Run a task of ``torch_makers.py`` in a child that has PyTorch."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def make(name, **arguments):
        told = shared().run(Task(f"torch_makers:{name}", {k: str(v) for k, v in arguments.items()}, group="torch"))
        if "error" in told:
            raise errors.from_json(told["error"])
        return told

    return make


@pytest.fixture
def forge(zoo, tmp_path):
    """A tiny program with members changed; None drops one."""

    def write(changes, kind="cnn_pytorch"):
        path = tmp_path / "forged.pt2"
        with zipfile.ZipFile(zoo(kind)) as source, zipfile.ZipFile(path, "w") as copy:
            for name in source.namelist():
                inner, data = name.partition("/")[2], source.read(name)
                data = changes.get(inner, lambda same: same)(data)
                if data is not None:
                    copy.writestr(name, data)
            for inner, made in changes.items():
                if inner.startswith("+"):
                    copy.writestr(f"{name.partition('/')[0]}/{inner[1:]}", made(b""))
        return path

    return write


def edited(change):
    """Change a JSON member."""

    def write(data):
        found = json.loads(data)
        change(found)
        return json.dumps(found).encode()

    return write


def test_a_program_is_read_without_pytorch(zoo):
    path = zoo("cnn_pytorch")
    code = (
        "import sys; from pathlib import Path; from deploykit.loading._contract import FORMATS; "
        "FORMATS.get('pytorch').read(Path(sys.argv[1]), trusted=False, imports=()); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    summary = PYTORCH.read(path, trusted=False, imports=())
    assert [str(s) for s in (*summary.inputs, *summary.outputs)] == [
        "image: float32 (?, 1, 8, 8)", "softmax: float32 (?, 3)",
    ]  # fmt: skip
    kinds = {
        layer.name: (layer.type, layer.kind or PYTORCH.kind_of(layer), layer.parameters) for layer in summary.layers
    }
    assert kinds["conv"] == ("conv2d", "convolution", 8 * 9)
    assert kinds["norm"] == ("batch_norm", "normalization", 4 * 8)
    assert kinds["depthwise"] == ("conv2d", "depthwise", 8 * 9 + 8)
    assert kinds["score"] == ("linear", "dense", 8 * 3 + 3)
    assert summary.parameter_count == 72 + 32 + 80 + 27
    assert summary.warnings == ()


def test_outputs_are_called_by_the_keys_of_a_dict(zoo):
    model = dk.load(zoo("two_inputs_pytorch"))
    assert [str(s) for s in (*model.inputs, *model.outputs)] == [
        "left: float32 (?, 4)", "right: int64 (?, 6)", "score: float32 (?, 1)", "label: float32 (?, 3)",
    ]  # fmt: skip


def test_traced_torchscript_is_run_once_for_its_signature(zoo):
    model = dk.load(zoo("script_pytorch"))
    assert [str(s) for s in (*model.inputs, *model.outputs)] == [
        "image: float32 (?, 1, 8, 8)", "output: float32 (?, 3)",
    ]  # fmt: skip
    assert [layer.type for layer in model.layers] == ["Conv2d", "BatchNorm2d", "Conv2d", "Linear"]
    assert model.parameter_count == dk.load(zoo("cnn_pytorch")).parameter_count


@pytest.mark.long(seconds=4)
def test_torchscript_becomes_the_same_function_in_onnx(zoo, tmp_path):
    feeds = {"image": np.random.default_rng(0).random((5, 1, 8, 8)).astype(np.float32)}
    names = work.converted("pytorch_to_onnx", zoo("script_pytorch"), tmp_path / "target")["names"]
    assert names == {"inputs": {"image": "image"}, "outputs": {"output": "output"}}
    found = work.predicted(tmp_path / "target", "onnx", feeds)["output"]
    wanted = work.predicted(zoo("cnn_pytorch"), "pytorch", feeds)["softmax"]
    assert np.abs(found - wanted).max() < 1e-5
    assert dk.load(tmp_path / "target").inputs[0].shape == (None, 1, 8, 8)


def test_weights_that_are_not_finite_are_named(forge):
    path = forge({"data/weights/weight_5": lambda data: np.full(len(data) // 4, np.nan, "f4").tobytes()})
    (warning,) = dk.load(path).warnings
    assert re.match(r"the weight '\w+\.\w+' holds NaN: outputs will be wrong", warning)


def test_an_example_that_makes_the_file_large_is_named(forge):
    path = forge({"data/sample_inputs/model.pt": lambda _: bytes(2_000_000)})
    (warning,) = dk.load(path).warnings
    assert "2,000,000 bytes of it are the example" in warning


def node(key, value):
    return edited(lambda found: found["graph_module"]["graph"]["nodes"][0].update({key: value}))


def size(text):
    def change(found):
        found["graph_module"]["graph"]["tensor_values"]["image"]["sizes"][0]["as_expr"]["expr_str"] = text

    return edited(change)


def container(kind, context="null"):
    def change(found):
        spec = json.dumps([1, {"type": kind, "context": context, "children_spec": []}])
        found["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = spec

    return edited(change)


def weights(**values):
    def change(found):
        first = next(iter(found["config"].values()))
        first.update({k: v for k, v in values.items() if k in first})
        first["tensor_meta"].update({k: v for k, v in values.items() if k in first["tensor_meta"]})

    return edited(change)


GRAPH, CONFIG = "models/model.json", "data/weights/model_weights_config.json"
HOSTILE = "__import__('os').system('touch mark')"


@pytest.mark.parametrize(
    ("member", "change", "kind", "words"),
    [
        (GRAPH, node("target", "torch.os.system"), UnsafeModelError, "'torch.os.system' is not an operator"),
        (GRAPH, node("target", "_operator.methodcaller"), UnsafeModelError, "_operator.methodcaller"),
        (GRAPH, node("target", "torch.ops.aten.from_file.default"), UnsafeModelError, "reads or writes files"),
        (GRAPH, node("target", "torch.ops.mine.own.default"), UnsafeModelError, "trusted=True"),
        (GRAPH, node("target", "torch.ops.higher_order.flat_apply"), UnsafeModelError, "flat_apply"),
        (GRAPH, size(HOSTILE), UnsafeModelError, "would run it as Python"),
        (GRAPH, size("Symbol('s0').__class__"), UnsafeModelError, "not arithmetic"),
        (GRAPH, size("Add(*[1])"), UnsafeModelError, "not arithmetic"),
        (GRAPH, size("9" * 5000), UnsafeModelError, "not arithmetic"),
        (GRAPH, container("collections.defaultdict"), UnsafeModelError, "collections.defaultdict"),
        (GRAPH, container("builtins.dict", '[{"__enum__": 1}]'), UnsafeModelError, "not text"),
        (GRAPH, lambda _: b"[" * 5000, ModelFileError, "nested deeper"),
        (GRAPH, lambda _: b"{", ModelFileError, "damaged"),
        (GRAPH, lambda _: b'{"graph_module": {}}', ModelFileError, "unknown version"),
        (CONFIG, weights(use_pickle=True), UnsafeModelError, "unpickling runs code"),
        (CONFIG, weights(path_name="opaque_obj_0"), UnsafeModelError, "unpickling runs code"),
        (CONFIG, weights(path_name="weight_99"), ModelFileError, "weight_99 is missing"),
        (CONFIG, weights(sizes=[{"as_int": 10**12}] * 4), ModelFileError, "needs "),
        (CONFIG, weights(storage_offset={"as_int": -8}), ModelFileError, "offset -8"),
        (CONFIG, weights(sizes=[{"as_int": "8"}] * 4), ModelFileError, "damaged"),
        (CONFIG, lambda _: None, ModelFileError, "has no data/weights/model_weights_config.json"),
        ("data/weights/weight_5", lambda _: None, ModelFileError, "is missing"),
        ("+data/aotinductor/model/x.so", lambda _: b"\x7fELF", UnsafeModelError, "machine code"),
        ("+../../evil", lambda _: b"x", ModelFileError, "outside its folder"),
    ],
)
def test_forged_programs_are_refused(forge, refused, member, change, kind, words):
    refused(forge({member: change}), kind, words)


def test_a_zip_bomb_is_refused(zoo, tmp_path, refused):
    path = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(zoo("cnn_pytorch")) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in source.namelist():
            copy.writestr(name, source.read(name))
        copy.writestr(f"{name.partition('/')[0]}/data/weights/more", bytes(100 << 20))
    refused(path, ModelFileError, "zip bomb")


def test_a_custom_operator_is_let_pass_when_trusted(forge):
    path = forge({GRAPH: node("target", "torch.ops.mine.own.default")})
    assert dk.load(path, trusted=True).trusted


class Marks:
    """Unpickling it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_the_example_in_a_program_is_never_unpickled(forge, tmp_path):
    """PyTorch's own loader falls back to a pickle without limits."""
    mark = tmp_path / "mark"
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Marks(mark), protocol=2))
        archive.writestr("x/version", "3\n")
        archive.writestr("x/byteorder", "little")
    path = forge({"data/sample_inputs/model.pt": lambda _: held.getvalue()})
    dk.load(path)
    with pytest.raises(UnsupportedModelError, match="cannot open forged"):
        work.predicted(path, "pytorch", {"image": np.zeros((1, 1, 8, 8), np.float32)})
    assert not mark.exists()


def test_pickles_are_refused_unopened(made, tmp_path, refused):
    mark = tmp_path / "mark"
    made("pickled", folder=tmp_path, mark=mark)
    lines = ("torch.export.export(model.eval()", 'torch.export.save(program, "model.pt2")')
    refused(tmp_path / "state.pt", ModelFileError, "a state dict", "no graph", *lines)
    refused(tmp_path / "whole.pth", ModelFileError, "torch.nn.modules.container.Sequential", "never unpickles", *lines)
    refused(tmp_path / "old.pt", ModelFileError, "a PyTorch checkpoint", "never unpickles", *lines)
    refused(tmp_path / "hostile.pt", ModelFileError, "pathlib", "never unpickles")
    assert not mark.exists()


def test_torchscript_that_writes_files_is_refused(made, tmp_path, refused):
    path = tmp_path / "writes.pt"
    made("script", path=path)
    refused(path, UnsafeModelError, "aten.save", "reads or writes files", "trusted=True")


def test_a_live_module_is_exported_as_it_is_used(made, tmp_path):
    told = made("live", kind="image", cache=tmp_path / "cache")
    first, other = (Model.from_json(model) for model in told["models"])
    assert (first.name, first.format, first.warnings) == ("Network", "pytorch", ())
    assert [str(s) for s in (*first.inputs, *first.outputs)] == [
        "image: float32 (?, 1, 8, 8)", "softmax: float32 (?, 3)",
    ]  # fmt: skip
    assert other.digest == first.digest, "the example is not part of the model"
    assert [p.name for p in (tmp_path / "cache" / "models").iterdir()] == [Path(first.path).name]
    assert told["kept"], "the module is in training mode, as before"
    image = np.asarray(told["image"], np.float32)
    found = work.predicted(Path(first.path), "pytorch", {"image": np.repeat(image, 3, 0)})["softmax"]
    assert np.abs(found - np.asarray(told["wanted"])).max() < 1e-6
    with zipfile.ZipFile(first.path) as archive:
        graph = archive.read(next(name for name in archive.namelist() if name.endswith("model.json")))
    assert b"stack_trace" not in graph, "lines and paths of the user's code stay here"


def test_several_inputs_come_in_order_or_by_name(made, tmp_path):
    told = made("live", kind="two", cache=tmp_path / "cache")
    for model in map(Model.from_json, told["models"]):
        assert [s.name for s in (*model.inputs, *model.outputs)] == ["left", "right", "score", "label"]
        assert all(s.shape[0] is None for s in (*model.inputs, *model.outputs))


def test_answers_of_a_class_of_their_own_become_a_dict(made, tmp_path):
    (model,) = map(Model.from_json, made("live", kind="named", cache=tmp_path / "cache")["models"])
    assert [str(s) for s in model.outputs] == ["logits: float32 (?, 4)", "hidden: float32 (?, 4)"]


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("none", SettingError, r"'Network' does not say which shapes.*dk\.load\(model, example=x\)"),
        ("text", SettingError, r"example holds a str"),
        ("shape", UnsupportedModelError, r"'Network' cannot be exported"),
        ("picky", UnsupportedModelError, r"'Picky' cannot be exported.*values of tensors"),
        ("keras", SettingError, r"example has no effect on TFLite"),
    ],
)
def test_what_cannot_be_exported_says_what_to_do(made, tmp_path, kind, error, words):
    with pytest.raises(error, match=words):
        made("live", kind=kind, cache=tmp_path / "cache")


def test_an_example_beside_a_path_is_refused(zoo):
    with pytest.raises(SettingError, match="example has no effect on files"):
        dk.load(zoo("cnn_pytorch"), example=np.zeros(3))


@pytest.mark.long(seconds=10)
def test_a_sweep_takes_pytorch_as_its_baseline(zoo, tmp_path):
    """Half precision where PyTorch runs: the file computes in it, and answers stay real numbers of 32 bits."""
    rng = np.random.default_rng(0)
    images = rng.random((60, 1, 8, 8)).astype(np.float32)
    model = dk.load(zoo("cnn_pytorch"))
    data = dk.Dataset.from_arrays(images, rng.integers(0, 3, 60)).check(model)
    steps = [(), (dk.Step("quantize_float16", {"type": "bfloat16"}),)]
    space = dk.Space([dk.Recipe(s) for s in steps], [dk.Target("torch")])
    report = dk.sweep(model, data, space, store=tmp_path / "s", launches=0, progress=lambda _p: None)
    original, half = report.rows
    assert [r.status for r in report.rows] == ["measured"] * 2
    assert report.facts["baseline"] == original.key
    path = tmp_path / "s" / half.artifact
    assert {w.stored for w in PYTORCH.weights(path)} == {"bfloat16"}
    assert [s.dtype for s in opened(path).outputs] == ["float32"]
    wanted, found = (work.predicted(p, "pytorch", {"image": images})["softmax"] for p in (zoo("cnn_pytorch"), path))
    assert 0 < np.abs(found - wanted).max() < 0.02, "three digits"


def test_torchscript_is_left_as_it_is(zoo):
    recipes = [dk.Recipe((dk.Step(name),)) for name in ("quantize_float16", "compile_graph")]
    data = (np.zeros((60, 1, 8, 8), np.float32), np.arange(60) % 3)
    plan = dk.plan(dk.load(zoo("script_pytorch")), data, dk.Space(recipes, [dk.Target("torch")]))
    assert [c.label for c in plan.candidates] == ["original"]
    assert all("TorchScript can only be run and converted" in left.reason for left in plan.left_out)
    assert len(plan.left_out) == 2


def test_only_models_of_pytorch_are_tried_on_it(zoo):
    def targets(kind, example):
        data = (np.zeros((60, *example), np.float32), np.arange(60) % 3)
        return {c.candidate.target.runtime for c in dk.plan(dk.load(zoo(kind)), data, "quick").candidates}

    assert "torch" in targets("cnn_pytorch", (1, 8, 8))
    assert "torch" not in targets("cnn_onnx", (1, 8, 8))
