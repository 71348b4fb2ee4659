"""Shared values of a kernel, held against scikit-learn's k-means."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from deploykit.surgery.weights.clusters import STARTS, clustered

RNG = np.random.default_rng(0)
WEIGHTS = (RNG.standard_normal(4000) * RNG.gamma(2.0, 0.02, 4000)).astype(np.float32).reshape(50, 80)
PRUNED = np.where(np.abs(WEIGHTS) < np.quantile(np.abs(WEIGHTS), 0.7), np.float32(0), WEIGHTS)
#: No value is without weights on the way, which scikit-learn would put elsewhere.
EVEN = np.random.default_rng(2).standard_normal(4000).astype(np.float32)


def inertia(found, given):
    return float(np.square(found.astype(np.float64) - given).sum())


def lloyd(values, starts):
    """Scikit-learn's k-means from given starts, until nothing moves."""
    means = KMeans(len(starts), init=starts[:, None], n_init=1, max_iter=3000, tol=0.0, algorithm="lloyd")
    return means.fit(values.reshape(-1, 1).astype(np.float64))


@pytest.mark.parametrize(
    ("start", "starts"),
    [
        ("linear", np.linspace(EVEN.min(), EVEN.max(), 8, dtype=np.float64)),
        ("density", np.quantile(EVEN.astype(np.float64), np.linspace(0.01, 1.0, 8))),
    ],
)
def test_means_are_those_of_scikit_learn(start, starts):
    expected = lloyd(EVEN, starts)
    found = clustered(EVEN, 8, start, 3000, 0)
    np.testing.assert_allclose(np.unique(found), np.sort(expected.cluster_centers_[:, 0]), atol=1e-6)
    np.testing.assert_allclose(found, expected.cluster_centers_[expected.labels_, 0], atol=1e-6)


@pytest.mark.parametrize("count", [4, 16, 64])
def test_kmeans_plus_plus_errs_no_more_than_scikit_learn(count):
    """As both draw, the mean over a few seeds is compared."""
    ours = [inertia(clustered(WEIGHTS, count, "kmeans++", 300, seed), WEIGHTS) for seed in range(5)]
    column = WEIGHTS.reshape(-1, 1).astype(np.float64)
    theirs = [KMeans(count, n_init=1, random_state=seed).fit(column).inertia_ for seed in range(5)]
    assert np.mean(ours) < 1.03 * np.mean(theirs)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("iterations", [0, 300])
def test_zeros_stay_and_are_one_of_the_values(start, iterations):
    found = clustered(PRUNED, 9, start, iterations, 0)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[PRUNED == 0], 0.0)
    values = np.unique(found)
    assert len(values) <= 9
    below = round(8 * (PRUNED < 0).sum() / (PRUNED != 0).sum())
    assert (values < 0).sum() <= below
    assert (values > 0).sum() <= 8 - below


def test_zero_stays_where_the_mean_of_its_weights_is_not():
    """Small weights of one sign next to zeros would pull the mean away."""
    given = np.array([0.0, 0.0, 0.1, 0.1, 0.1, 1.9, 2.0, 2.1], np.float32)
    np.testing.assert_allclose(clustered(given, 2, "linear", 300, 0), [0, 0, 0, 0, 0, 2, 2, 2])


def test_each_weight_gets_the_nearest_value_and_each_value_is_a_mean():
    found = clustered(WEIGHTS, 16, "kmeans++", 3000, 0)
    values = np.unique(found).astype(np.float64)
    nearest = values[np.abs(WEIGHTS[..., None] - values).argmin(-1)]
    np.testing.assert_allclose(np.abs(found - WEIGHTS), np.abs(nearest - WEIGHTS), atol=1e-7)
    for value in np.unique(found):
        assert WEIGHTS[found == value].mean(dtype=np.float64) == pytest.approx(value, abs=1e-7)


def test_the_order_of_weights_does_not_matter():
    order = RNG.permutation(WEIGHTS.size)
    found = clustered(WEIGHTS.ravel()[order], 16, "kmeans++", 300, 3)
    np.testing.assert_array_equal(found, clustered(WEIGHTS, 16, "kmeans++", 300, 3).ravel()[order])


def test_few_different_weights_stay_as_they_are():
    given = np.array([[0.5, -1.0, 0.0], [0.5, 0.5, -1.0]], np.float32)
    for start in STARTS:
        np.testing.assert_array_equal(clustered(given, 3, start, 300, 0), given)


def test_large_kernels_are_drawn_from_by_rank():
    given = np.random.default_rng(1).standard_normal(200_000).astype(np.float32)
    found = clustered(given, 16, "kmeans++", 300, 0)
    assert len(np.unique(found)) == 16
    assert inertia(found, given) / given.size < 1.1 * 0.01154  # Lloyd and Max's quantizer of a normal distribution
