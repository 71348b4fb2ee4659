"""Whether a candidate's confidences still say how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import OutputMeaning
from deploykit.core.errors import DatasetError
from deploykit.core.result import Interval
from deploykit.core.serial import Plain
from deploykit.measuring.answers import answers, are_classes, shares
from deploykit.measuring.calibration import BINS, Gaps, change
from deploykit.measuring.grouped import numbered, share_of_groups
from deploykit.measuring.statistics import share
from deploykit.reporting import numbers
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.tradeoff import DARK, LIGHT

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_SIDES = ("before", "after")


@dataclass(frozen=True)
class CalibrationBin(Plain):
    """Examples of similar confidence.

    Attributes:
        side: ``"before"`` or ``"after"``.
        low: Lowest confidence of the bin.
        high: Highest confidence of the bin.
        examples: How many examples are in it.
        confidence: Their mean confidence.
        accuracy: Share of them that is right, with Wilson's 95 % interval.
    """

    side: str
    low: float
    high: float
    examples: int
    confidence: float
    accuracy: Interval


@dataclass(frozen=True)
class Calibration(Plain):
    """How well confidences agree with accuracy, before and after. See ``Choice.calibration``.

    Attributes:
        before: Expected calibration error (15 bins of equal width) of what the candidate is compared with, 0 to 1.
        after: That of the candidate.
        change: Change of the error after a correction for chance, which adds to the error of well-calibrated models
            most; 95 % interval from a paired bootstrap. Positive is worse. It need not equal ``after - before``.
        overconfidence_before: Mean confidence less accuracy.
        overconfidence_after: The same of the candidate.
        bins: Bins that hold examples, those of ``"before"`` first.
        examples: How many examples have scores from both models.
        split: Of which split.
        scores: Where confidences come from, in words.
        against: What the candidate is compared with, in words.

    Example:
        >>> space = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
        >>> report = dk.sweep(model, data, space, store="runs/calibration", launches=0)
        [...
        >>> found = report.best(minimize="size", max_drop=1.0).calibration()
        >>> bool(found.change.low <= 0 <= found.change.high), found.examples
        (True, 3000)
    """

    before: float
    after: float
    change: Interval
    overconfidence_before: float
    overconfidence_after: float
    bins: tuple[CalibrationBin, ...]
    examples: int
    split: str
    scores: str
    against: str = "the original model"

    @property
    def claim(self) -> str:
        """``"worse"``, ``"better"``, or ``"same"``: the interval of the change holds zero."""
        return "worse" if self.change.low > 0 else "better" if self.change.high < 0 else "same"

    def summary(self) -> str:
        """The most important in a sentence."""
        was, now = (numbers.fixed(100 * error, 2) for error in (self.before, self.after))
        found = (
            f"Calibration error (ECE) {was} % → {now} %; corrected for chance it changes by "
            f"{numbers.points(self.change)} pp"
        )
        side = "too sure" if self.overconfidence_after > 0 else "too unsure"
        said = {
            "worse": f": confidences are worse than those of {self.against}, {side} on the whole.",
            "better": f": confidences are better than those of {self.against}.",
            "same": ": no change is confirmed.",
        }[self.claim]
        return f"{found} (paired bootstrap, 95 % confidence){said}"

    def records(self) -> list[dict[str, Any]]:
        """One flat record for each bin of each side; shares, not percent."""
        return [
            {
                "side": one.side, "low": one.low, "high": one.high, "examples": one.examples,
                "confidence": one.confidence, "accuracy": one.accuracy.value, "accuracy_low": one.accuracy.low,
                "accuracy_high": one.accuracy.high,
            }
            for one in self.bins
        ]  # fmt: skip

    def to_frame(self) -> pd.DataFrame:
        """The bins as a data frame."""
        import pandas as pd

        return pd.DataFrame.from_records(self.records())

    def chart(self, *, dark: bool = False) -> Any:
        """Accuracy over confidence, before and after (Altair): on the diagonal, confidences say how often it is right.

        Args:
            dark: Colors for a dark background.
        """
        return shown(_chart(self, dark=dark))

    def __str__(self) -> str:
        return self.summary()


def compare(
    after: NDArray[Any],
    before: NDArray[Any],
    labels: NDArray[Any] | None,
    names: Sequence[str] = (),
    *,
    meaning: OutputMeaning,
    split: str = "evaluation",
    against: str = "the original model",
    groups: NDArray[Any] | None = None,
) -> Calibration:
    """Compare the confidences of two candidates; examples whose scores are not finite are left out.

    Args:
        after: Scored output of the candidate as metrics read it, shape (examples, classes).
        before: The same of what it is compared with.
        labels: Class indices (examples,); None when there are none.
        names: Not used: all classes count together.
        meaning: What the output is.
        split: Of which split, for the words.
        against: What ``before`` belongs to, in words.
        groups: What each example is a part of, as in `Split`: intervals count groups.

    Raises:
        DatasetError: There are no confidences, or no labels.
    """
    import numpy as np

    del names
    if not are_classes(meaning, before.shape) or meaning.kind == "classes":
        raise DatasetError(
            f"There are no confidences: the scored output {meaning.name!r} holds {meaning.kind}, shape "
            f"{before.shape[1:]}.",
            remedy="calibration needs a model that gives scores or probabilities of classes.",
        )
    if labels is None or labels.ndim != 1:
        raise DatasetError(
            "Calibration needs the right class of each example: "
            f"{'there are no labels' if labels is None else f'labels are {labels.dtype} {labels.shape[1:]}'}.",
            remedy="give labels with the data.",
        )
    known = np.isfinite(shares(before, meaning)).all(axis=1) & np.isfinite(shares(after, meaning)).all(axis=1)
    if not known.any():
        raise DatasetError("No example has finite scores from both models.", remedy="choose another candidate.")
    old, new = (
        Gaps.of(shares(scores[known], meaning), answers(scores[known]), labels[known]) for scores in (before, after)
    )
    scores = "probabilities" if meaning.kind in ("probabilities", "probability") else "softmax of the outputs"
    own = None if groups is None else groups[known]
    moved = change(old, new, groups=own)
    return Calibration(
        old.error(), new.error(), moved, -float(old.gaps.mean()), -float(new.gaps.mean()),
        (*_bins("before", old, own), *_bins("after", new, own)), int(known.sum()), split, scores, against,
    )  # fmt: skip


def _bins(side: str, gaps: Gaps, groups: NDArray[Any] | None) -> list[CalibrationBin]:
    found = []
    for place in range(BINS):
        mine = gaps.bins == place
        own = None if groups is None else numbered(groups[mine])
        right = gaps.right[mine]
        if mine.any():
            found.append(
                CalibrationBin(
                    side, place / BINS, (place + 1) / BINS, int(mine.sum()), float(gaps.confidence[mine].mean()),
                    share(int(right.sum()), len(right)) if own is None else share_of_groups(right, own),
                )
            )  # fmt: skip
    return found


def _chart(found: Calibration, *, dark: bool) -> Any:
    import altair as alt

    names = dict(zip(_SIDES, (found.against.removeprefix("the "), "this candidate"), strict=True))
    rows = [{**row, "side": names[row["side"]]} for row in found.records()]
    palette = DARK if dark else LIGHT
    sides = list(names.values())
    ends = alt.Scale(domain=[0, 1], nice=False)
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
    line = (
        alt.Chart(_values(alt, [{"x": 0, "y": 0}, {"x": 1, "y": 1}]))
        .mark_line(strokeDash=[4, 3], stroke="#888888", strokeWidth=1.2, aria=False)
        .encode(x=alt.X("x:Q", scale=ends), y=alt.Y("y:Q", scale=ends))
    )
    color = alt.Color("side:N", title=None, sort=sides, scale=alt.Scale(domain=sides, range=list(palette[:2])))
    base = alt.Chart(_values(alt, rows)).encode(
        x=alt.X("confidence:Q", title="Mean confidence", scale=ends, axis=axis),
        y=alt.Y("accuracy:Q", title="Share that is right", scale=ends, axis=axis),
        color=color,
    )
    bars = base.mark_rule(strokeWidth=1.2, opacity=0.7, aria=False).encode(
        y=alt.Y("accuracy_low:Q", title="Share that is right", scale=ends, axis=axis), y2="accuracy_high:Q"
    )
    points = base.mark_point(filled=False, strokeWidth=1.6, aria=False).encode(
        size=alt.Size("examples:Q", title="examples", scale=alt.Scale(range=[20, 400])),
        shape=alt.Shape("side:N", title=None, sort=sides, scale=alt.Scale(domain=sides, range=["circle", "diamond"])),
        tooltip=[
            alt.Tooltip("side:N"), alt.Tooltip("examples:Q", format=","), alt.Tooltip("confidence:Q", format=".1%"),
            alt.Tooltip("accuracy:Q", format=".1%"), alt.Tooltip("accuracy_low:Q", format=".1%"),
            alt.Tooltip("accuracy_high:Q", format=".1%"),
        ],
    )  # fmt: skip
    return alt.layer(line, bars, points).properties(
        width=320, height=320, description=f"Accuracy over confidence. {found.summary()}"
    )


def _values(alt: Any, rows: list[dict[str, Any]]) -> Any:
    return alt.Data(values=rows)
