"""The monitor of a server, in its parent process: looks at what the workers count and see, off the answers' path."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from deploykit.core.errors import DeploykitError, SettingError, UnknownRequestError, unknown_name
from deploykit.core.settings.monitoring import MonitorSettings
from deploykit.monitoring.labels import outcomes
from deploykit.monitoring.operation.alarms import Alarm
from deploykit.monitoring.operation.book import Book, Prediction
from deploykit.monitoring.operation.desk import Desk, Finding
from deploykit.monitoring.operation.resources import Meter, Resources
from deploykit.monitoring.operation.status import ModelStatus, MonitorStatus
from deploykit.serving.meter import Meter as Compared
from deploykit.serving.meter import read
from deploykit.serving.traffic import meter_file, meter_files
from deploykit.serving.watching.counted import counts
from deploykit.serving.watching.post import Post, Watched

_log = logging.getLogger("deploykit.monitoring")
#: The clock on the wall may be set by so much without a word.
_JUMP_SECONDS = 2.0
#: States are kept at least so often.
_KEEP_SECONDS = 30.0
#: The machine is called slowed down after so many readings in a row.
_SLOWED_READINGS = 6
#: Less free space than this where records are kept is an alarm.
_LEAST_DISK_BYTES = 256 << 20
#: What `Keeper.asked` answers.
WATCHED = frozenset({"seen", "monitor", "alarms", "history", "feedback"})
#: So long is waited for what workers have not told yet.
_PATIENCE_SECONDS = 1.0
#: Messages of workers that may wait; more are dropped, and counted as not looked at.
_MOST_WAITING = 4096


class Keeper:
    """Watches a server.

    Args:
        served: Says which versions are served.
        counters: Where the server counts; the workers' meters lie beside it, and one of the monitor.
        pids: Says which processes there are.
        settings: What is an alarm.
        folder: Where records are kept; None: in memory.
        webhook: Address that gets alarms; "" for none.
        tell: Tells the workers something.

    Attributes:
        desk: Its alarms.
        book: Its records.

    Raises:
        StoreError: The folder cannot be used.
    """

    def __init__(
        self, served: Callable[[], Iterable[Watched]], counters: Path,
        pids: Callable[[], Iterable[int]], settings: MonitorSettings, folder: Path | None = None, webhook: str = "",
        tell: Callable[[Mapping[str, Any]], object] = lambda _: None,
    ) -> None:  # fmt: skip
        self._served = served
        self._tell = tell
        self._counters = counters
        self._compared = Compared(meter_file(counters, "monitor"), works=False)
        self._pids = pids
        self.settings = settings
        self.book = Book(folder)
        self.desk = Desk(self.book, webhook)
        self._meter = Meter(folder)
        self._lock = threading.RLock()
        #: Notified when workers have said something.
        self._heard = threading.Condition(self._lock)
        self._posts: dict[tuple[str, str], Post] = {}
        self._resources: Resources | None = None
        self._slowed = 0
        self._slowed_since = 0.0
        self._epoch = time.time() - time.monotonic()
        self.since = self.now
        self._looked = self._kept = 0.0
        self._messages: queue.Queue[Mapping[str, Any] | None] = queue.Queue(_MOST_WAITING)
        self._dropped = 0
        self._problems: dict[str, str] = {}
        self._thread: threading.Thread | None = None

    # -- its thread ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch; what is served is known when this returns."""
        self._try(self.look)
        self._thread = threading.Thread(target=self._work, name="deploykit-monitor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look once more, keep what is known, and end."""
        if self._thread is not None:
            self._messages.put(None)
            self._thread.join()
        self._try(self.look)
        self._try(self._keep)
        self.book.close()

    def asked(self, what: str, arguments: Mapping[str, Any]) -> Any:
        """What workers say (``"seen"``), or their clients ask: for the status, alarms or history, or to take labels."""
        if what == "seen":
            return self.hear(arguments)
        if what == "monitor":
            return self.status().to_json()
        if what == "alarms":
            return [alarm.key for alarm in self.desk.ongoing]
        if what == "history":
            return self.history(**arguments)
        return self.feedback(**arguments)

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take what a worker has seen; returns at once."""
        try:
            self._messages.put_nowait(message)
        except queue.Full:
            self._dropped += 1

    def _work(self) -> None:
        while True:
            wait = max(0.01, self._looked + self.settings.every_seconds - time.monotonic())
            try:
                message = self._messages.get(timeout=wait)
            except queue.Empty:
                self._try(self.look)
                continue
            if message is None:
                return
            self._try(self._take, message)
            if time.monotonic() - self._looked >= self.settings.every_seconds:
                self._try(self.look)

    def _try(self, work: Callable[..., object], *arguments: Any) -> None:
        """Serving continues, whatever becomes of watching; what is wrong is in the status, and once in the log."""
        name = work.__name__.strip("_")
        try:
            work(*arguments)
            self._problems.pop(name, None)
        except Exception as error:
            if name not in self._problems:
                _log.exception("the monitor cannot %s", name)
            said = str(error) if isinstance(error, DeploykitError) else f"{type(error).__name__}: {error}"
            self._problems[name] = said

    # -- what it does -------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since 1970, by a clock that does not jump."""
        return self._epoch + time.monotonic()

    def look(self) -> None:
        """Look at what was counted since the last time, and at the machine."""
        with self._lock:
            self._looked = time.monotonic()
            self._check_clock()
            now = self.now
            self._find_served()
            counted = counts(read(meter_files(self._counters)))
            for key, post in self._posts.items():
                found = counted.get(key)
                if found is not None:
                    for kind, subject, finding in post.performance.add(found, now):
                        self.desk.settle((kind, *key, subject), finding, now)
                if post.changed:
                    self._judge(post)
            self._look_at_machine(now)
            self._note(now)
            if self._looked - self._kept >= _KEEP_SECONDS:
                self._keep()

    def _find_served(self) -> None:
        served = {(one.name, one.version): one for one in self._served()}
        for key, one in served.items():
            known = self._posts.get(key)
            if known is None or known.watched.digest != one.digest:
                self._posts[key] = post = Post(one, self.settings)
                state = self.book.state(post.state_name)
                if state is not None:
                    self._try(post.mind.restore, state)
                    post.changed = True
        for key in [key for key in self._posts if key not in served]:
            post = self._posts.pop(key)
            self._save(post)
        for name in {name for name, _ in self._posts} | {alarm.model for alarm in self.desk.ongoing}:
            self.desk.drop(name, {version for n, version in served if n == name}, self.now)

    def _take(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            key = str(message["name"]), str(message["version"])
            post = self._posts.get(key)
            if post is None:
                self._find_served()
                if (post := self._posts.get(key)) is None:
                    return
            if block := post.mind.take(message, self.now):
                self._tell({"settle": {"name": key[0], "version": key[1], "block": block}})
            post.changed = True
            for example in message.get("examples", ()):
                self.book.keep_example(f"{key[0]}-{key[1]}", example, self.settings.examples)
            if answers := message.get("answers"):
                self.book.predicted(*key, self.now, answers)
                self._heard.notify_all()
            self._judge(post)

    def _judge(self, post: Post) -> None:
        key = post.watched.name, post.watched.version
        for kind, subject, finding in post.mind.findings():
            self.desk.settle((kind, *key, subject), finding, self.now)

    def _check_clock(self) -> None:
        jumped = time.time() - self.now
        if abs(jumped) < _JUMP_SECONDS:
            return
        self._epoch += jumped
        way = "forward" if jumped > 0 else "back"
        text = f"It was set {way} by {abs(jumped):.1f} s; times before that are those of the old clock."
        self.desk.note(Alarm("clock", "", "", "", text, since=self.now, raised=self.now, ended=self.now))

    def _look_at_machine(self, now: float) -> None:
        self._resources = found = self._meter.read(self._pids(), now)
        leak = self._meter.memory.leaks
        self.desk.settle(
            ("memory", "", "", ""),
            None if leak is None else Finding(
                f"The server's memory grows by {leak.value / 2**20:.1f} MiB an hour ({leak.low / 2**20:.1f} to "
                f"{leak.high / 2**20:.1f}), {found.memory_bytes / 2**20:.0f} MiB now.", self.since,
                details={"bytes_per_hour": leak.to_json()},
            ), now,
        )  # fmt: skip
        self._slowed = self._slowed + 1 if found.slowed else 0
        if self._slowed == 1:
            self._slowed_since = now
        self.desk.settle(
            ("machine", "", "", ""),
            Finding(found.slowed, self._slowed_since) if self._slowed >= _SLOWED_READINGS else None, now,
        )  # fmt: skip
        free = found.disk_free_bytes
        self.desk.settle(
            ("disk", "", "", ""),
            None if free is None or free >= _LEAST_DISK_BYTES
            else Finding(f"{free / 2**20:.0f} MiB are left where the monitor keeps its records.", now), now,
        )  # fmt: skip

    def _note(self, now: float) -> None:
        """Add to the history that charts are drawn from."""
        for (name, version), post in self._posts.items():
            window, drift = post.performance.window, post.mind.drift
            if window is None:
                continue
            point: dict[str, Any] = {"rate": window.rate, "failed": window.failed.value}
            for stage in window.stages:
                if stage.p99_ms is not None and stage.p50_ms is not None:
                    point[stage.stage] = [stage.p50_ms.value, stage.p99_ms.value]
            if drift is not None:
                point["evidence"] = drift.get("evidence")
            self.book.note(f"{name}/{version}", now, point)

    def _keep(self) -> None:
        with self._lock:
            self._kept = time.monotonic()
            for post in self._posts.values():
                self._save(post)

    def _save(self, post: Post) -> None:
        if post.changed:
            self.book.save(post.state_name, post.mind.state(), self.now)
            post.changed = False

    # -- questions ----------------------------------------------------------------------------------------------------

    def status(self) -> MonitorStatus:
        """What it knows now."""
        with self._lock:
            models = [self._model_status(post) for _, post in sorted(self._posts.items())]
            problems = [*self._problems.values(), *self.desk.problems.values()]
            if self._dropped:
                problems.append(f"{self._dropped} messages of workers were dropped, since they came too fast.")
            return MonitorStatus(
                self.now, self.since, tuple(models), tuple(self.desk.ongoing), tuple(self.desk.past), self._resources,
                tuple(dict.fromkeys(problems)),
            )  # fmt: skip

    @staticmethod
    def _model_status(post: Post) -> ModelStatus:
        watched, mind = post.watched, post.mind
        return ModelStatus(
            watched.name, watched.version, watched.digest, post.performance.window, mind.drift, mind.accuracy,
            mind.watched, mind.note, mind.tokens,
        )  # fmt: skip

    def history(self, name: str, version: str, since: float = 0.0) -> list[dict[str, Any]]:
        """Points of the past of a version, the oldest first."""
        return list(self.book.history(f"{name}/{version}", since))

    def feedback(self, name: str, labels: Mapping[str, Any]) -> int:
        """Take the true labels of requests that were answered.

        Args:
            name: Name of the model.
            labels: Request id → label: a class (its index or name) or a number, or a list with one for each example.

        Returns:
            How many examples have got their label.

        Raises:
            SettingError: No such model, or a label is none.
            UnknownRequestError: Some requests are not known, which are named; the others' labels are taken.
        """
        if name not in {one for one, _ in self._posts}:
            with self._lock:
                self._find_served()
        if name not in (names := {one for one, _ in self._posts}):
            raise unknown_name("model", name, sorted(names))
        unknown, taken = [], 0
        end = time.monotonic() + _PATIENCE_SECONDS
        with self._lock:
            for request, label in labels.items():
                # A label may come right after its answer, which the worker has not told of yet.
                while not (found := self.book.take(name, request)) and (left := end - time.monotonic()) > 0:
                    self._heard.wait(left)
                if not found:
                    unknown.append(request)
                    continue
                try:
                    taken += self._label(name, found, label)
                except SettingError:
                    for version, at, *answer in found:
                        self.book.predicted(name, version, at, [(request, *answer)])
                    raise
        if unknown:
            shown = ", ".join(map(repr, unknown[:3])) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
            raise UnknownRequestError(
                f"No prediction of {name!r} waits for a label under the request {shown}.",
                remedy="send an id with the request in its header X-Request-ID, and give each label once; ids are kept "
                "for the last 200,000 requests, over a restart only where the monitor has a folder.",
            )
        return taken

    def _label(self, name: str, found: list[Prediction], label: Any) -> int:
        """Take the label of a request; gives of how many examples that is, 0 where what answered is gone."""
        right = {}
        for version, at, answer, copied in found:
            post = self._posts.get((name, version))
            if post is None:  # its version is gone
                continue
            if answer is not None:
                try:
                    right[copied] = post.mind.label(answer, label, at)
                except SettingError:
                    if copied:  # its answers are of another kind: no pair
                        continue
                    raise
                post.changed = True
                self._judge(post)
            elif False in right:  # a shadow that failed was right in nothing
                right[copied] = [False] * len(right[False])
        if right.keys() == {False, True}:
            for outcome in outcomes(right[False], right[True]):
                self._compared.labeled(name, found[-1].version, found[0].version, outcome)
        return len(right.get(False, ()))
