"""Running a notebook headless, with papermill."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any, TextIO

from deploykit.core.errors import DeploykitError, GoalMissed
from deploykit.core.extras import require

#: A line of `deploykit.reporting.progress.Lines`.
_PROGRESS = re.compile(r"\[ *(\d+) %\] (.*)")
_BAR = 24


def literal(path: Path) -> str:
    """A path for papermill, which takes braces for places to fill in."""
    return str(path).replace("{", "{{").replace("}", "}}")


def execute(
    notebook: Path, output: Path, values: dict[str, Any], *, cwd: Path | None = None, stream: TextIO | None = None
) -> None:
    """Run a notebook with papermill, its output shown live.

    Args:
        notebook: What to run.
        output: Where to write the executed notebook.
        values: Values for its parameters, see `typed`.
        cwd: Where it runs; None: in its own folder.
        stream: Where to show the notebook's output; None: stdout.

    Raises:
        GoalMissed: A cell required a goal that no candidate meets.
        DeploykitError: A cell failed; names the error and the executed notebook.
    """
    papermill = require("papermill", "jupyter")
    output.parent.mkdir(parents=True, exist_ok=True)
    stream = stream or sys.stdout
    try:
        papermill.execute_notebook(
            literal(notebook),
            literal(output),
            values,
            progress_bar=False,
            stdout_file=Live(stream) if stream.isatty() else stream,
            stderr_file=sys.stderr,
            cwd=str(cwd or notebook.parent),
            extra_arguments=["--IPKernelApp.log_level=40"],  # its warning about loopback is not news here
        )
    except papermill.PapermillExecutionError as error:
        kind = GoalMissed if error.ename == GoalMissed.__name__ else DeploykitError
        raise kind(
            f"{notebook.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue} "
            f"(executed notebook: {output})"
        ) from error


class Live:
    """A terminal on which a notebook's progress lines become one bar that is redrawn.

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
