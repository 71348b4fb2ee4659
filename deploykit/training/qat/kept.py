"""What steps before have left in a kernel, zeros and shared values, and training that keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Most values that a kernel can have and still count as sharing them: what 8 bits hold.
_MOST = 256


@dataclass(frozen=True)
class Kept:
    """Which weights of a kernel are equal.

    What is trained is the value of a group, whose gradient is the sum of those of its weights.

    Attributes:
        groups: Number of the group of each weight, in the kernel's shape; None when only zeros are kept.
        nonzero: 0.0 where a weight is zero and stays zero, else 1.0, in the kernel's shape.
        shared: How many different values there are, zero included; 0 when none are shared.
        by_channel: Whether values are shared within each output alone.
    """

    groups: NDArray[np.int32] | None
    nonzero: NDArray[np.float32]
    shared: int = 0
    by_channel: bool = False

    @classmethod
    def of(cls, rows: NDArray[Any], *, values: bool) -> Kept | None:
        """What a kernel has; None when there is nothing to keep.

        Args:
            rows: The kernel, output channels last: shape (inputs of one output, outputs).
            values: Whether shared values are kept as well as zeros.

        Example:
            >>> import numpy as np
            >>> Kept.of(np.array([[0.5, 0.0], [0.5, 0.25]], np.float32), values=True).shared
            3
        """
        import numpy as np

        nonzero = (rows != 0).astype(np.float32)
        if values:
            found, groups = np.unique(rows, return_inverse=True)
            if len(found[found != 0]) < nonzero.sum() and len(found) <= _MOST:
                return cls(groups.reshape(rows.shape).astype(np.int32), nonzero, len(found))
            own = [np.unique(column, return_inverse=True) for column in rows.T]
            most = max(len(one) for one, _ in own)
            if 2 * most <= len(rows) and most <= _MOST:
                starts = np.cumsum([0, *(len(one) for one, _ in own)])[:-1]
                groups = np.stack([g.reshape(-1) + s for (_, g), s in zip(own, starts, strict=True)], axis=1)
                return cls(groups.astype(np.int32), nonzero, most, by_channel=True)
        return None if nonzero.all() else cls(None, nonzero)

    def gradient(self, gradient: Any) -> Any:
        """The gradient of shared values instead of single weights: each weight has that of its value."""
        return self._by_group(gradient, mean=False)

    def project(self, kernel: Any) -> Any:
        """The kernel with these zeros and shared values that is nearest to one that may have others.

        Args:
            kernel: A TensorFlow tensor, output channels last, of any rank.
        """
        return self._by_group(kernel, mean=True)

    def _by_group(self, given: Any, *, mean: bool) -> Any:
        tf = require("tensorflow", "tensorflow")
        nonzero = self.nonzero.reshape(given.shape)
        if self.groups is None:
            return given * nonzero
        numbers, count = tf.constant(self.groups.reshape(-1)), int(self.groups.max()) + 1
        sums = tf.math.unsorted_segment_sum(tf.reshape(given, [-1]), numbers, count)
        if mean:
            sums /= tf.math.unsorted_segment_sum(tf.ones_like(numbers, tf.float32), numbers, count)
        return tf.reshape(tf.gather(sums, numbers), given.shape) * nonzero
