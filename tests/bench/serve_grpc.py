"""How fast gRPC is: ``python tests/bench/serve_grpc.py [--rounds 3] [--no-peers]``.

Serves an MLP 784-128-10 as ONNX on one core and drives it from another process on another core with ``ModelInfer`` of
one example each, as raw bytes, over 1, 8 and 32 connections. The load writes HTTP/2 frames itself: a client of a gRPC
library takes more time than the servers do. MLServer and Triton serve the same model on the same core in the same
rounds; they are installed into ``~/.cache/deploykit-bench`` the first time (850 MB). Triton's core is C++, and this
release of it is for loopback only. Needs a quiet machine with two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import deploykit as dk
from deploykit.core.messages import message
from deploykit.testing import graphs

CONNECTIONS = (1, 8, 32)
PATH = "/inference.GRPCInferenceService/ModelInfer"
OURS, MLSERVER, TRITON = "deploykit", "MLServer", "Triton"
_CACHE = Path("~/.cache/deploykit-bench").expanduser()
_PEERS = Path(__file__).parent / "peers"


def main() -> None:
    """Run the part that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each server, taken in turns")
    parser.add_argument("--no-peers", action="store_true", help="measure deploykit alone")
    parser.add_argument("--load", nargs=3, metavar=("PORT", "BODY", "CONNECTIONS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        port, body, connections = arguments.load
        print(json.dumps(asyncio.run(drive(int(port), Path(body).read_bytes(), int(connections), arguments.seconds))))
    else:
        compare(arguments.seconds, arguments.rounds, peers=not arguments.no_peers)


# -- the comparison ---------------------------------------------------------------------------------------------------


def compare(seconds: float, rounds: int, *, peers: bool) -> None:
    """Measure the servers in turns, so that whatever else the machine does hits all, and print the medians."""
    if peers:
        installed("mlserver", "mlserver==1.7.1", "onnxruntime")
        installed("triton", "nvidia-pytriton==0.7.0", "onnxruntime", "numpy<2")
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})  # the servers inherit it
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploykit-bench-")))
        model = mlp(folder)
        rows = np.random.default_rng(0).random((60, 784), np.float32)
        artifact = graphs.exported(model, dk.Dataset.from_arrays({"x": rows}))
        body = folder / "body"
        body.write_bytes(request(artifact.manifest.name, rows[:1]))
        server = stack.enter_context(dk.serve(artifact, port=0, ports={"grpc": 0}))
        ways = {OURS: (server.ports["grpc"], server.pids[0])}
        if peers:
            name = artifact.manifest.name
            ways[MLSERVER] = stack.enter_context(start_mlserver(model, name, folder))
            ways[TRITON] = stack.enter_context(start_triton(model, name, folder))
        found: dict[tuple[str, int], list[dict[str, float]]] = {}
        for _ in range(rounds):
            for count in CONNECTIONS:
                for label, (port, pid) in ways.items():
                    measured = measure(port, body, count, pid, seconds, cores[-1])
                    found.setdefault((label, count), []).append(measured)
        load = os.getloadavg()[0]
    print("MLP 784-128-10 as ONNX, one example a request; one core for the server, one for the load;")
    print(f"medians of {rounds} rounds in turns; load average now {load:.1f}\n")
    print(f"{'server':12} {'conn':>4} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs':>7} {'MB':>5}")
    for (label, count), runs in sorted(found.items()):
        one = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"{label:12} {count:4} {one['rps']:8,.0f} {one['p50_ms']:8.2f} {one['p99_ms']:8.2f} {one['cpu_us']:7.0f} "
            f"{one['mb']:5.0f}"
        )


def measure(port: int, body: Path, connections: int, pid: int, seconds: float, core: int) -> dict[str, float]:
    """Drive a server from another process; adds its CPU time for each request and its memory."""
    server = psutil.Process(pid)
    processes = [server, *server.children(recursive=True)]  # Triton runs Python backends in processes of their own
    before = spent(processes)
    command = [sys.executable, __file__, "--seconds", str(seconds), "--load", str(port), str(body), str(connections)]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    found: dict[str, float] = json.loads(output.stdout)
    cpu_s, memory = spent(processes) - before, sum(one.memory_info().rss for one in processes)
    return {**found, "cpu_us": cpu_s / found["all"] * 1e6, "mb": memory / 1e6}


def spent(processes: list[psutil.Process]) -> float:
    """CPU seconds of processes."""
    return sum(times.user + times.system for times in (one.cpu_times() for one in processes))


def mlp(folder: Path) -> Path:
    """The model."""
    rng = np.random.default_rng(0)
    nodes = [
        graphs.node("MatMul", ["x", "w1"], ["h1"]),
        graphs.node("Relu", ["h1"], ["h2"]),
        graphs.node("MatMul", ["h2", "w2"], ["h3"]),
        graphs.node("Softmax", ["h3"], ["y"]),
    ]
    inputs, outputs = [graphs.value("x", "float32", "N", 784)], [graphs.value("y", "float32", "N", 10)]
    weights = {name: rng.normal(0, 0.05, size).astype("f4") for name, size in (("w1", (784, 128)), ("w2", (128, 10)))}
    return graphs.graph(folder, nodes, inputs, outputs, **weights)


def request(name: str, rows: np.ndarray) -> bytes:
    """A ``ModelInfer`` request with raw contents."""
    found = message("inference.ModelInferRequest")(model_name=name)
    found.inputs.add(name="x", datatype="FP32", shape=rows.shape)
    found.raw_input_contents.append(rows.tobytes())
    data: bytes = found.SerializeToString()
    return data


