"""Whether an example's answer depends on the others in its batch: int8 scales of a whole batch, batch statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DeploykitError
from deploykit.data.examples import Examples
from deploykit.data.preprocess import prepared
from deploykit.data.tokens.tokenizer import Tokenizer
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples that are tried.
EXAMPLES = 16
#: Largest difference, relative to an output's range, between an example alone and among others: rounding.
_CLOSE = 3e-5
#: Tokens by which texts are filled up further.
_MORE_PADDING = 16


def depends_on_batch(session: Session, batch: Mapping[str, NDArray[Any]]) -> bool:
    """Whether examples get other answers together than alone, as far as a few can tell.

    Each example is made smaller by another factor, and every other one of whole numbers (tokens) is filled with one of
    its own: a model that quantizes by the largest value of a whole batch answers alike as long as all examples have the
    same range, as images mostly do.

    Args:
        session: The opened model.
        batch: Preprocessed examples by input name.
    """
    import numpy as np

    count = min(EXAMPLES, len(next(iter(batch.values()), ())))
    if count < 2 or session.batch_size:
        return False
    changed = {
        name: np.concatenate([_varied(array[i : i + 1], i) for i in range(count)]) for name, array in batch.items()
    }
    try:
        together = session.predict(changed)
        alone = [session.predict({n: a[i : i + 1] for n, a in changed.items()}) for i in range(count)]
    except DeploykitError:
        raise
    except Exception:  # a graph made for one example: runtimes raise classes of their own
        return False
    return any(
        _differ(np.concatenate([one[name] for one in alone]), value)
        for name, value in together.items()
        if value.ndim and len(value) == count
    )


def depends_on_padding(session: Session, data: Examples, count: int = EXAMPLES) -> bool:
    """Whether texts get other answers when their tokens are filled up further, as far as a few can tell.

    Answers for each token are compared where both lengths have one. A model that takes one length alone is fed that
    length everywhere.

    Args:
        session: The opened model.
        data: What it was measured on.
        count: Texts that are tried.
    """
    name, step = next(((n, s) for n, s in data.preprocess.items() if s.tokenizer is not None), ("", None))
    tokenizer = None if step is None else step.tokenizer
    split = data.splits["evaluation"]
    if step is None or tokenizer is None or split.prepared:
        return False
    longer = min(tokenizer.length + _MORE_PADDING, tokenizer.max_length)
    fixed = any(s.shape and s.shape[-1] is not None for s in session.inputs if len(s.shape or ()) == 2)
    if longer <= tokenizer.length or fixed or session.batch_size:
        return False
    raw = split.take(slice(0, min(count, len(split)))).inputs
    steps = {**data.preprocess, name: replace(step, tokenizer=tokenizer.padded(longer))}
    fed = prepared(raw, data.preprocess)
    short, long = session.predict(fed), session.predict(prepared(raw, steps))
    left = tokenizer.side == "left"
    for output, value in short.items():
        other = long[output]
        if other.shape != value.shape and other.ndim > 1 and other.shape[1] == longer:
            other = other[:, -value.shape[1] :] if left else other[:, : value.shape[1]]
        there = _there(value, fed, tokenizer)
        if other.shape != value.shape or _differ(value[there], other[there]):
            return True
    return False


def _there(value: NDArray[Any], fed: Mapping[str, NDArray[Any]], tokenizer: Tokenizer) -> Any:
    """Where an output has tokens and no padding; everywhere for an output of whole texts."""
    mask = next((fed[name] for name, column in tokenizer.feeds if column == "mask"), None)
    return slice(None) if mask is None or value.shape[:2] != mask.shape else mask.astype(bool)


def _varied(example: NDArray[Any], place: int) -> NDArray[Any]:
    import numpy as np

    if example.dtype.kind == "f":
        shrunk: NDArray[Any] = example / example.dtype.type(place + 1)
        return shrunk
    if example.dtype.kind in "iu" and place % 2 and example.size:
        return np.full_like(example, example.flat[place % example.size])
    return example


def _differ(alone: NDArray[Any], together: NDArray[Any]) -> bool:
    import numpy as np

    if alone.shape != together.shape:
        return True
    if alone.dtype.kind != "f":
        return not np.array_equal(alone, together)
    a, b = alone.astype(np.float64), together.astype(np.float64)
    alike = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.abs(a[np.isfinite(a)])
    level = float(finite.max(initial=0.0)) or 1.0
    gap = np.abs(a[~alike] - b[~alike])
    return bool(gap.size and not (gap <= _CLOSE * level).all())
