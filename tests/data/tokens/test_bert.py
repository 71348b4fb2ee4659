"""The graph of the tiny encoder computes what BERT is, written out in NumPy."""

import numpy as np
import onnxruntime
import pytest
from scipy.special import erf, softmax

from deploykit.testing import bert

LENGTHS = (6, 4)


def norm(weights, name, x):
    spread = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-12)
    return (x - x.mean(axis=-1, keepdims=True)) / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def dense(weights, name, x):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def encoded(weights, ids):
    """The hidden states of one text without padding."""
    table = {name: weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")}
    x = norm(
        weights, "embeddings.LayerNorm", table["word"][ids] + table["position"][: len(ids)] + table["token_type"][0]
    )
    for i in range(bert.LAYERS):
        at = f"encoder.layer.{i}"
        q, k, v = (
            dense(weights, f"{at}.attention.self.{p}", x).reshape(len(ids), bert.HEADS, -1).transpose(1, 0, 2)
            for p in ("query", "key", "value")
        )
        shares = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]), axis=-1)
        mixed = (shares @ v).transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(weights, f"{at}.attention.output.LayerNorm", dense(weights, f"{at}.attention.output.dense", mixed) + x)
        inner = dense(weights, f"{at}.intermediate.dense", x)
        inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
        x = norm(weights, f"{at}.output.LayerNorm", dense(weights, f"{at}.output.dense", inner) + x)
    return x


@pytest.mark.parametrize("head", ["hidden", "tokens", "classes", "embedding"])
def test_each_head_gives_what_numpy_gives_whatever_the_padding(head):
    weights = bert.tiny_weights(3)
    rng = np.random.default_rng(1)
    ids, mask = np.zeros((2, 9), np.int64), np.zeros((2, 9), np.int64)
    for row, length in enumerate(LENGTHS):
        ids[row, :length], mask[row, :length] = rng.integers(5, len(bert.vocabulary()), length), 1
    session = onnxruntime.InferenceSession(bert.graph(weights, bert.HEADS, head).SerializeToString())
    fed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    found = session.run(None, fed)[0]
    for row, length in enumerate(LENGTHS):
        hidden = encoded(weights, ids[row, :length])
        if head == "embedding":
            mean = hidden.mean(axis=0)
            np.testing.assert_allclose(found[row], mean / np.linalg.norm(mean), atol=1e-5)
        elif head == "classes":
            np.testing.assert_allclose(found[row], dense(weights, "classifier", hidden[0]), atol=1e-4)
        else:
            wanted = hidden if head == "hidden" else dense(weights, "classifier", hidden)
            np.testing.assert_allclose(found[row, :length], wanted, atol=1e-4)
