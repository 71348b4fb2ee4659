"""What a converter is: one edge of the graph of formats. `deploykit.converters._route` finds the way."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from deploykit.core.adapter import Adapter
from deploykit.core.errors import CandidateError
from deploykit.core.problem import Effect
from deploykit.core.registry import Registry


@dataclass
class Job:
    """What a converter or transform works on, in a child process.

    Attributes:
        source: The input model.
        target: Where to write the output: a path that does not exist yet, without an ending rule of its own.
        source_format: Format of ``source``.
        imports: Modules with custom layers; they have been imported.
        trusted: Code inside the model may run.
        notes: Facts for the report; the adapter adds to it.
    """

    source: Path
    target: Path
    source_format: str
    imports: tuple[str, ...] = ()
    trusted: bool = False
    notes: dict[str, Any] = field(default_factory=dict)

    def named(self, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
        """Note how the written file calls each tensor, so that nothing has to pair tensors by their order.

        Args:
            inputs: Name in the signature of the source → name in the file that was written, in the source's order.
            outputs: The same for outputs.
        """
        self.notes["names"] = {"inputs": dict(inputs), "outputs": dict(outputs)}

    def check_written(self, label: str) -> None:
        """Raise `CandidateError` when the adapter has written nothing."""
        if not self.target.exists():
            raise CandidateError(f"{label} wrote no output.", remedy="report this to the adapter's author.")


class Converter(Adapter):
    """Converts one format into another without changing what the model computes.

    Attributes:
        accepts: Format it reads.
        produces: Format it writes.
        refuses: What techniques may have done to a model that it cannot convert then.
        keeps_layers: Whether names, types and shapes of layers stay as they are.
    """

    accepts: ClassVar[str]
    produces: ClassVar[str]
    refuses: ClassVar[frozenset[Effect]] = frozenset()
    keeps_layers: ClassVar[bool] = False

    def convert(self, job: Job) -> None:
        """Convert ``job.source`` into ``job.target``.

        Raises:
            UnsupportedModelError: An operator or layer has no counterpart; names it.
        """
        self.check_installed()
        self._convert(job)
        job.check_written(self.label)

    @abstractmethod
    def _convert(self, job: Job) -> None:
        """Write ``job.target``."""


CONVERTERS: Registry[Converter] = Registry("deploykit.converters", "converter")
