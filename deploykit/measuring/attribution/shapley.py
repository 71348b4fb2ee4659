"""Shapley values: what each player adds to an outcome, averaged over all orders in which players may join.

Few players are computed exactly. For more, KernelSHAP (Lundberg and Lee, *A Unified Approach to Interpreting Model
Predictions*, 2017) fits a weighted linear model to coalitions: the smallest and largest ones, which weigh most, as far
as they are allowed, then others at random, each with its complement.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Outcome of coalitions, shape (coalitions, players) of truth values → (coalitions,).
Game = Callable[["NDArray[np.bool_]"], "NDArray[np.float64]"]
#: With so many players all coalitions are looked at.
EXACT = 10


def exact(game: Game, players: int) -> NDArray[np.float64]:
    """Shapley values from the outcome of all coalitions, shape (players,)."""
    import numpy as np

    numbers = np.arange(2**players)
    masks = (numbers[:, None] >> np.arange(players)) & 1 == 1
    outcome = game(masks)
    sizes = masks.sum(axis=1)
    weights = [math.factorial(s) * math.factorial(players - s - 1) / math.factorial(players) for s in range(players)]
    found = np.zeros(players)
    for player in range(players):
        without = numbers[~masks[:, player]]
        gain = outcome[without | (1 << player)] - outcome[without]
        found[player] = (np.asarray(weights)[sizes[without]] * gain).sum()
    return found


def sampled(game: Game, players: int, count: int, seed: int) -> NDArray[np.float64]:
    """KernelSHAP's estimate, shape (players,); it sums to the outcome of all players less that of none.

    Args:
        game: The outcome of coalitions.
        players: How many there are, at least two.
        count: Coalitions to look at.
        seed: Of the random ones.
    """
    import numpy as np

    masks, weights = coalitions(players, count, seed)
    ends = game(np.stack([np.zeros(players, bool), np.ones(players, bool)]))
    base, whole = float(ends[0]), float(ends[1] - ends[0])
    outcome = game(masks) - base
    # The last player gets what the others leave, so that the sum is right.
    last = masks[:, -1].astype(np.float64)
    design = masks[:, :-1] - last[:, None]
    root = np.sqrt(weights)
    solved, *_ = np.linalg.lstsq(design * root[:, None], (outcome - last * whole) * root, rcond=None)
    found: NDArray[np.float64] = np.append(solved, whole - solved.sum())
    return found


def coalitions(players: int, count: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Coalitions with their weights in the fit, neither empty nor whole.

    Args:
        players: How many there are.
        count: How many coalitions at most.
        seed: Of the random ones.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    largest = players // 2
    # Weight of all coalitions of a size together with their complements.
    shares = np.array(
        [(players - 1) / (s * (players - s)) * (1 if 2 * s == players else 2) for s in range(1, largest + 1)]
    )
    shares /= shares.sum()
    masks: list[NDArray[np.bool_]] = []
    weights: list[float] = []
    size, room = 1, count
    while size <= largest:
        pairs = 1 if 2 * size == players else 2
        number = math.comb(players, size) * pairs
        left = shares[size - 1 :].sum()
        if number > room or room * shares[size - 1] / left < number:
            break
        for members in itertools.combinations(range(players), size):
            mask = np.zeros(players, bool)
            mask[list(members)] = True
            masks += [mask, ~mask][:pairs]
            weights += [shares[size - 1] / number] * pairs
        room -= number
        size += 1
    if size <= largest and room > 1:
        left = shares[size - 1 :]
        drawn = random.choice(np.arange(size, largest + 1), room // 2, p=left / left.sum())
        for one in drawn.tolist():
            mask = np.zeros(players, bool)
            mask[random.choice(players, one, replace=False)] = True
            masks += [mask, ~mask]
            weights += [left.sum() / (2 * len(drawn))] * 2
    return np.stack(masks), np.asarray(weights)
