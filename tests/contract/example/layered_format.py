"""A format in one file, as an outsider would write it: dense layers as JSON, and the object that they are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from deploykit.core.errors import ModelFileError
from deploykit.core.layers.kinds import LayerKind
from deploykit.core.model import Layer, TensorSpec
from deploykit.loading._contract import Format, Saved, Summary, Weight
from deploykit.loading._live import keep
from deploykit.runtimes._session import Session

_MAGIC = b'{"layered": '


@dataclass
class Network:
    """A model in memory: matrices with a rectifier between each two of them."""

    name: str
    matrices: Sequence[Sequence[Sequence[float]]]


class Layered(Format):
    """Dense layers in a text file."""

    name = "layered"
    label = "Layered JSON"
    help = "Dense layers as JSON."
    suffixes = (".layers",)
    live = "a layered_format.Network"
    kinds: ClassVar[Mapping[LayerKind, frozenset[str]]] = {
        "dense": frozenset({"matrix"}),
        "activation": frozenset({"rectifier"}),
    }

    def matches(self, path: Path, head: bytes) -> bool:
        return head.startswith(_MAGIC)

    def takes(self, thing: object) -> bool:
        return isinstance(thing, Network)

    def save(self, thing: Network) -> Saved:
        text = json.dumps({"layered": thing.matrices})
        return Saved(keep(".layers", lambda path: path.write_text(text, "utf-8")), thing.name)

    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        layers = []
        matrices = _read(path)
        for number, rows in enumerate(matrices):
            if number:
                layers.append(Layer(f"rectifier_{number}", "rectifier", (None, len(rows))))
            layers.append(Layer(f"matrix_{number}", "matrix", (None, len(rows[0])), len(rows) * len(rows[0])))
        given = TensorSpec("x", (None, len(matrices[0])), "float32")
        made = TensorSpec("y", (None, len(matrices[-1][0])), "float32")
        return Summary((given,), (made,), tuple(layers), sum(layer.parameters for layer in layers))

    def weights(self, path: Path) -> Iterator[Weight]:
        for number, rows in enumerate(_read(path)):
            name = f"matrix_{number}"
            yield Weight(name, name, (len(rows), len(rows[0])), "float32", partial(_array, rows))

    def given_group(self) -> str:
        return "light"

    def _open_given(self, path: Path, *, imports: tuple[str, ...], trusted: bool) -> Session:
        return _Opened(path, self.read(path, trusted=trusted, imports=imports))


class _Opened(Session):
    def __init__(self, path: Path, summary: Summary) -> None:
        self.inputs, self.outputs = summary.inputs, summary.outputs
        self._matrices = [_array(rows) for rows in _read(path)]

    def _run(self, arrays: Sequence[Any]) -> Sequence[Any]:
        (value,) = arrays
        for number, matrix in enumerate(self._matrices):
            value = (value.clip(0) if number else value) @ matrix
        return [value]


def _array(rows: Any) -> Any:
    import numpy as np

    return np.asarray(rows, np.float32)


def _read(path: Path) -> list[list[list[float]]]:
    try:
        return json.loads(path.read_bytes())["layered"]
    except ValueError as error:
        raise ModelFileError(f"{path}: truncated or damaged: {error}.", remedy="write it again.") from error


ADAPTER = Layered()
