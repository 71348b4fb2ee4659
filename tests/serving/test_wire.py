"""Routes, methods, encodings and limits on a real server; what no client should send must not harm it."""

import asyncio
import contextlib
import gzip
import json
import socket
import threading
import zlib

import pytest

from deploykit.artifacts.artifact import Artifact
from deploykit.core.settings.limits import ServerLimits
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.runner import Runner
from deploykit.serving.service import Service
from deploykit.serving.transport import http
from deploykit.serving.transport.heads import Heads

PREDICT = "/v1/models/cnn:predict"
BODY = json.dumps({"instances": [[[1] * 8] * 8]}).encode()


@pytest.fixture(autouse=True)
def _lives_on(cnn, ask):
    (before,) = cnn.pids
    yield
    assert ask(cnn, "POST", PREDICT, BODY).status == 200
    assert cnn.pids == (before,)


@pytest.mark.parametrize(
    "path",
    ["/other", "/v1", "/v1/models", "/v2/model/cnn", "/v1/models/cnn:explain", "/v2/models/cnn/infer/x", "/../etc"],
)
def test_an_unknown_route_is_404_and_names_the_known_ones(cnn, ask, path):
    answer = ask(cnn, "GET", path)
    assert answer.status == 404
    assert answer.error == f"No such route: {path}; there are /v1/models/cnn[:predict] and /v2/models/cnn[/infer]."


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", PREDICT, "POST"),
        ("HEAD", PREDICT, "POST"),
        ("PUT", PREDICT, "POST"),
        ("DELETE", "/v1/models/cnn", "GET"),
        ("POST", "/v2/health/ready", "GET"),
        ("GET", "/v2/models/cnn/infer", "POST"),
        ("OPTIONS", "/v2", "GET"),
    ],
)
def test_another_method_is_405_and_names_the_right_one(cnn, ask, method, path, allowed):
    answer = ask(cnn, method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allowed
    if method != "HEAD":
        assert answer.error == f"Method {method} is not allowed here; use {allowed}."


def test_packed_bodies_are_understood(cnn, ask):
    plain = ask(cnn, "POST", PREDICT, BODY)
    for coding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        packed = ask(cnn, "POST", PREDICT, pack(BODY), Content_Encoding=coding)
        assert (packed.status, packed.json) == (200, plain.json)
    assert ask(cnn, "POST", PREDICT, BODY, Content_Encoding="identity").status == 200


@pytest.mark.parametrize("encoding", ["br", "x-deflate", "gzip, gzip", "zstd"])
def test_another_encoding_is_415(cnn, ask, encoding):
    answer = ask(cnn, "POST", PREDICT, BODY, Content_Encoding=encoding)
    assert answer.status == 415
    assert answer.error == f"Expected Content-Encoding gzip, deflate or none, got {encoding!r}."


@pytest.mark.parametrize(("coding", "pack", "other"), [("gzip", gzip, zlib), ("deflate", zlib, gzip)], ids=str)
@pytest.mark.parametrize("how", ["plain", "empty", "cut", "behind", "other"])
def test_broken_packing_is_400(cnn, ask, coding, pack, other, how):
    packed = pack.compress(BODY)
    body = {"plain": BODY, "empty": b"", "cut": packed[:-9], "behind": packed + b"1", "other": other.compress(BODY)}[
        how
    ]
    answer = ask(cnn, "POST", PREDICT, body, Content_Encoding=coding)
    assert answer.status == 400
    assert coding in answer.error


def test_a_gzip_bomb_is_413(cnn, ask):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(65)), packer.flush()])
    assert len(bomb) < 100_000
    answer = ask(cnn, "POST", PREDICT, bomb, Content_Encoding="gzip")
    assert answer.status == 413
    assert (
        answer.error
        == "Expected at most 67,108,864 bytes, got more than that after decompression; send smaller batches."
    )


def test_a_huge_body_is_413_and_the_client_hears_it(cnn, ask):
    answer = ask(cnn, "POST", PREDICT, bytes(ServerLimits().request_bytes + 1))
    assert answer.status == 413
    assert answer.error == "Expected at most 67,108,864 bytes, got 67,108,865; send smaller batches."


