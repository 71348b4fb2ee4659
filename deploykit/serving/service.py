"""What a server holds, whatever the protocol: models by name and version, their runners, limits and counters.

Protocols sit above it: they translate a request to a batch of a model's data plane, have its runner run it, and
translate the outputs, or the `Fault`, back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploykit.core.settings.limits import ServerLimits
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import NotFoundError, UnavailableError
from deploykit.serving.runner import Runner

if TYPE_CHECKING:
    from deploykit.serving.guard import Guard
    from deploykit.serving.meter import Meter
    from deploykit.serving.tls import Tls
    from deploykit.serving.traffic import Counters


@dataclass(frozen=True)
class ServedModel:
    """One version of a model.

    Attributes:
        plane: What it accepts and how it predicts.
        version: Its version, a whole number as text.
        runner: Runs its batches.
    """

    plane: DataPlane
    version: str
    runner: Runner


class Service:
    """The models of one server process. Belongs to one event loop.

    Args:
        planes: What is served, each as version 1.
        limits: What it takes.
        counters: Where predictions are counted; None: nowhere.
        guard: Whose requests are answered; None: everyone's.
        meter: What counts for metrics; None: nothing.
        tls: Files of the server's TLS; None: it has none.

    Attributes:
        limits: What it takes.
        guard: Whose requests are answered; None: everyone's.
        meter: What counts for metrics; None: nothing.
        tls: Files of the server's TLS, for protocols with a port of their own; None: it has none.
        draining: Set when the server goes down: readiness is over, requests in progress are still answered.
    """

    def __init__(
        self,
        planes: Iterable[DataPlane] = (),
        *,
        limits: ServerLimits | None = None,
        counters: Counters | None = None,
        guard: Guard | None = None,
        meter: Meter | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.limits = limits or ServerLimits()
        self.guard = guard
        self.meter = meter
        self.tls = tls
        self.draining = False
        self._counters = counters
        #: By name and version; a model's highest version also by None.
        self._models: dict[tuple[str, str | None], ServedModel] = {}
        #: By name and label.
        self._labels: dict[tuple[str, str], str] = {}
        for plane in planes:
            self.add(plane)

    def add(self, plane: DataPlane, version: str = "1") -> None:
        """Serve one more model, or one more version of a model."""
        name = plane.name
        runner = Runner(plane, self.limits.waiting, version, self.meter)
        self._models[name, version] = ServedModel(plane, version, runner)
        self._models[name, None] = self._models[name, self.versions(name)[-1]]

    def label(self, name: str, label: str, version: str) -> None:
        """Let a label stand for a version of a model, such as ``stable`` or ``canary``.

        Raises:
            NotFoundError: There is no such version.
        """
        self._labels[name, label] = self.model(name, version).version

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all models."""
        return tuple(name for name, version in self._models if version is None)

    def versions(self, name: str) -> tuple[str, ...]:
        """Versions of a model, the highest last."""
        return tuple(sorted((v for n, v in self._models if n == name and v is not None), key=int))

    def model(self, name: str, version: str | None = None, label: str | None = None) -> ServedModel:
        """A model, in its highest version unless another one is asked for, by its number or its label.

        Raises:
            NotFoundError: There is none, in TensorFlow Serving's words.
        """
        try:
            return self._models[name, version if label is None else self._labels[name, label]]
        except KeyError:
            version = version if label is None else label
            request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            served = "; ".join(
                f"{n!r}, version{'s' if len(self.versions(n)) > 1 else ''} {', '.join(self.versions(n))}"
                for n in self.names
            )
            raise NotFoundError(f"Servable not found for request: {request}. This server has {served}.") from None

    def check_ready(self) -> None:
        """Raise `UnavailableError` unless new requests are welcome."""
        if self.draining:
            raise UnavailableError("The server is shutting down.")

    def answered(self, seconds: float) -> None:
        """Count a prediction that was answered."""
        if self._counters is not None:
            self._counters.answered(seconds)

    def refused(self) -> None:
        """Count a prediction that was not answered."""
        if self._counters is not None:
            self._counters.refused()
