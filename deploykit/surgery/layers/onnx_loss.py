"""What the outputs of an ONNX graph lose when a part of it is skipped, measured on examples."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.layers.loss import MOST, loss, sorted_by
from deploykit.surgery.layers.onnx_spans import skipped
from deploykit.surgery.layers.spans import Span
from deploykit.surgery.onnx_session import opened
from deploykit.surgery.reconstruction.walk import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 32


def ordered(model: Any, found: Sequence[Span], examples: Examples) -> list[tuple[Span, float]]:
    """Spans by the damage that skipping each alone does, the smallest first; with the damage.

    Args:
        model: The ``ModelProto``.
        found: Its spans.
        examples: Calibration inputs.
    """
    wanted = answers(model, examples)
    losses = []
    for number, span in enumerate(found):
        losses.append((span, loss(wanted, answers(skipped(model, [(span.start, span.end)]), examples))))
        examples.report(number + 1, len(found), "skipping layers")
    return sorted_by(losses)


def answers(model: Any, examples: Examples, names: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """What a model gives for the examples.

    Args:
        model: The ``ModelProto``.
        examples: Calibration inputs; not all of them are used.
        names: Tensors; the outputs by default.
    """
    import numpy as np

    if names:
        onnx = require("onnx", "")
        made = onnx.ModelProto()
        made.CopyFrom(model)
        del made.graph.output[:]
        made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        model = made
    session = opened(model, optimized=True)
    outputs = [output.name for output in session.get_outputs()]
    size = examples.batch or _BATCH
    total = min(MOST, *(len(values) for values in examples.feeds.values()))
    total = max(size, total // size * size) if examples.batch else total
    known = {value.name for value in session.get_inputs()}
    parts = [
        session.run(
            outputs, {n: values[k : min(k + size, total)] for n, values in examples.feeds.items() if n in known}
        )
        for k in range(0, total, size)
    ]
    joined = [np.concatenate(p) if p[0].ndim else np.stack(p) for p in zip(*parts, strict=True)]
    return dict(zip(outputs, joined, strict=True))


def shapes(model: Any, examples: Examples, names: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """Type and shape of tensors of a graph for one batch of examples.

    Args:
        model: The ``ModelProto``.
        examples: Calibration inputs.
        names: The tensors.
    """
    count = examples.batch or 2
    feeds = {name: values[:count] for name, values in examples.feeds.items()}
    made = sorted(name for name in names if name not in feeds)
    found = feeds | (answers(model, Examples(feeds, examples.batch), made) if made else {})
    return {name: (found[name].dtype.str, *found[name].shape) for name in names}
