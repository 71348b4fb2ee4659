"""What a server is asked to record."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

from deploykit.core.errors import SettingError
from deploykit.serving.records.access import AccessLog, Format, LogFile, standard_output, use
from deploykit.serving.records.recorder import Recorder, Sink

#: Stands for standard output.
_OUTPUT = "-"


@dataclass(frozen=True)
class Recording:
    """What a server records.

    Attributes:
        access_log: File of the access log; "" for none.
        log_format: Form of the access log and of the server's own.
        audit: File of the audit log; "" for none.
        traces: Whether traces are sent.
    """

    access_log: str = ""
    log_format: Format = "text"
    audit: str = ""
    traces: bool = False

    @classmethod
    def of(cls, access_log: str | Path | None, log_format: str, audit: str | Path | None, *, traces: bool) -> Self:
        """The settings, checked.

        Raises:
            SettingError: A file cannot be written, or there is no such form.
            MissingExtraError: OpenTelemetry is not installed, where traces are asked for.
        """
        if log_format not in get_args(Format):
            raise SettingError(f"The form of logs must be one of {', '.join(get_args(Format))}, got {log_format!r}.")
        path = None if access_log is None else _access_path(str(access_log))
        if audit is not None:
            from deploykit.core.security.audit import Audit

            audit = Path(audit).absolute()
            Audit(audit).close()
        if traces:
            from deploykit.serving.records.traces import Traces

            Traces().close()
        return cls(str(path or ""), log_format, str(audit or ""), traces)  # type: ignore[arg-type]  # checked above

    def to_json(self) -> dict[str, Any]:
        """Its JSON form, with the variables of the environment that concern it."""
        return {**vars(self), "environment": {k: v for k, v in os.environ.items() if k.startswith("OTEL_")}}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """The settings of a JSON form; their variables become this process's."""
        os.environ.update(found["environment"])
        return cls(**{name: value for name, value in found.items() if name != "environment"})

    def use_format(self) -> None:
        """Have this process write its own log in the form."""
        use(self.log_format)

    def recorder(self, most_bytes: int) -> Recorder | None:
        """What records as this says; None where nothing is recorded.

        Args:
            most_bytes: Size from which on the access log is begun again.

        Raises:
            DeploykitError: A file cannot be written.
        """
        sinks = self._audit_sinks()
        if self.access_log:
            sinks.append(AccessLog(Path(self.access_log), self.log_format, most_bytes))
        if self.traces:
            from deploykit.serving.records.traces import Traces

            sinks.append(Traces())
        return Recorder(sinks) if sinks else None

    def auditor(self) -> Recorder | None:
        """What records what the server does of itself; None without an audit log.

        Raises:
            DeploykitError: The file cannot be written.
        """
        sinks = self._audit_sinks()
        return Recorder(sinks) if sinks else None

    def _audit_sinks(self) -> list[Sink]:
        if not self.audit:
            return []
        from deploykit.serving.records.audit import AuditLog

        return [AuditLog(Path(self.audit))]


def _access_path(given: str) -> Path:
    if given == _OUTPUT:
        found = standard_output()
        if found is None:
            raise SettingError("The access log cannot share this standard output.", remedy="name a file for it.")
        return found
    path = Path(given).absolute()
    try:
        LogFile(path, 0).close()
    except OSError as error:
        raise SettingError(
            f"Cannot write the access log {path}: {error.strerror}.", remedy="choose another folder."
        ) from error
    return path
