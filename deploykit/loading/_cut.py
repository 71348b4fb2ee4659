"""The part of a model file between inputs and outputs that the user has named."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError
from deploykit.loading._contract import FORMATS, Format
from deploykit.loading._live import keep
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task

#: The task function that writes it.
CUTTER = "deploykit.loading._cut:cut_file"
_DEADLINE_S = 300.0
_MEMORY_BYTES = 8 << 30

#: Names of the inputs and of the outputs; () for those that the file seems to have.
Ends = tuple[tuple[str, ...], tuple[str, ...]]


def ends_of(inputs: Sequence[str], outputs: Sequence[str]) -> Ends:
    """What the user has named.

    Raises:
        SettingError: It is not a list of names.
    """
    for name, value in (("inputs", inputs), ("outputs", outputs)):
        if isinstance(value, str) or not all(isinstance(item, str) for item in value):
            raise SettingError(f"{name} must be a list of names, got {value!r}.", remedy=f'{name}=["name"].')
    return tuple(inputs), tuple(outputs)


def part_of(
    path: Path,
    form: Format,
    ends: Ends,
    *,
    trusted: bool,
    cancel: threading.Event | None,
    timeout_s: float,
    memory_bytes: int,
) -> Path:
    """Where the part is kept: a file in the cache folder, named by its content.

    Args:
        path: A file that the gate let pass.
        form: Its format.
        ends: What the user has named.
        trusted: Code inside the model may run.
        cancel: Set it from another thread to stop.
        timeout_s: Seconds after which it is given up; 0: the usual ones.
        memory_bytes: What the child process may use; 0: as usual.

    Raises:
        SettingError: Files of this format say what their inputs and outputs are, or the names do not fit the file.
    """
    if not form.names_ends:
        able = ", ".join(f.label for f in FORMATS.all() if f.names_ends)
        raise SettingError(
            f"{form.label} files say what their inputs and outputs are: others cannot be named.",
            remedy=f"leave them out; formats that take them: {able}.",
        )

    def write(target: Path) -> None:
        arguments = {
            "format": form.name, "path": str(path), "target": str(target), "trusted": trusted, "ends": ends,
        }  # fmt: skip
        task = Task(
            CUTTER, arguments, group=form.full_group or form.group, deadline_s=timeout_s or _DEADLINE_S,
            memory_bytes=memory_bytes or _MEMORY_BYTES, name=f"cutting {path.name}",
        )  # fmt: skip
        shared().run(task, cancel=cancel)

    return keep(form.suffixes[0], write, form.companions)


def cut_file(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: write the part of a file between some tensors."""
    del report
    inputs, outputs = (tuple(names) for names in arguments["ends"])
    FORMATS.get(arguments["format"]).cut(
        Path(arguments["path"]), Path(arguments["target"]), inputs, outputs, trusted=arguments["trusted"]
    )
    return {}
