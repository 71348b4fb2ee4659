"""Models that deploykit did not export: what is made of them answers as the bare runtime does."""

import gc
import shutil
import struct

import numpy as np
import onnxruntime
import pytest

from deploykit.artifacts.arrays import load_arrays
from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.prove import prove
from deploykit.core.errors import ModelFileError, ServeError, UnsupportedModelError
from deploykit.exporters._warmup import warmup_records
from deploykit.serving.sources.adopt import adopt, find_model
from deploykit.testing.graphs import graph, node, value

REQUESTS = "assets.extra/tf_serving_warmup_requests"


def golden(artifact, name="serving_default"):
    manifest = artifact.signature(name).manifest
    return tuple(load_arrays(artifact.path / file) for file in (manifest.golden_inputs, manifest.golden_outputs))


def refused(call, *arguments, error=UnsupportedModelError):
    with pytest.raises(error) as caught:
        call(*arguments)
    assert caught.value.remedy
    return caught.value.message


@pytest.fixture
def sums(tmp_path):
    """a (N, 2), n (N) int64, text (N) → y = a₀ + a₁ + n, text."""
    return graph(
        tmp_path,
        [
            node("Cast", ["n"], ["real"], to=1),
            node("ReduceSum", ["a", "axis"], ["sum"], keepdims=0),
            node("Add", ["sum", "real"], ["y"]),
            node("Identity", ["text"], ["said"]),
        ],
        [value("a", "float32", "N", 2), value("n", "int64", "N"), value("text", "string", "N")],
        [value("y", "float32", "N"), value("said", "string", "N")],
        axis=[1],
    )


def test_an_onnx_model_with_several_inputs(sums):
    artifact = adopt(sums, "sums")
    manifest = artifact.manifest
    assert (manifest.name, manifest.layout, manifest.format, manifest.target.runtime) == (
        "sums", "adopted", "onnx", "onnxruntime"
    )  # fmt: skip
    assert [str(spec) for spec in manifest.inputs] == ["a: float32 (?, 2)", "n: int64 (?)", "text: string (?)"]
    assert [str(spec) for spec in manifest.outputs] == ["y: float32 (?)", "said: string (?)"]
    inputs, outputs = golden(artifact)
    y, said = onnxruntime.InferenceSession(sums).run(None, inputs)
    np.testing.assert_array_equal(outputs["y"], y)
    np.testing.assert_allclose(y, inputs["a"].sum(1) + inputs["n"], rtol=1e-6)
    assert outputs["said"].tolist() == said.tolist()
    assert prove(artifact, trusted=False).problems == ()


def test_its_folder_holds_links_and_goes_with_it(sums):
    artifact = adopt(sums, "sums")
    folder = artifact.path
    assert (folder / "graph.onnx").samefile(sums)
    assert Artifact.open(folder).manifest == artifact.manifest
    del artifact
    gc.collect()
    assert not folder.exists()
    assert sums.exists()


@pytest.mark.parametrize("shape", [("N", "H", "W", 3), (1, 3, "H", "W")])
def test_free_dimensions_and_a_fixed_batch(tmp_path, shape):
    path = graph(
        tmp_path,
        [node("ReduceMean", ["x"], ["y"], axes=[1, 2, 3], keepdims=0)],
        [value("x", "float32", *shape)],
        [value("y", "float32", shape[0])],
    )
    artifact = adopt(path, "means")
    assert artifact.manifest.inputs[0].shape == (None, *(d if isinstance(d, int) else None for d in shape[1:]))
    inputs, outputs = golden(artifact)
    assert len(inputs["x"]) == 4
    np.testing.assert_allclose(outputs["y"], inputs["x"].mean((1, 2, 3)), rtol=1e-6)
    assert prove(artifact, trusted=False).problems == ()


def test_a_graph_for_one_example_runs_them_one_by_one(tmp_path):
    """Its shapes are free, but a constant in it has one row."""
    path = graph(
        tmp_path,
        [node("Concat", ["x", "one"], ["y"], axis=1)],
        [value("x", "float32", "N", 2)],
        [value("y", "float32", "N", 3)],
        one=np.ones((1, 1), np.float32),
    )
    artifact = adopt(path, "one")
    assert artifact.manifest.batch_dependent
    inputs, outputs = golden(artifact)
    np.testing.assert_array_equal(outputs["y"], np.c_[inputs["x"], np.ones(4, np.float32)])


def test_probabilities_are_seen(tmp_path):
    path = graph(
        tmp_path,
        [node("Softmax", ["x"], ["p"], axis=1), node("Identity", ["x"], ["raw"])],
        [value("x", "float32", "N", 4)],
        [value("raw", "float32", "N", 4), value("p", "float32", "N", 4)],
    )
    manifest = adopt(path, "classes", classes={"p": ["cat", "dog"]}).manifest
    contract = manifest.contract
    assert manifest.classes == ("cat", "dog", "", ""), "as many as there are classes"
    assert {o.name: (o.kind, o.role) for o in contract.outputs} == {
        "raw": ("values", "judged"), "p": ("probabilities", "scored")
    }  # fmt: skip


