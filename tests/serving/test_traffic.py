"""What a server says of its traffic."""

import os
import shutil
import signal
import time

import numpy as np
import pytest

from deploykit.sandbox.supervisor import shared
from deploykit.serving import traffic
from deploykit.serving._serve import serve


def test_times_fall_into_their_buckets(tmp_path):
    file = tmp_path / "counters"
    traffic.create(file, 2)
    first, second = (traffic.Counters(file, slot) for slot in (0, 1))
    for seconds in (0.0, traffic.BOUNDS_S[0], traffic.BOUNDS_S[3] * 1.01, 1e6):
        first.answered(seconds)
    second.answered(traffic.BOUNDS_S[4])
    second.refused()
    found = traffic.read(file)
    assert (found.answered, found.refused) == (5, 1)
    assert {i: n for i, n in enumerate(found.counts) if n} == {0: 2, 4: 2, len(traffic.BOUNDS_S): 1}
    assert len(found.bounds_ms) == len(found.counts) - 1
    assert found.bounds_ms[0] == pytest.approx(0.01)


def test_predictions_of_all_workers_are_counted_and_nothing_else(made, ask):
    with serve(made("cnn_onnx"), port=0, workers=2) as server:
        assert server.traffic().answered == 0
        example = [[0.0] * 8] * 8
        good = {"instances": [example]}
        for _ in range(12):
            assert ask(server, "POST", f"/v1/models/{server.name}:predict", good).status == 200
        ask(server, "GET", f"/v1/models/{server.name}")
        ask(server, "GET", "/v2/health/ready")
        found = server.traffic()
        assert (found.answered, found.refused, sum(found.counts)) == (12, 0, 12)
        assert ask(server, "POST", f"/v1/models/{server.name}:predict", {"instances": [[1]]}).status == 400
        assert ask(server, "POST", "/v1/models/other:predict", good).status == 404
        assert server.traffic().refused == 2
    assert server.traffic().answered == 12, "what it did stays known when it has stopped"
    assert not server._counters.exists()


def test_a_restarted_worker_counts_on(made, golden):
    artifact = made("cnn_onnx")
    with serve(artifact, port=0) as server:
        inputs, _ = golden(server)
        server.predict(inputs["image"])
        (first,) = server.pids
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 60
        while server.pids == (first,):
            assert time.monotonic() < end
            time.sleep(0.02)
        server.predict(inputs["image"])  # waits for the new worker
        assert server.traffic().answered == 2


def test_a_worker_comes_back_when_temporary_files_were_removed(made, golden, tmp_path, monkeypatch):
    logs = tmp_path / "logs"
    logs.mkdir()
    monkeypatch.setattr(shared(), "log_dir", logs)
    with serve(made("cnn_onnx"), port=0) as server:
        inputs, outputs = golden(server)
        (first,) = server.pids
        shutil.rmtree(logs)
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 60
        while server.pids == (first,):
            assert time.monotonic() < end
            time.sleep(0.02)
        np.testing.assert_array_equal(server.predict(inputs["image"]), outputs["probabilities"])
        assert server.traffic().answered == 0  # nothing counts any more
    assert not server.alive


def test_a_file_that_cannot_be_removed_does_not_keep_the_server_from_stopping(made):
    with serve(made("cnn_onnx"), port=0) as server:
        server._counters.unlink()
        server._counters.mkdir()
    server.wait()
    assert not server.alive
