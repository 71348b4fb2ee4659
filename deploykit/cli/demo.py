"""``deploykit demo``: the quickstart notebook, headless."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploykit.cli._shared import notebooks
from deploykit.cli._shared.inputs import named
from deploykit.cli._shared.once import Pairs
from deploykit.cli._shared.show import note, show
from deploykit.core.errors import SettingError
from deploykit.core.extras import installed, needs
from deploykit.core.headless import execute

HELP = (
    "Run the quickstart notebook without a browser: sweep, choose, export and serve the small model that ships with it."
)
_NOTEBOOK = "01_quickstart.ipynb"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--store", metavar="FOLDER", default="runs/demo", help="folder for all results (default: runs/demo)"
    )
    parser.add_argument(
        "-p",
        dest="parameters",
        metavar="NAME=VALUE",
        type=named,
        action=Pairs,
        default={},
        help="notebook parameter, for example -p launches=2 (repeatable)",
    )


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    needs("papermill")
    notebook = notebooks.find(_NOTEBOOK)
    store = Path(options.store).absolute()
    executed = store / _NOTEBOOK
    note(options, f"running {notebook} with its store in {store}; Ctrl-C stops it, the same command resumes it")
    try:
        values = notebooks.typed(notebook, {**_start(), **options.parameters, "store": str(store)})
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    execute(notebook, executed, values, stream=sys.stderr if options.json else None)
    text = f"notebook  {executed}\nshow the report again with: deploykit report {options.store}"
    show(options, text, {"notebook": str(executed), "store": str(store)})


def _start() -> dict[str, str]:
    """The Keras model where it can be run: more techniques and runtimes than from the same model as ONNX."""
    return {"model_path": "models/fashion_cnn.keras"} if installed("tensorflow") else {}
