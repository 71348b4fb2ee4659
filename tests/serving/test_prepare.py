"""Checking a server without serving: what is wrong is named, all at once, and nothing stays behind."""

import json
import os
import shutil
import socket

import pytest

import deploykit as dk
from deploykit.cli.main import main
from deploykit.core.security.tokens import Tokens


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made("log_onnx").path, tmp_path / "model")


def test_all_is_fine_and_the_port_is_free_afterwards(folder, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert main(["serve", str(folder), "--port", str(port), "--grpc-port", "0", "--check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["steps"]
    assert list(found) == ["models", "limits", "tls", "tokens", "records", "protocols", "ports", "proof"]
    assert set(found.values()) == {""}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


def test_each_thing_that_is_wrong_has_a_line(folder, tmp_path, capsys):
    tokens = Tokens()
    tokens.add("one")
    tokens.save(tmp_path / "tokens")
    (tmp_path / "tokens").chmod(0o666)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        more = [
            "--port",
            str(port),
            "--tokens",
            str(tmp_path / "tokens"),
            "--tls-cert",
            "no.pem",
            "--tls-key",
            "no.key",
        ]
        model = folder / "model.onnx"
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
        status = main(
            ["serve", str(folder), *more, "--limit", "waiting=0", "--access-log", str(tmp_path / "x" / "y"), "--check"]
        )
    assert status == 1
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["models"] == lines["protocols"] == "fine"
    assert "waiting" in lines["limits"]
    assert "no.key" in lines["tls"]
    assert "Cannot write the access log" in lines["records"]
    assert f"Port {port} on 127.0.0.1 is in use." in lines["ports"]
    assert "model.onnx" in lines["proof"]
    if os.name == "posix":
        assert "Other users may write" in lines["tokens"]


def test_without_models_nothing_is_proved(tmp_path):
    found = dk.check_server(tmp_path / "nothing", port=0)
    assert not found
    assert "nothing" in found.steps["models"]
    assert found.steps["proof"] == "Without the models, nothing can be proved."
    assert str(found).splitlines()[1] == "limits: fine"


def test_another_address_takes_tokens(folder):
    assert "anyone who can reach" in dk.check_server(folder, port=0, host="0.0.0.0").steps["tokens"]
    assert dk.check_server(folder, port=0, host="0.0.0.0", insecure=True)


def test_it_takes_what_serve_takes(folder):
    with pytest.raises(TypeError, match="tint"):
        dk.check_server(folder, tint="red")


def test_what_would_be_dropped_in_silence_is_refused(folder, tmp_path):
    found = dk.check_server(
        folder, labels={"new": 2}, port=8501, ports={"grpc": 8501}, hosts=["http://model.example.org/"],
        access_log=folder.parent / "log", audit=tmp_path / "log",
    ).steps  # fmt: skip
    assert "model is one model, version 1, and there are labels for 2" in found["models"]
    assert "The hosts must be names, got 'http://model.example.org/'" in found["limits"]
    assert "The arguments audit and access_log name one file" in found["records"]
    assert "Port 8501 is to be that of grpc and of another protocol" in found["ports"]
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "a folder is there"),
        ("file", "a file is there"),
        ("no/x", "its folder does not exist"),
        ("x" * 120, "bytes"),
    ],
)
def test_a_socket_that_cannot_be_made_is_named(tmp_path, path, reason):
    (tmp_path / "file").touch()
    found = dk.check_server("", port=0, ports={"grpc": 0}, sockets={"grpc": tmp_path / path}).steps["protocols"]
    assert found.startswith(f"The socket {tmp_path / path} cannot be made: ")
    assert reason in found


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        ("", {}, "The source is empty"),
        ("model", {"name": "a/b"}, "'a/b' cannot be part of a URL"),
        ("model", {"labels": {"a/b": 1}}, "Labels of 'log': 'a/b' cannot be part of a URL"),
        ("versions", {"labels": {"a": 3}, "versions": [1, 2]}, "'a' is for version 3; expected 1, 2"),
    ],
)
def test_what_nobody_could_ask_for_is_refused(folder, source, arguments, message):
    (folder.parent / "versions").mkdir()
    (folder.parent / "versions" / "1").symlink_to(folder)
    (folder.parent / "versions" / "2").symlink_to(folder)
    assert message in dk.check_server(source and folder.parent / source, port=0, **arguments).steps["models"]
