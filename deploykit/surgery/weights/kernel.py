"""A kernel, and which of its weights to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import SettingError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Kernel:
    """The weights of one layer that are multiplied with its inputs.

    Attributes:
        layer: Name of the layer.
        type: Its class or operator.
        rows: The weights, shape (outputs, inputs of one output): sums run along the last axis, which is (input channel,
            place).
        part: Which product of the layer it belongs to, where a layer has several.
        places: Places of a convolution's kernel for each input channel.
    """

    layer: str
    type: str
    rows: NDArray[Any]
    part: str = ""
    places: int = 1


def parse_pattern(text: str) -> tuple[int, int] | None:
    """A pattern such as ``"2:4"`` as (weights kept, weights in a block); None for ``"unstructured"``.

    Raises:
        SettingError: It is something else.
    """
    if text == "unstructured":
        return None
    kept, _, block = text.partition(":")
    if kept.isdigit() and block.isdigit() and 0 < int(kept) < int(block):
        return int(kept), int(block)
    raise SettingError(
        f"The pattern {text!r} is not known.",
        remedy='write "unstructured", or N:M such as "2:4" to keep N of M.',
    )


def weakest(scores: NDArray[Any], share: float) -> NDArray[Any]:
    """Which weights a share takes: those with the lowest scores, of equal ones the first; one at least stays.

    Args:
        scores: Any shape.
        share: Of them.

    Returns:
        True where a weight goes; the shape of the scores.
    """
    import numpy as np

    count = scores.size - max(1, round(scores.size * (1 - share)))
    gone = np.zeros(scores.size, bool)
    gone[np.argsort(scores, axis=None, kind="stable")[:count]] = True
    return gone.reshape(scores.shape)


def weakest_in_rows(scores: NDArray[Any], share: float) -> NDArray[Any]:
    """`weakest` of each row by itself, shape (outputs, inputs)."""
    import numpy as np

    count = scores.shape[1] - max(1, round(scores.shape[1] * (1 - share)))
    order = np.argsort(scores, axis=1, kind="stable")[:, :count]
    gone = np.zeros(scores.shape, bool)
    np.put_along_axis(gone, order, values=True, axis=1)
    return gone


def weakest_in_blocks(scores: NDArray[Any], kept: int, block: int, places: int = 1) -> NDArray[Any]:
    """Which weights go so that of each block of input channels at most ``kept`` stay, at each place of a kernel.

    This is what sparse kernels of GPUs take, and what TF-MOT's ``sparsity_m_by_n`` does. A last block that is not
    complete keeps as many.

    Args:
        scores: Shape (outputs, inputs), inputs being (channel, place).
        kept: Weights that stay in a block.
        block: Weights of a block.
        places: Places of a kernel.
    """
    import numpy as np

    runs = scores.reshape(len(scores), -1, places).transpose(0, 2, 1)  # channels last
    missing = -runs.shape[2] % block
    parts = np.pad(runs, ((0, 0), (0, 0), (0, missing)), constant_values=-np.inf).reshape(-1, block)
    order = np.argsort(parts, axis=1, kind="stable")[:, : block - kept]
    gone = np.zeros(parts.shape, bool)
    np.put_along_axis(gone, order, values=True, axis=1)
    whole = gone.reshape(len(scores), places, -1)[:, :, : runs.shape[2]]
    return whole.transpose(0, 2, 1).reshape(scores.shape)


def globally_weakest(scores: Sequence[NDArray[Any]], share: float) -> list[NDArray[Any]]:
    """`weakest` over all kernels together; of each kernel one weight at least stays."""
    import numpy as np

    if not scores:
        return []
    limits = np.cumsum([s.size for s in scores])[:-1]
    gone = weakest(np.concatenate([s.reshape(-1) for s in scores]), share)
    found = [part.reshape(s.shape) for part, s in zip(np.split(gone, limits), scores, strict=True)]
    for part, score in zip(found, scores, strict=True):
        if part.all():
            part.reshape(-1)[np.argmax(score)] = False
    return found


def first_of(
    scores: Sequence[NDArray[Any]], gone: Sequence[NDArray[Any]], part: float, *, together: bool
) -> list[NDArray[Any]]:
    """A part of what is to go, that with the lowest scores.

    Args:
        scores: Of the weights of each kernel.
        gone: Which of them go in the end.
        part: Of those.
        together: Whether all kernels are compared, rather than each by itself.
    """
    import numpy as np

    if together:
        limits = np.cumsum([s.size for s in scores])[:-1]
        (found,) = first_of(
            [np.concatenate([s.ravel() for s in scores])], [np.concatenate([g.ravel() for g in gone])], part,
            together=False,
        )  # fmt: skip
        return [piece.reshape(s.shape) for piece, s in zip(np.split(found, limits), scores, strict=True)]
    made = []
    for score, mask in zip(scores, gone, strict=True):
        now = np.zeros(mask.size, bool)
        order = np.argsort(np.where(mask, score, np.inf), axis=None, kind="stable")
        now[order[: round(part * int(mask.sum()))]] = True
        made.append(now.reshape(mask.shape))
    return made
