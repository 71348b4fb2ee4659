"""What protecting an artifact costs, and whether it holds: ``python tests/bench/protect.py [PART …]``.

Parts: ``encrypt``. Without any, all of them. Each line has the figure, the target beside it, and whether it is met.
"""

from __future__ import annotations

import io
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from deploykit.core.errors import ExportError
from deploykit.core.security.keys import Key
from deploykit.core.security.sealing import seal, unseal

#: What was measured, the figure, the target, and whether it is met.
Line = tuple[str, str, str, bool]
_MEBIBYTES = 256
_ROUNDS = 5


def encrypt() -> Iterator[Line]:
    """Throughput of the file format, from memory and from the page cache; every kind of damage."""
    content, key = secrets.token_bytes(_MEBIBYTES << 20), Key(secrets.token_bytes(32))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sealed")

        def write() -> None:
            seal(io.BytesIO(content), len(content), path, "model.onnx", key)

        for name, run in (("encrypt", write), ("decrypt", lambda: unseal(path, "model.onnx", key))):
            speed = _MEBIBYTES / _least(run)
            yield f"{name} {_MEBIBYTES} MiB", f"{speed:,.0f} MiB/s", ">= 500 MiB/s", speed >= 500
        yield from _damages(path, key)


def _damages(path: Path, key: Key) -> Iterator[Line]:
    small = bytes(3 << 20)
    seal(io.BytesIO(small), len(small), path, "model.onnx", key)
    good, chunk = path.read_bytes(), (1 << 20) + 16
    head = len(good) - 3 * chunk
    changes: dict[str, bytes] = {
        "flipped bit": good[:-100] + bytes([good[-100] ^ 1]) + good[-99:],
        "cut at a chunk's edge": good[:-chunk],
        "swapped chunks": good[:head]
        + good[head + chunk : head + 2 * chunk]
        + good[head : head + chunk]
        + good[-chunk:],
        "forged size": good[:14] + (2 << 20).to_bytes(8, "little") + good[22:-chunk],
        "appended bytes": good + b"0123456789",
        "damaged wrapped key": good[: head - 1] + bytes([good[head - 1] ^ 1]) + good[head:],
    }
    for name, changed in changes.items():
        path.write_bytes(changed)
        yield name, *_refused(lambda: unseal(path, "model.onnx", key))
    path.write_bytes(good)
    yield "another key", *_refused(lambda: unseal(path, "model.onnx", Key(bytes(32))))


def _refused(run: Callable[[], object]) -> tuple[str, str, bool]:
    try:
        run()
    except ExportError:
        return "refused", "refused", True
    return "ACCEPTED", "refused", False


def _least(run: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


PARTS: dict[str, Callable[[], Iterator[Line]]] = {"encrypt": encrypt}


def main(parts: list[str]) -> int:
    """Print all lines; 1 if a target is missed."""
    missed = 0
    for part in parts or PARTS:
        for name, figure, target, met in PARTS[part]():
            missed += not met
            print(f"{part:12} {name:44} {figure:>24}   {target:24} {'met' if met else 'MISSED'}", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
