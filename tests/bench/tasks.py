"""Metrics of every task: equal to their references, intervals that cover the truth, planted collapses that are found.

    python tests/bench/tasks.py [--simulations 500] [--examples 200]

Prints three tables: the largest difference from the reference implementation on random data, how often the paired 95 %
interval of a change holds the change in the whole population, and which planted collapses are named.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploykit.core.contract import Kind, OutputMeaning
from deploykit.measuring.accuracy import compare
from deploykit.metrics._collapse import collapses
from deploykit.metrics._contract import METRICS

Array = NDArray[Any]
#: Outputs of both models and the labels of so many new examples.
Draw = Callable[[np.random.Generator, int], tuple[Array, Array, Array]]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
WORDS = np.array([f"{first}{rest}" for first in "bdkmst" for rest in ("a", "ell", "ine", "ork")])
#: Examples that stand for the population.
POPULATION = 100_000


def softmax(scores: Array) -> Array:
    """Probabilities along the last axis."""
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


# -- two models on the same new examples ------------------------------------------------------------------------------


def binary(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Logits of two classes, a quarter of them positive."""
    labels = (rng.random(count) < 0.25).astype(np.int64)
    before = 1.5 * labels + rng.normal(0, 1, count)
    after = before + rng.normal(0, 0.7, count)
    return *(np.stack([np.zeros(count), x - 0.8], axis=1) for x in (after, before)), labels


