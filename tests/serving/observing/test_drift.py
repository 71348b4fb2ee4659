"""Drift that a server finds in its requests, over two workers and a restart; unusual requests; labels; tokens."""

import json
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest

from deploykit.artifacts.client import Client
from deploykit.core.candidate import Recipe, Target
from deploykit.core.errors import SettingError
from deploykit.core.protos.messages import message
from deploykit.core.security.tokens import Tokens
from deploykit.data.dataset import Dataset
from deploykit.exporters._export import export
from deploykit.loading._load import load
from deploykit.measuring.exportable import Exportable
from deploykit.serving._serve import serve
from deploykit.serving.observing.monitor import monitor
from deploykit.serving.profiles import profile_of
from deploykit.testing import models
from deploykit.updating.counting import alarm_of


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    model = load(models.build("cnn_onnx", folder))
    rng = np.random.default_rng(0)
    data = Dataset.from_arrays(images(rng, 1600), rng.integers(0, 3, 1600)).check(model)
    found = Exportable(
        folder / model.path, model.format, "shoes", Recipe(), Target("onnxruntime", "cpu", 1, 1), model, data
    )
    return export(found, tmp_path_factory.mktemp("out") / "a")


def images(rng, count, brightness=1.0):
    return (brightness * rng.random((count, 1, 8, 8))).astype(np.float32)


