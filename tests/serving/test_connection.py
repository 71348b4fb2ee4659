"""Connections as clients, slow clients and attackers use them: raw bytes against a server with short limits."""

import asyncio
import contextlib
import json
import random
import re
import threading

import pytest
import uvloop

from deploykit.artifacts.artifact import Artifact
from deploykit.core.settings.limits import ServerLimits
from deploykit.serving.dataplane import DataPlane
from deploykit.serving.service import Service
from deploykit.serving.transport.http_server import HTTPServer
from deploykit.serving.transport.listen import listen

BODY = json.dumps({"instances": [[[1] * 8] * 8]}).encode()
assert len(BODY) == 225
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def head(*lines, length: int | str | None = 225, path="/v1/models/cnn:predict"):
    first = [f"POST {path} HTTP/1.1", "Host: localhost", *([f"Content-Length: {length}"] if length is not None else [])]
    return "\r\n".join([*first, *lines, "", ""]).encode()


POST = head() + BODY


@pytest.fixture(scope="module")
def plane(made):
    return DataPlane(Artifact.open(made("cnn_onnx").path))


@pytest.fixture(params=["uvloop", "asyncio"])
def talk(request, plane):
    """Run ``script(server)`` with a server of certain limits, on each event loop."""

    def run(script, hosts=("127.0.0.1",), service=None, **limits):
        async def whole():
            found = service or Service([plane], limits=ServerLimits(**limits))
            server = HTTPServer(found, hosts)
            listener = listen("127.0.0.1", 0, 1)[0]
            server.address = listener.getsockname()
            await server.start(listener)
            try:
                return await asyncio.wait_for(script(server), 60)
            finally:
                await server.drain(1)

        maker = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=maker) as runner:
            return runner.run(whole())

    return run


async def connect(server):
    return await asyncio.open_connection(*server.address)


async def send(server, *parts):
    """Send bytes and read until the server closes."""
    reader, writer = await connect(server)
    for part in parts:
        writer.write(part)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        await asyncio.sleep(0)
    with contextlib.suppress(ConnectionError):
        return await end(reader, writer)
    return b""


async def end(reader, writer):
    found = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return found


