"""Many models and versions: what is served, how it changes while it is used, and how requests are spread."""

import json
import shutil
import threading
import urllib.error
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import deploykit as dk
from deploykit.artifacts.artifact import Artifact
from deploykit.core.errors import ServeError, SettingError
from deploykit.core.security.tokens import Tokens
from deploykit.serving._serve import serve
from deploykit.serving.sources.wishes import read_models_config
from deploykit.testing.graphs import exported, graph, node, value

ROWS = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 0.5]], np.float32)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """Exported models that multiply ``x`` (batch, 3) by a number; copied to a folder as a release does it."""
    found = {}

    def get(factor, into=None):
        if factor not in found:
            by = np.array([factor], np.float32)
            nodes = [node("Mul", ["x", "by"], ["y"])]
            inputs, outputs = [value("x", "float32", "N", 3)], [value("y", "float32", "N", 3)]
            path = graph(tmp_path_factory.mktemp("scaled"), nodes, inputs, outputs, by=by)
            found[factor] = exported(
                path, dk.Dataset.from_arrays(np.random.default_rng(0).normal(size=(64, 3)).astype("f4"))
            ).path
        if into is None:
            return found[factor]
        into.parent.mkdir(parents=True, exist_ok=True)
        whole = into.with_name("arriving")
        shutil.copytree(found[factor], whole)
        whole.rename(into)  # complete when it gets its name
        return into

    return get


@pytest.fixture
def two(scaled, tmp_path):
    """A folder with versions 1 (times 2) and 2 (times 3) of the model ``by``."""
    scaled(2, tmp_path / "by" / "1")
    scaled(3, tmp_path / "by" / "2")
    return tmp_path / "by"


def post(server, path, body, **headers):
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), names)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def factor(server, path="/v1/models/by", **headers):
    """What the model that answers multiplies by."""
    status, found = post(server, f"{path}:predict", {"instances": [[1.0, 1.0, 1.0]]}, **headers)
    assert status == 200, found
    return found["predictions"][0][0]


def states(server, name="by"):
    with urllib.request.urlopen(f"{server.url}/v1/models/{name}", timeout=60) as answer:
        found = json.loads(answer.read())["model_version_status"]
    return {one["version"]: one["state"] for one in found}


def test_the_highest_version_answers_and_others_by_number_and_label(two):
    with serve(two, port=0, versions="all", labels={"old": 1}, poll_seconds=0) as server:
        assert server.name == "by"
        assert factor(server) == 3
        assert [factor(server, f"/v1/models/by/{rest}") for rest in ("versions/1", "versions/2", "labels/old")] == [
            2,
            3,
            2,
        ]
        np.testing.assert_array_equal(server.predict(ROWS), 3 * ROWS)
        np.testing.assert_array_equal(server.predict(ROWS, version=1), 2 * ROWS)
        assert states(server) == {"2": "AVAILABLE", "1": "AVAILABLE"}
    with serve(two, port=0, poll_seconds=0) as server:
        assert factor(server) == 3
        assert states(server) == {"2": "AVAILABLE"}
    with serve(two, port=0, versions=[1], poll_seconds=0) as server:
        assert factor(server) == 2


def test_models_by_name_and_from_a_models_config(two, scaled, tmp_path):
    with serve({"a": scaled(2), "b": scaled(5)}, port=0) as server:
        assert [factor(server, f"/v1/models/{name}") for name in "ab"] == [2, 5]
        np.testing.assert_array_equal(server.predict(ROWS, name="b"), 5 * ROWS)
    config = tmp_path / "models.config"
    config.write_text(
        'model_config_list { config { name: "mine" base_path: "by" model_version_policy { specific { versions: 1 } } '
        'version_labels { key: "stable" value: 1 } } }'
    )
    with serve(config, port=0, poll_seconds=0) as server:
        assert factor(server, "/v1/models/mine") == 2
        assert factor(server, "/v1/models/mine/labels/stable") == 2


