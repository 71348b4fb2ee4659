"""What a running server records, and the ids that it gives back."""

import json
import logging
import socket
import time

import grpc
import numpy as np
import pytest

from deploykit.cli.main import main
from deploykit.core.protos.messages import message
from deploykit.core.security.audit import verify_audit
from deploykit.core.security.tokens import Tokens
from deploykit.serving._serve import serve

INFER = "/inference.GRPCInferenceService/ModelInfer"
BODY = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2, 4], "data": [1] * 8}]}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def secrets(tmp_path):
    """Secrets of two tokens, and the file of tokens."""
    tokens = Tokens()
    found = {"alice": tokens.add("alice"), "root": tokens.add("root", scopes=("predict", "admin", "metrics"))}
    tokens.save(tmp_path / "tokens")
    return found


def infer(channel, *metadata, name="log"):
    request = message("inference.ModelInferRequest")(model_name=name)
    request.inputs.add(name="features", datatype="FP32", shape=(1, 4))
    request.raw_input_contents.append(np.ones(4, "<f4").tobytes())
    try:
        _, call = channel.unary_unary(INFER).with_call(request.SerializeToString(), timeout=60, metadata=metadata)
    except grpc.RpcError as error:
        call = error
    return dict(call.trailing_metadata()).get("x-request-id")


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_request_is_in_the_access_log_and_predictions_in_the_audit_log(made, ask, tmp_path, secrets, capsys):
    access, audit = tmp_path / "access", tmp_path / "audit"
    bearer = {name: f"Bearer {secret}" for name, secret in secrets.items()}
    with serve(
        made("log_onnx"), port=0, ports={"grpc": 0}, workers=2, tokens=tmp_path / "tokens",
        access_log=access, log_format="json", audit=audit, limits={"header_seconds": 1},
    ) as server:  # fmt: skip
        path = f"/v2/models/{server.name}/infer"
        answer = ask(
            server, "POST", path, BODY, Authorization=bearer["alice"], X_Request_Id="mine-1", traceparent=TRACE
        )
        assert (answer.status, answer.headers["x-request-id"]) == (200, "mine-1")
        size = len(answer.body)
        made_up = ask(server, "POST", path, BODY, X_Request_Id="not sane").headers["x-request-id"]
        assert made_up != "not sane"
        assert ask(server, "GET", "/v2/health/live?secret=1").headers["x-request-id"] not in ("", made_up)
        assert ask(server, "POST", path, {"inputs": 1}, Authorization=bearer["alice"]).status == 400
        ask(server, "POST", f"/v2/repository/models/{server.name}/load", {}, Authorization=bearer["root"])
        with socket.create_connection(("127.0.0.1", server.port)) as silent:
            assert b"x-request-id" in silent.recv(4096)  # 408
        with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
            token = ("authorization", bearer["alice"])
            assert infer(channel, token, ("x-request-id", "mine-2"), name=server.name) == "mine-2"
            assert infer(channel, token, name="other")
            assert infer(channel, ("x-request-id", "mine-3")) == "mine-3"  # refused as well
    found = lines(access)
    assert [one["status"] for one in found if one["protocol"] != "grpc"].count("200") >= 2
    by_id = {one["request_id"]: one for one in found}
    assert len(by_id) == len(found) == 9
    first = by_id["mine-1"]
    facts = {k: first[k] for k in ("method", "path", "status", "bytes", "model", "version", "examples", "token")}
    assert facts == {
        "method": "POST", "path": path, "status": "200", "bytes": size, "model": server.name, "version": "1",
        "examples": 2, "token": "alice",
    }  # fmt: skip
    assert first["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert first["ms"]["total"] == pytest.approx(sum(v for k, v in first["ms"].items() if k != "total"), abs=0.01)
    assert (by_id[made_up]["status"], by_id[made_up]["token"]) == ("401", "")
    assert (by_id["mine-2"]["status"], by_id["mine-2"]["examples"], by_id["mine-2"]["path"]) == ("OK", 1, INFER)
    assert by_id["mine-3"]["status"] == "UNAUTHENTICATED"
    written = access.read_text() + audit.read_text()
    assert not any(secret in written for secret in secrets.values())
    assert "secret" not in written

    seen = lines(audit)
    assert {(one["action"], one.get("status"), one["token"]) for one in seen} >= {
        ("predict", "200", "alice"), ("predict", "400", "alice"), ("predict", "401", ""), ("load", None, "root"),
        ("predict", "OK", "alice"), ("predict", "NOT_FOUND", "alice"), ("predict", "UNAUTHENTICATED", ""),
    }  # fmt: skip
    assert verify_audit(audit).lines == len(seen)
    assert main(["token", "audit", str(audit), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"lines": len(seen), "last": seen[-1]["sha256"]}
    audit.write_bytes(audit.read_bytes().replace(b'"token":"alice"', b'"token":"mallory"', 1))
    assert main(["token", "audit", str(audit)]) == 1
    assert "it was changed, or one before it" in capsys.readouterr().err


def test_a_server_that_blocks_logs_as_its_workers_do(made, monkeypatch, capsys):
    def ready(server):
        logging.getLogger("deploykit.serving").error("odd")
        server.stop()

    logger = logging.getLogger("deploykit")
    monkeypatch.setattr(logger, "propagate", False)  # to the handlers of the tests
    for form in ("json", "text"):
        serve(made("log_onnx"), port=0, log_format=form, block=True, ready=ready)
    as_json, as_text = capsys.readouterr().err.splitlines()
    assert {k: v for k, v in json.loads(as_json).items() if k != "time"} == {
        "level": "ERROR", "logger": "deploykit.serving", "message": "odd",
    }  # fmt: skip
    assert as_text.endswith(" ERROR deploykit.serving: odd")
    assert not logger.handlers


def test_without_a_log_only_ids_of_clients_go_back(log, ask):
    assert ask(log, "GET", "/v2/health/live").headers["x-request-id"] is None
    assert ask(log, "GET", "/v2/health/live", X_Request_Id="abc").headers["x-request-id"] == "abc"
    assert ask(log, "GET", "/nothing", X_Request_Id="abc").headers["x-request-id"] == "abc"
    assert ask(log, "GET", "/nothing", X_Request_Id="a b").headers["x-request-id"] is None


def test_a_restarted_worker_writes_on_and_the_log_can_be_text(made, ask, tmp_path):
    import psutil

    with serve(made("log_onnx"), port=0, access_log=tmp_path / "access") as server:
        ask(server, "GET", "/v2/health/live", X_Request_Id="one")
        deadline = time.monotonic() + 60
        while not (tmp_path / "access").read_text():  # what is in memory dies with a worker
            assert time.monotonic() < deadline
        psutil.Process(server.pids[0]).kill()
        while ask(server, "GET", "/v2", X_Request_Id="two").status != 200:  # 503 until there is a worker again
            assert time.monotonic() < deadline
    first, second = (tmp_path / "access").read_text().splitlines()
    assert " one rest_v2 GET /v2/health/live 200 " in first
    assert " two rest_v2 GET /v2 200 " in second


def test_requests_of_a_quick_model_without_tokens_are_recorded_as_all_others(made, ask, tmp_path):
    head = json.dumps(
        {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2, 4], "parameters": {"binary_data_size": 32}}]}
    ).encode()
    body, length = head + np.ones((2, 4), "<f4").tobytes(), str(len(head))
    with serve(made("log_onnx"), port=0, access_log=tmp_path / "access", log_format="json") as server:
        for number in range(20):
            answer = ask(
                server, "POST", f"/v2/models/{server.name}/infer", body,
                Inference_Header_Content_Length=length, X_Request_Id=f"id-{number}",
            )  # fmt: skip
            assert (answer.status, answer.headers["x-request-id"]) == (200, f"id-{number}")
    found = lines(tmp_path / "access")
    assert [one["request_id"] for one in found] == [f"id-{number}" for number in range(20)]
    assert {(one["model"], one["examples"], tuple(one["ms"])) for one in found} == {
        (server.name, 2, ("decode", "queue", "run", "encode", "total"))
    }
