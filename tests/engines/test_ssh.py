"""Sweeps measured over SSH, on a real server on this machine: the same rows, lost connections, refused hosts."""

import ast
import os
import platform
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import EngineError
from deploykit.core.tools import Tool
from deploykit.engines import _bootstrap
from deploykit.engines._openssh import Place
from deploykit.engines.ssh import ADAPTER
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.task import Task
from deploykit.testing import models
from deploykit.testing.cluster import wait_until
from deploykit.testing.sshd import SshServer

pytestmark = [pytest.mark.alone, pytest.mark.sshd]

_LONGEST_S = 120.0
_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs taskset and unshare, which Linux has")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with SshServer(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def script(folder, text):
    """A program that a server starts in place of Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def start(engine, cancel=None):
    return ADAPTER.start(engine.removeprefix("ssh://"), cancel or threading.Event())


def refusal(engine):
    with pytest.raises(EngineError) as caught:
        start(engine)
    return caught.value


# -- sweeps -----------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_sweep_survives_a_lost_connection_and_its_rows_are_those_of_a_local_one(server, tmp_path):
    """The connection is cut in the middle of a timing; the launch is redone over another one, and the rows say so."""
    model = dk.load(models.build("cnn_external_onnx", tmp_path))
    rng = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(rng.random((400, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 400))
    space = dk.Space([Recipe((Step("quantize_dynamic"),))], [Target("onnxruntime")])
    struck = []

    def cut(idle):
        """When the processes of the launch are there."""
        if wait_until(lambda: len(server.sessions()) >= idle + 2):
            server.cut()

    def strike(progress):
        if not struck and "round 2" in progress.doing:
            struck.append(threading.Thread(target=cut, args=(len(server.sessions()),)))
            struck[0].start()

    far = dk.sweep(model, data, space, store=tmp_path / "far", engine=server.engine, launches=2, progress=strike)
    near = dk.sweep(model, data, space, store=tmp_path / "near", launches=0, progress=lambda _p: None)
    struck[0].join()
    assert [r.status for r in far.rows] == ["measured"] * 2
    assert [r.artifact_digest for r in far.rows] == [r.artifact_digest for r in near.rows]
    assert [r.measurement.scores for r in far.rows] == [r.measurement.scores for r in near.rows]
    assert all(r.measurement.latency.launches >= 2 and r.measurement.environment["cpu"] for r in far.rows)
    lost = [r for r in far.rows if r.lost_workers]
    assert lost
    assert f"ssh://127.0.0.1:{server.port}" in lost[0].lost_workers[0]
    assert "lost during the sweep and its work was repeated: " in far.choice_for(lost[0].key).explain()


@pytest.mark.long
def test_a_machine_that_is_cut_off_is_noticed_although_its_connection_stands(server, monkeypatch):
    """Its processes are stopped, so that nothing answers and nothing is closed."""
    for name, seconds in (("_LOOK_S", 0.1), ("_PING_S", 0.3), ("_SILENCE_S", 3.0)):
        monkeypatch.setattr(f"deploykit.engines._machine.{name}", seconds)
    task = Task("deploykit.testing.engines:add", {"numbers": [1, 2]}, on_target=True)
    with start(server.engine) as running:
        for pid in server.sessions():
            os.kill(pid, signal.SIGSTOP)
        found = running.submit(task).result(_LONGEST_S)
    server.cut()
    assert found["sum"] == 3
    assert "has not answered for 3 s" in found["lost_workers"][0]


@_LINUX
def test_another_machine_in_the_middle_ends_the_work(server, tmp_path):
    """After the connection was lost, the worker may use one core only, as on another board."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core cannot become fewer")
    marker = tmp_path / "swapped"
    pinned = f'[ -e "{marker}" ] && exec taskset -c {cores[0]} "{sys.executable}" "$@"'
    python = script(tmp_path, f'echo "Welcome to the board."\n{pinned}\nexec "{sys.executable}" "$@"')
    with start(server.engine_with(python)) as running:
        running.require({"cpu"})
        assert running.facts("cpu")["cores"] == len(cores)
        marker.touch()
        server.cut()
        task = Task("deploykit.testing.engines:add", {"numbers": [1]}, on_target=True)
        found = running.submit(task).exception(_LONGEST_S)
    assert isinstance(found, EngineError)
    assert f"cores {len(cores)} before, 1 now" in found.message
    assert "rerun the sweep" in found.remedy


