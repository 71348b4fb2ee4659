"""The parts of ``saved_model.pb`` that deploykit needs, read from the wire format without TensorFlow.

Field numbers are those of tensorflow/core/protobuf (saved_model, meta_graph, saver, saved_object_graph) and
tensorflow/core/framework (graph, node_def, function, attr_value, tensor_shape).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from deploykit.core.model import signature_order
from deploykit.readers.protobuf import WireError, fields, text
from deploykit.readers.tensorflow import DTYPES, Shape, read_shape

T = TypeVar("T")
Message = dict[int, list[memoryview]]


@dataclass(frozen=True)
class Node:
    """A node of a graph or function."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: dict[str, memoryview]

    def functions(self) -> Iterator[str]:
        """Names of the functions it may call."""
        for value in self.attributes.values():
            yield from _functions(value)

    def shape(self, name: str = "shape") -> Shape | None:
        """A shape attribute."""
        found = message(self.attributes[name]).get(7) if name in self.attributes else None
        return read_shape(found[-1]) if found else None

    def dtype(self, name: str = "dtype") -> str:
        """A type attribute, "" when it is absent."""
        for number, _, value in fields(self.attributes.get(name, memoryview(b""))):
            if number == 6 and isinstance(value, int):
                return DTYPES.get(value, "")
        return ""

    def constant_shape(self) -> Shape | None:
        """Shape of a Const's value."""
        tensor = message(self.attributes.get("value", memoryview(b""))).get(8)
        shape = message(tensor[-1]).get(2) if tensor else None
        return read_shape(shape[-1]) if shape else ()


@dataclass(frozen=True)
class Function:
    """A function of the library."""

    name: str
    arguments: tuple[str, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class TensorInfo:
    """An entry of a signature."""

    key: str
    name: str
    dtype: str
    shape: Shape | None


@dataclass(frozen=True)
class Signature:
    """A signature, and what it is for in TensorFlow Serving's words."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    method: str = ""


@dataclass
class MetaGraph:
    """A graph with its functions and signatures."""

    tags: tuple[str, ...] = ()
    nodes: dict[str, Node] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    signatures: dict[str, Signature] = field(default_factory=dict)
    saver: tuple[str, ...] = ()
    starters: tuple[str, ...] = ()
    objects: tuple[memoryview, ...] = ()


def read_saved_model(data: memoryview) -> list[MetaGraph]:
    """All graphs of a SavedModel.

    Raises:
        WireError: Truncated or malformed.
    """
    return [_meta_graph(value) for number, _, value in fields(data) if number == 2 and isinstance(value, memoryview)]


def read_graph(data: memoryview) -> MetaGraph:
    """A graph by itself, as a frozen graph's file holds it: without signatures.

    Raises:
        WireError: Truncated or malformed.
    """
    meta = MetaGraph()
    _add_graph(meta, data)
    return meta


def variable_name(meta: MetaGraph, key: str) -> str:
    """The name of a variable, from its place in the object graph, which is its key in the checkpoint."""
    path = key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
    number = 0
    for part in path.split("/"):
        children = message(meta.objects[number])[1] if number < len(meta.objects) else []
        found = [n for n, name in map(_child, children) if name == part]
        if not found:
            return path
        number = found[0]
    for variable in message(meta.objects[number])[7] if number < len(meta.objects) else []:
        return _last(message(variable)[6]) or path
    return path


def message(data: memoryview) -> Message:
    """The length-delimited fields of a message, all occurrences."""
    found: Message = defaultdict(list)
    for number, _, value in fields(data):
        if isinstance(value, memoryview):
            found[number].append(value)
    return found


def _meta_graph(data: memoryview) -> MetaGraph:
    meta = MetaGraph()
    parts = message(data)
    meta.tags = tuple(text(tag) for info in parts[1] for tag in message(info)[4])
    for graph in parts[2]:
        _add_graph(meta, graph)
    meta.saver = tuple(base(text(name)) for saver in parts[3] for key in (1, 2, 3) for name in message(saver)[key])
    for entry in parts[4]:
        meta.starters += _collection(entry)
    for entry in parts[5]:
        key, signature = _entry(entry)
        meta.signatures[key] = _signature(signature)
    meta.objects = tuple(node for graph in parts[7] for node in message(graph)[1])
    return meta


def _add_graph(meta: MetaGraph, data: memoryview) -> None:
    parts = message(data)
    for node in map(_node, parts[1]):
        _add(meta.nodes, node.name, node)
    for library in parts[2]:
        for function in map(_function, message(library)[1]):
            _add(meta.functions, function.name, function)


def _add(found: dict[str, T], name: str, item: T) -> None:
    if name in found:
        raise WireError(f"two parts of the graph are called {name!r}")
    found[name] = item


def _node(data: memoryview) -> Node:
    parts = message(data)
    attributes = dict(_entry(entry) for entry in parts[5])
    return Node(_last(parts[1]), _last(parts[2]), tuple(map(text, parts[3])), attributes)


def _function(data: memoryview) -> Function:
    parts = message(data)
    name, arguments = "", []
    for signature in parts[1]:
        inner = message(signature)
        name = _last(inner[1]) or name
        arguments += [_last(message(argument)[1]) for argument in inner[2]]
    return Function(name, tuple(arguments), tuple(map(_node, parts[3])))


def _functions(value: memoryview) -> Iterator[str]:
    """Function names in an AttrValue: ``func`` and ``list.func``, and in their own attributes."""
    parts = message(value)
    named = [*parts[10], *(item for group in parts[1] for item in message(group)[9])]
    for item in named:
        inner = message(item)
        yield from map(text, inner[1])
        for entry in inner[2]:
            yield from _functions(_entry(entry)[1])


def _collection(entry: memoryview) -> tuple[str, ...]:
    """Nodes that run when the model is loaded: the collections of main and init operators."""
    key, value = _entry(entry)
    if key not in ("saved_model_main_op", "legacy_init_op", "saved_model_init_op"):
        return ()
    return tuple(base(text(name)) for nodes in message(value)[1] for name in message(nodes)[1])


def _signature(data: memoryview) -> Signature:
    parts = message(data)
    return Signature(_tensors(parts[1]), _tensors(parts[2]), _last(parts[3]))


def _tensors(entries: list[memoryview]) -> tuple[TensorInfo, ...]:
    found = []
    for entry in entries:
        key, value = _entry(entry)
        name, dtype, shape = "", "", None
        for number, _, part in fields(value):
            if number == 1:
                name = text(part)
            elif number == 2 and isinstance(part, int):
                dtype = DTYPES.get(part, f"type {part}")
            elif number == 3 and isinstance(part, memoryview):
                shape = read_shape(part)
        found.append(TensorInfo(key, name, dtype, shape))
    return tuple(sorted(found, key=lambda t: signature_order(t.key)))


def _entry(data: memoryview) -> tuple[str, memoryview]:
    """Key and value of a map's entry; a value given in parts is merged, as protobuf does by joining the bytes."""
    parts = message(data)
    values = parts[2]
    return _last(parts[1]), values[0] if len(values) == 1 else memoryview(b"".join(values))


def _child(data: memoryview) -> tuple[int, str]:
    number, name = 0, ""
    for field_number, _, value in fields(data):
        if field_number == 1 and isinstance(value, int):
            number = value
        elif field_number == 2:
            name = text(value)
    return number, name


def _last(values: list[memoryview]) -> str:
    return text(values[-1]) if values else ""


def base(name: str) -> str:
    """The node of a tensor or control input: ``x`` for ``x:0`` and ``^x``."""
    return name.removeprefix("^").partition(":")[0]
