"""Asking a server that speaks TensorFlow Serving's REST protocol and runs the bare model file.

Source: TensorFlow Serving's RESTful API documentation.
"""

from __future__ import annotations

import base64
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Manifest
from deploykit.artifacts.client import Client
from deploykit.artifacts.wire import objects, text_or_bytes
from deploykit.core.model import align
from deploykit.exporters._bare import answers, feeds, names

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What TensorFlow Serving calls real numbers, by NumPy name.
_REAL = {"DT_HALF": "float16", "DT_FLOAT": "float32", "DT_DOUBLE": "float64"}


def ask(url: str, manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs for raw examples, which are given what preprocessing and the contract add; see `Exporter.ask`.

    Raises:
        ServeError: The examples are sequences, or nothing answers there.
        RequestError: The server refuses the inputs.
    """
    given = feeds(manifest, inputs)
    with Client(url, os.environ.get("DEPLOYKIT_TOKEN", "")) as client:
        found = predict(client, manifest.name, given, names(manifest))
    return answers(manifest, found, len(next(iter(inputs.values()))))


def predict(
    client: Client, model: str, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """A predict request in columns.

    Args:
        client: A connection to the server.
        model: The model's name.
        inputs: What the model file takes; names are matched to its signature's.
        outputs: Names to give the outputs, matched to the signature's.

    Raises:
        RequestError: The server refuses the inputs.
        ServeError: Nothing answers there.
        UnsupportedModelError: Names differ from the signature's so that it is not clear which is which.
    """
    base = f"/v1/models/{urllib.parse.quote(model)}"
    signature = client.get(f"{base}/metadata")["metadata"]["signature_def"]["signature_def"]["serving_default"]
    taken, given, sent = list(signature["inputs"]), list(signature["outputs"]), list(inputs)
    columns = {taken[j]: _columns(inputs[n]) for n, j in zip(sent, align(sent, taken), strict=True)}
    found = client.post(f"{base}:predict", {"inputs": columns})["outputs"]
    if not isinstance(found, dict):  # a single output comes without its name
        found = {given[0]: found}
    dtypes = {name: str(tensor.get("dtype")) for name, tensor in signature["outputs"].items()}
    pairs = [(name, given[j]) for name, j in zip(outputs, align(outputs, given), strict=True) if j >= 0]
    return {name: _array(found[there], dtypes[there]) for name, there in pairs if there in found}


def _columns(array: NDArray[Any]) -> Any:
    """Nested lists; text as the base64 of its bytes, which need not be UTF-8."""
    if array.dtype.kind not in "SUO":
        return array.tolist()
    return _encoded(array.tolist())


def _encoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_encoded(v) for v in value]
    data = value if isinstance(value, bytes) else str(value).encode()
    return {"b64": base64.b64encode(data).decode()}


def _array(value: Any, kind: str) -> NDArray[Any]:
    """An output from nested lists."""
    import numpy as np

    if kind != "DT_STRING":
        return np.asarray(value, _REAL.get(kind))
    shape, level = [], value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    flat: list[Any] = value if isinstance(value, list) else [value]
    for _ in shape[1:]:
        flat = [v for inner in flat for v in inner]
    return objects([text_or_bytes(base64.b64decode(v["b64"])) if isinstance(v, dict) else v for v in flat]).reshape(
        shape
    )
