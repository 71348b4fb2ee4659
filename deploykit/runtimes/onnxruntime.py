"""ONNX Runtime on its CPU, CUDA and other execution providers."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.errors import DatasetError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.layers.kinds import Work
from deploykit.core.model import TensorSpec
from deploykit.core.problem import Effect, Facts, Form, Problem
from deploykit.core.security.memory import MemoryFiles
from deploykit.readers.onnx_last import also_giving, last_input
from deploykit.runtimes._contract import Device, Runtime
from deploykit.runtimes._onnx_probe import write
from deploykit.runtimes._onnx_providers import choose, devices, placed
from deploykit.runtimes._profile import NodeTime, Trait, quick_mean
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Operators by what sort of work they are; others compute.
_KINDS: dict[Work, frozenset[str]] = {
    "conv": frozenset({"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "QLinearConv", "ConvInteger"}),
    "matmul": frozenset(
        {"Gemm", "FusedGemm", "MatMul", "FusedMatMul", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulNBits",
         "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "Attention", "QAttention", "MultiHeadAttention", "LSTM",
         "GRU", "RNN", "DynamicQuantizeLSTM"}
    ),
    "convert": frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"}),
    "move": frozenset(
        {"Reshape", "Transpose", "ReorderInput", "ReorderOutput", "Concat", "Slice", "Gather", "Shape", "Squeeze",
         "Unsqueeze", "Flatten", "Split", "Expand", "Pad", "Identity", "Tile", "DepthToSpace", "SpaceToDepth",
         "MemcpyToHost", "MemcpyFromHost"}
    ),
}  # fmt: skip
#: They take floats and compute in integers.
_INTEGER_INSIDE = frozenset({"DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention", "MatMulIntegerToFloat"})
_INT8 = frozenset({"int8", "uint8"})
#: What the graph optimizer and the quantizer add to the name of a node.
_DECORATION = re.compile(r"^fused |(_token_\d+|_nchwc|_nhwc|_quant|_MatMul(?=_quant)|:\d+)+$")
#: The first operator set that ONNX Runtime promises to run.
_OLDEST_OPERATORS = 7
#: Larger files are not read as bytes to be given one more output: they would be in memory twice.
_MOST_TAPPED_BYTES = 1 << 30
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
_DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool", "string": "string"}


class _OnnxSession(Session):
    def __init__(self, session: Any, delegate: str, tap: str = "") -> None:
        self._session = session
        self.delegate = delegate
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs() if not tap or node.name != tap)
        self._names = [spec.name for spec in self.inputs]
        self._wanted = [spec.name for spec in self.outputs]
        if tap:
            self._wanted.append(tap)
            self.tapped = []

    def arrange(
        self, feeds: Mapping[str, NDArray[Any]], carried: Mapping[str, NDArray[Any]] | None = None
    ) -> list[NDArray[Any]]:
        arrays = super().arrange(feeds, carried)
        return [
            _as_text(spec.name, array) if spec.dtype == "string" else array
            for spec, array in zip(self.inputs, arrays, strict=True)
        ]

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        found: list[NDArray[Any]] = self._session.run(self._wanted, dict(zip(self._names, arrays, strict=True)))
        if self.tapped is not None:
            self.tapped.append(found.pop())
        return found


def _as_text(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Text for ONNX Runtime, whose Python interface would write out bytes as Python does: ``"b'…'"``."""
    import numpy as np

    items = array.ravel().tolist()
    if not any(isinstance(item, bytes) for item in items):
        return array
    found = np.empty(len(items), object)
    for place, item in enumerate(items):
        try:
            found[place] = item.decode("utf-8") if isinstance(item, bytes) else item
        except UnicodeDecodeError:
            raise DatasetError(
                f"Input {name!r}: ONNX Runtime's Python interface takes only text, got bytes that are not UTF-8: "
                f"{item[:16]!r}.",
                remedy="run the SavedModel on TensorFlow, which takes bytes.",
            ) from None
    return found.reshape(array.shape)


