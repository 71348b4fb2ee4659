"""All behaviour of the server: what it accepts, how it predicts, what it says of itself. Protocols sit above it.

A `Batch` is checked and preprocessed; `DataPlane.infer` runs one. Whatever comes between (queues, threads, batches put
together from several requests) needs to know no more than that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploykit.core.artifact import Artifact
from deploykit.core.errors import DatasetError
from deploykit.core.model import TensorSpec
from deploykit.exporters._arrays import load_arrays
from deploykit.exporters._pipeline import Pipeline
from deploykit.serving.faults import BadRequestError, NotFoundError
from deploykit.serving.tensors import check_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: An artifact is one version of a model.
VERSION = "1"
_WARM_RUNS = 5


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples that may be run: checked, preprocessed, by the model file's input names.

    Attributes:
        arrays: Input name → examples, batch first.
        count: How many examples.
    """

    arrays: dict[str, NDArray[Any]]
    count: int


class DataPlane:
    """One served model. Used by one thread at a time.

    Args:
        artifact: What to serve; opened in this process, so only in one made for it.

    Attributes:
        name: Name it is served by.
        inputs: Raw inputs by name.
        outputs: Outputs by name.
        classes: Class names by index.
        platform: Runtime and format, as the v2 protocol names them.
        example_seconds: Time one example takes, measured while warming up.
    """

    def __init__(self, artifact: Artifact) -> None:
        manifest = artifact.manifest
        self.name = manifest.name
        self.inputs: dict[str, TensorSpec] = {spec.name: spec for spec in manifest.inputs}
        self.outputs: dict[str, TensorSpec] = {spec.name: spec for spec in manifest.outputs}
        self.classes = manifest.classes
        self.platform = f"{manifest.target.runtime}_{manifest.format}"
        self._pipeline = Pipeline.open(artifact)
        self.example_seconds = self._warm_up(load_arrays(artifact.path / manifest.golden_inputs))

    def _warm_up(self, golden: Mapping[str, NDArray[Any]]) -> float:
        batch = self.batch({name: golden[name][:1] for name in self.inputs})
        times = []
        for _ in range(_WARM_RUNS):
            start = time.perf_counter()
            self.infer(batch)
            times.append(time.perf_counter() - start)
        return sorted(times)[_WARM_RUNS // 2]

    def spec(self, name: Any) -> TensorSpec:
        """The input called ``name``.

        Raises:
            BadRequestError: There is none; lists those there are.
        """
        try:
            return self.inputs[name]
        except (KeyError, TypeError):
            raise BadRequestError(f"unknown input {name!r}; expected {self._names()}.") from None

    def sole_input(self) -> TensorSpec:
        """The only input.

        Raises:
            BadRequestError: There are several, so that they must be named.
        """
        if len(self.inputs) != 1:
            raise BadRequestError(
                f"the model takes {len(self.inputs)} inputs; expected an object with {self._names()}."
            )
        return next(iter(self.inputs.values()))

    def check_names(self, names: Iterable[str]) -> None:
        """Raise `BadRequestError` unless exactly the model's inputs are named."""
        got = list(names)
        if set(got) != set(self.inputs) or len(got) != len(self.inputs):
            raise BadRequestError(f"expected the inputs {self._names()}; got {', '.join(map(repr, got)) or 'none'}.")

    def batch(self, arrays: Mapping[str, NDArray[Any]]) -> Batch:
        """Check raw examples, dtypes already right, and preprocess them.

        Raises:
            BadRequestError: Names or shapes are wrong, no example is given, or the inputs have different numbers.
        """
        self.check_names(arrays)
        counts = {}
        for name, array in arrays.items():
            check_shape(array.shape, self.inputs[name])
            counts[name] = len(array) if array.ndim else 0
        count = next(iter(counts.values()))
        if any(other != count for other in counts.values()):
            shown = ", ".join(f"{name!r} has {n}" for name, n in counts.items())
            raise BadRequestError(f"expected the same number of examples in all inputs; {shown}.")
        if count == 0:
            raise BadRequestError("expected at least one example, got none.")
        try:
            return Batch(self._pipeline.prepare(arrays), count)
        except DatasetError as error:
            raise BadRequestError(str(error)) from error

    def infer(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Run a batch: outputs by name."""
        return self._pipeline.run(batch.arrays)

    def check_model(self, name: str, version: str | None) -> None:
        """Raise `NotFoundError` unless this model and version are served (in TensorFlow Serving's words)."""
        if name == self.name and version in (None, VERSION):
            return
        request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise NotFoundError(
            f"Servable not found for request: {request}. This server has {self.name!r}, version {VERSION}."
        )

    def _names(self) -> str:
        return ", ".join(map(repr, self.inputs))
