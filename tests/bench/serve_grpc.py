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
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peers import servers

import deploykit as dk
from deploykit.core.protos.messages import message
from deploykit.testing import graphs

CONNECTIONS = (1, 8, 32)
PATH = "/inference.GRPCInferenceService/ModelInfer"
OURS, MLSERVER, TRITON = "deploykit", "MLServer", "Triton"


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
        servers.installed("mlserver")
        servers.installed("triton")
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})  # the servers inherit it
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploykit-bench-")))
        model = servers.mlp(folder)
        rows = np.random.default_rng(0).random((60, 784), np.float32)
        artifact = graphs.exported(model, dk.Dataset.from_arrays({"x": rows}))
        body = folder / "body"
        body.write_bytes(request(artifact.manifest.name, rows[:1]))
        server = stack.enter_context(dk.serve(artifact, port=0, ports={"grpc": 0}))
        ways = {OURS: (server.ports["grpc"], server.pids[0])}
        if peers:
            name = artifact.manifest.name
            for label, start in ((MLSERVER, servers.start_mlserver), (TRITON, servers.start_triton)):
                running = stack.enter_context(start(model, name, folder))
                ways[label] = running.grpc_port, running.pid
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
    processes = servers.family(pid)
    before = servers.spent(processes)
    command = [sys.executable, __file__, "--seconds", str(seconds), "--load", str(port), str(body), str(connections)]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    found: dict[str, float] = json.loads(output.stdout)
    cpu_s, memory = servers.spent(processes) - before, sum(one.memory_info().rss for one in processes)
    return {**found, "cpu_us": cpu_s / found["all"] * 1e6, "mb": memory / 1e6}


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


if __name__ == "__main__":
    main()
