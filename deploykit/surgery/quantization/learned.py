"""Rounding that is learned: each weight goes down or up, so that what a layer gives stays nearest.

The nearest values are best for each weight by itself. What a layer gives is a sum, in which errors cancel out or add
up, as the second moments of what it reads tell. The choices are those of AdaRound (Nagel et al. 2020, "Up or down?
Adaptive rounding for post-training quantization", https://arxiv.org/abs/2004.10568); they are found without gradients:
one weight is turned after another, then two at once, as long as that helps. Nothing is random, and the work is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.surgery.quantization import moments as measured
from deploykit.surgery.reconstruction.linear import Linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most times that all weights are gone through, and that all pairs are.
_ROUNDS, _PAIRED = 12, 20
#: Products of numbers that each of these may take in a layer: some seconds.
_WORK, _WORK_PAIRED = 1e11, 1e8
#: Bytes that the moments of a layer may take, and weights that are worked on at once.
_MOST_BYTES, _AT_ONCE = 256 << 20, 2 << 20
#: Rows that are turned before the others learn of it.
_BLOCK = 64
#: The share of the mean curvature that is added to each while errors are passed on, as in GPTQ.
_DAMPING = 0.01
#: What turning must gain, as a share of what the weight by itself does: less is noise of the sums.
_LEAST = 1e-9


def loss(errors: NDArray[Any], moments: NDArray[Any]) -> NDArray[Any]:
    """What errors of weights do to the outputs: Σ of their squares over the examples, up to a factor.

    Args:
        errors: Shape (groups, inputs, outputs).
        moments: ``X @ X.T`` of what is read, shape (groups, inputs, inputs).

    Returns:
        Shape (groups, outputs).
    """
    found: NDArray[Any] = (errors * (moments @ errors)).sum(1)
    return found


def nearest(places: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """The nearest whole numbers within bounds."""
    import numpy as np

    found: NDArray[Any] = np.clip(np.round(places), low, high)
    return found


def learned(places: NDArray[Any], steps: NDArray[Any], moments: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """Whole numbers below or above, so that `loss` is small; never more than that of the nearest ones.

    Args:
        places: Where the weights are on the grid, shape (groups, inputs, outputs): weights divided by the step, plus
            the zero point.
        steps: The distance between values of the grid, shape (groups, inputs, outputs).
        moments: ``X @ X.T`` of what is read, shape (groups, inputs, inputs).
        low: The first value of the grid.
        high: The last one.

    Returns:
        The places on the grid, float64, in the shape of ``places``.
    """
    import numpy as np

    places = np.asarray(places, np.float64)
    order, passed = _passing(moments)
    width = max(1, _AT_ONCE // (places.shape[0] * places.shape[1]))
    found = np.empty_like(places)
    for first in range(0, places.shape[2], width):
        part = (..., slice(first, first + width))
        found[part] = _learned(places[part], steps[part], moments, (low, high), order, passed)
    return found


def _learned(
    places: NDArray[Any], steps: NDArray[Any], moments: NDArray[Any], ends: tuple[float, float], order: NDArray[Any],
    passed: NDArray[Any],
) -> NDArray[Any]:  # fmt: skip
    """What `learned` gives for some outputs, which do not know of each other."""
    import numpy as np

    floor = np.clip(np.floor(places), *ends)
    gain = (np.clip(floor + 1, *ends) - floor) * steps  # 0 at the end of the grid: nothing to choose
    start = (floor - places) * steps
    usual = nearest(places, *ends) > floor
    found, least = usual, loss(start + usual * gain, moments)
    for begin in (usual, _passed_on(start, gain, order, passed)):
        tried = _turned(begin, start, gain, moments)
        found, least = _better(found, least, tried, loss(start + tried * gain, moments))
    tried = _paired(found, start, gain, moments)
    found, _ = _better(found, least, tried, loss(start + tried * gain, moments))
    chosen: NDArray[Any] = floor + found * (gain != 0)
    return chosen


def rounded(
    layer: Linear, places: NDArray[Any], steps: NDArray[Any], read: measured.Moments, low: float, high: float
) -> tuple[NDArray[Any], float]:
    """The weights of a layer on their grid.

    Args:
        layer: The layer.
        places: Where its weights are on the grid, in their form: divided by the step, plus the zero point.
        steps: The distance between values of the grid, in the same form or broadcast to it.
        read: What the layer reads; some batches are kept apart.
        low: The first value of the grid.
        high: The last one.

    Returns:
        Whole numbers in the form of the weights, float32, and how much of the error of the nearest ones is left in what
        the layer gives for the batches kept apart: the nearest ones, and 1, where learning has not made it smaller.
    """
    import numpy as np

    at, each = (
        replace(layer, weights=np.broadcast_to(values, layer.weights.shape)).matrices().astype(np.float64)
        for values in (places, steps)
    )
    learn, check = read.parts(measured.key(layer.node))
    usual, tried = nearest(at, low, high), learned(at, each, learn, low, high)
    before, after = (float(loss((whole - at) * each, check).sum()) for whole in (usual, tried))
    helps = after < before
    return layer.restored(tried if helps else usual), after / before if helps else 1.0


def too_large(layer: Linear) -> str:
    """Why the weights of a layer are rounded to the nearest values without trying; "" where they need not be."""
    size = measured.size_bytes(layer)
    return f"it reads too many numbers at once ({layer.features()})" if size > _MOST_BYTES else ""


def notes(told: Mapping[str, float]) -> dict[str, float]:
    """How much of the error of the nearest values is left in what layers give, for notes."""
    return {name: float(f"{share:.3g}") for name, share in told.items()}


def _better(
    found: NDArray[Any], least: NDArray[Any], tried: NDArray[Any], lost: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of each output the choices that lose less."""
    import numpy as np

    return np.where((lost < least)[:, None], tried, found), np.minimum(least, lost)


