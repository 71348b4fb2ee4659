"""``dk.examine``: what a model and data are taken to mean, and whether the model does its job on them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Unpack

from deploykit.core import extras
from deploykit.core.check import Examined
from deploykit.core.contract import Declared
from deploykit.core.digest import json_digest
from deploykit.core.errors import DeploykitError
from deploykit.core.model import Model
from deploykit.core.settings.option import complete, takes
from deploykit.core.settings.options import ExamineOptions
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.measuring.examination.examining import EXAMINATION_VERSION, sample
from deploykit.planning.limits import Limits
from deploykit.planning.settings import declared_of
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task
from deploykit.transforms._checking import checked

#: Examinations of this process by key: a panel and a plan ask again and again.
_known: dict[str, Examined] = {}
_MOST_KNOWN = 64


@takes(ExamineOptions)
def examine(
    model: Model,
    data: Any,
    **options: Unpack[ExamineOptions],
) -> Examined:
    """Show how inputs, labels and outputs are interpreted, and check the original model on up to 200 examples.

    Args:
        model: From ``dk.load``.
        data: A Dataset or a pair (x, y).
        **options: How the signature is read, and the limits of the child process that runs the original model.

    Returns:
        The contract, and the findings of the check, including a failure of the model.

    Raises:
        DatasetError: The data do not fit the model, or are ambiguous.
        SettingError: An unknown name.

    Example:
        >>> print(dk.examine(model, data))
        input   image: float32 (? × 28 × 28 × 1) ...
    """
    extras.check("sweep")
    settings = complete(ExamineOptions, options)
    declared = declared_of(settings)
    return examined(model, checked(model, data, declared), declared, Limits.of(settings))


def examined(model: Model, data: Dataset, declared: Declared, limits: Limits) -> Examined:
    """The examination of checked data; made once in a process."""
    key = examined_key(model, data, declared)
    failed = f"{key} {limits}"  # with more time or memory it may work
    if key not in _known and failed not in _known:
        while len(_known) >= _MOST_KNOWN:
            _known.pop(next(iter(_known)))
        found = _run(model, data, declared, limits)
        _known[failed if found.failure else key] = found
    return _known.get(key) or _known[failed]


def _run(model: Model, data: Dataset, declared: Declared, limits: Limits) -> Examined:
    with tempfile.TemporaryDirectory(prefix="deploykit-") as scratch:
        folder = Path(scratch) / "sample"
        sample(data).save(folder)
        task = examination_task(model, folder, folder, declared, limits)
        try:
            return Examined.from_json(shared().run(task))
        except DeploykitError as error:
            return _failed(data, error)


def _failed(data: Dataset, error: DeploykitError) -> Examined:
    return Examined(data.checked, failure=f"The original model cannot be run: {error}")


def examination_task(model: Model, data: Path, out: Path, declared: Declared, limits: Limits) -> Task:
    """The task that runs the original model on the sample in a folder.

    Args:
        model: The original model.
        data: Folder of the sample.
        out: Folder that takes what it answers.
        declared: What the user says.
        limits: When it is given up.
    """
    arguments = {
        "path": model.path,
        "extra_files": list(model.extra_files),
        "format": model.format,
        "imports": list(model.imports),
        "trusted": model.trusted,
        "data": str(data),
        "declared": declared.to_json(),
        "out": str(out),
    }
    group = FORMATS.get(model.format).given_group()
    return Task(
        "deploykit.measuring.examination.examining:examine", arguments, group, limits.timeout_s, limits.memory_bytes,
        imports=model.imports, name="running the original model", fresh=False,
    )  # fmt: skip


def examined_key(model: Model, data: Dataset, declared: Declared) -> str:
    """Key of an examination."""
    runtime = FORMATS.get(model.format).versions()
    return json_digest([model.digest, model.imports, data.digest, declared.to_json(), runtime, EXAMINATION_VERSION])
