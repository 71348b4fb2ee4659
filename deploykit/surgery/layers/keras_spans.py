"""The spans of a Keras model; see `deploykit.surgery.layers.spans`."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from deploykit.core.extras import require
from deploykit.loading._keras.open import graph_of
from deploykit.surgery.channels.keras_cut import fill
from deploykit.surgery.channels.keras_graph import MASK, Flat, Step, is_nested
from deploykit.surgery.layers.keras_chains import chains
from deploykit.surgery.layers.spans import Span, meetings

#: How branches of a block meet.
_MEETING = frozenset({"Add", "Multiply"})
#: What makes a tensor: the layer, its call, and the number among what it gives.
_Made = tuple[str, int, int]


def spans(model: Any, flat: Flat) -> list[Span]:
    """The spans of a model that hold weights: layers, then blocks.

    Layers that are called several times stay, and so does what padded steps pass through.

    Args:
        model: A functional or Sequential model.
        flat: The same as steps.
    """
    places, calls = _places(model, flat), flat.calls()
    layers = [(c.step, c.step.input[0], c.end) for c in chains(flat)]
    ways = [*layers, *meetings((s, s.input, s.output, s.kind in _MEETING) for s in flat.steps)]
    found: dict[tuple[str, str], Span] = {}
    for step, start, end in ways:
        if (start, end) in found or flat.shapes[start] != flat.shapes[end] or f"{end}{MASK}" in flat.shapes:
            continue
        if _level(places, start, end) is None or places[start][1] != places[end][1]:
            continue
        left = skipped(flat, [(start, end)])
        there = {one.output[0] for one in left.steps}
        gone = [one for one in flat.steps if one.output[0] not in there]
        names = tuple(dict.fromkeys(one.name for one in gone))
        read = {name for one in left.steps for name in one.input} | set(left.outputs)
        once = all(calls.get(one.name, 1) == 1 for one in gone)
        weights = sum(_count(one) for one in {id(one.op): one for one in gone}.values())
        if weights and once and all(name in read for name in flat.inputs):
            found[start, end] = Span(step.name, type(step.op).__name__, start, end, names, weights)
    return list(found.values())


def skipped(flat: Flat, ways: Iterable[tuple[str, str]]) -> Flat:
    """The steps of a model without some spans; layers are those of the model.

    Args:
        flat: The model as steps.
        ways: Start and end of each span.
    """
    source = _sources(ways)
    outputs = [source(name) for name in flat.outputs]
    wanted, steps = set(outputs), list[Step]()
    for step in reversed(flat.steps):
        if wanted.isdisjoint(step.output):
            continue
        moved = {name: source(name) for name in step.input}
        wanted |= set(moved.values())
        if any(old != new for old, new in moved.items()):
            step = _fed(step, moved)
        steps.append(step)
    return replace(flat, steps=steps[::-1], outputs=outputs)


def cut(model: Any, flat: Flat, ways: Iterable[tuple[str, str]], *, custom: Mapping[str, Any], trusted: bool) -> Any:
    """The model without some spans, built again from its config; names, types and weights of what stays are the same.

    Args:
        model: A functional or Sequential model.
        flat: The same as steps.
        ways: Start and end of each span.
        custom: Classes that are not Keras's, by name.
        trusted: Code inside the config may run (Lambda layers).
    """
    keras = require("keras", "tensorflow")
    scope = require("keras.src.saving.serialization_lib", "tensorflow").SafeModeScope
    places, ways = _places(model, flat), list(ways)
    config = copy.deepcopy(model.get_config())
    source = _sources(ways)
    stays = {step.name for step in skipped(flat, ways).steps}
    gone = {step.name for step in flat.steps} - stays
    moved: dict[str, dict[_Made, _Made]] = {}
    for _start, end in ways:
        level = _level(places, source(end), end)
        assert level is not None, "spans do not cross the borders of nested models"
        moved.setdefault(level, {})[places[end][0][level]] = places[source(end)][0][level]
    _rewire(config, "", moved, gone)
    with keras.saving.custom_object_scope(dict(custom)), scope(not trusted):
        made = type(model).from_config(config)
    fill(made, flat.layers, lambda _name, weight: weight)
    return made


def _sources(ways: Iterable[tuple[str, str]]) -> Any:
    instead = {end: start for start, end in ways}

    def source(name: str) -> str:
        while name in instead:
            name = instead[name]
        return name

    return source


def _fed(step: Step, moved: Mapping[str, str]) -> Step:
    """A step that reads other tensors."""

    def fill(values: Mapping[str, Any]) -> tuple[Any, Any]:
        return step.fill({old: values[new] for old, new in moved.items()})

    return replace(step, input=list(dict.fromkeys(moved.values())), fill=fill)


def _rewire(
    config: dict[str, Any], level: str, moved: Mapping[str, Mapping[_Made, Any]], gone: Collection[str]
) -> None:
    """Let what read the ends of spans read their starts, and leave out layers that are gone."""
    before = f"{level}/" if level else ""
    here = moved.get(level, {})
    stay = []
    for part in config["layers"]:
        inner = part["config"]
        name = f"{before}{inner.get('name') or part.get('name')}"
        if name in gone:
            continue
        if isinstance(inner.get("layers"), list):
            _rewire(inner, name, moved, gone)
        if "inbound_nodes" in part:
            part["inbound_nodes"] = _redirected(part["inbound_nodes"], here)
        stay.append(part)
    config["layers"] = stay
    if "output_layers" in config:
        config["output_layers"] = _redirected(config["output_layers"], here)


def _redirected(value: Any, here: Mapping[_Made, Any]) -> Any:
    """A part of a config in which references to tensors are others."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            history = tuple(value["config"]["keras_history"])
            value["config"]["keras_history"] = list(here.get(history, history))
            return value
        return {key: _redirected(one, here) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        if len(value) == 3 and isinstance(value[0], str) and all(isinstance(k, int) for k in value[1:]):
            return list(here.get(tuple(value), value))
        return [_redirected(one, here) for one in value]
    return value


def _places(model: Any, flat: Flat) -> dict[str, tuple[dict[str, _Made], str]]:
    """Where each tensor of the steps is made, by the path of each model that knows it, and its type."""
    found: dict[str, tuple[dict[str, _Made], str]] = {}
    for level, graph in _graphs(model, ""):
        for node in (n for nodes in graph._nodes_by_depth.values() for n in nodes):
            for tensor in node.output_tensors:
                names = flat.tensors.get(id(tensor), ())
                if len(names) == 1:  # else the model that it is in is called several times
                    history = tensor._keras_history
                    place = (history.operation.name, history.node_index, history.tensor_index)
                    found.setdefault(names[0], ({}, str(tensor.dtype)))[0][level] = place
    return found


def _graphs(model: Any, level: str) -> Iterator[tuple[str, Any]]:
    graph = graph_of(model)
    yield level, graph
    for op in graph.operations:
        if is_nested(op):
            yield from _graphs(op, f"{level}/{op.name}" if level else op.name)


def _level(places: Mapping[str, Any], start: str, end: str) -> str | None:
    """The model in which both ends of a span are known, the innermost one; None when there is none."""
    if start not in places or end not in places:
        return None
    both = places[start][0].keys() & places[end][0].keys()
    return max(both, key=len) if both else None


def _count(step: Step) -> int:
    """Weights in kernels."""
    weights = getattr(step.op, "weights", ())
    return sum(math.prod(weight.shape) for weight in weights if len(weight.shape) > 1)
