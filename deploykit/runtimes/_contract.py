"""What a runtime is.

A runtime opens a model file in a child process and runs it. Sessions are used by one thread at a time; they own
their buffers, and the arrays `Session.run` returns are valid until the next call. Nothing falls back silently: when
the device that was asked for is not the one that runs, opening fails with `DeviceError`.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from deploykit.core.adapter import Adapter
from deploykit.core.calling import Calling
from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.errors import CandidateError, DeviceError, UnsupportedModelError, unknown_name
from deploykit.core.problem import Effect, Facts, Form, Problem, Severity, slow_kernels
from deploykit.core.registry import Registry
from deploykit.core.security.memory import MemoryFiles
from deploykit.core.serial import Plain
from deploykit.runtimes._compile import COMPILED, CompileJob
from deploykit.runtimes._profile import NodeTime
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: What can be said of a device: it runs models; its packages are missing; its hardware is missing or does not answer;
#: it is there, but deploykit runs nothing on it.
DeviceState = Literal["ready", "not installed", "no such hardware", "detected only"]


@dataclass(frozen=True)
class Device(Plain):
    """A place to run on.

    Attributes:
        name: As in ``Target.device``: ``"cpu"``, ``"cuda"``, …
        available: Whether it can be used on this machine now.
        detail: What it is, or why it cannot be used.
        state: ``"ready"`` where it is available; else what is missing.
        remedy: What to do about it, for example the pip command; "" when it is available.
    """

    name: str
    available: bool
    detail: str = ""
    state: DeviceState | Literal[""] = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        """Take the usual state where none is given."""
        if not self.state:
            object.__setattr__(self, "state", "ready" if self.available else "no such hardware")


class Runtime(Adapter):
    """Opens models of the formats it accepts.

    Attributes:
        accepts: Names of formats.
        native_to: Formats of models that are at home on this runtime: there it is the baseline.
        fresh_process: Its threads can be set only once in a process: each session needs one of its own.
        note: What users should know of this runtime, for example where its int8 kernels are slow.
        default: Spaces that name no target include it; where it is False, only for models that are at home on it.
        profiles: It can tell the time of each node (`profile`).
        sparse_kernels: It multiplies fewer numbers when weights are zero.
        checks_shapes: It refuses examples of other shapes than a file declares, also where these would do.
        compiles: It builds what it runs (an engine, a library) for one device of one machine, see `_compile_file`. A
            sweep does so in a step of its own, apart from latency; elsewhere it compiles what it opens. Where it does
            so for some files alone, fill `compiles_after` and `compiles_file`.
        compiles_anywhere: It compiles also where the device is absent.
        cpu: It runs on the CPU. Where it does not, each target names its device.
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
    compiles_anywhere: ClassVar[bool] = False
    cpu: ClassVar[bool] = True

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
        if "shared values" in effects and "quantized" not in effects:
            yield Problem(
                "pointless", f"{self.label} multiplies shared values like any others: they save storage, not time"
            )
        yield from slow_kernels(self.label, effects, facts.kernels(self.name))
        if "int8" in effects and facts.lacks_dot_products and "uint8" not in facts.kernels(self.name):
            yield Problem(
                "pointless", "this CPU has no 8-bit dot products (VNNI): int8 is hardly faster than float32 here"
            )
        if "int8" in effects and facts.x86 and facts.lacks_dot_products and not {"narrow"} & effects:
            yield Problem("note", "8-bit products can overflow on this CPU (no VNNI): reduce_range=true avoids it")

    def compiles_after(self, effects: frozenset[Effect]) -> bool:
        """Whether it compiles an artifact, by what techniques have done to it."""
        del effects
        return self.compiles

    def compiles_file(self, path: Path) -> bool:
        """Whether it compiles a file that it opens. Called in a child process."""
        del path
        return self.compiles

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
        self._check(job.source_format, job.device, present=not self.compiles_anywhere)
        self._compile_file(job)
        if not job.target.exists():
            raise CandidateError(f"{self.label} has compiled nothing.", remedy="please report this.")

    def _compile_file(self, job: CompileJob) -> None:
        """Fill this where ``compiles`` is True; `_open` and `_profile` are then given what it has written."""
        raise NotImplementedError

    @abstractmethod
    def _open(self, path: Path, target: Target) -> Session:
        """Open a file whose format is accepted. Called in a child process."""

    def _open_memory(self, files: MemoryFiles, target: Target) -> Session:
        """Open files that are in memory alone, and write none of them. Fill this where it can be done."""
        del target
        raise UnsupportedModelError(
            f"{self.label} opens models from disks alone: it cannot run {files.shown}, which is encrypted.",
            remedy="export it without encrypt=, or choose another runtime.",
        )

    def tap(self, path: Path, output: str) -> str:
        """The tensor that the last layer before an output sees, "" where it cannot be given.

        Called in a child process. Fill this, and `_open_tapped`, where a session can give it without that the file, its
        answers or their time change.

        Args:
            path: A file of a format that is accepted.
            output: Name of the output in the file.
        """
        del path, output
        return ""

    def _open_tapped(self, path: Path | MemoryFiles, target: Target, tap: str) -> Session | None:
        """As `_open`, for a session that also gives the tensor; None where it does not."""
        del path, target, tap
        return None

    def _open_signature(self, path: Path, target: Target, signature: str) -> Session:
        """Open one of several functions of a file. Fill this where formats have such."""
        del target
        raise UnsupportedModelError(f"{self.label} opens {path.name} as a whole, not its signature {signature!r}.")

    def open(
        self,
        path: Path | MemoryFiles,
        target: Target,
        format_name: str,
        contract: Contract | None = None,
        calling: Calling | None = None,
        tap: str = "",
    ) -> Session:
        """Open a model file, to be fed and read as a contract says.

        Args:
            path: The file or folder, on a disk or in memory alone.
            target: Where it runs.
            format_name: Its format; ``COMPILED`` when `compile` has written it on this machine.
            contract: What its inputs and outputs mean; None: examples are fed by the file's own names.
            calling: How a model is called that deploykit did not export; None: as it exports models.
            tap: Tensor that the session also gives, as `tap` has found it; "" for none. Where it cannot be given the
                session has ``tapped`` None.

        Raises:
            UnsupportedModelError: The format is not accepted, or the runtime lacks an operator.
            DeviceError: The device is absent, or another one would run.
            MissingExtraError: The runtime is not installed.
        """
        self._check(format_name, target.device)
        tapped: Session | None = None
        if tap:
            with contextlib.suppress(UnsupportedModelError):  # another version may lack what the tap needs
                tapped = self._open_tapped(path, target, tap)
        if tapped is not None:
            session = tapped
        elif isinstance(path, MemoryFiles):
            session = self._open_memory(path, target)
        elif format_name != COMPILED and self.compiles_file(path):
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

    def _check(self, format_name: str, device: str, *, present: bool = True) -> None:
        """Refuse what cannot be opened or compiled."""
        self.check_installed()
        if format_name not in self.accepts and not (self.compiles and format_name == COMPILED):
            raise UnsupportedModelError(
                f"{self.label} runs {', '.join(sorted(self.accepts))}, not {format_name}.",
                remedy="convert the model first.",
            )
        refuse_absent(self.label, device, self.devices(), present=present)

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