def until(there, seconds=30.0):
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not (found := there()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def send(server, watched, examples, token=""):
    """Send examples on several connections, so that all workers get some, no faster than they are looked at."""
    clients = [Client(server.url, token) for _ in range(4)]
    before = seen(watched)
    for start in range(0, len(examples), 512):
        part = examples[start : start + 512]
        for place in range(0, len(part), 16):
            clients[place // 16 % 4].infer(server.name, {"image": part[place : place + 16]})
        sent = before + start + len(part)
        assert until(lambda sent=sent: seen(watched) >= sent)
    for client in clients:
        client.close()


def seen(watched):
    models = watched.status().models
    return (models[0].drift or {}).get("requests", 0) if models else 0


@pytest.mark.long(seconds=8)
def test_drift_is_found_over_two_workers_and_kept_over_a_restart(artifact, tmp_path):
    rng, told = np.random.default_rng(1), []
    # All requests are looked at: the test is not about the time that takes.
    settings = {"every_seconds": 1, "cost": 1.0}
    with serve(artifact, port=0, workers=2, monitor=settings, monitor_folder=tmp_path) as server:
        watched = monitor(server).on_alarm(told.append)
        send(server, watched, images(rng, 3200))
        assert not watched.alarmed
        assert alarm_of(watched) == {}
        assert watched.model().watched == 1.0
        send(server, watched, images(rng, 1600, brightness=0.5))
        alarm = watched.wait("drift")
        assert alarm is not None
        drift = watched.model().drift
        assert 3000 <= drift["since_request"] <= 3300
        assert drift["alarmed_at"] <= 4000
        assert drift["features"][0]["shift"] < -1 or drift["features"][0]["shift"] > 1
        assert "image: mean" in {one["name"] for one in drift["features"] if one["shift"] < -1}
        assert [a.kind for a in told][:1] == ["drift"]
        said = alarm_of(server.url)
        assert (said["alarmed"], said["since"]) == (True, watched.since)
        assert watched.features_chart().to_dict()["description"].startswith("Features that moved: ")
    with serve(artifact, port=0, monitor=settings, monitor_folder=tmp_path) as server:
        again = monitor(server)
        assert until(lambda: again.status().models)
        assert again.model().drift["requests"] == drift["requests"]
        assert [a.since for a in again.alarms if a.kind == "drift"] == [alarm.since]


def ask(server, example, **parameters):
    body = {
        "inputs": [{"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": example.ravel().tolist()}],
        "parameters": parameters,
    }
    request = urllib.request.Request(f"{server.url}/v2/models/{server.name}/infer", json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_a_request_can_ask_how_unusual_it_is(artifact):
    rng = np.random.default_rng(2)
    with serve(artifact, port=0, ports={"grpc": 0}) as server:
        usual = ask(server, images(rng, 1), outlier=True)["parameters"]
        odd = ask(server, 9 * images(rng, 1), outlier=True)["parameters"]
        assert usual["outlier_p_value"][0] > 0.01
        assert usual["outlier_unseen"] == [False]
        least = 1 / (profile_of(artifact).head.held_out + 1)
        assert odd["outlier_p_value"] == [pytest.approx(least)]
        assert odd["outlier_unseen"] == [True]
        assert odd["outlier_because"][0].startswith("image: ")
        assert "parameters" not in ask(server, images(rng, 1))
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(server, images(rng, 1), outlier="yes")
        with refused.value as answer:
            assert answer.code == 400
        with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
            infer = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                request_serializer=lambda request: request.SerializeToString(),
                response_deserializer=message("inference.ModelInferResponse").FromString,
            )
            request = message("inference.ModelInferRequest")(model_name=server.name)
            request.inputs.add(name="image", datatype="FP32", shape=[1, 1, 8, 8])
            request.raw_input_contents.append((9 * images(rng, 1)).tobytes())
            request.parameters["outlier"].bool_param = True
            assert json.loads(infer(request).parameters["outlier_unseen"].string_param) == [True]


def test_an_artifact_without_a_profile_says_so(made):
    with serve(made("cnn_onnx"), port=0) as server:
        example = np.zeros((1, 8, 8), np.uint8)
        body = {
            "inputs": [{"name": "image", "shape": [1, 8, 8], "datatype": "UINT8", "data": example.ravel().tolist()}],
            "parameters": {"outlier": True},
        }
        request = urllib.request.Request(f"{server.url}/v2/models/{server.name}/infer", json.dumps(body).encode())
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        with refused.value as answer:
            assert "export it again" in json.load(answer)["error"]
        assert until(lambda: monitor(server).status().models)
        assert "export it again" in monitor(server).model().note


def test_labels_that_come_later_find_what_accuracy_has_lost(artifact):
    rng = np.random.default_rng(3)
    reference = profile_of(artifact).head.calibrated.accuracy
    with serve(artifact, port=0, monitor={"every_seconds": 1}) as server:
        watched = monitor(server)
        with Client(server.url) as client:
            for number in range(30):
                client.infer(server.name, {"image": images(rng, 64)}, "", f"r{number}")
        with pytest.raises(SettingError, match="Expected 64 labels"):
            watched.feedback("r0", [0] * 63)
        with pytest.raises(SettingError, match="Expected a class or a number"):
            watched.feedback("r0", [None] * 64)
        assert watched.labels({f"r{number}": [7] * 64 for number in range(30)}) == 30 * 64  # there is no class 7
        labeled = watched.model().accuracy["labeled"]
        assert (labeled["labels"], labeled["accuracy"], labeled["alarm"]) == (1920, 0.0, True)
        alarm = next(a for a in watched.alarms if a.kind == "accuracy")
        assert alarm.loss == pytest.approx(reference)
        assert watched.alarmed


def test_each_token_s_requests_are_watched_apart(artifact, tmp_path):
    tokens, rng = Tokens(), np.random.default_rng(4)
    good, bad = tokens.add("shop", scopes=("predict",)), tokens.add("copier", scopes=("predict",))
    tokens.save(tmp_path / "tokens.json")
    settings = {"every_seconds": 1, "cost": 1.0}
    with serve(artifact, port=0, tokens=tmp_path / "tokens.json", monitor=settings) as server:
        watched = monitor(server)
        send(server, watched, images(rng, 1600), token=good)
        send(server, watched, rng.choice([0.0, 1.0], (1600, 1, 8, 8)).astype(np.float32), token=bad)
        assert until(lambda: [a for a in watched.alarms if a.kind == "client"])
        assert {a.subject for a in watched.alarms if a.kind == "client"} == {"copier"}
        found = watched.model().tokens
        assert found["copier"]["evidence"] > found["shop"]["evidence"]
        assert found["copier"]["unseen"] > found["shop"]["unseen"]
