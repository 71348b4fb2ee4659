"""Several models and versions behind one service, whatever the protocol."""

import asyncio
import gc
import json
import weakref
from dataclasses import replace

import numpy as np
import pytest

from deploykit.artifacts.artifact import Artifact
from deploykit.serving import faults
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.faults import Fault, NotFoundError, UnavailableError
from deploykit.serving.service import Service, Table
from deploykit.serving.transport.heads import Heads
from deploykit.serving.transport.http import App
from deploykit.serving.wires._contract import STATUSES, WIRES, HTTPWire
from deploykit.serving.wires._grpc_service import CODES


@pytest.fixture(scope="module")
def planes(made):
    return {name: DataPlane(Artifact.open(made(name).path)) for name in ("cnn_onnx", "log_onnx")}


@pytest.fixture
def service(planes):
    """cnn in versions 2 and 10, log in version 1."""
    found = Service()
    for version in ("10", "2"):
        found.add(planes["cnn_onnx"], version)
    found.add(planes["log_onnx"])
    return found


def call(app, method, path, body=b""):
    head = Heads(1 << 16, 128).parse(f"{method} {path} HTTP/1.1\r\nHost: localhost".encode())
    found = asyncio.run(app.answer(head, body))
    return found.status, json.loads(found.body)


def test_models_are_found_by_name_and_version(service, planes):
    assert service.names == ("cnn", "log")
    assert service.versions("cnn") == ("2", "10")
    assert service.model("cnn").version == "10", "the highest by number"
    assert service.model("cnn", "2").version == "2"
    assert service.model("log").plane is planes["log_onnx"]
    assert service.model("cnn") is service.model("cnn", "10")
    with pytest.raises(NotFoundError, match=r"Specific\(log, 7\)\. This server has 'cnn', versions 2, 10; 'log', ver"):
        service.model("log", "7")


def test_each_version_has_a_runner_of_its_own(service):
    runners = {id(service.model(*key).runner) for key in (("cnn", "2"), ("cnn", "10"), ("log", "1"))}
    assert len(runners) == 3


def test_the_protocols_serve_all_of_them(service):
    app = App(service)
    images = json.dumps({"instances": np.zeros((1, 8, 8), int).tolist()}).encode()
    ones = json.dumps({"instances": [[1.0, 1.0, 1.0, 1.0]]}).encode()
    status, found = call(app, "POST", "/v1/models/log:predict", ones)
    assert (status, found) == (200, {"predictions": [[0.0, 0.0, 0.0, 0.0]]})
    for path in ("cnn", "cnn/versions/2", "cnn/versions/10"):
        assert call(app, "POST", f"/v1/models/{path}:predict", images)[0] == 200
    assert call(app, "POST", "/v1/models/log/versions/2:predict", ones)[0] == 404
    states = call(app, "GET", "/v1/models/cnn")[1]["model_version_status"]
    assert [s["version"] for s in states] == ["10", "2"]
    assert [s["version"] for s in call(app, "GET", "/v1/models/cnn/versions/2")[1]["model_version_status"]] == ["2"]
    assert call(app, "GET", "/v1/models/cnn/metadata")[1]["model_spec"]["version"] == "10"
    assert call(app, "GET", "/v2/models/cnn/versions/2")[1]["versions"] == ["2", "10"]
    tensor = {"name": "image", "shape": [1, 8, 8], "datatype": "UINT8", "data": [0] * 64}
    for path, version in (("cnn", "10"), ("cnn/versions/2", "2")):
        found = call(app, "POST", f"/v2/models/{path}/infer", json.dumps({"inputs": [tensor]}).encode())[1]
        assert found["model_version"] == version
    assert "/v1/models/log[:predict]" in call(app, "GET", "/v1/models/log/x")[1]["error"]


