"""Files from other tools join a sweep: judged like the rest, kept by content, refused by name where they differ."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.errors import DeploykitError, ModelFileError, SettingError, UnsupportedModelError
from deploykit.testing import work

SPACE = dk.Space((), (dk.Target("onnxruntime"), dk.Target("litert")))


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    return rng.random((160, 8, 8, 1)).astype(np.float32), rng.integers(0, 3, 160)


@pytest.fixture(scope="module")
def quantized(zoo, tmp_path_factory, images):
    """The CNN as an ONNX file, quantized by ONNX Runtime's own tool."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(images[0][:32])

        def get_next(self):
            found = next(self.left, None)
            return None if found is None else {"image": found[None]}

    folder = tmp_path_factory.mktemp("quantized")
    work.converted("keras_to_onnx", zoo("cnn_keras"), folder / "model.onnx")
    quantize_static(folder / "model.onnx", folder / "model_int8.onnx", Reader())
    return folder / "model_int8.onnx"


@pytest.fixture(scope="module")
def report(zoo, quantized, images, tmp_path_factory):
    """A sweep with both files; the first one is gone afterwards, the store has moved."""
    folder = tmp_path_factory.mktemp("joined")
    moved = shutil.copy(quantized, folder / "model_int8.onnx")
    model = dk.load(zoo("cnn_keras"))
    dk.sweep(
        model, images, SPACE, store=folder / "store", launches=2, progress=lambda _: None,
        candidates=[moved, dk.load(zoo("cnn_int8_tflite"))],
    )  # fmt: skip
    (folder / "model_int8.onnx").unlink()
    (folder / "store").rename(folder / "moved")
    return dk.Report.open(folder / "moved")


def _row(report, label, runtime):
    return next(r for r in report.rows if r.label == label and r.candidate.target.runtime == runtime)


def test_an_onnx_file_answers_as_in_the_bare_runtime(report, quantized, images):
    import onnxruntime

    row = _row(report, "model_int8.onnx", "onnxruntime")
    x = images[0][:20]
    session = onnxruntime.InferenceSession(str(quantized), providers=["CPUExecutionProvider"])
    wanted = np.concatenate([session.run(None, {"image": one[None]})[0] for one in x])
    exported = dk.export(report.choice_for(row.key), report.path.parent / "exported-onnx")
    found = report.choice_for(row.key).predict(x)
    np.testing.assert_allclose(next(iter(found.values())), wanted, atol=1e-6)
    assert dk.verify(exported).ok
    assert row.status == "measured"
    assert row.measurement.latency.p50_ms.value > 0
    assert row.measurement.size_bytes == quantized.stat().st_size


def test_a_tflite_file_with_integer_inputs_is_fed_real_numbers(report, zoo, images):
    from ai_edge_litert.interpreter import Interpreter

    row = _row(report, "cnn_int8_tflite.tflite", "litert")
    interpreter = Interpreter(model_path=str(zoo("cnn_int8_tflite")))
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert taken["dtype"] is np.int8
    wanted = []
    for one in images[0][:20]:
        scale, zero = taken["quantization"]
        interpreter.set_tensor(taken["index"], np.clip(np.rint(one[None] / scale) + zero, -128, 127).astype(np.int8))
        interpreter.invoke()
        scale, zero = given["quantization"]
        wanted.append((interpreter.get_tensor(given["index"]).astype(np.float32) - zero) * scale)
    exported = dk.export(report.choice_for(row.key), report.path.parent / "exported-tflite")
    np.testing.assert_allclose(
        report.choice_for(row.key).predict(images[0][:20])["class"], np.concatenate(wanted), atol=1e-6
    )
    assert dk.verify(exported).ok
    assert row.status == "measured"


def test_files_are_a_family_of_their_own(report):
    rows = [r for r in report.rows if r.family == "given"]
    assert {(r.label, r.candidate.target.runtime) for r in rows} == {
        ("model_int8.onnx", "onnxruntime"),
        ("cnn_int8_tflite.tflite", "litert"),
    }
    assert "triangle-left" in json.dumps(report.chart().to_dict())
    assert "cnn_int8_tflite.tflite" in report.to_html()


def test_a_sweep_resumes_without_the_file(report, zoo, images):
    before = {row.key for row in report.rows}
    space = dk.Space([row.candidate.recipe for row in report.rows], SPACE.targets)
    again = dk.sweep(
        dk.load(zoo("cnn_keras")), images, space, store=report.path, launches=2, progress=lambda _: None
    )  # fmt: skip
    assert {row.key for row in again.rows} == before
    assert {row.status for row in again.rows} == {"measured"}


