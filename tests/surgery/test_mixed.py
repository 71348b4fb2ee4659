"""Which operators a budget makes integer, held against trying all choices."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from deploykit.surgery.mixing import budget as mixed
from deploykit.surgery.mixing.budget import RUINED, Operator


def drawn(seed, count=8):
    rng = np.random.default_rng(seed)
    return [
        Operator(f"n{k}", "Conv", int(rng.integers(1, 1000)), (), float(rng.exponential()), None, float(rng.random()))
        for k in range(count)
    ]


def size_of(found, bits):
    """Bytes: four for a float, one for an integer, half of one and a share of a scale for four bits."""
    return sum(o.weights * {32: 4, 8: 1, 4: 0.625}[bits.get(o.name, 32)] for o in found)


def damage(found, bits):
    return sum({32: 0.0, 8: o.damage, 4: o.narrow}[bits.get(o.name, 32)] for o in found)


def best(found, goal, levels=(32, 8)):
    """The least damage of all choices whose weights fit."""
    names = [o.name for o in found]
    every = (dict(zip(names, some, strict=True)) for some in itertools.product(levels, repeat=len(names)))
    return min(damage(found, bits) for bits in every if size_of(found, bits) <= goal)


@pytest.mark.parametrize("share", [0.25, 0.3, 0.5, 0.8, 1.0])
def test_a_size_is_met_with_nearly_the_least_damage(share):
    ratios = []
    for seed in range(20):
        found = drawn(seed)
        goal = share * 4 * sum(o.weights for o in found)
        bits = mixed.by_size(found, found, goal)
        assert mixed.taken(found, bits) == size_of(found, bits) <= goal
        assert list(bits) == [o.name for o in found if o.name in bits], "they are not in the order of the graph"
        ratios.append((damage(found, bits) + 1e-9) / (best(found, goal) + 1e-9))
    assert np.median(ratios) < 1.05
    assert max(ratios) < 2.5


def test_what_cannot_be_quantized_stays_float_even_if_the_size_is_missed_then():
    ruined = Operator("bad", "Conv", 1000, (), RUINED, None, 1.0)
    found = [*drawn(0), ruined]
    assert mixed.by_size(found, found, 0) == {o.name: 8 for o in found[:-1]}
    assert mixed.by_time(found, 0.0, lambda _: 1.0) == found[:-1]


@pytest.mark.parametrize("share", [0.16, 0.2, 0.3, 0.6])
def test_four_bits_go_where_they_cost_least(share):
    ratios = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        found = [replace(o, narrow=float(o.damage * rng.uniform(0.5, 20))) for o in drawn(seed, count=6)]
        goal = share * 4 * sum(o.weights for o in found)
        bits = mixed.by_size(found, found, goal)
        assert mixed.taken(found, bits) == size_of(found, bits) <= goal
        ratios.append((damage(found, bits) + 1e-9) / (best(found, goal, (32, 8, 4)) + 1e-9))
    assert np.median(ratios) < 1.1
    assert max(ratios) < 3


def test_operators_without_weights_follow_those_before_them():
    first, second = Operator("a", "Conv", 100, (), 0.1), Operator("b", "Conv", 100, (), 9.0)
    cheap, dear = Operator("c", "Add", 0, ("a",), 0.05), Operator("d", "Add", 0, ("a",), 0.5)
    between = Operator("e", "Add", 0, ("a", "b"), 0.01)
    found = [first, second, cheap, dear, between]
    assert mixed.by_size(found, found, 500) == {"a": 8, "c": 8}
    assert mixed.by_size(found, found, 200) == dict.fromkeys("abcde", 8)


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
