"""What a server has of one version of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from deploykit.serving.dataplane import DataPlane

if TYPE_CHECKING:
    from deploykit.serving.batches import Batch, Outputs


class Runs(Protocol):
    """Runs batches of a model."""

    async def run(self, batch: Batch) -> Outputs:
        """Outputs by name; raises a `Fault` where there are none."""


@dataclass(frozen=True)
class ServedModel:
    """One version of a model. Lives as long as a request uses it, also when it is served no more.

    Attributes:
        plane: What it accepts and how it predicts.
        version: Its version, a whole number as text.
        runner: Runs its batches.
    """

    plane: DataPlane
    version: str
    runner: Runs

    @property
    def name(self) -> str:
        """The model's name."""
        return self.plane.name


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
