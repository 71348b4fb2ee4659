"""What a runtime is.

A runtime opens a model file in a child process and runs it. Sessions are used by one thread at a time; they own
their buffers, and the arrays `Session.run` returns are valid until the next call. Nothing falls back silently: when
the device that was asked for is not the one that runs, opening fails with `DeviceError`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.adapter import Adapter
from deploykit.core.candidate import Target
from deploykit.core.errors import DatasetError, DeviceError, UnsupportedModelError, unknown_name
from deploykit.core.model import TensorSpec, align
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.core.registry import Registry
from deploykit.core.serial import Plain
from deploykit.runtimes._profile import NodeTime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Device(Plain):
    """A place to run on.

    Attributes:
        name: As in ``Target.device``: ``"cpu"``, ``"cuda"``, …
        available: Whether it can be used on this machine now.
        detail: What it is, or why it cannot be used.
    """

    name: str
    available: bool
    detail: str = ""


class Session:
    """An opened model. Subclasses fill `_run` (and `close` when they hold more than memory).

    Attributes:
        inputs: What the file takes, in its own order and with its own names.
        outputs: What it gives.
        delegate: The device or provider that really runs it.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    delegate: str = "cpu"

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Run once: arrays in the order of ``inputs``, results in the order of ``outputs``."""
        raise NotImplementedError

    def run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Run once on arrays that `arrange` has made: the call whose latency is measured."""
        return self._run(arrays)

    def arrange(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Arrays for `run` from preprocessed examples by the model's input names.

        Names are matched to the file's; floating-point examples are quantized when the file takes integers.

        Raises:
            DatasetError: An input is missing, or its shape or dtype cannot be used.
        """
        if len(feeds) != len(self.inputs):
            raise DatasetError(
                f"the model takes {len(self.inputs)} input(s): {'; '.join(map(str, self.inputs))}; got "
                f"{len(feeds)}: {', '.join(feeds)}."
            )
        names = list(feeds)
        order = align([spec.name for spec in self.inputs], names)
        return [_fit(spec, feeds[names[j]]) for spec, j in zip(self.inputs, order, strict=True)]

    def predict(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by the file's output names, for any number of examples; quantized outputs as real numbers."""
        import numpy as np

        arrays = self.arrange(feeds)
        count = len(arrays[0])
        fixed = next((s.batch_size for s in self.inputs if s.batch_size), None)
        size = fixed or count or 1
        if count == size:
            whole = zip(self.outputs, self._run(arrays), strict=True)
            return {spec.name: _real(spec, np.array(value)) for spec, value in whole}
        parts: list[list[NDArray[Any]]] = [[] for _ in self.outputs]
        for start in range(0, count, size):
            chunk = [a[start : start + size] for a in arrays]
            given = len(chunk[0])
            if given < size:  # the last batch of a model with a fixed batch size
                chunk = [np.concatenate([c, np.repeat(c[-1:], size - given, axis=0)]) for c in chunk]
            for part, value in zip(parts, self._run(chunk), strict=True):
                part.append(np.array(value[:given] if value.ndim and len(value) == size else value))
        return {
            spec.name: _real(spec, np.concatenate(part) if len(part) > 1 else part[0])
            for spec, part in zip(self.outputs, parts, strict=True)
        }

    def close(self) -> None:
        """Free what it holds."""


class Runtime(Adapter):
    """Opens models of the formats it accepts.

    Attributes:
        accepts: Names of formats.
        native_to: Formats of models that are at home on this runtime: there it is the baseline.
        fresh_process: Its threads can be set only once in a process: each session needs one of its own.
        note: What users should know of this runtime, for example where its int8 kernels are slow.
        default: Spaces that name no target include it.
        profiles: It can tell the time of each node (`profile`).
        sparse_kernels: It multiplies fewer numbers when weights are zero.
    """

    accepts: ClassVar[frozenset[str]]
    native_to: ClassVar[frozenset[str]] = frozenset()
    fresh_process: ClassVar[bool] = False
    note: ClassVar[str] = ""
    default: ClassVar[bool] = True
    profiles: ClassVar[bool] = False
    sparse_kernels: ClassVar[bool] = False

    def problems(self, target: Target, effects: frozenset[Effect], facts: Facts) -> Iterator[Problem]:
        """What is known to be wrong with running an artifact here, before there is one.

        Args:
            target: Where it would run.
            effects: What techniques would have done to it.
            facts: The model and this machine.
        """
        size = facts.batch_size
        if size and target.batch_size not in (1, size):
            yield Problem("impossible", f"the model has a fixed batch size of {size}, not {target.batch_size}")
        if target.device != "cpu":
            return
        if target.threads > facts.cores:
            cores = f"{facts.cores} core{'s' if facts.cores != 1 else ''}"
            yield Problem("pointless", f"{target.threads} threads on {cores} only wait for each other")
        if "sparse" in effects and not self.sparse_kernels:
            yield Problem(
                "pointless", f"{self.label} multiplies zeros like other weights: pruning saves storage, not time"
            )
        if "int8" in effects and facts.lacks_dot_products:
            yield Problem(
                "pointless", "this CPU has no 8-bit dot products (VNNI): int8 is hardly faster than float32 here"
            )
        if "int8" in effects and facts.x86 and facts.lacks_dot_products and not {"narrow"} & effects:
            yield Problem("note", "8-bit products can overflow on this CPU (no VNNI): reduce_range=true avoids it")

    @abstractmethod
    def devices(self) -> tuple[Device, ...]:
        """All devices this runtime knows, absent ones with the reason. Called in a child process."""

    @abstractmethod
    def _open(self, path: Path, target: Target) -> Session:
        """Open a file whose format is accepted. Called in a child process."""

    def open(self, path: Path, target: Target, format_name: str) -> Session:
        """Open a model file.

        Raises:
            UnsupportedModelError: The format is not accepted, or the runtime lacks an operator.
            DeviceError: The device is absent, or another one would run.
            MissingExtraError: The runtime is not installed.
        """
        self.check_installed()
        if format_name not in self.accepts:
            raise UnsupportedModelError(
                f"{self.label} runs {', '.join(sorted(self.accepts))}, not {format_name}.",
                remedy="convert the model first.",
            )
        devices = {d.name: d for d in self.devices()}
        if target.device not in devices:
            raise unknown_name(f"device for {self.label}", target.device, devices)
        if not devices[target.device].available:
            raise DeviceError(f"{self.label}: device {target.device!r}: {devices[target.device].detail}.")
        session = self._open(path, target)
        if session.delegate != target.device:
            session.close()
            raise DeviceError(
                f"{self.label}: asked for {target.device!r}, ran on {session.delegate!r}.",
                remedy=f"install the driver of {target.device!r}, or choose {session.delegate!r}.",
            )
        return session

    def profile(
        self, path: Path, target: Target, inputs: Sequence[Sequence[NDArray[Any]]], runs: int
    ) -> tuple[NodeTime, ...]:
        """Time of each node in one inference, in the order of execution, in a session of its own.

        Args:
            path: A file that `open` has opened.
            target: Where it runs.
            inputs: Arrays as `Session.run` takes them, to cycle through.
            runs: Inferences; the first quarter warms up and is left out.

        Raises:
            UnsupportedModelError: This runtime cannot tell.
        """
        if not self.profiles:
            raise UnsupportedModelError(f"{self.label} does not tell the time of single nodes.")
        return tuple(self._profile(path, target, inputs, runs))

    def _profile(
        self, path: Path, target: Target, inputs: Sequence[Sequence[NDArray[Any]]], runs: int
    ) -> Sequence[NodeTime]:
        """Fill this where ``profiles`` is True. Called in a child process."""
        raise NotImplementedError


def _fit(spec: TensorSpec, value: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if spec.dtype == "string":
        return np.asarray(value, object)
    wanted = np.dtype(spec.dtype)
    if spec.scale and value.dtype != wanted:  # real numbers, whole ones too: bytes as they are would wrap around
        info = np.iinfo(wanted)
        value = np.clip(np.rint(value.astype(np.float32) / spec.scale) + spec.zero_point, info.min, info.max)
    elif value.dtype != wanted and not _holds(wanted, value):
        raise DatasetError(
            f"input {spec.name!r}: the model takes {spec.dtype}, got {value.dtype}.", remedy="convert the data."
        )
    given = value.shape[1:]
    if spec.example_shape is not None and (
        len(given) != len(spec.example_shape)
        or any(w not in (None, g) for w, g in zip(spec.example_shape, given, strict=True))
    ):
        raise DatasetError(f"input {spec.name!r}: the model takes examples of shape {spec.example_shape}, got {given}.")
    return np.ascontiguousarray(value, wanted)


def _holds(wanted: np.dtype[Any], value: NDArray[Any]) -> bool:
    """Whether a dtype can hold the values: rounding of real numbers is allowed, whole numbers must fit."""
    import numpy as np

    if not np.can_cast(value.dtype, wanted, "same_kind"):
        return False
    if wanted.kind not in "iu" or np.can_cast(value.dtype, wanted, "safe") or not value.size:
        return True
    info = np.iinfo(wanted)
    return bool(value.min() >= info.min and value.max() <= info.max)


def _real(spec: TensorSpec, value: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if not spec.scale:
        return value
    return ((value.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale)).astype(np.float32)


RUNTIMES: Registry[Runtime] = Registry("deploykit.runtimes", "runtime")
