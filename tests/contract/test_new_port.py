"""A protocol on a port of its own is one file: port, option of the command line, start and end come with it."""

import http.client
import socket
from pathlib import Path

import pytest

import deploykit as dk
from deploykit.cli import main
from deploykit.testing.exporters import exportable

_ENTRY_POINTS = "[deploykit.serving.wires]\nnumber_lines = number_lines:ADAPTER\n"


@pytest.fixture
def artifact(install, tmp_path):
    install(Path(__file__).parent / "example" / "number_lines.py", _ENTRY_POINTS)
    return dk.export(exportable("log_onnx", tmp_path), tmp_path / "out")


def test_it_is_served_beside_http_by_every_worker(artifact):
    with dk.serve(artifact, port=0, ports={"number_lines": 0}, workers=2) as server:
        port = server.ports["number_lines"]
        assert port not in (0, server.port)
        for _ in range(8):  # connections are spread over the workers
            with (
                socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
                connection.makefile("rw") as talk,
            ):
                talk.write("log 1 1 1 1\nlog 1 one 1 1\nother 1\n")
                talk.flush()
                assert talk.readline() == "0 0 0 0\n"
                assert talk.readline().startswith("invalid: Expected numbers: could not convert")
                assert talk.readline().startswith("not_found: Servable not found for request: Latest(other).")
        assert (server.traffic().answered, server.traffic().refused) == (8, 16)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/v1/models/log:predict", '{"instances": [[1, 1, 1, 1]]}')
        assert connection.getresponse().status == 200
        connection.close()
        with pytest.raises(dk.errors.PortInUseError, match="own server of 'log'"):
            dk.serve(artifact, port=0, ports={"number_lines": port})
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=60)


def test_it_is_served_only_if_it_has_a_port(artifact):
    with dk.serve(artifact, port=0) as server:
        assert server.ports == {}
    with pytest.raises(dk.errors.SettingError, match="number_line"):
        dk.serve(artifact, port=0, ports={"number_line": 0})


def test_the_command_line_has_an_option_for_its_port(artifact, capsys):
    main.main(["serve", "--help"])
    assert "--number-lines-port PORT" in capsys.readouterr().out


def test_one_that_cannot_start_is_named(artifact, install, tmp_path):
    example = Path(__file__).parent / "example" / "number_lines.py"
    broken = tmp_path / "own" / "broken_lines.py"
    broken.parent.mkdir()
    text = example.read_text().replace('name = "number_lines"', 'name = "broken_lines"')
    broken.write_text(text.replace("server = await", "raise RuntimeError('no luck')\n        server = await"))
    install(broken, "[deploykit.serving.wires]\nbroken_lines = broken_lines:ADAPTER\n")
    with pytest.raises(dk.errors.ServeError, match="The protocol broken_lines cannot start: RuntimeError: no luck"):
        dk.serve(artifact, port=0, ports={"broken_lines": 0})
