import asyncio
import http.client
import json
from typing import Any, NamedTuple

import pytest

from deploykit.artifacts.artifact import Artifact
from deploykit.exporters._export import export
from deploykit.serving._serve import serve
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import Fault
from deploykit.serving.service import Service
from deploykit.serving.wires._contract import WIRES, HTTPWire, Response
from deploykit.testing.exporters import exportable


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert self.headers["content-type"] == "application/json"
        found = json.loads(self.body)
        assert list(found) == ["error"]
        assert "Traceback" not in found["error"]
        return found["error"]


@pytest.fixture(scope="session")
def ask():
    """Send one request to a server; a body that is neither bytes nor None is sent as JSON."""

    def send(server, method, path, body=None, **headers):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    return send


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Exported tiny models by kind."""
    found: dict[str, Any] = {}

    def get(kind, **options):
        if kind not in found:
            folder = tmp_path_factory.mktemp("made")
            found[kind] = export(exportable(kind, folder), folder / "out", **options)
        return found[kind]

    return get


@pytest.fixture(scope="session")
def served(made):
    """A server for each tiny model, started once and kept until the end."""
    found: dict[str, Any] = {}

    def get(kind):
        if kind not in found:
            found[kind] = serve(made(kind), port=0)
        return found[kind]

    yield get
    for server in found.values():
        server.stop()


@pytest.fixture
def cnn(served):
    """Images (batch, 8, 8) of uint8 → probabilities (batch, 3)."""
    return served("cnn_onnx")


@pytest.fixture
def two(served):
    """left (batch, 4) float32, right (batch, 6) int64 → score (batch, 1), label (batch, 3)."""
    return served("two_inputs_onnx")


@pytest.fixture
def log(served):
    """features (batch, 4) float32 → their logarithms."""
    return served("log_onnx")


@pytest.fixture
def text(served):
    """words (batch, 2) → the same words."""
    return served("text_onnx")


@pytest.fixture
def golden():
    """Golden inputs and outputs of a server's artifact."""
    from deploykit.artifacts.arrays import load_arrays

    def load(server):
        manifest, path = server.artifact.manifest, server.artifact.path
        return load_arrays(path / manifest.golden_inputs), load_arrays(path / manifest.golden_outputs)

    return load


@pytest.fixture(scope="session")
def within():
    """Ask the protocols of a service in this process, without HTTP: a fault is its status, anything else is raised."""
    wires = sorted((w for w in WIRES.all() if isinstance(w, HTTPWire)), key=lambda wire: -len(wire.prefix))

    def send(service, method, path, body=b"", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        wire = next(wire for wire in wires if path.lower().startswith(wire.prefix))
        raw = [(name.replace("_", "-").lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        try:
            endpoint = wire.endpoint(path, service)
            assert endpoint.method == method
            response = asyncio.run(endpoint.handler(body, raw))
        except Fault as fault:
            response = wire.refusal(fault)
        assert isinstance(response, Response)
        return response

    return send


@pytest.fixture(scope="session")
def held(made):
    """A service in this process with all the tiny models there are, by the names of their kinds."""
    service = Service()
    for kind in ("cnn_onnx", "two_inputs_onnx", "log_onnx", "text_onnx"):
        plane = DataPlane(Artifact.open(made(kind).path))
        plane.name = kind
        service.add(plane)
    return service
