"""Retrieval among the examples themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics import _neighbors
from deploykit.metrics._classwise import Classwise
from deploykit.metrics._contract import Parts, Summed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class RecallAtK(Summed, Classwise):
    """Share of examples with another one of their class, or identity, among the k nearest by cosine.

    Equal cosines count against the example: an encoder that gives all examples the same vector finds nothing. Examples
    that are alone in their class are left out.
    """

    name = "recall_at_k"
    label = "recall@k"
    help = "Share of examples with one of their class among the ten nearest embeddings; recall_at_k:1, :5 and so on."
    kinds = frozenset({"embedding"})
    setting = 10
    offered = ("1", "5")
    setting_help = "how many neighbors are looked at"
    priority = 3
    why = "embeddings with classes are judged by the classes of their neighbors"
    reference = "sklearn.neighbors.NearestNeighbors (cosine)"
    among = True
    figure = "recall"

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs embeddings, and classes that some examples share."""
        import numpy as np

        if truth is None:
            return "needs labels: the class or identity of each example; neighbor_agreement needs none"
        if truth.dtype.kind not in "iuSU" or truth.ndim != 1:
            return "needs the class or identity of each example"
        if reason := _neighbors.unsuitable(outputs):
            return reason
        if len(outputs) <= self.setting:
            return f"looks at {self.setting} neighbors, and there are only {len(outputs)} examples"
        return "" if len(np.unique(truth)) < len(truth) else "is undefined: no two examples have the same class"

    def parts(self, outputs: NDArray[Any], truth: NDArray[Any]) -> Parts:
        """The sums, and whose they are."""
        return {"sums": self.sums(outputs, truth), "class": truth}

    def class_count(self, parts: Parts) -> int:
        """Up to the highest; none of identities that are texts."""
        return int(parts["class"].max(initial=-1)) + 1 if parts["class"].dtype.kind in "iu" else 0

    def only(self, parts: Parts, index: int) -> Parts:
        """What is to be found for its examples."""
        own = parts["sums"] * self.members(parts, index)[:, None]
        own[:, 2:] = 0  # what is there to be found stays as it is for one class
        return {**parts, "sums": own}

    def members(self, parts: Parts, index: int) -> NDArray[np.bool_]:
        """Its examples."""
        found: NDArray[np.bool_] = parts["class"] == index
        return found

    def sums(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """Whether an example is found, and can be; how many others are found, and can be, only because it is there.

        The last two are about their means, so that they add nothing to the metric: an example drawn twice is no
        neighbor of its own, but how much depends on what happens to be there to be found belongs to the interval.
        """
        import numpy as np

        found, count = np.zeros((len(outputs), 4)), len(outputs)
        for block, cosines in _neighbors.similarities(outputs):
            rows = np.arange(len(cosines))
            same = truth[block, None] == truth[None, :]
            same[rows, np.arange(block.start, block.stop)] = False
            mates = np.where(same, cosines, -np.inf)
            first = mates.argmax(axis=1)
            nearest = mates[rows, first]
            mates[rows, first] = -np.inf
            next_ = mates.max(axis=1)
            others = ~same & np.isfinite(cosines)
            closer = others & (cosines >= nearest[:, None] - _neighbors.SAME)
            possible = same.any(axis=1)
            hit = possible & np.isfinite(nearest) & (closer.sum(axis=1) < self.setting)
            closer_to_next = (others & (cosines >= next_[:, None] - _neighbors.SAME)).sum(axis=1)
            still = np.isfinite(next_) & (closer_to_next < self.setting)
            found[block, 0], found[block, 1] = hit, possible
            found[:, 2] += np.bincount(first[hit & ~still], minlength=count)
            only = possible & (same.sum(axis=1) == 1)
            found[:, 3] += np.bincount(first[only], minlength=count)
            # A miss that would be a hit without one of those in front of it.
            near_miss = possible & np.isfinite(nearest) & (closer.sum(axis=1) == self.setting)
            found[:, 2] -= closer[near_miss].sum(axis=0)
        found[:, 2:] -= found[:, 2:].mean(axis=0)
        return found

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of those that can be found."""
        import numpy as np

        with np.errstate(divide="ignore", invalid="ignore"):
            share: NDArray[np.float64] = (sums[..., 0] + sums[..., 2]) / (sums[..., 1] + sums[..., 3])
        return share


ADAPTER = RecallAtK()
