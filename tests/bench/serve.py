"""How fast the server is: ``python tests/bench/serve.py [ARTIFACT]``.

Serves an MLP 784-128-10 as ONNX on one core, drives it from another process on another core with real bodies of one
example each, and prints requests a second, latency, CPU time and memory. FastAPI with pydantic, Triton, MLServer and
KServe's SDK serve the same model on the same core in the same rounds; the last three are installed into
``~/.cache/deploykit-bench`` the first time (1.5 GB). Triton's release is for loopback only. With an artifact, or
``--tutorial``, its peer is FastAPI alone. Needs a quiet machine with two cores, and the packages of the bench group.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from peers import servers

import deploykit as dk
from deploykit.artifacts.artifact import Artifact
from deploykit.artifacts.predictor import Predictor
from deploykit.artifacts.wire import JSON_LENGTH, datatype, to_bytes
from deploykit.testing import graphs

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = (1, 8, 32)
FASTAPI = "FastAPI + pydantic"
PEERS = {"triton": servers.start_triton, "mlserver": servers.start_mlserver, "kserve": servers.start_kserve}
_LENGTH = re.compile(rb"(?i)content-length: *([0-9]+)")


def main() -> None:
    """Run the part that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", nargs="?", type=Path, help="an exported folder, instead of the MLP")
    parser.add_argument("--tutorial", action="store_true", help="the tutorial's CNN, instead of the MLP")
    parser.add_argument("--runtime", default="onnxruntime", help="what runs the tutorial's CNN")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each server, taken in turns")
    parser.add_argument("--alone", action="store_true", help="without peers")
    parser.add_argument(
        "--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="which of them, for the MLP"
    )
    parser.add_argument("--load", nargs=3, metavar=("URL", "BODIES", "CONNECTIONS"), help=argparse.SUPPRESS)
    parser.add_argument("--fastapi", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        url, bodies, connections = arguments.load
        print(json.dumps(drive(url, Path(bodies), int(connections), arguments.seconds)))
    elif arguments.fastapi:
        serve_fastapi(arguments.artifact, arguments.fastapi)
    else:
        compare(arguments)


# -- the comparison ---------------------------------------------------------------------------------------------------


class Way(NamedTuple):
    """One way to ask a server.

    Attributes:
        url: Where.
        bodies: File of the requests.
        pid: The server's process.
    """

    url: str
    bodies: Path
    pid: int


def compare(arguments: argparse.Namespace) -> None:
    """Measure the servers in turns, so that whatever else the machine does hits all, and print the medians."""
    usual = arguments.artifact is None and not arguments.tutorial
    peers = [] if arguments.alone or not usual else arguments.peers
    for peer in peers:
        servers.installed(peer)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})  # the servers inherit it
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploykit-bench-")))
        artifact = chosen(arguments, folder)
        with artifact.opened() as files:
            raw, _ = files.golden()
            model = files.model
        rows, v2, binary = write_bodies(raw, folder)
        size = rows.stat().st_size // 2 // len(next(iter(raw.values())))  # hexadecimal
        name = artifact.manifest.name
        server = stack.enter_context(dk.serve(artifact, port=0))
        rest, infer = f"/v1/models/{name}:predict", f"/v2/models/{name}/infer"
        ways = {
            "deploykit, TF Serving JSON": Way(server.url + rest, rows, server.pids[0]),
            "deploykit, v2 JSON": Way(server.url + infer, v2, server.pids[0]),
            "deploykit, v2 binary": Way(server.url + infer, binary, server.pids[0]),
        }
        for peer in peers:
            running = stack.enter_context(PEERS[peer](model, name, folder))
            url = f"http://127.0.0.1:{running.port}"
            if peer == "triton":
                ways["Triton, v2 binary"] = Way(url + infer, binary, running.pid)
            if peer == "kserve":
                ways["KServe's SDK, v1 JSON"] = Way(url + rest, rows, running.pid)
            else:
                label = {"triton": "Triton", "mlserver": "MLServer"}[peer]
                ways[f"{label}, v2 JSON"] = Way(url + infer, v2, running.pid)
        if not arguments.alone:
            process, url = start_fastapi(artifact.path)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            ways[FASTAPI] = Way(f"{url}/predict", rows, process.pid)
        for _ in range(arguments.rounds):
            for count in CONNECTIONS:
                for label, way in ways.items():
                    measured = measure(way, count, arguments.seconds, cores[-1])
                    found.setdefault((label, count), []).append(measured)
        load = os.getloadavg()[0]
    print(f"{artifact.manifest.target.runtime}; one example a request, about {size:,} bytes of JSON; one core for the")
    print(f"server, one for the load; medians of {arguments.rounds} rounds in turns; load average now {load:.1f}\n")
    medians = {turn: {k: statistics.median(r[k] for r in rows) for k in rows[0]} for turn, rows in found.items()}
    print_table([(label, count, medians[label, count]) for label in ways for count in CONNECTIONS])


