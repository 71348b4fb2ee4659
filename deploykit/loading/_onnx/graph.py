"""Checks that an ONNX graph can run at all: its operators belong to someone, and every tensor comes from somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.loading._onnx.parts import inner_graphs

#: Domains of operators that come with the runtimes; those of extensions must be registered, which nothing here does.
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training"})
_OF_RUNTIMES = ("com.microsoft", "com.ms.", "org.openvinotoolkit", "org.pytorch.aten")
_EXTENSIONS = ("com.microsoft.extensions",)
_AGAIN = "export or download the model again."


def check_graph(model: Any, path: Path) -> None:
    """Check operators and the flow of tensors, in subgraphs and functions too.

    Raises:
        UnsupportedModelError: An operator is of a domain that no runtime knows.
        ModelFileError: A tensor is made twice, by a node that waits for it, or not at all.
    """
    functions = {(f.domain, f.name) for f in model.functions}
    for node in _all_nodes(model):
        if not _known(node, functions):
            raise UnsupportedModelError(
                f"{path}: The node {_called(node)} is a {node.op_type!r} "
                f"of the domain {node.domain!r}, which no runtime provides.",
                remedy="export the model with standard operators, or with the operator as a function in the file.",
            )
    _check_flow(model.graph, set(), path)
    for function in model.functions:
        _check_nodes(function.node, set(function.input), f"the function {function.name!r}", path)
        _check_outputs(function.output, function.node, set(function.input), path)


def _known(node: Any, functions: set[tuple[str, str]]) -> bool:
    if node.domain in _DOMAINS or (node.domain, node.op_type) in functions:
        return True
    return node.domain.startswith(_OF_RUNTIMES) and not node.domain.startswith(_EXTENSIONS)


def _all_nodes(model: Any) -> Iterator[Any]:
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        for graph in inner_graphs(node):
            waiting += graph.node


def _check_flow(graph: Any, outside: set[str], path: Path) -> None:
    given = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    given |= {sparse.values.name for sparse in graph.sparse_initializer} | outside
    _check_nodes(graph.node, given, f"the graph {graph.name!r}" if graph.name else "the graph", path)
    _check_outputs([value.name for value in graph.output], graph.node, given, path)


def _check_outputs(names: Any, nodes: Any, given: set[str], path: Path) -> None:
    made = {name for node in nodes for name in node.output}
    for name in names:
        if name and name not in made and name not in given:
            raise ModelFileError(f"{path}: Nothing in the graph makes the output {name!r}.", remedy=_AGAIN)


def _check_nodes(nodes: Any, given: set[str], where: str, path: Path) -> None:
    """Walk the nodes in an order in which each finds what it reads."""
    makers: dict[str, int] = {}
    for number, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in makers:
                raise ModelFileError(f"{path}: Two nodes of {where} make the tensor {name!r}.", remedy=_AGAIN)
            makers[name] = number
    reads = [_reads(node) for node in nodes]
    for node, names in zip(nodes, reads, strict=True):
        if missing := sorted(names - given - makers.keys()):
            raise ModelFileError(
                f"{path}: The node {_called(node)} of {where} reads {missing[0]!r}, which is not an input, "
                "a weight or the output of another node.",
                remedy=_AGAIN,
            )
    left = [len({makers[name] for name in names if name in makers}) for names in reads]
    takers: dict[int, list[int]] = {}
    for number, names in enumerate(reads):
        for maker in {makers[name] for name in names if name in makers}:
            takers.setdefault(maker, []).append(number)
    ready = [number for number, count in enumerate(left) if not count]
    while ready:
        for number in takers.get(ready.pop(), ()):
            left[number] -= 1
            if not left[number]:
                ready.append(number)
    if any(left):
        stuck = next(node for node, count in zip(nodes, left, strict=True) if count)
        raise ModelFileError(
            f"{path}: {where[0].upper()}{where[1:]} has a cycle: the node {_called(stuck)} waits for its own output.",
            remedy=_AGAIN,
        )
    for node in nodes:
        for inner in inner_graphs(node):
            _check_flow(inner, given | makers.keys(), path)


def _reads(node: Any) -> set[str]:
    """Names of the tensors a node needs, those that its subgraphs take from outside included."""
    found = set(filter(None, node.input))
    for graph in inner_graphs(node):
        own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        own |= {sparse.values.name for sparse in graph.sparse_initializer}
        own |= {name for inner in graph.node for name in inner.output}
        inside = {name for inner in graph.node for name in _reads(inner)} | {value.name for value in graph.output}
        found |= inside - own - {""}
    return found


def _called(node: Any) -> str:
    return repr(node.name) if node.name else f"that makes {node.output[0]!r}" if node.output else repr(node.op_type)
