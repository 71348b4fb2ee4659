"""OpenVINO on CPU, GPU and NPU."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require, silenced
from deploykit.core.layers.kinds import Work
from deploykit.core.model import TensorSpec
from deploykit.core.problem import Effect, Facts, Form, Problem
from deploykit.core.security.memory import MemoryFiles
from deploykit.readers.onnx_last import last_input
from deploykit.runtimes._contract import Device, Runtime
from deploykit.runtimes._onnx_probe import write
from deploykit.runtimes._profile import NodeTime, quick_mean
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEEDS = {
    "GPU": ("an Intel GPU with its OpenCL driver", "install intel-opencl-icd where there is an Intel GPU"),
    "NPU": ("an Intel NPU with its driver", "install intel-driver-compiler-npu where there is an Intel NPU"),
}
#: OpenVINO's own choice among the devices it finds.
_AUTO = "auto"
_DTYPES = {"f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "boolean": "bool"}
_PRECISIONS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "i8": "int8", "u8": "int8"}
_KINDS: dict[Work, frozenset[str]] = {
    "conv": frozenset({"Convolution", "GroupConvolution", "Deconvolution"}),
    "matmul": frozenset(
        {"FullyConnected", "FullyConnectedQuantized", "FullyConnectedQuantizedLegacy", "MatMul", "RNNCell", "RNNSeq",
         "ScaledAttn", "MHA"}
    ),
    "convert": frozenset({"FakeQuantize", "Convert", "Quantize"}),
    "move": frozenset(
        {"Reorder", "Reshape", "Transpose", "Concatenation", "Concat", "Split", "StridedSlice", "Gather", "Pad",
         "Broadcast", "ShapeOf", "Tile", "Input", "Output"}
    ),
}  # fmt: skip
#: What a file's metadata call the type to compute in, and how OpenVINO calls types.
COMPUTE = "deploykit_compute"
_HINTS = {"bfloat16": "bf16"}
#: CPU features with arithmetic in bfloat16.
_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
#: Before the readable part of a message about operators it lacks.
_SUMMARY = "Summary:"
#: What OpenVINO's passes add to the name of a node.
_DECORATION = re.compile(r"(/WithoutBiases|/DequantizationMultiply|/Fused\w*|_quant|_MatMul(?=_quant)|:\d+)+$")


class _OpenVINOSession(Session):
    def __init__(self, compiled: Any, delegate: str, *, tapped: bool = False) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._tensor = _openvino().Tensor
        self.delegate = delegate
        self.inputs = tuple(_spec(port) for port in compiled.inputs)
        given = len(compiled.outputs) - tapped  # what is tapped comes last
        self.outputs = tuple(_spec(port) for port in compiled.outputs[:given])
        self.tapped = [] if tapped else None

    def arrange(
        self, feeds: Mapping[str, NDArray[Any]], carried: Mapping[str, NDArray[Any]] | None = None
    ) -> list[NDArray[Any]]:
        # It shares no memory that cannot be written to, such as that of a request.
        return [a if a.flags.writeable else a.copy() for a in super().arrange(feeds, carried)]

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        request = self._request
        # The arrays are shared, not copied; `infer` with a list would spend 0.1 ms in Python on checking it.
        for i, value in enumerate(arrays):
            request.set_input_tensor(i, self._tensor(value, shared_memory=True))
        request.start_async()
        request.wait()
        if self.tapped is not None:
            self.tapped.append(request.get_output_tensor(len(self.outputs)).data.copy())
        return [request.get_output_tensor(i).data for i in range(len(self.outputs))]


class OpenVINO(Runtime):
    """Runs ``.onnx`` files."""

    name = "openvino"
    label = "OpenVINO"
    help = "Intel's runtime: integer kernels for x86 (VNNI, AMX), Intel GPUs and NPUs."
    note = (
        "Whether int8 activations run in integers or are converted back to float32 depends on the CPU and the version; "
        "version 2026.4 converts dynamic ones back. The plan shows what was measured on this CPU."
    )
    extra = "openvino"
    requires = ("openvino",)
    accepts = frozenset({"onnx"})
    profiles = True
    # It runs the same files as ONNX Runtime and would double the time of every sweep on them: name it as a target.
    default = False

    def problems(self, target: Target, effects: frozenset[Effect], facts: Facts) -> Iterator[Problem]:
        """Operators it does not read."""
        yield from super().problems(target, effects, facts)
        if "qoperator" in effects:
            yield Problem(
                "note",
                "OpenVINO reads the integer operators of ONNX, not those of ONNX Runtime (QGemm, QLinearSoftmax, …): "
                "form=qdq always works",
            )
        if "int16" in effects:
            yield Problem(
                "impossible",
                "OpenVINO computes something else from files with 16-bit activations (2026.4): use 8 bits, or another "
                "runtime",
            )
        if target.device == "cpu" and "float16" in effects:
            yield Problem("pointless", "OpenVINO computes in float32 here: float16 halves the file, but is no faster")
        if target.device == "cpu" and "bfloat16" in effects and facts.features and not _BFLOAT16 & {*facts.features}:
            yield Problem(
                "pointless", "this CPU has no arithmetic in bfloat16 (AVX512-BF16, AMX): it is no faster here"
            )

    def probes(self, folder: Path) -> Mapping[Form, Path]:
        """One convolution in every form."""
        return write(folder)

    def devices(self) -> tuple[Device, ...]:
        """The CPU, the GPU and NPU plugins with what they need, and OpenVINO's own choice among them."""
        core = _core()
        names = core.available_devices
        present = {name.partition(".")[0] for name in names}
        cpu = core.get_property("CPU", "FULL_DEVICE_NAME") if "CPU" in present else "no CPU plugin in this build"
        others = []
        for name, (needs, remedy) in _NEEDS.items():
            there = name in present
            detail = core.get_property(name, "FULL_DEVICE_NAME") if there else f"no {name} answers; it needs {needs}"
            others.append(Device(name.lower(), there, detail, remedy="" if there else remedy))
        choice = f"OpenVINO's choice among {', '.join(names)}; each session says which it took"
        return (Device("cpu", "CPU" in present, cpu), Device(_AUTO, bool(names), choice), *others)

    def _open(self, path: Path, target: Target) -> Session:
        return self._opened(self._compile(path, target), target.device)

    def _open_memory(self, files: MemoryFiles, target: Target) -> Session:
        if held := [name for name in files.names if name != files.name]:
            raise UnsupportedModelError(
                f"OpenVINO reads external data from disks alone: it cannot run {files.shown}, which is encrypted and "
                f"has {held[0]}.",
                remedy="save the model as one file, or choose ONNX Runtime.",
            )
        return self._opened(self._compile(files, target), target.device)

    def tap(self, path: Path, output: str) -> str:
        """The input of the last node with weights."""
        return last_input(path.read_bytes(), output)

    def _open_tapped(self, path: Path | MemoryFiles, target: Target, tap: str) -> Session | None:
        return self._opened(self._compile(path, target, tap=tap), target.device, tapped=True)

    @staticmethod
    def _opened(compiled: Any, device: str, *, tapped: bool = False) -> Session:
        used = [name.strip("()") for name in compiled.get_property("EXECUTION_DEVICES")]
        delegate = _AUTO if device == _AUTO else used[0].partition(".")[0].lower()
        session = _OpenVINOSession(compiled, delegate, tapped=tapped)
        session.placed = f"OpenVINO took {', '.join(used)}" if device == _AUTO else ""
        return session

    def _compile(self, path: Path | MemoryFiles, target: Target, *, profile: bool = False, tap: str = "") -> Any:
        openvino = _openvino()
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": profile}
        # bfloat16 is the default where the CPU has it: faster, and no float32 baseline. Files say if they want it. The
        # process is pinned where it is measured.
        cpu: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": target.threads,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            core = _core()
            model = core.read_model(path.content() if isinstance(path, MemoryFiles) else str(path))
            if tap:
                model.add_outputs(tap)
            if model.has_rt_info(["framework", COMPUTE]):
                kind = str(model.get_rt_info(["framework", COMPUTE]).value)
                cpu["INFERENCE_PRECISION_HINT"] = _HINTS.get(kind, cpu["INFERENCE_PRECISION_HINT"])
            settings |= _for_device(target.device, cpu)
            return core.compile_model(model, target.device.upper(), settings)
        except Exception as error:  # OpenVINO raises RuntimeError, and classes of its own for operators it lacks
            text = " ".join(str(error).split())
            said = text[text.find(_SUMMARY) + len(_SUMMARY) :] if _SUMMARY in text else text[-400:]
            version = openvino.__version__.partition("-")[0]
            raise UnsupportedModelError(
                f"OpenVINO {version} cannot run {Path(path.name).name}: {said.strip(' -.')}.",
                remedy="convert the model with an older opset or other operators, quantize it to pairs of "
                "QuantizeLinear and DequantizeLinear rather than integer operators, or choose another runtime.",
            ) from error

    def _profile(
        self, path: Path, target: Target, inputs: Sequence[Sequence[NDArray[Any]]], runs: int
    ) -> Sequence[NodeTime]:
        compiled = self._compile(path, target, profile=True)
        session = _OpenVINOSession(compiled, target.device)
        times: dict[str, list[float]] = defaultdict(list)
        for i in range(runs):
            session.run(inputs[i % len(inputs)])
            if i >= runs // 4:
                for node in session._request.get_profiling_info():
                    if node.status == node.Status.EXECUTED:
                        times[node.node_name].append(node.real_time.total_seconds() * 1e6)
        found = (_node_time(node, times) for node in compiled.get_runtime_model().get_ordered_ops())
        return [node for node in found if node is not None]


