"""Asking a server that speaks the Open Inference Protocol v2."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.artifacts.client import Client
from deploykit.artifacts.grpc_client import connect
from deploykit.exporters._bare import answers, feeds

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ask(url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs of a bare model file for raw examples, preprocessed and completed here; see `Exporter.ask`.

    Raises:
        ServeError: The examples are sequences, or nothing answers there.
        RequestError: The server refuses the inputs.
    """
    found = infer(url, manifest.name, feeds(manifest, inputs))
    return answers(manifest, found, len(next(iter(inputs.values()))))


def infer(url: str, model: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs as a server gives them; in JSON over HTTP where it does not say that it takes binary tensors.

    Raises:
        ServeError: Nothing answers there.
        RequestError: The server refuses the inputs.
    """
    with connect(url, os.environ.get("DEPLOYKIT_TOKEN", "")) as client:
        if isinstance(client, Client) and "binary_tensor_data" not in (client.get("/v2").get("extensions") or ()):
            return client.infer_json(model, inputs)
        return client.infer(model, inputs)