# -- the load ---------------------------------------------------------------------------------------------------------


async def drive(port: int, body: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Call over connections of their own, the next time when the answer is there."""
    end = time.monotonic() + seconds + 0.5
    samples = [s for part in await asyncio.gather(*(_calls(port, body, end) for _ in range(connections))) for s in part]
    times = sorted(taken for at, taken in samples if at >= end - seconds)
    return {
        "all": len(samples),
        "rps": len(times) / seconds,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[int(len(times) * 0.99)] * 1000,
    }


async def _calls(port: int, body: bytes, end: float) -> list[tuple[float, float]]:
    """One connection (RFC 9113): requests without compressed headers, and windows that are never full."""
    names = {":path": PATH, ":authority": "localhost", "content-type": "application/grpc", "te": "trailers"}
    literal = b"".join(b"\0" + bytes([len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in names.items())
    headers = b"\x83\x86" + literal  # POST, http
    data = b"\0" + len(body).to_bytes(4, "big") + body
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"\0\4\x7f\xff\xff\xff"))
    writer.write(_frame(8, 0, 0, (2**31 - 65536).to_bytes(4, "big")))
    samples = []
    stream = 1
    while (start := time.monotonic()) < end:
        writer.write(_frame(1, 4, stream, headers) + _frame(0, 1, stream, data))
        size = await _answer(reader, writer, stream)
        if not size:
            raise RuntimeError("a call was refused")
        samples.append((start, time.monotonic() - start))
        stream += 2
    writer.close()
    return samples


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: int) -> int:
    """Bytes of the answer's message, 0 if there is none."""
    size = 0
    while True:
        head = await reader.readexactly(9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        content = await reader.readexactly(length)
        if kind in (4, 6) and not flags & 1:  # settings and pings are acknowledged
            writer.write(_frame(kind, 1, 0, content if kind == 6 else b""))
        elif kind == 0:
            size += length
        elif kind in (3, 7):
            raise RuntimeError(f"the server ended the call: {content!r}")
        if kind in (0, 1) and flags & 1 and int.from_bytes(head[5:], "big") == stream:
            return size


def _frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


# -- the peers --------------------------------------------------------------------------------------------------------


def installed(name: str, *requirements: str) -> Path:
    """An environment with a peer."""
    folder = _CACHE / name
    if requirements and not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements], check=True)
        (folder / "complete").touch()
    return folder


@contextlib.contextmanager
def start_mlserver(model: Path, name: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Start MLServer and wait until it answers: its port and its process id."""
    ports = _free_ports(3)
    settings: dict[str, Any] = dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
    home = folder / "mlserver"
    home.mkdir()
    (home / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0, "host": "127.0.0.1"}))
    described = {"name": name, "implementation": "mlserver_onnx.OnnxModel", "parameters": {"uri": str(model)}}
    (home / "model-settings.json").write_text(json.dumps(described))
    command = [installed("mlserver") / "bin" / "mlserver", "start", home]
    with _started(command, {"PYTHONPATH": str(_PEERS)}, ports[0], name, folder / "mlserver.log") as pid:
        yield ports[1], pid


@contextlib.contextmanager
def start_triton(model: Path, name: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Start Triton and wait until it answers: its port and its process id."""
    (packages,) = installed("triton").glob("lib/python*/site-packages")
    server, version = packages / "pytriton" / "tritonserver", f"{sys.version_info[0]}.{sys.version_info[1]}"
    backends, models = folder / "backends", folder / "models"
    shutil.copytree(server / "backends" / "python", backends / "python")
    shutil.copy(server / "python_backend_stubs" / version / "triton_python_backend_stub", backends / "python")
    for home, file, called in (
        (backends / "onnx", _PEERS / "triton_onnx.py", "model.py"),
        (models / name / "1", model, "model.onnx"),
    ):
        home.mkdir(parents=True)
        shutil.copy(file, home / called)
    (models / name / "config.pbtxt").write_text(
        'backend: "onnx"\nmax_batch_size: 8\ndynamic_batching {}\n'
        'input [{name: "x" data_type: TYPE_FP32 dims: [784]}]\noutput [{name: "y" data_type: TYPE_FP32 dims: [10]}]\n'
    )
    ports = _free_ports(2)
    command = [
        server / "bin" / "tritonserver", f"--model-repository={models}", f"--backend-directory={backends}",
        "--http-address=127.0.0.1", f"--http-port={ports[0]}", "--grpc-address=127.0.0.1", f"--grpc-port={ports[1]}",
        "--allow-metrics=false",
    ]  # fmt: skip
    libraries = f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
    environment = {"LD_LIBRARY_PATH": libraries, "TRITON_PACKAGES": str(packages)}
    with _started(command, environment, ports[0], name, folder / "triton.log") as pid:
        yield ports[1], pid


@contextlib.contextmanager
def _started(command: list[Any], environment: dict[str, str], port: int, name: str, log: Path) -> Iterator[int]:
    """A process of a server, once its model is ready by HTTP."""
    with log.open("wb") as out, subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=out, stderr=out
    ) as process:  # fmt: skip
        try:
            while process.poll() is None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                with contextlib.suppress(OSError, http.client.HTTPException):
                    connection.request("GET", f"/v2/models/{name}/ready")
                    if connection.getresponse().status == 200:
                        break
                time.sleep(0.1)
            else:
                raise RuntimeError(log.read_text()[-2000:])
            yield process.pid
        finally:
            process.terminate()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


if __name__ == "__main__":
    main()
