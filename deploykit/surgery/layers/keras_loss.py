"""What the outputs of a Keras model lose when a part of it is skipped, measured on examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.surgery.channels.keras_graph import Flat
from deploykit.surgery.layers.keras_spans import skipped
from deploykit.surgery.layers.loss import MOST, loss, sorted_by
from deploykit.surgery.layers.spans import Span
from deploykit.surgery.reconstruction.walk import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples that are run at once: what lies between layers is held for all of them.
_BATCH = 16


def ordered(flat: Flat, found: Sequence[Span], examples: Examples) -> list[tuple[Span, float]]:
    """Spans by the damage that skipping each alone does, the smallest first; with the damage.

    The model runs up to where a span ends and is resumed from there without it, so that nothing before is computed
    again.

    Args:
        flat: The model as steps.
        found: Its spans.
        examples: Calibration inputs.
    """
    import numpy as np

    last = {name: number for number, step in enumerate(flat.steps) for name in step.input}
    place = {name: number for number, step in enumerate(flat.steps) for name in step.output}
    last |= {name: len(flat.steps) for name in flat.outputs}
    ends: dict[int, list[int]] = {}
    rest: list[Flat] = []
    for number, span in enumerate(found):
        left = skipped(flat, [(span.start, span.end)])
        rest.append(replace(left, steps=[step for step in left.steps if place[step.output[0]] > place[span.end]]))
        ends.setdefault(place[span.end], []).append(number)
        made = {name for step in rest[-1].steps for name in step.output}
        read = {name for step in rest[-1].steps for name in step.input} | set(left.outputs)
        for name in read - made:  # it must still be there when the model is resumed
            last[name] = max(last.get(name, -1), place[span.end])
    wanted, answered = list[dict[str, Any]](), [list[dict[str, Any]]() for _ in found]
    feeds = list(_batches(examples))
    for part, feed in enumerate(feeds):
        values: dict[str, Any] = dict(feed)
        for at, step in enumerate(flat.steps):
            values |= step.run(values)
            for number in ends.get(at, ()):
                resumed = _run(rest[number], values)
                answered[number].append(dict(zip(flat.outputs, resumed, strict=True)))
            for name in [name for name in values if last.get(name, -1) <= at]:
                del values[name]
            examples.report(part * len(flat.steps) + at + 1, len(feeds) * len(flat.steps), "skipping layers")
        wanted.append({name: np.asarray(values[name]) for name in flat.outputs})
    whole = _joined(wanted)
    return sorted_by((span, loss(whole, _joined(parts))) for span, parts in zip(found, answered, strict=True))


def answers(flat: Flat, examples: Examples) -> dict[str, NDArray[Any]]:
    """What steps give for the examples, by number of the output.

    Args:
        flat: The steps.
        examples: Calibration inputs; not all of them are used.
    """
    return _joined([{str(n): one for n, one in enumerate(_run(flat, feed))} for feed in _batches(examples)])


def _run(flat: Flat, known: Mapping[str, Any]) -> list[NDArray[Any]]:
    """The outputs of some steps."""
    import numpy as np

    values = dict(known)
    last = {name: number for number, step in enumerate(flat.steps) for name in step.input}
    for at, step in enumerate(flat.steps):
        values |= step.run(values)
        for name in [name for name in values if last.get(name, -1) <= at and name not in flat.outputs]:
            del values[name]
    return [np.asarray(values[name]) for name in flat.outputs]


def _batches(examples: Examples) -> Iterator[dict[str, NDArray[Any]]]:
    size = examples.batch or _BATCH
    total = min(MOST, *(len(values) for values in examples.feeds.values()))
    total = max(size, total // size * size) if examples.batch else total
    for start in range(0, total, size):
        yield {name: values[start : min(start + size, total)] for name, values in examples.feeds.items()}


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    import numpy as np

    return {
        name: np.concatenate([p[name] for p in parts]) if parts[0][name].ndim else np.stack([p[name] for p in parts])
        for name in parts[0]
    }
