"""Outputs of a candidate on a split: from the store, or from its file run once more."""

from __future__ import annotations

import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import CandidateError, ExportError, StoreError, unknown_name
from deploykit.core.result import Result
from deploykit.measuring.exportable import Exportable
from deploykit.measuring.outputs import evaluate, evaluation_key, outputs_file
from deploykit.reporting.swept import Swept
from deploykit.sandbox.supervisor import OnReport
from deploykit.storage.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray


_SPLITS = ("evaluation", "test")


#: One thread at a time makes a file of outputs.
_turns: dict[Path, threading.Lock] = {}


def outputs_of(
    report: Swept, row: Result, split: str, file: Callable[[], Exportable], on_report: OnReport | None = None
) -> NDArray[Any]:
    """Scored output of a candidate for all examples of a split, shape (examples, …); see `Choice.outputs`.

    Args:
        report: What the candidate is from.
        row: Its row.
        split: ``"evaluation"`` or ``"test"``.
        file: Gives its file, which is run if the store does not have the outputs.
        on_report: Called with (done, total, words) while the file is run.
    """
    if split not in _SPLITS:
        raise unknown_name("split", split, _SPLITS)
    noted = row.measurement.outputs if row.measurement else ""  # the key under which the sweep has kept them
    if noted and (known := outputs_file(report.path, noted, split)).is_file():
        return _read(known)
    # Under the key of today: a runtime that was updated since the sweep may answer otherwise.
    path = outputs_file(report.path, _key_today(report, row), split)
    with _turns.setdefault(path, threading.Lock()):
        return _read(path) if path.is_file() else _made_again(report, row, split, file, path, on_report)


def are_kept(report: Swept, row: Result, split: str = "evaluation") -> bool:
    """Whether the store has the outputs, so that `outputs_of` runs nothing."""
    noted = row.measurement.outputs if row.measurement else ""
    return bool(noted) and outputs_file(report.path, noted, split).is_file()


def _read(path: Path) -> NDArray[Any]:
    import numpy as np

    found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _key_today(report: Swept, row: Result) -> str:
    if not row.artifact_digest:
        cause = row.failure.cause if row.failure else "it was not built yet"
        raise CandidateError(f"{row.label} ({row.key}) has no outputs: {cause}", remedy="choose another candidate.")
    return evaluation_key(row.artifact_digest, row.candidate.target, report.data.digest, report.contract)


def _made_again(
    report: Swept, row: Result, split: str, file: Callable[[], Exportable], path: Path, on_report: OnReport | None
) -> NDArray[Any]:
    """Run the file, and keep what it gives where the store can be written."""
    import numpy as np

    if not len(report.data.splits[split]):
        raise CandidateError(f"The data have no {split} examples.", remedy="choose another split.")
    try:
        item = file()
    except ExportError as error:
        raise CandidateError(
            f"The outputs of {row.label} ({row.key}) are not in the store, and neither is its file.",
            remedy="run the same sweep again to make what is missing.",
        ) from error
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        made = Path(folder, "outputs.npy")
        evaluate(item, report.path / report.facts["data"], report.contract, split, made, on_report)
        with suppress(OSError, StoreError):  # a store that cannot be written can still be read
            _keep(report.path, made, path)
        found: NDArray[Any] = np.load(made, allow_pickle=False)
    return found


def _keep(folder: Path, made: Path, path: Path) -> None:
    beside = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.tmp")  # other processes may also make it
    try:
        shutil.copyfile(made, beside)
        Store(folder).keep(beside, path)
    finally:
        beside.unlink(missing_ok=True)