def raw(server, *parts):
    """Send bytes, read until the server closes or answers."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        return connection.recv(1 << 16)


def head(path=PREDICT, *lines):
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def test_an_announced_terabyte_is_413_at_once(cnn):
    answer = raw(cnn, head(PREDICT, "Content-Length: 1000000000000"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_a_chunked_body_is_read_up_to_the_limit(cnn):
    size = f"{len(BODY):x}".encode()
    chunked = head(PREDICT, "Transfer-Encoding: chunked")
    assert raw(cnn, chunked, size + b"\r\n" + BODY + b"\r\n0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    with socket.create_connection(("127.0.0.1", cnn.port), timeout=60) as connection:
        connection.sendall(chunked)
        with contextlib.suppress(OSError):  # the server may have closed already
            for _ in range(80):
                connection.sendall(chunk)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", head(PREDICT, "Content-Length: -1"), b"HTTP/1.1 200 OK\r\n\r\n"],
)
def test_what_is_no_http_is_400(cnn, garbage):
    assert raw(cnn, garbage).startswith(b"HTTP/1.1 400 ")


def test_two_requests_in_one_packet_are_both_answered(cnn):
    request = head(PREDICT, f"Content-Length: {len(BODY)}") + BODY
    with socket.create_connection(("127.0.0.1", cnn.port), timeout=60) as connection:
        connection.sendall(request + request)
        answer = b""
        while answer.count(b"predictions") < 2:
            part = connection.recv(1 << 16)
            assert part, answer
            answer += part
    assert answer.count(b"HTTP/1.1 200 ") == 2


# -- the application itself, without a socket --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plane(made):
    return DataPlane(Artifact.open(made("cnn_onnx").path))


def call(app, path=PREDICT, method="POST", body=BODY):
    head = Heads(1 << 16, 128).parse(f"{method} {path} HTTP/1.1\r\nHost: localhost".encode())
    found = asyncio.run(app.answer(head, body))
    return found.status, json.loads(found.body)


def test_readiness_ends_when_the_server_goes_down(plane):
    service = Service([plane])
    app = http.App(service)
    assert call(app, "/v2/health/ready", "GET") == (200, {"ready": True})
    service.draining = True
    for path in ("/v2/health/ready", "/v2/models/cnn/ready"):
        assert call(app, path, "GET") == (503, {"error": "The server is shutting down."})
    assert call(app, "/v2/health/live", "GET") == (200, {"live": True})
    assert call(app)[0] == 200


def test_an_unexpected_error_is_500_without_details(plane, monkeypatch, caplog):
    def broken(batch):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(plane, "infer", broken)
    assert call(http.App(Service([plane]))) == (500, {"error": "internal error; the server's log has the details."})
    assert "ZeroDivisionError: secret" in caplog.text


def slow(plane, monkeypatch):
    monkeypatch.setattr(plane, "example_seconds", 1.0)
    monkeypatch.setattr(plane, "most_joined", 1)


def test_long_batches_run_in_the_thread_and_give_the_same(plane, monkeypatch):
    app = http.App(Service([plane]))
    inline = call(app)
    slow(plane, monkeypatch)
    assert call(app) == inline


def test_too_many_waiting_requests_are_429(plane, monkeypatch):
    slow(plane, monkeypatch)
    service = Service([plane], limits=ServerLimits(waiting=3))
    monkeypatch.setattr(service.model("cnn").runner, "_in_thread", 3)
    assert call(http.App(service)) == (429, {"error": "3 requests are already waiting; try again later."})


def test_a_quick_batch_waits_behind_a_long_one(plane):
    """A session belongs to one thread at a time."""
    order = []

    class Slow:
        example_seconds = 0.0
        most_joined = 1

        def infer(self, batch):
            order.append(("begin", batch.count))
            if batch.count > 1:
                released.wait(60)
            order.append(("end", batch.count))
            return {}

    class Count:
        def __init__(self, count):
            self.count = count

    released = threading.Event()

    async def both():
        slow = Slow()
        runner = Runner(slow, 2)
        slow.example_seconds = 0.004
        long = asyncio.create_task(runner.run(Count(1000)))
        while not order:
            await asyncio.sleep(0)
        quick = asyncio.create_task(runner.run(Count(1)))
        await asyncio.sleep(0)  # the loop still turns while the long batch runs
        released.set()
        await asyncio.gather(long, quick)

    asyncio.run(both())
    assert order == [("begin", 1000), ("end", 1000), ("begin", 1), ("end", 1)]


def test_what_has_expired_while_it_waited_is_not_run():
    begun = []

    class Slow:
        example_seconds = 1.0
        most_joined = 1

        def infer(self, batch):
            begun.append(batch.count)
            released.wait(60)
            return {}

    class Count:
        def __init__(self, count):
            self.count = count

    released = threading.Event()

    async def three():
        runner = Runner(Slow(), 3)
        tasks = [asyncio.create_task(runner.run(Count(n))) for n in (1, 2, 3)]
        while not begun:
            await asyncio.sleep(0)
        tasks[1].cancel()  # as a connection does whose time is over, or whose client is gone
        await asyncio.wait([tasks[1]])
        released.set()
        await asyncio.gather(tasks[0], tasks[2])

    asyncio.run(three())
    assert begun == [1, 3]
