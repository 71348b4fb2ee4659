"""What answers rest on, against the definitions: all orders of players, and models whose parts are known."""

import itertools
import math

import numpy as np
import pytest

from deploykit.measuring.attribution.layout import layout_of, patch_of, tilings, words_of
from deploykit.measuring.attribution.shapley import coalitions, exact, sampled


def game_of(players, seed, order=3):
    """An outcome with terms of single players, pairs and triples."""
    random = np.random.default_rng(seed)
    terms = {
        members: random.normal() / size
        for size in range(1, order + 1)
        for members in itertools.combinations(range(players), size)
    }

    def outcome(masks):
        return np.array([sum(v for m, v in terms.items() if mask[list(m)].all()) for mask in masks])

    return outcome, terms


def by_orders(game, players):
    """Mean gain of each player over all orders in which they join."""
    found = np.zeros(players)
    for order in itertools.permutations(range(players)):
        mask = np.zeros(players, bool)
        before = game(mask[None])[0]
        for player in order:
            mask[player] = True
            now = game(mask[None])[0]
            found[player] += (now - before) / math.factorial(players)
            before = now
    return found


def by_terms(terms, players):
    """Each term is shared equally among its players: Shapley's axioms."""
    found = np.zeros(players)
    for members, value in terms.items():
        found[list(members)] += value / len(members)
    return found


def test_exact_values_are_the_mean_over_all_orders():
    game, terms = game_of(5, 0)
    assert exact(game, 5) == pytest.approx(by_orders(game, 5))
    assert exact(game, 5) == pytest.approx(by_terms(terms, 5))
    assert exact(lambda masks: 3.0 * masks[:, 0], 1) == pytest.approx([3.0])


def test_the_fit_to_all_coalitions_is_exact():
    for players in (2, 3, 6, 7):
        game, terms = game_of(players, players, min(3, players))
        assert sampled(game, players, 2**players, 0) == pytest.approx(by_terms(terms, players))


def test_coalitions_are_weighted_by_the_kernel_and_no_more_than_asked_for():
    masks, weights = coalitions(6, 62, 0)
    assert len({tuple(m) for m in masks.tolist()}) == len(masks) == 62
    sizes = masks.sum(axis=1)
    kernel = np.array([5 / (math.comb(6, s) * s * (6 - s)) for s in sizes])
    assert weights == pytest.approx(kernel / kernel.sum())
    masks, weights = coalitions(14, 300, 0)
    assert len(masks) <= 300
    assert weights.sum() == pytest.approx(1)
    assert (masks.sum(axis=1) > 0).all()
    assert not masks.all(axis=1).any()


def test_sampled_values_come_near_and_sum_up():
    game, terms = game_of(12, 1)
    truth = by_terms(terms, 12)
    whole = sum(terms.values())
    errors = []
    for count in (100, 1500):
        found = sampled(game, 12, count, 0)
        assert found.sum() == pytest.approx(whole)
        errors.append(abs(found - truth).max() / truth.std())
    assert errors[1] < 0.1
    assert errors[1] < errors[0] / 2


def test_every_place_is_hidden_once_by_each_way():
    ways, whole = tilings((7, 9), (3, 4), 5, 0)
    assert len(ways) == 5
    assert not whole
    assert len({w.tobytes() for w in ways}) == 5
    for cells in ways:
        for number in range(cells.max() + 1):
            rows, columns = np.nonzero(cells == number)
            assert rows.max() - rows.min() < 3
            assert columns.max() - columns.min() < 4
            assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    ways, whole = tilings((6,), (2,), 5, 0)
    assert whole
    assert [w.tolist() for w in ways] == [[0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 2, 3]]
    assert patch_of((28, 28), None) == (5, 5)
    assert patch_of((3, 100), 8) == (3, 8)


@pytest.mark.parametrize(
    ("example", "integers", "kind", "shape"),
    [
        (np.zeros((28, 28, 1), np.float32), False, "image", (28, 28)),
        (np.zeros((3, 32, 48), np.float32), False, "image", (32, 48)),
        (np.zeros((8, 8), np.float32), False, "image", (8, 8)),
        (np.zeros((128, 9), np.float32), False, "series", (128,)),
        (np.zeros(16000, np.float32), False, "series", (16000,)),
        (np.zeros((16, 32, 32, 3), np.float32), False, "volume", (16, 32, 32)),
        (np.zeros(13, np.float32), False, "table", (13,)),
        (np.float32(1), False, "table", (1,)),
        (np.zeros(20, np.int64), True, "tokens", (20,)),
        (np.zeros(20, np.int8), False, "table", (20,)),
        (np.array("good film"), False, "text", (2,)),
        (np.array(["red", "round"]), False, "table", (2,)),
    ],
)
def test_what_inputs_are_taken_for(example, integers, kind, shape):
    found = layout_of("x", example, integers=integers)
    assert (found.kind, found.shape) == (kind, shape)


def test_words_are_found_in_text_and_bytes():
    assert words_of("  a  good\tfilm. ") == [(2, 3), (5, 9), (10, 15)]
    assert len(words_of("schöne Grüße".encode())) == 2
