"""What a store already holds of a plan."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from deploykit.core.candidate import Target
from deploykit.core.contract import Declared
from deploykit.core.errors import NoStoreError
from deploykit.core.model import Model
from deploykit.core.result import Result
from deploykit.data.dataset import Dataset
from deploykit.measuring.environment import hardware
from deploykit.planning.finished import Built, Finished
from deploykit.planning.protocol import Protocol, measurement_key, series_key, timed_key
from deploykit.planning.steps import BuildStep
from deploykit.storage.store import Store

#: Fewer rows do not show how often answers flip.
_FEW = 3
#: More rows of one sweep add nothing.
_MANY = 1000


class Known:
    """Finished work of one model and its data, looked up in an open store.

    Args:
        store: The store.
        model: The original model.
        data: The data, checked.
        protocol: How latency would be measured.
        max_drop: Loss above which no candidate is wanted, None when there is no limit.
        declared: What the user says of the signature.
    """

    def __init__(
        self, store: Store, model: Model, data: Dataset, protocol: Protocol, max_drop: float | None,
        declared: Declared | None = None,
    ) -> None:  # fmt: skip
        self._store = store
        self._model = model
        self._data = data
        self._protocol = protocol
        self._racing = max_drop is not None
        self._finished = Finished(store, model, data, declared)

    def built(self, step: BuildStep | None) -> Built | None:
        """What a step has left, None when it is still to do or has failed for good; None means the original model."""
        found = self._finished.built(step)
        return found if isinstance(found, Built) else None

    def failed(self, step: BuildStep | None) -> bool:
        """Whether a step has failed in a way that trying again does not help."""
        found = self._finished.built(step)
        return found is not None and not isinstance(found, Built)

    def evaluated(self, built: Built, target: Target) -> bool:
        """Whether an artifact was evaluated on a runtime's device, or was stopped early."""
        key = self._finished.evaluation_key(built, target)
        if self._finished.evaluated(key) is not None:
            return True
        return self._racing and bool((self._store.record("evaluation", key) or {}).get("stopped"))

    def launched(self, members: list[tuple[str, Target]], baseline: tuple[str, Target]) -> int:
        """Launches of artifacts (by digest) that a sweep has timed together and has not finished."""
        protocol = self._protocol
        keys = [self._timing_key(*member) for member in members]
        series = series_key(keys, self._timing_key(*baseline), protocol.rounds, "screen" if protocol.screen else "")
        return min(len(self._store.launches(series)), protocol.screen or protocol.launches)

    def _timing_key(self, digest: str, target: Target) -> str:
        return measurement_key(digest, target, self._data.digest, hardware(), self._protocol)

    def timed(self, built: Built, target: Target, baseline: tuple[str, Target]) -> bool:
        """Whether an artifact was timed here, beside a baseline (by digest)."""
        key = timed_key(self._timing_key(built.digest, target), self._timing_key(*baseline))
        record = self._store.record("timed", key)
        return record is not None and not (record.get("screened") and not self._protocol.screen)

    @property
    def has_data(self) -> bool:
        """Whether the store has the data."""
        return (self._finished.data_folder / "dataset.json").exists()

    @cached_property
    def flips(self) -> float | None:
        """Median share of evaluation examples whose answer changed, over earlier candidates; None when unknown."""
        shares = [
            row.measurement.changed / row.measurement.score.examples
            for facts, rows in self._sweeps
            for row in rows
            if row.measurement and row.key != facts["baseline"] and row.status == "measured" and not facts["relative"]
        ]
        return statistics.median(shares) if len(shares) >= _FEW else None

    @property
    def rows(self) -> list[Result]:
        """Candidates of earlier sweeps of this model on these data."""
        return [row for _, rows in self._sweeps for row in rows]

    @cached_property
    def _sweeps(self) -> list[tuple[dict[str, Any], Sequence[Result]]]:
        """Facts and rows of the earlier sweeps of this model on these data."""
        data = self._store.relative(self._finished.data_folder)
        return [
            (facts, self._store.rows(context)[:_MANY])
            for context, facts in self._store.sweeps().items()
            if facts["model"]["digest"] == self._model.digest and facts["data"] == data
        ]


def opened(path: str | Path) -> Store | None:
    """The store at a path, None when there is none yet.

    Raises:
        StoreError: There is something else, or it cannot be read.
    """
    folder = Path(path).expanduser()
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        return Store(folder)
    except NoStoreError:
        if folder.is_dir():
            return None
        raise
