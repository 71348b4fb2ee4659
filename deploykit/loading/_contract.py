"""What a model format is.

`Format.matches` runs in the user's process and sees bytes only. `Format.read` runs in a child process behind the
gate: it may parse the file, and runs nothing of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.adapter import Adapter, Group
from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.errors import ModelFileError, SettingError, UnsupportedModelError
from deploykit.core.layers.kinds import LayerKind
from deploykit.core.model import Layer, Model, TensorSpec
from deploykit.core.registry import Registry
from deploykit.core.serial import Plain
from deploykit.loading._nodes import GraphNode, NodeWeight, Values, digest_of
from deploykit.runtimes._contract import Runtime, runtimes_for
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Saved:
    """Where a live object was put, as `Format.save` gives it.

    Attributes:
        path: The file or folder, named by its content.
        name: What the user calls the model.
        imports: Importable modules that define its custom layers.
    """

    path: Path
    name: str
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weight:
    """A weight tensor of at least two dimensions, as `Format.weights` gives it.

    Attributes:
        layer: Name of the layer or node that uses it, as in `Summary`.
        name: Its own name in the file.
        shape: Its dimensions, in the format's order.
        stored: What the file stores, for example ``"int8"``.
        load: Gives its values as real numbers: quantized ones are multiplied by their scales.
        scaled: Whether the scales of quantized values were found; else ``load`` gives whole numbers.
    """

    layer: str
    name: str
    shape: tuple[int, ...]
    stored: str
    load: Callable[[], NDArray[Any]]
    scaled: bool = True


def held(weights: Iterable[Weight]) -> dict[str, list[NodeWeight]]:
    """Weights by the paths of their layers."""
    found: dict[str, list[NodeWeight]] = {}
    for weight in weights:
        known = NodeWeight(weight.name, weight.shape, weight.stored, digest_of(weight.load()))
        found.setdefault(weight.layer, []).append(known)
    return found


@dataclass(frozen=True)
class Summary(Plain):
    """What a format's reader finds in a file; see `deploykit.core.model.Model` for the fields.

    Without outputs it is incomplete: `Format.read_fully` is asked then. ``extra_files`` are the paths of further files
    the model consists of; they count for its digest and size.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...] = ()
    parameter_count: int = 0
    warnings: tuple[str, ...] = ()
    extra_files: tuple[str, ...] = field(default=())
    operator_set: int = 0
    stateful: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts(Plain):
    """What a model file consists of; the fields are those of `Summary`."""

    extra_files: tuple[str, ...] = ()
    stateful: tuple[str, ...] = ()


@dataclass(frozen=True)
class Feature(Plain):
    """What a model looks for in the ``tf.Example`` messages that it is given.

    Attributes:
        name: Its name.
        dtype: Of its values: ``"float32"``, ``"int64"`` or ``"string"``.
        size: How many values.
    """

    name: str
    dtype: str
    size: int


@dataclass(frozen=True)
class Described(Plain):
    """One of the functions of a model file.

    Attributes:
        method: What it is for, in TensorFlow Serving's words (``"tensorflow/serving/predict"``).
        inputs: Names of its inputs in the file, by its own names.
        outputs: Names of its outputs in the file, by its own names.
        stateful: What it changes when it runs.
        features: What it looks for in ``tf.Example`` messages.
    """

    method: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    stateful: tuple[str, ...] = ()
    features: tuple[Feature, ...] = ()


