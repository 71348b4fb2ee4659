"""A batch of training examples as models are fed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Mixing:
    """How examples of a batch were mixed with each other.

    Attributes:
        partners: Place in the batch of the example that each was mixed with.
        shares: Share of its own that each has kept, the rest is its partner's; float32 of shape (batch,).
    """

    partners: NDArray[np.int64]
    shares: NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """A batch of examples.

    Attributes:
        index: Places of the examples in the split they come from.
        inputs: What a model is fed, by input name.
        changed: Whether the inputs differ from the examples: answers to these say nothing of them.
        mixing: How they were mixed; None when they were not.
    """

    index: NDArray[np.int64]
    inputs: Mapping[str, NDArray[Any]]
    changed: bool = False
    mixing: Mixing | None = None
