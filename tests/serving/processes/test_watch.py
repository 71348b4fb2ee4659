"""Requests and signals that get a worker stuck, fill its memory or end it, and what clients see meanwhile."""

import http.client
import json
import os
import platform
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request

import numpy as np
import psutil
import pytest

from deploykit.artifacts.client import Client
from deploykit.core.errors import SettingError
from deploykit.data.dataset import Dataset
from deploykit.serving._serve import serve
from deploykit.testing import graphs

#: Turns that no computer comes to the end of.
FOREVER = 1 << 50
#: Turns that take a third of a second at least, more than the event loop is meant to be held up for.
LONG = 300_000
#: What the processor cannot divide.
CRASH = [-(1 << 63), -1, 1]
traps = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="no trap for such a division")


@pytest.fixture(scope="module")
def moody(tmp_path_factory):
    """What (N, 3) int64: turns, divisor, size → turns // divisor."""
    rows = np.full((60, 3), 64)
    return graphs.exported(graphs.moody(tmp_path_factory.mktemp("moody")), Dataset.from_arrays({"what": rows}))


@pytest.fixture
def running(moody):
    """Start a server with short limits."""
    started = []

    def start(artifact=moody, workers=1, **options):
        limits = {"answer_seconds": 1.0, "drain_seconds": 2.0, **options.pop("limits", {})}
        started.append(serve(artifact, port=0, workers=workers, limits=limits, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def until(condition, what):
    """Wait for a condition; fails after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


def body(*rows):
    return json.dumps({"instances": [list(row) for row in rows]}).encode()


class Asked:
    """A request in a thread of its own."""

    def __init__(self, server, rows, headers=None):
        self.status, self.headers, self.body = 0, {}, b""
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.connect()
        self._connection = connection
        path = f"/v1/models/{server.name}:predict"
        self._thread = threading.Thread(target=self._ask, args=(connection, path, body(*rows), headers or {}))
        self._thread.start()

    def _ask(self, connection, path, data, headers):
        try:
            connection.request("POST", path, data, headers)
            answer = connection.getresponse()
            self.status, self.headers, self.body = answer.status, dict(answer.headers), answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.body = repr(error).encode()
        finally:
            connection.close()

    def done(self):
        self._thread.join()
        return self

    @property
    def predictions(self):
        return json.loads(self.body)["predictions"]

    @property
    def error(self):
        return json.loads(self.body)["error"]


def health(server, what="live", context=None):
    """Status and body of a question about health, on a connection of its own."""
    where = "127.0.0.1", server.port
    connection = (
        http.client.HTTPConnection(*where, timeout=10)
        if context is None
        else http.client.HTTPSConnection(*where, timeout=10, context=context)
    )
    try:
        connection.request("GET", f"/v2/health/{what}")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


# -- stuck -------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_stuck_batch_is_504_health_is_answered_and_the_worker_is_replaced(running):
    server = running(limits={"answer_seconds": 6.0})
    (first,) = server.pids
    assert server.predict([[64, 8, 1]]).tolist() == [[8]]
    stuck = Asked(server, [(FOREVER, 1, 1)])
    until(lambda: server._watch._posts[0].signs.runs(), "it to run")  # a connection before that would be its own
    busy = 503, {"error": "All workers are busy; try again."}
    until(lambda: health(server, "ready") == busy, "readiness to end")
    assert health(server) == (200, {"live": True})
    assert health(server, "ready") == busy
    assert server.pids == (first,)
    assert stuck.done().status == 504
    assert stuck.error == "The answer was not ready within 6 s."
    assert stuck.headers["connection"] == "close"
    waits = Asked(server, [(640, 8, 1)])  # there is no worker yet
    assert waits.done().predictions == [[80]], "handed over to the next worker"
    assert server.pids != (first,)
    assert health(server, "ready") == (200, {"ready": True})
    assert server.alive
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as answer:
        found = answer.read().decode()
    requests = 'deploykit_requests_total{model="",protocol="rest_v2",status="%d",version=""}'
    assert f"{requests % 503} 2.0" in found, "what the stand-in answers counts as well"
    pids = {int(pid) for pid in re.findall(r'deploykit_worker_resident_bytes{pid="(\d+)"}', found)}
    assert pids == set(server.pids), "and it does not count as a worker"


def test_a_connection_that_a_stuck_worker_has_not_read_is_503(running):
    server = running(limits={"answer_seconds": 2.0})
    held = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for connection in (held, idle):
        connection.request("GET", "/v2")
        assert connection.getresponse().read()
    stuck = Asked(server, [(FOREVER, 3, 1)])
    until(lambda: server._watch._posts[0].signs.runs(), "it to run")
    held.request("GET", "/v2")
    answer = held.getresponse()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert json.loads(answer.read()) == {"error": "A model got stuck, and its worker is being replaced; try again."}
    assert idle.sock.recv(100) == b"", "closed, not reset"
    assert stuck.done().status == 504
    for connection in (held, idle):
        connection.close()


@pytest.mark.long
def test_stuck_in_its_thread_the_requests_behind_it_are_503(running):
    server = running(limits={"answer_seconds": 3.0})
    (first,) = server.pids
    assert Asked(server, [(LONG, 1, 1)]).done().predictions == [[LONG]]  # from now on it is not trusted
    stuck = Asked(server, [(FOREVER, 2, 1)])
    until(lambda: server._watch._posts[0].signs.longest() > 2, "it to run for a while")
    assert health(server, "ready") == (200, {"ready": True}), "the event loop is free"
    behind = Asked(server, [(64, 8, 1)])
    assert stuck.done().status == 504
    assert behind.done().status == 503
    assert behind.error == "A model got stuck, and its worker is being replaced; try again."
    assert behind.headers["retry-after"] == "1"
    until(lambda: server.pids != (first,), "a new worker")
    assert server.predict([[64, 8, 1]]).tolist() == [[8]]


def test_a_long_batch_is_answered_and_so_are_those_who_come_meanwhile(running):
    server = running(limits={"answer_seconds": 60.0})
    (first,) = server.pids
    long = Asked(server, [(6 * LONG, 1, 1)])
    more = [Asked(server, [(64 * n, 8, 1)]) for n in range(1, 6)]
    assert long.done().predictions == [[6 * LONG]]
    assert [one.done().predictions for one in more] == [[[8 * n]] for n in range(1, 6)]
    assert server.pids == (first,)


@pytest.mark.long
def test_a_stopped_worker_is_noticed_and_replaced(running):
    server = running(limits={"answer_seconds": 60.0})
    (first,) = server.pids
    os.kill(first, signal.SIGSTOP)
    until(lambda: health(server, "ready")[0] == 503, "readiness to end")
    assert health(server) == (200, {"live": True})
    assert server.predict([[64, 8, 1]]).tolist() == [[8]]
    assert server.pids != (first,)


def test_other_workers_take_over_at_once(running):
    server = running(workers=2, limits={"answer_seconds": 60.0})
    first, second = server.pids
    os.kill(first, signal.SIGSTOP)
    try:
        for n in range(1, 17):
            assert Asked(server, [(8 * n, 8, 1)]).done().predictions == [[n]]
            assert health(server, "ready") == (200, {"ready": True})
        assert server.pids[1] == second
    finally:
        if server.pids[0] == first:
            os.kill(first, signal.SIGCONT)


# -- poison ------------------------------------------------------------------------------------------------------------


@traps
def test_a_request_that_crashed_a_worker_twice_is_refused(running):
    server = running(limits={"answer_seconds": 60.0})
    pids = set(server.pids)
    for _ in range(2):
        assert Asked(server, [CRASH]).done().status == 0, "the connection ends with the worker"
        assert server.predict([[64, 8, 1]]).tolist() == [[8]]
        pids |= set(server.pids)
    assert len(pids) == 3
    refused = Asked(server, [CRASH]).done()
    assert refused.status == 422
    assert refused.error == (
        "These examples have ended a worker of the server twice, so they are not run again; expected others."
    )
    assert server.predict([[64, 8, 1]]).tolist() == [[8]], "others are not refused"
    assert set(server.pids) < pids
    assert server.alive


@traps
def test_what_ran_beside_a_crash_is_not_refused(running):
    server = running(limits={"answer_seconds": 60.0})
    for _ in range(2):
        together = [Asked(server, rows) for rows in ([(64, 8, 1)], [CRASH], [(64, 8, 1)])]
        assert {one.done().status for one in together} <= {0, 200}
        assert server.predict([[64, 8, 1]]).tolist() == [[8]]
    Asked(server, [CRASH]).done()
    assert Asked(server, [CRASH]).done().status == 422
    assert Asked(server, [(64, 8, 1)]).done().predictions == [[8]]


def test_a_worker_that_others_kill_makes_nothing_suspect(running):
    server = running(limits={"answer_seconds": 60.0})
    for _ in range(3):
        (pid,) = server.pids
        runs = Asked(server, [(FOREVER, 1, 1)])
        until(lambda: server._watch._posts[0].signs.runs(), "it to run")
        os.kill(pid, signal.SIGKILL)
        assert runs.done().status == 0
        until(lambda pid=pid: server.pids != (pid,), "a new worker")
    assert not server._watch._suspects._points


# -- memory ------------------------------------------------------------------------------------------------------------


def test_a_worker_that_grows_beyond_its_limit_is_replaced(running):
    server = running(limits={"answer_seconds": 60.0, "memory_bytes": 400 << 20})
    (first,) = server.pids
    assert psutil.Process(first).memory_info().rss < 400 << 20
    big = Asked(server, [(64, 8, 110 << 20)]).done()  # 440 MB of floats, which the runtime keeps
    assert big.status in (0, 200)
    until(lambda: server.pids != (first,), "a new worker")
    assert server.predict([[64, 8, 1]]).tolist() == [[8]]
    assert psutil.Process(server.pids[0]).memory_info().rss < 400 << 20


# -- overload ----------------------------------------------------------------------------------------------------------


def test_a_memory_limit_that_no_worker_keeps_is_refused(made):
    with pytest.raises(SettingError, match=r"a worker takes [0-9,]+ bytes before its first request"):
        serve(made("log_onnx"), port=0, limits={"memory_bytes": 1})


def test_beyond_what_may_wait_it_is_429(running):
    server = running(limits={"answer_seconds": 60.0, "waiting": 2})
    assert Asked(server, [(LONG, 1, 1)]).done().status == 200
    together = [Asked(server, [(6 * LONG + n, 1, 1)]) for n in range(6)]
    found = [one.done() for one in together]
    assert {one.status for one in found} == {200, 429}
    for n, one in enumerate(found):
        if one.status == 429:
            assert one.error == "2 requests are already waiting; try again later."
            assert one.headers["retry-after"] == "1"
        else:
            assert one.predictions == [[6 * LONG + n]]
    assert sum(one.status == 200 for one in found) >= 2


def test_work_that_nobody_waits_for_is_not_begun(running):
    server = running(limits={"answer_seconds": 60.0})
    assert Asked(server, [(LONG, 1, 1)]).done().status == 200
    long = Asked(server, [(6 * LONG, 1, 1)])
    until(lambda: server._watch._posts[0].signs.runs(), "it to run")
    data = body((FOREVER, 1, 1))  # its client goes before its turn comes
    head = f"POST /v1/models/{server.name}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head.encode() + data)
        assert health(server) == (200, {"live": True})  # it has been read by then
    (pid,) = server.pids
    assert long.done().status == 200
    assert server.predict([[64, 8, 1]]).tolist() == [[8]], "the endless one was never run"
    assert server.pids == (pid,)


# -- TLS and gRPC ------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_the_stand_in_speaks_tls_and_passes_connections_on(running, tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "own.pem"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    files = {"tls_certificate": tmp_path / "own.pem", "tls_key": tmp_path / "key.pem"}
    server = running(limits={"answer_seconds": 60.0}, **files)
    context = ssl.create_default_context(cafile=tmp_path / "own.pem")
    (first,) = server.pids
    os.kill(first, signal.SIGSTOP)
    until(lambda: health(server, "ready", context)[0] == 503, "readiness to end")
    assert health(server, "live", context) == (200, {"live": True})
    with Client(server.url, tls=context) as client:
        for n in range(1, 4):  # the first waits for the next worker; all go through the stand-in
            found = client.infer(server.name, {"what": np.array([[8 * n, 8, 1]])})
            assert found["quotient"].tolist() == [[n]]
    assert server.pids != (first,)
    until(lambda: health(server, "ready", context) == (200, {"ready": True}), "readiness")


@pytest.mark.long
def test_grpc_says_what_http_says(running):
    grpc = pytest.importorskip("grpc")
    from grpc_health.v1 import health_pb2

    from deploykit.core.protos.messages import message

    server = running(ports={"grpc": 0}, limits={"answer_seconds": 4.0})
    (first,) = server.pids

    def call(path, request, kind, seconds=60):
        with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
            return kind.FromString(channel.unary_unary(path)(request.SerializeToString(), timeout=seconds))

    def serves():
        found = call("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse)
        ready = call(
            "/inference.GRPCInferenceService/ServerReady",
            message("inference.ServerReadyRequest")(),
            message("inference.ServerReadyResponse"),
        )
        return found.status == health_pb2.HealthCheckResponse.SERVING, ready.ready

    def infer(row):
        request = message("inference.ModelInferRequest")(model_name=server.name)
        tensor = request.inputs.add(name="what", datatype="INT64", shape=[1, 3])
        tensor.contents.int64_contents.extend(row)
        return call("/inference.GRPCInferenceService/ModelInfer", request, message("inference.ModelInferResponse"))

    def code(row):
        with pytest.raises(grpc.RpcError) as caught:
            infer(row)
        return caught.value.code()

    assert serves() == (True, True)
    codes = []
    stuck = threading.Thread(target=lambda: codes.append(code([FOREVER, 1, 1])))
    stuck.start()
    until(lambda: serves() == (False, False), "readiness to end")
    stuck.join()
    assert codes == [grpc.StatusCode.DEADLINE_EXCEEDED]
    until(lambda: server.pids != (first,), "a new worker")
    until(lambda: health(server, "ready")[0] == 200, "readiness")
    assert list(infer([64, 8, 1]).outputs[0].contents.int64_contents) == [8]
    assert serves() == (True, True)
