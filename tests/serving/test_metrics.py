"""What Prometheus gets, against the requests that were made and times taken apart."""

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from deploykit.core.security.tokens import Tokens
from deploykit.serving._serve import serve
from deploykit.serving.meter import BOUNDS_S, STAGES, Meter, Visit, read
from deploykit.serving.wires.metrics import families


def visit(*times, model="m", version="1"):
    found = Visit(times[0])
    found.model, found.version = model, version
    found.decoded, found.began, found.ended = np.cumsum(times)[1:]
    return found


def told(server, ask, **headers):
    """Name of each sample with its labels → value."""
    answer = ask(server, "GET", "/metrics", **headers)
    assert answer.status == 200, answer.body
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def summed(samples, name, **labels):
    return sum(v for (n, *pairs), v in samples.items() if n == name and labels.items() <= dict(pairs).items())


def test_meters_of_several_workers_add_up_and_restarts_count_on(tmp_path):
    paths = [tmp_path / f"c.{slot}.meter" for slot in (0, 1)]
    rng = np.random.default_rng(0)
    times = np.exp(rng.uniform(np.log(2e-6), np.log(2.0), (300, 3)))
    for round_ in range(3):  # each time a new process would open them
        for slot, path in enumerate(paths):
            meter = Meter(path)
            for row in times[round_ * 2 + slot :: 6]:
                meter.answered(visit(time.perf_counter() - row.sum() - 1, *row), "p", "200")
            meter.answered(Visit(time.perf_counter()), "p", "404")
            meter.ran("m", "1", 5)
            meter.flush()
    found = {series.kind: [] for series in read(paths)}
    for series in read(paths):
        found[series.kind].append(series)
    assert sum(s.total for s in found["requests"] if s.labels == ("m", "1", "p", "200")) == 300
    assert sum(s.total for s in found["requests"] if s.labels == ("", "", "p", "404")) == 6
    for column, stage in enumerate(STAGES[:3]):
        series = [s for s in found["seconds"] if s.labels == ("m", "1", "p", stage)]
        counts = np.sum([s.buckets for s in series], axis=0)
        wanted, _ = np.histogram(times[:, column], [0, *BOUNDS_S, np.inf])
        assert np.abs(np.cumsum(counts) - np.cumsum(wanted)).max() <= 1  # the clock's own rounding
        assert sum(s.total for s in series) == pytest.approx(1e9 * times[:, column].sum(), rel=1e-6)
    assert sum(s.total for s in found["examples"]) == 30


def test_numbers_of_versions_that_are_gone_make_room_for_new_ones(tmp_path):
    meter = Meter(tmp_path / "c.0.meter")

    def requests():
        return {s.labels[1]: s.total for s in read([meter.path]) if s.kind == "requests" and s.labels[0]}

    meter.turned("p", "404")
    for version in map(str, range(1, 201)):  # five series of times and two more for each
        meter.serves([("m", "1"), ("m", version)])
        for one in ("1", version):
            meter.answered(visit(1.0, 1.0, 1.0, 1.0, version=one), "p", "200")
            meter.ran("m", one, 1)
        meter.flush()
    found = requests()
    assert found["1"] == 201, "what is served counts on"
    assert found["200"] == 1
    assert "2" not in found
    assert 50 < len(found) < 100
    assert [s.total for s in read([meter.path]) if s.labels == ("", "", "p", "404")] == [1]
    assert [s.total for s in read([meter.path]) if s.kind == "process"] == [os.getpid()]
    meter.serves([("m", str(version)) for version in range(1, 400)])
    for version in map(str, range(201, 400)):
        meter.ran("m", version, 1)
    assert [s.total for s in read([meter.path]) if s.kind == "process"] == [os.getpid()], "nothing counts elsewhere"


