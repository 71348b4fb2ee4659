"""A protocol of the server is one file: it translates, and models, queues and limits are the service's."""

import http.client
from pathlib import Path

import pytest

import deploykit as dk
from deploykit.testing.exporters import exportable

_ENTRY_POINTS = "[deploykit.serving.wires]\nplain_text = plain_text:ADAPTER\n"


@pytest.fixture
def server(install, tmp_path):
    install(Path(__file__).parent / "example" / "plain_text.py", _ENTRY_POINTS)
    artifact = dk.export(exportable("log_onnx", tmp_path), tmp_path / "out")
    with dk.serve(artifact, port=0) as server:
        yield server


def test_it_is_served_beside_the_others(server):
    def ask(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request(method, path, body)
        response = connection.getresponse()
        found = response.status, response.headers["content-type"], response.read().decode()
        connection.close()
        return found

    assert ask("POST", "/plain/log", "1 1 1 1\n1 1 1 1") == (200, "text/plain", "0 0 0 0\n0 0 0 0")
    status, kind, text = ask("POST", "/plain/log", "1 1 one 1")
    assert (status, kind) == (422, "text/plain")
    assert text.startswith("Expected lines of numbers: could not convert string to float: 'one'")
    assert ask("POST", "/plain/log", "1 1")[0] == 422
    assert ask("POST", "/plain/other", "1")[::2] == (
        404,
        "Servable not found for request: Latest(other). This server has 'log', version 1.",
    )
    assert ask("POST", "/v1/models/log:predict", '{"instances": [[1, 1, 1, 1]]}')[0] == 200
    status, kind, text = ask("GET", "/nowhere")
    assert (status, kind) == (404, "application/json")
    assert "there are /plain/log and /v1/models/log[:predict] and /v2/models/log[/infer]." in text
    assert (server.traffic().answered, server.traffic().refused) == (2, 3)
