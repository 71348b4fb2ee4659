"""Outputs of a candidate on a split: from the store, or from its file run once more."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import CandidateError, ExportError, unknown_name
from deploykit.core.store import Store
from deploykit.measuring.outputs import evaluate, evaluation_key, outputs_file
from deploykit.sandbox.supervisor import OnReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.reporting.choice import Choice

_SPLITS = ("evaluation", "test")


def outputs_of(choice: Choice, split: str = "evaluation", on_report: OnReport | None = None) -> NDArray[Any]:
    """First output of a candidate for all examples of a split, shape (examples, …); see `Choice.outputs`."""
    import numpy as np

    if split not in _SPLITS:
        raise unknown_name("split", split, _SPLITS)
    key = _key(choice)
    path = outputs_file(choice.report.path, key, split)
    if not path.is_file():
        return _made_again(choice, key, split, path, on_report)
    found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def kept(choice: Choice, split: str = "evaluation") -> bool:
    """Whether the store has the outputs of a candidate, so that nothing need be run."""
    return bool(choice.result.artifact) and outputs_file(choice.report.path, _key(choice), split).is_file()


def _key(choice: Choice) -> str:
    row = choice.result
    if not row.artifact_digest:
        cause = row.failure.cause if row.failure else "it was not built yet"
        raise CandidateError(f"{row.label} ({row.key}) has no outputs: {cause}", remedy="choose another candidate.")
    noted = row.measurement.outputs if row.measurement else ""
    return noted or evaluation_key(row.artifact_digest, row.candidate.target, choice.report.data.digest)


def _made_again(choice: Choice, key: str, split: str, path: Path, on_report: OnReport | None) -> NDArray[Any]:
    """Run the file, and keep what it gives where the store can be written."""
    import numpy as np

    report = choice.report
    if not len(report.data.splits[split]):
        raise CandidateError(f"the data have no {split} examples.", remedy="choose another split.")
    try:
        item = choice.exportable()
    except ExportError as error:
        raise CandidateError(
            f"the outputs of {choice.result.label} ({choice.key}) are not in the store, and neither is its file.",
            remedy="run the same sweep again: what is missing is made again.",
        ) from error
    names = [] if choice.key == report.baseline else _output_names(choice)
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        made = Path(folder, "outputs.npy")
        evaluate(item, report.path / report.facts["data"], names, split, made, on_report)
        with suppress(OSError):  # a store that cannot be written can still be read
            beside = path.with_suffix(".tmp")
            shutil.copyfile(made, beside)
            beside.replace(path)
        found: NDArray[Any] = np.load(made, allow_pickle=False)
    return found


def _output_names(choice: Choice) -> list[str]:
    """Names of the original's outputs as its runtime calls them."""
    report = choice.report
    baseline = report.choice_for(report.baseline)
    store = Store(report.path)
    try:
        record = store.record("evaluation", _key(baseline)) or {}
    finally:
        store.close()
    return list(record.get("outputs") or [spec.name for spec in report.model.outputs])
