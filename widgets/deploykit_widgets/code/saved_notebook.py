"""The script as a notebook with a cell of parameters, for papermill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError
from deploykit_widgets.code import script
from deploykit_widgets.state import State

_TITLE = """\
# {title}

Created by the Workbench. Running it gives the same candidates and, with the same store, the same choice without
measuring again. Every setting in the first code cell is a papermill parameter:

    papermill {name} out.ipynb -p store runs/elsewhere -p max_drop 0.02
"""


def notebook_of(state: State, target: Path) -> str:
    """The notebook as JSON text.

    Args:
        state: What it must reproduce.
        target: Where it will be written and run; its paths are relative to that folder. Data that were given as arrays
            are saved next to it.

    Raises:
        SettingError: There is no model or no data yet.
    """
    if state.model is None or state.data is None:
        missing = "model" if state.model is None else "data"
        raise SettingError(f"There is no {missing} yet, so there is nothing to save.", remedy=f"load the {missing}.")
    values = script.Parameters(target.parent)
    data = "" if state.data_source else _saved_data(state, target)
    imports, work, leave = script.parts(state, values, data)
    cells = [
        _markdown(_TITLE.format(title=f"{state.model.name}, optimized", name=target.name)),
        _code([_parameter(name, value) for name, value in values.found.items()], tags=["parameters"]),
        _code([*imports, "", "dk.check_parameters()", *work]),
        _code([*leave, "print(choice.explain())"]),
        _code(["report.chart()"]),
    ]
    if not state.picked:  # what was picked by hand was not chosen for a goal
        cells.append(_code(["choice.require()  # a missed goal ends the notebook, and papermill, with an error"]))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number:02}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _saved_data(state: State, target: Path) -> str:
    """Save arrays that are in no file; returns the expression that opens them."""
    assert state.data is not None
    folder = target.with_name(f"{target.stem}-data")
    state.data.save(folder)
    return f"dk.Dataset.open({script.path_code(folder, target.parent)})"


def _parameter(name: str, value: str | float) -> str:
    kind = type(value).__name__
    return f"{name}: {kind} = {script.string(value) if isinstance(value, str) else repr(value)}"


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.rstrip().splitlines(keepends=True)}


def _code(lines: list[str], tags: list[str] | None = None) -> dict[str, Any]:
    source = "\n".join(lines).strip().splitlines(keepends=True)
    metadata: dict[str, Any] = {"tags": tags} if tags else {}
    return {"cell_type": "code", "execution_count": None, "metadata": metadata, "outputs": [], "source": source}
