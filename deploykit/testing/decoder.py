"""A small decoder with a cache of keys and values: its file, and the same computed by NumPy without a cache."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCKED = -1e9


@dataclass(frozen=True)
class Weights:
    """Weights of a decoder: one dictionary for each layer, and the tables of tokens and of places.

    Attributes:
        tokens: Shape (vocabulary, width); the next token's scores are products with it.
        places: Shape (most tokens, width).
        layers: ``query key value out``, shape (width, width); ``wide``, (width, 4 width); ``narrow``, (4 width, width).
        heads: How many heads each layer has.
    """

    tokens: NDArray[np.float32]
    places: NDArray[np.float32]
    layers: tuple[dict[str, NDArray[np.float32]], ...]
    heads: int = 2


def random_weights(
    vocabulary: int = 32, width: int = 16, layers: int = 2, heads: int = 2, most: int = 64, seed: int = 0
) -> Weights:
    """Weights by chance, large enough that what is written does not repeat at once."""
    import numpy as np

    rng = np.random.default_rng(seed)

    def some(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0, 1 / shape[0] ** 0.5, shape).astype(np.float32)

    square = ("query", "key", "value", "out")
    found = tuple(
        {**{name: some(width, width) for name in square}, "wide": some(width, 4 * width),
         "narrow": some(4 * width, width)}
        for _ in range(layers)
    )  # fmt: skip
    table = rng.normal(size=(vocabulary, width)).astype(np.float32)
    return Weights(table, rng.normal(size=(most, width)).astype(np.float32), found, heads)


def scores(weights: Weights, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores of the next token after each of whole texts, computed at once and without a cache.

    Args:
        weights: The decoder's.
        rows: Token numbers, shape (texts, tokens).

    Returns:
        Shape (texts, tokens, vocabulary).
    """
    import numpy as np

    count, length = rows.shape
    x = weights.tokens[rows].astype(np.float64) + weights.places[:length]
    ahead = np.triu(np.ones((length, length), bool), 1)
    for layer in weights.layers:
        heads = [(x @ layer[n]).reshape(count, length, weights.heads, -1).swapaxes(1, 2)
                 for n in ("query", "key", "value")]  # fmt: skip
        found = heads[0] @ heads[1].swapaxes(2, 3) / heads[0].shape[-1] ** 0.5
        found = np.exp(np.where(ahead, -np.inf, found - found.max(axis=-1, keepdims=True)))
        mixed = (found / found.sum(axis=-1, keepdims=True)) @ heads[2]
        x = x + mixed.swapaxes(1, 2).reshape(count, length, -1) @ layer["out"]
        x = x + np.maximum(x @ layer["wide"], 0) @ layer["narrow"]
    result: NDArray[np.float64] = x @ weights.tokens.T
    return result


def written(weights: Weights, prompt: NDArray[np.int64], most: int, ends: tuple[int, ...] = ()) -> list[int]:
    """What the decoder writes after a prompt, greedily: the whole text is read again for each token."""
    import numpy as np

    text, found = list(prompt), list[int]()
    while len(found) < most and not (found and found[-1] in ends):
        found.append(int(scores(weights, np.array([text + found]))[0, -1].argmax()))
    return found


