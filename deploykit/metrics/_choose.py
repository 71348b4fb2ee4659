"""Which metric a sweep uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.settings.option import python_file
from deploykit.metrics._contract import METRICS, Metric, Pooled
from deploykit.metrics._custom import Custom
from deploykit.metrics._entities import are_tags
from deploykit.metrics._file import FromFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A metric's name, "auto", a Python file with one, or a function of (outputs, labels) that gives one value for each
#: example.
MetricLike = str | Callable[..., Any] | Metric

_ALWAYS = "output_fidelity"


def identity(metric: MetricLike, labels: NDArray[Any] | None, names: tuple[str, ...] = ()) -> str:
    """What sets results of one metric apart from those of others in a store.

    Args:
        metric: What the user asked for.
        labels: Labels as they were given.
        names: Class names by index.
    """
    if not isinstance(metric, str):
        return metric.name if isinstance(metric, Metric) else Custom(metric).identity()
    if python_file(metric):
        return FromFile(metric).identity()
    if metric == "auto" and labels is not None and labels.dtype.kind in "iu" and labels.ndim > 1:
        # Masks and tags of entities once were judged by the share of right positions: those results stay apart.
        if labels.ndim > 2:
            return "auto: mean_iou"
        if are_tags(names):
            return "auto: token_f1"
    return metric


def check_name(metric: MetricLike) -> None:
    """Refuse an unknown name before any work; `choose` says later whether the metric suits the data.

    Raises:
        SettingError: An unknown name (lists the known ones), or a file without such a function.
    """
    if isinstance(metric, str) and metric != "auto":
        _named(metric)


def _named(metric: str) -> Metric:
    return FromFile(metric).opened() if python_file(metric) else METRICS.get(metric)


def choose(
    metric: MetricLike,
    outputs: NDArray[Any],
    labels: NDArray[Any] | None,
    kind: str = "",
    names: tuple[str, ...] = (),
    *,
    by_example: bool = False,
) -> Metric:
    """The metric for the original's outputs and the data's labels.

    Args:
        metric: What the user asked for.
        outputs: The original's scored output, as `deploykit.measuring.answers.read` gives it.
        labels: Labels as the contract has recoded them; None when there are none.
        kind: Kind of the output; "" when it is not known.
        names: Class names by index.
        by_example: Whether ``"auto"`` takes means over examples only, for those who look at single examples.

    Raises:
        SettingError: An unknown name (lists the known ones).
        DatasetError: The metric does not suit the model or the data, or none suits the labels; says why.
    """
    if metric != "auto":
        chosen = metric if isinstance(metric, Metric) else _named(metric) if isinstance(metric, str) else None
        chosen = (chosen or Custom(metric)).for_classes(names)  # type: ignore[arg-type]  # what is left is a function
        truth = labels if chosen.truth == "labels" else outputs
        if reason := (kind and chosen.refuses(kind)) or chosen.unsuitable(outputs, truth):
            raise DatasetError(f"The metric {chosen.name} {reason}.", remedy='choose another metric or "auto".')
        return chosen
    known = [
        m.for_classes(names) for m in METRICS.all()
        if m.priority_for(labels) and not (kind and m.refuses(kind)) and not (by_example and isinstance(m, Pooled))
    ]  # fmt: skip
    if labels is not None:  # what is given is used, or refused
        usable = [m for m in known if m.truth == "labels" and not m.unsuitable(outputs, labels)]
        if not usable:
            raise DatasetError(
                f"No metric compares labels of shape {labels.shape[1:] or 'one'} per example ({labels.dtype}) with the "
                f"scored output, {outputs.shape[1:]} per example{f', read as {kind}' if kind else ''}.",
                remedy="correct the labels or name another output (output=, --output); or pass your own metric.",
            )
    else:
        usable = [m for m in known if m.truth == "original" and not m.unsuitable(outputs, outputs)]
    return max(usable, key=lambda m: m.priority_for(labels), default=METRICS.get(_ALWAYS))
