"""The part of a graph between tensors that the user has named, as a file of its own."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading._frozen_pb.ends import INPUT_MARK, OUTPUT_MARK, PLACEHOLDERS

#: A tensor: its operator, and which of its results it is.
_Tensor = tuple[str, int]


def cut(path: Path, target: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Write the nodes that some outputs need, with placeholders for some inputs; both are marked, in their order.

    Shapes that TensorFlow infers are written beside the nodes, so that the file can be read without it.

    Args:
        path: A file whose operators were found harmless.
        target: The file to write.
        inputs: Names of nodes or tensors (``"Mul"``, ``"Split:1"``).
        outputs: The same for outputs.

    Raises:
        SettingError: There is no such tensor, an input is not needed, or another one is.
        UnsupportedModelError: TensorFlow cannot take the graph.
    """
    tf = require("tensorflow", "tensorflow")
    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    nodes = {node.name: node for node in graph.node}
    taken, given = (_tensors(names, nodes, side) for names, side in ((inputs, "inputs"), (outputs, "outputs")))
    needed = _needed(nodes, given, taken)
    made = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    try:
        with tf.Graph().as_default() as whole:
            tf.import_graph_def(graph, name="")
        known = {tensor: whole.get_tensor_by_name(f"{tensor[0]}:{tensor[1]}") for tensor in (*taken, *given)}
        names = _add_placeholders(made, taken, known, needed)
        for node in graph.node:
            if node.name in needed:
                made.node.add().CopyFrom(node)
                made.node[-1].input[:] = [names.get(_tensor(source), source) for source in node.input]
        _mark_outputs(made, given, known, names)
        with tf.Graph().as_default() as again:
            tf.import_graph_def(made, name="")
            target.write_bytes(again.as_graph_def(add_shapes=True).SerializeToString(deterministic=True))
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        text = " ".join(str(error).split())
        raise UnsupportedModelError(
            f"{path}: TensorFlow {tf.__version__} cannot use the graph: {text[:300]}",
            remedy="export the model again with a newer TensorFlow.",
        ) from error


def _tensor(name: str) -> _Tensor:
    """``"x"`` and ``"x:0"`` are the first result of x; control inputs are none, and stay as they are."""
    if name.startswith("^"):
        return name, -1
    operator, _, number = name.partition(":")
    return operator, int(number or 0)


def _tensors(names: Iterable[str], nodes: Mapping[str, Any], side: str) -> list[_Tensor]:
    found = []
    for name in names:
        operator, _, number = name.partition(":")
        if operator not in nodes or not (number or "0").isdecimal():
            close = difflib.get_close_matches(operator, nodes, n=5) or list(nodes)[-5:]
            raise SettingError(
                f"{side}: the graph has no tensor {name!r}.", remedy=f"name another one, such as {', '.join(close)}."
            )
        found.append((operator, int(number or 0)))
    if len(set(found)) < len(found):
        raise SettingError(f"{side} must name each tensor once, got {list(names)}.", remedy="leave out the others.")
    return found


def _needed(nodes: Mapping[str, Any], given: Sequence[_Tensor], taken: Sequence[_Tensor]) -> set[str]:
    """Nodes to keep: what the outputs need without the inputs.

    Raises:
        SettingError: An input is not needed, or another one is.
    """
    found: set[str] = set()
    used: set[_Tensor] = set()
    waiting = list(given)
    while waiting:
        tensor = waiting.pop()
        if tensor in taken:
            used.add(tensor)
        elif tensor[0].removeprefix("^") not in found:
            name = tensor[0].removeprefix("^")
            found.add(name)
            waiting += [_tensor(source) for source in nodes[name].input]
    if idle := [name for name, place in taken if (name, place) not in used]:
        raise SettingError(
            f"The outputs do not depend on the input {idle[0]!r}.", remedy="leave it out, or name other outputs."
        )
    open_ends = sorted(name for name in found if nodes[name].op in PLACEHOLDERS)
    if taken and open_ends:
        raise SettingError(
            f"The outputs also need the input {', '.join(map(repr, open_ends))}, which is not among the inputs.",
            remedy="name it as well, or leave inputs out to have all of them.",
        )
    return found


def _add_placeholders(
    made: Any, taken: Sequence[_Tensor], known: Mapping[_Tensor, Any], needed: set[str]
) -> dict[_Tensor, str]:
    """Placeholders in the order of the inputs, as TensorFlow knows them; gives the name of each."""
    names = {}
    for place, (operator, number) in enumerate(taken):
        tensor = known[operator, number]
        name = operator if number == 0 and operator not in needed else f"{operator}_{number}_input"
        node = made.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = tensor.dtype.as_datatype_enum
        node.attr["shape"].shape.CopyFrom(tensor.shape.as_proto())
        node.attr[INPUT_MARK].i = place
        names[operator, number] = name
    return names


def _mark_outputs(
    made: Any, given: Sequence[_Tensor], known: Mapping[_Tensor, Any], names: Mapping[_Tensor, str]
) -> None:
    """Mark the outputs in their order; what is not the first result of an operator gets a node of its own."""
    nodes = {node.name: node for node in made.node}
    for place, (operator, number) in enumerate(given):
        replaced = names.get((operator, number), "")
        if number == 0 and not replaced:
            nodes[operator].attr[OUTPUT_MARK].i = place
            continue
        node = made.node.add(name=f"{operator}_{number}_output", op="Identity")
        node.input.append(replaced or f"{operator}:{number}")
        node.attr["T"].type = known[operator, number].dtype.as_datatype_enum
        node.attr[OUTPUT_MARK].i = place
