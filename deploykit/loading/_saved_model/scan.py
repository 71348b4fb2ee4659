"""Looks for operators in a SavedModel that do more than compute. Fails closed: what is not known is refused."""

from __future__ import annotations

from collections.abc import Iterable

from deploykit.core.errors import UnsafeModelError
from deploykit.loading._saved_model.graph import MetaGraph, Node, Signature, base
from deploykit.loading._saved_model.ops import DOES, HARMLESS, SAVER
from deploykit.runtimes._writes import Body, Operation, written


def check_operators(meta: MetaGraph, shown: str) -> None:
    """Refuse a graph with an operator that is not known to be harmless.

    Only nodes that nothing but saving and restoring needs may use the saver's operators: a signature that leads to
    them would write files when it is called.

    Raises:
        UnsafeModelError: Names the operator and its node.
    """
    used = _backward(meta, [*_signature_nodes(meta), *meta.starters])
    saver_nodes = _backward(meta, meta.saver) - used
    others = [node for name, node in meta.nodes.items() if name not in saver_nodes]
    used_functions = called_by(meta, others)
    saver_functions = called_by(meta, [meta.nodes[n] for n in saver_nodes]) - used_functions
    _check(others, "", HARMLESS, meta, shown)
    _check((meta.nodes[name] for name in saver_nodes), "", HARMLESS | SAVER, meta, shown)
    for name, function in meta.functions.items():
        allowed = HARMLESS | SAVER if name in saver_functions else HARMLESS
        _check(function.nodes, f" in function {name!r}", allowed, meta, shown)


def written_by(meta: MetaGraph, signature: Signature) -> tuple[str, ...]:
    """Names of the variables and tables that a signature changes when it runs, sorted."""
    nodes = {name: _operation(node) for name, node in meta.nodes.items()}
    functions = {
        name: Body(function.arguments, {node.name: _operation(node) for node in function.nodes})
        for name, function in meta.functions.items()
    }
    return tuple(sorted(written(nodes, functions, needed_by(meta, signature))))


def needed_by(meta: MetaGraph, signature: Signature) -> set[str]:
    """Names of the nodes that a signature runs."""
    return _backward(meta, [base(tensor.name) for tensor in signature.outputs])


def variables_of(meta: MetaGraph, signature: Signature) -> list[str]:
    """Names of the variables a signature reads whose values are to come from the checkpoint."""
    begun = _backward(meta, meta.starters)  # nothing else but a checkpoint sets the rest
    set_at_start = {base(meta.nodes[name].inputs[0]) for name in begun if meta.nodes[name].op.startswith("Assign")}
    kinds = ("VarHandleOp", "Variable", "VariableV2")
    return [n for n in sorted(needed_by(meta, signature)) if meta.nodes[n].op in kinds and n not in set_at_start]


def _operation(node: Node) -> Operation:
    return Operation(node.op, node.inputs, tuple(node.functions()))


def _check(nodes: Iterable[Node], where: str, allowed: frozenset[str], meta: MetaGraph, shown: str) -> None:
    for node in nodes:
        if node.op in allowed or (node.op in meta.functions and node.op.startswith("__")):
            continue
        does = DOES.get(node.op, "is not known to be harmless")
        raise UnsafeModelError(
            f"{shown}: its operator {node.op!r} (node {node.name!r}{where}) {does}; nothing was run.",
            remedy="export the model without it; or, if you trust its source, pass trusted=True in code.",
        )


def _signature_nodes(meta: MetaGraph) -> list[str]:
    return [
        base(tensor.name)
        for signature in meta.signatures.values()
        for tensor in (*signature.inputs, *signature.outputs)
    ]


def _backward(meta: MetaGraph, names: Iterable[str]) -> set[str]:
    """The nodes some nodes need, themselves included."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or name not in meta.nodes:
            continue
        found.add(name)
        waiting += map(base, meta.nodes[name].inputs)
    return found


def called_by(meta: MetaGraph, nodes: Iterable[Node]) -> set[str]:
    """The functions some nodes call, directly or not."""
    found: set[str] = set()
    waiting = [name for node in nodes for name in (node.op, *node.functions())]
    while waiting:
        name = waiting.pop()
        if name in found or name not in meta.functions:
            continue
        found.add(name)
        waiting += [called for node in meta.functions[name].nodes for called in (node.op, *node.functions())]
    return found
