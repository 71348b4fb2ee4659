"""Proof that an artifact is what was exported: digests, structure and golden outputs, all in child processes."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from deploykit.artifacts.artifact import Artifact
from deploykit.core.errors import CandidateError, DatasetError, ExportError, ModelFileError, UnsupportedModelError
from deploykit.core.serial import to_plain
from deploykit.loading._contract import FORMATS
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.handle import Child
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

_DEADLINE_S = 300.0


@dataclass(frozen=True)
class Proof:
    """What the checks found.

    Attributes:
        problems: One sentence each; empty when all is well.
        difference: Largest difference from the golden outputs, relative to their range; None when nothing was run.
    """

    problems: tuple[str, ...]
    difference: float | None = None


def prove(artifact: Artifact, *, trusted: bool, child: Child | None = None) -> Proof:
    """Compare digests; only if they agree read the model's structure, load it and run it on the golden inputs.

    Args:
        artifact: What to check, with the threads its server will use.
        trusted: Let the model hold operators that touch files or run code.
        child: A child that has what it takes already; None: one of its own.

    Raises:
        MissingExtraError: The runtime is not installed here.
        DeviceError: The device it was measured on is absent here.
    """
    if changed := artifact.problems():
        return Proof(tuple(changed))
    manifest = artifact.manifest
    runtime = RUNTIMES.get(manifest.target.runtime)
    runtime.check_installed()
    opened = {"artifact": str(artifact.path), "key": "" if artifact.key is None else artifact.key.text}
    reading = Task(
        "deploykit.artifacts.golden:check_structure",
        {**opened, "trusted": trusted},
        group=FORMATS.get(manifest.format).group,
        deadline_s=_DEADLINE_S,
        name=f"reading {manifest.model}",
    )
    replay = Task(
        "deploykit.artifacts.golden:replay",
        {**opened, "serving": to_plain(manifest.serving)},
        group=runtime.group,
        deadline_s=_DEADLINE_S,
        name=f"running {manifest.model} on its golden inputs",
    )
    try:
        with shared().once(runtime.group) if child is None else nullcontext(child) as prover:
            prover.call(reading)
            found = prover.call(replay)
    except (ModelFileError, UnsupportedModelError, CandidateError, DatasetError, ExportError) as error:
        return Proof((str(error),))
    return Proof(tuple(found["problems"]), found["difference"])


@dataclass(frozen=True)
class Structure:
    """What a model file consists of.

    Attributes:
        extra_files: Files it refers to, relative to its folder.
        stateful: What in it keeps state between calls.
    """

    extra_files: tuple[str, ...]
    stateful: tuple[str, ...]


def structure(path: Path, format_name: str, *, trusted: bool, child: Child | None = None) -> Structure:
    """Parse a model file in a child process, which may be given.

    Raises:
        ModelFileError: Broken or hostile.
    """
    task = Task(
        "deploykit.artifacts.golden:read_structure",
        {"path": str(path), "format": format_name, "trusted": trusted},
        group=FORMATS.get(format_name).group,
        deadline_s=_DEADLINE_S,
        name=f"reading {path.name}",
    )
    found = shared().run(task) if child is None else child.call(task)
    folder = os.path.realpath(path.parent)
    extra = (os.path.relpath(os.path.realpath(file), folder) for file in found["extra_files"])
    return Structure(tuple(extra), tuple(found["stateful"]))
