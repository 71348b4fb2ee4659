"""``dk.compare``: whether a challenger may take the incumbent's place, with error rates that are stated beforehand."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from deploykit.artifacts.artifact import Artifact
from deploykit.core import extras
from deploykit.core.errors import CandidateError, SettingError, from_json
from deploykit.core.model import Model
from deploykit.core.result import GROUPS, Interval, Score
from deploykit.core.settings.option import complete, takes
from deploykit.core.settings.options import BuildOptions
from deploykit.engines._contract import Running, start
from deploykit.exporters._export import SupportsExport
from deploykit.measuring.accuracy import score
from deploykit.measuring.answers import read_as
from deploykit.measuring.environment import here
from deploykit.measuring.exportable import Exportable
from deploykit.measuring.grouped import as_groups, design_effect, numbered, totals
from deploykit.measuring.latency import Launch, Timed, Timer
from deploykit.measuring.outputs import evaluation_task
from deploykit.measuring.padding import compared, tokens
from deploykit.measuring.ratios import BASELINE, CLONE, log_ratios
from deploykit.measuring.statistics import t_interval, t_test
from deploykit.metrics._choose import MetricLike, check_name, choose
from deploykit.metrics._contract import Metric
from deploykit.planning.limits import Limits
from deploykit.reporting import numbers
from deploykit.runtimes._contract import RUNTIMES
from deploykit.updating import exact
from deploykit.updating.comparison import ORDER, Comparison, GateCheck, GatePlan, GateSide, GateVerdict
from deploykit.updating.contestant import Contestant, compared_examples, contestant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Name of the challenger's series of latencies.
_CHALLENGER = "challenger"


@takes(BuildOptions)
def compare(
    incumbent: Artifact | Model | Exportable | SupportsExport | str | Path,
    challenger: Artifact | Model | Exportable | SupportsExport | str | Path,
    data: Any,
    *,
    max_drop: float = 0.01,
    max_latency_ms: float | None = None,
    alpha: float = 0.01,
    power: float = 0.9,
    metric: MetricLike = "auto",
    split: str = "held_out",
    expected_differing: float = 0.05,
    launches: int = 10,
    stated: Callable[[GatePlan], None] | None = None,
    **options: Unpack[BuildOptions],
) -> Comparison:
    """Decide whether a challenger may take the incumbent's place: is it as good, within a limit, and quick enough?

    Both answer the same examples in child processes and are compared example by example. Hits and misses get an exact
    test (Berger and Boos 1994): the error rates hold whatever the number of examples. Other metrics get the worse one
    of Student's t and the studentized bootstrap, which is approximate. The latency is measured as in a sweep: each
    launch opens both from scratch, and they take turns.

    - ACCEPT: every limit is confirmed to be kept.
    - REGRESSION: a limit is confirmed to be missed.
    - INFEASIBLE: undecided, and it could not be otherwise: there are fewer examples than ``GatePlan.least``, or the
      incumbent itself misses the latency limit on this machine and the challenger is not confirmed to be slower.
    - INCONCLUSIVE: undecided; ``Comparison.needed`` says how many examples would decide it.

    Args:
        incumbent: What is there: an artifact or its folder, a model or its file, or a candidate.
        challenger: What may take its place. Artifacts and candidates bring their own preprocessing; a model file gets
            that of ``data``.
        data: A Dataset or a pair (x, y). Without labels, answers are compared with the incumbent's.
        max_drop: Largest loss allowed, above 0: absolute for accuracies, relative for errors.
        max_latency_ms: Largest median latency of one inference allowed; None: latency is not measured.
        alpha: Largest probability of ACCEPT for a challenger beyond a limit, and of REGRESSION for one within all.
        power: Probability of the right verdict for which the examples needed are stated.
        metric: Name of a metric, ``"auto"``, or a function of (outputs, labels), as in ``dk.sweep``.
        split: Which examples: ``"held_out"`` (evaluation and test), ``"evaluation"``, ``"test"``, or ``"all"`` where
            neither model was trained on any of them.
        expected_differing: Share of examples of which you expect only one of both to get right: what the number of
            examples that is stated beforehand is worked out for.
        launches: Timing launches.
        stated: Called with what is decided at which error rates, before a model is run.
        **options: How the signature of a model file is read, and limits of child processes.

    Returns:
        The verdict with everything it rests on; true when the challenger is accepted.

    Raises:
        SettingError: A value out of range, an unknown metric, or something that is not a model.
        DatasetError: The data do not fit one of both.
        DeploykitError: A model cannot be run, or an artifact has changed.

    Example:
        >>> built = dk.build(model, dk.Step("prune_magnitude", {"sparsity": 0.9}), data)
        >>> dk.compare(model, built, data).verdict
        'REGRESSION'
    """
    extras.check("sweep")
    _check({
        "max_drop": max_drop, "max_latency_ms": max_latency_ms, "alpha": alpha, "power": power,
        "expected_differing": expected_differing, "launches": launches,
    })  # fmt: skip
    check_name(metric)
    settings = complete(BuildOptions, options)
    examples = compared_examples(data, split)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploykit-gate-")))
        sides = tuple(contestant(source, examples, stack, settings) for source in (incumbent, challenger))
        running = stack.enter_context(start("local", threading.Event()))
        gate = _Gate(sides, scratch, running, Limits.of(settings), alpha, settings["seed"])
        plan = _plan(examples, max_drop, max_latency_ms, alpha, power, expected_differing)
        if stated is not None:
            stated(plan)
        return gate.decide(plan, metric, launches)


def _check(given: dict[str, Any]) -> None:
    """Refuse what is out of range: a value above a number and below another one."""
    ranges = {"max_drop": (0, 1), "alpha": (0, 0.5), "power": (0.5, 1), "expected_differing": (0, 1)}
    for name, (low, high) in ranges.items():
        if not _is_number(value := given[name]) or not low < value < high:
            why = "no number of examples shows that nothing at all is lost." if name == "max_drop" else ""
            raise SettingError(f"The value of {name} must be above {low} and below {high}, got {value!r}.", remedy=why)
    if (limit := given["max_latency_ms"]) is not None and not (_is_number(limit) and 0 < limit < math.inf):
        raise SettingError(f"The limit max_latency_ms must be a number above 0, got {limit!r}.")
    if not isinstance(launches := given["launches"], int) or launches < 2:
        raise SettingError(f"launches must be a whole number of at least 2, got {launches!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plan(
    data: Any, max_drop: float, max_latency_ms: float | None, alpha: float, power: float, differing: float
) -> GatePlan:
    each = _error_of_rejecting(alpha, max_latency_ms)
    needed = exact.examples_needed(max_drop, differing, each, power)
    least = exact.least_examples(max_drop, alpha)
    count = len(data.splits["evaluation"])
    return GatePlan(alpha, power, max_drop, max_latency_ms, count, least, differing, needed)


def _error_of_rejecting(alpha: float, max_latency_ms: float | None) -> float:
    """Error rate of each question's REGRESSION: one is enough for a verdict, so they share the rate."""
    return alpha if max_latency_ms is None else alpha / 2


