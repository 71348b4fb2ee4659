"""Planted collapses are named: a class that is never found, answers that no longer differ; harmless changes are not."""

import numpy as np
import pytest

from deploykit.core.contract import OutputMeaning
from deploykit.metrics._collapse import collapses
from deploykit.reporting.evidence.class_changes import compare
from deploykit.testing import metrics as testing

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
RNG = np.random.default_rng(0)


def meant(kind):
    return OutputMeaning("y", kind, "scored", "float32")


def noisy(classes, width):
    return np.eye(width)[classes] + RNG.normal(0, 0.25, (*classes.shape, width))


CLASSES = RNG.integers(0, 4, 200)
MASKS = RNG.integers(0, 3, (40, 6, 6))
TOKENS = RNG.choice(5, (60, 12), p=[0.6, 0.1, 0.1, 0.1, 0.1])
MANY = (RNG.random((200, 4)) < 0.3).astype(np.int64)
PEOPLE = np.arange(200) % 20
FACES = RNG.normal(size=(20, 16))[PEOPLE] + RNG.normal(0, 0.3, (200, 16))
TEXTS = np.array([f"text number {i}" for i in range(30)])


def without(scores, index):
    """The class's scores lost."""
    found = scores.copy()
    found[..., index] = -9.0
    return found


def cases():
    scores, masks, tags = noisy(CLASSES, 4), noisy(MASKS, 3), noisy(TOKENS, 5)
    several = np.clip(0.2 + 0.6 * MANY + RNG.normal(0, 0.1, MANY.shape), 0, 1)
    dead = np.where(np.arange(4) == 2, 0.3, several)
    strangers = np.where(PEOPLE[:, None] == 7, RNG.normal(size=FACES.shape), FACES)
    yield "accuracy", "scores", scores, without(scores, 2), CLASSES, ("a", "b", "c", "d"), "class c (right"
    yield "agreement", "scores", scores, without(scores, 1), None, (), "class 1 (right"
    yield "mean_iou", "scores", masks, without(masks, 1), MASKS, ("sky", "road", "car"), "class road (IoU"
    yield "dice", "scores", masks, without(masks, 2), MASKS, (), "class 2 (Dice"
    yield "position_accuracy", "scores", masks, without(masks, 1), MASKS, (), "class 1 (IoU"
    yield "token_f1", "scores", tags, without(tags, [3, 4]), TOKENS, TAGS, "class LOC (F1"
    yield "roc_auc", "several", several, dead, MANY, ("w", "x", "y", "z"), "class y (AUC"
    yield "average_precision", "several", several, dead, MANY, (), "class 2 (average precision"
    yield "label_f1", "several", several, dead, MANY, (), "class 2 (F1"
    yield "recall_at_k:1", "embedding", FACES, strangers, PEOPLE, (), "class 7 (recall"
    yield "recall_at_k", "embedding", FACES, np.ones_like(FACES), PEOPLE, (), "embeddings are the same for all 200"
    yield "cosine_similarity", "embedding", FACES, FACES[:1] + 0 * FACES, None, (), "embeddings are the same for all"
    yield "mean_absolute_error", "values", FACES, 0 * FACES, FACES, (), "outputs are the same for all 200"
    yield "word_error_rate", "text", TEXTS, np.array(["a"] * 30), TEXTS, (), "texts are the same for all 30"


@pytest.mark.parametrize("case", [*cases()], ids=lambda case: f"{case[0]} {case[6]}")
def test_it_is_named_and_noise_is_not(case):
    metric, kind, before, after, labels, names, said = case
    (found,) = collapses(metric, after, before, labels, meant(kind), names)
    assert found.startswith("Collapsed: ")
    assert said in found
    near = before if before.dtype.kind == "U" else before + RNG.normal(0, 0.02, before.shape)
    assert collapses(metric, near, before, labels, meant(kind), names) == ()
    if "class" in said and kind != "embedding":
        table = compare(after, before, labels, names, meaning=meant(kind), metric=metric)
        assert table.rows[0].lost
        assert table.rows[0].change.high < 0
        assert table.rows[0].sure
        assert said.partition("class ")[2] in table.summary()
        assert not any(r.lost for r in compare(near, before, labels, names, meaning=meant(kind), metric=metric))


def test_a_class_that_a_detector_no_longer_finds_is_named():
    case = next(c for c in testing.cases() if c.kind == "boxes")
    blind = case.outputs.copy()
    blind[blind[..., 5] == 2, 5] = -1
    (found,) = collapses("mean_average_precision", blind, case.outputs, case.labels, meant("boxes"), ())
    assert found == "Collapsed: class 2 (AP 1.00 → 0.00)."
    rows = compare(blind, case.outputs, case.labels, meaning=meant("boxes"), metric="mean_average_precision").rows
    assert (rows[0].index, rows[0].lost, rows[0].figure) == (2, True, "AP")


def test_figures_of_classes_are_those_of_each_class_alone():
    from sklearn.metrics import jaccard_score, roc_auc_score

    masks = noisy(MASKS, 3)
    worse = masks.copy()
    worse[::2, ..., 1] -= 0.8
    found = {r.index: r for r in compare(worse, masks, MASKS, meaning=meant("scores"), metric="mean_iou")}
    for side, scores in (("before", masks), ("after", worse)):
        theirs = jaccard_score(MASKS.ravel(), scores.argmax(axis=-1).ravel(), average=None)
        np.testing.assert_allclose([getattr(found[i], side) for i in range(3)], theirs, atol=1e-9)
    assert found[1].change.high < 0
    assert found[1].worse > found[1].better
    several = RNG.random(MANY.shape)
    areas = compare(several, several, MANY, meaning=meant("several"), metric="roc_auc")
    np.testing.assert_allclose([r.before for r in areas], roc_auc_score(MANY, several, average=None), atol=1e-9)
