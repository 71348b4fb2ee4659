"""Where a store keeps the outputs of candidates on a split, and how they are made again when they are gone."""

from __future__ import annotations

from pathlib import Path

from deploykit.core.candidate import Target
from deploykit.core.contract import Contract
from deploykit.core.digest import json_digest
from deploykit.measuring.exportable import Exportable
from deploykit.measuring.racing import Race
from deploykit.runtimes._contract import RUNTIMES
from deploykit.sandbox.supervisor import OnReport, shared
from deploykit.sandbox.task import Task


def evaluation_key(digest: str, target: Target, data_digest: str, contract: Contract) -> str:
    """Key of the outputs of an artifact on a runtime and device: threads change no output, the batch may.

    Args:
        digest: SHA-256 of the artifact.
        target: Where it runs.
        data_digest: Digest of the data.
        contract: How outputs are read.
    """
    versions = RUNTIMES.get(target.runtime).versions()
    place = [target.runtime, target.device, target.batch_size]
    return json_digest([digest, *place, data_digest, contract.reading, versions])


def outputs_file(store: Path, key: str, split: str) -> Path:
    """File of the scored output of an evaluation, shape (examples, …), in the order of the split."""
    return store / "outputs" / f"{key[:24]}-{split}.npy"


def evaluation_task(
    path: Path,
    format_name: str,
    target: Target,
    data: Path,
    contract: Contract,
    splits: dict[str, Path],
    others: dict[str, Path] | None = None,
    *,
    original: bool = False,
    imports: tuple[str, ...] = (),
    race: Race | None = None,
) -> Task:
    """The task that runs a file on whole splits and keeps its scored output.

    Args:
        path: The file.
        format_name: Its format.
        target: Where it runs; threads are left out, which change no output.
        data: Folder of the data, as the store keeps them.
        contract: How the file is fed and read.
        splits: The ``.npy`` file to write for each split.
        others: Output that is not scored → ``.npy`` file of the original's.
        original: Whether this is the original, which writes them.
        imports: Modules of the user that define custom layers.
        race: What may stop it early.
    """
    runtime = RUNTIMES.get(target.runtime)
    arguments = {
        "path": str(path),
        "format": format_name,
        "target": Target(target.runtime, target.device, batch_size=target.batch_size).to_json(),
        "data": str(data),
        "contract": contract.to_json(),
        "splits": {split: str(out) for split, out in splits.items()},
        "others": {name: str(file) for name, file in (others or {}).items()},
        "original": original,
        "race": race.to_json() if race else None,
    }
    return Task(
        "deploykit.measuring.session_work:evaluate", arguments, runtime.group, imports=imports, name="evaluation",
        fresh=runtime.fresh_process,
    )  # fmt: skip


def evaluate(
    item: Exportable, data: Path, contract: Contract, split: str, out: Path, on_report: OnReport | None = None
) -> None:
    """Run a candidate's file on a whole split in a child process.

    Args:
        item: The candidate.
        data: Folder of the data, as the store keeps them.
        contract: How the file is fed and read.
        split: ``"evaluation"`` or ``"test"``.
        out: The ``.npy`` file to write.
        on_report: Called with the progress in examples.

    Raises:
        DeploykitError: The file cannot be run any more.
    """
    task = evaluation_task(
        item.path, item.format, item.target, data, contract, {split: out}, imports=item.model.imports
    )  # fmt: skip
    shared().run(task, on_report)
