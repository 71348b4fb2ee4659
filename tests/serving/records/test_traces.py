"""Spans of requests, as OpenTelemetry's own exporter in memory gets them, and over its wire."""

import itertools
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploykit.core.errors import MissingExtraError, SettingError
from deploykit.serving._serve import serve
from deploykit.serving.meter import Visit
from deploykit.serving.records.entry import Entry, wall
from deploykit.serving.records.recorder import Act
from deploykit.serving.records.settings import Recording
from deploykit.serving.records.traces import Traces

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def entry(**more):
    visit = Visit(10.0)
    visit.decoded, visit.began, visit.ended = 10.001, 10.003, 10.006
    visit.model, visit.version, visit.examples = "m", "2", 5
    given = {
        "id": "id", "protocol": "rest_v2", "method": "POST", "path": "/v2/models/m/infer", "status": "200", "size": 7,
        "predicts": True, "token": "alice", "client": b"", "visit": visit, "ended": 10.010,
    }  # fmt: skip
    return Entry(**(given | more))


@pytest.fixture
def sent():
    """Spans of some entries, in the order they ended."""
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

    def send(*entries):
        exporter = memory.InMemorySpanExporter()
        traces = Traces(exporter)
        traces.write(entries, 0)
        traces.close()
        return exporter.get_finished_spans()

    return send


def test_a_request_is_a_span_with_its_stages(sent):
    *stages, whole = sent(entry(), Act(action="load"))
    assert [s.name for s in stages] == ["decode", "queue", "run", "encode"]
    assert {s.parent.span_id for s in stages} == {whole.context.span_id}
    assert {s.context.trace_id for s in stages} == {whole.context.trace_id}
    marks = [10.0, 10.001, 10.003, 10.006, 10.010]
    assert [(s.start_time, s.end_time) for s in stages] == [
        (int(1e9 * wall(a)), int(1e9 * wall(b))) for a, b in itertools.pairwise(marks)
    ]
    assert (whole.start_time, whole.end_time) == (int(1e9 * wall(10.0)), int(1e9 * wall(10.010)))
    assert whole.parent is None
    assert whole.kind.name == "SERVER"
    assert whole.name == "rest_v2 m"
    assert dict(whole.attributes) == {
        "deploykit.request_id": "id", "deploykit.protocol": "rest_v2", "deploykit.status": "200",
        "http.request.method": "POST", "url.path": "/v2/models/m/infer", "http.response.status_code": 200,
        "deploykit.model": "m", "deploykit.version": "2", "deploykit.examples": 5, "enduser.id": "alice",
    }  # fmt: skip
    assert whole.resource.attributes["service.name"] == "deploykit"


def test_it_is_part_of_the_clients_trace(sent):
    *_, whole = sent(entry(client=TRACE.encode()))
    assert f"{whole.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{whole.parent.span_id:016x}" == "b7ad6b7169203331"
    assert whole.parent.is_remote
    assert sent(entry(client=TRACE[:-1].encode() + b"0")) == ()  # the client's trace is not sampled


def test_faults_of_the_server_are_errors_and_those_of_clients_are_not(sent):
    unread = Visit(10.0)
    found = sent(*(entry(status=s, visit=unread) for s in ("404", "503", "INVALID_ARGUMENT", "INTERNAL")))
    assert [s.status.status_code.name for s in found] == ["UNSET", "ERROR", "UNSET", "ERROR"]


def test_the_environment_says_how_they_are_sent(monkeypatch):
    pytest.importorskip("opentelemetry.sdk")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon")
    with pytest.raises(SettingError, match="OTEL_EXPORTER_OTLP_PROTOCOL must be one of http/protobuf, grpc"):
        Traces()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    Traces().close()


def test_a_server_sends_them_by_otlp(made, ask, monkeypatch):
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    got: list[bytes] = []
    came = threading.Event()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/traces"
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()
            came.set()

        def log_message(self, *_):
            pass

    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    try:
        with serve(made("log_onnx"), port=0, traces=True) as server:
            body = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2, 4], "data": [1] * 8}]}
            ask(server, "POST", f"/v2/models/{server.name}/infer", body, traceparent=TRACE)
        assert came.wait(60)
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    spans = [
        span
        for data in got
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {span.trace_id.hex() for span in spans} == {"0af7651916cd43dd8448eb211c80319c"}
    assert sorted(s.name for s in spans) == sorted(["decode", "queue", "run", "encode", f"rest_v2 {server.name}"])


def test_nothing_of_it_is_imported_where_it_is_not_asked_for():
    code = (
        "import sys; from deploykit.serving.records.settings import Recording;"
        "import deploykit.serving._serve, deploykit.serving.processes.worker, deploykit.serving.transport.http_server;"
        "Recording().recorder(1); print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"


def test_where_it_is_not_installed_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtraError, match=r"deploykit\[otel\]"):
        Recording.of(None, "text", None, traces=True)
