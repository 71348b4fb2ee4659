"""A BERT encoder as an ONNX graph, from weights by the names that Hugging Face gives them; a tiny one to test with.

Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2019; pooling of tokens as in Reimers
and Gurevych, "Sentence-BERT", 2019.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Weights = Mapping[str, NDArray[Any]]

#: Whole words of the tiny tokenizer; all others become letters.
WORDS = (
    "a", "an", "the", "and", "not", "very", "this", "that", "was", "is", "it", "film", "movie", "story", "plot", "good",
    "great", "fine", "bad", "awful", "dull", "lovely", "boring", "john", "mary", "paris", "london", "lives", "in",
    "works", "at", "from", "visits", "acme", "globex", "of", "to", ".", ",", "!", "?",
)  # fmt: skip
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
#: What is added where a token must not be looked at: finite in float16 as well.
_HIDDEN = -10000.0
WIDTH, HEADS, LAYERS, INNER, POSITIONS = 32, 4, 2, 64, 64


def vocabulary() -> dict[str, int]:
    """Tokens of the tiny tokenizer and their numbers."""
    tokens = [*_SPECIAL, *_LETTERS, *(f"##{c}" for c in _LETTERS), *WORDS]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}


def tokenizer_json() -> dict[str, Any]:
    """A WordPiece tokenizer as ``tokenizer.json`` has it."""
    numbers = vocabulary()
    ends = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}]
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    last = {"SpecialToken": {"id": "[SEP]", "type_id": 1}}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": numbers[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for t in _SPECIAL
        ],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": [ends[0], first, ends[1]],
            "pair": [ends[0], first, ends[1], second, last],
            "special_tokens": {t: {"id": t, "ids": [numbers[t]], "tokens": [t]} for t in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": numbers,
        },
    }  # fmt: skip


def write_folder(folder: str | Path, head: str = "classes", labels: Sequence[str] = ("negative", "positive")) -> Path:
    """Write a tiny model as a Hugging Face folder: ``config.json``, ``model.onnx``, ``tokenizer.json``.

    Args:
        folder: Where; made if it is not there.
        head: ``"classes"``: scores of classes for a text; ``"tokens"``: for each token; ``"embedding"``: a vector of
            length 1 for a text, the mean of its tokens; ``"hidden"``: a vector for each token.
        labels: Names of the classes.

    Returns:
        The folder.
    """
    import onnx

    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    onnx.save(graph(tiny_weights(len(labels)), HEADS, head), place / "model.onnx")
    architecture = {"classes": "BertForSequenceClassification", "tokens": "BertForTokenClassification"}
    config = {
        "architectures": [architecture.get(head, "BertModel")], "model_type": "bert", "hidden_size": WIDTH,
        "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "intermediate_size": INNER, "pad_token_id": 0,
        "max_position_embeddings": POSITIONS, "vocab_size": len(vocabulary()),
        "id2label": dict(enumerate(labels)),
    }  # fmt: skip
    settings = {"model_max_length": 48, "pad_token": "[PAD]", "tokenizer_class": "BertTokenizer"}
    for name, content in (("config", config), ("tokenizer", tokenizer_json()), ("tokenizer_config", settings)):
        (place / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return place


def tiny_weights(classes: int = 2, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Seeded random weights of a tiny encoder with a classifier."""
    import numpy as np

    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[Any]] = {}

    def dense(name: str, given: int, made: int) -> None:
        found[f"{name}.weight"] = rng.normal(0, 1.6 / given**0.5, (made, given)).astype(np.float32)
        found[f"{name}.bias"] = rng.normal(0, 0.1, made).astype(np.float32)

    def norm(name: str) -> None:
        found[f"{name}.weight"] = (1 + rng.normal(0, 0.1, WIDTH)).astype(np.float32)
        found[f"{name}.bias"] = rng.normal(0, 0.1, WIDTH).astype(np.float32)

    for table, rows in (("word", len(vocabulary())), ("position", POSITIONS), ("token_type", 2)):
        size = 1.0 if table == "word" else 0.2
        found[f"embeddings.{table}_embeddings.weight"] = rng.normal(0, size, (rows, WIDTH)).astype(np.float32)
    norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            dense(f"{at}.attention.self.{part}", WIDTH, WIDTH)
        dense(f"{at}.attention.output.dense", WIDTH, WIDTH)
        norm(f"{at}.attention.output.LayerNorm")
        dense(f"{at}.intermediate.dense", WIDTH, INNER)
        dense(f"{at}.output.dense", INNER, WIDTH)
        norm(f"{at}.output.LayerNorm")
    dense("classifier", WIDTH, classes)
    return found


