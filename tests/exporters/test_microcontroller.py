"""What the layouts for microcontrollers and the Edge TPU find in a file; `make proof` runs TensorFlow Lite Micro."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from deploykit.core.errors import ExportError
from deploykit.exporters import edgetpu
from deploykit.exporters._edge.graph import MicroGraph, MicroOperator, MicroTensor, graph_of
from deploykit.exporters._export import export
from deploykit.testing.exporters import exportable


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    return exportable("cnn_int8_tflite", tmp_path_factory.mktemp("int8"))


@pytest.fixture(scope="module")
def float32(tmp_path_factory):
    return exportable("cnn_tflite", tmp_path_factory.mktemp("float32"))


def chain(*sizes, skip=False):
    """A graph of operators, each of which reads the tensor before it; the last one also the first if ``skip``."""
    tensors = {n: MicroTensor(str(n), "int8", (size,), size, False, 0) for n, size in enumerate(sizes)}
    operators = [MicroOperator("RELU", (n,), (n + 1,)) for n in range(len(sizes) - 1)]
    if skip:
        operators[-1] = MicroOperator("ADD", (0, len(sizes) - 2), (len(sizes) - 1,))
    return MicroGraph(tensors, tuple(operators), (0,), (len(sizes) - 1,))


def test_tensors_that_do_not_live_at_the_same_time_share_memory():
    assert chain(100, 100).planned_bytes == 2 * 112  # buffers are multiples of 16
    assert chain(64, 64, 64, 64).planned_bytes == 2 * 64
    assert chain(64, 64, 64, 64, skip=True).planned_bytes == 3 * 64
    assert chain(16, 1600, 16, 800, 16).planned_bytes == 1616


@pytest.mark.proves("microcontroller", "documentation", by="TensorFlow Lite Micro's list of operators")
@pytest.mark.long(10)
def test_the_plan_is_the_one_of_tensorflow_lite_micro(int8, float32):
    """Head of the arena of these files, as tflite-micro's recording allocator prints it; the proof asks it again."""
    assert graph_of(int8.path).planned_bytes == 1536
    assert graph_of(float32.path).planned_bytes == 6144


@pytest.mark.long
def test_sources_for_a_board(int8, tmp_path):
    artifact = export(int8, tmp_path / "out", layout="microcontroller", name="shoes")
    source = (artifact.path / "src/main_functions.cc").read_text("utf-8")
    assert "%%" not in source
    assert source.count("resolver.Add") == 6 == len({o["op_name"] for o in operators(artifact.model_path)})
    assert "MicroMutableOpResolver<6>" in source
    assert "bool Run(const uint8_t* in0, float* out0)" in (artifact.path / "src/main_functions.h").read_text("utf-8")
    assert "full-integer)" in (artifact.path / "README.md").read_text("utf-8")


def operators(path):
    return [o for o in Interpreter(str(path))._get_ops_details() if o["op_name"] != "DELEGATE"]


@pytest.mark.long
def test_real_numbers_are_said(float32, tmp_path):
    artifact = export(float32, tmp_path / "out", layout="microcontroller")
    assert "not full-integer: 13 tensors" in (artifact.path / "README.md").read_text("utf-8")


@pytest.mark.long
@pytest.mark.proves("edgetpu", "documentation", by="Coral's list of supported operations")
def test_what_stays_on_the_cpu(int8, tmp_path):
    artifact = export(int8, tmp_path / "out", layout="edgetpu")
    text = (artifact.path / "README.md").read_text("utf-8")
    assert "All 6 operators are on Coral's list" in text
    assert "edgetpu_compiler fixed/model.tflite" in text
    fixed, given = (Interpreter(str(artifact.path / p)) for p in ("fixed/model.tflite", "model.tflite"))
    assert given.get_input_details()[0]["shape_signature"].tolist() == [-1, 8, 8, 1]
    assert fixed.get_input_details()[0]["shape_signature"].tolist() == [1, 8, 8, 1]
    x = np.random.default_rng(0).integers(-128, 128, (1, 8, 8, 1), np.int8)
    answers = []
    for one in (fixed, given):
        one.allocate_tensors()
        one.set_tensor(one.get_input_details()[0]["index"], x)
        one.invoke()
        answers.append(one.get_tensor(one.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*answers)


def test_what_runs_where_on_the_edge_tpu():
    """Real numbers at the ends are converted on the CPU, and the graph is cut once."""
    kinds = ("float32", "int8", "int8", "int8", "int8", "float32")
    tensors = {n: MicroTensor(str(n), kind, (4,), 4, False, 1) for n, kind in enumerate(kinds)}
    names = ("QUANTIZE", "CONV_2D", "GELU", "CONV_2D", "DEQUANTIZE")
    operators = tuple(MicroOperator(name, (n,), (n + 1,)) for n, name in enumerate(names))
    graph = MicroGraph(tensors, operators, (0,), (5,))
    assert edgetpu._ends(graph) == [operators[0], operators[4]]
    rows = edgetpu._rows(graph, [operators[0], operators[4]], [operators[1]])
    assert [row.split(" | ")[2] for row in rows] == [
        "no: at the end of the model", "yes", "no", "no: behind the cut", "no: at the end of the model",
    ]  # fmt: skip


@pytest.mark.long
def test_the_edge_tpu_refuses_real_numbers_by_name(float32, tmp_path):
    with pytest.raises(ExportError, match="13 of 14 tensors hold float32") as caught:
        export(float32, tmp_path / "out", layout="edgetpu")
    assert "quantize_static" in caught.value.remedy
    assert not (tmp_path / "out").exists()
