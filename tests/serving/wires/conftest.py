"""Tiny models behind gRPC, and a client that knows nothing of our code but the messages' definitions."""

import contextlib
from typing import Any

import grpc
import pytest

from deploykit.core.protos.messages import message, pool
from deploykit.serving._serve import serve


class Caller:
    """Calls methods by name over one channel."""

    def __init__(self, server):
        self.server = server
        self.channel = grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}")

    def raw(self, path, data, timeout=60):
        """The bytes of an answer."""
        return self.channel.unary_unary(path)(data, timeout=timeout)

    def __call__(self, method, request=None, **fields):
        """The answer of a method of the Open Inference service."""
        found = pool().FindServiceByName("inference.GRPCInferenceService").FindMethodByName(method)
        if request is None:
            request = message(found.input_type.full_name)(**fields)
        data = self.raw(f"/{found.containing_service.full_name}/{method}", request.SerializeToString())
        return message(found.output_type.full_name).FromString(data)


@pytest.fixture(scope="session")
def spoken(made):
    """A caller of a server for each tiny model, started once and kept until the end."""
    found: dict[str, Any] = {}

    def get(kind):
        if kind not in found:
            found[kind] = Caller(serve(made(kind), port=0, ports={"grpc": 0}))
        return found[kind]

    yield get
    for caller in found.values():
        caller.channel.close()
        caller.server.stop()


@pytest.fixture(scope="session")
def refusal():
    """Catch what a server refuses: a context manager that gives the error when it is left."""

    @contextlib.contextmanager
    def catch(code, text=""):
        with pytest.raises(grpc.RpcError) as caught:
            yield caught
        error = caught.value
        assert error.code() is getattr(grpc.StatusCode, code), (error.code(), error.details())
        assert text in error.details()
        assert "Traceback" not in error.details()

    return catch
