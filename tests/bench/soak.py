"""Whether anything breaks in ten minutes of trouble: ``python tests/bench/soak.py [--minutes 10]``.

Two workers serve versions of an image classifier while clients ask over JSON, binary tensors and gRPC, others send
what no server should take, others are slow or silent; versions come and go, and workers are killed. Each answer is
compared with what ONNX Runtime itself gives for the same image and version. Prints what went wrong: nothing should but
connections that a killed worker had open. Ends with status 1 otherwise.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

import deploykit as dk
from deploykit.artifacts.client import Client
from deploykit.core.errors import RequestError, ServeError
from deploykit.testing.graphs import exported, graph, node, value

IMAGES = 64
#: How far an answer may be from ONNX Runtime's own: batches round differently.
CLOSE = 1e-5
#: What breaks within this time of a kill was the killed worker's.
KILL_SECONDS = 2.0
BAD = (
    b"POST /v1/models/cnn:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n{{{{{",
    b"POST /v1/models/cnn:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n" + b'{"instances": [[[1]]',
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    b"POST /v2/models/cnn/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
    b"POST /v1/models/cnn:predict HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
    b"\x16\x03\x01\x02\x00" + bytes(64),
    b"NONSENSE\r\n\r\n",
)


class Trouble:
    """What happens, counted.

    Args:
        base: Folder of the versions.
        wanted: ONNX Runtime's outputs by version, batch first.
        images: The images.
    """

    def __init__(self, base: Path, wanted: dict[int, np.ndarray], images: np.ndarray) -> None:
        self.base, self.wanted, self.images = base, wanted, images
        self.stop = threading.Event()
        self.count: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.lost: list[tuple[float, str]] = []
        self.kills: list[float] = []
        self._lock = threading.Lock()

    def check(self, way: str, places: np.ndarray, found: np.ndarray) -> None:
        """Compare an answer with those of both versions."""
        with self._lock:
            self.count[way] += 1
        gaps = [float(np.abs(outputs[places] - found).max()) for outputs in self.wanted.values()]
        if not min(gaps) <= CLOSE:
            self.wrong.append(f"{way}: {min(gaps):.2g} from ONNX Runtime's answer")

    def again(self, act: Callable[[random.Random], None]) -> Callable[[], None]:
        """Do something until the end; refusals are counted, lost connections noted."""

        def run() -> None:
            rng = random.Random(threading.get_ident())
            while not self.stop.is_set():
                try:
                    act(rng)
                except urllib.error.HTTPError as error:
                    self._status(error.code)
                except RequestError as error:
                    self._status(429 if "waiting" in str(error) else 503)
                except (OSError, ServeError, EOFError) as error:
                    self.lost.append((time.monotonic(), repr(error)))
                    time.sleep(0.05)

        return run

    def _status(self, code: int) -> None:
        with self._lock:
            self.count[f"status {code}"] += 1
        if code not in (429, 503, 504):
            self.wrong.append(f"status {code} for a good request")


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deploykit-soak-") as folder:
        return run(Path(folder), arguments.minutes)


def run(folder: Path, minutes: float) -> int:
    """Make two versions, serve them, cause trouble, and report."""
    images = np.random.default_rng(1).integers(0, 255, (IMAGES, 28, 28)).astype(np.uint8)
    made = {number: make(folder / f"made{number}", number) for number in range(2)}
    wanted = {number: bare(path, images) for number, path in made.items()}
    base = folder / "cnn"
    base.mkdir()
    shutil.copytree(made[0], base / "1")
    trouble = Trouble(base, wanted, images)
    limits = {"header_seconds": 2.0, "request_seconds": 3.0, "idle_seconds": 5.0}
    with dk.serve(base, port=0, ports={"grpc": 0}, workers=2, poll_seconds=0.5, limits=limits) as server:
        acts = [
            *[trouble.again(by_json(server.port, trouble)) for _ in range(2)],
            *[trouble.again(by_client(server.url, trouble)) for _ in range(2)],
            trouble.again(by_grpc(server.ports["grpc"], trouble)),
            *[quietly(trouble, bad(server.port)) for _ in range(2)],
            *[quietly(trouble, slow(server.port)) for _ in range(4)],
            lambda: swap(trouble, made),
            lambda: kill(trouble, server),
        ]
        threads = [threading.Thread(target=act) for act in acts]
        for thread in threads:
            thread.start()
        memory = []
        end = time.monotonic() + 60 * minutes
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 60 * minutes / 10))
            with contextlib.suppress(psutil.Error):
                memory.append(sum(psutil.Process(pid).memory_full_info().uss for pid in server.pids) / 2**20)
            done = ", ".join(f"{count:,} {what}" for what, count in sorted(trouble.count.items()))
            print(f"{done}; {len(trouble.wrong)} wrong, {len(trouble.lost)} lost; {memory[-1]:.0f} MB", flush=True)
        trouble.stop.set()
        for thread in threads:
            thread.join()
    return report(trouble)


def report(trouble: Trouble) -> int:
    """Print what was wrong, and say whether anything was."""
    for text in trouble.wrong[:10]:
        print("WRONG", text)
    cut = [text for at, text in trouble.lost if any(0 <= at - kill <= KILL_SECONDS for kill in trouble.kills)]
    other = [text for at, text in trouble.lost if not any(0 <= at - kill <= KILL_SECONDS for kill in trouble.kills)]
    for text in other[:10]:
        print("LOST", text)
    checked = sum(count for way, count in trouble.count.items() if way in ("JSON", "binary", "gRPC"))
    print(f"{checked:,} answers compared with ONNX Runtime, {len(trouble.wrong)} wrong;")
    print(
        f"{len(trouble.kills)} workers killed, with {len(cut)} requests on their connections; {len(other)} others lost"
    )
    return 1 if trouble.wrong or other else 0


def make(folder: Path, number: int) -> Path:
    """An exported classifier of (batch, 28, 28) bytes, of another seed for each number."""
    folder.mkdir()
    rng = np.random.default_rng(number)
    nodes = [
        node("Cast", ["x"], ["real"], to=1),
        node("Flatten", ["real"], ["flat"]),
        node("MatMul", ["flat", "a"], ["hidden"]),
        node("Relu", ["hidden"], ["positive"]),
        node("MatMul", ["positive", "b"], ["scores"]),
        node("Softmax", ["scores"], ["y"]),
    ]
    weights = {"a": rng.normal(0, 1e-3, (784, 64)).astype("f4"), "b": rng.normal(0, 0.3, (64, 10)).astype("f4")}
    inputs, outputs = [value("x", "uint8", "N", 28, 28)], [value("y", "float32", "N", 10)]
    data = dk.Dataset.from_arrays(rng.integers(0, 255, (64, 28, 28)).astype(np.uint8))
    return exported(graph(folder, nodes, inputs, outputs, **weights), data).path


def bare(path: Path, images: np.ndarray) -> np.ndarray:
    """The answers of ONNX Runtime by itself."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(dk.Artifact.open(path).path / "model.onnx"))
    return np.asarray(session.run(None, {"x": images})[0])