def write_onnx(weights: Weights, path: Path, *, mask: bool = True, positions: bool = True) -> Path:
    """The decoder as a file, with names as Hugging Face's exporters give them.

    Args:
        weights: The decoder's.
        path: Where to write it.
        mask: Whether it takes ``attention_mask``.
        positions: Whether it takes ``position_ids``; otherwise places follow from the length of the cache.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    tables: dict[str, NDArray[Any]] = {"tokens": weights.tokens, "places": weights.places}
    width, heads = weights.tokens.shape[1], weights.heads
    size = width // heads
    whole = {"zero": 0, "one": 1, "first": [0], "second": [1], "third": 2, "middle": [1, 2],
             "split": [0, 0, heads, size], "joined": [0, 0, width]}  # fmt: skip
    tables |= {name: np.array(value, np.int64) for name, value in whole.items()}
    tables |= {"blocked": np.array(_BLOCKED, np.float32), "root": np.array(size**0.5, np.float32)}

    def add(kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{kind.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind.lower()}_{len(nodes)}", **attributes))
        return output

    def length(tensor: str, axis: str) -> str:
        return add("Gather", [add("Shape", [tensor]), axis])

    new = length("input_ids", "one")
    past = length("past_key_values.0.key", "third")
    total = add("Add", [past, new])
    begin = add("Sub", [total, new])
    rows = add("Unsqueeze", [add("Range", [begin, total, "one"]), "second"])
    columns = add("Unsqueeze", [add("Range", ["zero", total, "one"]), "first"])
    seen = add("LessOrEqual", [columns, rows])
    if mask:
        there = add("Cast", ["attention_mask"], to=TensorProto.BOOL)
        seen = add("And", [add("Unsqueeze", [there, "middle"]), seen])
    where = "position_ids" if positions else add("Range", [begin, total, "one"])
    x = add("Add", [add("Gather", ["tokens", "input_ids"]), add("Gather", ["places", where])])
    outputs = []
    for number, layer in enumerate(weights.layers):
        tables |= {f"{name}_{number}": value for name, value in layer.items()}
        parts = {}
        for name in ("query", "key", "value"):
            flat = add("Reshape", [add("MatMul", [x, f"{name}_{number}"]), "split"])
            parts[name] = add("Transpose", [flat], perm=[0, 2, 1, 3])
        for name in ("key", "value"):
            out = f"present.{number}.{name}"
            parts[name] = add("Concat", [f"past_key_values.{number}.{name}", parts[name]], out, axis=2)
            outputs.append(out)
        turned = add("Transpose", [parts["key"]], perm=[0, 1, 3, 2])
        found = add("Div", [add("MatMul", [parts["query"], turned]), "root"])
        shares = add("Softmax", [add("Where", [seen, found, "blocked"])], axis=-1)
        mixed = add("Transpose", [add("MatMul", [shares, parts["value"]])], perm=[0, 2, 1, 3])
        x = add("Add", [x, add("MatMul", [add("Reshape", [mixed, "joined"]), f"out_{number}"])])
        wide = add("Relu", [add("MatMul", [x, f"wide_{number}"])])
        x = add("Add", [x, add("MatMul", [wide, f"narrow_{number}"])])
    tables["head"] = np.ascontiguousarray(weights.tokens.T)
    add("MatMul", [x, "head"], "logits")
    float_, int_ = TensorProto.FLOAT, TensorProto.INT64
    info = helper.make_tensor_value_info
    inputs = [info("input_ids", int_, ["batch", "sequence"])]
    if mask:
        inputs.append(info("attention_mask", int_, ["batch", "past + sequence"]))
    if positions:
        inputs.append(info("position_ids", int_, ["batch", "sequence"]))
    names = [f"{number}.{part}" for number in range(len(weights.layers)) for part in ("key", "value")]
    inputs += [info(f"past_key_values.{n}", float_, ["batch", heads, "past", size]) for n in names]
    made = [info("logits", float_, ["batch", "sequence", len(weights.tokens)])]
    made += [info(n, float_, ["batch", heads, "past + sequence", size]) for n in outputs]
    used = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in tables.items() if k in used]
    graph = helper.make_graph(nodes, "decoder", inputs, made, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


#: Who does what, and where: the place follows from the two.
FACTS = {
    ("john", "lives in"): "paris", ("mary", "lives in"): "london", ("john", "works at"): "acme",
    ("mary", "works at"): "globex", ("john", "visits"): "london", ("mary", "visits"): "paris",
}  # fmt: skip
_BEGIN, _END = "[CLS]", "[SEP]"


def sentences(count: int, seed: int = 0) -> list[str]:
    """Sentences of one or two facts, such as "john visits london and mary works at globex ."."""
    import numpy as np

    rng = np.random.default_rng(seed)
    said = [f"{who} {does} {place}" for (who, does), place in FACTS.items()]
    return [" and ".join(rng.choice(said, 1 + int(rng.integers(2)), replace=False)) + " ." for _ in range(count)]


def tokenizer_json() -> dict[str, Any]:
    """That of the tiny encoder, with a token that begins each text and none that ends it: the decoder writes that."""
    from deploykit.testing import bert

    found = bert.tokenizer_json()
    for ways in ("single", "pair"):
        found["post_processor"][ways] = [part for part in found["post_processor"][ways] if _END not in str(part)]
    return found


def train(texts: list[str], steps: int = 250, seed: int = 0) -> Weights:
    """A decoder that has learned to write such texts, in about 20 seconds.

    Args:
        texts: In the words of the tiny tokenizer.
        steps: Batches of 64 texts to learn from.
        seed: Of its first weights and of the batches.
    """
    import numpy as np
    import tensorflow as tf
    from tokenizers import Tokenizer

    built = Tokenizer.from_str(json.dumps(tokenizer_json()))
    end, pad = built.token_to_id(_END), built.token_to_id("[PAD]")
    rows = [[*found.ids, end] for found in built.encode_batch(texts)]
    longest = max(map(len, rows))
    tokens = np.array([row + [pad] * (longest - len(row)) for row in rows])
    first = random_weights(built.get_vocab_size(), 32, 2, 4, 64, seed)
    names = list(first.layers[0])
    tables = [tf.Variable(0.1 * first.tokens), tf.Variable(0.1 * first.places)]
    layers = [[tf.Variable(0.5 * layer[name]) for name in names] for layer in first.layers]
    variables = [*tables, *(v for layer in layers for v in layer)]
    ahead = np.triu(np.full((longest - 1, longest - 1), _BLOCKED, np.float32), 1)
    optimizer, rng = tf.keras.optimizers.Adam(0.01), np.random.default_rng(seed)

    def heads(x: Any) -> Any:
        return tf.transpose(tf.reshape(x, (tf.shape(x)[0], longest - 1, first.heads, -1)), (0, 2, 1, 3))

    @tf.function  # type: ignore[untyped-decorator]
    def learn(batch: Any) -> None:
        with tf.GradientTape() as tape:
            x = tf.gather(tables[0], batch[:, :-1]) + tables[1][: longest - 1]
            for layer in layers:
                at = dict(zip(names, layer, strict=True))
                query, key, value = (heads(x @ at[name]) for name in ("query", "key", "value"))
                found = tf.matmul(query, key, transpose_b=True) / (query.shape[-1] or 1) ** 0.5 + ahead
                mixed = tf.transpose(tf.nn.softmax(found) @ value, (0, 2, 1, 3))
                x += tf.reshape(mixed, tf.shape(x)) @ at["out"]
                x += tf.nn.relu(x @ at["wide"]) @ at["narrow"]
            lost = tf.nn.sparse_softmax_cross_entropy_with_logits(batch[:, 1:], x @ tf.transpose(tables[0]))
            there = tf.cast(batch[:, 1:] != pad, tf.float32)
            loss = tf.reduce_sum(lost * there) / tf.reduce_sum(there)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for _ in range(steps):
        learn(tf.constant(tokens[rng.integers(0, len(tokens), 64)]))
    found = [dict(zip(names, (v.numpy() for v in layer), strict=True)) for layer in layers]
    return Weights(tables[0].numpy(), tables[1].numpy(), tuple(found), first.heads)


def write_folder(weights: Weights, folder: str | Path) -> Path:
    """Write a decoder as a Hugging Face folder: ``config.json``, ``model.onnx``, ``tokenizer.json``.

    Args:
        weights: Of a decoder whose tokens are those of the tiny tokenizer.
        folder: Where; made if it is not there.

    Returns:
        The folder.
    """
    from deploykit.testing import bert

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    write_onnx(weights, place / "model.onnx")
    numbers = bert.vocabulary()
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": len(numbers),
        "n_positions": len(weights.places), "n_layer": len(weights.layers), "n_head": weights.heads,
        "n_embd": weights.tokens.shape[1], "eos_token_id": numbers[_END], "bos_token_id": numbers[_BEGIN],
        "pad_token_id": numbers["[PAD]"],
    }  # fmt: skip
    settings = {"model_max_length": len(weights.places) // 2, "pad_token": "[PAD]"}
    for name, content in (("config", config), ("tokenizer", tokenizer_json()), ("tokenizer_config", settings)):
        (place / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return place
