"""Which variables and tables a TensorFlow graph writes when it runs; shared by the runtime and the reader of files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_TEXT = """
    AssignVariableOp AssignAddVariableOp AssignSubVariableOp Assign AssignAdd AssignSub
    ResourceScatterAdd ResourceScatterDiv ResourceScatterMax ResourceScatterMin ResourceScatterMul ResourceScatterSub
    ResourceScatterUpdate ResourceScatterNdAdd ResourceScatterNdMax ResourceScatterNdMin ResourceScatterNdSub
    ResourceScatterNdUpdate ResourceStridedSliceAssign ScatterAdd ScatterSub ScatterUpdate ScatterNdAdd ScatterNdSub
    ScatterNdUpdate LookupTableInsertV2 LookupTableRemoveV2
"""
#: Operators whose first input is what they write.
WRITERS = frozenset(_TEXT.split())
_CARRIERS = frozenset({"Identity", "Enter", "Switch", "Merge", "NextIteration", "Exit"})
#: How many inputs stand before those that a called function takes.
_BEFORE = {"If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1}


@dataclass(frozen=True)
class Operation:
    """A node: its operator, what it reads, and the functions it may call."""

    op: str
    inputs: tuple[str, ...]
    calls: tuple[str, ...]


@dataclass(frozen=True)
class Body:
    """A function: the names of its arguments, and its nodes by name."""

    arguments: tuple[str, ...]
    nodes: Mapping[str, Operation]


def written(nodes: Mapping[str, Operation], functions: Mapping[str, Body], needed: Iterable[str]) -> set[str]:
    """Names of the nodes (variables, tables, placeholders) whose content some nodes change when they run.

    Args:
        nodes: The main graph.
        functions: The library.
        needed: The nodes that are run.
    """
    known: dict[str, frozenset[int]] = {}
    return _written({name: nodes[name] for name in needed if name in nodes}, nodes, functions, known)


def _written(
    run: Mapping[str, Operation],
    nodes: Mapping[str, Operation],
    functions: Mapping[str, Body],
    known: dict[str, frozenset[int]],
) -> set[str]:
    found = set()
    for node in run.values():
        inputs = [i for i in node.inputs if not i.startswith("^")]
        if node.op in WRITERS and inputs:
            found.add(_source(inputs[0], nodes))
        for name in node.calls:
            for place in _arguments(name, functions, known):
                place += _BEFORE.get(node.op, 0)
                if place < len(inputs):
                    found.add(_source(inputs[place], nodes))
    return found


def _arguments(name: str, functions: Mapping[str, Body], known: dict[str, frozenset[int]]) -> frozenset[int]:
    """Which arguments of a function it writes."""
    if name not in known:
        known[name] = frozenset()  # a function that calls itself
        body = functions.get(name)
        if body is not None:
            found = _written(body.nodes, body.nodes, functions, known)
            known[name] = frozenset(i for i, argument in enumerate(body.arguments) if argument in found)
    return known[name]


def _source(name: str, nodes: Mapping[str, Operation]) -> str:
    """The variable behind a reference to it."""
    for _ in range(len(nodes) + 1):
        plain = name.partition(":")[0]
        node = nodes.get(plain)
        if node is None or node.op not in _CARRIERS or not node.inputs:
            return plain
        name = node.inputs[0]
    return name.partition(":")[0]


def written_variables(function: Any) -> list[Any]:
    """The variables that a concrete function of TensorFlow changes when it runs."""
    graph = function.graph.as_graph_def()
    nodes = {node.name: _operation(node) for node in graph.node}
    functions = {
        f.signature.name: Body(
            tuple(a.name for a in f.signature.input_arg), {node.name: _operation(node) for node in f.node_def}
        )
        for f in graph.library.function
    }
    places = written(nodes, functions, nodes)
    owners = {id(variable.handle): variable for variable in function.graph.variables if hasattr(variable, "handle")}
    return [
        owners[id(outer)] for outer, inner in function.graph.captures if inner.op.name in places and id(outer) in owners
    ]


def _operation(node: Any) -> Operation:
    calls = [value.func.name for value in node.attr.values() if value.HasField("func")]
    calls += [func.name for value in node.attr.values() if value.HasField("list") for func in value.list.func]
    return Operation(node.op, tuple(node.input), tuple(calls))
