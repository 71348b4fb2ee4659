"""The part of a network between blobs that the user has named, as a network of its own: a text and its weights.

A blob that layers change in place has its last values. What is written is plain Caffe: outputs are the blobs that no
layer reads, so outputs that others read are split off, and what was not asked for is silenced.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from deploykit.core.errors import SettingError
from deploykit.loading._caffe.net import CaffeLayer, Example, Net, net_of, read_text
from deploykit.loading._caffe.text import Message, Quoted, written
from deploykit.loading._caffe.weights import weights_for
from deploykit.loading._caffe.write import write


def cut(path: Path, target: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Write the layers that some outputs need, and their weights beside them.

    Args:
        path: The text of a network; layers that are not needed may be of any type.
        target: The text to write; its weights get the same name.
        inputs: Names of blobs; () for the inputs of the network that are needed.
        outputs: Names of blobs; () for those that no layer reads and that the inputs lead to.

    Raises:
        SettingError: There is no such blob, an input is not needed, or another one is.
        ModelFileError: The network is damaged.
        UnsupportedModelError: A layer before an input, whose shape it gives, cannot be converted.
    """
    text = read_text(path)
    net = net_of(path, text)
    made = list(dict.fromkeys([*net.inputs, *(top for layer in net.layers for top in layer.tops)]))
    for side, names in (("inputs", inputs), ("outputs", outputs)):
        _check(side, names, made)
    middle = [name for name in inputs if name not in net.inputs]
    given = tuple(outputs) or _ends(net, inputs, middle)
    kept, needed = _needed(net.layers, given, middle)
    taken = tuple(inputs) or tuple(name for name in net.inputs if name in needed)
    _check_ends(kept, taken, given, needed)
    shapes = {**_shapes(net, middle), **net.inputs}
    part = _text(text, net, kept, {name: shapes[name] for name in taken}, given)
    target.write_text(written(part), "utf-8")
    running = {layer.name for layer in kept}
    with target.with_suffix(".caffemodel").open("wb") as file:
        for piece in weights_for(memoryview(net.weights.read_bytes()), running):
            file.write(piece)


def _check(side: str, names: Sequence[str], made: Sequence[str]) -> None:
    for name in names:
        if name not in made:
            close = difflib.get_close_matches(name, made, n=5) or made[-5:]
            raise SettingError(
                f"{side}: the network has no blob {name!r}.", remedy=f"name another one, such as {', '.join(close)}."
            )
    if len(set(names)) < len(names):
        raise SettingError(f"{side} must name each blob once, got {list(names)}.", remedy="leave out the others.")


def _ends(net: Net, inputs: Sequence[str], middle: Sequence[str]) -> tuple[str, ...]:
    """Blobs that the inputs lead to and that no layer reads."""
    reached = set(inputs) - set(middle)
    last = {name: at for at, layer in enumerate(net.layers) for name in layer.tops if name in middle}
    found = []
    for at, layer in enumerate(net.layers):
        if not reached.isdisjoint(layer.bottoms):
            reached |= set(layer.tops)
            found.append(layer)
        reached |= {name for name, place in last.items() if place == at}
    return tuple(name for name in _unread(found) if name not in inputs)


def _unread(layers: Sequence[CaffeLayer]) -> list[str]:
    """Blobs that no later layer reads, in the order in which they are made first."""
    made: dict[str, bool] = {}
    for layer in layers:
        made |= dict.fromkeys((name for name in layer.bottoms if name in made), False)
        made |= dict.fromkeys(layer.tops, True)
    return [name for name, unread in made.items() if unread]


def _needed(
    layers: Sequence[CaffeLayer], outputs: Iterable[str], inputs: Sequence[str]
) -> tuple[list[CaffeLayer], set[str]]:
    """Layers that make the outputs without the inputs, and the blobs that they do not make themselves.

    Backwards, so that a layer that reads a blob before another one changes it in place does not need that one.
    """
    needed, kept = set(outputs), []
    used: set[str] = set()
    for layer in reversed(layers):
        if needed.isdisjoint(layer.tops):
            continue
        kept.append(layer)
        needed -= set(layer.tops)
        used |= set(layer.bottoms) & set(inputs)
        needed |= set(layer.bottoms) - set(inputs)
    return kept[::-1], needed | used