def test_nothing_is_left_there_when_the_driver_is_done(server):
    runs = threading.Event()
    cancel = threading.Event()
    with start(server.engine, cancel) as running:
        future = running.submit(Task("deploykit.testing.engines:wait", on_target=True), lambda *_report: runs.set())
        assert runs.wait(_LONGEST_S)
        assert len(server.sessions()) >= 3  # the session, the worker and its child
        cancel.set()
        future.exception(_LONGEST_S)
    assert wait_until(lambda: not server.sessions())


@_LINUX
def test_a_full_disk_there_is_named(server, tmp_path):
    """The worker's folder is on a small file system of its own."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    inside = f'mount -t tmpfs -o size=128k none "{shelf}" && exec "{sys.executable}" "$@"'
    python = script(
        tmp_path,
        f"export DEPLOYKIT_WORKER_FOLDER={shelf}\nexec unshare --map-root-user --mount sh -c '{inside}' sh \"$@\"",
    )
    source, target = tmp_path / "source.txt", tmp_path / "target.txt"
    source.write_text("x" * (1 << 20))
    paths = {"source": str(source), "target": str(target)}
    task = Task(
        "deploykit.testing.engines:shout", paths, reads=(str(source),), writes=(str(target),), on_target=True
    )  # fmt: skip
    with start(server.engine_with(python)) as running:
        found = running.submit(task).exception(_LONGEST_S)
    assert isinstance(found, EngineError)
    assert f"ssh://127.0.0.1:{server.port}" in found.message
    assert "full" in found.message
    assert str(shelf) in found.message
    assert "free some space" in found.remedy


# -- who is refused ---------------------------------------------------------------------------------------------------


def test_a_host_key_that_changed_is_refused_and_nothing_is_sent(server):
    server.learn(server.folder / "id.pub")
    try:
        error = refusal(server.engine)
    finally:
        server.learn(server.folder / "host_key.pub")
    assert "The host key of 127.0.0.1 has changed" in error.message
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", server.folder / "host_key.pub"], capture_output=True, text=True, check=True
    )
    assert listed.stdout.split()[1] in error.message
    assert f"ssh-keygen -f {server.known_hosts} -R '[127.0.0.1]:{server.port}'" in error.remedy


def test_an_unknown_host_key_is_not_accepted(server):
    server.known_hosts.unlink()
    try:
        error = refusal(server.engine)
        assert not server.known_hosts.exists()
    finally:
        server.learn(server.folder / "host_key.pub")
    assert "not among your known hosts" in error.message
    assert f"ssh -p {server.port} 127.0.0.1" in error.remedy


def test_a_refused_key(server):
    aside = server.key.rename(server.folder / "aside")
    try:
        error = refusal(server.engine)
    finally:
        aside.rename(server.key)
    assert "accepts none of your keys" in error.message
    assert "ssh-copy-id" in error.remedy


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ssh://deploykit.invalid", "There is no machine called deploykit.invalid"),
        ("ssh://127.0.0.1:9", "127.0.0.1 cannot be reached: .*refused"),
    ],
)
def test_a_machine_that_is_not_there(server, address, said):
    assert re.search(said, refusal(address).message)


def test_a_machine_without_python(server):
    error = refusal(server.engine_with("/usr/bin/no-such-python"))
    assert "has no Python at /usr/bin/no-such-python" in error.message
    assert f"ssh -p {server.port} 127.0.0.1 'python3 -m venv ~/.deploykit && " in error.remedy


def test_a_python_without_deploykit(server, tmp_path):
    error = refusal(server.engine_with(script(tmp_path, f'exec "{sys.executable}" -I -S "$@"')))
    assert "has no deploykit: No module named 'deploykit'" in error.message
    assert '~/.deploykit/bin/pip install "deploykit[sweep]==' in error.remedy


def test_another_deploykit(server, tmp_path):
    """Its Python finds another version first, of which nothing else is read."""
    (tmp_path / "deploykit").mkdir()
    (tmp_path / "deploykit" / "__init__.py").touch()
    (tmp_path / "deploykit" / "_version.py").write_text('__version__ = "0.0.9"\n')
    python = script(tmp_path, f'export PYTHONPATH="{tmp_path}"\nexec "{sys.executable}" "$@"')
    error = refusal(server.engine_with(python))
    assert f"has deploykit 0.0.9, this machine has {dk.__version__}" in error.message
    assert f"-m pip install deploykit=={dk.__version__}" in error.remedy


def test_another_runtime_there_is_named_and_tools_that_only_build_are_not_asked_for(server, monkeypatch):
    """The driver seems to have other packages than the machine."""
    monkeypatch.setattr(type(RUNTIMES.get("onnxruntime")), "versions", lambda _self: {"onnxruntime": "99.0"})
    with start(server.engine) as running:
        running.require({"cpu"}, [Tool("deploykit.transforms", "only_here"), Tool("deploykit.runtimes", "litert")])
        with pytest.raises(EngineError, match=r"has onnxruntime \S+ \(here 99\.0\)") as caught:
            running.require({"cpu"}, [Tool("deploykit.runtimes", "onnxruntime")])
    assert "-m pip install onnxruntime==99.0" in caught.value.remedy


def test_a_device_it_does_not_offer_is_refused_in_the_words_of_the_runtime_there(server):
    """This machine has no such GPU, so that its server has none."""
    here = {d.name: d for d in RUNTIMES.get("onnxruntime").devices()}
    if here["cuda"].available:
        pytest.skip("onnxruntime runs on CUDA here: it would be offered")
    refused = pytest.raises(EngineError, match="offers the device cuda; there is ssh://")
    with start(server.engine) as running, refused as caught:
        running.require({"cpu", "cuda"}, [Tool("deploykit.runtimes", "onnxruntime")])
    assert here["cuda"].detail.rstrip(".") in caught.value.remedy


def test_a_machine_is_looked_at_without_a_trace(server):
    """No worker begins, so that its folder is not made, and nothing runs there afterwards."""
    shelf = server.folder / "shelf"
    before = sorted(shelf.rglob("*")) if shelf.exists() else None
    said = ADAPTER.look(server.engine.removeprefix("ssh://"))
    assert said == (
        f"127.0.0.1 answers: {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"deploykit {dk.__version__}."
    )
    assert (sorted(shelf.rglob("*")) if shelf.exists() else None) == before
    assert wait_until(lambda: not server.sessions())


def test_what_keeps_a_machine_from_serving_is_seen_by_looking(server, tmp_path):
    """In the words of a sweep that begins there."""
    bare = server.engine_with(script(tmp_path, f'exec "{sys.executable}" -I -S "$@"'))
    for engine in (bare, server.engine_with("/usr/bin/no-such-python"), "ssh://127.0.0.1:9", "ssh://a b"):
        with pytest.raises(EngineError) as caught:
            ADAPTER.look(engine.removeprefix("ssh://"))
        expected = refusal(engine)
        assert (caught.value.message, caught.value.remedy) == (expected.message, expected.remedy)


def test_an_old_python_reads_the_worker():
    """What is sent must say that the Python is too old, not fail in it."""
    source = Path(_bootstrap.__file__).read_text("utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    assert not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in ast.walk(tree))


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("board", Place("board")), ("me@board:2222", Place("board", "me", 2222)),
        ("[fe80::1]:22", Place("fe80::1", "", 22)),
        ("me@10.0.0.7/opt/python", Place("10.0.0.7", "me", 0, "/opt/python")),
        ("board/~/venv/bin/python", Place("board", python="~/venv/bin/python")),
    ],
)  # fmt: skip
def test_addresses(address, place):
    assert Place.of(address) == place


@pytest.mark.parametrize(
    "address",
    ["-oProxyCommand=touch x", "me@-host", "a b", "host:70000", "host:x", "host/a';touch x'", "host/$(x)", "@h"],
)
def test_addresses_that_are_none(address):
    with pytest.raises(EngineError, match=r"ssh://user@host:22"):
        start(address)


def test_a_password_in_an_address_is_not_repeated():
    with pytest.raises(EngineError) as caught:
        start("me:secret@host")
    assert "secret" not in str(caught.value)
    assert "a password" in caught.value.message