class OnnxRuntime(Runtime):
    """Runs ``.onnx`` files."""

    name = "onnxruntime"
    label = "ONNX Runtime"
    help = "ONNX Runtime: one file format, many execution providers."
    note = (
        "Dynamic int8 of convolutions, and on x86 QOperator files with int8 activations, were slower than float32 "
        "(1.31 on AVX512-VNNI). The plan shows what was measured on this CPU."
    )
    extra = "onnx"
    requires = ("onnxruntime",)
    accepts = frozenset({"onnx"})
    native_to = frozenset({"onnx", "caffe", "pmml"})
    profiles = True

    def problems(self, target: Target, effects: frozenset[Effect], facts: Facts) -> Iterator[Problem]:
        """Operator sets it does not vouch for."""
        yield from super().problems(target, effects, facts)
        if target.device != "cpu":
            return
        if 0 < facts.model.operator_set < _OLDEST_OPERATORS:
            yield Problem(
                "note",
                f"operator set {facts.model.operator_set}: ONNX Runtime supports {_OLDEST_OPERATORS} and later",
            )

        if {"float16", "bfloat16"} & effects:
            yield Problem(
                "pointless",
                "ONNX Runtime widens 16-bit weights to float32 when it loads a model: half the file size, no faster",
            )

    def probes(self, folder: Path) -> Mapping[Form, Path]:
        """One convolution in every form."""
        return write(folder)

    def devices(self) -> tuple[Device, ...]:
        """Execution providers: present ones, and absent ones with what they need."""
        return devices(require("onnxruntime", ""))

    def _open(self, path: Path, target: Target) -> Session:
        return self._opened(self._session(path, target), target)

    def _open_memory(self, files: MemoryFiles, target: Target) -> Session:
        return self._opened(self._session(files, target), target)

    def tap(self, path: Path, output: str) -> str:
        """The input of the last node with weights."""
        return last_input(path.read_bytes(), output) if path.stat().st_size <= _MOST_TAPPED_BYTES else ""

    def _open_tapped(self, path: Path | MemoryFiles, target: Target, tap: str) -> Session | None:
        return self._opened(self._session(path, target, tap=tap), target, tap)

    @staticmethod
    def _opened(session: Any, target: Target, tap: str = "") -> Session:
        delegate, left = placed(session, target.device)
        opened = _OnnxSession(session, delegate, tap)
        opened.placed = left
        return opened

    def _session(self, path: Path | MemoryFiles, target: Target, profile: str = "", tap: str = "") -> Any:
        ort = require("onnxruntime", "")
        options = ort.SessionOptions()
        options.intra_op_num_threads = target.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads burn the CPU time of their neighbours and of the measurement.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        providers = choose(ort, options, target.device, target.threads)
        try:
            if isinstance(path, Path) and tap:
                options.add_session_config_entry(_EXTERNAL_FOLDER, str(path.parent))
                return ort.InferenceSession(also_giving(path.read_bytes(), tap), options, providers=providers)
            if not isinstance(path, MemoryFiles):
                return ort.InferenceSession(str(path), options, providers=providers)
            if held := path.beside():  # its external data
                options.add_external_initializers_from_files_in_memory(
                    list(held), list(held.values()), [len(content) for content in held.values()]
                )
            content = also_giving(path.content(), tap) if tap else path.content()
            return ort.InferenceSession(content, options, providers=providers)
        except Exception as error:  # ONNX Runtime raises classes of its own without a public base
            text = " ".join(str(error).split())[:400]
            raise UnsupportedModelError(
                f"ONNX Runtime {ort.__version__} cannot run {Path(path.name).name}: {text}.",
                remedy="convert the model with an older opset or other operators, or choose another runtime.",
            ) from error

    def _profile(
        self, path: Path, target: Target, inputs: Sequence[Sequence[NDArray[Any]]], runs: int
    ) -> Sequence[NodeTime]:
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            session = self._session(path, target, str(Path(folder) / "profile"))
            names = [node.name for node in session.get_inputs()]
            for i in range(runs):
                session.run(None, dict(zip(names, inputs[i % len(inputs)], strict=True)))
            events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        return _node_times(events)


def _node_times(events: Iterable[dict[str, Any]]) -> list[NodeTime]:
    """Nodes in the order of the first run; the first quarter of the runs is left out."""
    runs: list[dict[tuple[str, str], float]] = [{}]
    facts: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Session" and event["name"] == "model_run":  # written when a run has ended
            runs.append({})
        elif event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            details = event["args"]
            key = (event["name"].removesuffix("_kernel_time"), str(details.get("node_index", "")))
            facts.setdefault(key, details)
            runs[-1][key] = runs[-1].get(key, 0.0) + event["dur"]  # the body of a loop runs more than once
    done = runs[:-1]
    kept = done[len(done) // 4 :]
    return [_node_time(key[0], facts[key], quick_mean([run.get(key, 0.0) for run in kept])) for key in facts]


def _node_time(name: str, details: dict[str, Any], microseconds: float) -> NodeTime:
    operator = details["op_name"]
    types = [next(iter(entry)) for entry in details.get("input_type_shape", ()) if entry]
    outputs = [next(iter(entry.values())) for entry in details.get("output_type_shape", ()) if entry]
    integer = (types and types[0] in _INT8) or operator in _INTEGER_INSIDE
    first = _DTYPES.get(types[0], types[0]) if types else ""
    kind: Work = next((k for k, members in _KINDS.items() if operator in members), "compute")
    if kind == "convert" and first in {"int32", "int64", "bool"}:
        kind = "move"  # computes a shape, no matter of quantization
    return NodeTime(
        _plain(name), operator, f"{operator} {first}".strip(), kind, microseconds, "int8" if integer else first,
        tuple(outputs[0]) if outputs else (), _trait(operator, kind, first),
    )  # fmt: skip


def _plain(name: str) -> str:
    while (shorter := _DECORATION.sub("", name)) != name:
        name = shorter
    return name


def _trait(operator: str, kind: Work, activations: str) -> Trait:
    """What may be held against a kernel; whether it is slow here is for the times beside it to say.

    MLAS multiplies uint8 activations with vector instructions; for signed ones it has none on many x86 processors, and
    ONNX Runtime's quantizer warns of it ("bad performance on x64"). Of dynamic convolutions only ConvInteger is left
    after optimization, which takes the weights as the left factor and so meets the same gap. Pooling of integers is
    quick with channels last only (NhwcMaxPool); behind a float convolution it runs in a generic loop.
    """
    if operator == "ConvInteger":
        return "dynamic"
    if operator == "MaxPool" and activations in _INT8:
        return "reference"
    signed = activations == "int8" and operator.startswith("Q") and kind in {"conv", "matmul"}
    return "signed" if signed else ""


def _spec(node: Any) -> TensorSpec:
    inner = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(d if isinstance(d, int) and d > 0 else None for d in node.shape)
    return TensorSpec(node.name, shape, _DTYPES.get(inner, inner))


ADAPTER = OnnxRuntime()