async def answer(reader):
    """One answer: status, headers, body."""
    text = await reader.readuntil(b"\r\n\r\n")
    first, *lines = text.decode().split("\r\n")[:-2]
    headers = dict(line.split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers, body


def status(found):
    return int(found.split(b" ", 2)[1]) if found else 0


def error(found):
    return json.loads(found.partition(b"\r\n\r\n")[2])["error"]


# -- what is taken -----------------------------------------------------------------------------------------------------


def test_a_connection_is_kept_and_closed_as_asked(talk):
    async def script(server):
        reader, writer = await connect(server)
        for _ in range(3):
            writer.write(POST)
            code, headers, body = await answer(reader)
            assert (code, headers.get("connection")) == (200, None)
            assert len(json.loads(body)["predictions"]) == 1
        writer.write(head("Connection: close") + BODY)
        code, headers, _ = await answer(reader)
        assert (code, headers["connection"]) == (200, "close")
        assert await end(reader, writer) == b""
        assert b"\r\nconnection: close\r\n" in await send(server, GET.replace(b"1.1", b"1.0"))
        reader, writer = await connect(server)
        for _ in range(2):
            writer.write(GET.replace(b"1.1\r\n", b"1.0\r\nConnection: keep-alive\r\n"))
            assert (await answer(reader))[1]["connection"] == "keep-alive"
        writer.close()

    talk(script)


def test_requests_sent_ahead_are_answered_in_order(talk):
    async def script(server):
        reader, writer = await connect(server)
        count = 400
        wanted = ([200] * 3 + [404]) * (count // 4)
        wrong = head(path="/v1/models/none:predict") + BODY
        everything = (POST + GET + POST + wrong) * (count // 4)
        writer.write(everything)
        found = [(await answer(reader))[0] for _ in wanted]
        assert found == wanted
        writer.close()

    talk(script)


def test_each_request_is_read_by_its_own_head(talk):
    """Most clients repeat their heads; some differ in a header alone, or come in parts."""
    other = head("X-Other: 1") + BODY
    long = head(f"X-Long: {'a' * 4000}") + BODY
    given = [POST, POST, other, POST, GET, GET, long, long, POST]

    async def script(server):
        for step in (1 << 20, 50):
            reader, writer = await connect(server)
            found = []
            for request_ in given:
                for start in range(0, len(request_), step):
                    writer.write(request_[start : start + step])
                    await asyncio.sleep(0)
                found.append((await answer(reader))[0])
            assert found == [200] * len(given)
            writer.close()

    talk(script)


def test_a_request_in_single_bytes_is_the_same_request(talk):
    async def script(server):
        whole = head("Connection: close") + BODY
        plain = await send(server, whole)
        assert status(plain) == 200
        assert await send(server, *(whole[i : i + 1] for i in range(len(whole)))) == plain
        for cut in (1, 20, len(whole) - len(BODY), len(whole) - 1):
            assert await send(server, b"\r\n" + whole[:cut], whole[cut:]) == plain

    talk(script)


def test_chunks_are_put_together_wherever_they_are_cut(talk):
    async def script(server):
        start = head("Transfer-Encoding: chunked", length=None)
        text = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(p), p) for p in (BODY[:1], BODY[1:90], BODY[90:]))
        whole = start + text + b"0\r\nTrailer: x\r\n\r\n"
        last = head("Connection: close") + BODY
        wanted = await send(server, POST + last)
        for cut in range(len(start), len(whole), 7):
            assert await send(server, whole[:cut], whole[cut:] + last) == wanted
        assert await send(server, whole + last) == wanted

    talk(script)


def test_a_client_that_expects_to_continue_is_asked_to(talk):
    async def script(server):
        reader, writer = await connect(server)
        writer.write(head("Expect: 100-continue"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        assert (await answer(reader))[0] == 200
        for start, code in (
            (head("Expect: 100-continue", length=1 << 40), 413),
            (head("Expect: 100-continue", path="/v1/models/none:predict"), 404),
            (head("Expect: tea"), 417),
        ):
            assert status(await send(server, start)) == code
        writer.close()

    talk(script)


def test_a_long_answer_reaches_a_client_that_reads_slowly(talk, plane):
    rows = 20_000

    async def script(server):
        body = json.dumps({"instances": [[[1] * 8] * 8] * rows}).encode()
        reader, writer = await connect(server)
        writer.write(head("Connection: close", length=len(body)) + body)
        while server.held:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)  # longer than a client may take that reads nothing
        code, _, found = await answer(reader)
        assert (code, len(json.loads(found)["predictions"])) == (200, rows)
        writer.close()

    talk(script, write_seconds=30.0)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (head("Content-Length: 3"), 400, "Content-Length"),
        (head(f"Content-Length: {len(BODY)}"), 400, "Content-Length"),
        (head("Transfer-Encoding: chunked"), 400, "Transfer-Encoding"),
        (head("Transfer-Encoding: gzip, chunked", length=None), 400, "Transfer-Encoding"),
        (head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", length=None), 400, "ransfer-"),
        (head("Transfer-Encoding: xchunked", length=None), 400, "Transfer-Encoding"),
        (head(length="+5"), 400, "Content-Length"),
        (head(length="0x5"), 400, "Content-Length"),
        (head(length="9" * 30), 400, "Content-Length"),
        (head("Content-Length : 5", length=None), 400, "header"),
        (head("X: a\nY: b"), 400, "CR"),
        (head("X: a\x00b"), 400, "header"),
        (head(" folded: x"), 400, "whitespace"),
        (POST.replace(b"Host: localhost\r\n", b""), 400, "one Host header, got none"),
        (head("Host: localhost"), 400, "one Host header, got 2"),
        (POST.replace(b"HTTP/1.1", b"HTTP/2.0"), 505, "HTTP/2.0"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/2.0"),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "method"),
        (b"GET /v2 HTTP/1.1\nHost: localhost\n\n", 400, "CR LF"),
        (b"GET /v2\r\n\r\n", 505, "HTTP/0.9"),
        (b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "No such route"),
        (head("X: " + "a" * 70_000), 431, "at most 65,536 bytes"),
        (b"GET /" + b"a" * 70_000, 431, "at most 65,536 bytes"),
        (head(*(f"X{i}: y" for i in range(200))), 431, "at most 128 header fields, got 202"),
    ],
)
def test_what_is_no_single_request_is_refused_and_the_connection_closed(talk, request_, code, said):
    async def script(server):
        found = await send(server, request_)
        assert status(found) == code
        assert said in error(found)
        assert b"connection: close\r\n" in found.lower()

    talk(script)


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n",
        b"-1\r\n",
        b"fffffffff\r\n",
        b"5\r\nabcdeX\r\n",
        b"5\r\nabcde\n",
        b"5\nabcde\r\n",
        b"\r\n",
        b"0" * 2000,
        b" 5\r\n",
    ],
)
def test_what_are_no_chunks_is_refused(talk, chunks):
    async def script(server):
        found = await send(server, head("Transfer-Encoding: chunked", length=None) + chunks)
        assert status(found) == 400
        assert "Expected a body in chunks" in error(found)

    talk(script)


