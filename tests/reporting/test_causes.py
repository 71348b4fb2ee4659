"""Each named cause is found where it is real, with the setting that fixes it."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import deploykit as dk
from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.result import Interval, Latency, Measurement, Result, Score
from deploykit.measuring.profile_match import Comparison
from deploykit.reporting.evidence.causes import CAUSES, CauseFacts, findings
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

pytestmark = [pytest.mark.alone, pytest.mark.long]

SIDE = 20
DYNAMIC = Step("quantize_dynamic")
DYNAMIC_CONVOLUTIONS = Step("quantize_dynamic", {"convolutions": True})
STATIC = Step("quantize_static")
SIGNED = Step("quantize_static", {"activations": "int8"})
SIGNED_OPERATORS = Step("quantize_static", {"activations": "int8", "form": "qoperator"})

#: What layers of the two convolutions took in float32 on a quiet machine, in ms; all others are `SMALL`.
FLOAT_MS = {"r1": 0.010, "first": 0.020, "r2": 0.107, "second": 0.129, "p": 0.005}
#: What candidates' kernels took there, by layer where that matters; all others took as long as in float32, or `SMALL`.
KERNEL_MS = {
    "QLinearConv uint8": {"r1": 0.036, "r2": 0.045},
    "QLinearConv int8": {"r1": 0.116, "r2": 0.687},
    "ConvInteger uint8": {"r1": 0.155, "r2": 1.308},
    "QGemm uint8": {"dense": 0.005},
    "DynamicQuantizeMatMul float32": {"Gemm_1": 0.015, "dense": 0.008},
}
SMALL = 0.003
#: Of an inference, outside of all nodes.
OUTSIDE = 0.02


def saved(path, nodes, weights=(), shape=(1, SIDE, SIDE), kind=TensorProto.FLOAT, out=None):
    rng = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(v if isinstance(v, np.ndarray) else rng.normal(0, 0.3, v).astype(np.float32), name)
        for name, v in dict(weights).items()
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, ["batch", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out or ["batch", *shape])],
        constants,
    )
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def convolutions(path):
    """Two convolutions, the first with one channel, and a dense layer."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "second", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w3"], ["y"], "dense"),
    ]
    weights = {"w1": (32, 1, 3, 3), "w2": (48, 32, 3, 3), "w3": (48, 4)}
    return saved(path, nodes, weights, out=["batch", 4])


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return dk.Dataset.from_arrays(rng.random((80, 1, SIDE, SIDE)).astype(np.float32), rng.integers(0, 4, 80))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, data):
    found = tmp_path_factory.mktemp("causes")
    data.save(found / "data")
    return found


def row(recipe, target, notes=None, **latency):
    one = Interval(1.0, 0.99, 1.01)
    fields = {"speedup": Interval(0.5, 0.49, 0.51), "speedup_same_runtime": Interval(0.5, 0.49, 0.51), **latency}
    cpu_ms = fields.pop("cpu_ms", 1.0)
    timed = Latency(
        fields.pop("p50_ms", one), 1.1, None, cpu_ms=cpu_ms, launches=5, runs=100, noise_floor=0.01, **fields
    )
    score = Score("accuracy", 0.9, Interval(0, 0, 0), Interval(0, 0, 0), 100)
    return Result(
        "k", Candidate(recipe, target), "measured", "label", "quantize", "onnx", notes=notes or {},
        measurement=Measurement((score,), timed, 1000, 500),
    )  # fmt: skip


def at_rest(found):
    """What was profiled, with recorded times: a busy machine changes who is slower, but not what runs.

    Nodes, their order, operators, kernels, precisions and which layer of float32 each stands for stay as profiled.
    """
    assert all(x.ms is None or x.ms >= 0 for x in found.layers)
    assert sum(x.ms or 0 for x in found.layers) <= found.ms * 1.001  # the profiler's own time is taken off
    layers = []
    for x in found.layers:
        float_ms = None if x.float_ms is None else FLOAT_MS.get(x.name, SMALL)
        ms = None if x.ms is None else KERNEL_MS.get(x.kernel, {}).get(x.name, float_ms or SMALL)
        layers.append(replace(x, float_ms=float_ms, ms=ms))
    before, after = (sum(getattr(x, side) or 0 for x in layers) + OUTSIDE for side in ("float_ms", "ms"))
    return replace(found, layers=tuple(layers), float_ms=before, ms=after)


