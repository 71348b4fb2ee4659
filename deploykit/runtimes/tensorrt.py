"""TensorRT for RTX: engines are built without a GPU, and run where there is one."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.errors import DeviceError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec
from deploykit.runtimes import _engines
from deploykit.runtimes._compile import CompileJob
from deploykit.runtimes._contract import Device, Runtime
from deploykit.runtimes._hardware import nvidia
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DEVICE, _FILE = "cuda", "model.engine"
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


class _Gpu:
    """The first GPU through CUDA's driver, which needs no package: memory, copies, one stream.

    Source: CUDA Driver API, https://docs.nvidia.com/cuda/cuda-driver-api/.
    """

    def __init__(self) -> None:
        try:
            self._cuda = ctypes.CDLL(_DRIVER)
        except OSError as error:
            raise DeviceError(f"TensorRT: CUDA's driver cannot be loaded ({error}).") from error
        context, device, stream = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_void_p()
        self._do("cuInit", ctypes.c_uint(0))
        self._do("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._do("cuCtxSetCurrent", context)
        self._do("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(0))
        self._device, self._stream = device, stream

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream.value or 0)

    def allocate(self, size_bytes: int) -> int:
        """Memory on the GPU: its address."""
        place = ctypes.c_uint64()
        self._do("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(max(1, size_bytes)))
        return int(place.value)

    def send(self, place: int, array: NDArray[Any]) -> None:
        """Copy to the GPU, after what the stream does already."""
        self._do("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(place), ctypes.c_void_p(array.ctypes.data),
                 ctypes.c_size_t(array.nbytes), self._stream)  # fmt: skip

    def fetch(self, array: NDArray[Any], place: int) -> None:
        """Copy from the GPU; `wait` says when it has arrived."""
        self._do("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(place),
                 ctypes.c_size_t(array.nbytes), self._stream)  # fmt: skip

    def wait(self) -> None:
        """Until all is done that was asked for."""
        self._do("cuStreamSynchronize", self._stream)

    def free(self, places: Sequence[int]) -> None:
        """Give memory back."""
        for place in places:
            self._cuda.cuMemFree_v2(ctypes.c_uint64(place))
        self._cuda.cuStreamDestroy_v2(self._stream)
        self._cuda.cuDevicePrimaryCtxRelease_v2(self._device)

    def _do(self, name: str, *arguments: Any) -> None:
        if code := getattr(self._cuda, name)(*arguments):
            raise DeviceError(f"TensorRT: CUDA's {name} failed with error {code}.", remedy="see nvidia-smi.")


class _TensorRTSession(Session):
    """Copies inputs to the GPU, runs, and copies outputs back: what a caller waits for."""

    delegate = _DEVICE

    def __init__(self, trt: Any, engine: _engines.Engine) -> None:
        import numpy as np

        self._gpu = _Gpu()
        logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine.file.read_bytes())
        if self._engine is None:
            raise UnsupportedModelError(
                f"TensorRT {trt.__version__} cannot load its engine on {nvidia()}.",
                remedy="TensorRT for RTX runs on GPUs of compute capability 7.5 and later; see the log.",
            )
        self._context = self._engine.create_execution_context()
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self._found = [np.empty([int(d or 0) for d in spec.shape or ()], spec.dtype) for spec in self.outputs]
        self._places = [self._gpu.allocate(_bytes(spec)) for spec in (*self.inputs, *self.outputs)]
        for spec, place in zip((*self.inputs, *self.outputs), self._places, strict=True):
            self._context.set_tensor_address(spec.name, place)
        for spec in self.inputs:
            self._context.set_input_shape(spec.name, tuple(int(d or 0) for d in spec.shape or ()))

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        import numpy as np

        held = [np.ascontiguousarray(array) for array in arrays]
        for array, place in zip(held, self._places, strict=False):
            self._gpu.send(place, array)
        if not self._context.execute_async_v3(self._gpu.stream):
            raise DeviceError("TensorRT could not run the engine.", remedy="see the log.")
        for array, place in zip(self._found, self._places[len(held) :], strict=True):
            self._gpu.fetch(array, place)
        self._gpu.wait()
        return self._found

    def close(self) -> None:
        """Free the memory on the GPU."""
        self._context = self._engine = self._runtime = None
        self._gpu.free(self._places)
        self._places = []


class TensorRT(Runtime):
    """Runs ``.onnx`` files as engines that it builds."""

    name = "tensorrt"
    label = "TensorRT"
    help = "NVIDIA's TensorRT for RTX: engines for its GPUs, built without one."
    note = "Engines are built in float32; what the GPU runs of them is compiled when they are opened."
    extra = "tensorrt"
    requires = ("tensorrt_rtx",)
    accepts = frozenset({"onnx"})
    default = False
    compiles = True
    compiles_anywhere = True
    cpu = False

    def devices(self) -> tuple[Device, ...]:
        """NVIDIA's GPUs."""
        found = nvidia()
        if found.reason:
            remedy = "engines can be built here; run them on a machine with an NVIDIA GPU"
            return (Device(_DEVICE, available=False, detail=found.reason, remedy=remedy),)
        return (Device(_DEVICE, available=True, detail=str(found)),)

    def device_facts(self, device: str) -> dict[str, Any]:
        """The GPU and its driver."""
        del device
        return {"gpu": list(nvidia().names)}

    def _compile_file(self, job: CompileJob) -> None:
        trt, onnx = require("tensorrt_rtx", self.extra), require("onnx", "")
        model = onnx.load(str(job.source))
        inputs = _engines.fixed_shapes(onnx, model.graph, job.batch_size, self.label)
        builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, builder.logger)
        if not parser.parse(model.SerializeToString(), str(job.source)):
            said = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
            raise self._cannot(trt, job, said)
        settings = builder.create_builder_config()
        settings.clear_flag(trt.BuilderFlag.TF32)  # float32 means float32, as on other devices
        built = builder.build_serialized_network(network, settings)
        if built is None:
            raise self._cannot(trt, job, "the builder gave no engine, see the log")
        job.target.mkdir()
        (job.target / _FILE).write_bytes(bytes(built))
        given = [network.get_output(i) for i in range(network.num_outputs)]
        outputs = tuple(TensorSpec(t.name, tuple(int(d) for d in t.shape), trt.nptype(t.dtype).__name__) for t in given)
        if free := [spec.name for spec in outputs if -1 in (spec.shape or ())]:
            raise self._cannot(trt, job, f"the size of output {free[0]!r} depends on the data")
        _engines.keep(job.target, _FILE, inputs, outputs, {"version": trt.__version__})
        job.notes |= {"layers": network.num_layers, "engine_bytes": built.nbytes, "precision": "float32"}

    def _open(self, path: Path, target: Target) -> Session:
        engine = _engines.opened(path, self.label)
        return _TensorRTSession(require("tensorrt_rtx", self.extra), engine)

    @staticmethod
    def _cannot(trt: Any, job: CompileJob, said: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"TensorRT {trt.__version__} cannot build an engine of {job.source.name}: {' '.join(said.split())[:400]}.",
            remedy="convert the model with other operators, or choose another runtime.",
        )


def _bytes(spec: TensorSpec) -> int:
    import numpy as np

    return math.prod(int(d or 0) for d in spec.shape or ()) * np.dtype(spec.dtype).itemsize


ADAPTER = TensorRT()
