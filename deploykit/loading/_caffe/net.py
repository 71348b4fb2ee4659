"""A network as its text describes it: inputs, and the layers that run when it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from deploykit.core.errors import ModelFileError
from deploykit.loading._caffe.text import MAX_BYTES, Message, TextError, parse
from deploykit.loading._caffe.weights import Blob, read_weights
from deploykit.readers.protobuf import WireError

_AGAIN = "copy, download or export it again."
#: Types of layers in files from before 2014, which are named apart.
_OLD_TYPES = {
    "ABSVAL": "AbsVal", "BNLL": "BNLL", "CONCAT": "Concat", "CONVOLUTION": "Convolution",
    "DECONVOLUTION": "Deconvolution", "DROPOUT": "Dropout", "ELTWISE": "Eltwise", "EXP": "Exp", "FLATTEN": "Flatten",
    "INNER_PRODUCT": "InnerProduct", "LRN": "LRN", "POOLING": "Pooling", "POWER": "Power", "RELU": "ReLU",
    "SIGMOID": "Sigmoid", "SILENCE": "Silence", "SLICE": "Slice", "SOFTMAX": "Softmax", "SPLIT": "Split",
    "TANH": "TanH",
}  # fmt: skip
#: They read data sets; a network that answers has inputs instead.
_SOURCES = frozenset({"Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "DummyData", "AnnotatedData"})
#: Most values of one example of a blob.
MAX_VALUES = 1 << 30

#: A shape without its first dimension, which counts examples.
Example = tuple[int, ...]


@dataclass(frozen=True)
class CaffeLayer:
    """One layer.

    Attributes:
        name: Its name.
        type: Its type, in the names of files since 2014.
        bottoms: The blobs that it reads.
        tops: The blobs that it makes; one may have the name of one that it reads.
        settings: Its message.
        blobs: Its weights.
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    settings: Message
    blobs: tuple[Blob, ...]

    def parameters(self, name: str) -> Message:
        """Settings of its type, as ``convolution_param``."""
        return self.settings.message(name)


@dataclass
class Net:
    """A network.

    Attributes:
        path: Its text.
        weights: The file with its weights.
        name: What it calls itself.
        inputs: Shapes of the inputs by name, without the examples.
        layers: In the order in which they run.
    """

    path: Path
    weights: Path
    name: str
    inputs: dict[str, Example] = field(default_factory=dict)
    layers: list[CaffeLayer] = field(default_factory=list)


def weights_of(path: Path) -> Path:
    """The file with the weights that belong to a text: of the same name, or the only one beside it.

    Raises:
        ModelFileError: There is none, or there are several.
    """
    same = path.with_name(f"{path.stem}.caffemodel")
    if same.is_file():
        return same
    beside = sorted(file for file in path.parent.iterdir() if file.suffix.lower() == ".caffemodel" and file.is_file())
    if len(beside) == 1:
        return beside[0]
    found = f"{len(beside)} are: {', '.join(file.name for file in beside[:5])}" if beside else "there is none"
    raise ModelFileError(
        f"{path}: the network's weights must be beside it in a .caffemodel file, and {found}.",
        remedy=f"copy the right one there as {same.name}.",
    )


def read_net(path: Path) -> Net:
    """Read a network and its weights.

    Raises:
        ModelFileError: Truncated, broken or hostile; names the file.
    """
    return net_of(path, read_text(path))


def read_text(path: Path) -> Message:
    """Read the text of a network.

    Raises:
        ModelFileError: It is damaged.
    """
    text = _text(path)
    try:
        return parse(text)
    except TextError as error:
        raise _damaged(path, error) from error


def net_of(path: Path, found: Message) -> Net:
    """The network of a text, with its weights.

    Raises:
        ModelFileError: As `read_net`.
    """
    try:
        weights = weights_of(path)
        net = Net(path, weights, found.word("name", path.stem))
        _declared(net, found)
        blobs = _blobs(weights)
        for message in (*found.messages("layers"), *found.messages("layer")):
            _add(net, message, blobs)
    except TextError as error:
        raise _damaged(path, error) from error
    if not net.layers:
        raise ModelFileError(f"{path}: the network has no layers.", remedy=_AGAIN)
    return net


def _damaged(path: Path, error: TextError) -> ModelFileError:
    return ModelFileError(f"{path}: damaged or truncated: {error}.", remedy=_AGAIN)


def _text(path: Path) -> str:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ModelFileError(
            f"{path}: the text has {size:,} bytes; the limit is {MAX_BYTES:,}.", remedy="pass the network's .prototxt."
        )
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{path}: damaged: the text is not UTF-8 ({error.reason}).", remedy=_AGAIN) from error


def _blobs(path: Path) -> dict[str, tuple[Blob, ...]]:
    try:
        return read_weights(memoryview(path.read_bytes()))
    except WireError as error:
        raise ModelFileError(
            f"{path}: truncated or damaged: {error} ({path.stat().st_size:,} bytes).", remedy=_AGAIN
        ) from error


def _declared(net: Net, found: Message) -> None:
    """Inputs that are declared before the layers, in two ways."""
    names = found.words("input")
    shapes = [message.wholes("dim") for message in found.messages("input_shape")]
    flat = found.wholes("input_dim")
    shapes = shapes or [flat[place : place + 4] for place in range(0, len(flat), 4)]
    if len(shapes) != len(names):
        raise TextError(f"{len(names)} inputs have {len(shapes)} shapes")
    for name, shape in zip(names, shapes, strict=True):
        _add_input(net, name, shape)


def _add_input(net: Net, name: str, shape: list[int]) -> None:
    size = 1
    for dim in shape:
        size *= dim
    if not shape or min(shape) < 1 or size > MAX_VALUES:
        raise TextError(
            f"the input {name!r} has the impossible shape {' × '.join(map(str, shape[:8])) or 'of no axes'}"
        )
    net.inputs[name] = tuple(shape[1:])


def _add(net: Net, message: Message, blobs: dict[str, tuple[Blob, ...]]) -> None:
    name, kind = message.word("name"), message.word("type")
    kind = _OLD_TYPES.get(kind, kind)
    phases = [rule.word("phase") for rule in message.messages("include")] + message.words("phase")
    left_out = [rule.word("phase") for rule in message.messages("exclude")]
    if (phases and "TEST" not in phases and any(phases)) or "TEST" in left_out:
        return
    tops = tuple(message.words("top"))
    if kind == "Input":
        shapes = [shape.wholes("dim") for shape in message.message("input_param").messages("shape")]
        if len(shapes) == 1 and tops:
            shapes *= len(tops)
        if len(shapes) != len(tops):
            raise TextError(f"the layer {name!r} has {len(tops)} tops and {len(shapes)} shapes")
        for top, shape in zip(tops, shapes, strict=True):
            _add_input(net, top, shape)
        return
    if kind in _SOURCES:
        raise ModelFileError(
            f"{net.path}: the layer {name!r} ({kind}) reads a data set: this is a network for training.",
            remedy="pass the network for deployment (deploy.prototxt), which has inputs.",
        )
    net.layers.append(CaffeLayer(name, kind, tuple(message.words("bottom")), tops, message, blobs.get(name, ())))
