"""From outputs on disk to scores: paired with the model as given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import CandidateError
from deploykit.core.result import Interval, Score
from deploykit.measuring.accuracy import extra_metrics, score
from deploykit.measuring.answers import answers, are_classes
from deploykit.measuring.racing import ERROR, Race, Stopped
from deploykit.metrics._choose import MetricLike, choose
from deploykit.metrics._contract import METRICS
from deploykit.sweeping.building import Workshop

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_FLIPS = 1000
#: The baseline's change against itself: known, not estimated.
_NONE = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Scored:
    """Scores of a candidate: all metrics on the evaluation split, the first one on the test split, and the flips.

    ``flips`` are the first of ``flips_count``; ``outputs`` is the key of its outputs, "" when they were not kept.
    """

    scores: tuple[Score, ...]
    confirmation: Score | None
    flips: tuple[int, ...]
    flips_count: int = 0
    outputs: str = ""


class Judge:
    """Scores outputs against labels and the original's outputs.

    Args:
        workshop: Knows where outputs are.
        baseline_key: Evaluation of the model as given.
        metric: The metric the user asked for.

    Raises:
        DatasetError: The metric does not suit model or data.
        CandidateError: The original's own outputs are not finite.
    """

    def __init__(self, workshop: Workshop, baseline_key: str, metric: MetricLike) -> None:
        self._workshop = workshop
        self._baseline_key = baseline_key
        self._original = {s: self._load(baseline_key, s) for s in ("evaluation", "test")}
        outputs = self._original["evaluation"]
        labels = workshop.data.labels()
        self.metric = choose(metric, outputs, labels)
        self.metrics = [self.metric, *extra_metrics(self.metric, outputs, labels)]

    def judge(self, key: str) -> Scored:
        """Scores of an evaluation.

        Raises:
            CandidateError: Outputs are not finite, or of another shape than the original's.
        """
        outputs = self._load(key, "evaluation")
        original = self._original["evaluation"]
        if outputs.shape != original.shape:
            raise CandidateError(
                f"the first output has shape {outputs.shape[1:]}, the original's has {original.shape[1:]}.",
                remedy="report this: a conversion has changed the order or shape of the outputs.",
            )
        scores = tuple(self._score(metric, outputs, "evaluation") for metric in self.metrics)
        if key == self._baseline_key:
            scores = tuple(replace(score, change=_NONE, drop=_NONE) for score in scores)
        test = self._load(key, "test") if len(self._original["test"]) else None
        confirmation = self._score(self.metric, test, "test") if test is not None else None
        flips = _flips(outputs, original, self._workshop.data.labels())
        return Scored(scores, confirmation, tuple(flips[:_MOST_FLIPS]), len(flips), key)

    def race(self, max_drop: float, rival: str = "", rival_drop: float = 1.0) -> Race | None:
        """What a candidate must not surely lose; None when the metric knows more than hits and misses.

        Args:
            max_drop: Largest loss allowed.
            rival: See `Race`.
            rival_drop: See `Race`.
        """
        if not self.metric.binary or self.metric.name not in METRICS.names():
            return None
        original = str(self._workshop.outputs_path(self._baseline_key, "evaluation"))
        return Race(self.metric.name, original, max_drop, rival, rival_drop)

    def stopped(self, found: Stopped) -> Scored:
        """Scores of a candidate that was stopped: of the examples up to then, with the bound that stopped it."""
        drop = Interval(found.drop, found.low, 2 * found.drop - found.low)
        change = Interval(-drop.value, -drop.high, -drop.low) if self.metric.higher_is_better else drop
        score = Score(found.metric, found.value, change, drop, found.examples, self.metric.higher_is_better, ERROR)
        return Scored((score,), None, ())

    def _score(self, metric: Any, outputs: NDArray[Any], split: str) -> Score:
        original = self._original[split]
        labels = self._workshop.data.labels(split)
        truth = labels if metric.truth == "labels" and labels is not None else original
        return score(metric, metric.values(outputs, truth), metric.values(original, truth))

    def _load(self, key: str, split: str) -> NDArray[Any]:
        import numpy as np

        path = self._workshop.outputs_path(key, split)
        if not path.exists():
            return np.empty((0,))
        found: NDArray[Any] = np.load(path, allow_pickle=False)
        return found


def _flips(outputs: NDArray[Any], original: NDArray[Any], labels: NDArray[Any] | None) -> list[int]:
    if not are_classes(original, labels):
        return []
    found: list[int] = (answers(outputs) != answers(original)).nonzero()[0].tolist()
    return found
