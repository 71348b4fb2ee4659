"""Raw examples in, named outputs out: the one piece of code that golden data, verification and the server share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.artifact import Artifact
from deploykit.core.candidate import Target
from deploykit.core.errors import ExportError
from deploykit.core.model import align
from deploykit.core.preprocess import Preprocess
from deploykit.runtimes._contract import RUNTIMES, Session

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Pipeline:
    """An opened model behind its preprocessing. Used by one thread at a time; opened in child processes only.

    Args:
        session: The opened model.
        inputs: Names clients use for the inputs.
        preprocess: Input name → preprocessing.
        outputs: Names clients are to get for the outputs; the file's own names when their number differs.
    """

    def __init__(
        self,
        session: Session,
        inputs: Sequence[str],
        preprocess: Mapping[str, Preprocess],
        outputs: Sequence[str],
    ) -> None:
        self.session = session
        taken = [spec.name for spec in session.inputs]
        given = [spec.name for spec in session.outputs]
        if len(inputs) != len(taken):
            raise ExportError(
                f"the model file takes {len(taken)} input(s) ({'; '.join(map(str, session.inputs))}), the data have "
                f"{len(inputs)}: {', '.join(inputs)}."
            )
        self.outputs = tuple(outputs) if len(outputs) == len(given) else tuple(given)
        #: Client's input name → the file's.
        self.file_names = {name: taken[j] for name, j in zip(inputs, align(inputs, taken), strict=True)}
        self._steps = [(n, self.file_names[n], preprocess.get(n, Preprocess())) for n in inputs]
        #: Client's output name and the file's, in the clients' order.
        self.pairs = [(name, given[j]) for name, j in zip(self.outputs, align(self.outputs, given), strict=True)]

    @classmethod
    def open(cls, artifact: Artifact) -> Pipeline:
        """Open the model of an artifact."""
        manifest = artifact.manifest
        session = open_session(artifact.model_path, manifest.target, manifest.format)
        return cls(session, [i.name for i in manifest.inputs], manifest.preprocess, [o.name for o in manifest.outputs])

    def prepare(self, raw: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Preprocessed examples by the file's input names.

        Raises:
            DatasetError: The examples cannot be preprocessed.
        """
        return {file_name: step.apply(raw[name]) for name, file_name, step in self._steps}

    def run(self, prepared: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by the clients' names."""
        found = self.session.predict(prepared)
        return {name: found[file_name] for name, file_name in self.pairs}

    def __call__(self, raw: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return self.run(self.prepare(raw))


def open_session(path: Path, target: Target, format_name: str) -> Session:
    """Open a model file on the runtime, device and threads it was measured on; in a child process."""
    return RUNTIMES.get(target.runtime).open(path, target, format_name)
