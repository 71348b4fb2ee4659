import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploykit.data.splits import cut, shuffled

labelled = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(np.array)
seeds = st.integers(0, 2**32 - 1)


@given(labelled, seeds)
def test_an_order_is_a_permutation_and_the_seed_decides_it(labels, seed):
    order = shuffled(len(labels), labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    np.testing.assert_array_equal(order, shuffled(len(labels), labels.copy(), seed))


@given(labelled, seeds, st.floats(0, 1))
def test_every_prefix_has_each_class_in_proportion(labels, seed, share):
    length = round(share * len(labels))
    prefix = labels[shuffled(len(labels), labels, seed)[:length]]
    classes = np.unique(labels)
    for label in classes:
        weight = (labels == label).mean()
        assert abs((prefix == label).sum() - weight * length) <= 1 + len(classes) * weight


def test_seeds_differ():
    labels = np.arange(100) % 5
    assert not np.array_equal(shuffled(100, labels, 0), shuffled(100, labels, 1))


@pytest.mark.parametrize("labels", [None, np.linspace(0, 1, 50), np.zeros((50, 2), int)])
def test_without_classes_it_is_a_plain_shuffle(labels):
    order = shuffled(50, labels, 3)
    assert sorted(order.tolist()) == list(range(50))
    np.testing.assert_array_equal(order, np.random.default_rng(3).permutation(50))


@given(st.integers(0, 500), st.lists(st.floats(0.01, 1), min_size=1, max_size=5))
def test_parts_are_consecutive_and_complete(count, weights):
    shares = tuple(w / sum(weights) for w in weights)
    parts = cut(np.arange(count), shares)
    assert len(parts) == len(shares)
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(count))
    for part, share in zip(parts, shares, strict=True):
        assert abs(len(part) - share * count) <= 1
