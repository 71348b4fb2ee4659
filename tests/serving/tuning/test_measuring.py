"""What a round says of the requests in it."""

import asyncio
import base64

import numpy as np
import pytest

from deploykit.serving.tuning.load import drive
from deploykit.serving.tuning.measuring import _round


def test_the_rate_is_counted_where_there_are_many_requests():
    found = _round(np.array([0.001] * 990 + [0.1] * 10, np.float32), 4, 0.5, 0.3, 120.0)
    assert found.rate == 2000.0
    assert (found.requests, found.sender_cpu, found.cpu_us) == (1000, 0.3, 120.0)
    assert found.p50_ms == pytest.approx(1.0)
    assert found.p99_ms == pytest.approx(1.99, abs=1.0)


def test_the_rate_follows_from_the_times_where_there_are_few_requests():
    """Two connections, each answered in two seconds, make one request per second, however short the round."""
    assert _round(np.array([2.0, 2.0], np.float32), 2, 0.5, 0.0, 0.0).rate == pytest.approx(1.0)


async def _answering(handle, **options):
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        return await drive([b"GET / HTTP/1.1\r\n\r\n"], "127.0.0.1", port, **options)
    finally:
        server.close()


def answer(status, body, *, after=0):
    """A server that answers each request; the first ones in pieces if it is to be after some."""

    async def handle(reader, writer):
        while await reader.readuntil(b"\r\n\r\n"):
            text = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            for part in (text[:20], text[20:30], text[30:]) if after else (text,):
                writer.write(part)
                await writer.drain()

    async def quietly(reader, writer):
        try:
            await handle(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return quietly


@pytest.mark.parametrize("pieces", [0, 1])
def test_each_answer_is_followed_by_the_next_request(pieces):
    run = _answering(answer(200, b"{}", after=pieces), connections=3, first=0, settle=0.0, seconds=0.1)
    found = asyncio.run(run)
    times = np.frombuffer(base64.b64decode(found["times"]), np.float32)
    assert len(times) == found["sent"] >= 3
    assert min(times) > 0


def test_a_slow_server_answers_once_on_each_connection():
    found = asyncio.run(_answering(answer(200, b"{}"), connections=2, first=0, settle=0.0, seconds=1e-9))
    assert found["sent"] == 2


def test_what_is_not_an_answer_ends_all_connections():
    options = {"connections": 3, "first": 0, "settle": 0.0, "seconds": 60.0}
    with pytest.raises(RuntimeError, match=r'^503 \{"error": "busy"\}$'):
        asyncio.run(_answering(answer(503, b'{"error": "busy"}'), **options))

    async def hang_up(reader, writer):
        writer.close()

    with pytest.raises(RuntimeError, match="the connection was closed"):
        asyncio.run(_answering(hang_up, **options))
