"""How fast the server is: ``python tests/bench/serve.py [ARTIFACT]``.

Serves an artifact on one core, drives it from another process on another core with real JSON bodies of one example
each, and prints requests a second, latency, CPU time and memory; FastAPI with pydantic runs the same model on the same
core in the same run. Needs a quiet machine with two cores, and the packages of the bench group.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil

from deploykit.core.artifact import Artifact, Exportable
from deploykit.core.candidate import Recipe, Target
from deploykit.core.dataset import Dataset
from deploykit.core.preprocess import Preprocess
from deploykit.exporters._arrays import load_arrays
from deploykit.exporters._export import export
from deploykit.exporters._pipeline import Pipeline
from deploykit.exporters._wire import JSON_LENGTH, datatype, to_bytes
from deploykit.loading._load import load
from deploykit.serving.server import serve

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = (1, 8, 32)


def main() -> None:
    """Run the part that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", nargs="?", type=Path, help="an exported folder; a CNN for 28×28 images by default")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one measurement")
    parser.add_argument("--load", nargs=3, metavar=("URL", "BODIES", "CONNECTIONS"), help=argparse.SUPPRESS)
    parser.add_argument("--fastapi", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        url, bodies, connections = arguments.load
        print(json.dumps(asyncio.run(drive(url, Path(bodies), int(connections), arguments.seconds))))
    elif arguments.fastapi:
        serve_fastapi(arguments.artifact, arguments.fastapi)
    else:
        compare(arguments.artifact, arguments.seconds)


# -- the comparison ---------------------------------------------------------------------------------------------------


def compare(path: Path | None, seconds: float) -> None:
    """Measure both servers and print the table."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})  # the servers inherit it
    with tempfile.TemporaryDirectory(prefix="deploykit-bench-") as folder:
        scratch = Path(folder)
        artifact = Artifact.open(path) if path else export_cnn(scratch)
        raw = load_arrays(artifact.path / artifact.manifest.golden_inputs)
        json_bodies, binary_bodies = write_bodies(raw, scratch)
        size = json_bodies.stat().st_size // 2 // len(next(iter(raw.values())))  # hexadecimal
        name = artifact.manifest.name
        rows = []
        with serve(artifact, port=0) as server:
            (pid,) = server.pids
            for label, route, bodies in (
                ("deploykit, TF Serving JSON", f"/v1/models/{name}:predict", json_bodies),
                ("deploykit, v2 binary", f"/v2/models/{name}/infer", binary_bodies),
            ):
                url = server.url + route
                rows += [(label, n, measure(url, bodies, n, pid, seconds, cores[-1])) for n in CONNECTIONS]
        process, url = start_fastapi(artifact.path)
        try:
            url, pid = f"{url}/predict", process.pid
            label = "FastAPI + pydantic"
            rows += [(label, n, measure(url, json_bodies, n, pid, seconds, cores[-1])) for n in CONNECTIONS]
        finally:
            process.terminate()
            process.wait()
    print(f"{artifact.manifest.format}, one example a request, about {size:,} bytes of JSON; one core each for server")
    print(f"and load; load average before: {os.getloadavg()[0]:.1f}\n")
    print_table(rows)


def print_table(rows: list[tuple[str, int, dict[str, float]]]) -> None:
    """One line for each server and number of connections; the ratio is to FastAPI's requests a second."""
    base = {count: found["rps"] for label, count, found in rows if label.startswith("FastAPI")}
    print(
        f"{'server':28} {'conn':>4} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs':>7} {'MB':>5} {'× FastAPI':>9}"
    )
    for label, count, found in rows:
        print(
            f"{label:28} {count:4} {found['rps']:8,.0f} {found['p50_ms']:8.2f} {found['p99_ms']:8.2f} "
            f"{found['cpu_us']:7.0f} {found['mb']:5.0f} {found['rps'] / base[count]:9.2f}"
        )


def measure(url: str, bodies: Path, connections: int, pid: int, seconds: float, core: int) -> dict[str, float]:
    """Drive a server from another process; adds its CPU time for each request and its memory."""
    server = psutil.Process(pid)
    before = server.cpu_times()
    command = [sys.executable, __file__, "--seconds", str(seconds), "--load", url, str(bodies), str(connections)]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    after = server.cpu_times()
    found: dict[str, float] = json.loads(output.stdout)
    spent = after.user + after.system - before.user - before.system
    return {**found, "cpu_us": spent / found["all"] * 1e6, "mb": server.memory_info().rss / 1e6}


def write_bodies(raw: dict[str, np.ndarray], folder: Path) -> tuple[Path, Path]:
    """Bodies of one example each: TF Serving JSON, and the v2 protocol's binary tensors."""
    texts, blobs = [], []
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
        head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
        blobs.append([{JSON_LENGTH: str(len(head))}, b"".join([head, *parts]).hex()])
    paths = folder / "json_bodies.json", folder / "binary_bodies.json"
    for path, bodies in zip(paths, (texts, blobs), strict=True):
        path.write_text(json.dumps(bodies))
    return paths


# -- the load ---------------------------------------------------------------------------------------------------------


async def drive(url: str, bodies: Path, connections: int, seconds: float) -> dict[str, float]:
    """Send requests over keep-alive connections, the next one when the answer is there."""
    parts = urlsplit(url)
    requests = []
    for headers, body in json.loads(bodies.read_text()):
        data = bytes.fromhex(body)
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(data)}"]
        lines += ["Content-Type: application/json", *(f"{k}: {v}" for k, v in headers.items())]
        requests.append("\r\n".join([*lines, "", ""]).encode() + data)
    end = asyncio.get_running_loop().time() + seconds + 0.5
    settled = end - seconds
    runs = [_connection(parts.hostname or "", parts.port or 80, requests, i, end) for i in range(connections)]
    samples = [sample for part in await asyncio.gather(*runs) for sample in part]
    times = sorted(taken for at, taken in samples if at >= settled)
    return {
        "all": len(samples),
        "rps": len(times) / seconds,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[int(len(times) * 0.99)] * 1000,
    }


