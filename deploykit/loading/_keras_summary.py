"""Puts the config and the weights of a Keras file together."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deploykit.core.model import Layer, TensorSpec
from deploykit.loading._contract import Summary
from deploykit.loading._hdf5 import Contents
from deploykit.loading._keras_config import Graph, check_sizes

#: Parts of a weight file that are no weights of the model.
NO_WEIGHTS = ("optimizer", "optimizer_weights", "seed_generator", "compile_metrics", "metrics")


def summarize(
    graph: Graph | None, contents: Contents, shown: str, *, legacy: bool = False, warnings: Sequence[str] = ()
) -> Summary:
    """The summary; without outputs when the config does not tell them all (then Keras must be asked).

    Args:
        graph: The model's layers, None when the config does not list them.
        contents: The weight file.
        shown: How to call the file in messages.
        legacy: Whether the weights are laid out as in ``.h5`` files.
        warnings: What was found before.
    """
    total = contents.count("model_weights" if legacy else "", NO_WEIGHTS)
    found = [*warnings, *_flaws(contents), *_optimizer(contents)]
    if graph is None:
        return Summary((), (), (), total, tuple(found))
    check_sizes(graph, shown, total)
    counts = _legacy_counts(graph, contents) if legacy else _counts(graph, contents, "")
    layers = tuple(Layer(n.path, n.type, n.shape, counts.get(n.path, 0)) for n in graph.leaves())
    inputs, outputs = _specs(graph, graph.inputs), _specs(graph, graph.outputs)
    if any(spec.shape is None for spec in (*inputs, *outputs)):
        outputs = ()
    return Summary(inputs, outputs, layers, total, tuple(found))


def _specs(graph: Graph, ends: dict[str, str]) -> tuple[TensorSpec, ...]:
    specs = []
    for name, layer in ends.items():
        node = graph.node(layer)
        specs.append(TensorSpec(name, node.shape if node else None, node.dtype if node else "float32"))
    return tuple(specs)


def _counts(graph: Graph, contents: Contents, prefix: str) -> dict[str, int]:
    """Layer path → number of weights, for the groups a ``.keras`` file names by class and number."""
    base = f"{prefix}layers/"
    by_name = {
        name: group.removesuffix("/vars")
        for group, name in contents.names.items()
        if group.startswith(base) and group.endswith("/vars") and group.count("/") == base.count("/") + 1
    }
    used: dict[str, int] = {}
    counts: dict[str, int] = {}
    for node in graph.nodes:
        snake = _snake(node.type)
        number = used.get(snake, 0)
        used[snake] = number + 1
        group = by_name.get(node.name) or f"{base}{snake}{f'_{number}' if number else ''}"
        if node.graph is not None:
            counts |= _counts(node.graph, contents, f"{group}/")
        else:
            counts[node.path] = contents.count(group, NO_WEIGHTS)
    return counts


def _legacy_counts(graph: Graph, contents: Contents) -> dict[str, int]:
    """Layer path → number of weights, for ``.h5`` files: ``model_weights/OUTER/…/INNER/kernel``."""
    counts: dict[str, int] = {}
    for node in graph.leaves():
        top, _, rest = node.path.partition("/")
        inner = rest.rpartition("/")[2]
        tensors = [t for t in contents.tensors if t.path.startswith(f"model_weights/{top}/")]
        counts[node.path] = sum(t.count for t in tensors if not inner or inner in t.path.split("/"))
    return counts


def _flaws(contents: Contents) -> list[str]:
    return [
        f"the weights {tensor.path!r} hold {tensor.flaw}: outputs will be wrong; train or export the model again."
        for tensor in contents.tensors
        if tensor.flaw and not tensor.path.startswith("optimizer")
    ]


def _optimizer(contents: Contents) -> list[str]:
    size = sum(t.bytes for t in contents.tensors if t.path.startswith("optimizer"))
    if not size:
        return []
    return [f"{size:,} bytes of the file are the optimizer's state, which serving does not need."]


def _snake(name: str) -> str:
    """The group name Keras gives a class: ``Conv2D`` → ``conv2d``."""
    return re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", re.sub(r"\W+", "", name)).lower()
