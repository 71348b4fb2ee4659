"""Every metric equals the implementation that people cite it by, on seeded random and on edge data."""

import re
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.neighbors import NearestNeighbors

from deploykit.metrics._contract import METRICS

RNG = np.random.default_rng(0)
COUNT = 120


def softmax(scores):
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def overall(name, outputs, truth, classes=()):
    metric = METRICS.get(name).for_classes(classes)
    assert metric.unsuitable(outputs, truth) == ""
    return metric.overall(outputs, truth)


BINARY = (RNG.random(COUNT) < 0.3).astype(np.int64)
LOGIT = np.stack([np.zeros(COUNT), np.round(BINARY - 0.5 + RNG.normal(0, 1, COUNT), 1)], axis=-1)  # with ties
SHARE = softmax(LOGIT)
MANY = RNG.integers(0, 5, COUNT)
SCORES = np.eye(5)[MANY] + RNG.normal(0, 1, (COUNT, 5))
LABELS = (RNG.random((COUNT, 4)) < [0.1, 0.3, 0.5, 0.7]).astype(np.int64)
SEVERAL = np.clip(LABELS * 0.3 + RNG.random((COUNT, 4)) * 0.7, 0, 1)


@pytest.mark.parametrize(
    ("name", "theirs"), [("roc_auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)]
)
def test_areas(name, theirs):
    assert overall(name, LOGIT, BINARY) == pytest.approx(theirs(BINARY, LOGIT[:, 1]), abs=1e-9)
    assert overall(name, SHARE, BINARY) == pytest.approx(theirs(BINARY, SHARE[:, 1]), abs=1e-9)
    assert overall(name, SEVERAL, LABELS) == pytest.approx(theirs(LABELS, SEVERAL, average="macro"), abs=1e-9)
    ours = overall(name, SCORES, MANY)
    assert ours == pytest.approx(theirs(np.eye(5)[MANY], softmax(SCORES), average="macro"), abs=1e-9)
    if name == "roc_auc":
        assert ours == pytest.approx(theirs(MANY, softmax(SCORES), multi_class="ovr"), abs=1e-9)
    weights = RNG.integers(0, 4, (3, COUNT)).astype(float)
    metric = METRICS.get(name)
    found = metric.pool(metric.parts(LOGIT, BINARY), weights)
    np.testing.assert_allclose(found, [theirs(BINARY, LOGIT[:, 1], sample_weight=w) for w in weights], atol=1e-9)
    constant = np.full((COUNT, 2), 0.5)  # a dead model
    assert overall(name, constant, BINARY) == pytest.approx(theirs(BINARY, constant[:, 1]), abs=1e-9)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_f1_of_many(average):
    name = f"{average}_f1"
    expected = sk.f1_score(MANY, SCORES.argmax(axis=1), average=average)
    assert overall(name, SCORES, MANY) == pytest.approx(expected, abs=1e-9)
    assert overall(name, SCORES.argmax(axis=1), MANY) == pytest.approx(expected, abs=1e-9)
    for threshold in (0.5, 0.3):
        theirs = sk.f1_score(LABELS, threshold < SEVERAL, average=average)
        assert overall(f"{name}:{threshold}", SEVERAL, LABELS) == pytest.approx(theirs, abs=1e-9)
    logits = np.log(SEVERAL / (1 - SEVERAL))
    theirs = sk.f1_score(LABELS, SEVERAL > 0.3, average=average)
    assert overall(f"{name}:0.3", logits + 0.5, LABELS) == pytest.approx(theirs, abs=1e-9)
    absent, guessed = LABELS * [1, 1, 1, 0], (SEVERAL > 0.5) * [1, 1, 1, 0]
    theirs = sk.f1_score(absent, guessed, average=average, zero_division=np.nan)
    assert overall(name, guessed.astype(float), absent) == pytest.approx(theirs, abs=1e-9)


def test_f1_of_one_class():
    for threshold in (0.5, 0.2):
        theirs = sk.f1_score(BINARY, SHARE[:, 1] > threshold)
        assert overall(f"f1:{threshold}", SHARE, BINARY) == pytest.approx(theirs, abs=1e-9)
        assert overall(f"f1:{threshold}", LOGIT, BINARY) == pytest.approx(theirs, abs=1e-9)
    theirs = sk.f1_score(BINARY, LOGIT[:, 1] > 0)
    assert overall("f1", (LOGIT[:, 1] > 0).astype(np.int64), BINARY) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("width", [1, 3])
def test_regression(width):
    truth = RNG.normal(1e4, 3, (COUNT, width))  # far from 0: digits are not lost
    outputs = truth + RNG.normal(0.5, 1, truth.shape)
    pairs = {
        "r2": sk.r2_score, "root_mean_squared_error": sk.root_mean_squared_error,
        "mean_absolute_percentage_error": sk.mean_absolute_percentage_error,
        "mean_squared_error": sk.mean_squared_error, "mean_absolute_error": sk.mean_absolute_error,
        "quantile_loss": sk.mean_pinball_loss,
        "quantile_loss:0.9": lambda y, p: sk.mean_pinball_loss(y, p, alpha=0.9),
    }  # fmt: skip
    for name, theirs in pairs.items():
        assert overall(name, outputs, truth) == pytest.approx(theirs(truth, outputs), abs=1e-9), name


def test_masks():
    truth = RNG.integers(-1, 4, (12, 6, 5))
    scores = np.eye(6)[np.where(truth < 0, 5, truth)] + RNG.normal(0, 0.7, (12, 6, 5, 6))  # class 4 is in no label
    there = truth.ravel() >= 0
    wanted, found = truth.ravel()[there], scores.argmax(axis=-1).ravel()[there]
    assert (found == 4).any()
    for outputs in (scores, scores.argmax(axis=-1)):
        iou = sk.jaccard_score(wanted, found, average="macro")
        assert overall("mean_iou", outputs, truth) == pytest.approx(iou, abs=1e-9)
        assert overall("dice", outputs, truth) == pytest.approx(sk.f1_score(wanted, found, average="macro"), abs=1e-9)


TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "S-ORG", "E-LOC", "B-PER-x")


def test_entities():
    from seqeval.metrics import f1_score

    truth = RNG.choice(len(TAGS), (60, 15), p=[0.3, *[0.1] * 7])
    answers = np.where(RNG.random(truth.shape) < 0.15, RNG.integers(0, len(TAGS), truth.shape), truth)
    truth[:, 12:] = -1
    tags = [[[TAGS[c] for c in row[:12]] for row in one] for one in (truth, answers)]
    assert overall("token_f1", answers, truth, TAGS) == pytest.approx(f1_score(*tags), abs=1e-9)
    scores = np.eye(len(TAGS))[answers]
    assert overall("token_f1", scores, truth, TAGS) == pytest.approx(f1_score(*tags), abs=1e-9)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_retrieval(k):
    vectors = np.eye(5)[MANY] @ RNG.normal(size=(5, 8)) + RNG.normal(0, 1, (COUNT, 8))
    near = NearestNeighbors(n_neighbors=k + 1, metric="cosine").fit(vectors).kneighbors(vectors)[1][:, 1:]
    hits = (MANY[near] == MANY[:, None]).any(axis=1).mean()
    assert overall(f"recall_at_k:{k}", vectors, MANY) == pytest.approx(hits, abs=1e-9)
    other = vectors + RNG.normal(0, 0.3, vectors.shape)
    theirs = NearestNeighbors(n_neighbors=k + 1, metric="cosine").fit(other).kneighbors(other)[1][:, 1:]
    kept = np.mean([len(set(a) & set(b)) / k for a, b in zip(near, theirs, strict=True)])
    assert overall(f"neighbor_agreement:{k}", other, vectors) == pytest.approx(kept, abs=1e-9)


def test_rankings():
    relevance = RNG.integers(0, 4, (COUNT, 7)).astype(float)
    relevance[0] = 0
    scores = np.round(relevance + RNG.normal(0, 2, relevance.shape))  # with ties
    assert overall("ndcg", scores, relevance) == pytest.approx(sk.ndcg_score(relevance, scores), abs=1e-9)
    assert overall("ndcg:3", scores, relevance) == pytest.approx(sk.ndcg_score(relevance, scores, k=3), abs=1e-9)


def test_perplexity():
    truth = RNG.integers(0, 9, (20, 6))
    scores = RNG.normal(0, 2, (20, 6, 9))
    truth[:, 5] = -1
    theirs = np.exp(sk.log_loss(truth[:, :5].ravel(), softmax(scores[:, :5]).reshape(-1, 9), labels=range(9)))
    assert overall("perplexity", scores, truth) == pytest.approx(theirs, abs=1e-6)
    assert overall("perplexity", softmax(scores), truth) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "outputs", "truth", "why"),
    [
        ("roc_auc", SHARE, np.ones(COUNT, np.int64), "is the same for all 120 examples"),
        ("average_precision", SEVERAL, np.zeros_like(LABELS), "are the same for all"),
        ("f1", SHARE, np.zeros(COUNT, np.int64), "no example has class 1"),
        ("f1", SCORES, MANY, "is for two classes"),
        ("r2", np.ones((COUNT, 1)), np.ones((COUNT, 1)), "the labels are the same for all"),
        ("mean_absolute_percentage_error", np.ones((3, 1)), np.array([[1.0], [0], [2]]), "1 of 3 labels are 0"),
        ("mean_iou", np.zeros((2, 3, 3, 2)), np.zeros((2, 4, 4), np.int64), r"\(4, 4\), answers \(3, 3\)"),
        ("dice", np.zeros((2, 3, 3, 2)), np.full((2, 3, 3), -1), "no position has a label"),
        ("token_f1", np.zeros((2, 3, 2)), np.zeros((2, 3), np.int64), "needs class names such as"),
        ("recall_at_k", RNG.random((30, 4)), np.arange(30), "no two examples"),
        ("recall_at_k:40", RNG.random((30, 4)), np.zeros(30, np.int64), "only 30 examples"),
        ("ndcg", np.ones((3, 4)), -np.ones((3, 4)), "relevances from 0"),
        ("perplexity", np.ones((3, 4, 2)), np.full((3, 4), 5), "up to token 5, the model has 2"),
    ],
)
def test_what_cannot_be_scored_is_named(name, outputs, truth, why):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert re.search(why, METRICS.get(name).unsuitable(outputs, truth))


