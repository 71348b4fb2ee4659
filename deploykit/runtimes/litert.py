"""LiteRT (TensorFlow Lite) on the CPU through XNNPACK."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.core.security.memory import MemoryFiles
from deploykit.runtimes._contract import Device, Runtime
from deploykit.runtimes._session import Session
from deploykit.runtimes._tflite_names import signature_names, written_variables

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Operators that keep a state in tensors of theirs from call to call.
_CARRYING = frozenset(
    {
        "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_RNN", "LSTM", "RNN", "SVDF",
    }
)  # fmt: skip


class _LiteRTSession(Session):
    def __init__(self, opened: Callable[[], Any], source: Path | bytes) -> None:
        self._opened = opened
        self._interpreter = interpreter = opened()
        operators = interpreter._get_ops_details()
        self._carries = any(operator["op_name"] in _CARRYING for operator in operators)
        self._writes = bool(written_variables(operators))
        self._inputs = interpreter.get_input_details()
        self._outputs = interpreter.get_output_details()
        names = signature_names(interpreter, source)
        self.inputs = tuple(_spec(d, name) for d, name in zip(self._inputs, names[0], strict=True))
        self.outputs = tuple(_spec(d, name) for d, name in zip(self._outputs, names[1], strict=True))
        self._shapes: list[tuple[int, ...]] = [tuple(d["shape"]) for d in self._inputs]
        if any(-1 in d["shape_signature"][1:] for d in self._inputs):
            self._shapes = []  # sizes are known when the first input comes; the default ones may not even fit
        else:
            interpreter.allocate_tensors()

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        if self._writes:  # nothing else sets the variables of a file back
            self._interpreter, self._shapes = self._opened(), []
        interpreter = self._interpreter
        shapes = [a.shape for a in arrays]
        if shapes != self._shapes:
            for detail, shape in zip(self._inputs, shapes, strict=True):
                interpreter.resize_tensor_input(detail["index"], shape)
            interpreter.allocate_tensors()
            self._shapes = shapes
        if self._carries:
            interpreter.reset_all_variables()
        for detail, value in zip(self._inputs, arrays, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        return [interpreter.get_tensor(d["index"]) for d in self._outputs]


class LiteRT(Runtime):
    """Runs ``.tflite`` files."""

    name = "litert"
    label = "LiteRT"
    help = "TensorFlow Lite's interpreter with XNNPACK kernels: small, fast int8 on ARM and x86."
    note = "Weights pruned to zero are still multiplied: sparsity saves storage, not time."
    extra = "tflite"
    requires = ("ai_edge_litert",)
    accepts = frozenset({"tflite"})
    native_to = frozenset({"tflite"})

    def problems(self, target: Target, effects: frozenset[Effect], facts: Facts) -> Iterator[Problem]:
        """Half precision, which XNNPACK widens where the processor does not compute in it."""
        yield from super().problems(target, effects, facts)
        if "integer products" in effects:
            yield Problem(
                "impossible",
                "TFLite lacks the products of int8 matrices that Keras writes: use quantize_weights or quantize_static",
            )
        # What it does on processors that compute in float16 was not seen yet: nothing is claimed of them.
        if facts.x86 and "float16" in effects and "avx512_fp16" not in facts.features:
            yield Problem(
                "pointless",
                "float16 weights are converted to float32 on x86 without AVX512-FP16 (seen with LiteRT 2.1 to 2.3): "
                "half the file size, but no faster",
            )

    def devices(self) -> tuple[Device, ...]:
        """The CPU; GPU and NPU delegates are not part of the Python package."""
        return (
            Device("cpu", available=True, detail="XNNPACK"),
            Device(
                "gpu",
                available=False,
                detail="LiteRT's Python package has no GPU delegate for this system",
                remedy="export the file with layout='edge' for phones, whose LiteRT has one",
            ),
        )

    def _open(self, path: Path, target: Target) -> Session:
        return self._session(path, path.name, target, {"model_path": str(path)})

    def _open_memory(self, files: MemoryFiles, target: Target) -> Session:
        content = files.content()
        return self._session(content, files.name, target, {"model_content": content})

    def _session(self, source: Path | bytes, name: str, target: Target, given: dict[str, Any]) -> Session:
        module = require("ai_edge_litert.interpreter", "")
        try:
            return _LiteRTSession(lambda: module.Interpreter(**given, num_threads=target.threads or 1), source)
        except (RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())
            raise UnsupportedModelError(
                f"LiteRT cannot run {name}: {text}.",
                remedy="convert the model with built-in operators only, or choose another runtime.",
            ) from error


def _spec(detail: dict[str, Any], name: str) -> TensorSpec:
    import numpy as np

    dims = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    scale, zero_point = detail["quantization"]
    # A batch of one in the file is how converters write a free batch dimension: the interpreter can resize it.
    shape = tuple(None if d < 0 else int(d) for d in dims)
    dtype = "string" if detail["dtype"] is np.bytes_ else np.dtype(detail["dtype"]).name
    return TensorSpec(name, shape, dtype, float(scale), int(zero_point))


ADAPTER = LiteRT()