def test_many_tiny_chunks_and_endless_trailers_are_refused(talk):
    async def script(server):
        start = head("Transfer-Encoding: chunked", length=None)
        assert "send larger ones" in error(await send(server, start + b"1\r\n \r\n" * 10_001))
        assert "trailers" in error(await send(server, start + b"0\r\n" + b"X: y\r\n" * 3000))

    talk(script)


def test_only_names_of_this_server_are_hosts(talk):
    def ask(name):
        return f"GET /v2/health/live HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()

    async def script(server):
        for name in (
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8501",
            "[::1]:1",
            "10.1.2.3",
            "models.example.",
            "localhost.",
        ):
            assert status(await send(server, ask(name))) == 200, name
        for name in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "a:b:c"):
            found = await send(server, ask(name))
            assert status(found) == 421, name
            assert "--allow-host" in error(found)

    talk(script, hosts=("models.example",))

    async def anything(server):
        assert status(await send(server, ask("evil.example"))) == 200

    talk(anything, hosts=())


# -- time and room -----------------------------------------------------------------------------------------------------


def test_silent_and_dripping_clients_are_cut_off(talk):
    async def drip(server, text, first=b"G"):
        reader, writer = await connect(server)
        writer.write(first)

        async def write():
            for byte in text:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)

        task = asyncio.create_task(write())
        found = await reader.read()
        task.cancel()
        writer.close()
        return found

    async def script(server):
        silent, begun, dripping, body, chunked = await asyncio.gather(
            send(server),
            send(server, GET[:20]),
            drip(server, b"ET /" + b"a" * 1000),
            drip(server, b" " * 1000, head(length=1000)),
            drip(server, b" " * 1000, head("Transfer-Encoding: chunked", length=None) + b"400\r\n"),
        )
        for found in (silent, begun, dripping):
            assert status(found) == 408
            assert error(found) == "Expected a request within 0.3 s."
        for found in (body, chunked):
            assert status(found) == 408
            assert error(found) == "The body did not arrive within 0.3 s."
        reader, writer = await connect(server)
        writer.write(GET)
        assert (await answer(reader))[0] == 200
        assert await end(reader, writer) == b"", "an idle connection is closed without a word"

    talk(script, header_seconds=0.3, request_seconds=0.3, idle_seconds=0.3)


def test_three_hundred_silent_clients_lock_no_one_out(talk):
    async def script(server):
        silent = [await connect(server) for _ in range(300)]
        assert server.connections <= 20
        for _ in range(3):
            assert status(await send(server, head("Connection: close") + BODY)) == 200
        for _, writer in silent:
            writer.close()

    talk(script, connections=20)