def test_a_dead_encoder_finds_nothing():
    classes = RNG.integers(0, 5, COUNT)
    dead = np.ones((COUNT, 8)) * RNG.normal(size=8)
    assert overall("recall_at_k", dead, classes) == 0
    assert overall("neighbor_agreement", dead, RNG.normal(size=(COUNT, 8))) == 0


WORDS = ["the", "cat", "Cat", "sat", "on", "a", "mat,", "3.5", "don't", "hello!", "(really)", "x-ray", "é", "&amp;"]


def sentences(count, longest=14):
    return [" ".join(RNG.choice(WORDS, RNG.integers(0, longest))) for _ in range(count)]


def garbled(text):
    return " ".join(RNG.choice(WORDS) if RNG.random() < 0.3 else w for w in text.split() if RNG.random() < 0.9)


REFERENCES = [*sentences(60), "one   two  ", "", "a"]
ANSWERS = [*map(garbled, REFERENCES[:60]), " one two", "more", ""]


def test_recognition():
    import jiwer

    found, wanted = np.array(ANSWERS), np.array(REFERENCES)
    assert overall("word_error_rate", found, wanted) == pytest.approx(jiwer.wer(REFERENCES, ANSWERS), abs=1e-9)
    assert overall("character_error_rate", found, wanted) == pytest.approx(jiwer.cer(REFERENCES, ANSWERS), abs=1e-9)


