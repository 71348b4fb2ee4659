"""The requests that tuning sends: an artifact's golden inputs, one example each, as clients would send them."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.client import binary_request
from deploykit.artifacts.wire import JSON_LENGTH
from deploykit.core.errors import unknown_name
from deploykit.exporters._hosted import declared

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How examples travel: binary tensors as in Open Inference v2, or JSON as in TensorFlow Serving's REST protocol.
KINDS = ("binary", "json")


def requests_of(artifact: Artifact, kind: str) -> list[bytes]:
    """Whole HTTP requests.

    Args:
        artifact: Whose golden inputs they hold.
        kind: One of `KINDS`.

    Raises:
        SettingError: There is no such kind.
    """
    if kind not in KINDS:
        raise unknown_name("kind of requests", kind, KINDS)
    with artifact.opened() as files:
        golden, _ = files.golden()
    arrays = declared(artifact.manifest, golden)
    name = urllib.parse.quote(artifact.manifest.name)
    rows = [{n: a[i : i + 1] for n, a in arrays.items()} for i in range(len(next(iter(arrays.values()))))]
    if kind == "json":
        return [_request(f"/v1/models/{name}:predict", "application/json", _as_json(row)) for row in rows]
    found = []
    for row in rows:
        head, data = binary_request(row)
        length = f"{JSON_LENGTH}: {len(head)}"
        found.append(_request(f"/v2/models/{name}/infer", "application/octet-stream", head + data, length))
    return found


def _request(path: str, kind: str, body: bytes, *more: str) -> bytes:
    lines = f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more
    return "\r\n".join([*lines, "", ""]).encode() + body


def _as_json(row: Mapping[str, NDArray[Any]]) -> bytes:
    columns = {name: _plain(array.tolist()) for name, array in row.items()}
    message = {"instances": next(iter(columns.values()))} if len(columns) == 1 else {"inputs": columns}
    return json.dumps(message, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """Bytes as TensorFlow Serving takes them."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        import base64

        return {"b64": base64.b64encode(value).decode()}
    return value
