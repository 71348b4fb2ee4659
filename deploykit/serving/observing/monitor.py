"""``dk.monitor``: what happens while a server serves, from its parent, over HTTP, or from what it has written."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploykit.core.errors import DeploykitError, SettingError
from deploykit.monitoring.operation.alarms import Alarm
from deploykit.monitoring.operation.rules import rules
from deploykit.monitoring.operation.status import ModelStatus, MonitorStatus
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.html import pictures
from deploykit.serving.observing import view
from deploykit.serving.observing.fleet import Fleet
from deploykit.serving.observing.sources import Local, Remote, Source, Written
from deploykit.serving.server import Server

if TYPE_CHECKING:
    from types import TracebackType

_log = logging.getLogger("deploykit.monitoring")
#: Time between looks where alarms have to be asked for.
_LOOK_SECONDS = 1.0


class Monitor:
    """What happens while a server serves, made by `monitor`.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/watched", overwrite=True)
        >>> with dk.serve(artifact, port=0) as server:
        ...     dk.monitor(server).status().healthy
        True
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._callbacks: list[Callable[[Alarm], object]] = []
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def status(self) -> MonitorStatus:
        """What is known now.

        Raises:
            ServeError: The server does not answer.
        """
        return self._source.status()

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Alarms that last, the oldest first."""
        return self.status().alarms

    @property
    def alarmed(self) -> bool:
        """Whether the model should be looked at again: its inputs have drifted, or it is wrong more often."""
        return bool(self._reasons())

    @property
    def since(self) -> float | None:
        """Since when that is so, in seconds since 1970; None if it is not."""
        return min((alarm.since for alarm in self._reasons()), default=None)

    @property
    def text(self) -> str:
        """Why, in words; "" if it is not."""
        return " ".join(alarm.text for alarm in self._reasons())

    def _reasons(self) -> list[Alarm]:
        return [alarm for alarm in self.alarms if alarm.kind in ("drift", "accuracy")]

    def model(self, name: str = "", version: int | str = "") -> ModelStatus:
        """One version of a model.

        Args:
            name: Name of the model; "" for the first one.
            version: Its version; "" for the highest.

        Raises:
            SettingError: It is not watched.
        """
        models = self.status().models
        found = [m for m in models if name in ("", m.name) and str(version) in ("", m.version)]
        if not found:
            known = ", ".join(f"{m.name}/{m.version}" for m in models) or "none"
            raise SettingError(f"{name or 'A model'}/{version or 'any version'} is not watched; there are: {known}.")
        first = found[0].name
        return max((m for m in found if m.name == first), key=lambda m: int(m.version))

    def history(self, name: str = "", version: int | str = "") -> list[dict[str, Any]]:
        """Points of a version's past, the oldest first.

        Args:
            name: Name of the model; "" for the first one.
            version: Its version; "" for the highest.

        Returns:
            For each window its time as ``at`` (seconds since 1970), ``rate``, ``failed`` (a share), ``evidence`` (of
            drift), and ``run`` and other stages with median and 99th percentile in milliseconds.
        """
        model = self.model(name, version)
        return self._source.history(model.name, model.version)

    def on_alarm(self, callback: Callable[[Alarm], object]) -> Self:
        """Call a function with each alarm when it is raised, and when it is over, in a thread of its own.

        Args:
            callback: The function.
        """
        if self._source.tells(callback):
            return self
        self._callbacks.append(callback)
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="deploykit-alarms", daemon=True)
            self._thread.start()
        return self

    def _look(self) -> None:
        known = {(alarm.key, alarm.since): alarm.ongoing for alarm in self._all()}
        while not self._ending.wait(_LOOK_SECONDS):
            for alarm in self._all():
                place = alarm.key, alarm.since
                if known.get(place) != alarm.ongoing:
                    known[place] = alarm.ongoing
                    for callback in self._callbacks:
                        try:
                            callback(alarm)
                        except Exception:
                            _log.exception("a callback for alarms failed")

    def _all(self) -> Sequence[Alarm]:
        try:
            status = self.status()
        except DeploykitError as error:
            _log.warning("the server cannot be asked: %s", error)
            return ()
        return [*status.past, *status.alarms]

    def wait(self, kind: str = "", *, seconds: float = 60.0) -> Alarm | None:
        """Wait for an alarm.

        Args:
            kind: Its kind, such as ``"drift"``; "" for any.
            seconds: The longest wait.

        Returns:
            The first alarm that lasts; None if there is none after that time.
        """
        end = time.monotonic() + seconds
        while True:
            for alarm in self.alarms:
                if kind in ("", alarm.kind):
                    return alarm
            if (left := end - time.monotonic()) <= 0:
                return None
            time.sleep(min(0.1, left))

    def feedback(self, request_id: str, label: Any, *, name: str = "") -> int:
        """Give the true label of a request; see `Server.feedback`."""
        return self.labels({request_id: label}, name=name)

    def labels(self, labels: Mapping[str, Any], *, name: str = "") -> int:
        """Give the true labels of requests that were answered.

        Args:
            labels: Request id → label: a class (its index or name) or a number, or a list with one for each example.
            name: Name of the model; "" for the first one.

        Returns:
            How many examples have got their label.

        Raises:
            UnknownRequestError: Some requests are not known, which are named; the others' labels are taken.
            SettingError: A label is none, or labels cannot be given here.
        """
        return self._source.feedback(name or self.model().name, labels)

    def write_rules(self, path: str | Path) -> Path:
        """Write alert rules for Prometheus, which scrapes the server's ``/metrics``.

        Args:
            path: The file, for example ``deploykit-rules.yml``.
        """
        found = Path(path)
        found.write_text(rules(self.status().models), "utf-8")
        return found

    def chart(self, name: str = "", version: int | str = "", *, dark: bool = False) -> Any:
        """Evidence of drift against its threshold, latency against what was exported, and rate (Altair).

        Args:
            name: Name of the model; "" for the first one.
            version: Its version; "" for the highest.
            dark: Colors for a dark background.
        """
        model = self.model(name, version)
        return shown(view.chart(model, self.history(model.name, model.version), dark=dark))

    def features_chart(self, name: str = "", version: int | str = "", *, dark: bool = False) -> Any:
        """How far each feature of the inputs and answers has moved (Altair); as `chart`."""
        return shown(view.features_chart(self.model(name, version), dark=dark))

    def to_json(self) -> dict[str, Any]:
        """The status as plain data."""
        return self.status().to_json()

    def close(self) -> None:
        """Look no more; the server's own monitor continues."""
        self._ending.set()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __str__(self) -> str:
        return str(self.status())

    def __repr__(self) -> str:
        return f"Monitor({self._source})"

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        status = self.status()
        drawn = []
        for model in status.models:
            history = self._source.history(model.name, model.version)
            if history:
                drawn.append(pictures(lambda dark, m=model, h=history: view.chart(m, h, dark=dark)))  # type: ignore[misc]
            if view.features(model):
                drawn.append(pictures(lambda dark, m=model: view.features_chart(m, dark=dark)))  # type: ignore[misc]
        return {"text/plain": str(status), "text/html": view.page(status, "".join(drawn))}


