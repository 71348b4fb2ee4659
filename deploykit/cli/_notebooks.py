"""The notebooks that come with deploykit: where they are, and running one headless."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import deploykit
from deploykit.core.errors import DeploykitError, SettingError, unknown_name
from deploykit.core.extras import require

#: A line of `deploykit.reporting.progress.Lines`.
_PROGRESS = re.compile(r"\[ *(\d+) %\] (.*)")
_BAR = 24


def folder() -> Path:
    """The notebooks of the source tree, or those inside the wheel."""
    package = Path(deploykit.__file__).parent
    packed = package / "_notebooks"
    return packed if packed.is_dir() else package.parent / "notebooks"


def find(name: str) -> Path:
    """Path of a notebook.

    Raises:
        DeploykitError: The installation lacks it.
    """
    path = folder() / name
    if not path.is_file():
        raise DeploykitError(f"this installation has no notebook {name!r} in {folder()}.", remedy="install it again.")
    return path


def execute(notebook: Path, output: Path, parameters: dict[str, Any], *, quiet: bool = False) -> None:
    """Run a notebook with papermill in its own folder, its output shown live.

    Args:
        notebook: What to run.
        output: Where to write the executed notebook.
        parameters: Values for its parameters; text is converted to the declared type.
        quiet: Show the notebook's output on stderr instead of stdout.

    Raises:
        SettingError: The notebook has no such parameter, or a value has the wrong type.
        DeploykitError: A cell failed; names the error and the executed notebook.
    """
    papermill = require("papermill", "jupyter")
    declared = papermill.inspect_notebook(str(notebook))
    for name in parameters:
        if name not in declared:
            raise unknown_name(f"parameter of {notebook.name}", name, declared)
    typed = {name: _typed(value, declared[name]) for name, value in parameters.items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    stream = sys.stderr if quiet else sys.stdout
    try:
        papermill.execute_notebook(
            str(notebook),
            str(output),
            typed,
            progress_bar=False,
            stdout_file=Live(stream) if stream.isatty() else stream,
            stderr_file=sys.stderr,
            cwd=str(notebook.parent),
            extra_arguments=["--IPKernelApp.log_level=40"],  # its warning about loopback is no news here
        )
    except papermill.PapermillExecutionError as error:
        raise DeploykitError(
            f"{notebook.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}",
            remedy=f"the executed notebook is {output}.",
        ) from error


class Live:
    """A terminal on which a notebook's progress lines are one bar that is drawn anew.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._open = False

    def write(self, text: str) -> int:
        """Write text; a part that begins like ``[ 25 %]`` replaces the one before."""
        for part in text.splitlines(keepends=True):
            match = _PROGRESS.match(part)
            if match:
                full = round(_BAR * min(int(match[1]), 100) / 100)
                shown = f"{'█' * full}{'░' * (_BAR - full)} {match[2]}"
                self._stream.write(f"\r\x1b[K{shown[: shutil.get_terminal_size().columns - 1]}")
            else:
                self._stream.write(f"\n{part}" if self._open else part)
            self._open = match is not None
        return len(text)

    def flush(self) -> None:
        """Show what was written."""
        self._stream.flush()


def _typed(value: Any, declared: Any) -> Any:
    kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "bool": _truth}
    kind = kinds.get(declared["inferred_type_name"])
    if kind is None or not isinstance(value, str):
        return value
    try:
        return kind(value)
    except ValueError:
        raise SettingError(
            f"the parameter {declared['name']!r} is a {declared['inferred_type_name']}, got {value!r}."
        ) from None


def _truth(text: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]
