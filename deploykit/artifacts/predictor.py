"""Raw examples in, named outputs out: the one piece of code that golden data, verification and the server share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploykit.artifacts.artifact import OpenedArtifact
from deploykit.core.calling import Calling
from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.security.memory import MemoryFiles
from deploykit.data.preprocess import Preprocess, prepared
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Predictor:
    """An opened model behind its preprocessing. Used by one thread at a time; opened in child processes only.

    Args:
        session: The opened model, which follows a contract: inputs and outputs have its names.
        preprocess: Input name → preprocessing.
        batch_size: Examples that run at once, 0 for all that come together. See `Manifest.batch_dependent`.
    """

    def __init__(self, session: Session, preprocess: Mapping[str, Preprocess], batch_size: int = 0) -> None:
        self.session = session
        self._count = 0
        self.batch_size = batch_size
        self._steps = {name: step for name, step in preprocess.items() if not step.is_identity}

    @classmethod
    def open(cls, files: OpenedArtifact, tap: str = "") -> Self:
        """Open the model of an artifact, which stays open as long as it is used.

        Args:
            files: The artifact's.
            tap: Tensor that `embedding` then gives; "" for none.
        """
        manifest = files.manifest
        session = open_session(
            files.model, manifest.served_target, manifest.format, manifest.contract, manifest.calling, tap
        )
        return cls(session, manifest.preprocess, manifest.target.batch_size if manifest.batch_dependent else 0)

    def prepare(self, raw: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Preprocessed examples by input name.

        Raises:
            DatasetError: The examples cannot be preprocessed.
        """
        return prepared(raw, self._steps) if self._steps else dict(raw)

    def run(self, prepared: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name, batch first.

        Raises:
            DatasetError: An input is missing, or the model cannot hold its values.
        """
        size = self.batch_size
        count = self._count = len(next(iter(prepared.values())))
        if self.session.tapped:
            self.session.tapped.clear()
        if not size or count <= size:
            return self.session.predict(prepared)
        import numpy as np

        parts = [
            self.session.predict({name: array[start : start + size] for name, array in prepared.items()})
            for start in range(0, count, size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    @property
    def embedding(self) -> NDArray[Any] | None:
        """What the last layer saw of the examples that were run last, batch first; None without a tap."""
        found = self.session.tapped
        if not found:
            return None
        if len(found) == 1:
            return found[0] if len(found[0]) == self._count else found[0][: self._count]
        import numpy as np

        return np.concatenate(found)[: self._count]

    def __call__(self, raw: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name for raw examples, batch first."""
        return self.run(self.prepare(raw))


def open_session(
    path: Path | MemoryFiles,
    target: Target,
    format_name: str,
    contract: Contract,
    calling: Calling | None = None,
    tap: str = "",
) -> Session:
    """Open a model file on the runtime, device and threads it was measured on; in a child process."""
    return RUNTIMES.get(target.runtime).open(path, target, format_name, contract, calling, tap)
