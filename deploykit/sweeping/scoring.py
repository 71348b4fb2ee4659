"""From outputs on disk to scores: paired with the original model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import CandidateError
from deploykit.core.mapped import blocks, is_large, let_go, open_mapped, steps
from deploykit.core.result import Interval, Judged, Score
from deploykit.measuring.accuracy import Paired, compare, compare_parts, extra_metrics, score
from deploykit.measuring.answers import answers, are_classes, read_as
from deploykit.measuring.attacks import Attacked
from deploykit.measuring.grouped import numbered
from deploykit.measuring.padding import compared, tokens
from deploykit.measuring.proving import TOLERANCE, gap
from deploykit.measuring.racing import ERROR, Race, Stopped
from deploykit.metrics._choose import MetricLike, choose
from deploykit.metrics._collapse import collapses
from deploykit.metrics._contract import METRICS, Metric, Parts, Pooled
from deploykit.metrics._custom import Custom
from deploykit.sweeping.workshop import Workshop

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_FLIPS = 1000
#: Examples that are looked at for what is lost altogether.
_LOOKED = 20_000
#: Error of an output that is not scored, relative to its spread, that is rounding.
_SAME_ERROR = 2e-3
#: Accuracies under attack, by what has them of `Attacked`.
UNDER_ATTACK = {"robust_accuracy": "both", "accuracy_under_pgd": "transferred", "accuracy_under_square": "square"}
#: The baseline's change against itself: known, not estimated.
_NONE = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Scored:
    """Scores of a candidate: all metrics on the evaluation split, the first one on the test split, and the flips.

    ``flips`` are the first of ``flips_count``; ``outputs`` is the key of its outputs, "" when they were not kept; for
    the rest see `deploykit.core.result.Measurement`.
    """

    scores: tuple[Score, ...]
    confirmation: Score | None
    flips: tuple[int, ...]
    flips_count: int = 0
    outputs: str = ""
    others: dict[str, Judged] = field(default_factory=dict)
    batch: int = 0
    batch_dependent: bool = False
    same_function: bool = False
    collapsed: tuple[str, ...] = ()
    placed: str = ""


class _Hits(Metric):
    """Hits and misses that are known already."""

    binary = True

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]  # one class for all accuracies under attack
        self.label = name.replace("_", " ")  # type: ignore[misc]

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """They are not made of outputs."""
        del outputs, truth
        return "comes from attacks"

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[Any]:
        """The hits themselves."""
        del truth
        return outputs


class Judge:
    """Scores outputs against labels and the original's outputs.

    Args:
        workshop: Knows where outputs are, and what they mean.
        baseline_key: Evaluation of the original model.
        metric: The metric the user asked for.

    Raises:
        DatasetError: The metric does not suit model or data.
        CandidateError: The original's own outputs are NaN.
    """

    def __init__(self, workshop: Workshop, baseline_key: str, metric: MetricLike) -> None:
        self._workshop = workshop
        self._contract = workshop.contract
        self._baseline_key = baseline_key
        self._attacked: Attacked | None = None
        self._original = {s: self._load(baseline_key, s) for s in ("evaluation", "test")}
        outputs, labels = read_as(self._original["evaluation"], self._contract), workshop.data.labels()
        kind, names = self._contract.scored.kind, self._contract.labels.named
        _check_numbers(self._original["evaluation"], "the original model")
        self._shape = outputs.shape
        self._there: dict[str, NDArray[np.bool_] | None] = {}
        self.metric = choose(metric, outputs, labels, kind, names)
        self.metrics = [self.metric, *extra_metrics(self.metric, outputs, labels, kind, names)]

    def judge(
        self, key: str, record: dict[str, Any], *, converted: bool = False, attacked: Attacked | None = None,
        attacked_groups: NDArray[Any] | None = None,
    ) -> Scored:  # fmt: skip
        """Scores of an evaluation.

        Args:
            key: Of the evaluation.
            record: What it found.
            converted: Whether nothing was done to the model but conversions: when its answers are the original's to
                rounding it is the original, and no data are needed to say so.
            attacked: What attacks have found; those on the original are judged first.
            attacked_groups: What each of these examples is a part of; None where they stand for themselves.

        Raises:
            CandidateError: Outputs are NaN, or of another shape than the original's.
        """
        outputs = self._load(key, "evaluation")
        original = self._original["evaluation"]
        if outputs.shape != original.shape:
            raise CandidateError(
                f"Output {self._contract.scored.name!r} has shape {outputs.shape[1:]}, the original's has "
                f"{original.shape[1:]}.",
                remedy="please report this: a conversion has changed the shape of the outputs.",
            )
        _check_numbers(outputs, "this candidate")
        scores = (self._score(self.metric, outputs, "evaluation"), *self._beside(outputs))
        if attacked is not None:
            scores += self._under_attack(attacked, attacked_groups, original=key == self._baseline_key)
        others = {name: Judged.from_json(found) for name, found in record.get("others", {}).items()}
        test = self._load(key, "test") if len(self._original["test"]) else None
        confirmation = self._score(self.metric, test, "test") if test is not None else None
        flips, flips_count = self._flips(outputs)
        same = key == self._baseline_key or (
            converted and not flips_count and same_numbers(outputs, original) and all(map(_is_same, others.values()))
        )
        if same:
            scores = tuple(replace(score, change=_NONE, drop=_NONE, p_value=1.0) for score in scores)
        return Scored(
            scores, confirmation, tuple(flips), flips_count, key, others, int(record.get("batch", 0)),
            bool(record.get("batch_dependent")), same, () if same else self._collapsed(outputs),
            str(record.get("placed", "")),
        )  # fmt: skip

    def _beside(self, outputs: NDArray[Any]) -> Iterator[Score]:
        """What is measured beside the metric; without those that these outputs leave undefined."""
        for metric in self.metrics[1:]:
            with suppress(CandidateError) if isinstance(metric, Pooled) else nullcontext():
                yield self._score(metric, outputs, "evaluation")

    def _under_attack(
        self, attacked: Attacked, groups: NDArray[Any] | None, *, original: bool
    ) -> tuple[Score, ...]:  # fmt: skip
        """Accuracies under attack, paired with the original's."""
        import numpy as np

        self._attacked = attacked if original else self._attacked
        found = []
        for metric, name in UNDER_ATTACK.items():
            values = np.array(getattr(attacked, name), np.float64)
            if self._attacked is not None and len(values):
                before = np.array(getattr(self._attacked, name), np.float64)
                found.append(score(_Hits(metric), values, before, groups))
        return tuple(found)

    def race(self, max_drop: float, rival: str = "", rival_drop: float = 1.0) -> Race | None:
        """The loss at which a candidate is stopped; None when the metric knows more than hits and misses.

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
        import numpy as np

        labels = self._workshop.data.labels(split) if metric.truth == "labels" else None
        own = isinstance(metric, Custom)  # the user's function gets what the model gives, and all of it
        there = None if own or metric.truth != "original" else self._tokens(split)
        if own or isinstance(metric, Pooled):
            if isinstance(metric, Pooled) and not metric.among and is_large(outputs):
                return self._pooled(metric, outputs, split, labels)
            after, before = outputs, self._original[split]
            if not own:
                after, before = (compared(metric, read_as(v, self._contract), there) for v in (after, before))
            truth = before if labels is None else np.asarray(labels)
            return compare(metric, after, before, truth, self._groups(split))
        paired = Paired(metric, numbered(self._groups(split)))
        for part, *both in self._parts(outputs, split):
            after, before = (compared(metric, v, there, part) for v in both)
            truth = before if labels is None else np.asarray(labels[part])
            paired.add(metric.values(after, truth), metric.values(before, truth))
        return paired.score()

    def _pooled(self, metric: Pooled, outputs: NDArray[Any], split: str, labels: NDArray[Any] | None) -> Score:
        """As `_score`: what examples contribute is held, their outputs are not."""
        import numpy as np

        found: tuple[list[Parts], list[Parts]] = ([], [])
        for part, after, before in self._parts(outputs, split):
            truth = before if labels is None else np.asarray(labels[part])
            for side, values in zip(found, (after, before), strict=True):
                side.append(metric.parts(values, truth))
        after_parts, before_parts = map(metric.joined, found)
        return compare_parts(metric, after_parts, before_parts, self._groups(split))

    def _tokens(self, split: str) -> NDArray[np.bool_] | None:
        """Which positions of the output hold tokens; see `deploykit.measuring.padding`."""
        if split not in self._there:
            self._there[split] = tokens(
                self._workshop.data, split, read_as(self._original[split][:1], self._contract)
            )  # fmt: skip
        return self._there[split]

    def _groups(self, split: str) -> NDArray[Any] | None:
        """What each example of a split is a part of; None where they stand for themselves."""
        import numpy as np

        groups = self._workshop.data.splits[split].groups
        return None if groups is None else np.asarray(groups)

    def _parts(self, outputs: NDArray[Any], split: str) -> Iterator[tuple[slice, NDArray[Any], NDArray[Any]]]:
        """A candidate's outputs and the original's as metrics take them, part by part, with the places."""
        original = self._original[split]
        for part, block in blocks(outputs, steps(outputs)):
            yield part, read_as(block, self._contract), read_as(original[part], self._contract)
            let_go(original)

    def _flips(self, outputs: NDArray[Any]) -> tuple[list[int], int]:
        """The first examples that are answered differently, and how many there are."""
        found: list[int] = []
        count = 0
        text = self._contract.scored.kind == "text"
        if text or are_classes(self._contract.scored, self._shape):
            for part, after, before in self._parts(outputs, "evaluation"):
                places = ((after != before) if text else (answers(after) != answers(before))).nonzero()[0]
                count += len(places)
                found += (places[: _MOST_FLIPS - len(found)] + part.start).tolist()
        return found, count

    def _collapsed(self, outputs: NDArray[Any]) -> tuple[str, ...]:
        """What is lost altogether, in the first examples of the evaluation split: what is lost is so in all."""
        import numpy as np

        first, labels = slice(0, _LOOKED), self._workshop.data.labels()
        after, before = (read_as(o[first], self._contract) for o in (outputs, self._original["evaluation"]))
        return collapses(
            self.metric.name, after, before, None if labels is None else np.asarray(labels[first]),
            self._contract.scored, self._contract.labels.named,
        )  # fmt: skip

    def _load(self, key: str, split: str) -> NDArray[Any]:
        import numpy as np

        path = self._workshop.outputs_path(key, split)
        if not path.exists():
            return np.empty((0,))
        found = open_mapped(path)
        return found if is_large(found) else found.copy()


def same_numbers(outputs: NDArray[Any], original: NDArray[Any]) -> bool:
    """Whether outputs are the original's to rounding."""
    return gap(original, outputs, TOLERANCE) <= TOLERANCE


def _is_same(judged: Judged) -> bool:
    exact = judged.error is None or judged.error <= _SAME_ERROR
    return exact and not judged.problem and not judged.missing and judged.agreement in (None, 1.0)


def _check_numbers(outputs: NDArray[Any], whose: str) -> None:
    """Refuse NaN; −∞ is a score."""
    import numpy as np

    if outputs.dtype.kind != "f" or not outputs.size:
        return
    examples = numbers = 0
    for _, block in blocks(outputs, steps(outputs)):
        bad = np.isnan(block).reshape(len(block), -1)
        examples, numbers = examples + int(bad.any(axis=1).sum()), numbers + int(bad.sum())
    if examples:
        raise CandidateError(
            f"The outputs of {whose} are NaN for {100 * examples / len(outputs):.1f} % of the examples "
            f"({examples:,} of {len(outputs):,}; {100 * numbers / outputs.size:.1f} % of the numbers).",
            remedy="use a milder setting, or keep the affected layers in float32; check the range of the data.",
        )
