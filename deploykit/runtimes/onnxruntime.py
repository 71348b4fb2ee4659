"""ONNX Runtime on its CPU, CUDA and other execution providers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.runtimes._contract import Device, Runtime, Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Device name → execution provider and what it needs.
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider", ""),
    "cuda": ("CUDAExecutionProvider", "an NVIDIA GPU with its driver, and onnxruntime-gpu instead of onnxruntime"),
    "tensorrt": ("TensorrtExecutionProvider", "an NVIDIA GPU, TensorRT and onnxruntime-gpu"),
    "rocm": ("ROCMExecutionProvider", "an AMD GPU and a ROCm build of ONNX Runtime"),
    "directml": ("DmlExecutionProvider", "Windows with a DirectX 12 GPU and onnxruntime-directml"),
    "coreml": ("CoreMLExecutionProvider", "macOS"),
}
_DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool", "string": "string"}


class _OnnxSession(Session):
    def __init__(self, session: Any, delegate: str) -> None:
        self._session = session
        self.delegate = delegate
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self._names = [spec.name for spec in self.inputs]
        self._wanted = [spec.name for spec in self.outputs]

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        found: Sequence[NDArray[Any]] = self._session.run(self._wanted, dict(zip(self._names, arrays, strict=True)))
        return found


class OnnxRuntime(Runtime):
    """Runs ``.onnx`` files."""

    name = "onnxruntime"
    label = "ONNX Runtime"
    help = "ONNX Runtime: one file format, many execution providers."
    note = "Dynamic int8 of convolutions and s8 QOperator models are slower than float32 on x86."
    requires = ("onnxruntime",)
    accepts = frozenset({"onnx"})
    native_to = frozenset({"onnx"})

    def devices(self) -> tuple[Device, ...]:
        """Execution providers: present ones, and absent ones with what they need."""
        present = set(require("onnxruntime", "").get_available_providers())
        return tuple(
            Device(
                name,
                provider in present,
                provider
                if provider in present
                else f"{provider} is not in this build of ONNX Runtime; it needs {needs}",
            )
            for name, (provider, needs) in _PROVIDERS.items()
        )

    def _open(self, path: Path, target: Target) -> Session:
        ort = require("onnxruntime", "")
        options = ort.SessionOptions()
        options.intra_op_num_threads = target.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads burn the CPU time of their neighbours and of the measurement.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider = _PROVIDERS[target.device][0]
        try:
            session = ort.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # ONNX Runtime raises classes of its own without a public base
            text = " ".join(str(error).split())[:400]
            raise UnsupportedModelError(
                f"ONNX Runtime {ort.__version__} cannot run {path.name}: {text}.",
                remedy="convert the model with an older opset or other operators, or choose another runtime.",
            ) from error
        active = session.get_providers()[0]
        return _OnnxSession(session, next((d for d, (p, _) in _PROVIDERS.items() if p == active), active))


def _spec(node: Any) -> TensorSpec:
    inner = node.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(d if isinstance(d, int) and d > 0 else None for d in node.shape)
    return TensorSpec(node.name, shape, _DTYPES.get(inner, inner))


ADAPTER = OnnxRuntime()
