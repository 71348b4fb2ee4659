"""Asking a server that speaks the Open Inference Protocol v2 and runs the bare model file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.artifacts.grpc_client import connect
from deploykit.exporters._bare import answers, feeds

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ask(url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs for raw examples, which are given what preprocessing and the contract add; see `Exporter.ask`.

    Raises:
        ServeError: The examples are sequences, or nothing answers there.
        RequestError: The server refuses the inputs.
    """
    given = feeds(manifest, inputs)
    with connect(url, os.environ.get("DEPLOYKIT_TOKEN", "")) as client:
        found = client.infer(manifest.name, given)
    return answers(manifest, found, len(next(iter(inputs.values()))))
