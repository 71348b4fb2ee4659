"""Work that all quantized ONNX files of a model share: preparing its graph, and measuring its ranges."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from deploykit.core.extras import require
from deploykit.transforms._contract import Stage, TransformJob

#: What every ONNX variant and stage declares.
REQUIRES = ("onnx", "onnxruntime")
ACCEPTS = frozenset({"onnx"})
#: Files of the stages.
_GRAPH = "prepared.onnx"
_RANGES = "ranges.json"


class _Graph(Stage):
    name = "onnx_graph"
    label = "graph preparation (ONNX)"
    help = "Shape inference and constant folding, which ONNX Runtime's quantizers need."
    requires = REQUIRES
    seeded = False

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import prepare

        prepare.prepare(job.source, job.target / _GRAPH, job.notes)


class _Smoothed(Stage):
    name = "onnx_smoothed"
    label = "smoothing"
    help = "Moves outliers of what matrix products read into their weights."
    requires = REQUIRES
    uses = ("smooth",)
    needs = ("calibration",)
    seeded = False

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import ranges, smooth

        model = graph(job.source)
        batches = ranges.batches_for(job.source / _GRAPH, job.examples, job.notes, job.report)
        reach = smooth.largest(job.source / _GRAPH, smooth.products(model), batches)
        done = smooth.smooth(model, reach, job["smooth"])
        job.notes["smoothed"] = {"folded": len(done.folded), "divided": len(done.divided)}
        require("onnx", "").save(model, str(job.target / _GRAPH))


class _Extremes(Stage):
    name = "onnx_extremes"
    label = "calibration (ONNX Runtime)"
    help = "Measures the lowest and the highest value of every tensor over the calibration examples."
    requires = REQUIRES
    needs = ("calibration",)
    copies = False
    seeded = False

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import ranges as measuring

        found = measuring.extremes(job.source / _GRAPH, job.examples, job.notes, job.report)
        (job.target / _RANGES).write_text(found, "utf-8")
        link(job.source / _GRAPH, job.target / _GRAPH)


class _Clipped(Stage):
    name = "onnx_clipped"
    label = "histograms"
    help = "Measures which range of every tensor to keep, from histograms over the calibration examples."
    requires = REQUIRES
    uses = ("calibration",)
    needs = ("calibration",)
    copies = False
    seeded = False

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import ranges as measuring

        known = (job.source / _RANGES).read_text("utf-8")
        found = measuring.clipped(job.source / _GRAPH, job.examples, job["calibration"], known, job.notes, job.report)
        (job.target / _RANGES).write_text(found, "utf-8")
        link(job.source / _GRAPH, job.target / _GRAPH)


GRAPH = _Graph()
EXTREMES = _Extremes()
CLIPPED = _Clipped()
SMOOTHED = _Smoothed()
#: All that static quantization may share.
STATIC = (GRAPH, EXTREMES, CLIPPED)


def static(calibration: str, *, smooth: float = 0.0) -> tuple[Stage, ...]:
    """What static quantization needs with a method of calibration, in order; ``smooth`` is above 0 with `SMOOTHED`."""
    clipped = () if calibration == "minmax" else (CLIPPED,)
    return (GRAPH, *((SMOOTHED,) if smooth else ()), EXTREMES, *clipped)


def graph(folder: Path) -> Any:
    """The prepared model in the folder of a stage."""
    return require("onnx", "").load(str(folder / _GRAPH))


def ranges(folder: Path) -> Any:
    """The measured ranges in the folder of the calibration, as ONNX Runtime's quantizers take them."""
    from deploykit.surgery.quantization import ranges as measuring

    return measuring.read((folder / _RANGES).read_text("utf-8"))


def linked(job: TransformJob) -> None:
    """Pass graph and ranges on from the folder of the calibration to that of a later stage."""
    for name in (_GRAPH, _RANGES):
        link(job.source / name, job.target / name)


def link(source: Path, target: Path) -> None:
    """The same file at another place, without a second copy where the file system can do it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