@pytest.fixture(scope="module")
def profiled(folder, data):
    """Facts of a candidate that was built and profiled for real; how long nodes took, and its latency, are recorded."""

    def make(runtime, *steps, source=None):
        path = source or convolutions(folder / "net.onnx")
        given = (
            data
            if source is None
            else replace(data, splits={k: replace(v, labels=None) for k, v in data.splits.items()})
        )
        recipe, target = Recipe(steps), Target(runtime)
        built = dk.build(dk.load(path), recipe, given, target=target, store=folder / "store")
        arguments = {
            "path": str(built.path), "reference": str(path), "format": "onnx", "target": target.to_json(),
            "data": str(folder / "data"),
        }  # fmt: skip
        found = shared().run(Task("deploykit.measuring.profile:profile", arguments, name="profile"))
        return CauseFacts(row(recipe, target, built.notes), at_rest(Comparison.from_json(found)), cores=2)

    return make


def causes(facts):
    return {f.cause: f for f in findings(facts)}


def test_operators_that_were_not_quantized(profiled):
    found = causes(profiled("onnxruntime", DYNAMIC))["operators not quantized"]
    assert found.share > 0.5
    assert "2 convolutions were not quantized" in found.text
    assert {layer.operator for layer in found.layers} == {"Conv"}
    assert found.fix == Recipe((STATIC,))


def recorded(name):
    """Facts of a profile that was recorded on some machine; see ``origin`` in the file."""
    known = json.loads((Path(__file__).parent / "profiles" / f"{name}.json").read_text("utf-8"))
    step = Step.from_json(known["technique"])
    found = row(Recipe((step,)), Target(known["runtime"]), {step.technique: known["notes"]})
    found = replace(found, measurement=replace(found.measurement, environment=known["host"]))
    return CauseFacts(found, Comparison.from_json(known["profile"]), cores=2)


def test_operators_a_runtime_converts_back():
    """The file is quantized; on that processor OpenVINO computes its convolutions in float32 all the same."""
    found = causes(recorded("openvino_int8_as_float"))["operators not quantized"]
    assert "stores 2 convolutions" in found.text
    assert "OpenVINO converts them back and computes in float32 on another x86 with openvino 2026.4.1" in found.text
    assert "f32" in found.layers[0].kernel
    assert found.fix == Recipe((STATIC,))


def test_operators_a_runtime_keeps_in_integers():
    """The same file on another processor: no reason is given that its profile does not show."""
    found = causes(recorded("openvino_int8_in_integers"))
    assert "operators not quantized" not in found
    assert "faster in integers" in found["integer kernels"].text


def test_what_this_machine_makes_of_int8_activations(profiled):
    """Whichever of the two it is."""
    facts = profiled("openvino", SIGNED)
    back = [x for x in facts.timed if x.kind == "conv" and x.precision == "float32"]
    found = causes(facts).get("operators not quantized")
    assert (found is not None) == bool(back)
    assert found is None or {x.kernel for x in found.layers} == {x.kernel for x in back}


def test_dynamic_convolutions(profiled):
    found = causes(profiled("onnxruntime", DYNAMIC_CONVOLUTIONS))["dynamic quantization of convolutions"]
    assert {layer.operator for layer in found.layers} == {"ConvInteger"}
    assert {layer.name for layer in found.layers} == {"r1", "r2"}  # as float32 calls them, with the activation
    assert found.fix == Recipe((DYNAMIC,))


def test_quantize_and_dequantize_overhead(profiled):
    found = causes(profiled("openvino", DYNAMIC_CONVOLUTIONS))["quantize and dequantize overhead"]
    assert found.share > 0.1
    assert all(layer.float_ms is None or layer.kind == "convert" for layer in found.layers)
    assert found.fix == Recipe((STATIC,))


def test_signed_integer_operators(profiled):
    found = causes(profiled("onnxruntime", SIGNED_OPERATORS))["signed integer operators"]
    assert found.share > 0.5
    assert {layer.operator for layer in found.layers} == {"QLinearConv", "QGemm"}
    assert found.fix == Recipe((Step("quantize_static", {"form": "qoperator"}),))


def test_signed_integer_operators_are_slow_only_where_the_profile_says_so():
    slow = causes(recorded("onnxruntime_int8_operators"))["signed integer operators"]
    assert "no fast kernel on AMD EPYC with onnxruntime 1.31.1 (QLinearConv int8): 0.0475 ms in float32" in slow.text
    assert "signed integer operators" not in causes(recorded("onnxruntime_int8_operators_fast"))


