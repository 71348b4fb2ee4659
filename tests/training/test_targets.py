"""Losses, beside NumPy."""

import numpy as np
import pytest

from deploykit.testing import work

WANTED, FOUND = (np.random.default_rng(seed).normal(0, 2, (4, 3)) for seed in (0, 1))

ABOUT_LABELS = ("labels", "alpha", "partners", "shares")


def loss(goal, wanted, found, **more):
    options = {name: more.pop(name) for name in list(more) if name not in ABOUT_LABELS}
    given = {"goal": goal, "options": options, "wanted": wanted.tolist(), "found": found.tolist(), **more}
    return work.run("training:loss", "tensorflow", **given)["loss"]


def soft(logits, axis=1):
    powers = np.exp(logits)
    return powers / powers.sum(axis=axis, keepdims=True)


def divergence(wanted, found, temperature, axis=1):
    p, q = (soft(logits / temperature, axis) for logits in (wanted, found))
    return temperature**2 * np.sum(p * np.log(p / q), axis=axis).mean()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("probabilities", [True, False])
def test_the_divergence_is_that_of_softened_distributions(temperature, probabilities):
    given = [soft(logits) if probabilities else logits for logits in (WANTED, FOUND)]
    found = loss("Teacher", *given, temperature=temperature, probabilities=probabilities)
    assert found == pytest.approx(divergence(WANTED, FOUND, temperature), rel=1e-4)


def test_classes_may_be_on_another_axis():
    found = loss("Teacher", WANTED, FOUND, probabilities=False, axis=0)
    assert found == pytest.approx(divergence(WANTED, FOUND, 1.0, axis=0), rel=1e-4)


@pytest.mark.parametrize("probabilities", [True, False])
def test_numbers_that_are_classes_of_their_own(probabilities):
    """As two classes each, one of them with a logit of 0."""
    pairs = [np.stack([np.zeros(12), logits.reshape(-1)], 1) for logits in (WANTED, FOUND)]
    given = [1 / (1 + np.exp(-logits)) if probabilities else logits for logits in (WANTED, FOUND)]
    found = loss("TwoClasses", *given, temperature=2.0, probabilities=probabilities)
    assert found == pytest.approx(divergence(*pairs, 2.0), rel=1e-4)


def test_values_are_compared_relative_to_their_variance():
    found = loss("Values", WANTED, FOUND, variance=float(WANTED.var()))
    assert found == pytest.approx(((WANTED - FOUND) ** 2).mean() / WANTED.var(), rel=1e-5)


def test_labels_of_mixed_examples_count_by_their_shares():
    """As the cross-entropy with the distribution over both labels."""
    labels, partners, shares = [0, 2, 1, 1], [1, 0, 3, 2], [0.25, 0.5, 1.0, 0.125]
    found = loss("Teacher", soft(WANTED), soft(FOUND), labels=labels, alpha=0.5, partners=partners, shares=shares)
    wanted = (
        np.eye(3)[labels] * np.array(shares)[:, None] + np.eye(3)[labels][partners] * (1 - np.array(shares))[:, None]
    )
    crossed = -(wanted * np.log(soft(FOUND))).sum(1).mean()
    assert found == pytest.approx(0.5 * crossed + divergence(WANTED, FOUND, 1.0), rel=1e-4)


def test_labels_count_by_alpha():
    labels = [0, 2, 1, 1]
    found = loss("Teacher", soft(WANTED), soft(FOUND), labels=labels, alpha=0.5)
    crossed = -np.log(soft(FOUND)[np.arange(4), labels]).mean()
    assert found == pytest.approx(0.5 * crossed + divergence(WANTED, FOUND, 1.0), rel=1e-4)


@pytest.mark.parametrize("probabilities", [True, False])
def test_logits_are_compared_up_to_a_constant(probabilities):
    """Probabilities do not show the mean of what comes before softmax; scores are compared as they are."""
    given = [soft(logits) if probabilities else logits for logits in (WANTED, FOUND)]
    found = loss("Logits", *given, probabilities=probabilities, variance=2.0, center=1 if probabilities else None)
    one, two = ((v - v.mean(1, keepdims=True)) if probabilities else v for v in (WANTED, FOUND))
    assert found == pytest.approx(((one - two) ** 2).mean() / 2.0, rel=1e-4)


def test_the_logit_of_a_probability_stands_for_itself():
    given = [1 / (1 + np.exp(-logits)) for logits in (WANTED, FOUND)]
    found = loss("Logits", *given, probabilities=True)
    assert found == pytest.approx(((WANTED - FOUND) ** 2).mean(), rel=1e-4)