def monitor(source: Server | str | Path | Sequence[Server | str], *, token: str = "") -> Monitor:
    """Watch what happens while an artifact is served: performance, resources, drift, accuracy, and alarms.

    A server watches itself, off the answers' path (see the argument ``monitor`` of `serve`); this asks it.

    Args:
        source: A server of this process; the address of one; several of these, whose evidence is put together; a
            folder in which a server kept its monitor's records; or an access log in JSON.
        token: What servers at an address ask for, with the scope ``metrics`` (and ``predict`` to give labels).

    Returns:
        The monitor.

    Raises:
        SettingError: The source is nothing of that kind, or its server has no monitor.
        ServeError: Nothing answers at an address.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/monitored", overwrite=True)
        >>> with dk.serve(artifact, port=0) as server:
        ...     watched = dk.monitor(server)
        ...     _ = server.predict(data.sample(1), request_id="first")
        ...     watched.feedback("first", 3)
        1
    """
    if isinstance(source, Sequence) and not isinstance(source, str) and source:
        return Monitor(Fleet([_source(one, token) for one in source]))
    return Monitor(_source(source, token))


def _source(source: Any, token: str) -> Source:
    if isinstance(source, Server):
        return Local(source._watching)
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return Remote(source, token)
    if isinstance(source, str | Path):
        return Written.of(Path(source).expanduser())
    raise SettingError(
        f"Cannot watch {source!r}.",
        remedy="give a server, its address, the folder of its monitor, or its access log in JSON.",
    )
