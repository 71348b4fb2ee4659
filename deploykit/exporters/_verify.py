"""``dk.verify``: whether an artifact, and the server that runs it, still answer as the measured model did."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Artifact, Manifest
from deploykit.artifacts.encryption import check_key
from deploykit.artifacts.golden import compare
from deploykit.artifacts.grpc_client import connect
from deploykit.artifacts.prove import Proof, prove
from deploykit.artifacts.signing import PublicKey
from deploykit.core.errors import DeploykitError, ExportError
from deploykit.core.serial import Plain
from deploykit.exporters._contract import EXPORTERS
from deploykit.exporters._hosted import declared

if TYPE_CHECKING:
    from numpy.typing import NDArray


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

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/verification", overwrite=True)
        >>> verification = dk.verify(artifact)
        >>> bool(verification), verification.problems
        (True, ())
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
                f"{self.artifact} has changed since it was exported: {' '.join(self.problems)}",
                remedy="export it again.",
            )

    def __str__(self) -> str:
        if not self.ok:
            return f"{self.artifact}: {' '.join(self.problems)}"
        text = f"{self.artifact}: {self.files} files unchanged, golden outputs reproduced within {self.difference:.2g}"
        if self.url:
            text += f", by {self.url} within {self.url_difference:.2g}"
        return f"{text} of their range (limit {self.limit:g})"


def verify(
    artifact: Artifact | str | Path,
    *,
    url: str | None = None,
    key: str | None = None,
    require_signature: str | Path | None = None,
    trusted: bool = False,
) -> Verification:
    """Check an artifact: digests of all files, then the model reloaded in a child process on its golden inputs.

    Args:
        artifact: The artifact or its folder.
        url: Address of a running server, for example ``http://127.0.0.1:8501``; it is also sent the golden inputs.
            deploykit's own server is asked directly, over gRPC if the address begins with ``grpc://`` (``grpcs://``
            with TLS); any other one in the way that the artifact's layout brings.
        key: The place of the key to an encrypted artifact; None: the key that it was exported or opened with.
        require_signature: PEM file of a public key: the artifact must be signed by its private key, and every file in
            its folder must be as it was then. It is checked before anything else.
        trusted: Allow operators that touch files or run code. Can only be set in code.

    Returns:
        The findings; an artifact that fails does not raise an error.

    Raises:
        ExportError: The path does not hold an artifact, or one that is encrypted with another key than that given.
        SettingError: There is no key at that place, or no public key in the file.
        MissingExtraError: The runtime it needs is not installed, or what signatures are checked with.
        DeviceError: The device it needs is absent.

    Example:
        >>> built = dk.build(model, dk.Step("quantize_dynamic"), data, target="onnxruntime")
        >>> artifact = dk.export(built, "exported/verified", overwrite=True)
        >>> dk.verify(artifact).ok
        True
    """
    opened = Artifact.of(artifact, key)
    check_key(opened.manifest.encryption, opened.key, str(opened.path))
    proof = (require_signature and _unsigned(opened, require_signature)) or prove(opened, trusted=trusted)
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
        files=len(opened.fixed_files),
        difference=proof.difference,
        limit=opened.manifest.tolerance,
        url=url or "",
        url_difference=url_difference,
    )


def _unsigned(artifact: Artifact, public_key: str | Path) -> Proof | None:
    """What is wrong with its signature; None if nothing is."""
    key = PublicKey.read(public_key)
    try:
        artifact.check_signature(key)
    except ExportError as error:
        return Proof((str(error),))
    return None


def _ask(artifact: Artifact, url: str) -> tuple[float, list[str]]:
    manifest = artifact.manifest
    with artifact.opened() as files:
        inputs, golden = files.golden()
    with connect(url, os.environ.get("DEPLOYKIT_TOKEN", "")) as client:
        found = client.infer(manifest.name, declared(manifest, inputs)) if client.is_deploykit() else None
    if found is None:
        found = _ask_as_exported(manifest, url, inputs)
    return compare(golden, found, manifest.tolerance)


def _ask_as_exported(manifest: Manifest, url: str, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs of the server that the layout was made for; as many examples at a time as were measured."""
    import numpy as np

    exporter = EXPORTERS.get(manifest.layout)
    manifest = replace(manifest, parameters=exporter.complete(manifest.parameters))  # older ones hold fewer
    count = len(next(iter(inputs.values())))
    size = manifest.target.batch_size if manifest.batch_dependent else count
    parts = [
        exporter.ask(url, manifest, {name: array[start : start + size] for name, array in inputs.items()})
        for start in range(0, count, size)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
