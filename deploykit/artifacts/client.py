"""A small client of running servers, on the standard library alone."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from deploykit.artifacts.wire import JSON_LENGTH, datatype, from_bytes, objects, text_or_bytes, to_bytes
from deploykit.core.errors import RequestError, ServeError, SettingError
from deploykit.core.model import align

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TIMEOUT_S = 60.0


class Client:
    """A connection to a server. Used by one thread at a time.

    Args:
        url: Its address, for example ``http://127.0.0.1:8501``.

    Raises:
        SettingError: The address is none.
    """

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise SettingError(f"{url!r} is not a server address.", remedy="it looks like http://127.0.0.1:8501.")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.url = url
        self._base = parts.path.rstrip("/")
        self._connection = kind(parts.hostname, port, timeout=_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def is_deploykit(self) -> bool:
        """Whether the server is deploykit's own, which takes raw examples.

        Raises:
            ServeError: Nothing answers there.
        """
        try:
            found = self.get("/v2")
        except RequestError:
            return False
        return isinstance(found, dict) and found.get("name") == "deploykit"

    def get(self, path: str) -> Any:
        """The JSON answer to a GET.

        Raises:
            RequestError: The server answers with an error.
            ServeError: Nothing answers there.
        """
        return _parse(self._send("GET", path, None, {})[1])

    def post(self, path: str, body: Any) -> Any:
        """The JSON answer to a POST of JSON; errors as for `get`."""
        text = json.dumps(body).encode()
        return _parse(self._send("POST", path, text, {"Content-Type": "application/json"})[1])

    def infer(self, model: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Predict over the Open Inference Protocol v2 with binary tensors: dtypes and bits arrive unchanged.

        Raises:
            RequestError: The server refuses the inputs; says what it expected and what it got.
            ServeError: Nothing answers there.
        """
        blobs = [to_bytes(array) for array in inputs.values()]
        tensors = [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": datatype(array),
                "parameters": {"binary_data_size": len(blob)},
            }
            for (name, array), blob in zip(inputs.items(), blobs, strict=True)
        ]
        head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
        headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(head))}
        path = f"/v2/models/{urllib.parse.quote(model)}/infer"
        answer_headers, body = self._send("POST", path, b"".join([head, *blobs]), headers)
        return _read_tensors(answer_headers.get(JSON_LENGTH), body)

    def predict_tfserving(
        self, model: str, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, NDArray[Any]]:
        """Predict over TensorFlow Serving's REST protocol, columnar.

        Args:
            model: The model's name.
            inputs: What the SavedModel takes; names are matched to its signature's.
            outputs: Names to give the outputs, matched to the signature's.

        Raises:
            RequestError: The server refuses the inputs.
            ServeError: Nothing answers there.
            UnsupportedModelError: Names differ from the signature's so that it is not clear which is which.
        """
        base = f"/v1/models/{urllib.parse.quote(model)}"
        signature = self.get(f"{base}/metadata")["metadata"]["signature_def"]["signature_def"]["serving_default"]
        taken, given, names = list(signature["inputs"]), list(signature["outputs"]), list(inputs)
        columns = {taken[j]: _columns(inputs[n]) for n, j in zip(names, align(names, taken), strict=True)}
        found = self.post(f"{base}:predict", {"inputs": columns})["outputs"]
        if not isinstance(found, dict):  # a single output comes without its name
            found = {given[0]: found}
        dtypes = {name: str(tensor.get("dtype")) for name, tensor in signature["outputs"].items()}
        pairs = [(name, given[j]) for name, j in zip(outputs, align(outputs, given), strict=True) if j >= 0]
        return {name: _array(found[there], dtypes[there]) for name, there in pairs if there in found}

    def _send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPMessage, bytes]:
        try:
            self._connection.request(method, self._base + path, body, headers)
            response = self._connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ServeError(
                f"No answer from {self.url}: {reason}.", remedy="check that the server is running."
            ) from error
        if response.status >= 400:
            raise RequestError(f"The server answered {response.status}: {_message(data)}")
        return response.headers, data


def _read_tensors(json_length: str | None, body: bytes) -> dict[str, NDArray[Any]]:
    import numpy as np

    size = int(json_length) if json_length else len(body)
    position, found = size, {}
    for tensor in _parse(body[:size])["outputs"]:
        name, wire, shape = tensor["name"], tensor["datatype"], tensor["shape"]
        length = tensor.get("parameters", {}).get("binary_data_size")
        if length is None:
            data = tensor["data"]
            found[name] = (objects(data) if wire == "BYTES" else np.asarray(data)).reshape(shape)
            continue
        found[name] = from_bytes(body[position : position + length], wire, shape).copy()
        position += length
    return found


#: What TensorFlow Serving calls real numbers, by NumPy name.
_REAL = {"DT_HALF": "float16", "DT_FLOAT": "float32", "DT_DOUBLE": "float64"}


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


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise RequestError(f"The server's answer is not JSON: {data[:80]!r}.") from error


def _message(data: bytes) -> str:
    try:
        found = json.loads(data)
    except ValueError:
        return data[:200].decode("utf-8", "replace")
    return str(found.get("error", found)) if isinstance(found, dict) else str(found)