def test_a_new_version_takes_over_without_a_failed_request(two, scaled):
    """Requests of four clients while versions come: all are answered, each by a version that was there."""
    stop = threading.Event()
    seen, failed = [], []

    def ask(server):
        while not stop.is_set():
            try:
                seen.append(factor(server))
            except Exception as error:
                failed.append(repr(error))

    with serve(two, port=0, workers=2, poll_seconds=0.05) as server:
        threads = [threading.Thread(target=ask, args=(server,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for version, by in ((3, 5), (4, 7), (5, 2)):
            scaled(by, two / str(version))
            server.load("by")
            assert factor(server) == by
        stop.set()
        for thread in threads:
            thread.join()
        assert states(server) == {"5": "AVAILABLE", "4": "END", "3": "END", "2": "END"}
    assert not failed
    assert set(seen) == {3, 5, 7, 2}
    assert seen.index(5) > seen.index(3)


def test_a_version_that_does_not_answer_as_it_did_is_not_served(two, scaled, tmp_path):
    with serve(two, port=0, poll_seconds=0, audit=tmp_path / "audit") as server:
        broken = scaled(5, two / "3")
        (broken / "model.onnx").write_bytes(b"no model")
        with pytest.raises(ServeError, match="has changed since the export"):
            server.load("by")
        assert factor(server) == 3
        assert states(server) == {"3": "END", "2": "AVAILABLE"}
        shutil.rmtree(broken)
        scaled(5, two / "3")  # the same version, fixed
        server._catalog.poll()
        assert factor(server) == 5
        server.unload("by")
    acts = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    acts = [one for one in acts if one["action"] != "predict"]
    assert [(one["action"], one["name"], one["version"]) for one in acts] == [
        ("serve", "by", "2"), ("fail", "by", "3"), ("end", "by", "2"), ("serve", "by", "3"), ("end", "by", "3"),
    ]  # fmt: skip
    assert {(one["by"], one["token"]) for one in acts} == {("server", "")}
    assert "has changed since the export" in acts[1]["problem"]
    assert [acts[n]["digest"] for n in (0, 3)] == [Artifact.open(two / n).digest for n in "23"]


def test_a_worker_that_is_restarted_serves_what_the_others_do(two, scaled):
    with serve(two, port=0, poll_seconds=0) as server:
        scaled(7, two / "9")
        server.load("by")
        server._workers._workers[0].process.kill()
        assert factor(server) == 7  # it waits in the listening socket until the next worker is there


def test_unloading_and_loading_over_the_protocol_of_repositories(two):
    with serve(two, port=0, poll_seconds=0) as server:
        assert post(server, "/v2/repository/models/by/unload", {}) == (200, {})
        assert post(server, "/v1/models/by:predict", {"instances": [[1, 1, 1]]})[0] == 404
        assert states(server) == {"2": "END"}
        assert post(server, "/v2/repository/index", {})[1] == [
            {"name": "by", "version": "2", "state": "UNAVAILABLE", "reason": ""}
        ]
        assert post(server, "/v2/repository/index", {"ready": True})[1] == []
        assert post(server, "/v2/repository/models/by/load", {}) == (200, {})
        assert factor(server) == 3
        status, found = post(server, "/v2/repository/models/none/load", {})
        assert (status, found["error"]) == (400, "Unknown model 'none'. Remedy: known: by.")
        status, found = post(server, "/v2/repository/models/by/load", {"parameters": {"config": "{}"}})
        assert status == 400
        assert "'config'" in found["error"]
        page = {"Origin": "http://elsewhere.example"}
        assert post(server, "/v2/repository/models/by/unload", {}, **page)[0] == 403
        assert factor(server) == 3


def test_orders_need_a_token_of_an_administrator(two, tmp_path):
    tokens = Tokens()
    secrets = {scope: tokens.add(scope, scopes=(scope,)) for scope in ("admin", "predict")}
    tokens.save(tmp_path / "tokens.json")
    with serve(two, port=0, poll_seconds=0, tokens=tmp_path / "tokens.json") as server:
        for path in ("/v2/repository/models/by/unload", "/control/models/by/split"):
            assert post(server, path, {})[0] == 401
            assert post(server, path, {}, Authorization=f"Bearer {secrets['predict']}")[0] == 403
        shares = {"canary": "2", "share": 1}
        asked = post(server, "/control/models/by/split", shares, Authorization=f"Bearer {secrets['admin']}")
        assert asked == (200, {"canary": "2", "share": 1, "shadow": "", "shadow_share": 1.0})
    with serve(two, host="0.0.0.0", port=0, poll_seconds=0, insecure=True) as server:
        status, found = post(server, "/v2/repository/models/by/unload", {})
        assert status == 403
        assert "takes no orders" in found["error"]


def test_a_canary_gets_its_share_and_those_who_ask_for_it(two):
    with serve(two, port=0, versions="all", labels={"new": 2}, workers=2, poll_seconds=0) as server:
        server.split("by", dk.Split(canary="2", share=0.3))
        found = [factor(server) for _ in range(300)]
        # 300 draws at 0.3: five standard deviations are 40.
        assert 50 < found.count(3) < 130
        assert found.count(2) + found.count(3) == 300
        assert {factor(server, X_Canary="always") for _ in range(20)} == {3}
        assert {factor(server, X_Canary="never") for _ in range(20)} == {2}
        assert factor(server, "/v1/models/by/versions/2") == 3
        status, _ = post(server, "/control/models/by/split", {})
        assert status == 200
        assert factor(server) == 3
        with pytest.raises(SettingError, match="served version of 'by' '7'"):
            server.split("by", dk.Split(canary="7", share=0.5))
        with pytest.raises(SettingError, match="2 and new are the same version of 'by'"):
            server.split("by", dk.Split(canary="2", share=0.5, shadow="new"))
        status, found = post(server, "/control/models/by/split", {"canary": "1", "shadow_share": 0.5})
        assert (status, found["error"][:48]) == (400, "A shadow_share needs the version that it goes to")
        status, found = post(server, "/control/models/by/split", {"canary": "1", "share": 2})
        assert (status, found["error"]) == (400, "The share must be a number from 0 to 1, got 2.")


def test_a_shadow_is_compared_and_answers_no_one(two, scaled):
    scaled(-1, two / "3")
    scaled(2, two / "4")
    rows = {"instances": [[1.0, 2.0, 3.0]]}
    with serve(two, port=0, versions="all", poll_seconds=0) as server:
        for shadow in "123":  # the same; other scores and the same order; the other order
            server.split("by", dk.Split(shadow=shadow))
            for _ in range(10):
                assert post(server, "/v1/models/by:predict", rows)[1] == {"predictions": [[2.0, 4.0, 6.0]]}
        counted = {}
        while sum(counted.values()) < 30:  # they are compared after the answers
            counted = shadows(server)
        assert counted == {("4", "1", "same"): 10, ("4", "2", "agrees"): 10, ("4", "3", "differs"): 10}


def shadows(server):
    """Copies by the version that answered, the one that got them, and how they compare."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    (found,) = [family for family in families if family.name == "deploykit_shadow"]
    return {tuple(one.labels[name] for name in ("answered", "version", "outcome")): one.value for one in found.samples}


def test_a_models_config_that_changes_changes_what_is_served(two, scaled, tmp_path, caplog):
    def config(*names):
        found = tmp_path / "models.config"
        text = "".join(f'config {{ name: "{name}" base_path: "{two}" }}' for name in names)
        found.write_text(f"model_config_list {{ {text} }}")
        return found

    with serve(config("a", "b"), port=0, poll_seconds=0) as server:
        assert factor(server, "/v1/models/a") == factor(server, "/v1/models/b") == 3
        config("b", "longer")
        server._catalog.poll()
        assert factor(server, "/v1/models/longer") == 3
        assert post(server, "/v1/models/a:predict", {"instances": [[1, 1, 1]]})[0] == 404
        (tmp_path / "models.config").write_text("nonsense")
        server._catalog.poll()
        assert factor(server, "/v1/models/b") == 3
        text = 'model_config_list {{ config {{ name: "b" base_path: "{}" {} }} }}'
        scaled(5, tmp_path / "elsewhere" / "2")
        (tmp_path / "models.config").write_text(text.format(tmp_path / "elsewhere", ""))
        server._catalog.poll()
        assert factor(server, "/v1/models/b") == 5, "the same version from another folder is another one"
        label = 'model_version_policy {{ all {{}} }} version_labels {{ key: "stable" value: {} }}'
        for version, wanted in ((1, 2), (2, 3), (9, 3)):  # nothing but the label changes; version 9 is not there yet
            (tmp_path / "models.config").write_text(text.format(two, label.format(version)) + " " * version)
            server._catalog.poll()
            assert factor(server, "/v1/models/b/labels/stable") == wanted
        scaled(7, two / "9")
        server._catalog.poll()
        assert factor(server, "/v1/models/b/labels/stable") == 7
        (tmp_path / "models.config").write_text(text.format(tmp_path / "nowhere", ""))
        server._catalog.poll()
        assert f"The model 'b' has no version at all in {tmp_path / 'nowhere'}" in caplog.text
        assert factor(server, "/v1/models/b") == 7, "what is there is better than nothing"
        wishes = read_models_config(config("b"))
        with pytest.raises(ServeError, match="has no version 7 in"):
            server._catalog.reload([replace(one, policy="specific", numbers=(2, 7)) for one in wishes])
        assert factor(server, "/v1/models/b/versions/2") == 3


def test_a_folder_that_vanishes_unloads_nothing(two):
    with serve(two, port=0, poll_seconds=0) as server:
        two.rename(two.with_name("away"))
        server._catalog.poll()
        assert factor(server) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"versions": "newest"}, "'latest', 'latest:N', 'all' or a list of numbers, got 'newest'"),
        ({"versions": [-1]}, "got \\[-1\\]"),
        ({"versions": [9]}, "has no version 9 in"),
        ({"poll_seconds": -1}, "from 0 on, got -1"),
    ],
)
def test_what_cannot_be_meant_is_refused(two, arguments, message):
    with pytest.raises((SettingError, ServeError), match=message):
        serve(two, port=0, **arguments)


# -- a folder with a pointer ------------------------------------------------------------------------------------------


def test_a_server_follows_the_pointer_of_its_folder_and_goes_back_at_once(scaled, tmp_path):
    versions = dk.Versions(tmp_path / "by")
    for number in (2, 3):
        versions.add(scaled(number))
    with serve(tmp_path / "by", port=0, poll_seconds=0) as server:
        assert factor(server) == 2
        versions.try_out(2)
        server.load("by")
        assert factor(server) == 2
        assert factor(server, "/v1/models/by/versions/2") == 3
        assert server.models[0]["split"]["shadow"] == "2"
        versions.try_out(2, share=1.0)
        server.load("by")
        assert factor(server) == 3
        assert factor(server, x_canary="never") == 2
        with pytest.raises(SettingError, match="says itself who answers"):
            server.split("by", dk.Split())
        versions.promote(2)
        server.load("by")
        assert factor(server) == factor(server, x_canary="never") == 3
        stop, found = threading.Event(), []

        def ask_on():
            while not stop.is_set():
                found.append(factor(server))

        thread = threading.Thread(target=ask_on)
        thread.start()
        while 3 not in found:
            stop.wait(0.001)
        server.rollback()
        after = factor(server)
        while found[-1] != 2:
            stop.wait(0.001)
        stop.set()
        thread.join()
        assert after == 2
        assert set(found) == {2.0, 3.0}  # and no request failed
        assert dk.Versions(tmp_path / "by").serving == 1
        with pytest.raises(SettingError, match="no version before"):
            server.rollback()


def test_a_damaged_pointer_changes_nothing(scaled, tmp_path):
    versions = dk.Versions(tmp_path / "by")
    versions.add(scaled(2))
    with serve(tmp_path / "by", port=0, poll_seconds=0) as server:
        (tmp_path / "by" / "state.json").write_text("{")
        with pytest.raises(dk.DeploykitError, match="not as deploykit wrote it"):
            server.load("by")
        assert factor(server) == 2
