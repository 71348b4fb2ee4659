"""The server's life: start, predict, restart, stop, refuse."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

import deploykit as dk
from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.client import Client
from deploykit.core.errors import PortInUseError, RequestError, ServeError, SettingError
from deploykit.exporters._export import export
from deploykit.exporters._tfserving_client import predict
from deploykit.exporters._verify import verify
from deploykit.serving._serve import serve
from deploykit.testing.exporters import exportable


def until(condition, what):
    """Wait for a condition; fails after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def refuses(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


# -- predictions -------------------------------------------------------------------------------------------------------


def test_predict_gives_the_golden_outputs_exactly(cnn, golden):
    inputs, outputs = golden(cnn)
    found = cnn.predict(inputs["image"])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, outputs["probabilities"])


def test_predict_with_several_inputs_takes_and_gives_dictionaries(two, golden):
    inputs, outputs = golden(two)
    found = two.predict(inputs)
    assert list(found) == ["score", "label"]
    for name, array in outputs.items():
        np.testing.assert_array_equal(found[name], array)


def test_predict_takes_lists_and_other_dtypes_that_change_no_value(cnn, two):
    images = np.arange(64).reshape(1, 8, 8)
    np.testing.assert_array_equal(cnn.predict(images), cnn.predict(images.tolist()))
    np.testing.assert_array_equal(cnn.predict(images), cnn.predict({"image": images.astype(np.float64)}))
    assert two.predict({"left": [[1, 2, 3, 4]], "right": [[1] * 6]})["score"].shape == (1, 1)


def test_predict_with_text(text):
    np.testing.assert_array_equal(text.predict(np.array([["grün", "x"]])), np.array([["grün", "x"]], object))


def test_predict_with_wrong_examples_says_expected_and_got(cnn, two):
    with pytest.raises(RequestError, match=r"answered 400: .*expected shape \(batch, 8, 8\), got \(8, 8\)"):
        cnn.predict(np.zeros((8, 8), np.uint8))
    with pytest.raises(RequestError, match=r"expected datatype UINT8, got 'BOOL'"):
        cnn.predict(np.full((1, 8, 8), True))
    with pytest.raises(RequestError, match=r"expected uint8 \(0 to 255\), got 256"):
        cnn.predict(np.full((1, 8, 8), 256))
    with pytest.raises(RequestError, match=r"has no datatype for complex128"):
        cnn.predict(np.full((1, 8, 8), 1j))
    with pytest.raises(RequestError, match=r"takes 2 inputs: left, right; got one array"):
        two.predict(np.zeros((1, 4), np.float32))
    with pytest.raises(RequestError, match=r"Unknown input 'middle'; expected 'left', 'right'"):
        two.predict({"left": [[1, 2, 3, 4]], "middle": [[1]]})


def test_the_server_is_verified_over_http(cnn, two):
    for server in (cnn, two):
        found = verify(server.artifact, url=server.url)
        assert found.ok, found
        assert found.url_difference == 0.0
        assert f"by {server.url} within 0" in str(found)


def test_a_server_of_another_model_does_not_verify(cnn, two):
    found = verify(cnn.artifact, url=two.url)
    assert not found.ok
    assert "answered 404: Servable not found" in found.problems[0]


def test_the_client_of_tensorflow_serving_predicts_alike(two, golden):
    inputs, outputs = golden(two)
    with Client(two.url) as client:
        found = predict(client, "two", inputs, ["label", "score"])
    for name, array in outputs.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.long
def test_int8_models_and_saved_models_are_served(tmp_path):
    for kind, layout in (("cnn_int8_tflite", "folder"), ("cnn_saved_model", "tfserving")):
        candidate = exportable(kind, tmp_path)
        artifact = export(candidate, tmp_path / f"{kind}-out", layout=layout)
        with dk.serve(artifact, port=0) as server:
            assert verify(artifact, url=server.url).ok
            assert server.predict(candidate.data.sample(3)).shape == (3, 3)


# -- life --------------------------------------------------------------------------------------------------------------


