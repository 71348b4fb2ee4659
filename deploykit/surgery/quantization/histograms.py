"""Ranges that clip outliers, from histograms that are filled batch by batch.

ONNX Runtime's calibrators keep what all layers have given, or histograms that grow and whose bins depend on which
examples come first. Here the range of each tensor is known before, from a first pass over the examples: its bins are
fixed, batches may have any size, and memory does not grow with their number. What a histogram says is ONNX Runtime's
own computation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bins of a histogram of values and of one of sizes. ONNX Runtime begins with 128 and 2048; with 128 bins, as many as
#: 8 bits are compared with, entropy clips nothing.
VALUES, SIZES = 1024, 2048
#: Bins of 8 bits that a histogram is compared with, ONNX Runtime's default.
_QUANTIZED = 128
#: Below this, edges of bins would be equal.
_TINY = 1e-30
#: What a bin without a value gets, so that logarithms are finite; ONNX Runtime's.
_LITTLE = 1e-4
#: Percent of the values that a range by percentile holds; ONNX Runtime's default.
PERCENTILE = 99.999


class Histogram:
    """How often a tensor has which values.

    Args:
        low: The lowest value there is, shape ().
        high: The highest.
        absolute: Whether sizes are counted, from 0 on, and not values.
    """

    def __init__(self, low: NDArray[Any], high: NDArray[Any], *, absolute: bool) -> None:
        import numpy as np

        self._low, self._high, self._absolute = low, high, absolute
        self._bins = SIZES if absolute else VALUES
        threshold = np.float32(max(abs(low), abs(high)))
        self._ends: Any = (np.float32(0.0) if absolute else -threshold, threshold)
        self._counts: NDArray[Any] = np.zeros(self._bins, np.int64)
        self._edges: NDArray[Any] = np.zeros(self._bins + 1)

    @property
    def usable(self) -> bool:
        """Whether there can be bins: not where there are infinite values, as masks have, or nothing but tiny ones."""
        return bool(self._ends[1] == 0.0 or _TINY < self._ends[1] < float("inf"))

    def add(self, values: NDArray[Any]) -> None:
        """Count the values of one batch, of any shape."""
        import numpy as np

        flat = values.ravel().astype(np.float32, copy=False)  # half precision cannot tell so many edges apart
        counts, self._edges = np.histogram(np.abs(flat) if self._absolute else flat, self._bins, range=self._ends)
        self._counts += counts

    def plain(self) -> tuple[Any, ...]:
        """The histogram as ONNX Runtime's collector holds it."""
        return self._counts, self._edges.astype(self._low.dtype), self._low, self._high


def ends(histograms: Mapping[str, Histogram], method: str) -> Any:
    """Ranges from histograms: name → (lowest, highest, …), by ONNX Runtime's collector.

    Args:
        histograms: By name of the tensor, of sizes for ``"percentile"`` and of values for ``"entropy"``.
        method: ``"entropy"`` or ``"percentile"``.
    """
    calibrate = require("onnxruntime.quantization.calibrate", "")
    collector = calibrate.HistogramCollector(
        method=method, symmetric=method == "percentile", num_bins=VALUES, num_quantized_bins=_QUANTIZED,
        percentile=PERCENTILE, scenario="same",
    )  # fmt: skip
    collector.get_entropy_threshold = entropy_ends
    collector.histogram_dict = {name: histogram.plain() for name, histogram in histograms.items()}
    return collector.compute_collection_result()


def entropy_ends(histogram: tuple[Any, ...], quantized_bins: int) -> tuple[Any, Any]:
    """The range in which 8 bits keep most of a distribution, by the Kullback-Leibler divergence.

    It gives what ``HistogramCollector.get_entropy_threshold`` does, bit for bit; that one adds up bins in Python, which
    takes many times as long. Source: Migacz 2017, "8-bit inference with TensorRT".

    Args:
        histogram: Counts, edges, lowest and highest value, …
        quantized_bins: How many bins are compared with it.
    """
    import numpy as np

    counts, edges, lowest, highest = histogram[:4]
    before = np.concatenate([[0], np.cumsum(counts)])
    middle, least = len(counts) // 2, quantized_bins // 2
    best = (np.inf, edges[middle - least], edges[min(middle + least + 1, len(counts))])
    for half in range(least, middle + 1):
        start, end = middle - half, min(middle + half + 1, len(counts))
        inside = counts[start:end]
        given = inside.copy()
        given[0] += before[start]
        given[-1] += before[-1] - before[end]
        merged = len(inside) // quantized_bins
        whole = merged * quantized_bins
        sums = inside[:whole].reshape(quantized_bins, merged).sum(1)
        sums[-1] += inside[whole:].sum()
        filled = (given[:whole] != 0).reshape(quantized_bins, merged).sum(1)
        kept = np.zeros_like(given)
        kept[:whole] = (sums / np.maximum(filled, 1) * (filled > 0)).astype(np.int64).repeat(merged)
        divergence = _divergence(given, kept)
        if divergence < best[0]:
            best = (divergence, edges[start], edges[end])
    return max(best[1], lowest), min(best[2], highest)


def _divergence(given: NDArray[Any], kept: NDArray[Any]) -> float:
    """KL(given ‖ kept) of counts, whose zeros take a little of the others; infinite where nothing is left."""
    import numpy as np

    shares = []
    for counts in (given, kept):
        zeros = counts == 0
        empty = int(np.count_nonzero(zeros))
        if empty == len(counts):
            return np.inf
        taken = _LITTLE * empty / (len(counts) - empty)
        smooth = counts.astype(np.float32) + np.where(zeros, np.float32(_LITTLE), np.float32(-taken))
        shares.append(smooth / smooth.sum())
    p, q = shares
    return float((p * np.log(p / q)).sum())