def _passing(moments: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """In which order inputs are gone through, and how later ones make up for errors of earlier ones; by group."""
    import numpy as np

    diagonal = np.einsum("gii->gi", moments)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    curvature = np.take_along_axis(np.take_along_axis(moments, order[:, :, None], 1), order[:, None, :], 2)
    places = range(moments.shape[1])
    curvature[:, places, places] += _DAMPING * diagonal.mean(1, keepdims=True) + 1e-30
    return order, np.linalg.cholesky(np.linalg.inv(curvature)).transpose(0, 2, 1)


def _passed_on(start: NDArray[Any], gain: NDArray[Any], order: NDArray[Any], passed: NDArray[Any]) -> NDArray[Any]:
    """Choices input by input, those that are read most first; later ones make up for the errors of earlier ones."""
    import numpy as np

    count = start.shape[1]
    begin, step = (np.take_along_axis(values, order[:, :, None], 1) for values in (start, gain))
    due, up = np.zeros_like(begin), np.zeros(begin.shape, bool)  # what earlier ones leave to make up for
    for first in range(0, count, _BLOCK):
        rows = slice(first, min(first + _BLOCK, count))
        errors = np.zeros_like(begin[:, rows])
        for i in range(rows.start, rows.stop):
            below = begin[:, i] - due[:, i]
            up[:, i] = np.abs(below + step[:, i]) < np.abs(below)
            one = errors[:, i - first] = -(below + up[:, i] * step[:, i]) / passed[:, i, i, None]
            due[:, i : rows.stop] -= passed[:, i, i : rows.stop, None] * one[:, None]
        due[:, rows.stop :] -= passed[:, rows, rows.stop :].transpose(0, 2, 1) @ errors
    found = np.empty_like(up)
    np.put_along_axis(found, order[:, :, None], up, 1)
    return found


def _turned(up: NDArray[Any], start: NDArray[Any], gain: NDArray[Any], moments: NDArray[Any]) -> NDArray[Any]:
    """Choices after turning one weight after another, as long as that helps."""
    import numpy as np

    up = up.copy()
    slope = moments @ (start + up * gain)
    diagonal = np.einsum("gii->gi", moments)[:, :, None]
    groups, count, outputs = up.shape
    for _ in range(min(_ROUNDS, max(1, int(_WORK / (groups * count * count * outputs))))):
        any_turned = False
        for first in range(0, up.shape[1], _BLOCK):
            rows = slice(first, first + _BLOCK)
            inner, local = moments[:, rows, rows], slope[:, rows].copy()
            change, own = np.where(up[:, rows], -gain[:, rows], gain[:, rows]), diagonal[:, rows]
            turned = np.zeros(local.shape, bool)
            for i in range(local.shape[1]):
                step = change[:, i]
                alone = step * step * own[:, i]
                turn = 2 * step * local[:, i] + alone < -_LEAST * alone
                if turn.any():
                    turned[:, i] = turn
                    local += inner[:, :, i, None] * (step * turn)[:, None]
            if turned.any():
                any_turned = True
                slope += moments[:, :, rows] @ (change * turned)
                up[:, rows] ^= turned
        if not any_turned:
            break
    return up


def _paired(up: NDArray[Any], start: NDArray[Any], gain: NDArray[Any], moments: NDArray[Any]) -> NDArray[Any]:
    """Choices after turning weights together with the one that makes up for it best, as long as that helps."""
    import numpy as np

    groups, count, outputs = up.shape
    rounds = min(_PAIRED, int(_WORK_PAIRED / (groups * count * count * outputs)))
    up = up.copy()
    slope = moments @ (start + up * gain)
    diagonal = np.einsum("gii->gi", moments)[:, :, None]
    change = np.where(up, -gain, gain)
    for _ in range(rounds):
        any_turned = False
        for i in range(count):
            alone = change * (2 * slope + change * diagonal)
            step = change[:, i]
            both = alone + 2 * step[:, None] * change * moments[:, :, i, None]
            both[:, i] = 0.0  # the weight by itself
            other = both.argmin(1)[:, None]
            total = alone[:, i] + np.take_along_axis(both, other, 1)[:, 0]
            turn = total < -_LEAST * step * step * diagonal[:, i]
            if not turn.any():
                continue
            any_turned = True
            mate = np.take_along_axis(change, other, 1)[:, 0] * (turn & (other[:, 0] != i))
            slope += moments[:, :, i, None] * (step * turn)[:, None]
            slope += np.take_along_axis(moments, other, 2) * mate[:, None]
            new = np.where(mate != 0, -mate, np.take_along_axis(change, other, 1)[:, 0])
            np.put_along_axis(change, other, new[:, None], 1)
            change[:, i] = np.where(turn, -step, step)
        if not any_turned:
            break
    turned = (change != np.where(up, -gain, gain)) & (gain != 0)
    found: NDArray[Any] = up ^ turned
    return found
