"""What a runtime is.

A runtime opens a model file in a child process and runs it. Sessions are used by one thread at a time; they own
their buffers, and the arrays `Session.run` returns are valid until the next call. Nothing falls back silently: when
the device that was asked for is not the one that runs, opening fails with `DeviceError`.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from deploykit.core.adapter import Adapter
from deploykit.core.calling import Calling
from deploykit.core.candidate import Target
from deploykit.core.contract import Contract, OutputMeaning
from deploykit.core.errors import CandidateError, DeviceError, UnsupportedModelError, unknown_name
from deploykit.core.model import TensorSpec, align
from deploykit.core.problem import Effect, Facts, Form, Problem, Severity, slow_kernels
from deploykit.core.registry import Registry
from deploykit.core.serial import Plain
from deploykit.data.feeding import Feeding, forms
from deploykit.runtimes._compile import COMPILED, CompileJob
from deploykit.runtimes._profile import NodeTime

if TYPE_CHECKING:
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
        contract: What the model's inputs and outputs mean; None: examples are fed by the file's own names.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    delegate: str = "cpu"
    contract: Contract | None = None

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Run once: arrays in the order of ``inputs``, results in the order of ``outputs``."""
        raise NotImplementedError

    def as_it_is(self, *, any_shape: bool) -> Self:
        """Take and give the file's own numbers, quantized or not.

        Args:
            any_shape: Leave examples of other shapes than the declared ones to the runtime.
        """
        self.inputs, self.outputs = (
            tuple(replace(s, scale=0.0, zero_point=0, shape=None if any_shape else s.shape) for s in specs)
            for specs in (self.inputs, self.outputs)
        )
        return self

    def run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Run once on arrays that `arrange` has made: the call whose latency is measured."""
        return self._run(arrays)

    def hasten(self) -> None:
        """Get ready for many calls with inputs of one form, which may take seconds; most have nothing to do."""

    def follow(self, contract: Contract | None) -> Self:
        """Take examples and give outputs by the names of a contract, with its constants, state and batch axes.

        Raises:
            UnsupportedModelError: The file's tensors cannot be distinguished, or one is missing.
        """
        self.contract = contract
        for found in ("feeding", "_named_outputs"):
            self.__dict__.pop(found, None)
        if contract is not None:
            _ = self.feeding, self._named_outputs
        return self

    @cached_property
    def feeding(self) -> Feeding:
        """Where examples go in the file."""
        return Feeding.of(self.contract, self.inputs)

    @cached_property
    def _named_outputs(self) -> Sequence[tuple[int, TensorSpec, OutputMeaning]]:
        """The contract's outputs in its order: place in the file, what the file gives."""
        assert self.contract is not None
        wanted = self.contract.outputs
        found = align([o.name for o in wanted], [s.name for s in self.outputs], (forms(wanted), forms(self.outputs)))
        if missing := [o.name for o, place in zip(wanted, found, strict=True) if place < 0]:
            raise UnsupportedModelError(
                f"The file has no output {', '.join(missing)}; it has {', '.join(s.name for s in self.outputs)}.",
                remedy="please report this: a conversion has dropped an output.",
            )
        return [(place, self.outputs[place], o) for o, place in zip(wanted, found, strict=True)]

    @property
    def batch_size(self) -> int | None:
        """The fixed batch size, None when it is free; constants have none."""
        return self.feeding.batch_size

    @property
    def given(self) -> Sequence[tuple[TensorSpec, OutputMeaning]]:
        """What the file gives for each output of the contract, in the contract's order."""
        return [(spec, meaning) for _, spec, meaning in self._named_outputs]

    def arrange(
        self, feeds: Mapping[str, NDArray[Any]], carried: Mapping[str, NDArray[Any]] | None = None
    ) -> list[NDArray[Any]]:
        """Arrays for `run` from preprocessed examples by the model's input names, batch first.

        Names are matched to the file's; real numbers are quantized when the file takes integers. Constants and fresh
        state are added.

        Args:
            feeds: Input name → examples.
            carried: Input name → state as the file gave it.

        Raises:
            DatasetError: An input is missing, or its shape or dtype cannot be used.
        """
        return self.feeding.arrange(feeds, carried)

    def predict(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name, for any number of examples, batch first; quantized outputs as real numbers.

        Names are the contract's, or the file's without one. Examples that are sequences are run step by step, each
        from fresh state; their outputs have the steps on axis 1.
        """
        import numpy as np

        count = len(next(iter(feeds.values()), ()))
        size = self.batch_size or count or 1
        if count == size:
            return self._predict_batch(feeds)
        parts: dict[str, list[NDArray[Any]]] = {}
        for start in range(0, count or 1, size):
            chunk = {name: value[start : start + size] for name, value in feeds.items()}
            given = len(next(iter(chunk.values()), ()))
            if given < size:  # the last batch of a model with a fixed batch size
                chunk = {n: np.concatenate([c, np.repeat(c[-1:], size - given, axis=0)]) for n, c in chunk.items()}
            for name, value in self._predict_batch(chunk).items():
                whole = value[:given] if value.ndim and len(value) == size else value
                parts.setdefault(name, []).append(whole)
        return {name: np.concatenate(part) if len(part) > 1 else part[0] for name, part in parts.items()}

    def _predict_batch(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        import numpy as np

        contract = self.contract
        if contract is None:
            found = zip(self.outputs, self._run(self.arrange(feeds)), strict=True)
            return {spec.name: _real(spec, np.array(value)) for spec, value in found}
        count = len(next(iter(feeds.values()), ()))
        if not contract.sequences:
            return self._named(self._run(self.arrange(feeds)), count)
        steps: list[dict[str, NDArray[Any]]] = []
        carried: dict[str, NDArray[Any]] = {}
        stepped = {n for n, v in feeds.items() if self.feeding.is_stepped(n, v)}
        for step in range(len(next(iter(feeds[n][0] for n in stepped)))):
            now = {n: v[:, step] if n in stepped else v for n, v in feeds.items()}
            values = self._run(self.arrange(now, carried))
            steps.append(self._named(values, count))
            by_name = {meaning.name: np.array(values[place]) for place, _, meaning in self._named_outputs}
            carried = {fed: by_name[made] for made, fed in contract.state.items()}
        return {name: np.stack([s[name] for s in steps], axis=1) for name in steps[0]}

    def _named(self, values: Sequence[NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
        """Outputs by the contract's names, batch first; each of ``count`` examples gets what is the same for all."""
        import numpy as np

        found = {}
        for place, spec, meaning in self._named_outputs:
            value = _real(spec, np.array(values[place]))
            if meaning.fixed:
                found[meaning.name] = np.repeat(value[None], count, axis=0)
                continue
            found[meaning.name] = np.moveaxis(value, meaning.batch_axis, 0) if meaning.batch_axis else value
        return found

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
        checks_shapes: It refuses examples of other shapes than a file declares, also where these would do.
        compiles: It builds what it runs (an engine, a library) for one device of one machine, see `_compile_file`. A
            sweep does so in a step of its own, apart from latency; elsewhere it compiles what it opens.
    """

    accepts: ClassVar[frozenset[str]]
    native_to: ClassVar[frozenset[str]] = frozenset()
    fresh_process: ClassVar[bool] = False
    note: ClassVar[str] = ""
    default: ClassVar[bool] = True
    profiles: ClassVar[bool] = False
    sparse_kernels: ClassVar[bool] = False
    checks_shapes: ClassVar[bool] = True
    compiles: ClassVar[bool] = False

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
            severity: Severity = "note" if "smaller" in effects else "pointless"
            yield Problem(
                severity, f"{self.label} multiplies zeros like any other weight: zeros save storage, not time"
            )
        yield from slow_kernels(self.label, effects, facts.kernels(self.name))
        if "int8" in effects and facts.lacks_dot_products and "uint8" not in facts.kernels(self.name):
            yield Problem(
                "pointless", "this CPU has no 8-bit dot products (VNNI): int8 is hardly faster than float32 here"
            )
        if "int8" in effects and facts.x86 and facts.lacks_dot_products and not {"narrow"} & effects:
            yield Problem("note", "8-bit products can overflow on this CPU (no VNNI): reduce_range=true avoids it")

    @abstractmethod
    def devices(self) -> tuple[Device, ...]:
        """All devices this runtime knows, absent ones with the reason. Called in a child process."""

    def device_facts(self, device: str) -> dict[str, Any]:
        """What compiled files depend on besides this runtime's version and the CPU, such as a GPU and its driver.

        Called in the user's process: import no framework.
        """
        del device
        return {}

    def compile(self, job: CompileJob) -> None:
        """Write what `open` takes as ``COMPILED`` on this machine. Called in a child process.

        Raises:
            UnsupportedModelError: The format is not accepted, or the runtime lacks an operator.
            DeviceError: The device is absent.
            CandidateError: Nothing was written.
            MissingExtraError: The runtime is not installed.
        """
        self._check(job.source_format, job.device)
        self._compile_file(job)
        if not job.target.exists():
            raise CandidateError(f"{self.label} has compiled nothing.", remedy="please report this.")

    def _compile_file(self, job: CompileJob) -> None:
        """Fill this where ``compiles`` is True; `_open` and `_profile` are then given what it has written."""
        raise NotImplementedError

    @abstractmethod
    def _open(self, path: Path, target: Target) -> Session:
        """Open a file whose format is accepted. Called in a child process."""

    def _open_signature(self, path: Path, target: Target, signature: str) -> Session:
        """Open one of several functions of a file. Fill this where formats have such."""
        del target
        raise UnsupportedModelError(f"{self.label} opens {path.name} as a whole, not its signature {signature!r}.")

    def open(
        self,
        path: Path,
        target: Target,
        format_name: str,
        contract: Contract | None = None,
        calling: Calling | None = None,
    ) -> Session:
        """Open a model file, to be fed and read as a contract says.

        Args:
            path: The file or folder.
            target: Where it runs.
            format_name: Its format; ``COMPILED`` when `compile` has written it on this machine.
            contract: What its inputs and outputs mean; None: examples are fed by the file's own names.
            calling: How a model is called that deploykit did not export; None: as it exports models.

        Raises:
            UnsupportedModelError: The format is not accepted, or the runtime lacks an operator.
            DeviceError: The device is absent, or another one would run.
            MissingExtraError: The runtime is not installed.
        """
        self._check(format_name, target.device)
        if self.compiles and format_name != COMPILED:
            session = self._open_compiled(path, target, format_name)
        elif calling is not None and calling.signature:
            session = self._open_signature(path, target, calling.signature)
        else:
            session = self._open(path, target)
        if session.delegate != target.device:
            session.close()
            raise DeviceError(
                f"{self.label}: asked for {target.device!r}, but ran on {session.delegate!r}.",
                remedy=f"install the driver of {target.device!r}, or choose {session.delegate!r}.",
            )
        if calling is not None:
            session.as_it_is(any_shape=calling.any_shape)
        return session.follow(contract)

    def _open_compiled(self, path: Path, target: Target, format_name: str) -> Session:
        """Compile a file for nothing but this session."""
        folder = tempfile.mkdtemp(prefix="deploykit-")
        try:
            session = self._open(self._compiled(path, target, format_name, folder), target)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(session, shutil.rmtree, folder, ignore_errors=True)
        return session

    def _compiled(self, path: Path, target: Target, format_name: str, folder: str) -> Path:
        job = CompileJob(path, Path(folder, COMPILED), format_name, target.device, target.batch_size)
        self.compile(job)
        return job.target

    def _check(self, format_name: str, device: str) -> None:
        """Refuse what cannot be opened or compiled."""
        self.check_installed()
        if format_name not in self.accepts and not (self.compiles and format_name == COMPILED):
            raise UnsupportedModelError(
                f"{self.label} runs {', '.join(sorted(self.accepts))}, not {format_name}.",
                remedy="convert the model first.",
            )
        devices = {d.name: d for d in self.devices()}
        if device not in devices:
            raise unknown_name(f"device for {self.label}", device, devices)
        if not devices[device].available:
            raise DeviceError(f"{self.label}: device {device!r}: {devices[device].detail}.")

    def profile(
        self, path: Path, target: Target, format_name: str, inputs: Sequence[Sequence[NDArray[Any]]], runs: int
    ) -> tuple[NodeTime, ...]:
        """Time of each node in one inference, in the order of execution, in a session of its own.

        Args:
            path: A file that `open` has opened.
            target: Where it runs.
            format_name: As `open` was told.
            inputs: Arrays as `Session.run` takes them, to cycle through.
            runs: Inferences; the first quarter warms up and is left out.

        Raises:
            UnsupportedModelError: This runtime cannot tell.
        """
        if not self.profiles:
            raise UnsupportedModelError(f"{self.label} has no per-layer profiler.")
        if not self.compiles or format_name == COMPILED:
            return tuple(self._profile(path, target, inputs, runs))
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            return tuple(self._profile(self._compiled(path, target, format_name, folder), target, inputs, runs))

    def probes(self, folder: Path) -> Mapping[Form, Path]:
        """Write tiny models that show, profiled, which kernels this runtime has here; float32 first.

        Called in a child process. Fill this where ``profiles`` is True and kernels depend on the CPU.
        """
        del folder
        return {}

    def _profile(
        self, path: Path, target: Target, inputs: Sequence[Sequence[NDArray[Any]]], runs: int
    ) -> Sequence[NodeTime]:
        """Fill this where ``profiles`` is True. Called in a child process."""
        raise NotImplementedError


def _real(spec: TensorSpec, value: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if not spec.scale:
        return value
    return ((value.astype(np.float32) - np.float32(spec.zero_point)) * np.float32(spec.scale)).astype(np.float32)


RUNTIMES: Registry[Runtime] = Registry("deploykit.runtimes", "runtime")
