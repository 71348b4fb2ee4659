"""Who is let in, how often, and what of an answer they see."""

import time
from dataclasses import replace

import numpy as np
import pytest

from deploykit.core.contract import OutputMeaning
from deploykit.core.errors import SettingError
from deploykit.core.security.tokens import Token, Tokens
from deploykit.exporters._verify import verify
from deploykit.serving._serve import serve
from deploykit.serving.faults import OverloadError
from deploykit.serving.protection.guard import Ledger, bearer
from deploykit.serving.protection.limited import limited

TOKEN = Token("one", "0" * 64)
SCORES = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]], np.float32)


def meaning(kind, **more):
    return OutputMeaning("y", kind, "scored", "float32", **more)


@pytest.mark.parametrize(
    ("value", "secret"),
    [(b"Bearer x", b"x"), (b"bearer  x ", b"x"), (b"Basic x", None), (b"Bearer", None), (b"Bearer ", None)],
)
def test_the_header(value, secret):
    assert bearer([(b"host", b"a"), (b"authorization", value)]) == secret
    assert bearer([(b"authorization", value), (b"authorization", value)]) is None


# -- limits -----------------------------------------------------------------------------------------------------------


def test_workers_and_restarts_share_a_daily_budget(tmp_path):
    token = replace(TOKEN, per_day=10)
    one, other = Ledger(tmp_path / "usage"), Ledger(tmp_path / "usage")
    one.admit(token, 4)
    other.admit(token, 6)
    with pytest.raises(OverloadError, match="10 examples a day and has had 10") as refused:
        one.admit(token, 1)
    assert 0 < refused.value.retry_s <= 86400
    with pytest.raises(OverloadError):
        Ledger(tmp_path / "usage").admit(token, 1)
    Ledger(tmp_path / "usage").admit(replace(token, name="two", digest="1" * 64), 10)


def test_a_new_day_is_a_new_budget(tmp_path, monkeypatch):
    token, ledger = replace(TOKEN, per_day=3), Ledger(tmp_path / "usage")
    now = time.time()
    ledger.admit(token, 3)
    monkeypatch.setattr(time, "time", lambda: now + 86400)
    ledger.admit(token, 3)
    with pytest.raises(OverloadError):
        ledger.admit(token, 1)


def test_a_rate_is_kept_over_two_seconds(tmp_path, monkeypatch):
    token, ledger = replace(TOKEN, per_second=5.0), Ledger(tmp_path / "usage")
    now = time.time_ns()

    def admitted(seconds):
        monkeypatch.setattr(time, "time_ns", lambda: now + int(1e9 * seconds))
        count = 0
        while True:
            try:
                ledger.admit(token, 1)
            except OverloadError:
                return count
            count += 1

    assert [admitted(s) for s in (0, 0, 1.001, 1.101, 11)] == [10, 0, 5, 0, 10]


# -- less of an answer ------------------------------------------------------------------------------------------------


def test_labels_alone():
    for kind in ("probabilities", "scores"):
        np.testing.assert_array_equal(limited(SCORES, meaning(kind), "label"), np.eye(3)[SCORES.argmax(1)])
    tied = limited(np.array([[1, 1, 0]], np.uint8), meaning("scores"), "label")
    np.testing.assert_array_equal(tied, [[1, 0, 0]])
    assert tied.dtype == np.uint8
    np.testing.assert_array_equal(limited(SCORES, meaning("several", threshold=0.4), "label"), SCORES > 0.4)
    np.testing.assert_array_equal(limited(SCORES - 0.4, meaning("logit"), "label"), SCORES > 0.4)


def test_the_best_scores_alone():
    np.testing.assert_array_equal(
        limited(SCORES, meaning("probabilities"), "top-2"), np.float32([[0, 0.6, 0.3], [0.5, 0, 0.3]])
    )
    found = limited(SCORES - 5, meaning("scores"), "top-1")
    np.testing.assert_array_equal(found.argmax(1), SCORES.argmax(1))
    np.testing.assert_allclose(found[0], [-5.4, -4.4, -5.4], rtol=1e-6)
    np.testing.assert_array_equal(limited(SCORES, meaning("probabilities"), "top-9"), SCORES)
    maps = np.moveaxis(np.stack([SCORES, SCORES[::-1]]), -1, 1)  # classes on the second axis
    first = limited(maps, meaning("probabilities", class_axis=1), "top-1")
    np.testing.assert_array_equal(first.argmax(1), maps.argmax(1))
    assert (first > 0).sum() == 4


def test_rounded_scores_and_outputs_without_scores():
    np.testing.assert_array_equal(limited(SCORES / 3, None, "rounded-2"), np.round(SCORES / 3, 2))
    whole = np.array([[1, 2]])
    assert limited(whole, None, "rounded-2") is not None
    small = limited(np.float16([0.7612, 60000, np.inf, np.nan]), None, "rounded-3")
    np.testing.assert_array_equal(small, np.float16([0.761, 60000, np.inf, np.nan]))
    large = np.float64([0.5, 1e300, -np.inf])
    np.testing.assert_array_equal(limited(large, None, "rounded-19"), large)
    assert limited(SCORES, meaning("values"), "label") is None
    assert limited(SCORES, None, "label") is None
    assert limited(whole, meaning("label"), "label") is whole  # it is one already


# -- a server ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(made, tmp_path_factory):
    path, tokens = tmp_path_factory.mktemp("tokens") / "tokens.json", Tokens()
    rules = {
        "all": {}, "labels": {"outputs": "label"}, "seldom": {"per_second": 0.01}, "few": {"per_day": 3},
        "metrics": {"scopes": ("metrics",)},
    }  # fmt: skip
    secrets = {name: tokens.add(name, **rule) for name, rule in rules.items()}
    tokens.save(path)
    with serve(made("cnn_onnx"), port=0, ports={"grpc": 0}, tokens=path) as server:
        yield server, secrets, path


