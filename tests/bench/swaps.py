"""Whether new versions cost requests or memory: ``python tests/bench/swaps.py [--swaps 1000]``.

A server changes between versions of a model, again and again, while clients ask over HTTP and gRPC. Each version
multiplies by a number of its own, so that every answer shows which version gave it: it must be one that was served
while the request was on its way. Prints failed and wrong answers, the time of a change, and the memory of the worker
over time. Ends with status 1 where a request failed or memory grew by more than 5 %.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

import deploykit as dk
from deploykit.testing.graphs import exported, graph, node, value

#: How often memory is looked at, and how long after a change: the old version's goes back within a second or two.
SHARES, REST_SECONDS = 20, 3.0
WIDTH = 64


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=1000, help="changes from one version to the next")
    parser.add_argument("--clients", type=int, default=4, help="clients that ask all the time")
    parser.add_argument("--megabytes", type=int, default=20, help="size of the model's weights")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deploykit-swaps-") as folder:
        return run(Path(folder), arguments.swaps, arguments.clients, arguments.megabytes)


def run(folder: Path, swaps: int, clients: int, megabytes: int) -> int:
    """Swap versions under load."""
    made = [make(folder / f"made{number}", number + 2, megabytes) for number in range(2)]
    base = folder / "by"
    base.mkdir()
    shutil.copytree(made[0], base / "1")
    stop = threading.Event()
    failed: list[str] = []
    asked = [0] * clients
    with dk.serve(base, port=0, poll_seconds=0) as server:
        threads = [
            threading.Thread(target=ask, args=(server.port, stop, failed, asked, place)) for place in range(clients)
        ]
        for thread in threads:
            thread.start()
        worker = psutil.Process(server.pids[0])
        memory, times = [], []
        for number in range(swaps):
            version = number + 2
            shutil.copytree(made[version % 2], base / "new")
            (base / "new").rename(base / str(version))
            began = time.perf_counter()
            server.load("by")
            times.append(time.perf_counter() - began)
            shutil.rmtree(base / str(version - 1))
            if (number + 1) % max(1, swaps // SHARES) == 0:
                time.sleep(REST_SECONDS)
                memory.append(worker.memory_full_info().uss / 2**20)
                print(
                    f"{number + 1:5} changes, {sum(asked):8,} requests, {len(failed)} failed, {memory[-1]:6.1f} MB",
                    flush=True,
                )
        stop.set()
        for thread in threads:
            thread.join()
        if server.pids[0] != worker.pid:
            failed.append("the worker was replaced")
    for text in failed[:10]:
        print(text)
    third = max(1, len(memory) // 3)
    growth = statistics.median(memory[-third:]) / statistics.median(memory[:third]) - 1
    print(f"{swaps} changes under {clients} clients: {sum(asked):,} requests, {len(failed)} failed or wrong;")
    print(f"a change took {statistics.median(times):.2f} s (longest {max(times):.2f} s);")
    print(f"memory of the worker {growth:+.1%} from the first third to the last")
    return 1 if failed or growth > 0.05 else 0


def make(folder: Path, by: int, megabytes: int) -> Path:
    """An exported model that multiplies (batch, 64) by a number, in a roundabout way with weights of that size."""
    folder.mkdir()
    rows = max(1, (megabytes << 20) // 4 // WIDTH)
    wide = np.zeros((WIDTH, rows), np.float32)
    back = np.zeros((rows, WIDTH), np.float32)
    wide[range(WIDTH), range(WIDTH)] = by
    back[range(WIDTH), range(WIDTH)] = 1
    nodes = [node("MatMul", ["x", "wide"], ["between"]), node("MatMul", ["between", "back"], ["y"])]
    inputs, outputs = [value("x", "float32", "N", WIDTH)], [value("y", "float32", "N", WIDTH)]
    path = graph(folder, nodes, inputs, outputs, wide=wide[:, : rows // 2], back=back[: rows // 2])
    data = dk.Dataset.from_arrays(np.random.default_rng(0).normal(size=(64, WIDTH)).astype(np.float32))
    return exported(path, data).path


def ask(port: int, stop: threading.Event, failed: list[str], asked: list[int], place: int) -> None:
    """Ask one question after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"instances": [[1.0] * WIDTH]})
    while not stop.is_set():
        try:
            connection.request("POST", "/v1/models/by:predict", body)
            answer = connection.getresponse()
            text = answer.read()
            (row,) = json.loads(text)["predictions"]
            if answer.status != 200 or len(set(row)) != 1 or row[0] not in (2.0, 3.0):
                failed.append(f"{answer.status} {text[:100]!r}")
        except Exception as error:
            failed.append(repr(error))
            connection.close()
        asked[place] += 1


if __name__ == "__main__":
    sys.exit(main())
