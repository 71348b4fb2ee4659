"""Puts the config and the weights of a Keras file together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from deploykit.core.model import Layer, TensorSpec
from deploykit.loading._contract import Summary, Weight
from deploykit.loading._keras.config import Graph, Source
from deploykit.loading._keras.packed import packed
from deploykit.loading._keras.safety import check_sizes
from deploykit.readers.hdf5 import Contents, Tensor

#: Layers that change a tensor's form, not what its values mean.
PASSING = frozenset({"Identity", "Reshape", "Flatten", "Dropout", "ActivityRegularization", "Squeeze", "ExpandDims"})
#: Parts of a weight file that are not weights of the model.
NO_WEIGHTS = ("optimizer", "optimizer_weights", "seed_generator", "compile_metrics", "metrics")


def summarize(
    graph: Graph | None, contents: Contents, shown: str, *, legacy: bool = False, warnings: Sequence[str] = ()
) -> Summary:
    """The summary; without outputs when the config does not report them all (then Keras must be asked).

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
    if legacy:
        counts = {path: sum(t.count for t in found) for path, found in legacy_tensors(graph, contents).items()}
    else:
        counts = _counts(graph, contents)
    layers = tuple(Layer(n.path, n.type, n.shape, counts.get(n.path, 0)) for n in graph.leaves())
    inputs, outputs = _specs(graph, graph.inputs), _specs(graph, graph.outputs)
    if any(spec.shape is None for spec in (*inputs, *outputs)):
        outputs = ()
    stateful = tuple(node.path for node in graph.leaves() if _is_stateful(node.config))
    return Summary(inputs, outputs, layers, total, tuple(found), stateful=stateful)


def _is_stateful(config: dict[str, Any]) -> bool:
    """Whether a recurrent layer, or the one a wrapper holds, continues where the last call ended."""
    while not (found := config.get("stateful") is True):
        inner = config.get("layer")
        config = inner.get("config", {}) if isinstance(inner, dict) else {}
        if not isinstance(config, dict) or not config:
            break
    return found


def _specs(graph: Graph, ends: dict[str, Source]) -> tuple[TensorSpec, ...]:
    specs = []
    for name, source in ends.items():
        shape, dtype = graph.tensor(source) or (None, "")
        specs.append(TensorSpec(name, shape, dtype, operator="" if ends is graph.inputs else operator(graph, source)))
    return tuple(specs)


def operator(graph: Graph, source: Source) -> str:
    """Class and activation of the layer that makes an output, looked at through those that only pass values on."""
    for _ in graph.nodes:
        node = graph.node(source[0])
        if node is None or node.type == "InputLayer":
            return ""
        if node.graph is not None:
            return operator(node.graph, node.graph.flat[source[2]])
        if node.type not in PASSING or len(node.calls) <= source[1] or not node.calls[source[1]]:
            return described(node.type, node.config)
        source = node.calls[source[1]][0]
    return ""


def described(kind: str, config: dict[str, Any]) -> str:
    """A layer's class and activation: ``"Dense softmax"``."""
    activation = config.get("activation")
    if isinstance(activation, dict):
        inner = activation.get("config")
        activation = inner.get("name", activation.get("class_name")) if isinstance(inner, dict) else inner
    return f"{kind} {activation}" if isinstance(activation, str) and activation else kind


def _counts(graph: Graph, contents: Contents) -> dict[str, int]:
    """Layer path → number of weights."""
    return {path: contents.count(group, NO_WEIGHTS) for path, group in groups(graph, contents).items()}


def groups(graph: Graph, contents: Contents, prefix: str = "") -> dict[str, str]:
    """Layer path → its group in a ``.keras`` file, which names groups by class and number."""
    base = f"{prefix}layers/"
    by_name = {
        name: group.removesuffix("/vars")
        for group, name in contents.names.items()
        if group.startswith(base) and group.endswith("/vars") and group.count("/") == base.count("/") + 1
    }
    used: dict[str, int] = {}
    found: dict[str, str] = {}
    for node in graph.nodes:
        snake = _snake(node.type)
        number = used.get(snake, 0)
        used[snake] = number + 1
        group = by_name.get(node.name) or f"{base}{snake}{f'_{number}' if number else ''}"
        if node.graph is not None:
            found |= groups(node.graph, contents, f"{group}/")
        else:
            found[node.path] = group
    return found


def legacy_tensors(graph: Graph, contents: Contents) -> dict[str, list[Tensor]]:
    """Layer path → its tensors, for ``.h5`` files: ``model_weights/OUTER/…/INNER/kernel``."""
    found: dict[str, list[Tensor]] = {}
    for node in graph.leaves():
        top, _, rest = node.path.partition("/")
        inner = rest.rpartition("/")[2]
        tensors = [t for t in contents.tensors if t.path.startswith(f"model_weights/{top}/")]
        found[node.path] = [t for t in tensors if not inner or inner in t.path.split("/")]
    return found


def owned(graph: Graph | None, contents: Contents) -> list[tuple[str, list[Tensor]]]:
    """Layers of a ``.keras`` file with their tensors; groups of the weight file when the layers are not known."""
    tensors = [t for t in contents.tensors if not set(t.path.split("/")) & set(NO_WEIGHTS)]
    if graph is None:
        return [(t.path.rpartition("/vars/")[0], [t]) for t in tensors]
    return [
        (path, [t for t in tensors if t.path.startswith(f"{group}/")])
        for path, group in groups(graph, contents).items()
    ]


def weights(file: Any, owned: Iterable[tuple[str, Iterable[Tensor]]]) -> Iterator[Weight]:
    """The tensors of at least two dimensions of an open weight file, by layer."""
    for layer, tensors in owned:
        items = {tensor.path: file[tensor.path] for tensor in tensors}
        if any(item.dtype.kind == "i" and len(item.shape) >= 2 for item in items.values()):
            yield from packed(layer, items)
            continue
        for path, item in items.items():
            if len(item.shape) >= 2 and item.dtype.kind == "f":
                shape = tuple(int(d) for d in item.shape)
                yield Weight(layer, path, shape, str(item.dtype), partial(_values, item))


def _values(item: Any) -> Any:
    return item[()]


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
