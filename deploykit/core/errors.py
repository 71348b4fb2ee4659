"""Errors a user can meet. Each says what was found, what was expected and what to do.

::

    DeploykitError
    ├── ModelFileError        the file is not the model it claims to be (missing, truncated, hostile, …)
    │   └── UnsafeModelError  the model would run code of its own; ``trusted=True`` allows it
    ├── UnsupportedModelError the model is sound, but a stage cannot handle part of it (an operator, a layer)
    ├── DatasetError          the data do not fit the model or are unusable
    ├── SettingError          an unknown name or a value out of range        (also a ValueError)
    ├── MissingExtraError     an optional package is not installed           (also an ImportError)
    ├── DeviceError           the device is absent, or the runtime fell back to another one
    ├── CandidateError        building or measuring one candidate failed
    │   ├── CandidateCrash    its process died (names the signal)
    │   ├── CandidateTimeout  it ran past its deadline
    │   ├── CandidateMemory   it grew past its memory limit
    │   └── ProcessLost       its process could not be started, or was stopped from outside
    ├── EngineError           the machines of an engine cannot be reached, do not fit, or were lost
    ├── StoreError            the store of a sweep cannot be read or written
    │   └── NoStoreError      there is no store at the path
    ├── ExportError           the artifact could not be written or did not reproduce the golden outputs
    ├── ServeError            the server could not start
    │   └── PortInUseError
    ├── RequestError          a request to the server is wrong (each protocol in ``serving`` maps it to a status)
    │   └── UnknownRequestError  a label is given for a request that is not known
    ├── AuditError            an audit log is not as it was written
    ├── GoalMissed            no candidate meets the goal (raised by ``best.require()`` only)
    └── Cancelled             the user stopped the work

Example:
    >>> issubclass(dk.errors.ModelFileError, dk.DeploykitError)
    True
"""

from __future__ import annotations

from typing import Any


class DeploykitError(Exception):
    """Base of all deploykit errors.

    Args:
        message: What was found and what was expected, naming the file or the field.
        remedy: What the user can do about it.
        log: Path of a log file with details, when there is one.

    Example:
        >>> try:
        ...     dk.load("no_such_model.onnx")
        ... except dk.DeploykitError as error:
        ...     print(type(error).__name__)
        ModelFileError
    """

    def __init__(self, message: str, *, remedy: str = "", log: str = "") -> None:
        self.message = message
        self.remedy = remedy
        self.log = log
        super().__init__(message)

    def __str__(self) -> str:
        text = self.message
        if self.remedy:
            text += f" Remedy: {self.remedy}"
        if self.log:
            text += f" (log: {self.log})"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        return (from_json, (to_json(self),))


class ModelFileError(DeploykitError):
    """The file is not the model it claims to be."""


class UnsafeModelError(ModelFileError):
    """Loading the model would run code that comes with it."""


class UnsupportedModelError(DeploykitError):
    """The model is sound, but a stage cannot handle a part of it."""


class DatasetError(DeploykitError):
    """The data do not fit the model, or cannot be used."""


class SettingError(DeploykitError, ValueError):
    """An unknown name, or a value outside its range."""


class MissingExtraError(DeploykitError, ImportError):
    """An optional package is not installed."""


class DeviceError(DeploykitError):
    """The device is absent, or the runtime silently used another one."""


class CandidateError(DeploykitError):
    """Building or measuring one candidate failed."""


class CandidateCrash(CandidateError):
    """The process of a candidate died.

    Args:
        message: See `DeploykitError`.
        remedy: See `DeploykitError`.
        log: See `DeploykitError`.
        death: How it ended, for example ``"killed by SIGSEGV (signal 11)"``; "" when it ran on another machine.
    """

    def __init__(self, message: str, *, remedy: str = "", log: str = "", death: str = "") -> None:
        super().__init__(message, remedy=remedy, log=log)
        self.death = death


class CandidateTimeout(CandidateError):
    """A candidate ran past its deadline."""


class CandidateMemory(CandidateError):
    """A candidate grew past its memory limit."""


class ProcessLost(CandidateError):
    """A child process could not be started, or was stopped from outside: no fault of what it was to do."""


class EngineError(DeploykitError):
    """The machines an engine runs tasks on cannot be reached, do not fit, or were lost."""


class StoreError(DeploykitError):
    """The store of a sweep cannot be read or written."""


class NoStoreError(StoreError):
    """There is no store at the path."""


class ExportError(DeploykitError):
    """The artifact could not be written, or does not reproduce its golden outputs."""


class ServeError(DeploykitError):
    """The server could not start."""


class PortInUseError(ServeError):
    """Another program listens on the port."""


class RequestError(DeploykitError):
    """A request to the server is wrong."""


class UnknownRequestError(RequestError):
    """A label is given for a request that is not known."""


class AuditError(DeploykitError):
    """An audit log is not as it was written: a line was changed or removed."""


class GoalMissed(DeploykitError):
    """No candidate meets the goal.

    Example:
        >>> best = dk.Report.open("finished").best(max_drop=-1.0)
        >>> try:
        ...     best.require()
        ... except dk.GoalMissed:
        ...     print("no candidate gains a hundred points")
        no candidate gains a hundred points
    """


class Cancelled(DeploykitError):
    """The user stopped the work."""


def _tree(base: type[DeploykitError]) -> dict[str, type[DeploykitError]]:
    found = {base.__name__: base}
    for child in base.__subclasses__():
        found |= _tree(child)
    return found


def to_json(error: DeploykitError) -> dict[str, str]:
    """The error as plain data, so that it can leave a child process."""
    return {"type": type(error).__name__, "message": error.message, "remedy": error.remedy, "log": error.log}


def from_json(data: dict[str, str]) -> DeploykitError:
    """The error a child process reported; unknown types become `CandidateError`."""
    kind = _tree(DeploykitError).get(data.get("type", ""), CandidateError)
    return kind(data.get("message", ""), remedy=data.get("remedy", ""), log=data.get("log", ""))


def unknown_name(what: str, name: object, known: object) -> SettingError:
    """The error for a name that is not in a list, with the closest known names first."""
    import difflib

    names = [str(k) for k in known] if isinstance(known, list | tuple | set | frozenset | dict) else [str(known)]
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return SettingError(f"Unknown {what} {name!r}.", remedy=f"{hint}known: {', '.join(sorted(names)) or 'none'}.")
