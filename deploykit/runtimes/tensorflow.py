"""TensorFlow: the serving signature of a SavedModel, as TensorFlow Serving runs it."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import TensorSpec, signature_order
from deploykit.core.security.memory import MemoryFiles
from deploykit.runtimes._contract import Device, Runtime
from deploykit.runtimes._hardware import nvidia, tpu
from deploykit.runtimes._session import Session
from deploykit.runtimes._tensorflow_graph import open_signature
from deploykit.runtimes._writes import written_variables

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = "serving_default"
_UNCOUNTED = "TensorFlow runs operators without a kernel for this device on the CPU, and does not say how many"


class _TensorFlowSession(Session):
    def __init__(self, tf: Any, loaded: Any, name: str, device: str) -> None:
        if SIGNATURE not in loaded.signatures:
            raise UnsupportedModelError(
                f"{name} has no signature {SIGNATURE!r}; it has {', '.join(loaded.signatures) or 'none'}.",
                remedy="save the model with a serving signature (model.export in Keras 3).",
            )
        self._loaded = loaded  # variables live as long as this object
        self._tf = tf
        self._place = f"/{device.upper()}:0".replace("CUDA", "GPU")
        self._function = loaded.signatures[SIGNATURE]
        taken = self._function.structured_input_signature[1]
        given = self._function.structured_outputs
        self._names = sorted(taken, key=signature_order)  # TensorFlow's own order depends on the process
        self._wanted = sorted(given, key=signature_order)
        self._state = [(variable, variable.numpy()) for variable in written_variables(self._function)]
        self.inputs = tuple(_spec(name, taken[name]) for name in self._names)
        self.outputs = tuple(_spec(name, given[name]) for name in self._wanted)
        self.delegate = _delegate(tf, device)

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        constant = self._tf.constant
        for variable, start in self._state:  # each call begins as the file says
            variable.assign(start)
        with self._tf.device(self._place):
            found = self._function(**{n: constant(a) for n, a in zip(self._names, arrays, strict=True)})
        return [found[name].numpy() for name in self._wanted]


class TensorFlow(Runtime):
    """Runs SavedModel folders."""

    name = "tensorflow"
    label = "TensorFlow"
    help = "The SavedModel's serving signature: what TensorFlow Serving runs."
    extra = "tensorflow"
    requires = ("tensorflow",)
    accepts = frozenset({"saved_model"})
    native_to = frozenset({"keras", "h5", "saved_model", "frozen_pb"})
    group = "tensorflow"
    fresh_process = True
    checks_shapes = False

    def devices(self) -> tuple[Device, ...]:
        """The CPU, CUDA GPUs that TensorFlow can see, and TPUs, which are detected and not used."""
        tf = require("tensorflow", self.extra)
        gpus = [tf.config.experimental.get_device_details(g) for g in tf.config.list_physical_devices("GPU")]
        return Device("cpu", available=True, detail="oneDNN"), _cuda(tf, gpus), _tpu()

    def _open(self, path: Path, target: Target) -> Session:
        return self._loaded(str(path), path.name, target)

    def _open_memory(self, files: MemoryFiles, target: Target) -> Session:
        gfile = require("tensorflow", self.extra).io.gfile
        folder = f"ram://deploykit-{secrets.token_hex(8)}"  # TensorFlow's own file system, in this process
        for name, content in files.inside():
            gfile.makedirs(f"{folder}/{name}".rpartition("/")[0])
            with gfile.GFile(f"{folder}/{name}", "wb") as file:
                file.write(bytes(content))
        session = self._loaded(folder, files.name, target)
        weakref.finalize(session, gfile.rmtree, folder).atexit = False
        return session

    def _loaded(self, where: str, name: str, target: Target) -> Session:
        tf = require("tensorflow", self.extra)
        try:  # threads and devices can be set only before TensorFlow's first operation
            if target.device == "cpu":
                tf.config.set_visible_devices([], "GPU")
            tf.config.threading.set_intra_op_parallelism_threads(target.threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError as error:
            if tf.config.threading.get_intra_op_parallelism_threads() != target.threads:
                raise UnsupportedModelError(
                    "TensorFlow's thread count is already set in this process.",
                    remedy="open the model in a new process.",
                ) from error
        try:
            loaded = tf.saved_model.load(where)
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise _unloadable(tf, name, error) from error
        session = _TensorFlowSession(tf, loaded, name, target.device)
        session.placed = _UNCOUNTED if target.device != "cpu" else ""
        return session

    def _open_signature(self, path: Path, target: Target, signature: str) -> Session:
        tf = require("tensorflow", self.extra)
        try:
            return open_signature(tf, path, target, signature, _delegate(tf, target.device))
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise _unloadable(tf, path.name, error) from error


def _delegate(tf: Any, device: str) -> str:
    """What really runs: TensorFlow places operators on the CPU without a word when it cannot open the GPU."""
    return device if device == "cpu" or tf.config.list_logical_devices("GPU") else "cpu"


def _cuda(tf: Any, gpus: Sequence[dict[str, Any]]) -> Device:
    if gpus:
        return Device("cuda", available=True, detail=", ".join(str(g.get("device_name", "a GPU")) for g in gpus))
    found = nvidia()
    if found.reason:
        remedy = "on a machine that has it: pip install 'tensorflow[and-cuda]'"
        return Device("cuda", available=False, detail=found.reason, remedy=remedy)
    built = tf.sysconfig.get_build_info().get("is_cuda_build", False)
    why = "does not find CUDA's libraries" if built else "was built without CUDA"
    return Device(
        "cuda", available=False, detail=f"{found}: TensorFlow {why}", state="not installed",
        remedy="pip install 'tensorflow[and-cuda]'",
    )  # fmt: skip


def _tpu() -> Device:
    found = tpu()
    if found.reason:
        return Device("tpu", available=False, detail=found.reason)
    return Device(
        "tpu", available=False, detail=f"{found} is here; deploykit measures nothing on TPUs, since it could not be "
        "tried on one", state="detected only",
    )  # fmt: skip


def _unloadable(tf: Any, name: str, error: Exception) -> UnsupportedModelError:
    text = " ".join(str(error).split())[:400]
    return UnsupportedModelError(f"TensorFlow {tf.__version__} cannot load {name}: {text}.")


def _spec(name: str, spec: Any) -> TensorSpec:
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    return TensorSpec(name, shape, spec.dtype.name)


ADAPTER = TensorFlow()
