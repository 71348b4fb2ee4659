"""Make the files that the notebooks ship, from the Keras model: ONNX and TFLite files, and finished results.

Run ``python notebooks/models/make_finished.py`` (needs TensorFlow; a few minutes on two quiet cores). It writes
``fashion_cnn.onnx`` and ``fashion_cnn.tflite`` beside the Keras model, and the results of a sweep of it to
``notebooks/finished``: a store with rows and profiles, but without data, models and logs, which would take 30 MB.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import deploykit as dk
from deploykit.storage.store import Store

HERE = Path(__file__).resolve().parent
MODEL = "models/fashion_cnn.keras"
#: Facts about the machine that the numbers do not need.
PRIVATE = ("host", "kernel")


def main() -> None:
    """Convert the model, sweep it, and keep what is worth shipping."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, help="store of a finished sweep (default: run the sweep now)")
    parser.add_argument("--launches", type=int, default=10)
    arguments = parser.parse_args()

    os.chdir(HERE.parent)
    model = dk.load(MODEL)
    data = dk.Dataset.from_npz("data/fashion-mnist.npz", preprocess=dk.Preprocess(scale=1 / 255, reshape=(28, 28, 1)))
    for runtime, ending in (("onnxruntime", "onnx"), ("litert", "tflite")):
        print(dk.build(model, dk.Recipe(), data, target=runtime).save(Path(MODEL).with_suffix(f".{ending}")))
    with tempfile.TemporaryDirectory() as scratch:
        store = arguments.store or Path(scratch) / "store"
        if arguments.store is None:
            dk.sweep(model, data, "quick", store=store, launches=arguments.launches)
        print(keep(store, Path("finished")))


def keep(source: Path, target: Path) -> dk.Report:
    """Copy rows and profiles of the latest sweep to a new store that can be read from a read-only folder."""
    shutil.rmtree(target, ignore_errors=True)
    old, new = Store(source), Store(target, create=True)
    found = old.sweep()
    assert found is not None
    context, facts = found
    new.put_sweep(context, facts | {"model": facts["model"] | {"path": MODEL}})
    for place, row in enumerate(old.rows(context)):
        measured = row.measurement
        if measured is not None:
            kept = {name: value for name, value in measured.environment.items() if name not in PRIVATE}
            row = dataclasses.replace(row, measurement=dataclasses.replace(measured, environment=kept))
        new.put_row(context, place, row)
    for key, record in old.records("profile").items():
        new.put_record("profile", key, record)
    with sqlite3.connect(target / "store.sqlite") as database:
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute("VACUUM")
    database.close()
    for folder in ("data", "steps", "outputs", "logs", "reference"):
        (target / folder).rmdir()
    return dk.Report.open(target)


if __name__ == "__main__":
    main()