def test_pairs_with_signed_activations_are_rewritten_and_fast(profiled):
    """The same setting is harmless in the other form: no warning without a cause."""
    assert "signed integer operators" not in causes(profiled("onnxruntime", SIGNED))


def test_a_layer_that_is_slower_in_integers_is_excluded_by_name(profiled):
    """A convolution of one channel does not fill the integer kernel; the name is the one in the ONNX file."""
    found = causes(profiled("onnxruntime", STATIC))["layers slower in integers"]
    assert [layer.node for layer in found.layers] == ["first"]
    assert found.fix == Recipe((Step("quantize_static", {"exclude": "first"}),))
    fixed = profiled("onnxruntime", *found.fix.steps)
    assert {x.precision for x in fixed.timed if x.kind == "conv"} == {"float32", "int8"}
    assert "first" not in {x.node for f in findings(fixed) for x in f.layers if f.cause == found.cause}


def test_reference_kernels(profiled, folder):
    """OpenVINO's cumulative sum has no vector instructions; the graph is large, for its clock counts microseconds."""
    names = ["wide", *(f"s{i}" for i in range(5))]
    nodes = [
        helper.make_node("Concat", ["x"] * 64, ["wide"], "stack", axis=1),
        *(helper.make_node("CumSum", [a, "axis"], [b], f"sum {b}") for a, b in itertools.pairwise(names)),
        helper.make_node("ReduceMax", [names[-1]], ["y"], "max", axes=[1]),
    ]
    path = saved(folder / "sum.onnx", nodes, {"axis": np.array(3, np.int64)})
    facts = profiled("openvino", source=path)
    assert {x.trait for x in facts.timed if x.operator == "CumSum"} == {"reference"}
    found = causes(facts)["reference kernels"]
    assert "CumSum" in {layer.operator for layer in found.layers}
    assert "reference kernel" in found.text


def test_memory_bound_by_moving_data(profiled, folder):
    nodes, last = [], "x"
    for i in range(6):
        nodes.append(helper.make_node("Transpose", [last], [f"t{i}"], f"turn{i}", perm=[0, 1, 3, 2]))
        nodes.append(helper.make_node("Concat", [f"t{i}"] * 3, [f"c{i}"], f"stack{i}", axis=1))
        nodes.append(helper.make_node("Slice", [f"c{i}", "from", "to", "by"], [f"s{i}"], f"cut{i}"))
        last = f"s{i}"
    nodes.append(helper.make_node("Relu", [last], ["y"], "relu"))
    ends = {"from": [0], "to": [1], "by": [1]}
    path = saved(folder / "moves.onnx", nodes, {k: np.array(v, np.int64) for k, v in ends.items()})
    found = causes(profiled("onnxruntime", source=path))["memory-bound"]
    assert found.share > 0.25
    assert {layer.kind for layer in found.layers} == {"move"}


def test_memory_bound_by_weights_larger_than_the_cache(profiled):
    facts = profiled("onnxruntime", DYNAMIC)
    dense = [x for x in facts.layers.layers if x.kind == "matmul"]
    layers = Comparison(tuple(dense), 0.2, sum(x.ms for x in dense), cache_bytes=900)
    found = causes(CauseFacts(facts.row, layers))["memory-bound"]
    assert "do not fit the last-level cache" in found.text
    small = Comparison(tuple(dense), 0.2, layers.ms, cache_bytes=1001)
    assert "memory-bound" not in causes(CauseFacts(facts.row, small))


def test_little_heavy_arithmetic(profiled, folder):
    """Forty small operators beside one tiny product: int8 cannot help, and the bound says so."""
    nodes, last = [helper.make_node("Flatten", ["x"], ["f"], "flat"), helper.make_node("Gemm", ["f", "w"], ["g"])], "g"
    for i in range(40):
        nodes.append(helper.make_node(("Sin", "Sigmoid")[i % 2], [last], [f"a{i}"], f"a{i}"))
        last = f"a{i}"
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    path = saved(folder / "thin.onnx", nodes, {"w": (SIDE * SIDE, 64)}, out=["batch", 64])
    found = causes(profiled("onnxruntime", DYNAMIC, source=path))["little heavy arithmetic"]
    assert "quantization cannot give more" in found.text


