"""NNCF on ONNX graphs: calls of its public functions, and what is needed around them.

NNCF also reads OpenVINO's own format, which no other technique or runtime here takes; its ONNX files run in OpenVINO as
fast, and elsewhere. Two of its choices suit OpenVINO alone: int8 activations where values are negative, and one range a
channel in front of depthwise convolutions. ONNX Runtime runs neither in integers: EfficientNet-Lite0 took four times as
long as in float. With one range a tensor, in uint8, it computes in integers throughout, and is no slower in OpenVINO;
agreement with the float model was the same within what 160 examples resolve.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.extras import require, silenced
from deploykit.core.model import align
from deploykit.loading.onnx import signature
from deploykit.measuring.answers import read_as
from deploykit.metrics._choose import choose
from deploykit.surgery.onnx_session import opened, runner
from deploykit.surgery.quantization import calibration
from deploykit.surgery.quantization.graphs import CONVERSIONS
from deploykit.surgery.quantization.write import FOLLOWERS
from deploykit.transforms._contract import TransformJob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The graph with all operators quantized, which NNCF writes before it turns some back.
_WHOLE = "intermediate_model.onnx"
#: Operators that move numbers, whatever they are.
_MOVES = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
#: What SmoothQuant is switched off with.
_OFF = -1.0


@dataclass(frozen=True)
class Settings:
    """How a graph is quantized.

    Attributes:
        preset: ``"performance"``, ``"mixed"``, or ``"auto"`` for what NNCF takes for the kind of model.
        bias: ``"fast"``, ``"full"`` or ``"none"``.
        transformer: Whether the model is one.
        smooth: SmoothQuant's α for matrix products of a transformer; 0 for none.
        ignored: Names of nodes that stay float.
    """

    preset: str = "auto"
    bias: str = "fast"
    transformer: bool = False
    smooth: float = 0.0
    ignored: tuple[str, ...] = ()

    def arguments(self, count: int) -> dict[str, Any]:
        """For ``nncf.quantize``, without the advanced ones.

        Args:
            count: How many calibration batches there are.
        """
        nncf = tool()
        return {
            "preset": None if self.preset == "auto" else nncf.QuantizationPreset(self.preset),
            "model_type": nncf.ModelType.TRANSFORMER if self.transformer else None,
            "fast_bias_correction": self.bias == "fast",
            "ignored_scope": nncf.IgnoredScope(names=list(self.ignored), validate=False),
            "subset_size": count,
        }

    def advanced(self) -> Any:
        """``nncf.AdvancedQuantizationParameters``."""
        advanced = require("nncf.quantization.advanced_parameters", "nncf")
        return advanced.AdvancedQuantizationParameters(
            disable_bias_correction=self.bias == "none",
            activations_quantization_params=advanced.QuantizationParameters(per_channel=False),
            smooth_quant_alphas=advanced.AdvancedSmoothQuantParameters(matmul=self.smooth or _OFF),
        )


class Examples(Sized, Iterable[tuple[int, calibration.Batch]]):
    """Calibration batches with their numbers, one example each where the model leaves the size free.

    That is what NNCF's documentation shows: its statistics are those of single examples.

    Args:
        model: A prepared ``ModelProto``.
        job: Has the data.
    """

    def __init__(self, model: Any, job: TransformJob) -> None:
        inputs, self.outputs = signature(model, job.source)
        self._batches = calibration.Batches(job.examples, inputs, runner(model), 1, job.notes)
        self._report = job.report

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[int, calibration.Batch]]:
        return enumerate(calibration.counted(self._batches, self._report))


class Judge:
    """deploykit's metric for the labels of the calibration examples.

    Args:
        model: The graph in float.
        job: Has the data.
        examples: What is judged.

    Attributes:
        metric: The one that a sweep takes for these labels.

    Raises:
        DatasetError: There are no labels, or none for single examples; the data were not checked against a model.
    """

    def __init__(self, model: Any, job: TransformJob, examples: Examples) -> None:
        self._contract, labels = job.examples.checked, job.examples.calibration_labels()
        if labels is None or self._contract.sequences or len(examples) != len(labels):
            there = "no labels" if labels is None else "sequences" if self._contract.sequences else "fixed batches"
            raise DatasetError(
                f"Accuracy control judges single calibration examples by their labels, but there are {there}.",
                remedy="set max_drop to 0, or use quantize_mixed, which needs no labels.",
            )
        self._labels = labels
        outputs, _ = self._answers(model, examples)
        self.metric = choose("auto", outputs, labels, self._contract.scored.kind, by_example=True)

    def values(self, model: Any, examples: Iterable[tuple[int, calibration.Batch]]) -> NDArray[np.float64]:
        """The metric of each example, shape (examples,), whatever its direction.

        Args:
            model: A ``ModelProto``.
            examples: Some examples.
        """
        outputs, numbers = self._answers(model, examples)
        return self.metric.values(outputs, self._labels[numbers])

    def _answers(self, model: Any, examples: Iterable[tuple[int, calibration.Batch]]) -> tuple[NDArray[Any], list[int]]:
        """The scored output as metrics take it, and the numbers of the examples."""
        import numpy as np

        session = opened(model, optimized=True)
        names, meanings = [output.name for output in session.get_outputs()], self._contract.outputs
        place = align([o.name for o in meanings], names)[meanings.index(self._contract.scored)]
        found = [(number, session.run([names[place]], batch)[0]) for number, batch in examples]
        outputs = np.concatenate([values for _, values in found])
        return read_as(outputs, self._contract), [number for number, _ in found]


@dataclass(frozen=True)
class Controlled:
    """What accuracy control has made.

    Attributes:
        model: The quantized graph.
        whole: The graph with all operators quantized.
        metric: The metric's name.
        scores: Its mean for the graph in float, all operators quantized, and what was made.
        drop: What the last loses, as a sweep counts it: absolute for accuracies, relative for errors.
    """

    model: Any
    whole: Any
    metric: str
    scores: tuple[float, float, float]
    drop: float


@cache
def tool() -> Any:
    """The package, with nothing that reports over the network, and Python's logging as it was.

    What it prints goes into the log of the task.
    """
    kept = logging.getLoggerClass()
    try:
        with silenced():
            return require("nncf", "nncf")
    finally:
        logging.setLoggerClass(kept)


def quantized(model: Any, settings: Settings, examples: Examples) -> Any:
    """A prepared ``ModelProto`` with pairs of conversions."""
    nncf = tool()
    data = nncf.Dataset(examples, _feeds)
    return nncf.quantize(model, data, **settings.arguments(len(examples)), advanced_parameters=settings.advanced())


def controlled(
    model: Any, settings: Settings, examples: Examples, judge: Judge, max_drop: float, folder: Path
) -> Controlled:
    """The same, with those operators in float that the metric needs.

    Args:
        model: A prepared ``ModelProto``.
        settings: How it is quantized.
        examples: Calibration examples.
        judge: Has the metric.
        max_drop: What may be lost.
        folder: A temporary folder.
    """
    nncf = tool()
    data, onnx = nncf.Dataset(examples, _feeds), require("onnx", "")
    metric = judge.metric
    sign = 1.0 if metric.higher_is_better else -1.0

    def validate(some: Any, items: Iterable[Any]) -> tuple[float, list[float]]:
        values = sign * judge.values(some, items)
        return float(values.mean()), values.tolist()

    made = nncf.quantize_with_accuracy_control(
        model, data, data, validate,
        max_drop=max_drop,
        drop_type=nncf.DropType.RELATIVE if metric.relative else nncf.DropType.ABSOLUTE,
        **settings.arguments(len(examples)),
        advanced_quantization_parameters=settings.advanced(),
        # One process a core: threads of its own would only get in the way.
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            num_ranking_workers=1, intermediate_model_dir=str(folder)
        ),
    )  # fmt: skip
    whole = onnx.load(str(folder / _WHOLE))
    scores = [float(judge.values(some, examples).mean()) for some in (model, whole, made)]
    lost = sign * (scores[0] - scores[2])
    drop = lost / abs(scores[0]) if metric.relative and scores[0] else lost
    return Controlled(made, whole, metric.name, (scores[0], scores[1], scores[2]), drop)


def _feeds(example: tuple[int, calibration.Batch]) -> calibration.Batch:
    return example[1]


def operators(graph: Any) -> list[str]:
    """Names of the nodes that read dequantized numbers, in order."""
    makers = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return [n.name for n in graph.node if n.op_type != "QuantizeLinear" and not makers.isdisjoint(n.input)]


def round_biases(graph: Any) -> None:
    """Store the biases of Gemms in int32, in steps of what they are added to, which is finer than float products are.

    NNCF leaves them in float. Where no conversion follows a Gemm, ONNX Runtime then converts its weights back in each
    run: a third of the time of EfficientNet-Lite0, for the last layer.

    Args:
        graph: A ``GraphProto`` that NNCF has quantized, changed in place.
    """
    import numpy as np

    onnx, tensors = require("onnx", ""), require("onnx.numpy_helper", "")
    stored = {i.name: i for i in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}

    def source(name: str) -> Any:
        while (maker := makers.get(name)) is not None and maker.op_type in _MOVES:
            name = maker.input[0]
        return maker if maker is not None and maker.op_type == "DequantizeLinear" else None

    nodes = []
    for node in graph.node:
        left, right = (source(name) for name in node.input[:2]) if node.op_type == "Gemm" else (None, None)
        if left is not None and right is not None and right.input[0] in stored and node.input[2:3]:
            turned = {a.name: a.i for a in node.attribute}.get("transB", 0)
            axis = {a.name: a.i for a in right.attribute}.get("axis", 1) % 2
            steps = tensors.to_array(stored[left.input[1]]) * tensors.to_array(stored[right.input[1]])
            values = tensors.to_array(stored[node.input[2]]) if node.input[2] in stored else np.zeros(0)
            alike = values.size and values.ndim == 1 and (steps.size == 1 or axis != turned)
            if alike and (np.abs(values / steps) < np.iinfo(np.int32).max).all():
                name, steps = f"{node.name}_bias", np.broadcast_to(steps, values.shape).astype(np.float32)
                whole = np.rint(values / steps).astype(np.int32)
                parts = {f"{name}_quantized": whole, f"{name}_scale": steps, f"{name}_zero_point": whole * 0}
                graph.initializer.extend(tensors.from_array(np.ascontiguousarray(v), k) for k, v in parts.items())
                nodes.append(onnx.helper.make_node("DequantizeLinear", list(parts), [name], f"{name}_node", axis=0))
                node.input[2] = name
        nodes.append(node)
    graph.ClearField("node")
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for tensor in [i for i in graph.initializer if i.name not in used]:
        graph.initializer.remove(tensor)


def counts(graph: Any) -> dict[str, dict[str, int]]:
    """Operators by type, as `write.operators` gives them: ``{"quantized": …, "float": …}``.

    In NNCF's graphs the operators behind an integer one need not be followed by a conversion.
    """
    integer, found = set(operators(graph)), {"quantized": Counter[str](), "float": Counter[str]()}
    melted = {name for node in graph.node if node.name in integer for name in node.output}
    for node in graph.node:
        if node.op_type in CONVERSIONS or node.op_type == "Constant":
            continue
        follows = node.op_type in FOLLOWERS and node.input[0] in melted
        melted.update(node.output if follows else ())
        found["quantized" if follows or node.name in integer else "float"][node.op_type] += 1
    return {kind: dict(sorted(types.items())) for kind, types in found.items() if types}