def test_translations():
    from sacrebleu import corpus_bleu

    for answers in (ANSWERS, REFERENCES, sentences(63), ["cat sat on"] * 63, ["cat"] * 63, [""] * 63):
        theirs = corpus_bleu(answers, [REFERENCES]).score / 100
        assert overall("bleu", np.array(answers), np.array(REFERENCES)) == pytest.approx(theirs, abs=1e-9)


def test_summaries():
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    theirs = [scorer.score(*both) for both in zip(REFERENCES, ANSWERS, strict=True)]
    for ours, name in (("rouge_1", "rouge1"), ("rouge_2", "rouge2"), ("rouge_l", "rougeL")):
        values = METRICS.get(ours).values(np.array(ANSWERS), np.array(REFERENCES))
        np.testing.assert_allclose(values, [t[name].fmeasure for t in theirs], atol=1e-9)


def test_tokens_that_stay():
    metric = METRICS.get("token_agreement")
    found = metric.values(np.array(["a b c", "", "a"]), np.array(["a x c d", "", ""]))
    assert found.tolist() == [0.5, 1.0, 0.0]
    assert metric.values(np.array([[1, 2, -1]]), np.array([[1, 3, 4]])).tolist() == [pytest.approx(1 / 3)]


def test_texts_that_cannot_be_scored_are_named():
    empty, some, chinese = np.array(["", " "]), np.array(["a", "b"]), np.array(["你好", "再见"])
    assert "all 2 labels are empty" in METRICS.get("word_error_rate").unsuitable(some, empty)
    assert "Latin letters" in METRICS.get("rouge_l").unsuitable(some, chinese)
    assert "needs one text" in METRICS.get("bleu").unsuitable(np.ones((2, 3)), some)
