"""An artifact's model inside a server of others, in that server's own process: what their layouts load.

What is checked and run is deploykit's own data plane; the host only carries examples to it and outputs back.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.golden import compare
from deploykit.core.errors import ExportError
from deploykit.core.model import TensorSpec
from deploykit.runtimes._contract import RUNTIMES
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import InvalidInputError, shown
from deploykit.serving.tensors import converted, from_lists, to_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray


class HostedModel:
    """A model that was proved when it was opened. May be used by several threads.

    Args:
        folder: An exported folder. The digests of its model and golden data are compared, and the golden outputs must
            be reproduced; files beside the model's own folder belong to the host, which may rewrite them.

    Raises:
        ExportError: The folder is not an artifact, or has changed, or the golden outputs are not reproduced.
        MissingExtraError: The runtime it needs is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        artifact = Artifact.open(folder).essential
        self.name = artifact.manifest.name
        problems = artifact.problems()
        if not problems:
            RUNTIMES.get(artifact.manifest.target.runtime).check_installed()
            self._plane = DataPlane(artifact)
            self._turn = threading.Lock()
            with artifact.opened() as files:
                inputs, golden = files.golden()
            _, problems = compare(golden, self(inputs), artifact.manifest.tolerance)
        if problems:
            raise ExportError(f"{artifact.path}: {' '.join(problems)}", remedy="export it again.")

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Raw inputs by name, shapes with the batch first."""
        return self._plane.inputs

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Outputs by name, batch first.

        Args:
            inputs: Raw examples by input name: arrays, or nested lists as JSON holds them; batch first.

        Raises:
            InvalidInputError: The examples are not what the model takes.
        """
        plane = self._plane
        if not isinstance(inputs, Mapping):  # a host hands on what its client has sent
            raise InvalidInputError(f"Expected inputs by name, got {shown(inputs)}.")
        arrays = {name: _array(value, plane.spec(name), plane.real.get(name, "")) for name, value in inputs.items()}
        batch = plane.batch(arrays)
        with self._turn:
            return plane.infer(batch)

    def lists(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The same, as nested lists for JSON; bytes that are not text as ``{"b64": …}``."""
        return {name: to_lists(name, array) for name, array in self(inputs).items()}


class _PythonModel:
    """What MLflow calls."""

    def __init__(self, folder: str) -> None:
        self._model = HostedModel(folder)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> dict[str, NDArray[Any]]:
        """Outputs by name for arrays by input name."""
        del params  # the signature declares none, so that MLflow gives none
        return self._model(model_input)


def _load_pyfunc(data_path: str) -> _PythonModel:
    """Open an artifact for MLflow, whose ``MLmodel`` names this module as the model's loader."""
    return _PythonModel(data_path)


def _array(value: Any, spec: TensorSpec, real: str) -> NDArray[Any]:
    """An array in the dtype that clients are shown, where no value changes but for rounding."""
    import numpy as np

    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or spec.dtype in ("string", "bool"):
        return from_lists(_lists(value), spec, real=real)
    return converted(value, spec, real=real)


def _lists(value: Any) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray):
        return value.tolist()
    return value
