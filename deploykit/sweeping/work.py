"""Tasks of a sweep that run in child processes."""

from __future__ import annotations

import importlib
import pkgutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.converters._contract import CONVERTERS, Job
from deploykit.core.contract import Contract
from deploykit.core.digest import compressed_size, path_digest, path_size
from deploykit.data.dataset import Dataset
from deploykit.measuring.examination.examining import examine
from deploykit.measuring.proving import prove
from deploykit.planning.steps import BuildStep
from deploykit.runtimes._compile import CompileJob
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.task import Report
from deploykit.transforms._contract import TRANSFORMS, TransformJob

#: Packages that do the work of adapters.
_ROOMS = ("deploykit.converters", "deploykit.surgery", "deploykit.training", "deploykit.transforms")


def preload() -> None:
    """Import the adapters of all steps."""
    CONVERTERS.preload()
    TRANSFORMS.preload()
    RUNTIMES.preload()


def later() -> Iterator[str]:
    """Modules that adapters import where their work starts; none of them imports a framework by itself."""
    for room in _ROOMS:
        for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
            yield module.name


def build_step(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Do one build step.

    Args:
        arguments: ``step`` (plain `BuildStep`), ``source``, ``target``, ``imports``, ``trusted``, ``data`` (folder or
            ""), ``seed``.
        report: Progress of the step.

    Returns:
        Digest, size and compressed size of what was written, the adapter's notes, and the seconds it took.
    """
    began = time.perf_counter()
    found = _build(arguments, report)
    return {**found, "seconds": time.perf_counter() - began}


def _build(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    step = BuildStep.from_json(arguments["step"])
    source, target = Path(arguments["source"]), Path(arguments["target"])
    imports, trusted = tuple(arguments["imports"]), bool(arguments["trusted"])
    job: Job | CompileJob
    if step.kind == "convert":
        job = Job(source, target, step.source_format, imports, trusted)
        CONVERTERS.get(step.adapter).convert(job)
        if arguments["reference"]:
            contract = Contract.from_json(arguments["contract"])
            folder, half = Path(arguments["reference"]), arguments["half"]
            given = (source, step.source_format, imports, trusted) if step.changed else None
            if proof := prove(target, step.format, folder, contract, half=half, given=given):
                job.notes["proved"] = proof
    elif step.kind == "compile":
        job = CompileJob(source, target, step.source_format, **step.parameters)
        RUNTIMES.get(step.adapter).compile(job)
    else:
        variant = TRANSFORMS.get(step.adapter).variant(step.variant)
        data = Dataset.open(Path(arguments["data"])) if arguments["data"] else None
        teacher = Path(arguments["teacher"]) if arguments["teacher"] else None
        job = TransformJob(
            source, target, step.source_format, imports, trusted,
            parameters=step.parameters, data=data, teacher=teacher, teacher_format=arguments["teacher_format"],
            file=Path(arguments["file"]) if arguments["file"] else None,
            scored=arguments["scored"], secret=arguments["secret"], seed=arguments["seed"], report=report,
        )  # fmt: skip
        if step.kind == "prepare":
            variant.stage(step.stage).prepare(job)
            # Its size is not shown; its notes are reported by the steps that read it.
            return {"digest": path_digest(target), "size_bytes": path_size(target), "compressed_bytes": 0, "notes": {}}
        variant.finish(job)
    return {
        "digest": path_digest(target),
        "size_bytes": path_size(target),
        "compressed_bytes": compressed_size(target),
        "notes": job.notes,
    }


def given(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Digest and sizes of the original model, and its examination by `deploykit.measuring.examination.examining`.

    Weights in files beside it are a part of its size.
    """
    began = time.perf_counter()
    path = Path(arguments["path"])
    files = [path, *map(Path, arguments["extra_files"])]
    return {
        "digest": path_digest(path),
        "size_bytes": sum(map(path_size, files)),
        "compressed_bytes": sum(map(compressed_size, files)),
        "notes": {},
        "examined": examine(arguments, report),
        "seconds": time.perf_counter() - began,
    }
