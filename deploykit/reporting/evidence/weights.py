"""Sparsity and spread of a candidate's weights beside those of what it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import CandidateError
from deploykit.core.result import Result
from deploykit.core.serial import Plain, from_plain
from deploykit.loading._contract import FORMATS
from deploykit.loading._weights import LayerWeights
from deploykit.reporting.evidence.naming import shortened
from deploykit.reporting.swept import Swept
from deploykit.sandbox.supervisor import OnReport, shared
from deploykit.sandbox.task import Task

if TYPE_CHECKING:
    import pandas as pd

_DEADLINE_S = 120.0


@dataclass(frozen=True)
class Weights(Plain):
    """Weight tensors of at least two dimensions, before and after, in the order of the layers. See ``Choice.weights``.

    Attributes:
        rows: The tensors; `deploykit.loading._weights.LayerWeights` lists their fields.
        left_out: Smaller tensors that are not among the rows.
        before: What the candidate is compared with, in words.
        same_format: Whether both files are of one format: converters fold normalization into other weights, so that
            histograms of different formats differ for that reason alone.
    """

    rows: tuple[LayerWeights, ...]
    left_out: int
    before: str
    same_format: bool

    def __iter__(self) -> Iterator[LayerWeights]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sparsity(self) -> tuple[float, float]:
        """Share of weights that are exactly zero, over all rows, before and after."""
        sides = ([r.before for r in self.rows if r.before], [r.after for r in self.rows if r.after])
        before, after = (sum(t.zeros * t.count for t in side) / max(1, sum(t.count for t in side)) for side in sides)
        return before, after

    @property
    def notes(self) -> list[str]:
        """What limits the comparison, in sentences."""
        found = []
        single = sum(not r.matched for r in self.rows)
        if single:
            found.append(
                f"{single} of {len(self.rows)} tensors cannot be matched: neither names nor shapes show which belong "
                "together."
            )
        if ordered := sum(r.matched == "order" for r in self.rows):
            found.append(f"{ordered} tensors are matched by shape and order, not by name.")
        if not self.same_format:
            found.append(
                "The formats differ: the converter folds normalization into other weights, so spreads can differ "
                "without any technique."
            )
        if raw := sum(not t.scaled for r in self.rows for t in (r.before, r.after) if t):
            found.append(f"The scales of {raw} quantized tensors were not found: they are shown as whole numbers.")
        if self.left_out:
            found.append(f"{self.left_out} smaller tensors are left out.")
        return found

    def summary(self) -> str:
        """The most important in a sentence."""
        before, after = self.sparsity
        kinds = dict.fromkeys(r.after.stored for r in self.rows if r.after)
        return (
            f"{100 * after:.1f} % of the weights are zero, {100 * before:.1f} % in {self.before}; stored as "
            f"{', '.join(kinds) or 'nothing'}."
        )

    def records(self) -> list[dict[str, Any]]:
        """One flat record for each tensor, without its histogram; unknown values are None."""
        return [
            {
                "layer": r.layer,
                "matched": r.matched,
                "weights": (r.after or r.before).count,  # type: ignore[union-attr]  # one of both is there
                **{
                    f"{name}_{side}": getattr(t, name) if t else None
                    for name in ("stored", "zeros", "deviation", "low", "high")
                    for side, t in (("before", r.before), ("after", r.after))
                },
            }
            for r in self.rows
        ]

    def to_frame(self) -> pd.DataFrame:
        """The rows as a data frame; ``zeros`` are shares."""
        import pandas as pd

        return pd.DataFrame.from_records(self.records())

    def __str__(self) -> str:
        return " ".join([self.summary(), *self.notes])


def compare(
    report: Swept, row: Result, against: tuple[Swept, Result] | None, on_report: OnReport | None = None
) -> Weights:
    """The weights of a candidate beside those of another; see ``Choice.weights``."""
    store, other = against or (report, original(report, row))
    files = {"before": _file(store, other), "after": _file(report, row)}
    formats = {FORMATS.get(f["format"]).group for f in files.values()}
    group = formats.pop() if len(formats) == 1 else "light"
    task = Task(
        "deploykit.loading._weights:compare_weights",
        files,
        group,
        _DEADLINE_S,
        name=f"reading the weights of {row.label}",
    )
    found = shared().run(task, on_report)
    rows = from_plain(tuple[LayerWeights, ...], found["rows"])
    words = f"{other.label} ({FORMATS.get(other.format).label})"
    shown = shortened([r.layer.partition(";")[0] for r in rows])
    rows = tuple(replace(r, layer=name) for r, name in zip(rows, shown, strict=True))
    return Weights(rows, int(found["left_out"]), words, other.format == row.format)


def original(report: Swept, row: Result) -> Result:
    """The original model, in a candidate's format where the sweep has made that, on its runtime if possible.

    Args:
        report: The report.
        row: The candidate's row.
    """
    plain = [r for r in report.rows if not r.candidate.recipe.steps and r.artifact and r.format == row.format]
    plain.sort(key=lambda r: r.candidate.target.runtime != row.candidate.target.runtime)
    return plain[0] if plain else report.row(report.baseline)


def _file(report: Swept, row: Result) -> dict[str, str]:
    path: Path = report.path / row.artifact
    if not row.artifact or not path.exists():
        raise CandidateError(
            f"The file of {row.label} ({row.key}) is not in the store.",
            remedy="run the same sweep again to make what is missing.",
        )
    return {"path": str(path), "format": row.format}
