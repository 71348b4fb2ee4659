"""What the browser is sent of a model, and what it can ask."""

import dataclasses

import pytest
from deploykit_widgets.evidence.layer_times import layer_times, source_of_times
from deploykit_widgets.sections.model import ModelSection

from deploykit.core.errors import SettingError
from deploykit.core.model import Layer
from deploykit.reporting.report import Choice

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def section(commands):
    return ModelSection(commands)


def test_a_model_is_loaded_by_its_path(section, ask, commands, model_path, monkeypatch):
    monkeypatch.chdir(model_path.parent)
    assert section.value()["facts"] is None
    endings = section.value()["endings"]
    assert ".onnx" in endings["models"]
    assert ".caffemodel" in endings["beside"]
    assert ".pt2" in endings["words"]
    assert "SavedModel folder" in endings["words"]
    ask(section, "load_model", path=f" {model_path.name} ")
    facts = section.value()["facts"]
    model = commands.state.model
    assert facts["file"] == facts["shown"] == model_path.name
    assert facts["path"] == model_path.as_posix()
    assert (facts["label"], facts["parameters"], facts["layers"]) == ("ONNX", model.parameter_count, len(model.layers))
    assert facts["bytes"] == model_path.stat().st_size
    assert not facts["kernel"]
    assert facts["inputs"] == [str(s) for s in model.inputs]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"", "empty"), (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS")],
)
def test_what_is_no_model_is_said_in_words(section, ask, commands, tmp_path, content, words):
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    ask(section, "load_model", path=str(path))
    problem = commands.state.problems["model"]
    assert words in problem
    assert "broken.onnx" in problem
    assert section.value()["facts"] is None


def test_layers_come_in_pages_and_for_their_own_model_alone(section, ask, commands, model):
    name = HOSTILE
    layers = tuple(Layer(f"{name} {i}", "Relu", (None, 4), i) for i in range(4500))
    many = dataclasses.replace(model, layers=layers, digest="d" * 64)
    commands.desk.post(lambda: commands.state.change(model=many))
    pages = [ask(section, "layers", digest=many.digest, start=start)[0] for start in (0, 2000, 4000)]
    assert [len(p["layers"]) for p in pages] == [2000, 2000, 500]
    assert {p["total"] for p in pages} == {4500}
    found = [layer for p in pages for layer in p["layers"]]
    assert found[4499] == {
        "name": f"{HOSTILE} 4499", "type": "Relu", "shape": "? × 4", "parameters": 4499, "time": None, "fused": [],
    }  # fmt: skip
    assert ask(section, "layers", digest=model.digest)[0]["total"] == 0


def test_a_folder_lists_models_and_folders_alone(section, ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"x")
    (tmp_path / "inner").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("b.onnx", "A.KERAS", "notes.txt"):
        (tmp_path / name).write_bytes(b"abc")
    found, _ = ask(section, "browse_models")
    assert [(e["name"], e["kind"]) for e in found["entries"]] == [
        ("inner", "folder"), ("A.KERAS", "file"), ("b.onnx", "file"), ("saved", "model"),
    ]  # fmt: skip
    assert found["entries"][2] == {"name": "b.onnx", "path": "b.onnx", "kind": "file", "size": 3}
    inner, _ = ask(section, "browse_models", folder=f"{found['folder']}/inner")
    assert (inner["entries"], inner["parent"]) == ([], found["folder"])
    with pytest.raises(SettingError, match=r"nowhere cannot be listed: No such file"):
        ask(section, "browse_models", folder=str(tmp_path / "nowhere"))


def test_times_are_those_of_the_report(finished, ask):
    section, report = ModelSection(finished), finished.state.report
    key = section.value()["profile"]
    assert key == source_of_times(report)
    times = layer_times(report, key)
    assert times is not None
    assert "ONNX Runtime" in times.runtime
    found, _ = ask(section, "layers", digest=report.model.digest, profile=key)
    shares = [layer["time"] for layer in found["layers"] if layer["time"] is not None]
    assert shares
    assert sum(shares) + found["elsewhere"] == pytest.approx(1)
    assert found["layers"][0]["time"] is not None, "the convolution is where a CNN spends its time"


def test_the_time_of_fused_nodes_goes_to_the_layer_that_works(finished, monkeypatch):
    """A converted Keras model: nodes bear the name of the last of the layers they are fused from."""

    def node(name, operator, kind, ms):
        return {
            "layer": name, "node": f"a/b/{name}", "operator": operator, "kernel": "", "kind": kind, "quantized": False,
            "float_ms": ms, "ms": ms, "ratio": 1.0,
        }  # fmt: skip

    report = finished.state.report
    layers = tuple(Layer(n, t, None, p) for n, t, p in (
        ("conv_0", "Conv2D", 90), ("norm_0", "BatchNormalization", 8), ("relu_0", "ReLU", 0), ("pool_0", "MaxPool", 0),
        ("dense", "Dense", 50), ("class", "Dense", 10),
    ))  # fmt: skip
    named = dataclasses.replace(report.model, layers=layers)
    monkeypatch.setitem(report.__dict__, "model", named)
    nodes = [
        node("norm_0_1/mul__6", "Reshape", "move", 0.5),
        node("relu_0_1/Relu", "Conv", "conv", 6.0),
        node("pool_0_1/MaxPool2d", "MaxPool", "compute", 1.0),
        node("dense_1/MatMul", "Gemm", "matmul", 1.5),
        node("Transpose__7", "Transpose", "move", 1.0),
    ]
    monkeypatch.setattr(Choice, "layers", lambda _self: nodes)
    times = layer_times(report, report.baseline)
    assert times is not None
    assert times.shares == pytest.approx({0: 0.6, 1: 0.05, 3: 0.1, 4: 0.15})
    assert times.fused == {0: ("norm_0", "relu_0")}
    assert times.elsewhere == pytest.approx(0.1)