@dataclass(frozen=True)
class _Gate:
    sides: tuple[Contestant, ...]
    scratch: Path
    running: Running
    limits: Limits
    alpha: float
    seed: int

    def decide(self, plan: GatePlan, metric: MetricLike, launches: int) -> Comparison:
        chosen, values, notes = self._values(metric)
        quality, needed, counts = self._quality(plan, chosen, values)
        found = score(chosen, values[1], values[0], self._groups())
        checks: list[GateCheck] = [quality]
        latencies: tuple[Interval | None, Interval | None] = (None, None)
        if plan.max_latency_ms is not None:
            timed = self._launches(launches)
            check, latencies = self._latency(plan.max_latency_ms, timed)
            checks.append(check)
        verdict = next(one for one in ORDER if any(check.verdict == one for check in checks))
        described = [
            GateSide(
                side.name, str(side.path), side.digest, side.format, side.target, side.size_bytes,
                float(own.mean()), latency,
            )
            for side, own, latency in zip(self.sides, values, latencies, strict=True)
        ]  # fmt: skip
        return Comparison(
            verdict, tuple(checks), described[0], described[1], chosen.name, found.drop, *counts, plan, needed,
            tuple(notes), here(),
        )  # fmt: skip

    # -- quality ------------------------------------------------------------------------------------------------------

    def _folder(self, side: Contestant) -> Path:
        """The examples as one of both takes them, on disk."""
        folder = self.scratch / side.data.digest[:24]
        if not folder.exists():
            side.data.save(folder)
        return folder

    def _values(self, metric: MetricLike) -> tuple[Metric, list[NDArray[np.float64]], list[str]]:
        """The metric, and its value for each example: the incumbent's, then the challenger's."""
        import numpy as np

        files = [self.scratch / f"{name}.npy" for name in ("incumbent", "challenger")]
        tasks = [
            replace(
                evaluation_task(
                    side.path, side.format, side.target, self._folder(side), side.contract, {"evaluation": file},
                    imports=side.imports,
                ),
                deadline_s=self.limits.timeout_s, memory_bytes=self.limits.memory_bytes,
            )
            for side, file in zip(self.sides, files, strict=True)
        ]  # fmt: skip
        for future in [self.running.submit(task) for task in tasks]:
            future.result()
        raw = [np.load(file, allow_pickle=False) for file in files]
        read = [read_as(outputs, side.contract) for outputs, side in zip(raw, self.sides, strict=True)]
        if read[0].shape != read[1].shape:
            raise CandidateError(
                f"The scored output of {self.sides[1].name} has shape {read[1].shape[1:]} per example, that of "
                f"{self.sides[0].name} {read[0].shape[1:]}.",
                remedy="compare models that answer the same question; output= names the one to score.",
            )
        labels = self.sides[0].data.labels()
        chosen = choose(
            metric, read[0], labels, self.sides[0].contract.scored.kind, self.sides[0].contract.labels.named
        )
        there = tokens(self.sides[0].data, "evaluation", read[0]) if chosen.truth == "original" else None
        read = [compared(chosen, outputs, there) for outputs in read]
        truth = labels if chosen.truth == "labels" and labels is not None else read[0]
        notes = [] if labels is not None else ["Without labels, answers are compared with the incumbent's."]
        for side, outputs in zip(self.sides, raw, strict=True):
            missing = np.isnan(outputs).reshape(len(outputs), -1).any(axis=1).sum() if outputs.dtype.kind == "f" else 0
            if missing:
                notes.append(f"The outputs of {side.name} are NaN for {missing:,} examples.")
        return chosen, [chosen.values(one, truth) for one in read], notes

    def _quality(
        self, plan: GatePlan, metric: Metric, values: Sequence[NDArray[np.float64]]
    ) -> tuple[GateCheck, int | None, tuple[int | None, int | None]]:
        import numpy as np

        before, after = values
        reject = _error_of_rejecting(self.alpha, plan.max_latency_ms)
        loss = before - after if metric.higher_is_better else after - before
        counts: tuple[int | None, int | None] = (None, None)
        own, each = numbered(self._groups()), 1.0
        if metric.binary:
            counts = better, worse = int((loss < 0).sum()), int((loss > 0).sum())
            least = plan.least
            if own is not None:
                each = design_effect(totals(-loss, own), totals(np.ones(len(own)), own), better + worse)
            alone = int(len(loss) / each)
            # Parts of an example count for what is to be disproved.
            p_beyond = exact.paired_tests(
                int(better / each), math.ceil(worse / each), alone, plan.max_drop, reject
            )[0]  # fmt: skip
            p_within = exact.paired_tests(math.ceil(better / each), int(worse / each), alone, plan.max_drop, reject)[1]
        else:
            excess = loss - plan.max_drop * (before if metric.relative else 1.0)
            if own is not None:
                excess, each = as_groups(excess, own), len(loss) / (int(own.max()) + 1)
            least, alone = exact.LEAST_OF_VALUES, len(excess)
            p_beyond, p_within = exact.value_tests(excess, self.seed)
        verdict: GateVerdict = (
            "ACCEPT" if p_beyond <= self.alpha
            else "REGRESSION" if p_within <= reject
            else "INFEASIBLE" if alone < least
            else "INCONCLUSIVE"
        )  # fmt: skip
        needed = None
        if verdict in ("INFEASIBLE", "INCONCLUSIVE"):
            if metric.binary:
                share = exact.upper_share(math.ceil((better + worse) / each), alone)
                needed = exact.examples_needed(plan.max_drop, share, reject, plan.power)
            elif alone > 1 and (level := abs(float(before.mean())) if metric.relative else 1.0):
                spread = float(excess.std(ddof=1))
                needed = exact.values_needed(spread, plan.max_drop * level, reject, plan.power)
            needed = None if needed is None else math.ceil(needed * each)
        found = score(metric, after, before, self._groups())
        text = _quality_words(metric, values, found, plan, verdict, (p_beyond, p_within))
        return GateCheck("quality", verdict, text, p_beyond, p_within), needed, counts

    def _groups(self) -> NDArray[Any] | None:
        """What each example is a part of; None where they stand for themselves."""
        import numpy as np

        groups = self.sides[0].data.splits["evaluation"].groups
        return None if groups is None else np.asarray(groups)

    # -- latency ------------------------------------------------------------------------------------------------------

    def _launches(self, launches: int) -> list[Launch]:
        """Launches of both, the incumbent twice: its clone shows how quiet the machine is."""
        entries = [
            Timed(
                key, str(side.path), side.format, side.target, RUNTIMES.get(side.target.runtime).group,
                (str(side.path),), str(self._folder(side)),
            )
            for key, side in ((BASELINE, self.sides[0]), (CLONE, self.sides[0]), (_CHALLENGER, self.sides[1]))
        ]  # fmt: skip
        timer = Timer(
            self.running, self._folder(self.sides[0]), self.scratch, seed=self.seed, deadline_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
        )  # fmt: skip
        return [timer.launch(index, entries) for index in range(launches)]

    def _latency(self, limit: float, launches: Sequence[Launch]) -> tuple[GateCheck, tuple[Interval, Interval]]:
        medians = []
        for key in (BASELINE, _CHALLENGER):
            series = [launch.series[key] for launch in launches]
            if error := next((one.error for one in series if one.error is not None), None):
                raise from_json(error)
            medians.append([sorted(one.times_ns)[len(one.times_ns) // 2] / 1e6 for one in series])
        reject = _error_of_rejecting(self.alpha, limit)
        tests = [_one_sided(values, limit) for values in medians]
        p_beyond, p_within = tests[1]
        ratios = log_ratios(launches, _CHALLENGER, BASELINE)
        slower = t_test(ratios) / 2 <= reject and sum(ratios) < 0
        verdict: GateVerdict = "INCONCLUSIVE"
        if p_beyond <= self.alpha:
            verdict = "ACCEPT"
        elif p_within <= reject:
            verdict = "INFEASIBLE" if tests[0][1] <= reject and not slower else "REGRESSION"
        shown = t_interval(medians[0]), t_interval(medians[1])
        said = {
            "ACCEPT": "confirmed to be below", "REGRESSION": "confirmed to be above",
            "INCONCLUSIVE": "neither confirmed to be below nor above",
            "INFEASIBLE": "like the incumbent, which is not confirmed to be quicker, confirmed to be above",
        }[verdict]  # fmt: skip
        text = (
            f"Median latency {numbers.milliseconds(shown[0])} → {numbers.milliseconds(shown[1])} ms over "
            f"{len(launches)} launches: {said} the limit of {limit:g} ms (p = {_p(p_beyond, p_within)})."
        )
        return GateCheck("latency", verdict, text, p_beyond, p_within), shown


def _one_sided(values: Sequence[float], limit: float) -> tuple[float, float]:
    """p-values of "the mean is at least the limit" and of "the mean is at most the limit", by Student's t."""
    both = t_test(values, limit) / 2
    below = sum(values) / len(values) < limit
    return (both, 1 - both) if below else (1 - both, both)


def _p(p_beyond: float, p_within: float) -> str:
    return f"{min(p_beyond, p_within):.2g}"


def _quality_words(
    metric: Metric, values: Sequence[NDArray[np.float64]], found: Score, plan: GatePlan, verdict: GateVerdict,
    tests: tuple[float, float],
) -> str:  # fmt: skip
    unit = "" if metric.relative else " %"
    before, after = (numbers.score(float(one.mean()), relative=metric.relative) for one in values)
    limit = f"{numbers.fixed(100 * plan.max_drop, 2)} {'%' if metric.relative else 'points'}"
    said = {
        "ACCEPT": f"confirmed to be below {limit}", "REGRESSION": f"confirmed to be above {limit}",
        "INCONCLUSIVE": f"neither confirmed to be below {limit} nor above",
        "INFEASIBLE": f"so few examples cannot show whether it is below {limit}",
    }[verdict]  # fmt: skip
    name = f"{metric.label[:1].upper()}{metric.label[1:]}"
    of = f"a drop of {numbers.points(found.drop)} {'%' if metric.relative else 'points'}"
    groups = f" of {found.groups:,} {GROUPS}" if found.groups else ""
    on = f"{len(values[0]):,} examples{groups}"
    return f"{name} {before}{unit} → {after}{unit}, {of} on {on}: {said} (p = {_p(*tests)})."