def test_stop_frees_the_port_and_leaves_no_process(made):
    with serve(made("cnn_onnx"), port=0) as server:
        assert server.alive
        assert "running" in repr(server)
        assert not refuses(server.port)
        port, pids = server.port, server.pids
    assert not server.alive
    assert "stopped" in repr(server)
    assert all(map(gone, pids))
    assert refuses(port)
    server.stop()
    with pytest.raises(ServeError, match="is not running"):
        server.predict(np.zeros((1, 8, 8), np.uint8))
    with serve(made("cnn_onnx"), port=port) as again:
        assert again.port == port


def test_a_killed_worker_is_restarted_and_answers_again(made, golden):
    with serve(made("cnn_onnx"), port=0) as server:
        inputs, outputs = golden(server)
        (first,) = server.pids
        os.kill(first, signal.SIGKILL)
        until(lambda: server.pids != (first,), "a new worker")
        # Sent before the new worker is ready: the connection waits for it.
        np.testing.assert_array_equal(server.predict(inputs["image"]), outputs["probabilities"])
        assert server.alive


def test_two_workers_share_a_port_and_one_outlives_the_other(made, golden):
    with serve(made("cnn_onnx"), port=0, workers=2) as server:
        inputs, outputs = golden(server)
        first, second = server.pids
        for _ in range(8):
            np.testing.assert_array_equal(server.predict(inputs["image"]), outputs["probabilities"])
        os.kill(first, signal.SIGKILL)
        for _ in range(16):  # those that the kernel gives to the dead worker wait for its successor
            np.testing.assert_array_equal(server.predict(inputs["image"]), outputs["probabilities"])
        until(lambda: server.pids[0] != first, "a new worker")
        assert server.pids[1] == second


def test_a_worker_that_cannot_come_back_ends_the_server_with_its_reason(made, tmp_path):
    artifact = Artifact.open(shutil.copytree(made("cnn_onnx").path, tmp_path / "copy"))
    with serve(artifact, port=0, workers=2) as server:
        (artifact.path / "model.onnx").write_bytes(b"changed while it was served")
        os.kill(server.pids[0], signal.SIGKILL)
        with pytest.raises(ServeError, match="has changed since it was checked") as caught:
            server.wait()
        assert "serve-" in caught.value.log
        assert not server.alive
        assert refuses(server.port)
        assert all(map(gone, server.pids))
        with pytest.raises(ServeError, match=r"is not running: .*has changed since it was checked"):
            server.predict(np.zeros((1, 8, 8), np.uint8))


def test_a_worker_does_not_come_back_with_another_manifest(made, tmp_path):
    artifact = Artifact.open(shutil.copytree(made("cnn_onnx").path, tmp_path / "copy"))
    with serve(artifact, port=0) as server:
        manifest = json.loads((artifact.path / "manifest.json").read_text("utf-8"))
        (artifact.path / "manifest.json").write_text(json.dumps({**manifest, "tolerance": 0.5}), "utf-8")
        os.kill(server.pids[0], signal.SIGKILL)
        with pytest.raises(ServeError, match="has changed since it was checked"):
            server.wait()


def test_a_worker_that_dies_again_and_again_comes_back_ever_later(made, golden):
    with serve(made("cnn_onnx"), port=0) as server:
        killed = set()
        while len(killed) < 4:
            (pid,) = server.pids
            if pid not in killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        inputs, outputs = golden(server)
        np.testing.assert_array_equal(server.predict(inputs["image"]), outputs["probabilities"])
        assert server.alive


