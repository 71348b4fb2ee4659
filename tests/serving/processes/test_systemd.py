"""What a server says to systemd, received on a socket as systemd's."""

import configparser
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploykit.cli.main import main
from deploykit.serving.processes.systemd import Notices

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or os.name == "nt", reason="systemd is Linux's")
UNIT = Path(__file__).parents[3] / "docs" / "how-to" / "deploykit.service"


@pytest.fixture
def heard(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(120)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield receiver


def test_a_server_says_that_it_is_ready_that_it_lives_and_that_it_ends(made, heard, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    command = [sys.executable, "-m", "deploykit", "serve", str(made("log_onnx").path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert heard.recv(100) == b"READY=1"
        assert process.stdout.readline()  # it has said so to people first
        assert heard.recv(100) == heard.recv(100) == b"WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        while (message := heard.recv(100)) == b"WATCHDOG=1":
            continue
        assert message == b"STOPPING=1"
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_nothing_is_said_where_nothing_is_asked_for(heard, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    monkeypatch.setenv("WATCHDOG_PID", "1")  # another's
    Notices().living()
    monkeypatch.delenv("WATCHDOG_PID")
    monkeypatch.delenv("NOTIFY_SOCKET")
    Notices().ready()
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    Notices().ready()
    heard.setblocking(False)
    with pytest.raises(BlockingIOError):
        heard.recv(100)


@pytest.mark.skipif(sys.platform != "linux", reason="names without a file are Linux's")
def test_the_socket_may_have_no_file(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        name = f"deploykit-test-{os.getpid()}"
        receiver.bind(f"\0{name}")
        receiver.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        Notices().ready()
        assert receiver.recv(100) == b"READY=1"


def test_the_unit_starts_what_it_says(capsys):
    unit = configparser.ConfigParser()
    unit.optionxform = str
    unit.read(UNIT)
    service = unit["Service"]
    assert (service["Type"], service["KillMode"]) == ("notify", "mixed")
    for key in ("ExecStart", "ExecStartPre"):
        program, *arguments = shlex.split(service[key])
        assert program.endswith("/deploykit")
        assert "--check" in arguments or key == "ExecStart"
        arguments[arguments.index("/srv/model")] = "nowhere"
        assert main(arguments) == 1  # not 2: the command line is right, and there is no such model
        assert "nowhere" in "".join(capsys.readouterr())