def by_json(port: int, trouble: Trouble) -> Callable[[random.Random], None]:
    """Ask in JSON, a new connection each time."""

    def act(rng: random.Random) -> None:
        places = np.array(rng.sample(range(IMAGES), rng.randint(1, 4)))
        body = json.dumps({"instances": trouble.images[places].tolist()}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/cnn:predict", body, timeout=60) as answer:
            found = np.array(json.loads(answer.read())["predictions"], np.float32)
        trouble.check("JSON", places, found)

    return act


def by_client(url: str, trouble: Trouble) -> Callable[[random.Random], None]:
    """Ask in binary tensors, on one connection for a while."""

    def act(rng: random.Random) -> None:
        with Client(url) as client:
            for _ in range(rng.randint(1, 50)):
                places = np.array(rng.sample(range(IMAGES), rng.randint(1, 8)))
                trouble.check("binary", places, client.infer("cnn", {"x": trouble.images[places]})["y"])

    return act


def by_grpc(port: int, trouble: Trouble) -> Callable[[random.Random], None]:
    """Ask over gRPC."""
    import grpc

    from deploykit.core.protos.messages import message

    request, response = message("inference.ModelInferRequest"), message("inference.ModelInferResponse")

    def act(rng: random.Random) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer", request.SerializeToString, response.FromString
            )
            try:
                for _ in range(rng.randint(1, 50)):
                    places = np.array(rng.sample(range(IMAGES), rng.randint(1, 8)))
                    asked = request(model_name="cnn", raw_input_contents=[trouble.images[places].tobytes()])
                    asked.inputs.add(name="x", datatype="UINT8", shape=[len(places), 28, 28])
                    found = np.frombuffer(ask(asked, timeout=60).raw_output_contents[0], np.float32).reshape(-1, 10)
                    trouble.check("gRPC", places, found)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    trouble.count["status 429"] += 1
                    return
                raise ServeError(f"{error.code()}: {error.details()}") from error

    return act


def quietly(trouble: Trouble, act: Callable[[random.Random], str]) -> Callable[[], None]:
    """Do something bad until the end, whatever comes of it."""

    def run() -> None:
        rng = random.Random(threading.get_ident())
        while not trouble.stop.is_set():
            with contextlib.suppress(OSError):
                said = act(rng)
                trouble.count[said] += 1

    return run


def bad(port: int) -> Callable[[random.Random], str]:
    """Send what is not a request."""

    def act(rng: random.Random) -> str:
        data = bytearray(rng.choice(BAD))
        for _ in range(rng.randint(0, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(64)
        if answer.startswith(b"HTTP/1.1 5") and not answer.startswith((b"HTTP/1.1 503", b"HTTP/1.1 505")):
            raise SystemExit(f"{answer!r} for {bytes(data[:200])!r}")
        time.sleep(0.02)
        return "bad requests"

    return act


def slow(port: int) -> Callable[[random.Random], str]:
    """Send a request byte by byte, or nothing at all."""

    def act(rng: random.Random) -> str:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            for byte in BAD[0][: rng.randint(0, 40)]:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
            while connection.recv(64):
                pass
        return "slow clients"

    return act


def swap(trouble: Trouble, made: dict[int, Path]) -> None:
    """Bring a new version every few seconds, and take the old ones away."""
    version = 1
    while not trouble.stop.wait(5.0):
        version += 1
        shutil.copytree(made[version % 2], trouble.base / "new")
        (trouble.base / "new").rename(trouble.base / str(version))
        trouble.count["versions"] += 1
        if version > 3:
            shutil.rmtree(trouble.base / str(version - 3))


def kill(trouble: Trouble, server: dk.Server) -> None:
    """Kill a worker now and then."""
    rng = random.Random(0)
    while not trouble.stop.wait(15.0):
        with contextlib.suppress(OSError):
            trouble.kills.append(time.monotonic())
            os.kill(rng.choice(server.pids), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
