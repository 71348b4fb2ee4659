"""Latency and quality by the length of texts, or the size of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import CandidateError, DeploykitError
from deploykit.core.model import plain_name
from deploykit.core.result import Interval, Result, Score
from deploykit.core.serial import Plain
from deploykit.measuring.accuracy import compare
from deploykit.measuring.padding import compared, tokens
from deploykit.metrics._contract import METRICS, Metric
from deploykit.reporting import numbers
from deploykit.reporting.swept import Swept
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.tradeoff import DARK, LIGHT

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: Fewer examples of a length say nothing about quality.
_FEW = 5


@dataclass(frozen=True)
class LengthRow(Plain):
    """One length.

    Attributes:
        length: Size of the free dimensions.
        p50_ms: Median latency there.
        before_ms: The same of the original model; None where it was not timed on such a target.
        speedup: Against the original model at the same length.
        examples: Examples of at most this length, and longer than the length before: padding is not counted.
        score: The metric on them; None where there are too few, or their length is not known.
    """

    length: int
    p50_ms: Interval
    before_ms: Interval | None
    speedup: Interval | None
    examples: int
    score: Score | None


@dataclass(frozen=True)
class Lengths(Plain):
    """A candidate by the length of its inputs. See ``Choice.lengths``.

    Attributes:
        rows: Shortest first.
        metric: Name of the metric of their scores.
        relative: Whether its changes are relative.
    """

    rows: tuple[LengthRow, ...]
    metric: str
    relative: bool = False

    def records(self) -> list[dict[str, Any]]:
        """One flat record for each length."""
        found = []
        for row in self.rows:
            record: dict[str, Any] = {"length": row.length, "examples": row.examples}
            change = row.score.change if row.score else None
            for name, value in (("p50_ms", row.p50_ms), ("before_ms", row.before_ms), ("speedup", row.speedup),
                                ("change", change)):  # fmt: skip
                record[name] = value.value if value else None
                record[f"{name}_low"] = value.low if value else None
                record[f"{name}_high"] = value.high if value else None
            found.append({**record, "value": row.score.value if row.score else None})
        return found

    def to_frame(self) -> pd.DataFrame:
        """The lengths as a data frame."""
        import pandas as pd

        return pd.DataFrame.from_records(self.records())

    def summary(self) -> str:
        """All lengths in a sentence."""
        parts = [
            f"{row.length}: {numbers.amount(row.p50_ms)} ms"
            + (f" ({numbers.times(row.speedup)})" if row.speedup else "")
            for row in self.rows
        ]
        return f"By length, {'; '.join(parts)}."

    def chart(self, *, dark: bool = False) -> Any:
        """Latency, and the change of the metric, over length (Altair).

        Args:
            dark: Colors for a dark background.
        """
        return shown(_chart(self, dark=dark))

    def __str__(self) -> str:
        return self.summary()


def by_length(
    report: Swept, result: Result, outputs: Callable[[], tuple[NDArray[Any], NDArray[Any]]], split: str = "evaluation"
) -> Lengths:
    """See ``Choice.lengths``.

    Args:
        report: The sweep.
        result: Row of the candidate.
        outputs: Gives the scored outputs of the candidate and of the original model, as metrics read them.
        split: Of which split they are.
    """
    times = result.measurement.lengths if result.measurement else ()
    if not times:
        raise CandidateError(
            f"{result.label} was not timed by length.",
            remedy='sweep with targets that name lengths: dk.Target("onnxruntime", lengths=(16, 64, 256)).',
        )
    original = report.row(report.baseline)
    before = {t.length: t.p50_ms for t in (original.measurement.lengths if original.measurement else ())}
    scores: Mapping[int, tuple[int, Score | None]] = {}
    with suppress(DeploykitError):  # the data or outputs are gone, or are of no length
        scores = _scores(report, outputs, [t.length for t in times], split)
    rows = [
        LengthRow(t.length, t.p50_ms, before.get(t.length), t.speedup, *scores.get(t.length, (0, None))) for t in times
    ]
    return Lengths(tuple(rows), _metric(report.metric).name, report.relative)


def real_lengths(inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
    """Tokens of each example without padding, shape (examples,); None where no input has tokens.

    They are what an attention mask keeps; without one, what stands before the zeros at the end.
    """
    import numpy as np

    tokens = {n: v for n, v in inputs.items() if v.ndim == 2 and v.dtype.kind in "iub"}
    for name, value in tokens.items():
        if "mask" in plain_name(name) and np.isin(value, (0, 1)).all():
            found: NDArray[Any] = np.asarray(value, np.int64).sum(axis=1)
            return found
    for value in tokens.values():
        kept = value != 0
        return np.where(kept.any(axis=1), value.shape[1] - kept[:, ::-1].argmax(axis=1), 0)
    return None


def _scores(
    report: Swept, outputs: Callable[[], tuple[NDArray[Any], NDArray[Any]]], lengths: Sequence[int], split: str
) -> dict[int, tuple[int, Score | None]]:
    import numpy as np

    data = report.data
    found = real_lengths(data.splits[split].inputs)
    if found is None:
        return {}
    metric = _metric(report.metric)
    (after, before), labels = outputs(), data.labels(split)
    there = tokens(data, split, before)
    after, before = (compared(metric, v, there) for v in (after, before))
    truth = labels if metric.truth == "labels" and labels is not None else before
    groups = data.splits[split].groups
    scores: dict[int, tuple[int, Score | None]] = {}
    shorter = 0
    for length in lengths:
        chosen = np.flatnonzero((found > shorter) & (found <= length))
        own = None if groups is None else groups[chosen]
        score = compare(metric, after[chosen], before[chosen], truth[chosen], own) if len(chosen) >= _FEW else None
        scores[length], shorter = (len(chosen), score), length
    return scores


def _metric(name: str) -> Metric:
    plain, _, setting = name.partition(":")
    if plain not in METRICS:  # a function of the user's, which the store does not hold
        return METRICS.get("agreement")
    found = METRICS.get(plain)
    return found.configured(setting) if setting else found


def _chart(found: Lengths, *, dark: bool) -> Any:
    import altair as alt

    rows = found.records()
    names = ["original model", "this candidate"]
    points = [
        {"side": side, "length": row["length"], "ms": row[key], "low": row[f"{key}_low"], "high": row[f"{key}_high"]}
        for row in rows
        for side, key in zip(names, ("before_ms", "p50_ms"), strict=True)
        if row[key] is not None
    ]
    palette = DARK if dark else LIGHT
    color = alt.Color("side:N", title=None, sort=names, scale=alt.Scale(domain=names, range=list(palette[:2])))
    across = alt.X("length:Q", title="Length", scale=alt.Scale(type="log", nice=False, padding=12),
                   axis=alt.Axis(values=[row["length"] for row in rows]))  # fmt: skip
    base = alt.Chart(_values(alt, points)).encode(x=across, color=color)
    up = alt.Y("ms:Q", title="Latency p50, ms (log scale)", scale=alt.Scale(type="log", nice=True))
    times = alt.layer(
        base.mark_line(point=True, strokeWidth=1.6, aria=False).encode(
            y=up, tooltip=["side:N", "length:Q", alt.Tooltip("ms:Q", format=".4g")]
        ),
        base.mark_rule(strokeWidth=1.2, opacity=0.7, aria=False).encode(y=alt.Y("low:Q"), y2="high:Q"),
    ).properties(width=300, height=240)
    changes = [
        {"length": r["length"], "examples": r["examples"], **{k: 100 * r[k] for k in _CHANGE}}
        for r in rows if r["change"] is not None
    ]  # fmt: skip
    described = {"description": f"Latency and {found.metric.replace('_', ' ')} over length. {found.summary()}"}
    if not changes:
        return times.properties(**described)
    unit = "%" if found.relative else "pp"
    base = alt.Chart(_values(alt, changes)).encode(x=across, color=alt.value(palette[1]))
    title = f"Change of {found.metric.replace('_', ' ')}, {unit}"
    quality = alt.layer(
        base.mark_line(point=True, strokeWidth=1.6, aria=False).encode(
            y=alt.Y("change:Q", title=title), tooltip=["length:Q", "examples:Q", alt.Tooltip("change:Q", format=".2f")]
        ),
        base.mark_rule(strokeWidth=1.2, opacity=0.7, aria=False).encode(
            y=alt.Y("change_low:Q", title=title), y2="change_high:Q"
        ),
    ).properties(width=300, height=240)
    return alt.hconcat(times, quality).properties(**described)


_CHANGE = ("change", "change_low", "change_high")


def _values(alt: Any, rows: list[dict[str, Any]]) -> Any:
    return alt.Data(values=rows)