def instances(count):
    return {"instances": np.random.default_rng(0).integers(0, 255, (count, 8, 8)).tolist()}


def test_only_requests_with_a_token_are_answered(guarded, ask, made, served):
    server, secrets, _ = guarded
    predict = f"/v1/models/{server.name}:predict"
    for method, path, body in (
        ("POST", predict, instances(1)), ("GET", f"/v1/models/{server.name}", None), ("GET", "/v2", None),
        ("GET", "/nothing", None), ("POST", f"/v2/models/{server.name}/infer", {}),
    ):  # fmt: skip
        for headers in ({}, {"Authorization": "Bearer dk_wrong"}, {"Authorization": f"Basic {secrets['all']}"}):
            refused = ask(server, method, path, body, **headers)
            assert refused.status == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert server.name not in refused.error
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert ask(server, "GET", path).status == 200
    refused = ask(server, "POST", predict, instances(1), Authorization=f"Bearer {secrets['metrics']}")
    assert refused.status == 403
    assert "is for metrics" in refused.error
    given = ask(server, "POST", predict, instances(4), Authorization=f"Bearer {secrets['all']}")
    assert given.json == ask(served("cnn_onnx"), "POST", predict, instances(4)).json


def test_a_token_sees_what_it_may(guarded, ask, served):
    server, secrets, _ = guarded
    bearer = {"Authorization": f"Bearer {secrets['labels']}"}
    whole = np.array(
        ask(served("cnn_onnx"), "POST", f"/v1/models/{server.name}:predict", instances(5)).json["predictions"]
    )
    seen = ask(server, "POST", f"/v1/models/{server.name}:predict", instances(5), **bearer).json["predictions"]
    np.testing.assert_array_equal(seen, np.eye(whole.shape[1])[whole.argmax(1)])


def test_limits_say_when_to_come_back(guarded, ask):
    server, secrets, _ = guarded
    predict = f"/v1/models/{server.name}:predict"
    seldom, few = ({"Authorization": f"Bearer {secrets[name]}"} for name in ("seldom", "few"))
    assert ask(server, "POST", predict, instances(1), **seldom).status == 200
    refused = ask(server, "POST", predict, instances(1), **seldom)
    assert refused.status == 429
    assert 90 <= int(refused.headers["retry-after"]) <= 100
    assert ask(server, "POST", predict, instances(2), **few).status == 200
    assert ask(server, "POST", predict, instances(2), **few).status == 429
    assert ask(server, "POST", predict, instances(1), **few).status == 200


def test_tokens_may_change_while_the_server_runs(guarded, ask):
    server, _, path = guarded
    tokens = Tokens.open(path)
    secret = tokens.add("new")
    tokens.save(path)

    def status():
        return ask(server, "GET", "/v2", Authorization=f"Bearer {secret}").status

    end = time.monotonic() + 30
    while status() != 200:
        assert time.monotonic() < end
    tokens.remove("new")
    tokens.save(path)
    while status() != 401:
        assert time.monotonic() < end


def test_grpc_asks_for_the_same_tokens(guarded):
    grpc = pytest.importorskip("grpc")
    server, secrets, _ = guarded
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:

        def call(method, name):
            metadata = [("authorization", f"Bearer {secrets[name]}")] if name else []
            ask = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            try:
                return ask(b"", metadata=metadata, timeout=30)
            except grpc.RpcError as error:
                return error.code().name

        assert call("ServerLive", "") == call("ServerReady", "") == b"\x08\x01"  # as over HTTP
        assert call("ServerMetadata", "") == call("ModelInfer", "") == "UNAUTHENTICATED"
        assert call("ServerMetadata", "metrics") == call("ModelInfer", "metrics") == "PERMISSION_DENIED"
        assert b"deploykit" in call("ServerMetadata", "all")
        assert call("ModelInfer", "all") == "NOT_FOUND"
        assert server.name.encode() in call("ModelStatistics", "metrics")
        assert call("ModelStatistics", "all") == "PERMISSION_DENIED"
        assert call("RepositoryIndex", "all") == call("RepositoryModelLoad", "all") == "PERMISSION_DENIED"

        def described(name):
            metadata = [("authorization", f"Bearer {secrets[name]}")] if name else []
            ask = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            try:
                return next(ask(iter([b"\x3a\x00"]), metadata=metadata, timeout=30))  # lists the services
            except grpc.RpcError as error:
                return error.code().name

        assert b"inference.GRPCInferenceService" in described("all")
        assert described("") == "UNAUTHENTICATED"
        assert described("metrics") == "PERMISSION_DENIED"


def test_another_address_takes_tokens_or_a_word(made, tmp_path):
    with pytest.raises(SettingError, match=r"--insecure"):
        serve(made("cnn_onnx"), host="0.0.0.0", port=0)
    with pytest.raises(SettingError, match="Cannot read tokens"):
        serve(made("cnn_onnx"), port=0, tokens=tmp_path / "none.json")


def test_who_starts_a_server_may_use_it_and_others_are_told_how(guarded, served, monkeypatch):
    server, secrets, _ = guarded
    images = np.random.default_rng(0).integers(0, 255, (2, 8, 8)).astype(np.uint8)
    wanted = served("cnn_onnx").predict(images)
    np.testing.assert_array_equal(server.predict(images), wanted)
    monkeypatch.delenv("DEPLOYKIT_TOKEN", raising=False)
    assert "401" in str(verify(server.artifact, url=server.url).problems)
    monkeypatch.setenv("DEPLOYKIT_TOKEN", secrets["all"])
    assert verify(server.artifact, url=server.url)