def refuse_absent(label: str, device: str, known: Sequence[Device], *, present: bool = True) -> None:
    """Refuse a device that cannot be used.

    Args:
        label: The runtime's, for people.
        device: Name of the device.
        known: What the runtime's `Runtime.devices` says.
        present: Refuse it also where the runtime knows it and it is absent.

    Raises:
        SettingError: The runtime knows no such device.
        DeviceError: It is absent; names what was found here and the remedy.
    """
    devices = {d.name: d for d in known}
    if device not in devices:
        raise unknown_name(f"device for {label}", device, devices)
    wanted = devices[device]
    if wanted.available or not present:
        return
    ready = [d.name for d in known if d.available]
    found = f"It can use {', '.join(ready)} on this machine" if ready else "It can use nothing on this machine"
    remedies = [wanted.remedy, f"choose device={ready[0]!r}" if ready else "choose another runtime"]
    raise DeviceError(
        f"{label}: device {device!r} is not ready ({wanted.state}): {wanted.detail}. {found}.",
        remedy=", or ".join(filter(None, remedies)) + ".",
    )


RUNTIMES: Registry[Runtime] = Registry("deploykit.runtimes", "runtime")


def runtimes_for(format_name: str) -> list[Runtime]:
    """Installed runtimes that open files of a format as they are, those where it is at home first.

    Those that compile any file are not among them: they would build an engine to answer one question.
    """
    able = [
        r for r in RUNTIMES.all() if format_name in r.accepts and not r.compiles_after(frozenset()) and not r.missing()
    ]
    return sorted(able, key=lambda r: (format_name not in r.native_to, r.name))
