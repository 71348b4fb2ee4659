"""A real server among clients that mean it harm: others are answered meanwhile, nothing fails, and memory stays."""

import contextlib
import gzip
import http.client
import json
import random
import socket
import threading

import numpy as np
import psutil
import pytest

from deploykit.serving._serve import serve

pytestmark = pytest.mark.alone

SLOW_CLIENTS = 200
#: Statuses that say what is wrong with a request, or that there is no room for it.
FINE = {200, 400, 404, 405, 408, 411, 413, 415, 417, 421, 429, 431, 503, 505}
MEMORY_BYTES = 48 << 20
HOST = b"Host: localhost\r\n"


@pytest.fixture(scope="module")
def server(made):
    limits = {
        "header_seconds": 2,
        "request_seconds": 3,
        "idle_seconds": 1,
        "connections": 400,
        "request_bytes": 4 << 20,
    }
    with serve(made("log_onnx"), port=0, limits=limits) as running:
        yield running


def statuses(server, data):
    """Statuses of all answers to some bytes, until the server closes."""
    found = b""
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as client,
    ):
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
        while part := client.recv(1 << 16):
            found += part
    return [int(line.split()[1]) for line in found.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def post(server, body, *headers, path=None):
    lines = [f"POST {path or f'/v2/models/{server.name}/infer'} HTTP/1.1".encode(), *headers]
    return b"\r\n".join([*lines, b"Host: localhost", b"Content-Length: %d" % len(body), b"", body])


def attacks(server, rng):
    """Requests that cost a careless server much, or that two servers read differently."""
    deep = rng.choice([b"[", b'{"a":']) * rng.randrange(1000, 400_000)
    bomb = gzip.compress(bytes(rng.randrange(1, 64) << 20), 9)
    shape = rng.choice([[2**63], [2**62, 4], [2**31, 2**31, 4], [-1, 4], [0, 4], [1] * 70, [10**30, 4]])
    tensor = {"name": "features", "datatype": "FP32", "shape": shape, "data": [1.0] * 4}
    hidden = b"GET /hidden HTTP/1.1\r\n" + HOST + b"\r\n"
    start = f"POST /v2/models/{server.name}/infer HTTP/1.1\r\n".encode() + HOST
    return [
        post(server, deep), post(server, b'{"inputs":' + deep), post(server, bomb, b"Content-Encoding: gzip"),
        post(server, bomb[: len(bomb) // 2], b"Content-Encoding: gzip"),
        post(server, json.dumps({"inputs": [tensor]}).encode()),
        post(server, b"[" + b"1," * rng.randrange(200_000) + b"1]", path=f"/v1/models/{server.name}:predict"),
        b"GET /v2 HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(rng.randrange(100, 5000))) + b"\r\n",
        b"GET /v2 HTTP/1.1\r\nX: " + b"y" * rng.randrange(1 << 16, 1 << 20) + b"\r\n\r\n",
        start + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
        start + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + hidden,
        start + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(hidden) + hidden,
        start + b"Content-Length: 0\r\n Transfer-Encoding: chunked\r\n\r\n" + hidden,
        start + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + hidden,
        start + b"Transfer-Encoding: chunked\r\n\r\n%x\r\nabc\r\n0\r\n\r\n" % (2**64 + 3) + hidden,
        start + b"Inference-Header-Content-Length: %d\r\nContent-Length: 2\r\n\r\n{}" % rng.choice([2**63, 10**300]),
        b"GET /v2 HTTP/1.1\r\n" + HOST + b"X-Request-Id: a\r\nX-Request-Id: \xff\x01\r\ntraceparent: 00\r\n\r\n",
        rng.randbytes(rng.randrange(1, 4000)),
    ]  # fmt: skip


def drip(server, until):
    """A client that sends a byte now and then, until it is cut off."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        for byte in b"POST /v2/models/x/infer HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 10_000:
            client.sendall(bytes([byte]))
            if until.wait(0.2):
                return


def predict(server, count):
    """What a client gets that means no harm; each answer by its own example."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        for number in range(1, count + 1):
            x = [float(number)] * 4
            body = json.dumps({"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": x}]})
            connection.request("POST", f"/v2/models/{server.name}/infer", body)
            answer = connection.getresponse()
            assert answer.status == 200
            np.testing.assert_allclose(json.loads(answer.read())["outputs"][0]["data"], np.log(x), rtol=1e-5)
            connection.request("GET", "/v2/health/ready")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b'{"ready":true}')


def round_of(server, seed):
    """All attacks once, beside slow clients and one that means no harm."""
    rng, until = random.Random(seed), threading.Event()
    slow = [threading.Thread(target=drip, args=(server, until)) for _ in range(SLOW_CLIENTS)]
    problems = []

    def good():
        try:
            predict(server, 100)
        except BaseException as error:
            problems.append(error)

    honest = threading.Thread(target=good)
    for thread in (*slow, honest):
        thread.start()
    try:
        for attack in attacks(server, rng):
            found = statuses(server, attack)
            assert found, attack[:200]
            assert set(found) <= FINE, (found, attack[:200])
            # What is hidden behind an ambiguous request is never answered.
            assert found.count(404) == 0 or b"/hidden" not in attack, (found, attack[:200])
        honest.join(120)
        assert not honest.is_alive()
    finally:
        until.set()
        for thread in slow:
            thread.join(60)
    assert not problems, problems
    assert not any(thread.is_alive() for thread in slow)


@pytest.mark.long
def test_others_are_answered_and_memory_stays(server):
    pids = server.pids
    round_of(server, 0)
    (before,) = (psutil.Process(pid).memory_info().rss for pid in pids)
    for seed in (1, 2, 3):
        round_of(server, seed)
    (after,) = (psutil.Process(pid).memory_info().rss for pid in pids)
    assert server.pids == pids  # no worker had to be replaced
    assert after < before + MEMORY_BYTES, (before, after)
    predict(server, 1)
