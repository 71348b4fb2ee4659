"""A server that is watched: by the process that started it, over HTTP, and by what it has written."""

import json
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from deploykit.artifacts.client import Client
from deploykit.core.errors import SettingError, UnknownRequestError
from deploykit.serving._serve import serve
from deploykit.serving.observing.monitor import monitor


@pytest.fixture(scope="module")
def watched(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    server = serve(
        made("cnn_onnx"), port=0, monitor={"every_seconds": 1}, monitor_folder=folder / "records",
        access_log=folder / "access.log", log_format="json",
    )  # fmt: skip
    yield server, folder
    server.stop()


@pytest.fixture(scope="module")
def examples(made):
    with made("cnn_onnx").opened() as files:
        return files.golden()[0]


def until(there, seconds=30.0):
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not (found := there()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_both_ways_to_ask_say_the_same(watched, examples):
    server, _ = watched
    with Client(server.url) as client:
        for _ in range(50):
            client.infer(server.name, examples)
    here, there = monitor(server), monitor(server.url)
    found = until(lambda: (p := here.model().performance) is not None and p.answered >= 50 and p)
    assert found.failed.value == 0
    assert here.model().version == "1"
    assert here.model().digest == server.artifact.digest
    other = there.status()
    assert [m.digest for m in other.models] == [server.artifact.digest]
    assert other.since == here.status().since
    assert there.history()[-1]["at"] >= here.history()[0]["at"]
    assert here.status().resources.memory_bytes > 10 << 20
    there.close()


def test_labels_go_to_the_requests_they_are_for(watched, examples):
    server, _ = watched
    one = {name: array[:1] for name, array in examples.items()}
    server.predict(one, request_id="first")
    assert server.feedback("first", 1) == 1
    with pytest.raises(UnknownRequestError, match="'first'"):
        server.feedback("first", 1)
    server.predict(one, request_id="second")
    with monitor(server.url) as there:
        assert there.feedback("second", 0) == 1
        with pytest.raises(UnknownRequestError, match="X-Request-ID"):
            there.feedback("second", 0)
        with pytest.raises(SettingError, match="is not watched"):
            there.model("other")


@pytest.mark.parametrize("body", [b"{}", b'{"labels": {}}', b'{"labels": [1]}', b'{"labels": {"x": 1}', b"[]"])
def test_labels_that_are_none_are_refused(watched, body):
    server, _ = watched
    request = urllib.request.Request(f"{server.url}/monitor/models/{server.name}/feedback", body)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value as answer:
        assert answer.code == 400
        assert json.loads(answer.read())["error"]


def test_metrics_and_rules_know_of_alarms(watched, tmp_path):
    yaml = pytest.importorskip("yaml")
    server, _ = watched
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        text = answer.read().decode()
    assert "# TYPE deploykit_alarm gauge" in text
    rules = yaml.safe_load(monitor(server).write_rules(tmp_path / "rules.yml").read_text())
    names = [rule["alert"] for rule in rules["groups"][0]["rules"]]
    assert names[:3] == ["DeploykitAlarm", "DeploykitErrors", "DeploykitDown"]


def test_charts_are_drawn_for_light_and_dark_pages(watched, examples):
    server, _ = watched
    until(lambda: len(monitor(server).history()) >= 2)
    found = monitor(server)._repr_mimebundle_()
    assert "dk-light" in found["text/html"]
    assert "dk-dark" in found["text/html"]
    assert server.name in found["text/plain"]


def test_what_was_written_can_be_read(watched, examples):
    server, folder = watched
    server.predict({name: array[:1] for name, array in examples.items()})
    until(lambda: (folder / "access.log").read_bytes().count(b"\n") >= 50)
    logged = monitor(folder / "access.log")
    lines = [json.loads(line) for line in (folder / "access.log").read_text().splitlines()]
    answered = sum(line["model"] == server.name and line["status"] == "200" for line in lines)
    assert logged.model().performance.answered == answered
    assert monitor(folder / "records").status().healthy


def test_a_hostile_log_is_read_within_bounds(tmp_path):
    good = {"time": "2026-01-01T00:00:00.000Z", "status": "200", "model": "m", "version": "1",
            "ms": {"decode": 1, "queue": 1, "run": 1, "encode": 1, "total": 4}}  # fmt: skip
    bad = [b"\xff\xfe", b"{" * 5000, b'{"status": "200"}', b'{"time": "then", "status": "200"}', b"[" * 100_000,
           json.dumps({**good, "ms": {"run": -1, "total": "x"}}).encode(),
           json.dumps({**good, "ms": {"run": 1e400}}).encode()]  # fmt: skip
    log = tmp_path / "access.log"
    log.write_bytes(b"\n".join([json.dumps(good).encode()] * 20 + bad) + b"\n")
    found = monitor(log)
    assert found.model().performance.answered == 20
    assert "were left out" in found.status().problems[0]
    log.write_bytes(b"\n".join(bad))
    with pytest.raises(SettingError, match="not an access log in JSON"):
        monitor(log)


def test_a_source_of_no_kind_is_refused(tmp_path):
    with pytest.raises(SettingError, match="neither the folder of a monitor nor an access log"):
        monitor(tmp_path)
    with pytest.raises(SettingError, match="Cannot watch 3"):
        monitor(3)


def test_a_server_can_go_without(made):
    with serve(made("cnn_onnx"), port=0, monitor=False) as server:
        with pytest.raises(SettingError, match="has no monitor"):
            monitor(server)
        with pytest.raises(urllib.error.HTTPError) as missing:
            urllib.request.urlopen(f"{server.url}/monitor")
        with missing.value as answer:
            assert answer.code == 503


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"monitor": {"slowest": 1}}, "slowest"),
        ({"monitor": {"slower": 0.5}}, "slower"),
        ({"monitor": "yes"}, "true, false or settings"),
        ({"monitor": False, "webhook": "http://localhost"}, "monitor is False"),
        ({"webhook": "mail:me"}, "not the address of a webhook"),
    ],
)
def test_settings_that_are_none_are_refused(made, options, said):
    with pytest.raises(SettingError, match=said):
        serve(made("cnn_onnx"), port=0, **options)


def test_answers_are_the_same_watched_or_not(watched, examples, made):
    server, _ = watched
    with made("cnn_onnx").opened() as files:
        golden = files.golden()[1]
    found = server.predict(examples)
    assert np.array_equal(found, next(iter(golden.values())))
