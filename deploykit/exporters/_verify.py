"""``dk.verify``: whether an artifact, and the server that runs it, still answer as the measured model did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploykit.core.artifact import Artifact
from deploykit.core.errors import DeploykitError, ExportError
from deploykit.core.serial import Plain
from deploykit.exporters._arrays import load_arrays
from deploykit.exporters._client import Client
from deploykit.exporters._golden import compare
from deploykit.exporters._prove import prove


@dataclass(frozen=True)
class Verification(Plain):
    """Result of `verify`. True when everything was in order.

    Attributes:
        artifact: The folder.
        ok: Whether nothing was wrong.
        problems: What was wrong, one sentence each.
        files: How many files were compared with their digests.
        difference: Largest difference of the reloaded model from the golden outputs, relative to their range; None
            when it was not run.
        limit: Largest relative difference that still counts as the same.
        url: The server that was asked, "" for none.
        url_difference: The same as ``difference`` for the server's answers.
    """

    artifact: str
    ok: bool
    problems: tuple[str, ...]
    files: int
    difference: float | None
    limit: float
    url: str = ""
    url_difference: float | None = None

    def __bool__(self) -> bool:
        return self.ok

    def require(self) -> None:
        """Raise `ExportError` when something was wrong."""
        if not self.ok:
            raise ExportError(
                f"{self.artifact} is not as it was exported: {' '.join(self.problems)}", remedy="export it again."
            )

    def __str__(self) -> str:
        if not self.ok:
            return f"{self.artifact}: {' '.join(self.problems)}"
        text = f"{self.artifact}: {self.files} files unchanged, golden outputs reproduced within {self.difference:.2g}"
        if self.url:
            text += f", by {self.url} within {self.url_difference:.2g}"
        return f"{text} of their range (limit {self.limit:g})"


def verify(artifact: Artifact | str | Path, *, url: str | None = None, trusted: bool = False) -> Verification:
    """Check an artifact: digests of all files, then the model reloaded in a child process on its golden inputs.

    Args:
        artifact: The artifact or its folder.
        url: Address of a running server, for example ``http://127.0.0.1:8501``; it gets the golden inputs too.
            deploykit's own server and TensorFlow Serving are understood.
        trusted: Let the model hold operators that touch files or run code. Only ever set in code.

    Returns:
        What was found; nothing is raised for an artifact that fails.

    Raises:
        ExportError: There is no artifact at that path.
        MissingExtraError: The runtime it needs is not installed.
        DeviceError: The device it needs is absent.
    """
    opened = Artifact.open(artifact.path if isinstance(artifact, Artifact) else artifact)
    proof = prove(opened, trusted=trusted)
    problems = list(proof.problems)
    url_difference = None
    if url is not None and not problems:
        try:
            url_difference, found = _ask(opened, url)
            problems += [f"{url}: {text}" for text in found]
        except DeploykitError as error:
            problems.append(f"{url}: {error}")
    return Verification(
        artifact=str(opened.path),
        ok=not problems,
        problems=tuple(problems),
        files=len(opened.manifest.files),
        difference=proof.difference,
        limit=opened.manifest.tolerance,
        url=url or "",
        url_difference=url_difference,
    )


def _ask(artifact: Artifact, url: str) -> tuple[float, list[str]]:
    manifest = artifact.manifest
    inputs = load_arrays(artifact.path / manifest.golden_inputs)
    golden = load_arrays(artifact.path / manifest.golden_outputs)
    with Client(url) as client:
        if client.is_deploykit():
            found = client.infer(manifest.name, inputs)
        else:
            prepared = {
                k: manifest.preprocess[k].apply(v) if k in manifest.preprocess else v for k, v in inputs.items()
            }
            found = client.predict_tfserving(manifest.name, prepared, list(golden))
    return compare(golden, found, manifest.tolerance)