def test_sparsity_without_a_kernel():
    pruned = Step("prune_magnitude", {"sparsity": 0.8})
    facts = CauseFacts(row(Recipe((pruned,)), Target("onnxruntime"), {"prune_magnitude": {"sparsity": 0.8}}))
    found = causes(facts)["sparsity without a kernel"]
    assert "80 % of the pruned layers' weights are zeros, which ONNX Runtime still multiplies" in found.text
    assert found.fix == Recipe((pruned, STATIC))
    assert "sparsity without a kernel" not in causes(CauseFacts(row(Recipe((STATIC,)), Target("onnxruntime"))))


@pytest.mark.parametrize("technique", ["cluster_weights", "quantize_simulated"])
def test_shared_values_without_a_kernel(technique):
    """The file has 1,000 bytes, 500 after gzip."""
    notes = {technique: {"saved_bytes": 700}}
    shared_values = row(Recipe((Step(technique),)), Target("onnxruntime"), notes)
    found = causes(CauseFacts(shared_values))["shared values without a kernel"]
    assert "few different values, which ONNX Runtime multiplies like any others" in found.text
    assert "(0.5 kB compressed, 0.3 kB packed (computed))" in found.text
    assert found.fix == Recipe((Step(technique), STATIC))
    quantized = row(Recipe((Step(technique), STATIC)), Target("onnxruntime"), notes)
    assert "shared values without a kernel" not in causes(CauseFacts(quantized))


def test_threads():
    one = row(Recipe((STATIC,)), Target("onnxruntime"))
    four = row(Recipe((STATIC,)), Target("onnxruntime", threads=4))
    assert "4 threads share 2 cores" in causes(CauseFacts(four, cores=2))["threads beyond cores"].text
    two = row(Recipe((STATIC,)), Target("onnxruntime", threads=2))
    alike = causes(CauseFacts(two, cores=2, fewer_threads=one))["more threads than work"]
    assert "2 threads are not faster than 1 (1.00 ± 0.01 ms with 2, 1.00 ± 0.01 ms with 1)" in alike.text
    assert "CPU time" not in alike.text, "it costs no more"
    late = row(Recipe((STATIC,)), Target("onnxruntime", threads=2), p50_ms=Interval(1.5, 1.4, 1.6), cpu_ms=2.9)
    slower = causes(CauseFacts(late, cores=2, fewer_threads=one))["more threads than work"]
    assert "2 threads are slower than 1 (1.5 ± 0.1 ms with 2" in slower.text
    assert "cost 2.9 instead of 1.00 ms of CPU time" in slower.text
    unsure = row(Recipe((STATIC,)), Target("onnxruntime", threads=2), p50_ms=Interval(0.7, 0.3, 1.1))
    found = causes(CauseFacts(unsure, cores=2, fewer_threads=one))
    assert "more threads than work" not in found, "0.7 against 1.0 ms is not 'no faster'"
    assert "It is not settled whether 2 threads are faster than 1" in found["number of threads not settled"].text
    assert "Use 1" not in found["number of threads not settled"].remedy
    quick = row(Recipe((STATIC,)), Target("onnxruntime", threads=2), p50_ms=Interval(0.6, 0.58, 0.62))
    assert not {"more threads than work", "threads beyond cores"} & set(
        causes(CauseFacts(quick, cores=2, fewer_threads=one))
    )


def test_noise():
    same = row(Recipe((STATIC,)), Target("onnxruntime"), speedup_same_runtime=Interval(1.01, 0.98, 1.04))
    assert "No difference from float32 on the same runtime is confirmed" in causes(CauseFacts(same))["noise"].text
    assert "noise" not in causes(CauseFacts(row(Recipe((STATIC,)), Target("onnxruntime"))))


def test_findings_round_trip_and_the_weightiest_comes_first(profiled):
    found = findings(profiled("onnxruntime", DYNAMIC_CONVOLUTIONS))
    assert [f.share for f in found] == sorted((f.share for f in found), reverse=True)
    assert all(f.text and len(f.layers) <= 5 for f in found)
    whole = row(Recipe(), Target("onnxruntime")).to_json()
    whole["measurement"]["findings"] = [f.to_json() for f in found]
    assert Result.from_json(whole).measurement.findings == found
    del whole["measurement"]["findings"], whole["measurement"]["profile"]
    assert Result.from_json(whole).measurement.findings == ()
    assert len(CAUSES) >= 8