def test_merged_histograms_of_three_servers_give_the_99th_percentile(tmp_path):
    rng = np.random.default_rng(1)
    taken = [np.exp(rng.normal(-6 + k, 0.7, 4000)) for k in range(3)]
    for k, seconds in enumerate(taken):
        meter = Meter(tmp_path / f"c.{k}.meter")
        for one in seconds:
            meter.answered(visit(time.perf_counter() - one - 1, 0.0, 0.0, one), "p", "200")
        meter.flush()
    files = sorted(tmp_path.glob("*.meter"))
    (stages,) = [f for f in families(read(files)) if f.name == "deploykit_stage_seconds"]
    run = [s for s in stages.samples if s.labels.get("stage") == "run" and s.name.endswith("_bucket")]
    total = max(s.value for s in run)
    place = min(float(s.labels["le"]) for s in run if s.value >= 0.99 * total)
    truth = np.quantile(np.concatenate(taken), 0.99)
    assert abs(BOUNDS_S.index(place) - np.searchsorted(BOUNDS_S, truth)) <= 1


def test_a_server_says_what_it_did(made, ask):
    with serve(made("cnn_onnx"), port=0, ports={"grpc": 0}, workers=2) as server:
        predict = f"/v1/models/{server.name}:predict"
        for count in (1, 2, 3):
            assert ask(server, "POST", predict, {"instances": np.zeros((count, 8, 8)).tolist()}).status == 200
        assert ask(server, "POST", predict, {"instances": "x"}).status == 400
        assert ask(server, "GET", "/v1/models/nothing").status == 404
        server.predict(np.zeros((4, 8, 8), np.uint8))
        end = time.monotonic() + 30
        while summed(samples := told(server, ask), "deploykit_requests_total", protocol="rest_v1") < 5:
            assert time.monotonic() < end
        model = {"model": server.name, "version": "1"}
        for protocol, status, count in (("rest_v1", "200", 3), ("rest_v2", "200", 1)):
            assert summed(samples, "deploykit_requests_total", protocol=protocol, status=status, **model) == count
            for stage in STAGES:
                labels = {"protocol": protocol, "stage": stage, **model}
                assert summed(samples, "deploykit_stage_seconds_count", **labels) == count
        assert summed(samples, "deploykit_requests_total", status="404") == 1
        assert summed(samples, "deploykit_requests_total", status="400") == 1
        assert summed(samples, "deploykit_batch_examples_sum", **model) == 10
        parts = sum(summed(samples, "deploykit_stage_seconds_sum", stage=stage) for stage in STAGES)
        assert parts == pytest.approx(summed(samples, "deploykit_request_seconds_sum"), rel=1e-3)
        assert {int(dict(pairs)["pid"]) for (n, *pairs) in samples if n == "deploykit_worker_resident_bytes"} == set(
            server.pids
        )
        assert summed(samples, "deploykit_worker_resident_bytes") > 20e6
        assert summed(samples, "deploykit_model", **model) == 1
        opened = ask(server, "GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert {f.name for f in open_metrics(opened.body.decode())} >= {"deploykit_requests", "deploykit_model"}


def test_grpc_counts_as_well(made, ask):
    grpc = pytest.importorskip("grpc")
    with (
        serve(made("cnn_onnx"), port=0, ports={"grpc": 0}) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel,
    ):
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError):
            infer(b"", timeout=30)
        samples = told(server, ask)
        assert summed(samples, "deploykit_requests_total", protocol="grpc", status="NOT_FOUND") == 1


def test_metrics_take_a_token_of_their_own(made, ask, tmp_path):
    tokens = Tokens()
    secrets = {scope: tokens.add(scope, scopes=(scope,)) for scope in ("metrics", "predict")}
    tokens.save(tmp_path / "tokens.json")
    with serve(made("cnn_onnx"), port=0, tokens=tmp_path / "tokens.json") as server:
        assert ask(server, "GET", "/metrics").status == 401
        assert ask(server, "GET", "/metrics", Authorization=f"Bearer {secrets['predict']}").status == 403
        assert told(server, ask, Authorization=f"Bearer {secrets['metrics']}")


def test_the_dashboard_asks_for_what_there_is(made, ask):
    text = (Path(__file__).parents[2] / "deploykit/exporters/_container/grafana.json").read_text("utf-8")
    targets = [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
    asked = set(re.findall(r"deploykit_\w+", " ".join(targets)))
    with serve(made("cnn_onnx"), port=0) as server:
        server.predict(np.zeros((2, 8, 8), np.uint8))
        told_names = {name for name, *_ in told(server, ask)}
    assert asked <= told_names | {"deploykit_waiting_batches"}  # which is there once a batch has waited
    assert len(asked) == 9