async def _connection(host: str, port: int, requests: list[bytes], first: int, end: float) -> list[tuple[float, float]]:
    reader, writer = await asyncio.open_connection(host, port)
    samples = []
    number = first
    while (start := time.monotonic()) < end:
        writer.write(requests[number % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:20]:
            raise RuntimeError(head.decode())
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        samples.append((start, time.monotonic() - start))
        number += 1
    writer.close()
    return samples


# -- the servers ------------------------------------------------------------------------------------------------------


def export_cnn(folder: Path) -> Artifact:
    """An ONNX CNN of the tutorial model's size (random weights) behind raw 28×28 images."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights, last, depth = [], [], "image", 1
    for i, filters in enumerate((32, 64, 96)):
        weights.append((f"w{i}", rng.normal(0, 0.1, (filters, depth, 3, 3))))
        weights.append((f"b{i}", rng.normal(0, 0.1, filters)))
        nodes.append(helper.make_node("Conv", [last, f"w{i}", f"b{i}"], [f"conv{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"conv{i}"], [f"relu{i}"]))
        nodes.append(helper.make_node("MaxPool", [f"relu{i}"], [f"pool{i}"], kernel_shape=[2, 2], strides=[2, 2]))
        last, depth = f"pool{i}", filters
    weights += [("wd", rng.normal(0, 0.1, (864, 96))), ("wc", rng.normal(0, 0.1, (96, 10)))]
    nodes += [
        helper.make_node("Flatten", [last], ["flat"]),
        helper.make_node("MatMul", ["flat", "wd"], ["dense"]),
        helper.make_node("Relu", ["dense"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "wc"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["class"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("class", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights],
    )
    path = folder / "cnn.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)]), path)
    model = load(path)
    with np.load(ROOT / "notebooks" / "data" / "fashion-mnist.npz") as file:
        x, y = file["x_test"][:200], file["y_test"][:200]
    data = Dataset.from_arrays(x, y, preprocess=Preprocess(scale=1 / 255, reshape=(1, 28, 28))).check(model)
    return export(
        Exportable(path, model.format, "cnn", Recipe(), Target("onnxruntime"), model, data), folder / "artifact"
    )


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
    pipeline = Pipeline.open(opened)
    dtypes = {spec.name: np.dtype(spec.dtype) for spec in opened.manifest.inputs}
    nested: type = float
    spec = opened.manifest.inputs[0]
    for _ in spec.shape or ():
        nested = list[nested]  # type: ignore[valid-type]
    request = create_model("PredictRequest", instances=(nested, ...))
    response = create_model("PredictResponse", predictions=(list[list[float]], ...))

    async def predict(body: Any) -> Any:
        array = np.asarray(body.instances, dtypes[spec.name])
        (output,) = pipeline({spec.name: array}).values()
        return response(predictions=output.tolist())

    predict.__annotations__ = {"body": request, "return": response}
    app = FastAPI()
    app.post("/predict")(predict)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
