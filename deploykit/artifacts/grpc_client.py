"""A client of running servers over gRPC, by the Open Inference Protocol v2."""

from __future__ import annotations

import ssl
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploykit.artifacts.client import Client
from deploykit.artifacts.wire import DTYPES, datatype, from_bytes, objects, text_or_bytes, to_bytes
from deploykit.core.errors import RequestError, ServeError, SettingError
from deploykit.core.protos.messages import message

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SERVICE = "inference.GRPCInferenceService"
_TIMEOUT_S = 60.0
#: Codes of calls that the server has not answered at all.
_SILENT = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


class _UnknownMethodError(RequestError):
    """The server does not have the method."""


def connect(url: str, token: str = "") -> Client | GrpcClient:
    """A connection to a server at ``http://``, ``https://``, ``grpc://`` or ``grpcs://`` HOST:PORT.

    Raises:
        SettingError: The address is none.
    """
    if url.partition("://")[0] in ("grpc", "grpcs"):
        return GrpcClient(url, token)
    return Client(url, token)


class GrpcClient:
    """A connection to a server. Used by one thread at a time.

    Args:
        url: Its address, for example ``grpc://127.0.0.1:8001``; ``grpcs://`` with TLS.
        token: What it asks for, if it does.

    Raises:
        SettingError: The address is none.
    """

    def __init__(self, url: str, token: str = "") -> None:
        import grpc

        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme not in ("grpc", "grpcs") or not parts.hostname or not port or parts.path not in ("", "/"):
            raise SettingError(f"{url!r} is not a server address.", remedy="it looks like grpc://127.0.0.1:8001.")
        self.url = url
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        address = parts.netloc.rpartition("@")[2]
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if parts.scheme == "grpcs":
            roots = ssl.get_default_verify_paths().cafile  # SSL_CERT_FILE, as over HTTP
            content = Path(roots).read_bytes() if roots else None
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(content), options)
        else:
            self._channel = grpc.insecure_channel(address, options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def is_deploykit(self) -> bool:
        """Whether the server is deploykit's own, which takes raw examples.

        Raises:
            RequestError: It asks for a token, or does not say what it is.
            ServeError: Nothing answers there.
        """
        try:
            found = self._call("ServerMetadata", message("inference.ServerMetadataRequest")())
        except _UnknownMethodError:
            return False
        return bool(found.name == "deploykit")

    def infer(self, model: str, inputs: Mapping[str, NDArray[Any]], version: str = "") -> dict[str, NDArray[Any]]:
        """Predict with raw tensors: dtypes and bits arrive unchanged; see `Client.infer`."""
        request = message("inference.ModelInferRequest")(model_name=model, model_version=version)
        for name, array in inputs.items():
            request.inputs.add(name=name, datatype=datatype(array), shape=array.shape)
            request.raw_input_contents.append(to_bytes(array))
        found = self._call("ModelInfer", request)
        if len(found.raw_output_contents) != len(found.outputs):
            return {tensor.name: _typed(tensor) for tensor in found.outputs}
        return {
            tensor.name: from_bytes(data, tensor.datatype, list(tensor.shape)).copy()
            for tensor, data in zip(found.outputs, found.raw_output_contents, strict=True)
        }

    def _call(self, method: str, request: Any) -> Any:
        import grpc

        ask = self._channel.unary_unary(f"/{_SERVICE}/{method}")
        try:
            answer = ask(request.SerializeToString(), timeout=_TIMEOUT_S, metadata=self._metadata)
        except grpc.RpcError as error:
            code, said = error.code().name, error.details()
            if code in _SILENT:
                raise ServeError(
                    f"No answer from {self.url}: {said}.", remedy="check that the server is running, and its gRPC port."
                ) from error
            remedy = "set DEPLOYKIT_TOKEN to a token of the server." if code == "UNAUTHENTICATED" else ""
            kind = _UnknownMethodError if code == "UNIMPLEMENTED" else RequestError
            raise kind(f"The server answered {code}: {said}", remedy=remedy) from error
        return message(f"inference.{method}Response").FromString(answer)


def _typed(tensor: Any) -> NDArray[Any]:
    """An output whose values came typed."""
    import numpy as np

    (values,) = [value for _, value in tensor.contents.ListFields()] or [[]]
    if tensor.datatype == "BYTES":
        return objects([text_or_bytes(value) for value in values]).reshape(tuple(tensor.shape))
    return np.asarray(values, DTYPES[tensor.datatype]).reshape(tuple(tensor.shape))
