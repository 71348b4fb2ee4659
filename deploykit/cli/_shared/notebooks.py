"""The notebooks that come with deploykit: where they are, and what parameters they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import deploykit
from deploykit.core.errors import DeploykitError, SettingError, unknown_name
from deploykit.core.extras import require
from deploykit.core.files import read_small
from deploykit.core.headless import literal
from deploykit.core.settings.notebook import constants, declared, from_text

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
    found = require("papermill", "jupyter").inspect_notebook(literal(notebook))
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