def chosen(arguments: argparse.Namespace, folder: Path) -> Artifact:
    """What is served."""
    if arguments.artifact is not None:
        return Artifact.open(arguments.artifact)
    if arguments.tutorial:
        return export_tutorial(arguments.runtime, folder)
    rows = np.random.default_rng(0).random((60, 784), np.float32)
    return graphs.exported(servers.mlp(folder), dk.Dataset.from_arrays({"x": rows}))


def print_table(rows: list[tuple[str, int, dict[str, float]]]) -> None:
    """One line for each server and number of connections."""
    print(f"{'server':28} {'conn':>4} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs':>7} {'MB':>5}")
    for label, count, found in rows:
        print(
            f"{label:28} {count:4} {found['rps']:8,.0f} {found['p50_ms']:8.2f} {found['p99_ms']:8.2f} "
            f"{found['cpu_us']:7.0f} {found['mb']:5.0f}"
        )


def measure(way: Way, connections: int, seconds: float, core: int) -> dict[str, float]:
    """Drive a server from another process; adds its CPU time for each request and its memory."""
    processes = servers.family(way.pid)
    before = servers.spent(processes)
    command = [sys.executable, __file__, "--seconds", str(seconds), "--load", way.url, way.bodies, str(connections)]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    found: dict[str, float] = json.loads(output.stdout)
    cpu_s, memory = servers.spent(processes) - before, sum(one.memory_info().rss for one in processes)
    return {**found, "cpu_us": cpu_s / found["all"] * 1e6, "mb": memory / 1e6}


def write_bodies(raw: dict[str, np.ndarray], folder: Path) -> tuple[Path, Path, Path]:
    """Bodies of one example each: TF Serving JSON, and the v2 protocol's JSON and binary tensors."""
    texts, lists, blobs = [], [], []
    for i in range(len(next(iter(raw.values())))):
        row = {name: array[i : i + 1] for name, array in raw.items()}
        columns = {name: array.tolist() for name, array in row.items()}
        message = {"instances": next(iter(columns.values()))} if len(columns) == 1 else {"inputs": columns}
        texts.append([{}, json.dumps(message, separators=(",", ":")).encode().hex()])
        parts = [to_bytes(array) for array in row.values()]
        tensors = [
            {"name": n, "shape": list(a.shape), "datatype": datatype(a), "parameters": {"binary_data_size": len(p)}}
            for (n, a), p in zip(row.items(), parts, strict=True)
        ]
        written = [
            {**{key: t[key] for key in ("name", "shape", "datatype")}, "data": a.ravel().tolist()}
            for t, a in zip(tensors, row.values(), strict=True)
        ]
        lists.append([{}, json.dumps({"inputs": written}, separators=(",", ":")).encode().hex()])
        head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
        blobs.append([{JSON_LENGTH: str(len(head))}, b"".join([head, *parts]).hex()])
    paths = folder / "json_bodies.json", folder / "v2_bodies.json", folder / "binary_bodies.json"
    for path, bodies in zip(paths, (texts, lists, blobs), strict=True):
        path.write_text(json.dumps(bodies))
    return paths


# -- the load ---------------------------------------------------------------------------------------------------------


def drive(url: str, bodies: Path, connections: int, seconds: float) -> dict[str, float]:
    """Send requests over keep-alive connections, the next one when the answer is there."""
    import uvloop

    return uvloop.run(_drive(url, bodies, connections, seconds))


