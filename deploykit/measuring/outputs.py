"""Where a store keeps the outputs of candidates on a split, and how they are made again when they are gone."""

from __future__ import annotations

from pathlib import Path

from deploykit.core.artifact import Exportable
from deploykit.core.candidate import Target
from deploykit.core.digest import json_digest
from deploykit.measuring.racing import Race
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.supervisor import OnReport, shared
from deploykit.sandbox.task import Task


def evaluation_key(digest: str, target: Target, data_digest: str) -> str:
    """Key of the outputs of an artifact on a runtime and device: threads and batch change no output.

    Args:
        digest: SHA-256 of the artifact.
        target: Where it runs.
        data_digest: Digest of the data.
    """
    versions = RUNTIMES.get(target.runtime).versions()
    return json_digest([digest, target.runtime, target.device, data_digest, versions])


def outputs_file(store: Path, key: str, split: str) -> Path:
    """File of the outputs of an evaluation: the first output, shape (examples, …), in the order of the split."""
    return store / "outputs" / f"{key[:24]}-{split}.npy"


def evaluation_task(
    path: Path,
    format_name: str,
    target: Target,
    data: Path,
    outputs: list[str],
    splits: dict[str, Path],
    *,
    imports: tuple[str, ...] = (),
    race: Race | None = None,
) -> Task:
    """The task that runs a file on whole splits and keeps its first output.

    Args:
        path: The file.
        format_name: Its format.
        target: Where it runs; threads and batch are left out, which change no output.
        data: Folder of the data, as the store keeps them.
        outputs: Names of the original's outputs, which tell the first one; empty for the original itself.
        splits: The ``.npy`` file to write for each split.
        imports: Modules of the user that define custom layers.
        race: What may stop it early.
    """
    runtime = RUNTIMES.get(target.runtime)
    arguments = {
        "path": str(path),
        "format": format_name,
        "target": Target(target.runtime, target.device).to_json(),
        "data": str(data),
        "outputs": outputs,
        "splits": {split: str(out) for split, out in splits.items()},
        "race": race.to_json() if race else None,
    }
    return Task(
        "deploykit.measuring.session_work:evaluate", arguments, runtime.group, imports=imports, name="evaluation",
        fresh=runtime.fresh_process,
    )  # fmt: skip


def evaluate(
    item: Exportable, data: Path, names: list[str], split: str, out: Path, on_report: OnReport | None = None
) -> None:
    """Run a candidate's file on a whole split in a child process.

    Args:
        item: The candidate.
        data: Folder of the data, as the store keeps them.
        names: Names of the original's outputs, which tell the first one; empty for the original itself.
        split: ``"evaluation"`` or ``"test"``.
        out: The ``.npy`` file to write.
        on_report: Told of the progress in examples.

    Raises:
        DeploykitError: The file cannot be run any more.
    """
    task = evaluation_task(
        item.path, item.format, item.target, data, names, {split: out}, imports=item.model.imports
    )  # fmt: skip
    shared().run(task, on_report)