class Format(Adapter):
    """A model file format.

    Attributes:
        live: What it `takes`, in words: ``"a keras.Model"``; "" when it takes no objects.
        suffixes: Usual endings, with the dot, the most usual first; empty for folders.
        shared_suffixes: Those of ``suffixes`` that other tools open as well, as text or as a container of data.
        companions: Endings of files that lie beside the model and belong to it.
        is_folder: Whether a model of this format is a folder.
        full_group: Import group in which `read_fully` can run; None when `read` tells all. Formats that have one can
            use the user's own classes.
        frozen: Ending of a file that its models can be saved as besides: a graph of TensorFlow with constants for
            variables; "" for none.
        names_ends: Whether users may name other inputs and outputs than its files do; see `cut`.
        kinds: Types of layers by what they do, without the domain before them (``com.microsoft.``).
    """

    live: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]]
    shared_suffixes: ClassVar[tuple[str, ...]] = ()
    companions: ClassVar[tuple[str, ...]] = ()
    is_folder: ClassVar[bool] = False
    full_group: ClassVar[Group | None] = None
    frozen: ClassVar[str] = ""
    names_ends: ClassVar[bool] = False
    kinds: ClassVar[Mapping[LayerKind, frozenset[str]]] = {}

    @abstractmethod
    def matches(self, path: Path, head: bytes) -> bool:
        """Whether the content is of this format.

        Args:
            path: File or folder, known to exist and to be no device.
            head: The first 4096 bytes of a file, b"" for a folder.
        """

    @abstractmethod
    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Parse the file's structure in a child process, without running anything.

        Raises:
            ModelFileError: Truncated, broken or hostile; names the file and the member.
            UnsafeModelError: It would run code of its own and ``trusted`` is false.
        """

    def mistake(self, path: Path, head: bytes) -> ModelFileError | None:
        """What a file is that users pass in place of a model of this format, such as a part of one; None for any other.

        Called in the user's process for files that no format takes; sees bytes only.
        """
        del path, head
        return None

    def cut(
        self, path: Path, target: Path, inputs: tuple[str, ...], outputs: tuple[str, ...], *, trusted: bool
    ) -> None:
        """Write a file of this format that has the inputs and outputs that the user has named.

        Called in a child of `full_group` for formats with ``names_ends``.

        Args:
            path: A file.
            target: The file to write, which says what its inputs and outputs are; `companions` have its name.
            inputs: Names of tensors in the file, in order; () for those it seems to have.
            outputs: The same for outputs.
            trusted: Code inside the model may run.

        Raises:
            SettingError: The file has no such tensor, or they do not belong together.
            ModelFileError: As `read`.
        """
        raise NotImplementedError

    def parts(self, path: Path, *, trusted: bool) -> Parts:
        """What the file consists of, checked like `read`: asked before a runtime opens an exported model.

        Fill this where `read` needs packages that a server does not have.

        Raises:
            ModelFileError: Truncated, broken or hostile; names the file and the member.
            UnsafeModelError: It would run code of its own and ``trusted`` is false.
        """
        found = self.read(path, trusted=trusted, imports=())
        return Parts(found.extra_files, found.stateful)

    def signatures(self, path: Path) -> dict[str, Described]:
        """Functions of a file that `read` or `parts` has accepted, by name; empty where the format has but one.

        Called in a child process.
        """
        del path
        return {}

    def takes(self, thing: object) -> bool:
        """Whether ``dk.load(thing)`` means this format. Called for any object; imports nothing."""
        return False

    def save(self, thing: Any) -> Saved:
        """Save an object that it `takes`; see `deploykit.loading._live.keep`.

        Called in the user's process, where the object lives. The file is read like any other afterwards.

        Raises:
            UnsupportedModelError: It cannot be saved as it is; says what to do.
        """
        raise NotImplementedError

    def save_with(self, thing: Any, example: Any) -> Saved:
        """Save an object that it `takes` and that does not know the shapes of its inputs.

        Args:
            thing: The object.
            example: What it takes, with the batch first: an array, a tuple of them, or a dict of them by name.

        Raises:
            SettingError: The example cannot be used.
            UnsupportedModelError: It cannot be saved as it is; says what to do.
        """
        del thing, example
        raise SettingError(f"The setting example has no effect on {self.label} models.", remedy="leave it out.")

    def read_fully(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Read the summary by loading the model in its own framework, in a child of `full_group`.

        Called when `read` could not tell the signature, after it has found nothing unsafe.
        """
        raise UnsupportedModelError(
            f"{path}: the signature of this {self.label} file cannot be determined.", remedy="export the model again."
        )

    def kind_of(self, layer: Layer) -> LayerKind:
        """What a layer does. Called in a child process for each layer whose ``kind`` the reader has not seen itself."""
        return self._kinds_by_type.get(layer.type.rpartition(".")[2], "other")

    @cached_property
    def _kinds_by_type(self) -> dict[str, LayerKind]:
        return {name: kind for kind, names in self.kinds.items() for name in names}

    def given_group(self) -> Group:
        """Import group in which `open_given` can run."""
        return self.full_group or self._own_runtime().group

    def open_given(
        self, path: Path, contract: Contract | None, *, imports: tuple[str, ...] = (), trusted: bool = False
    ) -> Session:
        """Open a model as it was given, in its own framework, to be fed and read as a contract says.

        Without a contract, it is fed and read by the file's own names.

        Its answers are what every conversion is compared with. Called in a child of `given_group`.

        Raises:
            UnsupportedModelError: Its runtime is not installed, or lacks an operator.
        """
        return self._open_given(path, imports=imports, trusted=trusted).follow(contract)

    def _open_given(self, path: Path, *, imports: tuple[str, ...], trusted: bool) -> Session:
        """Fill this where the format's framework is not a runtime."""
        runtime = self._own_runtime()
        return runtime.open(path, Target(runtime.name, threads=0), self.name)

    def _own_runtime(self) -> Runtime:
        able = runtimes_for(self.name)
        if not able:
            raise UnsupportedModelError(f"No runtime that runs {self.label} files is installed.", remedy="install one.")
        return able[0]

    def quantized(self, model: Model) -> str:
        """What shows that a model is quantized already, in words; "" when nothing does. Looks at the summary only."""
        del model
        return ""

    def weights(self, path: Path) -> Iterator[Weight]:
        """The weight tensors of at least two dimensions, in the order of the layers. Called in a child process.

        Args:
            path: A file or folder that `read` has accepted.

        Raises:
            UnsupportedModelError: This format does not list its weights.
        """
        raise UnsupportedModelError(f"{path}: the weights of {self.label} files cannot be listed.")

    def nodes(self, path: Path) -> list[GraphNode]:
        """The nodes of the graph in the order in which they run. Called in a child process.

        Fill this where more is known than the layers of the summary.

        Args:
            path: A file or folder that `read` has accepted.
        """
        summary = self.read(path, trusted=False, imports=())
        try:
            found = held(self.weights(path))
        except UnsupportedModelError:
            found = {}
        nodes = []
        for layer in summary.layers:
            # Of formats that do not list weights only their number is known.
            count = (NodeWeight("", (layer.parameters,), "", ""),) if layer.parameters else ()
            kind = layer.kind or self.kind_of(layer)
            known = tuple(found.get(layer.name, ())) or count
            nodes.append(GraphNode(layer.name, layer.type, kind, (), (layer.name,), known, shape=layer.shape))
        return nodes

    def values(self, path: Path, session: Session, feeds: Mapping[str, NDArray[Any]]) -> Values:
        """What the nodes compute for some inputs, as real numbers. Called in a child process.

        Args:
            path: A file or folder.
            session: What `open_given` has given for it.
            feeds: Arrays by the names of the session's inputs, no more than its batch size.

        Raises:
            UnsupportedModelError: What is between the nodes of this format cannot be seen.
        """
        raise UnsupportedModelError(
            f"What the nodes of {self.label} files compute cannot be read.",
            remedy="compare the candidate with one in a format whose nodes can be run.",
        )


FORMATS: Registry[Format] = Registry("deploykit.loading", "format")
