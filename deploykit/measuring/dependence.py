"""Whether an example's answer depends on the others in its batch: int8 scales of a whole batch, batch statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DeploykitError
from deploykit.data.preprocess import Preprocess, prepared
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples that are tried.
EXAMPLES = 16
#: Largest difference, relative to an output's range, between an example alone and among others: rounding.
_CLOSE = 3e-5
#: Tokens by which texts are filled up further.
_MORE_PADDING = 16
#: Texts that are filled up.
_TEXTS = 8


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


def depends_on_padding(
    session: Session, raw: Mapping[str, NDArray[Any]], preprocess: Mapping[str, Preprocess]
) -> bool | None:
    """Whether texts get other answers when their tokens are filled up, as far as a few can tell.

    Each text is run alone, at its own length and at a longer one, and answers for each token are compared where both
    have one.

    Args:
        session: The opened model.
        raw: Some raw examples by input name, batch first.
        preprocess: Input name → preprocessing.

    Returns:
        None where nothing can be tried: no text, a model that takes one length alone, or texts that all fill it.
    """
    name, step = next(((n, s) for n, s in preprocess.items() if s.tokenizer is not None), ("", None))
    tokenizer = None if step is None else step.tokenizer
    fixed = any(s.shape and s.shape[-1] is not None for s in session.inputs if len(s.shape or ()) == 2)
    if step is None or tokenizer is None or fixed or session.batch_size:
        return None
    tried = None
    for place, own in enumerate(tokenizer.lengths(raw[name][:_TEXTS]).tolist()):
        longer = min(max(tokenizer.length, own + _MORE_PADDING), tokenizer.max_length)
        if longer <= own:
            continue
        one = {key: array[place : place + 1] for key, array in raw.items()}
        short, long = (
            session.predict(prepared(one, {**preprocess, name: replace(step, tokenizer=tokenizer.padded(length))}))
            for length in (0, longer)
        )
        states = () if session.contract is None else session.contract.state
        for output, value in short.items():
            if output in states:  # a cache of tokens is as long as the text
                continue
            other = long[output]
            if other.shape != value.shape and other.ndim > 1 and other.shape[1] == longer:
                other = other[:, -value.shape[1] :] if tokenizer.side == "left" else other[:, : value.shape[1]]
            if other.shape != value.shape or _differ(value, other):
                return True
        tried = False
    return tried


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
