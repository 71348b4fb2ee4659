"""``tf.data`` datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploykit.core.errors import DatasetError

_TF_BATCH = 256
_INFINITE = -1


def read_tf(dataset: Any, batched: bool | None) -> tuple[Any, Any]:
    """Examples and labels of a ``tf.data.Dataset``, concatenated."""
    import numpy as np

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
    elements = list((dataset if batched else dataset.batch(_TF_BATCH)).as_numpy_iterator())
    if not elements:
        raise DatasetError("The tf.data.Dataset is empty.")
    xs = [e[0] if isinstance(e, tuple) else e for e in elements]
    y = np.concatenate([e[1] for e in elements]) if len(pair) > 1 else None
    if isinstance(xs[0], Mapping):
        return {k: np.concatenate([e[k] for e in xs]) for k in xs[0]}, y
    return np.concatenate(xs), y


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
