"""Intervals and tests of examples that come in groups, such as the frames of a video.

Frames of a video resemble each other: thirty of them say hardly more than one. So groups are what is drawn and counted,
and examples only as parts of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.core.result import Interval
from deploykit.measuring.statistics import CONFIDENCE, paired_shares, share, t_test

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Signs are tried one by one as long as the differences of all groups together are not more than this.
_MOST_EXACT = 20_000


def numbered(groups: NDArray[Any] | None) -> NDArray[np.int64] | None:
    """The group of each example as a number from 0 on; None where every example stands for itself."""
    import numpy as np

    if groups is None or not len(groups):
        return None
    names, own = np.unique(groups, return_inverse=True)
    return own.astype(np.int64) if len(names) < len(groups) else None


def totals(values: NDArray[np.float64], own: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sum of each group's values."""
    import numpy as np

    found: NDArray[np.float64] = np.bincount(own, weights=values, minlength=int(own.max()) + 1).astype(np.float64)
    return found


def as_groups(values: NDArray[np.float64], own: NDArray[np.int64]) -> NDArray[np.float64]:
    """One value for each group, whose mean is that of all examples.

    What a group adds to the mean, in units of a group: Student's interval of these is the linearized one of a mean over
    clusters of unequal size (Cochran, *Sampling Techniques*, 1977, section 9A).
    """
    import numpy as np

    return of_sums(totals(values, own), totals(np.ones(len(own)), own))


def of_sums(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `as_groups`, of the sums of groups and how many examples they have."""
    mean = sums.sum() / sizes.sum()
    found: NDArray[np.float64] = mean + (sums - sizes * mean) * (len(sums) / sizes.sum())
    return found


def paired_binary_groups(
    differences: NDArray[np.float64], sizes: NDArray[np.float64], better: int, worse: int
) -> tuple[Interval, float]:
    """As `deploykit.measuring.statistics.paired_binary`, of pairs in groups.

    The interval is that of as many independent pairs as the groups are worth: counts are divided by `design_effect`.
    The p-value is McNemar's exact test with the signs of whole groups, or Student's where that would take long.

    Args:
        differences: Of each group, pairs in which only the second is a hit, less those in which only the first is.
        sizes: Pairs of each group.
        better: Pairs in which only the second is a hit.
        worse: Pairs in which only the first is a hit.
    """
    from scipy.special import stdtrit

    count, groups = int(sizes.sum()), len(sizes)
    value = float(differences.sum()) / count
    if groups < 2:
        return Interval(value, -1.0, 1.0), 1.0
    effect = design_effect(differences, sizes, better + worse)
    low, high = paired_shares(
        better / effect, worse / effect, count / effect, float(stdtrit(groups - 1, (1 + CONFIDENCE) / 2))
    )
    moved = abs(differences[differences != 0]).astype(int)
    if moved.sum() <= _MOST_EXACT:
        p_value = _signs(moved, abs(int(differences.sum())))
    else:
        p_value = t_test(of_sums(differences, sizes).tolist())
    return Interval(value, min(low, value), max(high, value)), p_value


def design_effect(differences: NDArray[np.float64], sizes: NDArray[np.float64], differing: int) -> float:
    """How many examples of these groups are worth one that is independent (Rao and Scott, Biometrics 48, 1992).

    It is how much more the sums of groups vary than those of independent pairs would. One pair on each side that
    differs with its whole group is counted in it: while none differs, a group is one pair.

    Args:
        differences: As in `paired_binary_groups`.
        sizes: As there.
        differing: Pairs of which one is a hit.
    """
    count, groups = float(sizes.sum()), len(sizes)
    usual = count / groups
    mean = float(differences.sum()) / count
    apart = float(((differences - sizes * mean) ** 2).sum()) * groups / max(1, groups - 1)
    alone = differing - count * mean**2
    return min(max((apart + 2 * usual) / (alone + 2), 1.0), float(sizes.max()))


def share_of_groups(hits: NDArray[np.bool_], own: NDArray[np.int64]) -> Interval:
    """As `deploykit.measuring.statistics.share`, of hits in groups, divided by their design effect.

    One hit that its whole group shares is counted in it, as in `design_effect`.
    """
    import numpy as np
    from scipy.special import stdtrit

    sums, sizes = totals(hits.astype(np.float64), own), totals(np.ones(len(own)), own)
    count, groups, mean = len(own), len(sizes), float(hits.mean())
    apart = float(((sums - sizes * mean) ** 2).sum()) * groups / max(1, groups - 1)
    alone = count * mean * (1 - mean)
    effect = min(max((apart + count / groups) / (alone + 1), 1.0), float(sizes.max()))
    wide = float(stdtrit(max(1, groups - 1), (1 + CONFIDENCE) / 2))
    return share(float(sums.sum()) / effect, count / effect, wide)


def _signs(sizes: NDArray[np.int64], total: int) -> float:
    """Probability that sums of these numbers with random signs are at least ``total`` from 0."""
    import numpy as np

    room = int(sizes.sum())
    if not room or not total:
        return 1.0
    ways = np.zeros(2 * room + 1)  # by the sum, from -room on
    ways[room] = 1.0
    for size in sizes.tolist():
        moved = np.zeros_like(ways)
        moved[size:] += ways[:-size]
        moved[:-size] += ways[size:]
        ways = moved / 2
    return min(1.0, 2 * float(ways[room + total :].sum()))
