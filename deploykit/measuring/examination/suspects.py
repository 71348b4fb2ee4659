"""Whether the original model does its job, and the usual suspects when it does not: each is tried, none is applied."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.core.check import BaselineCheck, Suspicion
from deploykit.core.contract import CLASSES, Contract, Declared
from deploykit.core.errors import DeploykitError
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.measuring.answers import answers, read, read_as, scored_of
from deploykit.measuring.examination.oddities import odd_outputs, odd_ranges
from deploykit.measuring.examination.readings import Try, readings
from deploykit.measuring.examination.running import run
from deploykit.measuring.examination.variations import code_of, flags_of, variants
from deploykit.measuring.statistics import paired_binary, t_test
from deploykit.metrics._choose import choose
from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Probability that a right reading is suspected, over all that is tried.
_ERROR = 1e-3
#: Gain that is worth a word: of accuracies; of errors, as a share; of the likelihood of labels, in nats.
_GAIN, _RELATIVE_GAIN, _LIKELIHOOD_GAIN = 0.05, 0.2, 0.2
#: Seconds that trying may take.
_BUDGET_S = 1.2
_LEAST = 40
#: An order of classes is fitted to the examples, so others that explain as much come first.
_FITTED = 0.02
#: Probability below which a label is as unlikely as can be.
_RARE = 1e-7
#: Share of the most frequent class from which a good model may hardly ever answer another one.
_RARE_CLASSES = 0.6
#: Probability that scores which know nothing of rare classes are taken to know them.
_TOLD = 0.05
#: An error above this share of the one of always giving the mean explains nothing.
_NO_BETTER = 0.9


def check(
    session: Any, data: Dataset, contract: Contract, outputs: Mapping[str, NDArray[Any]], declared: Declared
) -> BaselineCheck:
    """Check the original model.

    Args:
        session: The opened model; it takes the contract's names.
        data: A sample; all of its evaluation split is used.
        contract: What everything is taken to mean.
        outputs: What the model gave for the sample, by name.
        declared: What the user says.
    """
    return _Checking(session, data, contract, outputs, declared).run()


class _Checking:
    def __init__(
        self, session: Any, data: Dataset, contract: Contract, outputs: Mapping[str, NDArray[Any]], declared: Declared
    ) -> None:
        self._session = session
        self._data = data
        self._contract = contract
        self._outputs = outputs
        self._declared = declared
        self._labels = data.labels()
        self._count = len(data.splits["evaluation"])
        self._boxes = contract.scored.kind == "boxes"  # there is no figure of one image: its pseudo-value stands

    def run(self) -> BaselineCheck:
        scored = self._outputs[self._contract.scored.name]
        warnings = [
            *odd_outputs(self._contract, self._outputs, self._labels, self._tells_apart),
            *odd_ranges(self._session, self._data),
        ]
        if self._labels is None or self._missing(scored):
            return BaselineCheck(self._count, warnings=tuple(warnings))
        scores = read_as(scored_of(self._outputs, self._contract), self._contract)
        try:
            metric = choose("auto", scores, self._labels, self._contract.scored.kind, by_example=not self._boxes)
        except DeploykitError as error:
            return BaselineCheck(self._count, warnings=(*warnings, *self._pooled(scores, str(error))))
        values = metric.values(scores, self._labels)
        chance = self._chance(metric)
        found = BaselineCheck(
            self._count, metric.name, float(values.mean()), chance, not metric.higher_is_better, tuple(warnings)
        )
        suspicions, tried = self._suspicions(metric, values, scores, chance)
        if not suspicions and not self._tells_apart(scores) and (weak := self._weak(found, values)):
            warnings.append(weak)
        return replace(found, warnings=tuple(warnings), suspicions=tuple(suspicions), tried=tuple(tried))

    def _pooled(self, scores: NDArray[Any], reason: str) -> list[str]:
        """Why nothing can be said example by example; [] where the metric is one of all examples together."""
        try:
            choose("auto", scores, self._labels, self._contract.scored.kind, self._contract.labels.named)
        except DeploykitError:
            return [reason]
        return []

    def _missing(self, scored: NDArray[Any]) -> bool:
        import numpy as np

        return scored.dtype.kind == "f" and bool(np.isnan(scored).all())

    def _chance(self, metric: Metric) -> float:
        import numpy as np

        labels = self._labels
        assert labels is not None
        if not metric.higher_is_better:
            usual = np.broadcast_to(labels.astype(np.float64).mean(axis=0), labels.shape)
            error = np.abs(labels - usual) if metric.name == "mean_absolute_error" else (labels - usual) ** 2
            return float(error.mean())
        if labels.dtype.kind in "iub" and self._contract.labels.kind == "several":
            usual = np.broadcast_to(labels.mean(axis=0) > 0.5, labels.shape).astype(np.float64)
            return float(max(metric.values(usual, labels).mean(), metric.values(np.zeros_like(usual), labels).mean()))
        if labels.dtype.kind in "iub":
            there = labels[labels >= 0] if self._contract.labels.kind == "positions" else labels  # not padding
            _, counts = np.unique(there, return_counts=True)
            return float(counts.max() / there.size)
        return 0.0

    def _weak(self, found: BaselineCheck, values: NDArray[Any]) -> str:
        """Whether the model is no better than always answering the same."""
        import numpy as np

        spread = 2 * float(values.std()) / max(1.0, float(np.sqrt(len(values))))
        if found.relative:
            if found.value < found.chance * 0.98 or not found.chance:
                return ""
        elif (
            found.value > found.chance + spread
            or (found.chance > 0.9 and found.value > found.chance)
            or found.value == 1.0  # of labels that are all of one class
        ):
            return ""
        return (
            "The original model does no better than always giving the same answer. Check that data and labels are "
            "those it was trained on; no other scale, channel order, axes, labels or output explains it."
        )

    def _tells_apart(self, scores: NDArray[Any]) -> bool:
        """Whether scores know the labels though the answers do not: of rare classes none may ever be the likeliest.

        Labels get higher scores for their class than other examples do, as the rank test of each class sees it.
        """
        import numpy as np

        labels = self._labels
        if labels is None or self._contract.labels.kind != "classes" or scores.ndim != 2 or scores.dtype.kind != "f":
            return False
        if not np.isfinite(scores).all() or len(labels) < 2:
            return False
        right, most = float((answers(scores) == labels).mean()), float(np.bincount(labels).max() / len(labels))
        if most < _RARE_CLASSES or right < most - 0.02:
            return False
        from scipy.stats import mannwhitneyu

        found = [c for c in np.unique(labels).tolist() if 0 <= c < scores.shape[1] and (labels != c).any()]
        if len(found) < 2:
            return False
        tests = [
            mannwhitneyu(scores[labels == c, c], scores[labels != c, c], alternative="greater").pvalue for c in found
        ]
        return bool(min(tests) < _TOLD / (len(found) - 1))

    # -- what explains it -------------------------------------------------------------------------------------------

    def _suspicions(
        self, metric: Metric, values: NDArray[Any], scores: NDArray[Any], chance: float
    ) -> tuple[list[Suspicion], list[str]]:
        import numpy as np

        tries = [*readings(self._contract, self._labels, self._outputs, scores, metric), *self._preprocessings()]
        if not tries:
            return [], []
        places = self._affordable(sum(t.preprocess is not None for t in tries))
        now = self._likelihood(scores[places], self._labels[places]) if self._labels is not None else None
        found: list[tuple[float, int, Suspicion]] = []
        for number, one in enumerate(tries):
            try:
                other, likelihood = self._value(one, metric, places)
            except (DeploykitError, ValueError):
                continue  # another reading that does not even run explains nothing
            if other is None:
                continue
            before = values[places]
            better = _better(metric, before, other, now, likelihood, len(tries))
            if better:
                mean = float(other.mean())
                if (mean <= chance) if metric.higher_is_better else (chance and mean > _NO_BETTER * chance):
                    continue  # no better than always answering the same: it is as wrong in another way
                rank = mean if metric.higher_is_better else -mean
                rank -= _FITTED if one.kind == "classes" else 0.0
                if likelihood is not None and np.isfinite(likelihood).all():
                    rank += 0.01 * float(likelihood.mean())
                found.append((rank, -number, self._suspicion(one, metric, float(before.mean()), mean)))
        found.sort(key=lambda item: (item[0], item[1]), reverse=True)
        return [s for _, _, s in found[:3]], [t.words for t in tries]

    def _affordable(self, runs: int) -> NDArray[Any]:
        """As many examples as all tries can be run on in the time there is."""
        import numpy as np

        some = {n: v[:8] for n, v in self._data.batch("evaluation", slice(0, 8)).items()}
        began = time.perf_counter()
        self._session.predict(some)
        one = (time.perf_counter() - began) / max(1, len(next(iter(some.values()))))
        most = int(_BUDGET_S / (one * max(1, runs)))
        return np.arange(max(min(_LEAST, self._count), min(self._count, most)))

    def _value(self, one: Try, metric: Metric, places: NDArray[Any]) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """Values of the metric, and likelihoods, under another reading."""
        import numpy as np

        assert self._labels is not None
        labels = self._labels[places] if one.labels is None else one.labels[places]
        meaning = one.output or self._contract.scored
        outputs = self._outputs
        if one.preprocess is not None:
            whole = {n: v[places] for n, v in self._data.splits["evaluation"].inputs.items()}
            batch = replace(self._data, preprocess={**self._data.preprocess, **one.preprocess}).prepare(whole)
            outputs, places = self._answers(batch, one.preprocess), np.arange(len(places))
        value = scored_of(outputs, self._contract) if meaning.kind == "boxes" else outputs[meaning.name]
        scores = read(value[places], meaning, self._contract.labels.named)
        scores = scores if one.convert is None else one.convert(scores)
        if metric.unsuitable(scores, labels):
            return None, None
        return metric.values(scores, labels), self._likelihood(scores, labels, meaning.kind)

    def _answers(
        self, batch: Mapping[str, NDArray[Any]], preprocess: Mapping[str, Preprocess]
    ) -> dict[str, NDArray[Any]]:
        """What the model gives for other preprocessing, which says whether data are its own integers."""
        contract = self._contract
        raw = {name: step.raw for name, step in preprocess.items()}
        inputs = tuple(replace(i, raw=raw.get(i.name, i.raw)) for i in contract.inputs)
        if inputs == contract.inputs:
            return run(self._session, batch)
        try:
            return run(self._session.follow(replace(contract, inputs=inputs)), batch)
        finally:
            self._session.follow(contract)

    def _likelihood(self, scores: NDArray[Any], labels: NDArray[Any], kind: str = "") -> NDArray[np.float64] | None:
        """Log-probability of each label; None when answers are not classes."""
        import numpy as np

        kind = kind or self._contract.scored.kind
        if scores.ndim != 2 or labels.ndim != 1 or scores.dtype.kind != "f" or kind not in CLASSES:
            return None
        values = scores.astype(np.float64)
        rows = np.arange(len(values))
        if kind in ("probabilities", "probability"):
            chosen = values[rows, labels]
        else:
            with np.errstate(invalid="ignore", divide="ignore"):
                values = values - values.max(axis=1, keepdims=True)
                chosen = np.nan_to_num((np.exp(values) / np.exp(values).sum(axis=1, keepdims=True))[rows, labels])
        found: NDArray[np.float64] = np.log(np.clip(chosen, _RARE, 1.0))
        return found

    def _suspicion(self, one: Try, metric: Metric, before: float, after: float) -> Suspicion:
        if metric.higher_is_better:
            name = "right" if metric.name == "accuracy" else metric.label
            text = f"{100 * before:.0f} % {name} as given, {100 * after:.0f} % with {one.words}."
        else:
            text = f"{metric.label} {before:.4g} as given, {after:.4g} with {one.words}."
        return Suspicion(one.kind, text, one.remedy, one.flags, one.label, one.setting, after)

    def _preprocessings(self) -> Iterator[Try]:
        """Other preprocessing, the most usual mistakes first."""
        for meaning in self._contract.inputs:
            raw = self._data.splits["evaluation"].inputs.get(meaning.name)
            if (
                raw is None
                or raw.dtype.kind not in "fiub"
                or (not meaning.dtype.startswith(("float", "bfloat")) and not meaning.scale)
            ):
                continue
            step = self._data.preprocess.get(meaning.name, Preprocess())
            seen: set[Preprocess] = {step}
            for kind, words, label, other in variants(step, raw, meaning):
                if other in seen:
                    continue
                seen.add(other)
                several = len(self._contract.inputs) > 1
                code = code_of(other)
                remedy = f"preprocess={{{meaning.name!r}: {code}}}" if several else f"preprocess={code}"
                yield Try(kind, words, remedy, flags_of(other), label, {"preprocess": {meaning.name: other.to_json()}},
                           preprocess={meaning.name: other})  # fmt: skip


def _better(
    metric: Metric, before: NDArray[Any], after: NDArray[Any], likelihood: NDArray[Any] | None,
    other: NDArray[Any] | None, tries: int,
) -> bool:  # fmt: skip
    """Whether another reading is better beyond doubt."""
    level = _ERROR / max(tries, 1)
    gain = float((after - before).mean()) if metric.higher_is_better else float((before - after).mean())
    if not metric.higher_is_better:
        scale = float(before.mean())
        if not scale > 0 or gain < _RELATIVE_GAIN * scale:
            return False
        up, down = int((after < before).sum()), int((after > before).sum())  # a few large errors hide all others
        return bool(t_test((before - after).tolist()) < level or paired_binary(up, down, len(before))[1] < level)
    if metric.binary:
        up, down = int((after > before).sum()), int((after < before).sum())
        p_value = paired_binary(up, down, len(before))[1]
    else:
        p_value = t_test((after - before).tolist())
    if gain >= _GAIN and p_value < level:
        return True
    if likelihood is None or other is None or gain < -0.01:
        return False
    nats = other - likelihood
    return bool(nats.mean() >= _LIKELIHOOD_GAIN and t_test(nats.tolist()) < level and gain >= 0.0)
