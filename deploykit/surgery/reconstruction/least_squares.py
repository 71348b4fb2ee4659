"""Least squares behind pruning: weights that give known answers, and what removing inputs costs.

Sources: channel pruning by reconstruction (He et al. 2017, https://arxiv.org/abs/1707.06168); structured optimal brain
surgery (ZipLM, Kurtic et al. 2023, https://arxiv.org/abs/2302.04089).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How strongly solved weights are held to the old ones, as a share of the mean square of the inputs.
DAMPING = 1e-3
#: Multiples to choose from where a feature has fewer samples than this.
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
_PLENTY = 8
#: Samples, and small problems, that are held in double precision at once.
_PART = 2048
_PROBLEMS = 64
#: How many samples a feature count as much as the assumption that features are independent.
_TRUST = 4


def solve(
    inputs: NDArray[Any], wanted: NDArray[Any], weights: NDArray[Any], *, bias: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights W and bias b that minimize ‖inputs · W + b − wanted‖² + λ ‖W − weights‖².

    λ is `DAMPING` times the mean square of a feature over all samples. With few samples for so many features, weights
    that fit them exactly would be wrong for others: then it is the multiple that does best on a fifth of the samples.

    Args:
        inputs: Shape (samples, features).
        wanted: Shape (samples, outputs).
        weights: Weights to stay near, shape (features, outputs).
        bias: Whether there may be a bias; it is 0 otherwise.

    Returns:
        Weights, shape (features, outputs), and bias, shape (outputs,), float64.
    """
    import numpy as np

    start = np.asarray(weights, np.float64)
    damping = DAMPING
    if len(inputs) < _PLENTY * inputs.shape[1]:
        held = np.arange(len(inputs)) % 5 == 0
        ridge = _ridge(inputs[~held], wanted[~held], start, bias=bias)

        def loss(strength: float) -> float:
            found, shift = ridge(strength)
            return float(np.square(inputs[held] @ found + shift - wanted[held]).sum())

        damping = min(_STRENGTHS, key=loss)
    return _ridge(inputs, wanted, start, bias=bias)(damping)


def _ridge(
    x: NDArray[Any], y: NDArray[Any], start: NDArray[Any], *, bias: bool
) -> Callable[[float], tuple[NDArray[Any], NDArray[Any]]]:
    """What solves for a damping; the products of samples, which take the time, are made once for all of them."""
    import numpy as np

    width = x.shape[1]
    center = x.mean(0, dtype=np.float64) if bias else np.zeros(width)
    middle = y.mean(0, dtype=np.float64) if bias else np.zeros(y.shape[1])
    few = len(x) < width  # the same through the samples
    if few:
        rows = x - center
        gram, cross = rows @ rows.T, y - middle - rows @ start
    else:
        gram, cross = np.zeros((width, width)), np.zeros(start.shape)
        for part in _parts(len(x)):
            rows = x[part] - center
            gram += rows.T @ rows
            cross += rows.T @ (y[part] - middle)
        cross -= gram @ start
    mean = float(np.trace(gram)) / width

    def solved(damping: float) -> tuple[NDArray[Any], NDArray[Any]]:
        matrix = gram.copy()
        matrix.flat[:: len(matrix) + 1] += damping * mean + 1e-9
        step = np.linalg.solve(matrix, cross)
        found = start + (rows.T @ step if few else step)
        return found, middle - center @ found

    return solved


def _parts(count: int) -> Iterator[slice]:
    """Pieces of many samples: only a piece is held in double precision."""
    return (slice(start, start + _PART) for start in range(0, count, _PART))


