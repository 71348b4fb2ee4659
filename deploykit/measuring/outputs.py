"""Where a store keeps the outputs of candidates on a split, and how they are made again when they are gone."""

from __future__ import annotations

from pathlib import Path

from deploykit.core.artifact import Exportable
from deploykit.core.candidate import Target
from deploykit.core.digest import json_digest
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
    runtime = RUNTIMES.get(item.target.runtime)
    arguments = {
        "path": str(item.path),
        "format": item.format,
        "target": Target(item.target.runtime, item.target.device).to_json(),
        "data": str(data),
        "outputs": names,
        "splits": {split: str(out)},
        "race": None,
    }
    task = Task(
        "deploykit.measuring.session_work:evaluate", arguments, runtime.group, imports=item.model.imports,
        name="evaluation", fresh=runtime.fresh_process,
    )  # fmt: skip
    shared().run(task, on_report)
