"""A small client of running servers, on the standard library alone."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from deploykit.artifacts.wire import DTYPES, JSON_LENGTH, datatype, from_bytes, objects, to_bytes
from deploykit.core.errors import RequestError, ServeError, SettingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.core.model import TensorSpec

_TIMEOUT_S = 60.0


class Client:
    """A connection to a server. Used by one thread at a time.

    Args:
        url: Its address, for example ``http://127.0.0.1:8501``.
        token: What it asks for, if it does.
        tls: How its certificate is checked; None: as that of any server.

    Raises:
        SettingError: The address is none.
    """

    def __init__(self, url: str, token: str = "", tls: ssl.SSLContext | None = None) -> None:
        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise SettingError(f"{url!r} is not a server address.", remedy="it looks like http://127.0.0.1:8501.")
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._base = parts.path.rstrip("/")
        self._connection = (
            http.client.HTTPSConnection(parts.hostname, port, timeout=_TIMEOUT_S, context=tls)
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.hostname, port, timeout=_TIMEOUT_S)
        )

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

    def infer(
        self, model: str, inputs: Mapping[str, NDArray[Any]], version: str = "", request_id: str = ""
    ) -> dict[str, NDArray[Any]]:
        """Predict over the Open Inference Protocol v2 with binary tensors: dtypes and bits arrive unchanged.

        Args:
            model: Name of the model.
            inputs: Examples by input name, batch first.
            version: Its version; "" for the one that the server chooses.
            request_id: An id for the request; "" for none.

        Raises:
            RequestError: The server refuses the inputs; says what it expected and what it got.
            ServeError: Nothing answers there.
        """
        head, data = binary_request(inputs)
        headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(head))}
        if request_id:
            headers["X-Request-ID"] = request_id
        place = f"/versions/{urllib.parse.quote(version)}" if version else ""
        path = f"/v2/models/{urllib.parse.quote(model)}{place}/infer"
        answer_headers, body = self._send("POST", path, head + data, headers)
        return _read_tensors(answer_headers.get(JSON_LENGTH), body)

    def infer_json(self, model: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The same in JSON alone, for servers without binary tensors; errors as for `infer`."""
        tensors = [
            {"name": name, "shape": list(array.shape), "datatype": datatype(array), "data": array.ravel().tolist()}
            for name, array in inputs.items()
        ]
        answer = self.post(f"/v2/models/{urllib.parse.quote(model)}/infer", {"inputs": tensors})
        return {tensor["name"]: _typed(tensor) for tensor in answer["outputs"]}

    def _send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPMessage, bytes]:
        try:
            self._connection.request(method, self._base + path, body, {**self._headers, **headers})
            response = self._connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            unknown = "CERTIFICATE_VERIFY_FAILED" in reason
            remedy = "trust its authority (SSL_CERT_FILE=FILE)." if unknown else "check that the server is running."
            raise ServeError(f"No answer from {self.url}: {reason}.", remedy=remedy) from error
        if response.status >= 400:
            remedy = "set DEPLOYKIT_TOKEN to a token of the server." if response.status == 401 else ""
            raise RequestError(f"The server answered {response.status}: {_message(data)}", remedy=remedy)
        return response.headers, data


def binary_request(inputs: Mapping[str, NDArray[Any]]) -> tuple[bytes, bytes]:
    """Head and data of a request's body with binary tensors, which asks for binary outputs."""
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
    return head, b"".join(blobs)


def as_array(value: Any, spec: TensorSpec | None) -> NDArray[Any]:
    """An array in the input's dtype where no value changes but for rounding; else as it is, for the server to judge."""
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind == "U" and not isinstance(value, np.ndarray):
        array = np.asarray(value, object)  # a fixed width would cut zero bytes off
    if spec is None or spec.dtype == "string" or array.dtype.kind not in "fiu" or array.dtype.name == spec.dtype:
        return array
    wanted = np.dtype(spec.dtype)
    if wanted.kind == "b":
        return array
    with np.errstate(all="ignore"):
        cast = array.astype(wanted)
        if wanted.kind == "f" and array.dtype.kind == "f":
            same = bool((np.isinf(cast) == np.isinf(array)).all())
        else:
            same = np.array_equal(cast.astype(array.dtype), array)
    return cast if same else array


def _typed(tensor: Mapping[str, Any]) -> NDArray[Any]:
    """An output whose values came in JSON, flat or nested."""
    import numpy as np

    wire, data, shape = tensor["datatype"], tensor["data"], tensor["shape"]
    if wire == "BYTES":
        return objects(np.asarray(data, object).ravel().tolist()).reshape(shape)
    return np.asarray(data, DTYPES.get(wire)).reshape(shape)


def _read_tensors(json_length: str | None, body: bytes) -> dict[str, NDArray[Any]]:
    size = int(json_length) if json_length else len(body)
    position, found = size, {}
    for tensor in _parse(body[:size])["outputs"]:
        name, wire, shape = tensor["name"], tensor["datatype"], tensor["shape"]
        length = tensor.get("parameters", {}).get("binary_data_size")
        if length is None:
            found[name] = _typed(tensor)
            continue
        found[name] = from_bytes(body[position : position + length], wire, shape).copy()
        position += length
    return found


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