def solve_each(inputs: NDArray[Any], wanted: NDArray[Any], weights: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """`solve` with a bias for many small problems at once.

    Args:
        inputs: Shape (problems, samples, features).
        wanted: Shape (problems, samples).
        weights: Shape (problems, features).

    Returns:
        Weights, shape (problems, features), and biases, shape (problems,), float64.
    """
    import numpy as np

    found, biases = np.empty(weights.shape), np.empty(len(weights))
    for first in range(0, len(weights), _PROBLEMS):
        part = slice(first, first + _PROBLEMS)
        x, y, start = (np.asarray(values[part], np.float64) for values in (inputs, wanted, weights))
        center, middle = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
        x, y = x - center, y - middle
        gram = x.transpose(0, 2, 1) @ x
        extra = DAMPING * np.trace(gram, axis1=1, axis2=2) / gram.shape[1] + 1e-9
        gram += extra[:, None, None] * np.eye(gram.shape[1])
        rest = y[..., None] - x @ start[..., None]
        found[part] = start + np.linalg.solve(gram, x.transpose(0, 2, 1) @ rest)[..., 0]
        biases[part] = middle[:, 0] - (center[:, 0] * found[part]).sum(1)
    return found, biases


class Reader:
    """A layer that reads channels: what it loses without some of them, when its other weights make up for it.

    Args:
        components: The component of each channel it reads, shape (channels,); one may occur several times.
        group: The components that may go.
        inputs: What it read, shape (samples, features); a channel has ``features / channels`` features, one after
            another.
        weights: Its weights, shape (features, outputs).
    """

    #: From so many features on, channels are looked at one by one: an inverse would take too much memory.
    LIMIT = 4096

    def __init__(
        self, components: NDArray[Any], group: Collection[int], inputs: NDArray[Any], weights: NDArray[Any]
    ) -> None:
        import numpy as np

        features = np.arange(len(weights)).reshape(len(components), -1)
        self._blocks = {c: features[components == c].reshape(-1) for c in group if (components == c).any()}
        self._weights = np.asarray(weights, np.float64)
        self._inverse: NDArray[Any] | None = None
        self._alone: dict[int, float] = {}
        center, count, width = inputs.mean(0, dtype=np.float64), len(inputs), len(self._weights)
        if width > self.LIMIT:
            for component, block in self._blocks.items():
                part = (inputs[:, block] - center[block]) @ self._weights[block]
                self._alone[component] = float(np.square(part).sum()) / count
            self._energy = max(sum(self._alone.values()), 1e-12)
            return
        covariance = np.zeros((width, width))
        for piece in _parts(count):
            rows = inputs[piece] - center
            covariance += rows.T @ rows
        covariance /= count
        self._energy = max(float((self._weights * (covariance @ self._weights)).sum()), 1e-12)
        # Few samples make inputs look as if they could replace each other: shrink towards independent ones.
        share = width / (width + _TRUST * count)
        diagonal = covariance.diagonal().copy()
        covariance *= 1.0 - share
        np.fill_diagonal(covariance, diagonal)
        covariance.flat[:: len(covariance) + 1] += DAMPING * float(np.trace(covariance)) / len(covariance) + 1e-12
        self._inverse = np.linalg.inv(covariance)

    def costs(self) -> dict[int, float]:
        """How much of its outputs is lost when a component goes: a share of their variance, by component."""
        import numpy as np

        if self._inverse is None:
            return {c: self._alone[c] / self._energy for c in self._blocks}
        found: dict[int, float] = {}
        for width in {len(block) for block in self._blocks.values()}:
            chosen = [c for c, block in self._blocks.items() if len(block) == width]
            blocks = np.stack([self._blocks[c] for c in chosen])
            parts = self._weights[blocks]  # (components, width, outputs)
            if width == 1:
                lost = np.square(parts[:, 0]).sum(1) / self._inverse[blocks[:, 0], blocks[:, 0]]
            else:
                inner = self._inverse[blocks[:, :, None], blocks[:, None, :]]
                lost = (parts * np.linalg.solve(inner, parts)).sum((1, 2))
            found |= {c: max(float(value), 0.0) / self._energy for c, value in zip(chosen, lost, strict=True)}
        return found

    def remove(self, gone: Collection[int]) -> None:
        """Do without some components."""
        import numpy as np

        chosen = [self._blocks.pop(c) for c in sorted(gone) if c in self._blocks]
        if not chosen or self._inverse is None:
            return
        block = np.concatenate(chosen)
        columns = self._inverse[:, block]
        inner = self._inverse[np.ix_(block, block)]
        self._weights = self._weights - columns @ np.linalg.solve(inner, self._weights[block])
        self._inverse -= columns @ np.linalg.solve(inner, columns.T)
        # What is gone must not be coupled with what stays through rounding.
        self._weights[block] = 0.0
        self._inverse[block] = self._inverse[:, block] = 0.0
        self._inverse[block, block] = 1.0


def removal_order(components: Sequence[int], readers: Sequence[Reader], steps: int = 32) -> list[tuple[int, float]]:
    """In which order the components of a group are missed least, and the damage done when each has gone.

    Args:
        components: The group.
        readers: The layers that read it; they are used up.
        steps: About how many times costs are computed again.

    Returns:
        Component and damage so far, a share of the readers' output variance summed over readers; all but the last one.
    """
    left, damage = set(components), 0.0
    found: list[tuple[int, float]] = []
    while len(left) > 1:
        costs = dict.fromkeys(left, 0.0)
        for reader in readers:
            for component, cost in reader.costs().items():
                costs[component] += cost
        gone = sorted(left, key=lambda c: (costs[c], c))[: max(1, min(len(components) // steps, len(left) - 1))]
        for component in gone:
            damage += costs[component]
            found.append((component, damage))
        left -= set(gone)
        for reader in readers:
            reader.remove(gone)
    return found