def test_a_request_under_way_is_answered_while_the_server_stops(made):
    server = serve(made("cnn_onnx"), port=0)
    body = json.dumps({"instances": [[[1] * 8] * 8]}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = f"POST /v1/models/cnn:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:20])
        # An answered second request proves that the worker has read the first one's head.
        server.predict(np.zeros((1, 8, 8), np.uint8))
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        until(lambda: refuses(server.port), "the port to close")
        connection.sendall(body[20:])
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        stopping.join()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"predictions" in answer


def program(folder, text):
    script = f"import deploykit as dk\n{text}\n"
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_workers_end_when_their_parent_is_killed(made):
    parent = program(
        made("cnn_onnx").path,
        "import sys, time\ns = dk.serve(sys.argv[1], port=0, workers=2)\n"
        "print(s.port, *s.pids, flush=True)\ntime.sleep(600)",
    )
    port, *pids = map(int, parent.stdout.readline().split())
    assert not refuses(port)
    parent.kill()
    parent.communicate()
    until(lambda: all(map(gone, pids)), "the workers' end")
    assert refuses(port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_foreground_server_ends_well_on_a_signal(made, number):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    parent = program(made("cnn_onnx").path, f"import sys\ns = dk.serve(sys.argv[1], port={port}, block=True)\nprint(s)")
    until(lambda: not refuses(port), "the port to open")
    with Client(f"http://127.0.0.1:{port}") as client:  # answers as soon as it is ready
        assert client.get("/v2/health/ready") == {"ready": True}
    parent.send_signal(number)
    output, errors = parent.communicate(timeout=60)
    assert (parent.returncode, errors) == (0, "")
    assert "stopped" in output
    assert refuses(port)


def test_a_server_left_running_does_not_keep_the_program_from_ending(made):
    parent = program(made("cnn_onnx").path, "import sys\nprint(*dk.serve(sys.argv[1], port=0).pids)")
    output, errors = parent.communicate(timeout=60)
    assert (parent.returncode, errors) == (0, "")
    assert all(gone(int(pid)) for pid in output.split())


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_port_in_use_names_it_and_a_free_one(made):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for workers in (1, 2):
            with pytest.raises(PortInUseError) as caught:
                serve(made("cnn_onnx"), port=port, workers=workers)
            assert caught.value.message == f"Port {port} on 127.0.0.1 is in use."
            free = int(caught.value.remedy.split()[1])
            assert (
                caught.value.remedy == f"port {free} is free: port={free} (--port {free}); or port=0 for any free one."
            )
            assert refuses(free)


def test_a_port_of_an_own_server_is_named(made, cnn):
    for workers in (1, 2):
        with pytest.raises(PortInUseError, match=r"in use by this process's own server of 'cnn'\..*stop\(\)"):
            serve(made("cnn_onnx"), port=cnn.port, workers=workers)


@pytest.mark.parametrize("port", [-1, 65536, "8501", True, None])
def test_an_impossible_port(made, port):
    with pytest.raises(SettingError, match="port must be a whole number from 0 to 65535"):
        serve(made("cnn_onnx"), port=port)


@pytest.mark.parametrize("workers", [0, 1.5, True, 1000])
def test_an_impossible_number_of_workers(made, workers):
    with pytest.raises(SettingError, match="workers must be a whole number from 1 to 256"):
        serve(made("cnn_onnx"), port=0, workers=workers)


@pytest.mark.parametrize("host", ["256.1.1.1", "no.such.host.invalid"])
def test_an_unknown_host(made, host):
    with pytest.raises(ServeError, match="Unknown host"):
        serve(made("cnn_onnx"), host=host, port=0, insecure=True)


def test_an_address_of_another_machine(made):
    with pytest.raises(ServeError, match=r"Cannot listen on 192\.0\.2\.1"):
        serve(made("cnn_onnx"), host="192.0.2.1", port=0, insecure=True)


def test_all_addresses_are_reached_over_loopback(made, golden):
    with serve(made("cnn_onnx"), host="0.0.0.0", port=0, insecure=True) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        inputs, outputs = golden(server)
        np.testing.assert_array_equal(server.predict(inputs["image"]), outputs["probabilities"])


def test_a_tampered_model_is_not_served(made, tmp_path):
    artifact = Artifact.open(shutil.copytree(made("cnn_onnx").path, tmp_path / "copy"))
    data = bytearray(artifact.model_path.read_bytes())
    data[-1] ^= 1
    artifact.model_path.write_bytes(data)
    before = {p.pid for p in psutil.Process().children()}
    with pytest.raises(ServeError, match=r"is not served: model\.onnx has changed since the export"):
        serve(artifact, port=0)
    until(lambda: {p.pid for p in psutil.Process().children()} <= before, "its worker's end")


def test_no_artifact(tmp_path):
    with pytest.raises(ServeError, match="holds no model"):
        serve(tmp_path, port=0)
    with pytest.raises(ServeError, match="none does not exist"):
        serve(tmp_path / "none", port=0)
