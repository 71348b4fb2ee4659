"""How near the outputs that are not scored stay to the original's: in the child that runs a candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import OutputMeaning
from deploykit.core.mapped import blocks, taken
from deploykit.core.result import Judged
from deploykit.measuring.answers import answers, read
from deploykit.measuring.padding import has_positions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: An output with more columns than this is judged as a whole.
_MOST_COLUMNS = 512
#: Columns whose spread is below this share of the usual one are measured by the usual one: they hardly vary.
_LEAST_SPREAD = 0.05


class Judging:
    """Collects how much outputs differ from the original's, batch by batch.

    The error of a column (of the last axis) is the mean absolute difference divided by the mean absolute deviation of
    the original's column: 0 is equal, 1 is as bad as always answering the mean. The worst column counts, so that a wide
    one does not hide the others.

    Args:
        outputs: The outputs to judge.
        originals: Output name → ``.npy`` file of the original's output, shape (examples, …).
    """

    def __init__(self, outputs: tuple[OutputMeaning, ...], originals: Mapping[str, str]) -> None:
        import numpy as np

        self._outputs = [o for o in outputs if o.name in originals]
        self._originals = {
            o.name: np.load(Path(originals[o.name]), mmap_mode="r", allow_pickle=False) for o in self._outputs
        }
        self._sums: dict[str, Any] = {}
        self._same: dict[str, list[int]] = {o.name: [0, 0] for o in self._outputs}
        self._missing: dict[str, list[int]] = {o.name: [0, 0] for o in self._outputs}
        self._shapes: dict[str, str] = {}
        #: Of outputs with padding, which positions count.
        self._present: dict[str, NDArray[np.bool_]] = {}
        self._done: set[str] = set()

    def add(
        self,
        found: Mapping[str, NDArray[Any]],
        places: NDArray[Any],
        tokens: Callable[[int], NDArray[np.bool_] | None] = lambda _width: None,
    ) -> None:
        """Take the outputs of the examples at ``places``.

        Args:
            found: By name.
            places: Of the examples in their split.
            tokens: Which of so many positions hold tokens and not padding, see `deploykit.measuring.padding.tokens_of`.
        """
        import numpy as np

        for meaning in self._outputs:
            if meaning.fixed and meaning.name in self._done:
                continue  # what is the same for all examples is compared once
            self._done.add(meaning.name)
            value = found[meaning.name][:1] if meaning.fixed else found[meaning.name]
            original = taken(self._originals[meaning.name], [0] if meaning.fixed else places)
            if value.shape[1:] != original.shape[1:]:
                self._shapes[meaning.name] = f"{value.shape[1:]} instead of {original.shape[1:]}"
                continue
            present = tokens(value.shape[1]) if has_positions(read(value[:1], meaning)) and not meaning.fixed else None
            if present is not None and value.shape[1] == read(value[:1], meaning).shape[1]:
                value, original = value[present][None], original[present][None]  # shape (1, tokens, …)
                kept = self._present.setdefault(
                    meaning.name, np.ones((len(self._originals[meaning.name]), present.shape[1]), np.bool_)
                )
                kept[places] = present
            self._add(meaning, value, original)

    def _add(self, meaning: OutputMeaning, value: NDArray[Any], original: NDArray[Any]) -> None:
        import numpy as np

        if not value.size:
            return
        if meaning.is_classes or meaning.kind == "several":
            same = _same(meaning, value, original)
            self._same[meaning.name][0] += int(same.sum())
            self._same[meaning.name][1] += same.size
        if value.dtype.kind != "f":
            return
        new, old = _columns(value), _columns(original)
        bad = np.isnan(new) & ~np.isnan(old)
        self._missing[meaning.name][0] += int(bad.sum())
        self._missing[meaning.name][1] += new.size
        gap = np.where(new == old, 0.0, np.abs(new - old))
        gap[~np.isfinite(gap)] = 0.0
        self._sums[meaning.name] = self._sums.get(meaning.name, 0.0) + np.stack(
            [gap.sum(axis=0), np.full(gap.shape[1], len(gap))]
        )

    def result(self) -> dict[str, Judged]:
        """What was found, by output."""
        return {o.name: self._result(o) for o in self._outputs}

    def _result(self, meaning: OutputMeaning) -> Judged:
        name = meaning.name
        if name in self._shapes:
            return Judged(kind=meaning.kind, error=None, agreement=None, missing=1.0, problem=self._shapes[name])
        same, seen = self._same[name]
        missing, numbers = self._missing[name]
        error = None
        if name in self._sums:
            total, count = self._sums[name]
            error = float((total / count / _spread(self._originals[name], self._present.get(name))).max(initial=0.0))
        return Judged(meaning.kind, error, same / seen if seen else None, missing / numbers if numbers else 0.0)


def _columns(value: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers by column, shape (numbers, columns)."""
    import numpy as np

    wide = value.ndim > 1 and 1 < value.shape[-1] <= _MOST_COLUMNS
    found: NDArray[np.float64] = value.reshape(-1, value.shape[-1] if wide else 1).astype(np.float64)
    return found


def _spread(original: NDArray[Any], present: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Mean absolute deviation of each column, at the positions that are ``present``."""
    import numpy as np

    def columns() -> Iterator[NDArray[np.float64]]:
        for part, block in blocks(original):
            found = _columns(block if present is None else block[present[part]])
            yield np.where(np.isfinite(found), found, 0.0)

    count = sum(map(len, columns()))
    usual = np.sum([block.sum(axis=0) for block in columns()], axis=0) / count
    spread = np.sum([np.abs(block - usual).sum(axis=0) for block in columns()], axis=0) / count
    least = _LEAST_SPREAD * float(np.median(spread))
    level = max(least, 1e-6 * float(np.abs(usual).max(initial=0.0)), 1e-12)
    found: NDArray[np.float64] = np.maximum(spread, level)
    return found


def _same(meaning: OutputMeaning, value: NDArray[Any], original: NDArray[Any]) -> NDArray[np.bool_]:
    import numpy as np

    if meaning.kind == "several":
        return np.equal(value > meaning.threshold, original > meaning.threshold)
    if value.dtype.kind in "SUO":
        return np.asarray(value == original, np.bool_)
    return np.equal(answers(read(value, meaning)), answers(read(original, meaning)))
