"""What an export layout is.

`Exporter.write` fills a temporary folder; `deploykit.exporters._export` adds manifest and golden data, verifies the
result in a child process and only then renames it into place. `Exporter.ask` asks a running server of the layout.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.artifacts.artifact import Manifest
from deploykit.artifacts.encryption import Vault
from deploykit.core.adapter import Adapter
from deploykit.core.errors import ServeError
from deploykit.core.model import TensorSpec
from deploykit.core.parameter import Parameter, Value, complete
from deploykit.core.registry import Registry, registry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.measuring.exportable import Exportable


@dataclass(frozen=True)
class Draft:
    """What is known of an artifact before its files are written.

    Attributes:
        name: Name to serve the model by: letters, digits, ``.``, ``_`` and ``-``.
        inputs: Raw inputs as clients of deploykit's server send them.
        outputs: Outputs as they get them.
        file_inputs: What the model file takes, in its own order and by its own names; sizes that are free are None.
        file_outputs: What it gives.
        vault: Where the model's files are put, which may encrypt them.
        resident_bytes: The most memory of a process that ran the model on the golden inputs, its libraries included.
        joined: Whether examples of several requests may be run as one batch: the first axis of all tensors is the
            batch, it is free, and no example's answer depends on the others.
        examples: Some golden inputs as the model file takes them, by its own names, each a batch of one example.
        golden: Golden inputs as clients of deploykit's server send them, by name, batch first.
        requirements: pip requirements to run the model.
        suffix: Ending of the model file, with the dot; "" for a folder.
        stateful: What in the model file keeps state between calls.
        batch_dependent: Whether an example's answer depends on the others in its batch.
        extra_files: Files beside the model file that it refers to (external data), relative to its folder.
        parameters: The layout's parameters, checked and complete.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    vault: Vault
    examples: tuple[dict[str, NDArray[Any]], ...]
    golden: dict[str, NDArray[Any]]
    requirements: tuple[str, ...]
    suffix: str = ""
    extra_files: tuple[str, ...] = field(default=())
    stateful: tuple[str, ...] = ()
    batch_dependent: bool = False
    parameters: dict[str, Value] = field(default_factory=dict)
    file_inputs: tuple[TensorSpec, ...] = ()
    file_outputs: tuple[TensorSpec, ...] = ()
    joined: bool = False
    resident_bytes: int = 0


#: Where layouts are deployed, in words, in the order in which they are shown.
PLACES = {
    "servers": "Servers",
    "clusters": "Clusters",
    "clouds": "Clouds",
    "devices": "Devices",
    "exchange": "Registries and exchange",
}


class Exporter(Adapter):
    """An export layout.

    Attributes:
        accepts: Formats it can hold; None: any.
        parameters: Settings of the layout; `write` finds their values in `Draft.parameters`.
        place: Where it is deployed, a key of `PLACES`.
        sample: Kind of tiny model (`deploykit.testing.models.KINDS`) that shows it, where the small CNN cannot.
        encrypts: Whether deploykit's server runs it with nothing beside, so that its model may be encrypted: `write`
            puts the model's files into `Draft.vault`.
        bare: Whether its server runs the model file alone, without anything of deploykit around it.
        editable: Patterns of its files that may be changed when it is deployed, and names of those that are made later.
            ``*`` stands for any characters, slashes too. Servers and ``deploykit verify`` do not compare their digests.
    """

    accepts: ClassVar[frozenset[str] | None] = None
    sample: ClassVar[str] = ""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    place: ClassVar[str] = "servers"
    encrypts: ClassVar[bool] = False
    bare: ClassVar[bool] = False
    editable: ClassVar[tuple[str, ...]] = ()

    @property
    def shelf(self) -> tuple[int, str]:
        """Where it stands among the others: the position of its place, and the place in words."""
        return list(PLACES).index(self.place), PLACES[self.place]

    def complete(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """All parameters with their values.

        Raises:
            SettingError: An unknown parameter (lists the known ones) or a bad value.
        """
        return complete(self.parameters, dict(given), self.name)

    def refuses(self, format_name: str) -> str:
        """Why it cannot hold a format; "" when it can."""
        if self.accepts is None or format_name in self.accepts:
            return ""
        labels = {f.name: str(f.label) for f in registry("deploykit.loading", "format").all()}
        taken = ", ".join(labels.get(name, name) for name in sorted(self.accepts))
        return f"{self.label} takes {taken}, not {labels.get(format_name, format_name)}"

    @abstractmethod
    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write model and layout files into an empty folder.

        Returns:
            Path of the model in it, relative to ``folder``, with forward slashes.
        """

    def describe(self, candidate: Exportable, manifest: Manifest, card: str, folder: Path) -> None:
        """Write what holds the model card in the layout's own way, if there is such.

        Args:
            candidate: What is exported.
            manifest: Of the artifact.
            card: The model card, as Markdown.
            folder: With the files that `write` has written, which may be changed.
        """

    def ask(self, url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of a running server of this layout, for ``deploykit verify --url``.

        Args:
            url: Its address. It is not deploykit's own server, which is asked without this method.
            manifest: The artifact's manifest, which holds ``parameters`` as well.
            inputs: Raw examples by input name, batch first.

        Returns:
            Outputs by the contract's names, batch first.

        Raises:
            ServeError: Nothing answers there, or the layout is for deploykit's own server alone.
            RequestError: The server refuses the examples.
        """
        raise ServeError(
            f"{url} is not deploykit's own server, and the layout {self.name!r} cannot ask any other.",
            remedy="start one with deploykit serve.",
        )


EXPORTERS: Registry[Exporter] = Registry("deploykit.exporters", "layout")
