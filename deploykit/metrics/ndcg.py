"""Normalized discounted cumulative gain of rankings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics._contract import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Ndcg(Metric):
    """Gains of an example's items discounted by the logarithm of their rank, by those of the best ranking.

    Gains are the labels themselves; equal scores share the mean gain (Järvelin and Kekäläinen, 2002; McSherry and
    Najork, 2008). An example without relevant items has 0.
    """

    name = "ndcg"
    label = "NDCG"
    help = "Discounted gain of each example's items as ranked by the outputs; ndcg:10 looks at the first ten only."
    kinds = frozenset({"values", "several", "scores", "probabilities"})
    setting = 1_000_000_000  # all
    offered = ("5", "10")
    setting_help = "how many of the first items count"
    reference = "sklearn.metrics.ndcg_score"
    beside = False

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs the relevance of each of several items, not below 0."""
        if truth is None:
            return "needs labels"
        if outputs.dtype.kind not in "fiub" or truth.dtype.kind not in "fiub" or truth.ndim != 2:
            return "needs the relevance of each item of an example"
        if outputs.shape != truth.shape or truth.shape[1] < 2:
            return (
                f"needs one output for each of several items; labels are {truth.shape[1:]}, outputs {outputs.shape[1:]}"
            )
        if truth.size and truth.min() < 0:
            return f"needs relevances from 0; the labels hold {truth.min():g}"
        return "" if (truth > 0).any() else "is undefined: no item is relevant"

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """Of each example; NaN where a score is."""
        import numpy as np

        scores, gains = outputs.astype(np.float64), truth.astype(np.float64)
        count, width = scores.shape
        discount = 1 / np.log2(np.arange(width) + 2)
        discount[self.setting :] = 0
        order = np.argsort(-scores, axis=1, kind="stable")
        ranked = np.take_along_axis(scores, order, axis=1)
        first = np.concatenate([np.ones((count, 1), bool), ranked[:, 1:] != ranked[:, :-1]], axis=1)
        group = first.ravel().cumsum() - 1  # equal scores of an example
        gained = np.bincount(group, np.take_along_axis(gains, order, axis=1).ravel()) / np.bincount(group)
        found = (gained[group].reshape(count, width) * discount).sum(axis=1)
        best = (-np.sort(-gains, axis=1) * discount).sum(axis=1)
        share: NDArray[np.float64] = np.where(best > 0, found / np.maximum(best, 1e-300), 0.0)
        share[np.isnan(scores).any(axis=1)] = np.nan
        return share


ADAPTER = Ndcg()