def test_labels_stand_for_versions_and_are_not_numbers_of_them(service):
    app = App(service)
    service.label("cnn", "stable", "2")
    for path in ("/v1/models/cnn/labels/stable/metadata", "/v1/models/cnn/versions/2/metadata"):
        assert call(app, "GET", path)[1]["model_spec"]["version"] == "2"
    images = json.dumps({"instances": np.zeros((1, 8, 8), int).tolist()}).encode()
    assert call(app, "POST", "/v1/models/cnn/labels/stable:predict", images)[0] == 200
    assert [s["version"] for s in call(app, "GET", "/v1/models/cnn/labels/stable")[1]["model_version_status"]] == ["2"]
    for label in ("2", "canary"):
        status, found = call(app, "GET", f"/v1/models/cnn/labels/{label}/metadata")
        assert status == 400  # TensorFlow Serving's status and words
        assert found["error"].startswith(f"Unrecognized servable version label: {label}.")
    with pytest.raises(NotFoundError):
        service.label("cnn", "old", "1")
    table = service.table
    service.table = replace(table, labels={"cnn": {**table.labels["cnn"], "next": "9"}})
    status, found = call(app, "POST", "/v1/models/cnn/labels/next:predict", images)
    assert status == 404
    assert found["error"].startswith("Servable not found for request: Specific(cnn, 9). The label 'next' is for ")


def test_a_model_that_is_added_later_is_served_on_paths_that_were_asked_before(planes):
    service = Service([planes["cnn_onnx"]])
    app = App(service)
    assert call(app, "GET", "/v1/models/cnn/metadata")[1]["model_spec"]["version"] == "1"
    assert call(app, "GET", "/v2/models/log/ready")[0] == 404
    service.add(planes["cnn_onnx"], "2")
    service.add(planes["log_onnx"])
    assert call(app, "GET", "/v1/models/cnn/metadata")[1]["model_spec"]["version"] == "2"
    assert call(app, "GET", "/v2/models/log/ready")[0] == 200


def test_readiness_is_a_matter_of_the_service(service):
    service.check_ready()
    service.draining = True
    with pytest.raises(UnavailableError):
        service.check_ready()


def kinds(within, base=Fault):
    own = {base.kind} if base.__module__.startswith(within) else set()
    return own.union(*(kinds(within, child) for child in base.__subclasses__()))


def test_every_fault_has_a_status(planes):
    App(Service([planes["cnn_onnx"]]))  # HTTP has faults of its own
    wires = kinds("deploykit.serving.wires")
    assert kinds("deploykit.serving") - wires <= set(STATUSES) <= kinds("deploykit.serving")
    assert kinds("deploykit.serving.faults") <= set(CODES)
    for wire in (w for w in WIRES.all() if isinstance(w, HTTPWire)):
        answer = wire.refusal(faults.OverloadError("later"))
        assert (answer.status, json.loads(answer.body)) == (429, {"error": "later"})


def test_a_model_that_is_served_no_more_is_gone(made):
    """Whatever is remembered of requests, so that those like them are read quickly, keeps no model in memory."""
    service = Service([DataPlane(Artifact.open(made("cnn_onnx").path), "cnn")])
    app = App(service)
    images = np.zeros((2, 8, 8), np.uint8)
    tensor = {"name": "image", "datatype": "UINT8", "shape": [2, 8, 8]}
    binary = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": images.nbytes}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    bodies = {
        "/v1/models/cnn:predict": (json.dumps({"instances": images.tolist()}).encode(), []),
        "/v1/models/cnn/versions/1:predict": (json.dumps({"instances": images.tolist()}).encode(), []),
        "/v2/models/cnn/infer": (json.dumps({"inputs": [{**tensor, "data": images.ravel().tolist()}]}).encode(), []),
        "/v2/models/cnn/versions/1/infer": (
            binary + images.tobytes(),
            [(b"inference-header-content-length", str(len(binary)).encode())],
        ),
    }
    for path, (body, headers) in bodies.items():
        endpoint = app._find(path)[1]
        for _ in range(2):  # the second is read by what was learned from the first
            ready = endpoint.quick(body, headers)
            response = asyncio.run(endpoint.handler(body, headers))
            assert response.status == 200
        assert ready.write(ready.model.plane.infer(ready.batch)).body == response.body
    plane = weakref.ref(service.model("cnn").plane)
    del ready, endpoint
    service.table = Table()
    gc.collect()
    assert plane() is None
