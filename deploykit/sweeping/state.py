"""Rows of a running sweep, and its progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from deploykit.core.contract import Declared
from deploykit.core.digest import json_digest
from deploykit.core.errors import DeploykitError
from deploykit.core.model import Model
from deploykit.core.result import Failure, Finding, Footprint, Latency, LengthTime, Measurement, Result
from deploykit.core.serial import dump
from deploykit.data.dataset import Dataset
from deploykit.measuring.environment import here
from deploykit.metrics._choose import MetricLike, identity
from deploykit.planning.durations import Durations
from deploykit.planning.finished import Built
from deploykit.planning.planned import Planned
from deploykit.reporting.events import OnProgress, Progress
from deploykit.storage.rows import Rows
from deploykit.storage.store import Store
from deploykit.sweeping.scoring import Scored
from deploykit.sweeping.workshop import failure

_Phase = Literal["plan", "build", "accuracy", "latency", "done", "cancelled", "failed"]
#: The time that is left is estimated no more often than this: a sweep shows its progress a hundred times a second.
_ESTIMATE_S = 0.2
#: Share that is over at most before the end.
_NEARLY = 0.995


class State:
    """Rows and progress. Thread-safe: the sweep writes, any thread reads.

    Args:
        store: Rows are committed to it as they change.
        context: What sweeps of one model, dataset and metric share.
        on_progress: Called on every change.
        durations: Expects and remembers how long work takes.

    Attributes:
        slots: Build steps and evaluations done at once.
    """

    def __init__(self, store: Store, context: str, on_progress: OnProgress | None, durations: Durations) -> None:
        self.store = store
        self.context = context
        self._on_progress = on_progress
        self._lock = threading.RLock()
        self._rows: dict[str, Result] = {}
        self._places: dict[str, int] = {}
        self._unstored: set[str] = set()
        self.progress = Progress("plan", "planning", 0, 0)
        self.durations = durations
        self.slots = 1
        self._telling = threading.RLock()
        self._clock = _Clock()
        self._next_estimate = 0.0
        self._foreseen: dict[str, Callable[[], float]] = {}
        self._reached: dict[str, set[str]] = {"built": set(), "evaluated": set(), "timed": set()}
        with store:
            self.earlier = store.rows(context)
            places = store.places(context)
        self._earlier_places = {key: places[key] for key in self.earlier.keys}  # without damaged rows
        self._as_stored: dict[str, tuple[Result, Result]] = {}

    # -- rows -------------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> list[Result]:
        """All rows in order."""
        with self._lock:
            return sorted(self._rows.values(), key=lambda r: self._places[r.key])

    def as_stored(self) -> Rows:
        """All rows that the store has of this context, without reading it: only those that have changed are decoded."""
        import msgspec

        with self._lock:
            rows, places = dict(self._rows), {**self._earlier_places, **self._places}
        for key, row in rows.items():
            known = self._as_stored.get(key)
            if known is None or known[0] is not row:
                self._as_stored[key] = (row, msgspec.json.decode(dump(row), type=Result))
        newer = {key: self._as_stored[key][1] for key in rows}
        return self.earlier.with_newer(newer, sorted(places, key=lambda key: (places[key], key)))

    def row(self, key: str) -> Result:
        """One row."""
        with self._lock:
            return self._rows[key]

    def add(self, planned: Planned, place: int) -> None:
        """Begin a row."""
        row = Result(planned.key, planned.candidate, "pending", planned.label, planned.family, planned.format)
        earlier = self.earlier.get(planned.key)
        if earlier is not None and earlier.status == "measured":
            row = earlier  # stays readable while the sweep finds out that nothing has changed
        with self._lock:
            self._rows[planned.key] = row
            self._places[planned.key] = place
        self.store.put_row(self.context, place, row)

    def _reach(self, stage: str, key: str) -> None:
        with self._lock:
            self._reached[stage].add(key)

    def built(self, key: str, built: Built, notes: dict[str, Any], compiled: str = "") -> None:
        """Note a candidate's artifact, and what was compiled of it for this machine."""
        row = self.row(key)
        self._reach("built", key)
        self._hold(replace(row, artifact=built.path, artifact_digest=built.digest, notes=notes, compiled=compiled))

    def lost(self, key: str, workers: Sequence[str]) -> None:
        """Note that machines were lost with work for a candidate; the work was redone."""
        row = self.row(key)
        if new := [worker for worker in dict.fromkeys(workers) if worker not in row.lost_workers]:
            self._put(replace(row, lost_workers=(*row.lost_workers, *new)))

    def scored(self, key: str, built: Built, scored: Scored, seconds: dict[str, float], *, final: bool = False) -> None:
        """Note a candidate's scores, and how long they took; its latency stays if it was known.

        The row is measured when that is ``final``.
        """
        row = self.row(key)
        self._reach("evaluated", key)
        known = row.measurement if row.artifact_digest == built.digest else None
        measurement = Measurement(
            scored.scores,
            known.latency if known else None,
            built.size_bytes,
            built.compressed_bytes,
            known.peak_memory_bytes if known else None,
            known.environment if known else here(),
            scored.confirmation,
            scored.flips,
            outputs=scored.outputs,
            flips_count=scored.flips_count,
            seconds={**(known.seconds if known else {}), **seconds},
            others=scored.others,
            batch=scored.batch,
            batch_dependent=scored.batch_dependent,
            same_function=scored.same_function,
            footprint=known.footprint if known else None,
            lengths=known.lengths if known else (),
            collapsed=scored.collapsed,
            placed=scored.placed,
        )
        row = replace(row, measurement=measurement, stopped="")
        self._put(replace(row, status="measured", failure=None) if final else row)

    def timed(
        self,
        key: str,
        latency: Latency,
        taken: tuple[Footprint, tuple[LengthTime, ...]],
        seconds: float,
        *,
        final: bool,
        same_as: str = "",
        environment: dict[str, Any] | None = None,
    ) -> None:
        """Note a candidate's latency and what else it took, and the host; the row is measured once it is final."""
        row = self.row(key)
        self._reach("timed", key)
        assert row.measurement is not None
        footprint, lengths = taken
        measurement = replace(
            row.measurement,
            latency=latency,
            peak_memory_bytes=round(footprint.memory_bytes.value) if footprint.memory_bytes else None,
            footprint=footprint,
            lengths=lengths,
            environment=environment or row.measurement.environment,
            seconds={**row.measurement.seconds, "latency": seconds},
        )
        status: Literal["measured", "pending"] = "measured" if final else "pending"
        self._put(replace(row, measurement=measurement, status=status, same_as=same_as, failure=None))

    def explained(self, key: str, profile: str, findings: tuple[Finding, ...]) -> None:
        """Note why a candidate is as fast as it is."""
        row = self.row(key)
        if row.measurement is not None:
            measurement = replace(row.measurement, profile=profile, findings=findings)
            self._put(replace(row, measurement=measurement), say=False)

    def stopped(self, key: str, built: Built, scored: Scored, seconds: dict[str, float], reason: str) -> None:
        """Note that a candidate was given up early, and what was seen of it."""
        self.scored(key, built, scored, seconds)
        self._put(replace(self.row(key), status="stopped", stopped=reason, failure=None))

    def failed(self, key: str, error: DeploykitError, stage: str) -> None:
        """Note why a candidate failed."""
        found: Failure = failure(error, stage, self.store)
        self._put(replace(self.row(key), status="failed", failure=found))

    def _put(self, row: Result, *, say: bool = True) -> None:
        """Keep a row in the store, and show it."""
        if not self._hold(row):
            return
        with self._lock:
            self._unstored.discard(row.key)
            place = self._places[row.key]
        self.store.put_row(self.context, place, row)
        if say:
            self._tell(changed=(row.key,))

    def _hold(self, row: Result) -> bool:
        """Keep a row in memory only, where it is about to change again; whether the store has another one."""
        with self._lock:
            if self._rows.get(row.key) != row:
                self._rows[row.key] = row
                self._unstored.add(row.key)
            return row.key in self._unstored

    # -- progress ---------------------------------------------------------------------------------------------------

    def expect(self, count: int) -> None:
        """More units of work are known."""
        with self._lock:
            self.progress = replace(self.progress, total=self.progress.total + count)

    def finish(self, seconds: float | None) -> None:
        """One unit is done; ``seconds`` is None when it was found finished."""
        with self._lock:
            reused = self.progress.reused + (seconds is None)
            self.progress = replace(self.progress, done=self.progress.done + 1, reused=reused)

    def foresee(self, name: str, seconds: Callable[[], float] | None) -> None:
        """Work that is not expected unit by unit yet: how long it will take, asked again and again; None: it is done.

        Args:
            name: Of the work; a second call takes the place of the first.
            seconds: Gives what is left of it.
        """
        with self._lock:
            if seconds is None:
                self._foreseen.pop(name, None)
            else:
                self._foreseen[name] = seconds

    def pause(self, *, paused: bool) -> None:
        """Whether the work rests: the time does not count."""
        self._clock.pause(paused=paused)

    def say(self, phase: _Phase, doing: str) -> None:
        """Show what runs now: in the first line of ``doing``; a second line is for where there is room."""
        self._tell(phase=phase, doing=doing)

    def tick(self) -> None:
        """Show how much time is left, while nothing else happens."""
        if self._telling.acquire(blocking=False):  # or something is being shown just now
            try:
                if not self.progress.ended and not self._clock.paused:
                    self._tell()
            finally:
                self._telling.release()

    def _tell(self, *, phase: _Phase | None = None, doing: str | None = None, changed: tuple[str, ...] = ()) -> None:
        """Show how far it is; a phase and words of None stay as they are."""
        with self._telling:  # one message after the other, whichever thread has it
            with self._lock:
                before = self.progress
                progress = replace(before, phase=phase or before.phase, changed=changed)
                if doing is not None:
                    what, _, detail = doing.partition("\n")
                    progress = replace(progress, doing=what, detail=detail)
                if before.ended and not progress.ended:
                    return
                failed = sum(r.status == "failed" for r in self._rows.values())
                left, share = self._estimate(progress)
                reached = self._reached
                self.progress = replace(
                    progress, failed=failed, seconds_left=left, share=share, candidates=len(self._rows),
                    built=len(reached["built"]), evaluated=len(reached["evaluated"]), timed=len(reached["timed"]),
                )  # fmt: skip
                event = self.progress
                self.progress = replace(self.progress, changed=())
            if self._on_progress is not None:
                self._on_progress(event)

    def _estimate(self, progress: Progress) -> tuple[float | None, float]:
        """Seconds left, and the share of the time that is over."""
        if progress.phase == "done":
            return 0.0, 1.0
        if progress.ended:
            return 0.0, progress.share
        if not self.progress.total and not self._foreseen:
            return None, 0.0
        now = time.monotonic()
        if now < self._next_estimate:
            return progress.seconds_left, progress.share
        left = self.durations.left(self.slots) + sum(max(0.0, ask()) for ask in tuple(self._foreseen.values()))
        took = time.monotonic() - now
        self._next_estimate = now + max(_ESTIMATE_S, 20 * took)  # thousands of candidates take a while to add up
        share = self._clock.seconds / max(self._clock.seconds + left, 1e-9)
        return left, max(progress.share, min(share, _NEARLY))


class _Clock:
    """How long a sweep has worked."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._paused: float | None = None

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return self._paused is not None

    @property
    def seconds(self) -> float:
        """Seconds so far, without pauses."""
        return (time.monotonic() if self._paused is None else self._paused) - self._began

    def pause(self, *, paused: bool) -> None:
        """Stop, or continue."""
        now = time.monotonic()
        if paused and self._paused is None:
            self._paused = now
        elif not paused and self._paused is not None:
            self._began += now - self._paused
            self._paused = None


def context_name(model: Model, data: Dataset, metric: MetricLike, declared: Declared | None = None) -> str:
    """What sweeps of one model, dataset, meaning and metric share."""
    said = declared or Declared()
    judged = identity(metric, data.labels(), data.classes)
    boxes = [said.boxes] if said.boxes else []
    return json_digest([model.digest, data.digest, judged, said.output, said.scores, *boxes])


def facts(rows: list[Result]) -> dict[str, Any]:
    """Counts for the end of a sweep."""
    return {status: sum(r.status == status for r in rows) for status in ("measured", "failed", "stopped", "pending")}