def _check_ends(
    kept: Sequence[CaffeLayer], taken: Sequence[str], given: Sequence[str], needed: Collection[str]
) -> None:
    if not given:
        raise SettingError("No output depends on the inputs.", remedy="name others.")
    if both := [name for name in given if name in taken]:
        raise SettingError(f"The output {both[0]!r} is an input as well.", remedy="name another output.")
    if idle := [name for name in taken if name not in needed]:
        raise SettingError(
            f"The outputs do not depend on the input {idle[0]!r}.", remedy="leave it out, or name other outputs."
        )
    if missing := sorted(name for name in needed if name not in taken):
        raise SettingError(
            f"The outputs also need the input {', '.join(map(repr, missing))}, which is not among the inputs.",
            remedy="name it as well, or leave inputs out to have all of them.",
        )
    for layer in kept:
        if again := [name for name in layer.tops if name in taken and name not in layer.bottoms]:
            raise SettingError(
                f"The input {again[0]!r} is made by the layer {layer.name!r}, which the outputs need as well.",
                remedy=f"name all that it makes: {', '.join(layer.tops)}.",
            )


def _shapes(net: Net, names: Sequence[str]) -> dict[str, Example]:
    """Shapes of blobs in the middle, from the layers before them."""
    if not names:
        return {}
    before, needed = _needed(net.layers, names, ())
    inputs = {name: shape for name, shape in net.inputs.items() if name in needed}
    blobs = write(replace(net, inputs=inputs, layers=before)).blobs
    return {name: blobs[name] for name in names}


def _text(
    text: Message, net: Net, kept: list[CaffeLayer], inputs: dict[str, Example], outputs: Sequence[str]
) -> Message:
    """The text of the part."""
    old = {id(message) for message in text.messages("layers")}
    shapes = [Message({"dim": [1, *shape]}) for shape in inputs.values()]
    fields: dict[str, list[str | int | float | Message]] = {
        "name": [Quoted(net.name)],
        "input": [Quoted(name) for name in inputs],
        "input_shape": [*shapes],
        "layers": [layer.settings for layer in kept if id(layer.settings) in old],
        "layer": [layer.settings for layer in kept if id(layer.settings) not in old],
    }
    if (unread := _unread(kept)) != list(outputs):
        names = {name: _free(f"{name}_made", net) for name in outputs}
        for kind in ("layers", "layer"):
            fields[kind] = [_renamed(m, names) for m in fields[kind] if isinstance(m, Message)]
        kind = "layers" if old else "layer"
        fields[kind] += [_layer("Split", net, names[name], name, old=bool(old)) for name in outputs]
        fields[kind] += [_layer("Silence", net, name, old=bool(old)) for name in unread if name not in outputs]
    return Message({name: values for name, values in fields.items() if values})


def _renamed(message: Message, names: dict[str, str]) -> Message:
    """A layer that makes and reads outputs by other names."""
    sides = {side: [Quoted(names.get(name, name)) for name in message.words(side)] for side in ("bottom", "top")}
    return Message({**message.fields, **{side: [*found] for side, found in sides.items() if found}})


def _layer(kind: str, net: Net, bottom: str, top: str = "", *, old: bool) -> Message:
    fields: dict[str, list[str | int | float | Message]] = {
        "name": [Quoted(_free(f"{top or bottom}_{'output' if top else 'unused'}", net))],
        "type": [kind.upper() if old else Quoted(kind)],
        "bottom": [Quoted(bottom)],
    }
    return Message({**fields, "top": [Quoted(top)]} if top else fields)


def _free(name: str, net: Net) -> str:
    """A name that neither a blob nor a layer has."""
    known = {*net.inputs, *(n for layer in net.layers for n in (layer.name, *layer.tops))}
    while name in known:
        name += "_"
    return name
