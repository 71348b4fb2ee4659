"""Networks for tasks on sequences that are trained in seconds: words, sounds, items to rank, and texts to write."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.data.tokens.tokenizer import Tokenizer
from deploykit.loading._load import load
from deploykit.testing import bert, decoder

_COUNT = 900
_TAGS = ("O", "B-PER", "B-LOC", "B-ORG")
_KINDS = {"john": 1, "mary": 1, "paris": 2, "london": 2, "acme": 3, "globex": 3}
#: Letters of the sounds, each a chord of its own; the blank comes first, and a blank stands between words.
_LETTERS = ("<blank>", " ", "a", "b", "e", "l", "n", "o", "s", "t")
_WORDS = ("no", "on", "not", "one", "ten", "bat", "ball", "bell", "nest", "stone", "late", "also")
_BANDS, _FRAMES = 16, 3
_ITEMS, _FACTS = 8, 5


@dataclass(frozen=True)
class Made:
    """A trained network and the data it is judged by.

    Attributes:
        model: What ``dk.load`` takes: a Keras file, or a Hugging Face folder.
        data: What it is judged by.
        metric: Name of the metric that the field uses.
        declared: What a sweep cannot find out by itself: its options.
        step: What makes a candidate of an ONNX file: its name and parameters.
    """

    model: Path
    data: Dataset
    metric: str
    declared: Mapping[str, Any] = field(default_factory=dict)
    step: tuple[str, Mapping[str, Any]] = ("quantize_static", {})


def entities(folder: Path, seed: int = 0) -> Made:
    """Who and what sentences name: a tag for each word, from a convolution over its neighbors."""
    import keras

    texts = decoder.sentences(_COUNT, seed)
    tags = [[_TAGS[_KINDS.get(word, 0)] for word in text.split()] for text in texts]
    tokenizer = Tokenizer.open(bert.write_folder(folder / "tokens"), max_length=20)
    data = Dataset.from_text([text.split() for text in texts], tags, classes=_TAGS,
                             preprocess={"text": Preprocess(tokenizer=tokenizer)}, seed=seed)  # fmt: skip
    layers = keras.layers
    tokens = keras.Input((None,), dtype="int32", name="input_ids")
    x = layers.Embedding(len(bert.vocabulary()), 16)(tokens)
    x = layers.Conv1D(32, 3, padding="same", activation="relu")(x)
    network = keras.Model(tokens, layers.Dense(len(_TAGS), name="tags")(x), name="entities")
    checked = data.check(load(_saved(network, folder)))
    labels = checked.labels("train")
    network.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(True, ignore_class=-1))
    network.fit(checked.batch("train")["input_ids"], labels, epochs=6, batch_size=64, verbose=0)
    return Made(_saved(network, folder), data, "token_f1")


def speech(folder: Path, seed: int = 0) -> Made:
    """What was said: scores of a letter or of the blank for each frame of a spectrum with noise."""
    import keras
    import numpy as np

    rng = np.random.default_rng(seed)
    chords = rng.random((len(_LETTERS), _BANDS)).astype(np.float32)
    chords[0] = 0
    texts = [" ".join(rng.choice(_WORDS, 3)) for _ in range(_COUNT)]
    rows = [[n for letter in text for n in [_LETTERS.index(letter)] * _FRAMES + [0]] for text in texts]
    longest = max(map(len, rows))
    frames = np.array([row + [0] * (longest - len(row)) for row in rows])
    sounds = (chords[frames] + rng.normal(0, 0.15, (_COUNT, longest, _BANDS))).astype(np.float32)
    layers = keras.layers
    spectrum = keras.Input((longest, _BANDS), name="spectrum")
    x = layers.Conv1D(32, 3, padding="same", activation="relu")(spectrum)
    network = keras.Model(spectrum, layers.Dense(len(_LETTERS), name="letters")(x), name="speech")
    network.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(sounds[: _COUNT // 2], frames[: _COUNT // 2], epochs=6, batch_size=32, verbose=0)
    held = slice(_COUNT // 2, None)
    data = Dataset.from_arrays(sounds[held], np.array(texts)[held], classes=_LETTERS, seed=seed)
    return Made(_saved(network, folder), data, "word_error_rate")


def ranking(folder: Path, seed: int = 0) -> Made:
    """In which order items help: a score for each of eight, whose relevance from 0 to 4 is known."""
    import keras
    import numpy as np

    rng = np.random.default_rng(seed)
    facts = rng.normal(size=(_COUNT, _ITEMS, _FACTS)).astype(np.float32)
    worth = facts[..., 0] * 2 - facts[..., 1] ** 2 + rng.normal(0, 0.3, (_COUNT, _ITEMS))
    relevance = np.digitize(worth, np.quantile(worth, [0.4, 0.6, 0.8, 0.95])).astype(np.float32)
    layers = keras.layers
    items = keras.Input((_ITEMS, _FACTS), name="items")
    x = layers.Dense(32, activation="relu")(layers.Dense(32, activation="relu")(items))
    network = keras.Model(items, layers.Reshape((_ITEMS,), name="worth")(layers.Dense(1)(x)), name="ranking")
    network.compile(keras.optimizers.Adam(0.005), "mse")
    network.fit(facts[: _COUNT // 2], relevance[: _COUNT // 2], epochs=20, batch_size=32, verbose=0)
    held = slice(_COUNT // 2, None)
    data = Dataset.from_arrays(facts[held], relevance[held], seed=seed)
    return Made(_saved(network, folder), data, "ndcg", {"scores": "values"})


def next_words(folder: Path, seed: int = 0) -> Made:
    """How surprising a text is to a decoder."""
    path = _decoder(folder, seed)
    return Made(path, Dataset.from_text(decoder.sentences(300, seed + 1), seed=seed), "perplexity",
                step=("quantize_dynamic", {}))  # fmt: skip


def writing(folder: Path, seed: int = 0) -> Made:
    """What a decoder writes after the beginning of a sentence."""
    path = _decoder(folder, seed)
    beginnings = [f"{who} {does}" for who, does in decoder.FACTS] * 20
    return Made(path, Dataset.from_text(beginnings, seed=seed), "token_agreement", {"generate": 6},
                ("quantize_dynamic", {}))  # fmt: skip


def _saved(network: Any, folder: Path) -> Path:
    path = folder / f"{network.name}.keras"
    with warnings.catch_warnings():  # NumPy's, about how Keras turns its variables into arrays
        warnings.simplefilter("ignore", DeprecationWarning)
        network.save(path)
    return path


def _decoder(folder: Path, seed: int) -> Path:
    path = folder / "decoder"
    if not path.exists():
        decoder.write_folder(decoder.train(decoder.sentences(600, seed)), path)
    return path


#: Task → what makes its network in a folder, and its data.
SEQUENCES: dict[str, Callable[[Path], Made]] = {
    "token classification": entities, "speech": speech, "ranking": ranking, "perplexity of text": next_words,
    "writing": writing,
}  # fmt: skip
