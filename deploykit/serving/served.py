"""What a server has of one version of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from deploykit.serving.dataplane import DEFAULT_SIGNATURE, DataPlane
from deploykit.serving.faults import InvalidInputError, shown

if TYPE_CHECKING:
    from deploykit.serving.batches import Batch, Outputs


Done = TypeVar("Done")


class Runs(Protocol):
    """Runs batches of a model."""

    async def run(self, batch: Batch) -> Outputs:
        """Outputs by name; raises a `Fault` where there are none."""

    async def apart(self, batch: Batch, work: Callable[[DataPlane, Batch], Done]) -> Done:
        """What else is to be found out of a batch, in the thread that the model belongs to."""


@dataclass(frozen=True)
class ServedModel:
    """One version of a model. Lives as long as a request uses it, also when it is served no more.

    Attributes:
        plane: What it accepts and how it predicts.
        version: Its version, a whole number as text.
        runner: Runs its batches.
        others: Its other functions by name, where it has several: SavedModels call them signatures.
    """

    plane: DataPlane
    version: str
    runner: Runs
    others: Mapping[str, ServedModel] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.plane.name

    def signature(self, name: str) -> ServedModel:
        """One of its functions.

        Args:
            name: Its name; "" for TensorFlow Serving's default.

        Raises:
            InvalidInputError: There is none, or it cannot be served.
        """
        wanted = name or DEFAULT_SIGNATURE
        if wanted == self.plane.signature:
            return self
        if (found := self.others.get(wanted)) is not None:
            return found
        known = ", ".join(map(repr, (self.plane.signature, *self.others)))
        said = self.plane.left_out.get(wanted)
        raise InvalidInputError(
            f"Signature {wanted!r} cannot be served: {said} There are {known}."
            if said
            else f"Expected {known}{'' if self.others else ', the only signature'}.",
            f"Serving signature key {shown(wanted)} not found.",
        )


class State(NamedTuple):
    """State of a version that is not, or not only, served.

    Attributes:
        state: TensorFlow Serving's name of it: ``"LOADING"``, ``"AVAILABLE"``, ``"UNLOADING"``, ``"END"``.
        code: Name of gRPC's status code for it, ``"OK"`` where nothing went wrong.
        message: What went wrong.
    """

    state: str
    code: str = "OK"
    message: str = ""
