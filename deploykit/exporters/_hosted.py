"""Folders whose model deploykit itself runs, inside a server of others: the files, and how such a server is asked.

Its clients send raw examples by the contract's names, as to deploykit's own server.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.artifacts.client import Client
from deploykit.core.errors import RequestError
from deploykit.exporters._contract import Draft
from deploykit.exporters._files import copy_model
from deploykit.exporters._open_inference_client import infer
from deploykit.exporters._wheel import write_wheel
from deploykit.measuring.exportable import Exportable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def write_model(candidate: Exportable, draft: Draft, folder: Path, under: str = "") -> str:
    """Copy the model and the files that it refers to; returns the model's path in the folder.

    Args:
        candidate: What is exported.
        draft: What is known of it.
        folder: The artifact's folder.
        under: A folder in it, with a slash at its end; "" for the artifact's folder itself.
    """
    model = f"{under}model{draft.suffix}"
    draft.vault.copy(candidate.path, model, copy_model)
    for name in draft.extra_files:
        draft.vault.copy(candidate.path.parent / name, f"{under}{name}", copy_model)
    return model


def write_requirements(draft: Draft, folder: Path, also: Iterable[str] = ()) -> str:
    """Write deploykit's wheel and ``requirements.txt``, which finds it wherever pip is started; returns its name."""
    wheel = write_wheel(folder)
    lines = ["--find-links .", *also, *draft.requirements]
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return wheel


def ask_open_inference(url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """Outputs for raw examples by the Open Inference Protocol; see `Exporter.ask`."""
    return infer(url, manifest.name, declared(manifest, inputs))


def ask_json(
    url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]], *, path: str, sent: str, found: str
) -> Arrays:
    """Outputs for raw examples in columns of JSON; see `Exporter.ask`.

    Args:
        url: Address of the server.
        manifest: The artifact's manifest.
        inputs: Raw examples by input name.
        path: Where it takes predictions.
        sent: Member of the request's object that holds the columns; "" for the object itself.
        found: The same of the answer's.

    Raises:
        RequestError: The server refuses the examples, or answers something else.
        ServeError: Nothing answers there.
    """
    import numpy as np

    columns = {name: array.tolist() for name, array in declared(manifest, inputs).items()}
    with Client(url, os.environ.get("DEPLOYKIT_TOKEN", "")) as client:
        answer = client.post(path, {sent: columns} if sent else columns)
    outputs = answer.get(found) if found and isinstance(answer, dict) else answer
    if not isinstance(outputs, dict):
        raise RequestError(f"{url} answers {str(answer)[:80]!r} instead of outputs by name.")
    dtypes = {spec.name: spec.dtype for spec in manifest.outputs}
    return {
        name: np.asarray(value, object if dtypes[name] == "string" else dtypes[name])
        for name, value in outputs.items()
        if name in dtypes
    }


def declared(manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """Golden inputs in the dtypes that clients are given: data may have come in others."""
    dtypes = {spec.name: spec.dtype for spec in manifest.inputs}
    return {n: a if a.dtype.kind in "SUO" else a.astype(dtypes[n], copy=False) for n, a in inputs.items()}