class _Graph:
    """Nodes and weights of a graph that is being built."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.tensors: dict[str, Any] = {}

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node; gives the name of its output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [f"{name}.out"], name, **attributes))
        return f"{name}.out"

    def constant(self, name: str, value: Any) -> str:
        """A weight or constant by name."""
        import numpy as np
        from onnx import numpy_helper

        self.tensors.setdefault(name, numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def weight(self, name: str, *, turned: bool = False) -> str:
        """A weight of the model; ``turned`` for the matrix of a dense layer, which torch keeps as (made, given)."""
        value = self.weights[name]
        return self.constant(f"{name}.T" if turned else name, value.T if turned else value)

    def dense(self, name: str, x: str) -> str:
        """A dense layer."""
        product = self.node("MatMul", [x, self.weight(f"{name}.weight", turned=True)], f"{name}.matmul")
        return self.node("Add", [product, self.weight(f"{name}.bias")], name)

    def norm(self, name: str, x: str) -> str:
        """Layer normalization over the last axis."""
        names = [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.node("LayerNormalization", names, name, axis=-1, epsilon=1e-12)

    def gelu(self, name: str, x: str) -> str:
        """X · ½ (1 + erf(x / √2)), as PyTorch exports it."""
        import numpy as np

        divided = self.node("Div", [x, self.constant("root_two", np.float32(2**0.5))], f"{name}.div")
        error = self.node("Erf", [divided], f"{name}.erf")
        more = self.node("Add", [error, self.constant("one", np.float32(1))], f"{name}.add")
        product = self.node("Mul", [x, more], f"{name}.mul")
        return self.node("Mul", [product, self.constant("half", np.float32(0.5))], name)


def graph(weights: Weights, heads: int, head: str) -> Any:
    """The encoder as an ONNX model with free batch and length: ``input_ids attention_mask token_type_ids`` in.

    Args:
        weights: By Hugging Face's names, without ``bert.`` in front.
        heads: Attention heads.
        head: As in `write_folder`.
    """
    import numpy as np
    from onnx import TensorProto, helper

    g = _Graph(weights)
    width = weights["embeddings.word_embeddings.weight"].shape[1]
    layers = 1 + max(int(n.split(".")[2]) for n in weights if n.startswith("encoder.layer."))
    x = _embedded(g)
    real = g.node("Cast", ["attention_mask"], "mask.cast", to=TensorProto.FLOAT)
    wide = g.node("Unsqueeze", [real, g.constant("axes_1_2", np.array([1, 2], np.int64))], "mask.wide")
    hidden = g.node("Sub", [g.constant("one", np.float32(1)), wide], "mask.hidden")
    mask = g.node("Mul", [hidden, g.constant("far", np.float32(_HIDDEN))], "mask")
    for i in range(layers):
        x = _layer(g, f"encoder.layer.{i}", x, mask, heads, width)
    outputs, dims = _ended(g, x, real, head, width)
    ints = [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "sequence"])
            for n in ("input_ids", "attention_mask", "token_type_ids")]  # fmt: skip
    made = helper.make_tensor_value_info(outputs, TensorProto.FLOAT, dims)
    built = helper.make_graph(g.nodes, "bert", ints, [made], list(g.tensors.values()))
    return helper.make_model(built, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


def _embedded(g: _Graph) -> str:
    import numpy as np

    tables = {name: g.weight(f"embeddings.{name}_embeddings.weight") for name in ("word", "token_type", "position")}
    words = g.node("Gather", [tables["word"], "input_ids"], "embeddings.words")
    types = g.node("Gather", [tables["token_type"], "token_type_ids"], "embeddings.types")
    shape = g.node("Shape", ["input_ids"], "embeddings.shape", start=1, end=2)
    zero, one = g.constant("from_0", np.array([0], np.int64)), g.constant("axis_0", np.array([0], np.int64))
    places = g.node("Slice", [tables["position"], zero, shape, one], "embeddings.positions")
    both = g.node("Add", [words, types], "embeddings.both")
    return g.norm("embeddings.LayerNorm", g.node("Add", [both, places], "embeddings.sum"))


def _layer(g: _Graph, at: str, x: str, mask: str, heads: int, width: int) -> str:
    import numpy as np

    apart = g.constant("apart", np.array([0, 0, heads, width // heads], np.int64))
    parts = {}
    for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        name = f"{at}.attention.self.{part}"
        split = g.node("Reshape", [g.dense(name, x), apart], f"{name}.heads")
        parts[part] = g.node("Transpose", [split], f"{name}.turned", perm=order)
    scores = g.node("MatMul", [parts["query"], parts["key"]], f"{at}.scores")
    scaled = g.node("Div", [scores, g.constant("scale", np.float32((width / heads) ** 0.5))], f"{at}.scaled")
    shares = g.node("Softmax", [g.node("Add", [scaled, mask], f"{at}.masked")], f"{at}.shares", axis=-1)
    mixed = g.node("Transpose", [g.node("MatMul", [shares, parts["value"]], f"{at}.mixed")], f"{at}.back",
                   perm=[0, 2, 1, 3])  # fmt: skip
    whole = g.node("Reshape", [mixed, g.constant("whole", np.array([0, 0, width], np.int64))], f"{at}.whole")
    summed = g.node("Add", [g.dense(f"{at}.attention.output.dense", whole), x], f"{at}.attention.sum")
    x = g.norm(f"{at}.attention.output.LayerNorm", summed)
    inner = g.gelu(f"{at}.gelu", g.dense(f"{at}.intermediate.dense", x))
    return g.norm(f"{at}.output.LayerNorm", g.node("Add", [g.dense(f"{at}.output.dense", inner), x], f"{at}.sum"))


def _ended(g: _Graph, x: str, real: str, head: str, width: int) -> tuple[str, list[Any]]:
    """The name of the output and its dimensions."""
    import numpy as np

    def named(value: str, name: str) -> str:
        g.nodes[-1].output[0] = name
        assert value.endswith(".out")
        return name

    if head == "hidden":
        return named(x, "last_hidden_state"), ["batch", "sequence", width]
    if head == "tokens":
        count = len(g.weights["classifier.bias"])
        return named(g.dense("classifier", x), "logits"), ["batch", "sequence", count]
    if head == "classes":
        count = len(g.weights["classifier.bias"])
        first = g.node("Gather", [x, g.constant("first", np.int64(0))], "pooler.first", axis=1)
        return named(g.dense("classifier", first), "logits"), ["batch", count]
    last, one = g.constant("axis_2", np.array([2], np.int64)), g.constant("axis_1", np.array([1], np.int64))
    shares = g.node("Unsqueeze", [real, last], "pooling.shares")
    total = g.node("ReduceSum", [g.node("Mul", [x, shares], "pooling.kept"), one], "pooling.sum", keepdims=0)
    mean = g.node("Div", [total, g.node("ReduceSum", [real, one], "pooling.count")], "pooling.mean")
    length = g.node("ReduceL2", [mean], "pooling.length", axes=[-1])
    return named(g.node("Div", [mean, length], "pooling.unit"), "sentence_embedding"), ["batch", width]
