"""Neural networks in PMML 4: dense layers in XML, for engines of rules and scores. Read without such an engine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from deploykit.core.adapter import Group
from deploykit.core.layers.kinds import LayerKind
from deploykit.core.model import Layer
from deploykit.loading._contract import Format, Summary, Weight
from deploykit.loading._pmml.network import Dense, Network, read_network
from deploykit.loading._pmml.run import NetworkSession, specs
from deploykit.runtimes._session import Session

_ROOT = re.compile(rb"<(?:[\w.-]+:)?PMML[\s>]")

_KINDS: Mapping[LayerKind, frozenset[str]] = {
    "dense": frozenset({"NeuralLayer"}), "arithmetic": frozenset({"NeuralInputs"}),
}  # fmt: skip


class Pmml(Format):
    """One NeuralNetwork; other models of PMML, and inputs that are not numbers, are refused by name."""

    name = "pmml"
    label = "PMML"
    help = "Neural network in PMML 4, of dense layers over numeric fields."
    suffixes = (".pmml",)
    kinds = _KINDS

    def matches(self, path: Path, head: bytes) -> bool:
        """XML whose root is PMML."""
        del path
        return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and _ROOT.search(head) is not None

    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Parse the document; nothing outside of it is read and no entity is expanded."""
        del trusted, imports
        network = read_network(path)
        inputs, outputs = specs(network)
        layers = [Layer("inputs", "NeuralInputs", (None, len(network.chosen)))]
        for place, layer in enumerate(network.layers, 1):
            layers.append(Layer(f"layer_{place}", "NeuralLayer", (None, len(layer.bias)), _count(layer)))
        total = sum(layer.parameters for layer in layers)
        return Summary(inputs, outputs, tuple(layers), total, tuple(_warnings(network)))

    def weights(self, path: Path) -> Iterator[Weight]:
        """A matrix for each layer."""
        import numpy as np

        for place, layer in enumerate(read_network(path).layers, 1):
            rows, columns = layer.weights.shape
            load = partial(np.asarray, layer.weights)
            yield Weight(f"layer_{place}", f"layer_{place}/weights", (rows, columns), "float64", load)

    def given_group(self) -> Group:
        """NumPy runs it."""
        return self.group

    def _open_given(self, path: Path, *, imports: tuple[str, ...], trusted: bool) -> Session:
        del imports, trusted
        return NetworkSession(read_network(path))


def _count(layer: Dense) -> int:
    return int(layer.weights.size + layer.bias.size)


def _warnings(network: Network) -> Iterator[str]:
    import numpy as np

    yield from network.ignored
    for place, layer in enumerate(network.layers, 1):
        for values in (layer.weights, layer.bias):
            if not np.isfinite(values).all():
                flaw = "NaN" if np.isnan(values).any() else "infinite values"
                yield f"layer_{place} holds {flaw}: outputs will be wrong; export the model again."


ADAPTER = Pmml()