def test_an_output_without_rows(tmp_path):
    """One that is the same for all is given to each example; one that depends on them is refused."""
    anchors = np.arange(6, dtype=np.float32).reshape(3, 2)
    nodes = [node("Identity", ["x"], ["y"]), node("Identity", ["kept"], ["anchors"])]
    inputs, y = [value("x", "float32", "N", 2)], value("y", "float32", "N", 2)
    path = graph(tmp_path, nodes, inputs, [y, value("anchors", "float32", 3, 2)], kept=anchors)
    artifact = adopt(path, "boxes")
    np.testing.assert_array_equal(golden(artifact)[1]["anchors"], np.tile(anchors, (4, 1, 1)))
    assert str(artifact.manifest.outputs[1]) == "anchors: float32 (?, 3, 2)"
    nodes[1] = node("ReduceSum", ["x"], ["total"], keepdims=0)
    path = graph(tmp_path, nodes, inputs, [y, value("total", "float32")])
    said = refused(adopt, path, "boxes")
    assert "Its output 'total' has shape () for 4 examples: the first dimension is not the batch." in said


def test_a_model_without_a_batch_is_refused(tmp_path):
    path = graph(
        tmp_path,
        [node("Gather", ["x", "first"], ["y"], axis=0)],
        [value("x", "float32", 5)],
        [value("y", "float32", 2)],
        first=[0, 3],
    )
    assert "the first dimension is not the batch" in refused(adopt, path, "flat")


def test_a_tflite_file(zoo):
    artifact = adopt(zoo("cnn_tflite"), "cnn")
    assert artifact.manifest.target.runtime == "litert"
    assert not artifact.manifest.calling.any_shape
    inputs, outputs = golden(artifact)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(zoo("cnn_tflite")))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    (x,), (y,) = inputs.values(), outputs.values()
    for row, wanted in zip(x, y, strict=True):
        interpreter.set_tensor(taken["index"], row[None])
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_tensor(given["index"])[0], wanted, rtol=1e-5)
    assert prove(artifact, trusted=False).problems == ()


def test_a_graph_with_signatures(saved):
    artifact = adopt(saved("graph"), "graph")
    adopted = artifact.manifest.adopted
    assert (adopted.chosen, adopted.left_out, adopted.recorded) == ("serving_default", {}, False)
    assert {name: one.method for name, one in adopted.signatures.items()} == {
        "serving_default": "predict",
        "classify_x": "classify",
        "scores_of_x": "classify",
        "regress_x_to_y": "regress",
        "regress_x_to_z": "regress",
    }
    inputs, outputs = golden(artifact)
    np.testing.assert_array_equal(outputs["y"], inputs["x"] / 2 + 2)
    # Examples are made up with the features that the graph looks for: 1/4, 2/4, … for each.
    np.testing.assert_array_equal(golden(artifact, "regress_x_to_z")[1]["outputs"][:, 0], np.arange(1, 5) / 4 * 1.5)
    assert golden(artifact, "classify_x")[1]["classes"].tolist() == [[b"low", b"high"]] * 4
    assert artifact.manifest.input_names == {"x": "x:0"}
    assert prove(artifact, trusted=False).problems == ()


def test_functions_of_many_kinds(saved):
    path = saved("serving_default", "constant", "counting", "lengths", "means", "parsed", "sum", "nothing")
    artifact = adopt(path, "module")
    adopted = artifact.manifest.adopted
    assert sorted(adopted.signatures) == ["constant", "lengths", "means", "parsed", "serving_default"]
    assert adopted.left_out == {
        "counting": "It writes to calls, which a server would carry over from one client to the next.",
        "nothing": "It takes no inputs, so that nothing says how many answers are wanted.",
        "sum": "Its output 'total' has shape () for 4 examples: the first dimension is not the batch.",
    }
    inputs, outputs = golden(artifact)
    np.testing.assert_array_equal(outputs["y"], 3 * inputs["x"])
    assert golden(artifact, "constant")[1]["y"].tolist() == [2.0] * 4
    inputs, outputs = golden(artifact, "lengths")
    assert outputs["length"].tolist() == [len(text) for text in inputs["text"].tolist()]
    inputs, outputs = golden(artifact, "means")
    np.testing.assert_allclose(outputs["mean"], inputs["picture"].mean((1, 2, 3)), rtol=1e-5)
    assert golden(artifact, "parsed")[1]["outputs"].tolist() == [3.0, 5.0, 3.0, 5.0]
    assert prove(artifact, trusted=False).problems == ()


