"""Sweeps on a runtime or device whose packages are beside ours: runtimes.py RUNTIME DEVICE PEER FILE STORE."""

import importlib.metadata
import json
import subprocess
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
    exported = runs_exported(report, beside.key, Path(store) / "edge") if runtime == "executorch" else 0.0
    return {
        "exported": exported,
        "same_function": row.measurement.same_function,
        "placed": row.measurement.placed,
        "compiled": bool(compiled),
        "refused": refused,
        "slower": beside.measurement.latency.p50_ms.value / row.measurement.latency.p50_ms.value,
        "devices": list(report.devices),
        "versions": {name: importlib.metadata.version(name) for name in RUNTIMES.get(runtime).versions()},
    }


def runs_exported(report: dk.Report, key: str, folder: Path) -> float:
    """Export the layout `edge`, run its own program on golden examples, and say how far off PyTorch's answers it is."""
    artifact = dk.export(report.choice_for(key), folder, layout="edge")
    worst = 0.0
    for number in range(3):
        command = [sys.executable, artifact.path / "python/run.py", artifact.path / f"examples/{number}-in0.bin"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        (line,) = [text for text in done.stdout.splitlines() if text.startswith("0: ")]
        expected = np.fromfile(artifact.path / f"examples/{number}-out0.bin", np.float32)
        worst = max(worst, float(np.abs(np.array(line[3:].split(), float) - expected).max()))
    if not dk.verify(artifact).ok:
        raise SystemExit("the exported folder does not verify")
    return worst


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
