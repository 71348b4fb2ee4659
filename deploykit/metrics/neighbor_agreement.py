"""Whether embeddings keep the neighbors that the original model gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics import _neighbors
from deploykit.metrics._contract import Summed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NeighborAgreement(Summed):
    """Share of an example's k nearest by the original's embeddings that are its k nearest still.

    A neighbor whose cosine others share beyond the k-th place is not counted as kept.
    """

    name = "neighbor_agreement"
    label = "neighbor agreement"
    help = "Share of each embedding's ten nearest that the original has as well; needs no labels; neighbor_agreement:5."
    truth = "original"
    kinds = frozenset({"embedding"})
    setting = 10
    offered = ("1", "5")
    setting_help = "how many neighbors are looked at"
    among = True

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs embeddings of more than k examples."""
        if truth is not None and truth.shape != outputs.shape:
            return f"outputs have shape {outputs.shape[1:]}, the original's {truth.shape[1:]}"
        if reason := _neighbors.unsuitable(outputs):
            return reason
        if len(outputs) <= self.setting + 1:
            return f"looks at {self.setting} neighbors, and there are only {len(outputs)} examples"
        return ""

    def sums(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """The share of each example, and one."""
        import numpy as np

        found = np.ones((len(outputs), 2))
        both = zip(_neighbors.similarities(outputs), _neighbors.similarities(truth), strict=True)
        for (block, now), (_, before) in both:
            nearest = np.argpartition(-before, self.setting - 1, axis=1)[:, : self.setting]
            cosines = np.take_along_axis(now, nearest, axis=1)
            limit = -np.partition(-now, self.setting, axis=1)[:, self.setting, None]  # the first that is not among them
            found[block, 0] = (cosines > limit + _neighbors.SAME).mean(axis=1)
        return found

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean share."""
        import numpy as np

        with np.errstate(divide="ignore", invalid="ignore"):
            share: NDArray[np.float64] = sums[..., 0] / sums[..., 1]
        return share


ADAPTER = NeighborAgreement()