def test_a_model_of_nothing_but_state_is_refused(saved):
    said = refused(adopt, saved("counting"), "counter")
    assert said.startswith("00000123 cannot be served: its signature 'counting': It writes to calls, which a server")


def test_random_answers_are_not_proved(saved):
    assert "cannot be served: Outputs differ from" in refused(adopt, saved("noise"), "noise", error=ServeError)


@pytest.fixture
def warmed(saved, tmp_path):
    """A copy of a model with recorded requests: what writes them is given."""

    def write(name, records):
        path = tmp_path / "recorded"
        shutil.copytree(saved(name), path)
        (path / REQUESTS).parent.mkdir()
        (path / REQUESTS).write_bytes(records)
        return path

    return write


def test_recorded_requests_are_what_it_is_proved_with(warmed):
    rows = np.arange(12, dtype=np.float32).reshape(12, 1)
    path = warmed("graph", warmup_records("any", [{"x": rows[:3]}, {"x": rows[3:4]}, {"x": rows[4:]}]))
    artifact = adopt(path, "graph")
    assert artifact.manifest.adopted.recorded
    inputs, outputs = golden(artifact)
    assert inputs["x"].tolist() == rows[:8].tolist()
    assert outputs["y"].tolist() == (rows[:8] / 2 + 2).tolist()
    assert len(golden(artifact, "regress_x_to_y")[0]["inputs"]) == 4  # for which there is none: made up


def framed(*messages):
    """A TFRecord file; its checksums are not looked at."""
    return b"".join(struct.pack("<QI", len(m), 0) + m + bytes(4) for m in messages)


def test_requests_of_every_kind_are_read(warmed):
    pytest.importorskip("tensorflow")
    from tensorflow_serving.apis import prediction_log_pb2

    def example(value):
        log.features.feature["x"].float_list.value.append(value)

    classify, several = prediction_log_pb2.PredictionLog(), prediction_log_pb2.PredictionLog()
    request = classify.classify_log.request
    request.model_spec.signature_name = "classify_x"
    log = request.input.example_list.examples.add()
    example(4.0)
    request = several.multi_inference_log.request
    for name in ("regress_x_to_y", "regress_x_to_z"):
        request.tasks.add().model_spec.signature_name = name
    request.input.example_list_with_context.context.features.feature["x2"].float_list.value.append(7.0)
    log = request.input.example_list_with_context.examples.add()
    example(2.0)
    artifact = adopt(warmed("graph", framed(*(m.SerializeToString() for m in (classify, several)))), "graph")
    assert golden(artifact, "classify_x")[1]["scores"].tolist() == [[4.0, 5.0]]
    assert golden(artifact, "regress_x_to_y")[1]["outputs"].tolist() == [[3.0]]
    assert golden(artifact, "regress_x_to_z")[1]["outputs"].tolist() == [[8.0]]


def test_requests_that_cannot_be_read_are_named(warmed):
    path = warmed("graph", warmup_records("any", [{"other": np.ones((1, 1), np.float32)}]))
    said = refused(adopt, path, "graph", error=ModelFileError)
    assert "a request does not fit the signature 'serving_default': 'x'" in said
    for odd in (b"\xff" * 40, framed(b"\xff\xff\xff"), b"\x01"):
        (path / REQUESTS).write_bytes(odd)
        assert "not a TFRecord file of PredictionLog messages" in refused(adopt, path, "graph", error=ModelFileError)


def test_the_model_of_a_version_is_found(tmp_path, sums):
    folder = tmp_path / "1"
    folder.mkdir()
    said = refused(find_model, folder, error=ServeError)
    assert said == (
        f"{folder}: expected a model (saved_model.pb, model.savedmodel, model.onnx, model.tflite, or one file of ONNX "
        "or TFLite) or an exported artifact; there is nothing."
    )
    shutil.copy(sums, folder / "net.onnx")
    assert find_model(folder) == folder / "net.onnx"
    shutil.copy(sums, folder / "model.onnx")
    assert find_model(folder) == folder / "model.onnx"
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    shutil.copy(sums, folder / "model.onnx" / "model.onnx")
    assert find_model(folder) == folder / "model.onnx" / "model.onnx"
    (folder / "model.tflite").touch()
    (folder / "saved_model.pb").touch()
    assert find_model(folder) == folder
    assert find_model(folder, prefer_tflite=True) == folder / "model.tflite"
    (folder / "saved_model.pb").unlink()
    (folder / "model.savedmodel").mkdir()
    assert find_model(folder) == folder / "model.savedmodel"


def test_formats_without_a_runtime_are_refused(zoo):
    said = refused(adopt, zoo("cnn_keras"), "cnn", error=ServeError)
    assert "no runtime serves Keras files as they are" in said
