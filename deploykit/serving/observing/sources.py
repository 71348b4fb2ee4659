"""Where a monitor's knowledge comes from: a server of this process, one at an address, or what one has written."""

from __future__ import annotations

import threading
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.client import Client
from deploykit.core.errors import RequestError, ServeError, SettingError, UnknownRequestError
from deploykit.monitoring.operation.book import FILE, Book
from deploykit.monitoring.operation.status import MonitorStatus
from deploykit.serving.observing.logged import read_log

if TYPE_CHECKING:
    from deploykit.monitoring.operation.alarms import Alarm
    from deploykit.serving.watching.keeper import Keeper


class Source(ABC):
    """What a monitor asks."""

    @abstractmethod
    def status(self) -> MonitorStatus:
        """What is known now."""

    @abstractmethod
    def history(self, name: str, version: str) -> list[dict[str, Any]]:
        """Points of a version's past."""

    def feedback(self, name: str, labels: Mapping[str, Any]) -> int:
        """Give labels.

        Raises:
            SettingError: They cannot be given here.
        """
        raise SettingError(f"Labels cannot be given to {self}.", remedy="give them to the server that answered.")

    def tells(self, callback: Callable[[Alarm], object]) -> bool:
        """Have it call a function with each alarm; False where it has to be asked."""
        return False

    def close(self) -> None:  # noqa: B027  most have nothing to close
        """Ask no more."""


class Local(Source):
    """A server of this process."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def status(self) -> MonitorStatus:
        """What its monitor knows."""
        return self._keeper.status()

    def history(self, name: str, version: str) -> list[dict[str, Any]]:
        """As its monitor has kept it."""
        return self._keeper.history(name, version)

    def feedback(self, name: str, labels: Mapping[str, Any]) -> int:
        """Give labels."""
        return self._keeper.feedback(name, labels)

    def tells(self, callback: Callable[[Alarm], object]) -> bool:
        """Its monitor calls it."""
        self._keeper.desk.on_alarm(callback)
        return True

    def __str__(self) -> str:
        return "a server of this process"


class Remote(Source):
    """A server at an address."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._client = Client(url, token)
        self._lock = threading.Lock()
        if not self._client.is_deploykit():
            raise ServeError(f"{url} is not a server of deploykit.", remedy="watch it with what it brings itself.")

    def status(self) -> MonitorStatus:
        """What its monitor says."""
        return MonitorStatus.from_json(self._get("/monitor"))

    def history(self, name: str, version: str) -> list[dict[str, Any]]:
        """As its monitor says."""
        found: list[dict[str, Any]] = self._get(
            f"/monitor/models/{urllib.parse.quote(name)}/versions/{urllib.parse.quote(version)}/history"
        )
        return found

    def feedback(self, name: str, labels: Mapping[str, Any]) -> int:
        """Send labels."""
        try:
            with self._lock:
                answer = self._client.post(
                    f"/monitor/models/{urllib.parse.quote(name)}/feedback", {"labels": dict(labels)}
                )
        except RequestError as error:
            if "waits for a label" in error.message:
                raise UnknownRequestError(error.message, remedy=error.remedy) from error
            raise
        return int(answer["labelled"])

    def _get(self, path: str) -> Any:
        with self._lock:
            return self._client.get(path)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __str__(self) -> str:
        return repr(self._url)


class Written(Source):
    """The folder of a monitor's records, or an access log: what was, not what is."""

    def __init__(self, path: Path, status: MonitorStatus, past: Mapping[tuple[str, str], list[dict[str, Any]]]) -> None:
        self._path = path
        self._status = status
        self._past = past

    @classmethod
    def of(cls, path: Path) -> Written:
        """Read it.

        Raises:
            SettingError: It is neither.
            StoreError: The records cannot be read.
        """
        if path.is_dir() and (path / FILE).is_file():
            book = Book(path)
            try:
                alarms = book.alarms()
                points = book.all_history()
            finally:
                book.close()
            last = max((p[-1]["at"] for p in points.values()), default=0.0)
            first = min((p[0]["at"] for p in points.values()), default=0.0)
            ongoing = tuple(alarm for alarm in alarms if alarm.ongoing)
            past = tuple(alarm for alarm in alarms if not alarm.ongoing)
            status = MonitorStatus(last, first, (), ongoing, past)
            return cls(path, status, {_split(name): found for name, found in points.items()})
        if path.is_file():
            return cls(path, *read_log(path))
        raise SettingError(
            f"{path} is neither the folder of a monitor nor an access log.",
            remedy="give the server's monitor_folder (--monitor-folder), or its access log in JSON.",
        )

    def status(self) -> MonitorStatus:
        """What was known at its end."""
        return self._status

    def history(self, name: str, version: str) -> list[dict[str, Any]]:
        """All of it."""
        return list(self._past.get((name, version), ()))

    def __str__(self) -> str:
        return repr(str(self._path))


def _split(name: str) -> tuple[str, str]:
    model, _, version = name.rpartition("/")
    return model, version
