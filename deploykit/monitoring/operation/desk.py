"""Raises alarms, ends them, and tells those who want to know."""

from __future__ import annotations

import json
import logging
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from deploykit.core.errors import SettingError, StoreError
from deploykit.monitoring.operation.alarms import Alarm
from deploykit.monitoring.operation.book import Book

_log = logging.getLogger("deploykit.monitoring")
_WEBHOOK_SECONDS = 10.0
#: Alarms that are over stay in memory up to so many; the book has all.
_PAST = 100


@dataclass(frozen=True)
class Finding:
    """Why there should be an alarm.

    Attributes:
        text: What was found, in a sentence with its numbers.
        since: When it began, seconds since 1970.
        share: Share of the requests since then that it concerns.
        loss: Estimated loss since then.
        details: More numbers.
    """

    text: str
    since: float
    share: float | None = None
    loss: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Desk:
    """All alarms of a monitor. Thread-safe.

    Args:
        book: Where they are kept; those that lasted when it was closed last on.
        webhook: Address that gets each alarm as JSON by POST when it is raised and when it is over; "" for none.

    Attributes:
        problems: What went wrong while alarms were kept or sent, by where.
    """

    def __init__(self, book: Book, webhook: str = "") -> None:
        self._book = book
        self._webhook = webhook
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[Alarm], object]] = []
        self._ongoing = {alarm.key: alarm for alarm in book.alarms(ongoing=True)}
        self._past = [alarm for alarm in book.alarms() if not alarm.ongoing][-_PAST:]
        self.problems: dict[str, str] = {}

    def on_alarm(self, callback: Callable[[Alarm], object]) -> None:
        """Call a function with each alarm when it is raised and when it is over, in the monitor's thread."""
        self._callbacks.append(callback)

    @property
    def ongoing(self) -> list[Alarm]:
        """Alarms that last, the oldest first."""
        with self._lock:
            return sorted(self._ongoing.values(), key=lambda alarm: alarm.since)

    @property
    def past(self) -> list[Alarm]:
        """The newest of those that are over."""
        with self._lock:
            return list(self._past)

    def settle(self, key: tuple[str, str, str, str], found: Finding | None, now: float) -> None:
        """Say what was found.

        Args:
            key: Which alarm: kind, model, version, subject.
            found: Why there should be one; None: all is well, which ends one that lasts.
            now: Seconds since 1970.
        """
        with self._lock:
            known = self._ongoing.get(key)
            if found is None:
                if known is not None:
                    del self._ongoing[key]
                    self._past = [*self._past, ended := replace(known, ended=now)][-_PAST:]
                    self._tell(ended)
                return
            since, raised = (found.since, now) if known is None else (known.since, known.raised)
            more = {"share": found.share, "loss": found.loss, "details": found.details}
            alarm = Alarm(*key, text=found.text, since=since, raised=raised, **more)  # type: ignore[arg-type]
            self._ongoing[key] = alarm
            if known is None:
                self._tell(alarm)
            elif alarm != known:
                self._keep(alarm)

    def note(self, alarm: Alarm) -> None:
        """Tell of something that is over as soon as it is seen."""
        with self._lock:
            self._past = [*self._past, alarm][-_PAST:]
            self._tell(alarm)

    def drop(self, model: str, versions: set[str], now: float) -> None:
        """End the alarms of versions that are served no more.

        Args:
            model: Name of the model.
            versions: Those that are.
            now: Seconds since 1970.
        """
        for alarm in self.ongoing:
            if alarm.model == model and alarm.version and alarm.version not in versions:
                self.settle(alarm.key, None, now)

    def _tell(self, alarm: Alarm) -> None:
        self._keep(alarm)
        for callback in list(self._callbacks):
            try:
                callback(alarm)
            except Exception:
                _log.exception("a callback for alarms failed")
        if self._webhook:
            threading.Thread(target=self._post, args=(alarm,), name="deploykit-webhook", daemon=True).start()

    def _keep(self, alarm: Alarm) -> None:
        try:
            self._book.put(alarm)
            self.problems.pop("records", None)
        except StoreError as error:
            if "records" not in self.problems:
                _log.error("alarms are not kept: %s", error)
            self.problems["records"] = str(error)

    def _post(self, alarm: Alarm) -> None:
        data = json.dumps({**alarm.to_json(), "title": alarm.title, "message": str(alarm)}).encode()
        request = urllib.request.Request(  # noqa: S310  only HTTP, see `checked_webhook`
            self._webhook, data, {"Content-Type": "application/json", "User-Agent": "deploykit"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_WEBHOOK_SECONDS):  # noqa: S310
                self.problems.pop("webhook", None)
        except (OSError, urllib.error.URLError) as error:
            _log.error("the webhook does not take an alarm: %s", error)
            self.problems["webhook"] = f"The webhook does not take alarms: {error}."


def checked_webhook(url: str) -> str:
    """The address of a webhook.

    Raises:
        SettingError: It is not one of HTTP.
    """
    parts = urllib.parse.urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise SettingError(
            f"{url!r} is not the address of a webhook.", remedy="it looks like https://example.com/alarms."
        )
    return url
