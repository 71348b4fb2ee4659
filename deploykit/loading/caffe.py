"""Caffe's networks: a text with the layers, and a file with the weights beside it. Read without Caffe."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from deploykit.core.adapter import Group
from deploykit.core.candidate import Target
from deploykit.core.errors import ModelFileError
from deploykit.core.model import Layer
from deploykit.loading._caffe.cut import cut
from deploykit.loading._caffe.kinds import KINDS
from deploykit.loading._caffe.net import CaffeLayer, Net, read_net
from deploykit.loading._caffe.write import write
from deploykit.loading._contract import Format, Summary, Weight
from deploykit.readers.protobuf import BYTES, WireError, fields
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._session import Session

_LAYER = re.compile(rb"(?:^|\s)(?:layers?\s*:?\s*\{|input_param\s*\{|input\s*:\s*[\"'])")
_FIELD = re.compile(rb"\s*(?:\#[^\n]*\n\s*)*(?:name|input|layers?|force_backward|state)\s*[:{]")


class Caffe(Format):
    """A ``.prototxt``; its ``.caffemodel`` counts as part of it. Layers that have no rule are refused by name."""

    name = "caffe"
    label = "Caffe"
    help = "Caffe network: a .prototxt for deployment, with its .caffemodel beside it."
    requires = ("onnx",)
    suffixes = shared_suffixes = (".prototxt",)
    companions = (".caffemodel",)
    names_ends = True
    kinds = KINDS

    def matches(self, path: Path, head: bytes) -> bool:
        """A text that begins with a field of a network, and has a layer or an input near its beginning."""
        del path
        return b"\0" not in head and _FIELD.match(head) is not None and _LAYER.search(head) is not None

    def mistake(self, path: Path, head: bytes) -> ModelFileError | None:
        """The weights alone."""
        if not _is_weights(path, head):
            return None
        beside = sorted(file.name for file in path.parent.iterdir() if file.suffix.lower() == ".prototxt")
        named = (
            f"pass the network's text: {', '.join(beside[:4])}." if beside else "copy the network's .prototxt there."
        )
        return ModelFileError(
            f"{path}: this is the weights of a Caffe network, which are read together with its .prototxt.",
            remedy=named,
        )

    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Parse text and weights, check that they fit, and write the layers as ONNX in memory."""
        del trusted, imports
        net = read_net(path)
        written = write(net)
        inputs, outputs = written.specs()
        layers = tuple(
            Layer(
                layer.name, layer.type, (None, *written.shapes[layer.name]) if layer.name in written.shapes else None,
                _count(layer), "depthwise" if _is_depthwise(layer) else "",
            )
            for layer in _distinct(net)
        )  # fmt: skip
        total = sum(layer.parameters for layer in layers)
        return Summary(inputs, outputs, layers, total, tuple(_flaws(net)), (str(net.weights),))

    def cut(
        self, path: Path, target: Path, inputs: tuple[str, ...], outputs: tuple[str, ...], *, trusted: bool
    ) -> None:
        """Write the layers between some blobs, with their weights."""
        del trusted
        cut(path, target, inputs, outputs)

    def weights(self, path: Path) -> Iterator[Weight]:
        """Blobs of at least two dimensions that are longer than one."""
        for layer in read_net(path).layers:
            for place, blob in enumerate(layer.blobs):
                shape = blob.shape[2:] if blob.shape[:2] == (1, 1) and len(blob.shape) == 4 else blob.shape
                if sum(size > 1 for size in shape) >= 2 or (len(shape) >= 2 and blob.count > 1 and place == 0):
                    load = partial(lambda b, s: b.values().reshape(s), blob, shape)
                    yield Weight(layer.name, f"{layer.name}/{place}", shape, "float32", load)

    def given_group(self) -> Group:
        """Where the runtime of its conversion opens."""
        return RUNTIMES.get(_RUNTIME).group

    def _open_given(self, path: Path, *, imports: tuple[str, ...], trusted: bool) -> Session:
        """Caffe cannot be installed any more: what its layers compute, written as ONNX."""
        del imports, trusted
        import onnx

        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            file = Path(folder) / "network.onnx"
            onnx.save(write(read_net(path)).model(), file)
            return RUNTIMES.get(_RUNTIME).open(file, Target(_RUNTIME, threads=0), "onnx")


_RUNTIME = "onnxruntime"


def _is_weights(path: Path, head: bytes) -> bool:
    """A NetParameter: a name, then layers."""
    if path.suffix.lower() in Caffe.companions:
        return True
    found = []
    try:
        for number, wire, _ in fields(memoryview(head)):
            found.append((number, wire))
    except WireError as error:
        found.append((error.field, BYTES))
    return found[:1] == [(1, BYTES)] and (100, BYTES) in found


def _distinct(net: Net) -> list[CaffeLayer]:
    """The layers, each name once: a summary has names for keys."""
    names: set[str] = set()
    for layer in net.layers:
        if layer.name in names or not layer.name:
            raise ModelFileError(
                f"{net.path}: two layers are called {layer.name!r}.", remedy="give each layer a name of its own."
            )
        names.add(layer.name)
    return net.layers


def _count(layer: CaffeLayer) -> int:
    """Number of weights; of a BatchNorm without the number that they are divided by."""
    blobs = layer.blobs[:2] if layer.type == "BatchNorm" else layer.blobs
    return sum(blob.count for blob in blobs)


def _is_depthwise(layer: CaffeLayer) -> bool:
    settings = layer.parameters("convolution_param")
    group = settings.whole("group", 1) if layer.type == "Convolution" else 1
    return group > 1 and bool(layer.blobs) and len(layer.blobs[0].shape) == 4 and layer.blobs[0].shape[1] == 1


def _flaws(net: Net) -> Iterator[str]:
    import numpy as np

    for layer in net.layers:
        for blob in layer.blobs:
            values = blob.values()
            if not np.isfinite(values).all():
                flaw = "NaN" if np.isnan(values).any() else "infinite values"
                yield f"the weights of the layer {layer.name!r} hold {flaw}: outputs will be wrong; export it again."
                break


ADAPTER = Caffe()