async def _drive(url: str, bodies: Path, connections: int, seconds: float) -> dict[str, float]:
    parts = urlsplit(url)
    requests = []
    for headers, body in json.loads(bodies.read_text()):
        data = bytes.fromhex(body)
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(data)}"]
        lines += ["Content-Type: application/json", *(f"{k}: {v}" for k, v in headers.items())]
        requests.append("\r\n".join([*lines, "", ""]).encode() + data)
    loop = asyncio.get_running_loop()
    ends = [loop.create_future() for _ in range(connections)]
    end = time.monotonic() + seconds + 0.5
    settled = end - seconds
    for number, done in enumerate(ends):
        await loop.create_connection(
            lambda number=number, done=done: Driver(requests, number, end, done), parts.hostname, parts.port
        )
    samples = [sample for part in await asyncio.gather(*ends) for sample in part]
    times = sorted(taken for at, taken in samples if at >= settled)
    return {
        "all": len(samples),
        "rps": len(times) / seconds,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[int(len(times) * 0.99)] * 1000,
    }


class Driver(asyncio.Protocol):
    """One connection; does no more than it must, since it shares its core with the others."""

    def __init__(self, requests: list[bytes], first: int, end: float, done: asyncio.Future[Any]) -> None:
        self._requests, self._number, self._end, self._done = requests, first, end, done
        self._samples: list[tuple[float, float]] = []
        self._answer = b""

    def connection_made(self, transport: Any) -> None:
        """Send the first request."""
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.monotonic()
        if self._began >= self._end:
            self._transport.close()
            self._done.set_result(self._samples)
            return
        self._transport.write(self._requests[self._number % len(self._requests)])
        self._number += 1

    def data_received(self, data: bytes) -> None:
        """Send the next request when the answer is complete."""
        self._answer = answer = self._answer + data if self._answer else data
        head = answer.find(b"\r\n\r\n")
        if head < 0:
            return
        if b" 200 " not in answer[:20]:
            self._done.set_exception(RuntimeError(answer[:500].decode()))
            self._transport.close()
            return
        length = _LENGTH.search(answer, 0, head)
        if len(answer) >= head + 4 + int(length[1]):  # type: ignore[index]  # every answer has one
            self._answer = b""
            self._samples.append((self._began, time.monotonic() - self._began))
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """Report a connection that was closed too early."""
        if not self._done.done():
            self._done.set_exception(error or RuntimeError("The server closed the connection."))


# -- the servers ------------------------------------------------------------------------------------------------------


def export_tutorial(runtime: str, folder: Path) -> Artifact:
    """The tutorial's CNN, converted for a runtime, behind raw 28×28 images."""
    notebooks = ROOT / "notebooks"
    data = dk.Dataset.from_npz(
        notebooks / "data" / "fashion-mnist.npz", preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1))
    )
    model = dk.load(notebooks / "models" / "fashion_cnn.keras")
    return dk.export(dk.build(model, dk.Recipe(), data, target=runtime), folder / "artifact")


def start_fastapi(artifact: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start FastAPI in a process of its own and wait until it answers."""
    import http.client
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, str(artifact), "--fastapi", str(port)])
    while process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/openapi.json")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.05)
            continue
        return process, f"http://127.0.0.1:{port}"
    raise RuntimeError("FastAPI did not start")


def serve_fastapi(artifact: Path, port: int) -> None:
    """The same model behind FastAPI and pydantic, as its tutorial writes it."""
    import uvicorn
    from fastapi import FastAPI
    from pydantic import create_model

    opened = Artifact.open(artifact)
    with opened.opened() as files:
        predictor = Predictor.open(files)
    dtypes = {spec.name: np.dtype(spec.dtype) for spec in opened.manifest.inputs}
    nested: type = float
    spec = opened.manifest.inputs[0]
    for _ in spec.shape or ():
        nested = list[nested]  # type: ignore[valid-type]
    request = create_model("PredictRequest", instances=(nested, ...))
    response = create_model("PredictResponse", predictions=(list[list[float]], ...))

    async def predict(body: Any) -> Any:
        array = np.asarray(body.instances, dtypes[spec.name])
        (output,) = predictor({spec.name: array}).values()
        return response(predictions=output.tolist())

    predict.__annotations__ = {"body": request, "return": response}
    app = FastAPI()
    app.post("/predict")(predict)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
