"""BLEU of translations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.metrics import _texts
from deploykit.metrics._contract import Summed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST = 4


class Bleu(Summed):
    """Geometric mean of the shares of runs of one to four tokens that the label has, with a penalty for short texts.

    Papineni et al. (ACL 2002) over all texts, from 0 to 1, with one label each, the tokens of mteval's version 13a and
    exponential smoothing, as sacreBLEU has it by default; other tools scale it to 100.
    """

    name = "bleu"
    label = "BLEU"
    help = "Runs of one to four words that the label has as well, over all texts, from 0 to 1."
    kinds = frozenset({"text"})
    reference = "sacrebleu.corpus_bleu / 100"
    beside = True

    def unsuitable(self, outputs: NDArray[Any], truth: NDArray[Any] | None) -> str:
        """Needs a text for each example."""
        return _texts.unsuitable(outputs, truth)

    def sums(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """Runs that are right and all runs, of each length; tokens of the answer and of the label."""
        import numpy as np

        found = np.empty((len(outputs), 2 * _LONGEST + 2))
        for row, both in enumerate(zip(outputs.tolist(), truth.tolist(), strict=True)):
            answer, label = map(_texts.words_13a, both)
            for size in range(1, _LONGEST + 1):
                runs = _texts.ngrams(answer, size)
                found[row, size - 1] = (runs & _texts.ngrams(label, size)).total()
                found[row, _LONGEST + size - 1] = runs.total()
            found[row, -2:] = len(answer), len(label)
        return found

    def of_sums(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """0 where no token is right, or no text is four tokens long."""
        import numpy as np

        right, runs = sums[..., :_LONGEST], sums[..., _LONGEST:-2]
        halved = 2.0 ** np.cumsum(right == 0, axis=-1)  # a length without a hit counts half as much as the one before
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(right > 0, right, 1 / halved) / runs
            mean = np.exp(np.log(shares).mean(axis=-1))
            score = mean * np.exp(np.minimum(1 - sums[..., -1] / sums[..., -2], 0))
        found: NDArray[np.float64] = np.where((right[..., 0] > 0) & (runs > 0).all(axis=-1), score, 0.0)
        return found


ADAPTER = Bleu()
