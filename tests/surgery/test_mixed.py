"""Which operators a budget makes integer, held against trying all choices."""

import itertools

import numpy as np
import pytest

from deploykit.surgery.quantization import mixed
from deploykit.surgery.quantization.mixed import RUINED, Operator


def drawn(seed, count=8):
    rng = np.random.default_rng(seed)
    return [
        Operator(f"n{k}", "Conv", int(rng.integers(1, 1000)), (), float(rng.exponential()), float(rng.random()))
        for k in range(count)
    ]


def best(found, goal):
    """The least damage of all choices whose weights fit."""
    every = itertools.chain.from_iterable(itertools.combinations(found, k) for k in range(len(found) + 1))
    fitting = (some for some in every if sum(o.weights * (1 if o in some else 4) for o in found) <= goal)
    return min(sum(o.damage for o in some) for some in fitting)


@pytest.mark.parametrize("share", [0.25, 0.3, 0.5, 0.8, 1.0])
def test_a_size_is_met_with_nearly_the_least_damage(share):
    ratios = []
    for seed in range(20):
        found = drawn(seed)
        goal = share * 4 * sum(o.weights for o in found)
        chosen = mixed.by_size(found, found, goal)
        assert mixed.taken(found, chosen) == sum(o.weights * (1 if o in chosen else 4) for o in found) <= goal
        assert [o for o in found if o in chosen] == chosen, "they are not in the order of the graph"
        ratios.append((sum(o.damage for o in chosen) + 1e-9) / (best(found, goal) + 1e-9))
    assert np.median(ratios) < 1.05
    assert max(ratios) < 2.5


def test_what_cannot_be_quantized_stays_float_even_if_the_size_is_missed_then():
    ruined = Operator("bad", "Conv", 1000, (), RUINED, 1.0)
    found = [*drawn(0), ruined]
    chosen = mixed.by_size(found, found, 0)
    assert chosen == found[:-1]
    assert mixed.by_time(found, 0.0, lambda _: 1.0) == found[:-1]


def test_operators_without_weights_follow_those_before_them():
    first, second = Operator("a", "Conv", 100, (), 0.1, 1.0), Operator("b", "Conv", 100, (), 9.0, 1.0)
    cheap, dear = Operator("c", "Add", 0, ("a",), 0.05, 0.1), Operator("d", "Add", 0, ("a",), 0.5, 0.1)
    between = Operator("e", "Add", 0, ("a", "b"), 0.01, 0.1)
    found = [first, second, cheap, dear, between]
    assert mixed.by_size(found, found, 500) == [first, cheap]
    assert mixed.by_size(found, found, 200) == found


@pytest.mark.parametrize("wanted", [0.99, 0.7, 0.5, 0.31])
def test_a_time_is_met_with_the_operators_that_cost_least_for_it(wanted):
    found = drawn(3, count=33)
    cheapest = sorted(found, key=lambda o: o.damage / o.seconds)
    asked = []

    def share(some):
        asked.append(len(some))
        return 1 - 0.7 * len(some) / len(found)

    chosen = mixed.by_time(found, wanted, share)
    count = int(np.ceil((1 - wanted) / 0.7 * len(found) - 1e-9))
    assert {o.name for o in chosen} == {o.name for o in cheapest[:count]}
    assert len(asked) <= 6  # of 34 places
    assert mixed.by_time(found, 1.0, share) == []
