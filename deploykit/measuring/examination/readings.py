"""Other ways to read the outputs and labels of the original model: it need not be run again for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Contract, OutputMeaning
from deploykit.data.preprocess import Preprocess
from deploykit.measuring.answers import answers
from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Kinds with one column for each class.
_COLUMNS = ("scores", "probabilities")
#: Share of the labels' variance that a line through the outputs explains when they are the same in other units.
_EXPLAINED = 0.7
#: Factors this near to 1, and offsets within this share of the labels' spread, are no other units.
_SAME_UNITS = 0.25
#: Factors and offsets this near to round ones are those.
_ROUND = 0.02


@dataclass(frozen=True)
class Try:
    """Another reading.

    Attributes:
        kind: See `Suspicion`.
        words: What is other, in words that follow "with".
        preprocess: Other preprocessing by input; None: the model need not be run again.
        labels: Other labels.
        output: Another output, and what it is.
        convert: What turns the outputs into the units of the labels.
        remedy: See `Suspicion`; the same for ``flags``, ``label`` and ``setting``.
    """

    kind: str
    words: str
    remedy: str
    flags: str = ""
    label: str = ""
    setting: dict[str, Any] = field(default_factory=dict)
    preprocess: dict[str, Preprocess] | None = None
    labels: Any = None
    output: OutputMeaning | None = None
    convert: Callable[[NDArray[Any]], NDArray[Any]] | None = None


def readings(
    contract: Contract,
    labels: NDArray[Any] | None,
    outputs: Mapping[str, NDArray[Any]],
    scores: NDArray[Any],
    metric: Metric,
) -> Iterator[Try]:
    """Other labels, outputs, axes and units.

    Args:
        contract: What everything is taken to mean.
        labels: Of the examples.
        outputs: What the model gave for them, by name.
        scores: The scored output in the form that metrics take.
        metric: What compares it with the labels.
    """
    assert labels is not None
    scored = contract.scored
    if contract.labels.kind in ("classes", "positions"):
        yield from _class_orders(contract, labels, scores)
    if scored.kind in ("logit", "probability") and contract.labels.kind == "classes":
        kind: Any = "probability" if scored.kind == "logit" else "logit"
        yield _said(kind, f"Read it as a {kind}", replace(scored, kind=kind))
    own = outputs[scored.name]
    if contract.labels.kind == "positions" and scored.kind in _COLUMNS and own.ndim > 2:
        first = scored.class_axis == 1
        axis = -1 if first else 1
        if (own.shape[:-1] if first else (own.shape[0], *own.shape[2:])) == labels.shape:
            words = "channels_last" if first else "channels_first"
            label = f"Take the {'last' if first else 'first'} axis for that of the classes"
            yield _said(words, label, replace(scored, class_axis=axis))
    for meaning in contract.judged:
        yield from _other_output(meaning, outputs[meaning.name], own, contract, labels)
    if not metric.higher_is_better and scored.kind == "values" and labels.dtype.kind in "iuf":
        yield from _units(labels, scores)


def _said(scores: str, label: str, output: OutputMeaning) -> Try:
    words = f"scores={scores!r}"
    return Try("scores", words, words, f"--scores {scores}", label, {"scores": scores}, output=output)


def _other_output(
    meaning: OutputMeaning, value: NDArray[Any], own: NDArray[Any], contract: Contract, labels: NDArray[Any]
) -> Iterator[Try]:
    import numpy as np

    scored = contract.scored
    same = value.shape == own.shape
    classes = contract.labels.kind == "classes" and value.ndim == own.ndim == 2 and scored.kind in _COLUMNS
    fits = same or (classes and value.shape[1] > max(1, int(labels.max())))
    if not fits or value.dtype.kind != "f" or np.isnan(value).any():
        return
    said = f"output={meaning.name!r}"
    kind = meaning.kind if meaning.kind in _COLUMNS and scored.kind in _COLUMNS else scored.kind
    other = replace(meaning, kind=kind, class_axis=scored.class_axis)
    yield Try(
        "output", said, said, f"--output {meaning.name}", f'Score output "{meaning.name}"', {"output": meaning.name},
        output=other,
    )  # fmt: skip


def _class_orders(contract: Contract, labels: NDArray[Any], scores: NDArray[Any]) -> Iterator[Try]:
    """Labels counted from 1, or names in another order than the model's classes."""
    import numpy as np

    count = scores.shape[-1] if scores.dtype.kind == "f" else int(max(scores.max(initial=0), labels.max())) + 1
    for shift in (-1, 1):
        moved = labels + shift
        if labels.min() >= 0 and moved.min() >= 0 and moved.max() < count:
            sign = "-" if shift < 0 else "+"
            yield Try("labels", f"labels shifted by {shift:+d}", f"y {sign} 1", label=f"Labels {sign} 1",
                      setting={"labels_shift": shift}, labels=moved)  # fmt: skip
    if labels.ndim != 1 or scores.ndim > 2:
        return
    given = answers(scores)
    order = _best_order(labels, given, count)
    if order is None or (order == np.arange(count)).all():
        return
    moved = order[labels]
    if len(set((moved - labels).tolist())) == 1 and abs(int(moved[0] - labels[0])) == 1:
        return  # a shift, which is tried already
    names = contract.labels.named
    if len(names) == count:
        place = np.argsort(order)
        listed = [names[int(i)] for i in place]
        said = f"classes={listed!r}"
        yield Try("classes", "the class names in another order", said, f"--classes {','.join(listed)}",
                  "Change the order of the classes", {"classes": listed}, labels=moved)  # fmt: skip
    else:
        pairs = ", ".join(f"{i}: {int(order[i])}" for i in np.unique(labels).tolist()[:12])
        yield Try("classes", "other class numbers", f"y = numpy.vectorize({{{pairs}}}.get)(y)",
                  label="Change the class numbers", setting={"order": order.tolist()}, labels=moved)  # fmt: skip


