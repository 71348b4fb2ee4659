"""What a metric is: a value for each example, so that two models can be compared example by example.

Where the field's definition is not a mean over examples (areas under curves, ratios of sums, precision averaged over
all images), a metric is `Pooled`: it keeps what each example contributes, and gives the value of any weighting of them,
which is all that intervals need.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from deploykit.core.adapter import Adapter
from deploykit.core.errors import SettingError
from deploykit.core.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Metric(Adapter):
    """A metric.

    Attributes:
        higher_is_better: Direction.
        relative: Changes are given relative to the baseline's mean (errors) instead of as a difference (accuracies).
        binary: Values are hits and misses: changes get the exact tests of paired proportions.
        truth: What outputs are compared with: ``"labels"``, or the outputs of the original model (``"original"``).
        priority: ``"auto"`` takes the applicable metric with the highest one; 0: only by name.
        kinds: Kinds of outputs it is for, see `deploykit.core.contract.KINDS`; empty: any.
        reference: The implementation whose values it gives; "" for deploykit's own definition.
        beside: Whether it is measured beside the metric that was chosen, where it suits the data.
        setting: Its one setting where it has one: a count, or a share between 0 and 1. ``name:value`` is the metric
            with another one, wherever a metric's name is taken.
        setting_help: What it sets, in words.
        offered: Other settings that are offered where one can be picked from a list.
        why: Why ``"auto"`` takes it, in words.
    """

    higher_is_better: ClassVar[bool] = True
    relative: ClassVar[bool] = False
    binary: ClassVar[bool] = False
    truth: ClassVar[str] = "labels"
    priority: ClassVar[int] = 0
    kinds: ClassVar[frozenset[str]] = frozenset()
    reference: ClassVar[str] = ""
    beside: ClassVar[bool] = True
    setting: Any = None
    setting_help: ClassVar[str] = ""
    offered: ClassVar[tuple[str, ...]] = ()
    why: ClassVar[str] = ""

    def configured(self, value: str) -> Self:
        """The metric with another setting; its name says so, ``recall_at_k:5``.

        Raises:
            SettingError: The metric has no setting, or the value is not one.
        """
        if self.setting is None:
            raise SettingError(f"The metric {self.name} has no setting, got {self.name}:{value}.", remedy=self.name)
        whole = isinstance(self.setting, int)
        try:
            found = int(value) if whole else float(value)
        except ValueError:
            found = 0
        if not (found >= 1 if whole else 0 < found < 1):
            what = "a whole number from 1" if whole else "a number between 0 and 1"
            raise SettingError(
                f"The metric {self.name}:{value} must be given {what}: {self.setting_help}.",
                remedy=f"write {self.name}:{self.setting}, for example.",
            )
        other = copy.copy(self)
        if found == self.setting:
            return other
        other.setting = found
        other.name = f"{self.name}:{found:g}"  # type: ignore[misc]  # the adapter's name is per setting
        other.label = f"{self.label} ({found:g})"  # type: ignore[misc]
        return other

    def for_classes(self, names: tuple[str, ...]) -> Self:
        """The metric for outputs whose classes are called so, where it needs their names."""
        del names
        return self

    def priority_for(self, truth: NDArray[Any] | None) -> int:
        """``priority`` for data with such labels."""
        del truth
        return self.priority

    def refuses(self, kind: str) -> str:
        """Why the metric is not for a kind of output; "" when it is."""
        if not self.kinds or kind in self.kinds:
            return ""
        return f"is for {', '.join(sorted(self.kinds))}; the scored output is read as {kind}"

    @abstractmethod
    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Why the metric cannot be used for such outputs and labels (or original outputs); "" when it can."""

    @abstractmethod
    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """One value for each example, shape (examples,).

        Args:
            outputs: The scored output for all examples, batch first, as `deploykit.measuring.answers.read` gives it:
                scores with the classes on the last axis, class numbers, or numbers as they are.
            truth: Labels, or the original's outputs.
        """

    def overall(self, outputs: NDArray[Any], truth: NDArray[Any]) -> float:
        """The metric over all examples."""
        return float(self.values(outputs, truth).mean())

    def without(self, outputs: NDArray[Any], present: NDArray[np.bool_]) -> NDArray[Any]:
        """Outputs whose other positions, which are padding, count for nothing: for a sum over positions they are 0.

        Args:
            outputs: Shape (examples, positions, …).
            present: Shape (examples, positions).
        """
        import numpy as np

        wide = present.reshape(present.shape + (1,) * (outputs.ndim - 2))
        return np.where(wide, outputs, np.zeros((), outputs.dtype))