def masks(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Masks of four classes whose share differs between images, as does how hard an image is."""
    share = rng.dirichlet([4, 2, 1, 0.6], count)
    pick = rng.random((count, 64))
    labels = (pick[:, :, None] > share.cumsum(axis=1)[:, None, :]).sum(axis=2).clip(0, 3)
    hard = rng.beta(2, 6, count)[:, None]
    other = rng.integers(0, 4, labels.shape)
    before = np.where(rng.random(labels.shape) < hard, other, labels)
    after = np.where(rng.random(labels.shape) < 0.06, rng.integers(0, 4, labels.shape), before)
    return tuple(x.reshape(count, 8, 8) for x in (after, before, labels))  # type: ignore[return-value]  # three


def several(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Probabilities of five labels, rare and frequent ones."""
    labels = (rng.random((count, 5)) < [0.1, 0.2, 0.3, 0.4, 0.5]).astype(np.int64)
    before = 1 / (1 + np.exp(-(3 * labels - 1.5 + rng.normal(0, 1.2, labels.shape))))
    after = np.clip(before + rng.normal(0, 0.1, labels.shape), 0, 1)
    return after, before, labels


def entities(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Tags of twelve tokens."""
    labels = rng.choice(5, (count, 12), p=[0.6, 0.12, 0.1, 0.1, 0.08])
    wrong = rng.random(labels.shape) < rng.beta(1, 8, count)[:, None]
    before = np.where(wrong, rng.integers(0, 5, labels.shape), labels)
    after = np.where(rng.random(labels.shape) < 0.04, 0, before)
    return after, before, labels


def speech(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Sentences of three to fifteen words; some speakers are hard to follow."""

    def heard(words: list[str], rate: float) -> list[str]:
        return [str(rng.choice(WORDS)) if rng.random() < rate else w for w in words if rng.random() > rate / 3]

    labels, before, after = [], [], []
    for _ in range(count):
        words = rng.choice(WORDS, rng.integers(3, 16)).tolist()
        first = heard(words, rng.beta(1, 7))
        labels.append(" ".join(words))
        before.append(" ".join(first))
        after.append(" ".join(heard(first, 0.02)))
    return np.array(after), np.array(before), np.array(labels)


def numbers(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Numbers with errors that have heavy tails."""
    labels = rng.normal(0, 2, (count, 1))
    before = labels + rng.standard_t(6, (count, 1))
    return before + rng.normal(0, 0.4, (count, 1)), before, labels


def vectors(rng: np.random.Generator, count: int) -> tuple[Array, Array, Array]:
    """Embeddings of examples of forty identities."""
    centers = np.random.default_rng(99).normal(size=(40, 12))
    labels = rng.integers(0, 40, count)
    before = centers[labels] + rng.normal(0, 1.0, (count, 12))
    return before + rng.normal(0, 0.5, (count, 12)), before, labels


SIMULATED: dict[str, Draw] = {
    "roc_auc": binary, "average_precision": binary, "f1": binary, "macro_f1": several, "mean_iou": masks,
    "token_f1": entities, "word_error_rate": speech, "r2": numbers, "root_mean_squared_error": numbers,
    "recall_at_k:1": vectors, "recall_at_k:5": vectors,
}  # fmt: skip


def coverage(name: str, draw: Draw, simulations: int, examples: int) -> tuple[float, float, float]:
    """The true change, the share of intervals that hold it, and their mean width."""
    metric = METRICS.get(name).for_classes(TAGS)
    rng = np.random.default_rng(0)
    if metric.among:  # type: ignore[attr-defined]  # pooled ones have it
        # How many there are to be found among is part of what is measured: the mean over other data of that size.
        sides = [draw(rng, examples) for _ in range(2000)]
        truth = float(np.mean([metric.overall(a, y) - metric.overall(b, y) for a, b, y in sides]))
    else:
        after, before, labels = draw(rng, POPULATION if name != "word_error_rate" else POPULATION // 4)
        found, base = metric.overall(after, labels), metric.overall(before, labels)
        truth = found / base - 1 if metric.relative else found - base
    held, widths = 0, []
    for _ in range(simulations):
        change = compare(metric, *draw(rng, examples)).change
        held += change.low <= truth <= change.high
        widths.append(change.high - change.low)
    return truth, held / simulations, float(np.mean(widths))


# -- references -------------------------------------------------------------------------------------------------------


def references() -> dict[str, tuple[float, float]]:
    """Metric → ours and theirs, on random data."""
    import jiwer
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import corpus_bleu
    from seqeval.metrics import f1_score as entity_f1
    from sklearn import metrics as sk
    from sklearn.neighbors import NearestNeighbors

    rng, found = np.random.default_rng(1), {}

    def put(name: str, outputs: Array, labels: Array, theirs: float) -> None:
        found[name] = (METRICS.get(name).for_classes(TAGS).overall(outputs, labels), float(theirs))

    after, _, labels = binary(rng, 3000)
    for name, function in (("roc_auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        put(name, after, labels, function(labels, after[:, 1]))
    put("f1", after, labels, sk.f1_score(labels, after[:, 1] > 0))
    put("f1:0.3", after, labels, sk.f1_score(labels, softmax(after)[:, 1] > 0.3))
    after, _, labels = several(rng, 3000)
    for average in ("macro", "micro"):
        put(f"{average}_f1", after, labels, sk.f1_score(labels, after > 0.5, average=average))
    after, _, labels = numbers(rng, 3000)
    for name, function in (
        ("r2", sk.r2_score), ("root_mean_squared_error", sk.root_mean_squared_error),
        ("mean_absolute_percentage_error", sk.mean_absolute_percentage_error),
        ("mean_absolute_error", sk.mean_absolute_error), ("mean_squared_error", sk.mean_squared_error),
    ):  # fmt: skip
        put(name, after, labels, function(labels, after))
    put("quantile_loss:0.9", after, labels, sk.mean_pinball_loss(labels, after, alpha=0.9))
    after, _, labels = masks(rng, 500)
    flat = labels.ravel(), after.ravel()
    put("mean_iou", after, labels, sk.jaccard_score(*flat, average="macro"))
    put("dice", after, labels, sk.f1_score(*flat, average="macro"))
    after, _, labels = entities(rng, 500)
    put("token_f1", after, labels, entity_f1(*([[TAGS[c] for c in r] for r in one] for one in (labels, after))))
    after, before, labels = vectors(rng, 1000)

    def near(side: Array) -> Array:
        return np.asarray(NearestNeighbors(n_neighbors=11, metric="cosine").fit(side).kneighbors(side)[1][:, 1:])

    mine = near(after)
    for k in (1, 5, 10):
        put(f"recall_at_k:{k}", after, labels, (labels[mine[:, :k]] == labels[:, None]).any(axis=1).mean())
    kept = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(mine, near(before), strict=True)])
    put("neighbor_agreement", after, before, kept)
    relevance = rng.integers(0, 4, (500, 12)).astype(float)
    ranked = np.round(relevance + rng.normal(0, 2, relevance.shape), 1)
    put("ndcg", ranked, relevance, sk.ndcg_score(relevance, ranked))
    put("ndcg:5", ranked, relevance, sk.ndcg_score(relevance, ranked, k=5))
    tokens, scores = rng.integers(0, 50, (100, 20)), rng.normal(0, 2, (100, 20, 50))
    loss = sk.log_loss(tokens.ravel(), softmax(scores).reshape(-1, 50), labels=range(50))
    put("perplexity", scores, tokens, np.exp(loss))
    after, _, labels = speech(rng, 500)
    texts = labels.tolist(), after.tolist()
    put("word_error_rate", after, labels, jiwer.wer(*texts))
    put("character_error_rate", after, labels, jiwer.cer(*texts))
    put("bleu", after, labels, corpus_bleu(texts[1], [texts[0]]).score / 100)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    each = [scorer.score(*both) for both in zip(*texts, strict=True)]
    for name, its in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        put(name, after, labels, float(np.mean([e[its].fmeasure for e in each])))
    return found


# -- collapses --------------------------------------------------------------------------------------------------------


def planted() -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """What was planted, how it must be named, what is said of it, and what is said of a harmless change beside it."""
    rng, found = np.random.default_rng(2), []

    def put(
        what: str, name: str, metric: str, kind: Kind, before: Array, after: Array, labels: Array | None,
        names: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        meaning = OutputMeaning("y", kind, "scored", "float32")
        near = before if before.dtype.kind == "U" else before + rng.normal(0, 0.02, before.shape)
        said, calm = (collapses(metric, side, before, labels, meaning, names) for side in (after, near))
        found.append((what, name, said, calm))

    def scores(classes: Array, width: int) -> Array:
        return np.asarray(np.eye(width)[classes] + rng.normal(0, 0.3, (*classes.shape, width)))

    def without(outputs: Array, *lost: int) -> Array:
        changed = outputs.copy()
        changed[..., list(lost)] = -9.0
        return changed

    names = ("sky", "road", "car", "tree")
    for lost in range(4):
        classes = rng.integers(0, 4, 300)
        one = scores(classes, 4)
        put(f"class {names[lost]} of four", f"class {names[lost]} (right", "accuracy", "scores", one,
            without(one, lost), classes, names)  # fmt: skip
    for lost in range(4):
        areas = masks(rng, 60)[2]
        one = scores(areas, 4)
        put(f"{names[lost]} in masks", f"class {names[lost]} (IoU", "mean_iou", "scores", one, without(one, lost),
            areas, names)  # fmt: skip
    for kind, lost_tags in (("PER", (1, 2)), ("LOC", (3, 4))):
        tags = entities(rng, 100)[2]
        one = scores(tags, 5)
        put(f"entities {kind}", f"class {kind} (F1", "token_f1", "scores", one, without(one, *lost_tags), tags, TAGS)
    for metric, figure, lost in (("roc_auc", "AUC", 1), ("average_precision", "average precision", 3),
                                 ("macro_f1", "F1", 4)):  # fmt: skip
        _, one, labels = several(rng, 300)
        constant = one.copy()
        constant[:, lost] = 0.2
        put(f"label {lost}, by {metric}", f"class {lost} ({figure}", metric, "several", one, constant, labels)
    _, faces, people = vectors(rng, 400)
    for person in (3, 17):
        others = faces[rng.permutation(np.flatnonzero(people != person))]  # each stands where another one does
        moved = np.where(people[:, None] == person, np.resize(others, faces.shape), faces)
        put(f"identity {person} among others", f" {person} (recall", "recall_at_k:1", "embedding", faces, moved,
            people)  # fmt: skip
    dead = np.ones_like(faces)
    put("dead encoder, with identities", "embeddings are the same", "recall_at_k", "embedding", faces, dead, people)
    put("dead encoder, without labels", "embeddings are the same", "cosine_similarity", "embedding", faces, dead, None)
    _, one, real = numbers(rng, 200)
    put("dead regression", "outputs are the same", "mean_absolute_error", "values", one, 0 * one + 1, real)
    _, texts, labels = speech(rng, 50)
    put("dead recognizer", "texts are the same", "word_error_rate", "text", texts, np.array([""] * 50), labels)
    classes = rng.integers(0, 4, 200)
    one = scores(classes, 4)
    put("class 2, without labels", "class 2 (right", "agreement", "scores", one, without(one, 2), None)
    return found


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--examples", type=int, default=200)
    options = parser.parse_args()
    print(f"{'metric':<32}{'deploykit':>16}{'reference':>16}{'difference':>12}")
    worst = 0.0
    for name, (ours, theirs) in references().items():
        worst = max(worst, abs(ours - theirs))
        print(f"{name:<32}{ours:>16.10f}{theirs:>16.10f}{abs(ours - theirs):>12.1e}")
    print(f"largest difference: {worst:.1e}\n")
    print(f"{'metric':<26}{'true change':>12}{'covered':>10}{'mean width':>12}{'ms each':>9}")
    for name, draw in SIMULATED.items():
        began = time.perf_counter()
        truth, held, width = coverage(name, draw, options.simulations, options.examples)
        each = 1000 * (time.perf_counter() - began) / options.simulations
        print(f"{name:<26}{truth:>12.5f}{held:>10.1%}{width:>12.5f}{each:>9.0f}", flush=True)
    print()
    named = wrong = 0
    cases = planted()
    for what, name, said, calm in cases:
        right = any(name in sentence for sentence in said)
        named += right
        wrong += bool(calm)
        print(f"{'named ' if right else 'MISSED'} {what}: {'; '.join(said)}{' FALSE ALARM' if calm else ''}")
    print(f"{named} of {len(cases)} planted collapses are named, {wrong} of {len(cases)} harmless changes")


if __name__ == "__main__":
    main()