def _for_device(device: str, cpu: dict[str, Any]) -> dict[str, Any]:
    """Settings besides those that all devices have."""
    if device == "cpu":
        return {"NUM_STREAMS": 1, **cpu}
    if device == _AUTO:
        # It would run on the CPU until the other device is ready: two devices in one measurement.
        return {"ENABLE_STARTUP_FALLBACK": False, "DEVICE_PROPERTIES": {"CPU": {"NUM_STREAMS": 1, **cpu}}}
    return {"NUM_STREAMS": 1}


@cache
def _openvino() -> Any:
    with silenced():
        return require("openvino", ADAPTER.extra)


@cache
def _core() -> Any:
    return _openvino().Core()


def _spec(port: Any) -> TensorSpec:
    names = sorted(port.get_names())
    shape = tuple(None if d.is_dynamic else int(d.get_length()) for d in port.get_partial_shape())
    kind = port.get_element_type()
    name = names[0] if names else port.get_node().get_friendly_name()
    return TensorSpec(name, shape, _DTYPES.get(kind.get_type_name(), kind.to_dtype().name))


def _node_time(node: Any, times: dict[str, list[float]]) -> NodeTime | None:
    taken = times.get(node.get_friendly_name())
    if not taken:
        return None
    facts = {key: value.astype(str) for key, value in node.get_rt_info().items()}
    operator, kernel = facts["layerType"], facts["primitiveType"]
    precision = kernel.rpartition("_")[2].lower()  # "runtimePrecision" is that of the input, whatever the kernel does
    original = facts["originalLayersNames"].partition(",")[0] or node.get_friendly_name()
    shape = node.output(0).get_partial_shape() if node.outputs() else None
    return NodeTime(
        _DECORATION.sub("", original), operator, kernel, _kind(operator, facts), quick_mean(taken),
        _PRECISIONS.get(precision, precision),
        tuple(int(d.get_length()) for d in shape) if shape is not None and shape.is_static else (),
        "reference" if kernel.startswith("ref") or "_ref" in kernel else "",
    )  # fmt: skip


def _kind(operator: str, facts: dict[str, str]) -> Work:
    changed = facts["outputPrecisions"].partition(",")[0].lower() != facts["runtimePrecision"].lower()
    if operator == "Reorder" and changed:
        return "convert"
    return next((kind for kind, members in _KINDS.items() if operator in members), "compute")


ADAPTER = OpenVINO()
