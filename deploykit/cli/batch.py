"""``deploykit batch NOTEBOOK [OUT] -p name value …``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploykit.cli._shared import notebooks
from deploykit.cli._shared.once import Pairs
from deploykit.cli._shared.show import note, show
from deploykit.core.errors import DeploykitError, SettingError
from deploykit.core.extras import needs
from deploykit.core.headless import execute

HELP = "Run a notebook with papermill. Unknown parameters and values of the wrong type are rejected before it starts."
_EPILOG = """\
Paths in values are relative to the current folder. The default of a parameter whose name ends in _path is also looked
up next to the notebook.

exit status: 0 done, 1 a cell failed or a goal was missed (best.require()), 2 rejected before anything ran"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "notebook", metavar="NOTEBOOK", help="an .ipynb file, or the name of a notebook that ships with deploykit"
    )
    parser.add_argument(
        "out",
        metavar="OUT",
        nargs="?",
        help="where to write the executed notebook (default: NAME-out.ipynb in the current folder)",
    )
    parser.add_argument(
        "-p",
        "--parameter",
        dest="parameters",
        metavar=("NAME", "VALUE"),
        nargs=2,
        action=Pairs,
        default={},
        help="notebook parameter, for example -p max_drop 0.01 (repeatable)",
    )
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    needs("papermill")
    try:
        notebook = _find(options.notebook)
        values = notebooks.typed(notebook, options.parameters)
        out = _output(options.out, notebook)
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    note(options, f"running {notebook}; output notebook: {out}")
    execute(
        notebook, out, notebooks.beside(notebook) | values, cwd=Path.cwd(), stream=sys.stderr if options.json else None
    )
    show(options, f"done      {out}", {"notebook": str(out), "parameters": values})


def _find(name: str) -> Path:
    path = Path(name).expanduser().absolute()
    if path.is_file():
        return path
    try:
        return notebooks.find(name)
    except DeploykitError:
        raise SettingError(
            f"There is no notebook {name!r}.", remedy=f"known: {', '.join(notebooks.names())}."
        ) from None


def _output(name: str | None, notebook: Path) -> Path:
    out = Path(name).expanduser() if name else Path(f"{notebook.stem}-out.ipynb")
    if out.suffix != ".ipynb" or out.is_dir():
        raise SettingError(
            f"{out} cannot be used as the output notebook.", remedy="give a file name that ends in .ipynb."
        )
    if out.resolve() == notebook.resolve():
        raise SettingError(
            f"{out} is also the input notebook, which would be overwritten.", remedy="give a different file for OUT."
        )
    return out.absolute()
