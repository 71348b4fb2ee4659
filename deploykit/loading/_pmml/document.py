"""A PMML document as a stream: a small tree of what describes, and arrays of what there is much of.

Nothing outside of the document is read and no entity is expanded: a document type is refused before its first entity.
Source: the Data Mining Group's specification of PMML 4.4, ``NeuralNetwork``.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from deploykit.core.errors import ModelFileError

MAX_BYTES = 1 << 30
MAX_DEPTH = 64
#: Elements that are kept as a tree, and connections.
MAX_ELEMENTS = 500_000
MAX_CONNECTIONS = 16_000_000
_BLOCK = 1 << 20
_AGAIN = "copy, download or export it again."


class PmmlError(ValueError):
    """The document breaks a rule or a bound; says which."""


@dataclass
class Element:
    """An element.

    Attributes:
        tag: Its name, without a namespace.
        attributes: Its attributes.
        children: The elements in it.
        text: The text in it.
    """

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def find(self, *tags: str) -> list[Element]:
        """The elements in it of some names."""
        return [child for child in self.children if child.tag in tags]

    def first(self, tag: str) -> Element:
        """The first element of a name in it, an empty one where there is none."""
        return next(iter(self.find(tag)), Element(tag, {}))

    def number(self, name: str, usual: float | None = None) -> float:
        """An attribute that is a number.

        Raises:
            PmmlError: It is missing or not one.
        """
        text = self.attributes.get(name, "" if usual is None else str(usual))
        return number(text, f"{name} of {self.tag}")


@dataclass
class Neurons:
    """The neurons of a layer.

    Attributes:
        layer: The element, without its neurons.
        ids: Their names.
        bias: Of each.
        ends: How many connections there are up to the end of each.
        sources: The neuron that each connection comes from.
        weights: Of each connection.
    """

    layer: Element
    ids: list[str] = field(default_factory=list)
    bias: array[float] = field(default_factory=lambda: array("d"))
    ends: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    weights: array[float] = field(default_factory=lambda: array("d"))


@dataclass
class Document:
    """A document: its root, and the layers of its networks in order."""

    root: Element | None = None
    layers: list[Neurons] = field(default_factory=list)


def number(text: str, what: str) -> float:
    """A number of a document.

    Raises:
        PmmlError: It is not one.
    """
    try:
        if len(text) > 64:
            raise ValueError
        return float(text)
    except ValueError:
        raise PmmlError(f"{what} must be a number, got {text[:40]!r}") from None


def read_document(path: Path) -> Document:
    """Read a document.

    Raises:
        ModelFileError: Truncated, broken or hostile.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ModelFileError(f"{path}: {size:,} bytes; PMML is read up to {MAX_BYTES:,}.", remedy=_AGAIN)
    reader = _Reader()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                reader.parser.Parse(block, False)
        reader.parser.Parse(b"", True)
    except PmmlError as error:
        line = reader.parser.CurrentLineNumber
        raise ModelFileError(f"{path}: line {line}: {error}.", remedy=_AGAIN) from error
    except expat.ExpatError as error:
        raise ModelFileError(f"{path}: truncated or damaged ({size:,} bytes): {error}.", remedy=_AGAIN) from error
    return reader.document


class _Reader:
    """Handlers of a parser that expands nothing."""

    def __init__(self) -> None:
        self.document = Document()
        self.open: list[Element] = []
        self.count = self.depth = 0
        self.neurons: Neurons | None = None
        # Same sources come again and again: one text for all of them.
        self.known: dict[str, str] = {}
        self.parser: Any = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.buffer_text = True

    def _refuse(self, *said: object) -> None:
        raise PmmlError(
            f"a document type or an entity ({str(said[0])[:40]}), which PMML has no use for; nothing was read"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition(":")[2]
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise PmmlError(f"elements are nested more than {MAX_DEPTH} deep")
        if self.neurons is not None and tag == "Con":
            self._connect(attributes)
            return
        if self.neurons is not None and tag == "Neuron":
            if any(name in attributes for name in ("width", "altitude")):
                raise PmmlError("a neuron with a width or an altitude: radial bases are not read")
            self.neurons.ids.append(attributes.get("id", ""))
            self.neurons.bias.append(number(attributes.get("bias", "0"), "bias of Neuron"))
            self.neurons.ends.append(len(self.neurons.weights))
            return
        self.count += 1
        if self.count > MAX_ELEMENTS:
            raise PmmlError(f"more than {MAX_ELEMENTS:,} elements")
        element = Element(tag, attributes)
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.document.root = element
        self.open.append(element)
        if tag == "NeuralLayer":
            self.neurons = Neurons(element)
            self.document.layers.append(self.neurons)

    def _connect(self, attributes: dict[str, str]) -> None:
        assert self.neurons is not None
        source = attributes.get("from", "")
        if not self.neurons.ids or len(self.neurons.weights) >= MAX_CONNECTIONS:
            raise PmmlError(f"a connection outside of a neuron, or more than {MAX_CONNECTIONS:,} of them")
        self.neurons.sources.append(self.known.setdefault(source, source))
        self.neurons.weights.append(number(attributes.get("weight", ""), "weight of Con"))
        self.neurons.ends[-1] = len(self.neurons.weights)

    def _end(self, name: str) -> None:
        tag = name.rpartition(":")[2]
        self.depth -= 1
        if self.neurons is not None and tag in ("Con", "Neuron"):
            return
        if tag == "NeuralLayer":
            self.neurons = None
        self.open.pop()

    def _text(self, text: str) -> None:
        if self.open and self.neurons is None:
            self.open[-1].text += text[:1000]