#: What examples contribute to a pooled metric: arrays by name, each with the examples on its first axis.
Parts = Mapping[str, "NDArray[Any]"]
#: Largest number of groups that are left out in turn: a metric with more examples leaves out several at once.
_GROUPS = 1000
#: Weights held at a time.
_HELD = 4_000_000


class Pooled(Metric):
    """A metric of all examples together that is not their mean: mAP, mean IoU, the area under a curve, R².

    What one example contributes is computed once (`parts`); the value of any weighting of the examples comes from that
    (`pool`): each one counted once for the metric itself, drawn with replacement for its interval.

    Attributes:
        among: Whether an example is judged by where it stands among the others (its neighbors): they stay as they are
            when examples are drawn for the interval.
    """

    beside: ClassVar[bool] = False
    among: ClassVar[bool] = False

    @abstractmethod
    def parts(self, outputs: NDArray[Any], truth: NDArray[Any]) -> Parts:
        """What each example contributes, the examples on the first axis of every array."""

    @abstractmethod
    def pool(self, parts: Parts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The metric for each row of ``weights``, shape (rows,); NaN where it is undefined.

        Args:
            parts: Of all examples.
            weights: How often each example counts, shape (rows, examples); 0 leaves it out.
        """

    def joined(self, parts: Sequence[Parts]) -> Parts:
        """The parts of all examples, from those of some of them after the other.

        Classes that are in some only count nothing in the others.
        """
        import numpy as np

        found = {}
        for name in parts[0]:
            arrays = [part[name] for part in parts]
            wide = np.max([array.shape[1:] for array in arrays], axis=0, initial=0)
            widths = [[(0, 0), *((0, int(w - d)) for w, d in zip(wide, a.shape[1:], strict=True))] for a in arrays]
            found[name] = np.concatenate([np.pad(a, width) for a, width in zip(arrays, widths, strict=True)])
        return found

    def overall(self, outputs: NDArray[Any], truth: NDArray[Any]) -> float:
        """The metric over all examples, each counted once."""
        import numpy as np

        return float(self.pool(self.parts(outputs, truth), np.ones((1, len(outputs))))[0])

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """Pseudo-values, shape (examples,): the metric plus what each example adds to it (Tukey's jackknife).

        Their mean is the metric. Their spread shows how uncertain it is, just as the spread of values does for a mean.
        """
        return self.pseudo_values(self.parts(outputs, truth))

    def pseudo_values(self, parts: Parts) -> NDArray[np.float64]:
        """See `values`; examples that leave the metric undefined when they are left out add nothing."""
        import numpy as np

        count = len(next(iter(parts.values())))
        whole = float(self.pool(parts, np.ones((1, count)))[0])
        if count < 2 or not np.isfinite(whole):
            return np.full(count, whole)
        without = self.leave_out(parts)
        without = np.where(np.isfinite(without), without, whole)
        # The jackknife's bias correction is left out: the mean is the metric that is reported.
        found: NDArray[np.float64] = whole + (count - 1) * (without.mean() - without)
        return found

    def leave_out(self, parts: Parts) -> NDArray[np.float64]:
        """The metric without each example, shape (examples,).

        Beyond a thousand examples, groups of them are left out together, and what a group of m adds is spread over
        them so that the spread of the pseudo-values stays that of single examples: by √m / m.
        """
        import numpy as np

        count = len(next(iter(parts.values())))
        groups = min(count, _GROUPS)
        member = np.random.default_rng(0).permutation(count) % groups
        whole = float(self.pool(parts, np.ones((1, count)))[0])
        found = np.empty(groups)
        step = max(1, _HELD // count)
        for first in range(0, groups, step):
            of = np.arange(first, min(first + step, groups))
            found[of] = self.pool(parts, (member[None, :] != of[:, None]).astype(np.float64))
        size = np.bincount(member, minlength=groups)
        spread: NDArray[np.float64] = (whole + (found - whole) / np.sqrt(size))[member]
        return spread


class Summed(Pooled):
    """A pooled metric that is a function of sums over examples: a ratio of counts, a share of a variance."""

    @abstractmethod
    def sums(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """What each example adds, shape (examples, sums)."""

    @abstractmethod
    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The metric of sums, shape (…, sums) → (…)."""

    def parts(self, outputs: NDArray[Any], truth: NDArray[Any]) -> Parts:
        """The sums of each example, under the name ``sums``."""
        return {"sums": self.sums(outputs, truth)}

    def pool(self, parts: Parts, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The metric of the weighted sums."""
        return self.of_sums(weights @ parts["sums"])

    def leave_out(self, parts: Parts) -> NDArray[np.float64]:
        """The metric without each example, exactly: its sums are subtracted."""
        return self.of_sums(parts["sums"].sum(axis=0) - parts["sums"])


METRICS: Registry[Metric] = Registry("deploykit.metrics", "metric")
