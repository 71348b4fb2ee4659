"""Which features a SavedModel looks for in the ``tf.Example`` messages that it is given.

Source: the operators ParseExample (keys one by one) and ParseExampleV2 (keys in one tensor) of TensorFlow's
parsing_ops.cc.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from deploykit.loading._contract import Feature
from deploykit.loading._saved_model.graph import MetaGraph, Node, Signature, base, message
from deploykit.loading._saved_model.scan import called_by, needed_by
from deploykit.readers.protobuf import BYTES, fields
from deploykit.readers.tensorflow import DTYPES, read_shape

_ONE_BY_ONE, _TOGETHER = "ParseExample", "ParseExampleV2"
#: Inputs of ParseExampleV2 before and after its dense keys; of ParseExample before its sparse keys.
_KEYS_OF_V2, _BEFORE_KEYS = 3, 2


def features_of(meta: MetaGraph, signature: Signature) -> tuple[Feature, ...]:
    """Features of a fixed size, by name; those whose names the graph computes are left out."""
    needed = [meta.nodes[name] for name in sorted(needed_by(meta, signature))]
    found: dict[str, Feature] = {}
    for nodes in (needed, *(meta.functions[name].nodes for name in sorted(called_by(meta, needed)))):
        constants = {node.name: node for node in nodes if node.op == "Const"}
        for node in nodes:
            if node.op in (_ONE_BY_ONE, _TOGETHER):
                found |= {feature.name: feature for feature in _dense(node, constants)}
    return tuple(found.values())


def _dense(node: Node, constants: dict[str, Node]) -> Iterator[Feature]:
    types = [DTYPES.get(number, "") for number in _numbers(node.attributes.get("Tdense"), 6)]
    shapes = [read_shape(shape) for shape in _parts(node.attributes.get("dense_shapes"), 7)]
    inputs = [constants.get(base(name)) for name in node.inputs]
    if node.op == _TOGETHER:
        keys = _texts(inputs[_KEYS_OF_V2]) if len(inputs) > _KEYS_OF_V2 else []
    else:
        first = _BEFORE_KEYS + next(iter(_numbers(node.attributes.get("Nsparse"), 3, listed=False)), 0)
        keys = [key for one in inputs[first : first + len(types)] for key in _texts(one)]
    if not len(keys) == len(types) == len(shapes):
        return
    for key, dtype, shape in zip(keys, types, shapes, strict=True):
        sizes = [1 if size is None else size for size in shape or ()]
        yield Feature(key, dtype, math.prod(sizes))


def _list(value: memoryview | None, *, listed: bool = True) -> memoryview:
    """An attribute's list, or the attribute itself."""
    if value is None or not listed:
        return value or memoryview(b"")
    lists = message(value).get(1)
    return lists[-1] if lists else memoryview(b"")


def _numbers(value: memoryview | None, field: int, *, listed: bool = True) -> list[int]:
    """Numbers of an attribute, packed or not."""
    found: list[int] = []
    for number, wire, given in fields(_list(value, listed=listed)):
        if number == field and isinstance(given, int):
            found.append(given)
        elif number == field and wire == BYTES and isinstance(given, memoryview):
            found += _packed(given)
    return found


def _packed(data: memoryview) -> Iterator[int]:
    """Varints one after the other: each is read as a field's value."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0


def _parts(value: memoryview | None, field: int) -> list[memoryview]:
    return message(_list(value)).get(field, [])


def _texts(node: Node | None) -> list[str]:
    """The values of a constant of text."""
    if node is None:
        return []
    tensors = message(node.attributes.get("value", memoryview(b""))).get(8, [])
    return [bytes(text).decode("utf-8", "replace") for tensor in tensors for text in message(tensor).get(8, [])]
