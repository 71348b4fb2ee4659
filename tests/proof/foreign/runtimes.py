"""Sweeps on a runtime or device whose packages are beside ours: runtimes.py RUNTIME DEVICE PEER FILE STORE."""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np

import deploykit as dk
from deploykit.core.errors import UnsafeModelError
from deploykit.runtimes._compile import COMPILED
from deploykit.runtimes._contract import RUNTIMES
from deploykit.testing.runtimes import call


def main(runtime: str, device: str, peer: str, file: str, store: str) -> dict[str, object]:
    """Sweep the original model on a peer and on what is proved, and say how far their answers are apart."""
    model = dk.load(file)
    rng = np.random.default_rng(0)
    shape = tuple(n or 1 for n in model.inputs[0].shape[1:])
    data = dk.Dataset.from_arrays(rng.random((60, *shape)).astype(np.float32), rng.integers(0, 3, 60))
    own, other = dk.Target(runtime, device), dk.Target(peer)
    report = dk.sweep(model, data, dk.Space([], [other, own]), store=store, launches=3, progress=lambda _p: None)
    row, beside = report.row_of(dk.Recipe(()), own), report.row_of(dk.Recipe(()), other)
    if row.status != "measured":
        raise SystemExit(f"{row.failure}")
    compiled, refused = row.compiled, ""
    if compiled:
        forged = Path(store) / "forged"
        library = report.path / compiled
        forged.mkdir()
        for member in library.iterdir():
            (forged / member.name).write_bytes(
                member.read_bytes() + (b"\0" if member.name.startswith("model") else b"")
            )
        try:
            call(runtime, "run", path=str(forged), format=COMPILED, count=1, shape=list(shape), dtype="float32")
        except UnsafeModelError as error:
            refused = error.message
    return {
        "same_function": row.measurement.same_function,
        "placed": row.measurement.placed,
        "compiled": bool(compiled),
        "refused": refused,
        "slower": beside.measurement.latency.p50_ms.value / row.measurement.latency.p50_ms.value,
        "devices": list(report.devices),
        "versions": {name: importlib.metadata.version(name) for name in RUNTIMES.get(runtime).versions()},
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
