"""Positions of an output that belong to padding: they say nothing of a model, and are not compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.model import plain_name
from deploykit.data.preprocess import Preprocess

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deploykit.data.dataset import Dataset
    from deploykit.metrics._contract import Metric

#: What models call the input that is 1 at tokens and 0 at padding.
_MASKS = ("input_mask", "mask")
#: Examples that are prepared together.
_AT_ONCE = 4096


def is_mask(name: str) -> bool:
    """Whether an input of this name says where there are tokens."""
    plain = plain_name(name)
    return plain in _MASKS or plain.endswith("attention_mask")


def tokens_of(
    inputs: Mapping[str, NDArray[Any]], preprocess: Mapping[str, Preprocess], width: int
) -> NDArray[np.bool_] | None:
    """Which positions hold tokens, shape (examples, positions); None where inputs of this width do not say so.

    Args:
        inputs: As the model takes them: an attention mask says it, or the tokenizer's padding.
        preprocess: Of the data, with the tokenizer that made the inputs.
        width: Positions of the output.
    """
    import numpy as np

    rows = {n: v for n, v in inputs.items() if v.ndim == 2 and v.shape[1] == width and v.dtype.kind in "iub"}
    for name, value in rows.items():
        if is_mask(name) and np.isin(value, (0, 1)).all():
            return np.asarray(value, np.bool_)
    for step in preprocess.values():
        if step.tokenizer is not None:
            for name, column in step.tokenizer.feeds:
                if column == "ids" and name in rows:
                    return np.asarray(rows[name] != step.tokenizer.pad, np.bool_)
    return None


def tokens(data: Dataset, split: str, output: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Which positions of an output of a split hold tokens; None where all count, or its positions are not tokens.

    Args:
        data: The data, as the model takes them.
        split: Of which split.
        output: As metrics take it, shape (examples, positions, …); any examples of it.
    """
    import numpy as np

    count = len(data.splits[split]) if has_positions(output) else 0
    if not count or not (any(map(is_mask, data.asked)) or any(s.tokenizer for s in data.preprocess.values())):
        return None
    found = []
    for start in range(0, count, _AT_ONCE):
        batch = data.batch(split, slice(start, min(start + _AT_ONCE, count)))
        here = tokens_of(batch, data.preprocess, output.shape[1])
        if here is None:
            return None
        found.append(here)
    whole = np.concatenate(found)
    return None if whole.all() else whole


def compared(
    metric: Metric, outputs: NDArray[Any], present: NDArray[np.bool_] | None, places: Any = slice(None)
) -> NDArray[Any]:
    """An output with nothing at padding, for metrics that compare it with the original's; labels say it themselves.

    Args:
        metric: The metric.
        outputs: As metrics take them.
        present: What `tokens` gives.
        places: Of these examples in their split.
    """
    if present is None or metric.truth != "original" or not has_positions(outputs):
        return outputs
    return metric.without(outputs, present[places])


def has_positions(output: NDArray[Any]) -> bool:
    """Whether an output has numbers for each position: several, or a class; else it may be as wide by chance."""
    return output.ndim == 3 or (output.ndim == 2 and output.dtype.kind in "iu")
