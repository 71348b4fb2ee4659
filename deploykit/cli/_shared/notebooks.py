"""The notebooks that come with deploykit: where they are, and running one headless."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any, TextIO

import deploykit
from deploykit.core.errors import DeploykitError, GoalMissed, SettingError, unknown_name
from deploykit.core.extras import require
from deploykit.core.files import read_small
from deploykit.core.settings.notebook import constants, declared, from_text

#: A line of `deploykit.reporting.progress.Lines`.
_PROGRESS = re.compile(r"\[ *(\d+) %\] (.*)")
_BAR = 24
#: Most bytes of a notebook.
_MOST_BYTES = 256 << 20


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
        raise DeploykitError(
            f"This installation has no notebook {name!r} in {folder()}.", remedy="reinstall deploykit."
        )
    return path


def names() -> list[str]:
    """Names of the notebooks that come with deploykit."""
    return sorted(path.name for path in folder().glob("*.ipynb"))


def typed(notebook: Path, given: dict[str, str]) -> dict[str, Any]:
    """Values for the parameters of a notebook, of the types it declares; nothing is run.

    Args:
        notebook: The notebook.
        given: Values as text.

    Raises:
        SettingError: It is not a notebook, it has no such parameter, or a value has the wrong type.
    """
    known = parameters(notebook)
    for name in given:
        if name not in known:
            raise unknown_name(f"parameter of {notebook.name}", name, known)
    defaults = constants(_parameters_cell(notebook))
    return {name: from_text(name, text, known[name], defaults.get(name)) for name, text in given.items()}


def parameters(notebook: Path) -> dict[str, str]:
    """Parameters of a notebook and their types, ``""`` where none is declared.

    Raises:
        SettingError: It is not a notebook.
    """
    cell = _parameters_cell(notebook)
    if not cell:
        return {}
    # papermill leaves out what its pattern does not match: two "=" in a line, a type such as "int | None".
    found = require("papermill", "jupyter").inspect_notebook(_literal(notebook))
    types = {name: p["inferred_type_name"] for name, p in found.items()}
    return {name: "" if kind == "None" else kind for name, kind in types.items()} | declared(cell)


def beside(notebook: Path) -> dict[str, str]:
    """Defaults of parameters named ``…_path`` that are relative, and found beside the notebook but not here."""
    found: dict[str, str] = {}
    for name, value in constants(_parameters_cell(notebook)).items():
        if name.endswith("_path") and isinstance(value, str) and value and not Path(value).exists():
            path = notebook.parent / value
            found |= {name: str(path)} if path.exists() else {}
    return found


def _parameters_cell(notebook: Path) -> str:
    try:
        cells = json.loads(read_small(notebook, _MOST_BYTES, "the notebook", SettingError))["cells"]
        sources = [c["source"] for c in cells if "parameters" in c["metadata"].get("tags", [])]
    except SettingError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingError(f"{notebook} is not a notebook.", remedy="give an .ipynb file.") from error
    return "".join(sources[0]) if sources else ""


def _literal(path: Path) -> str:
    """A path for papermill, which takes braces for places to fill in."""
    return str(path).replace("{", "{{").replace("}", "}}")


def execute(
    notebook: Path, output: Path, values: dict[str, Any], *, cwd: Path | None = None, quiet: bool = False
) -> None:
    """Run a notebook with papermill, its output shown live.

    Args:
        notebook: What to run.
        output: Where to write the executed notebook.
        values: Values for its parameters, see `typed`.
        cwd: Where it runs; None: in its own folder.
        quiet: Show the notebook's output on stderr instead of stdout.

    Raises:
        GoalMissed: A cell required a goal that no candidate meets.
        DeploykitError: A cell failed; names the error and the executed notebook.
    """
    papermill = require("papermill", "jupyter")
    output.parent.mkdir(parents=True, exist_ok=True)
    stream = sys.stderr if quiet else sys.stdout
    try:
        papermill.execute_notebook(
            _literal(notebook),
            _literal(output),
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
