"""Tiny transformers as PyTorch exports them: random weights, seeded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

#: Words, width, heads and layers of `encoder`.
VOCABULARY, WIDTH, HEADS = 40, 16, 2


class _Graph:
    """Nodes and constants of a graph that is being written."""

    def __init__(self, seed: int) -> None:
        import numpy as np

        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._rng = np.random.default_rng(seed)

    def add(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """A node; gives its output's name."""
        from onnx import helper

        name = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def constant(self, name: str, array: Any) -> str:
        """An initializer."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, name: str, *shape: int, scale: float = 0.0) -> str:
        """Random numbers."""
        import numpy as np

        drawn = self._rng.normal(0.0, scale or shape[0] ** -0.5, shape)
        return self.constant(name, drawn.astype(np.float32))

    def dense(self, x: str, name: str, before: int, after: int) -> str:
        """A matrix product and its bias."""
        product = self.add("MatMul", [x, self.weight(f"{name}.weight", before, after)])
        return self.add("Add", [self.weight(f"{name}.bias", after, scale=0.1), product])

    def norm(self, x: str, name: str) -> str:
        """A layer normalization."""
        import numpy as np

        scale = self.constant(f"{name}.scale", np.ones(WIDTH, np.float32))
        return self.add("LayerNormalization", [x, scale, self.weight(f"{name}.bias", WIDTH, scale=0.1)], epsilon=1e-5)


def encoder(layers: int = 1, classes: int = 3, seed: int = 0) -> Any:
    """A BERT-like classifier of token sequences: ``input_ids`` and ``attention_mask`` (batch, sequence) → logits.

    Batch and sequence are free. What the mask leaves out does not change the logits.

    Args:
        layers: Encoder layers.
        classes: Classes.
        seed: Of the weights.

    Returns:
        A ``ModelProto``.
    """
    import numpy as np
    from onnx import TensorProto, helper

    graph = _Graph(seed)
    add, constant = graph.add, graph.constant
    one, two = (constant(f"axis_{k}", np.array([k], np.int64)) for k in (1, 2))
    words = add("Gather", [graph.weight("words", VOCABULARY, WIDTH, scale=1.0), "input_ids"])
    x = graph.norm(words, "embeddings")
    mask = add("Cast", [add("Unsqueeze", [add("Unsqueeze", ["attention_mask", one]), two])], to=TensorProto.FLOAT)
    hidden = add("Sub", [constant("one", np.float32(1)), mask])
    away = add("Mul", [hidden, constant("far", np.float32(-10000))])
    heads = constant("to_heads", np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))
    whole = constant("to_whole", np.array([0, 0, WIDTH], np.int64))
    root = constant("root", np.float32((WIDTH // HEADS) ** 0.5))
    for k in range(layers):
        query, key, value = (
            add("Transpose", [add("Reshape", [graph.dense(x, f"{k}.{name}", WIDTH, WIDTH), heads])], perm=order)
            for name, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]))
        )
        scores = add("Add", [add("Div", [add("MatMul", [query, key]), root]), away])
        seen = add("MatMul", [add("Softmax", [scores], axis=-1), value])
        joined = add("Reshape", [add("Transpose", [seen], perm=[0, 2, 1, 3]), whole])
        x = graph.norm(add("Add", [graph.dense(joined, f"{k}.output", WIDTH, WIDTH), x]), f"{k}.norm")
        wide = graph.dense(x, f"{k}.wide", WIDTH, 4 * WIDTH)
        error = add("Erf", [add("Div", [wide, constant(f"{k}.sqrt2", np.float32(2**0.5))])])
        gelu = add("Mul", [add("Mul", [wide, add("Add", [error, "one"])]), constant(f"{k}.half", np.float32(0.5))])
        x = graph.norm(add("Add", [graph.dense(gelu, f"{k}.narrow", 4 * WIDTH, WIDTH), x]), f"{k}.norm2")
    kept = add("Unsqueeze", [add("Cast", ["attention_mask"], to=TensorProto.FLOAT), two])
    total = add("ReduceSum", [add("Mul", [x, kept]), one], keepdims=0)
    count = add("Clip", [add("ReduceSum", [kept, one], keepdims=0), constant("least", np.float32(1e-9))])
    pooled = add("Div", [total, count])
    product = add("MatMul", [pooled, graph.weight("head.weight", WIDTH, classes)])
    add("Add", [product, graph.weight("head.bias", classes, scale=0.1)], "logits")
    whats = ((name, TensorProto.INT64) for name in ("input_ids", "attention_mask"))
    made = helper.make_graph(
        graph.nodes,
        "encoder",
        [helper.make_tensor_value_info(name, kind, ["batch", "sequence"]) for name, kind in whats],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        graph.constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def sentences(count: int, longest: int, seed: int = 0) -> dict[str, NDArray[np.int64]]:
    """Inputs of `encoder`: random tokens of random lengths, padded with 0 on the right.

    Args:
        count: Examples.
        longest: Tokens of the longest.
        seed: Of the tokens.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, longest + 1, count)
    lengths[0] = longest
    mask = (np.arange(longest) < lengths[:, None]).astype(np.int64)
    return {"input_ids": rng.integers(1, VOCABULARY, (count, longest)) * mask, "attention_mask": mask}
