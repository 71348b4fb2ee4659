"""``tf.data`` datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploykit.core.errors import DatasetError
from deploykit.core.mapped import Growing
from deploykit.data.reading import OnRead

_TF_BATCH = 256
_INFINITE = -1


def read_tf(dataset: Any, batched: bool | None, progress: OnRead | None = None) -> tuple[Any, Any]:
    """Examples and labels of a ``tf.data.Dataset``, one batch after the other."""
    spec = dataset.element_spec
    pair = spec if isinstance(spec, tuple) else (spec,)
    parts = list(pair[0].values()) if isinstance(pair[0], Mapping) else [pair[0]]
    odd = [p for p in (*parts, *pair[1:2]) if not hasattr(p, "shape") or type(p).__name__ != "TensorSpec"]
    if odd:
        raise DatasetError(
            f"The elements of the tf.data.Dataset are {spec}.",
            remedy="map them to (x, y): x a tensor or a dictionary of tensors by input name, y a tensor.",
        )
    if int(dataset.cardinality()) == _INFINITE:
        raise DatasetError("The tf.data.Dataset is infinite.", remedy="add .take(n).")
    if batched is None:
        batched = _is_batched(parts[0].shape, pair[1].shape if len(pair) > 1 else None)
    x: dict[str, Growing] = {}
    y = Growing()
    for element in (dataset if batched else dataset.batch(_TF_BATCH)).as_numpy_iterator():
        given = element[0] if isinstance(element, tuple) else element
        for name, value in (given if isinstance(given, Mapping) else {"": given}).items():
            x.setdefault(name, Growing()).append(value)
        if len(pair) > 1:
            y.append(element[1])
        if progress is not None:
            progress(len(next(iter(x.values()))), 0, "examples")
    if not x:
        raise DatasetError("The tf.data.Dataset is empty.")
    found = {name: grown.array() for name, grown in x.items()}
    return (found if isinstance(pair[0], Mapping) else found[""]), (y.array() if len(pair) > 1 else None)


def _is_batched(x: Any, y: Any) -> bool:
    """Whether elements of shape ``x`` with labels of shape ``y`` are batches: a guess, but for the rare cases right."""
    if x.rank is None or x.rank == 0:
        return x.rank is None
    if x[0] is None:  # batched without drop_remainder
        return True
    if y is None or not y.rank:
        return False
    # With drop_remainder both have the batch size in front; one-hot labels of single examples seldom have.
    return bool(x[0] == y[0]) and x.rank > 1