def _best_order(labels: NDArray[Any], given: NDArray[Any], count: int) -> NDArray[Any] | None:
    """For each label the answer it gets, one to one, so that as many as possible are right."""
    import numpy as np

    if count < 2 or count > 1000:
        return None
    table = np.zeros((count, count))
    usable = (given >= 0) & (given < count)
    np.add.at(table, (labels[usable], given[usable]), 1)
    table += 1e-6 * np.eye(count)  # labels that do not occur keep their place
    often: NDArray[Any] = table.argmax(axis=1)
    if len(np.unique(often)) == count:
        return often  # nothing can be better, and SciPy's optimizers take a fifth of a second to import
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-table)
    order = np.empty(count, np.int64)
    order[rows] = columns
    return order


def _units(labels: NDArray[Any], outputs: NDArray[Any]) -> Iterator[Try]:
    """Values in other units, standardized ones, and logarithms: what the labels are of the outputs.

    Args:
        labels: Real numbers, shape (examples, …).
        outputs: What the model gives for them, with as many numbers per example.
    """
    import numpy as np

    truth = labels.reshape(len(labels), -1).astype(np.float64)
    given = outputs.reshape(len(outputs), -1).astype(np.float64)
    if truth.shape != given.shape or len(truth) < 3 or not np.isfinite(given).all():
        return
    line = _line(given, truth)
    if line is not None:
        factor, offset = line
        yield Try(
            "units", f"labels in the units of the output, y = {_times(factor)}{_plus(offset)}", _back(factor, offset),
            label="Labels in the units of the output", setting={"units": [factor.tolist(), offset.tolist()]},
            convert=lambda values: _flat(values) * factor + offset,
        )  # fmt: skip
    for name, inverse, low in (("log", np.exp, 0.0), ("log1p", np.expm1, -1.0)):
        if truth.min() > low and given.max() < 700:  # no exponential overflows
            yield Try(
                "units", f"the logarithm of the labels, numpy.{name}(y)", f"y = numpy.{name}(y)",
                label="Take the logarithm of the labels", setting={"units": name}, convert=inverse,
            )  # fmt: skip


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(len(values), -1)


def _line(given: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Factor and offset of each column where the labels lie on a line of the outputs, None where they do not."""
    import numpy as np

    spread, other = truth.std(axis=0), given.std(axis=0)
    if not (spread > 0).all() or not (other > 0).all():
        return None
    centered = given - given.mean(axis=0)
    factor = (centered * (truth - truth.mean(axis=0))).mean(axis=0) / other**2
    offset = truth.mean(axis=0) - factor * given.mean(axis=0)
    explained = 1 - ((truth - given * factor - offset) ** 2).mean(axis=0) / spread**2
    if not (explained > _EXPLAINED).all() or not (factor > 0).all():
        return None
    if (np.abs(factor - 1) <= _SAME_UNITS).all() and (np.abs(offset) <= _SAME_UNITS * spread).all():
        return None
    tens = 10.0 ** np.rint(np.log10(factor))
    factor = np.where(np.abs(factor - tens) <= _ROUND * tens, tens, factor)
    offset = np.where(np.abs(offset) <= _ROUND * spread, 0.0, offset)
    return factor, offset


def _listed(values: NDArray[Any]) -> str:
    shown = [f"{v:.4g}" for v in values.tolist()]
    return shown[0] if len(set(shown)) == 1 else f"numpy.array([{', '.join(shown)}])"


def _times(factor: NDArray[Any]) -> str:
    return "output" if (factor == 1).all() else f"{_listed(factor)} × output"


def _plus(offset: NDArray[Any]) -> str:
    if (offset == 0).all():
        return ""
    text = _listed(offset)
    return f" − {text[1:]}" if text.startswith("-") else f" + {text}"


def _back(factor: NDArray[Any], offset: NDArray[Any]) -> str:
    moved = "y" if (offset == 0).all() else f"(y - {_listed(offset)})".replace("- -", "+ ")
    return f"y = {moved}" if (factor == 1).all() else f"y = {moved} / {_listed(factor)}"