def test_a_full_server_says_so(talk, plane, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(plane, "most_joined", 1)
    monkeypatch.setattr(plane, "example_seconds", 1.0)
    infer = plane.infer
    monkeypatch.setattr(plane, "infer", lambda batch: release.wait(60) and infer(batch))

    async def script(server):
        busy = [await connect(server) for _ in range(2)]
        for _, writer in busy:
            writer.write(POST)
        while sum(c.state.name == "BUSY" for c in server._open) < 2:
            await asyncio.sleep(0.01)
        found = await send(server, GET)
        assert status(found) == 503
        assert error(found) == "Expected at most 2 connections at once; try again later."
        release.set()
        for reader, writer in busy:
            assert (await answer(reader))[0] == 200
            writer.close()

    talk(script, connections=2)


def test_bodies_together_have_a_limit(talk):
    async def script(server):
        reader, writer = await connect(server)
        writer.write(head(length=60_000) + b" " * 59_000)
        while server.held < 59_000:
            await asyncio.sleep(0.01)
        found = await send(server, head(length=60_000) + b" " * 60_000)
        assert status(found) == 429
        assert b"\r\nretry-after: 1\r\n" in found
        assert "Expected requests of at most 100,000 bytes together" in error(found)
        assert status(await send(server, head("Connection: close") + BODY)) == 200
        writer.write(b" " * 1000)
        assert (await answer(reader))[0] == 400  # it was taken, though it is not JSON
        writer.close()
        while server.connections:
            await asyncio.sleep(0.01)
        assert server.held == 0

    talk(script, held_bytes=100_000)


# -- anything ----------------------------------------------------------------------------------------------------------


def mutants(count):
    """Requests with bytes changed, dropped, doubled and cut, from a seed."""
    draw = random.Random(0)
    seeds = [
        POST,
        GET,
        GET.replace(b"GET", b"PUT"),
        head("Transfer-Encoding: chunked", length=None) + b"5\r\n12345\r\n0\r\n\r\n",
        head("Expect: 100-continue", "Content-Encoding: gzip"),
        head("Inference-Header-Content-Length: 20", path="/v2/models/cnn/infer") + BODY,
    ]
    special = [
        b"\r\n",
        b"\n",
        b"\0",
        b":",
        b" ",
        b"\xff",
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"9" * 20,
    ]
    for _ in range(count):
        text = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 5)):
            at = draw.randrange(len(text))
            match draw.randrange(5):
                case 0:
                    text[at] = draw.randrange(256)
                case 1:
                    del text[at : at + draw.randint(1, 30)]
                case 2:
                    text[at:at] = draw.choice(special)
                case 3:
                    text[at:at] = text[at : at + draw.randint(1, 200)]
                case 4:
                    del text[at:]
            text = text or bytearray(b"G")
        yield bytes(text)


def test_no_bytes_at_all_harm_the_server(talk, caplog):
    import gc

    async def one(server, text, seen):
        reader, writer = await connect(server)
        writer.write(text)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            seen.extend(map(int, re.findall(rb"HTTP/1.1 ([0-9]{3}) ", await end(reader, writer))))

    async def script(server):
        seen = []
        for number, text in enumerate(mutants(4000)):
            await one(server, text, seen)
            if number == 1500:
                gc.collect()
                before = len(gc.get_objects())
        assert status(await send(server, head("Connection: close") + BODY)) == 200
        while server.connections:
            await asyncio.sleep(0.01)
        gc.collect()
        assert len(gc.get_objects()) < before * 1.02 + 1000
        assert server.held == 0
        return seen

    seen = talk(script)
    assert len(seen) > 2000
    assert {200, 400, 404, 405} <= set(seen)
    assert all(code < 500 or code == 505 for code in seen), {c for c in seen if c >= 500}
    assert "Traceback" not in caplog.text