def test_a_store_without_the_file_says_so(report, zoo, images, tmp_path):
    recipe = _row(report, "model_int8.onnx", "onnxruntime").candidate.recipe
    with pytest.raises(ModelFileError, match=r"model_int8.onnx: the store .* has no copy"):
        dk.start_sweep(dk.load(zoo("cnn_keras")), images, dk.Space([recipe], SPACE.targets), store=tmp_path / "other")


def test_a_changed_file_is_another_candidate(quantized, zoo, images, tmp_path):
    import onnx

    model, path = dk.load(zoo("cnn_keras")), tmp_path / "model_int8.onnx"
    shutil.copy(quantized, path)
    first = dk.plan(model, images, SPACE, candidates=[path], check=False)
    changed = onnx.load(path)
    changed.doc_string = "another file"
    onnx.save(changed, path)
    second = dk.plan(model, images, SPACE, candidates=[path], check=False)
    keys = [{c.key for c in plan.candidates if c.label == path.name} for plan in (first, second)]
    assert all(keys)
    assert keys[0].isdisjoint(keys[1])
    assert {c.key for c in first.candidates if not c.candidate.recipe.steps} <= {c.key for c in second.candidates}


def test_a_file_can_be_the_first_step_of_a_recipe(quantized, zoo, images, tmp_path):
    work.converted("keras_to_onnx", zoo("cnn_keras"), tmp_path / "float.onnx")
    model, path = dk.load(zoo("cnn_keras")), str(tmp_path / "float.onnx")
    steps = [dk.Step("existing_file", {"file": path}), dk.Step("quantize_dynamic")]
    built = dk.build(model, steps, images, target="onnxruntime")
    assert "MatMulInteger" in {layer.type for layer in dk.load(built.path).layers}
    with pytest.raises(UnsupportedModelError, match="already quantized"):
        dk.build(
            model, [dk.Step("existing_file", {"file": str(quantized)}), steps[1]], images, target="onnxruntime"
        )  # fmt: skip
    with pytest.raises(SettingError, match="existing file after another step"):
        dk.build(model, steps[::-1], images, target="onnxruntime")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("cnn_onnx", r"cnn_onnx.onnx cannot stand in .* examples of shape \(1, 8, 8\), got \(8, 8, 1\)"),
        ("two_inputs_onnx", r"The file takes left, right, the original model image"),
        ("cnn_external_onnx", "its weights are in 1 more file"),
    ],
)
def test_another_signature_is_refused_by_name(zoo, images, kind, said):
    with pytest.raises(DeploykitError, match=said):
        dk.plan(dk.load(zoo("cnn_keras")), images, SPACE, candidates=[zoo(kind)], check=False)


def test_a_missing_file_is_named(zoo, images, tmp_path):
    with pytest.raises(ModelFileError, match=r"Candidate .*gone.onnx"):
        dk.plan(dk.load(zoo("cnn_keras")), images, SPACE, candidates=[tmp_path / "gone.onnx"], check=False)


def test_an_empty_file_parameter_is_left_out_with_the_reason(zoo, images):
    plan = dk.plan(dk.load(zoo("cnn_keras")), images, dk.Space([dk.Recipe((dk.Step("existing_file"),))]), check=False)
    assert {left.reason for left in plan.left_out} == {"existing file: no file is given"}


def test_weights_beside_a_file_are_a_part_of_its_size(zoo, tmp_path):
    path = zoo("cnn_external_onnx")
    model = dk.load(path)
    beside = [Path(file) for file in model.extra_files]
    data = dk.Dataset.from_arrays(np.random.default_rng(0).random((40, *model.inputs[0].shape[1:])).astype(np.float32))
    space = dk.Space([dk.Recipe((dk.Step("quantize_float16"),))], [dk.Target("onnxruntime")])
    report = dk.sweep(model, data, space, store=tmp_path / "store", launches=0, progress=lambda _: None)
    original, smaller = sorted(report.rows, key=lambda row: len(row.candidate.recipe.steps))
    wanted = path.stat().st_size + sum(file.stat().st_size for file in beside)
    assert original.measurement.size_bytes == wanted == model.size_bytes
    packed = sum(len(gzip.compress(file.read_bytes(), 6)) for file in (path, *beside))
    assert original.measurement.compressed_bytes == pytest.approx(packed, rel=0.03)
    assert smaller.measurement.size_bytes < wanted
