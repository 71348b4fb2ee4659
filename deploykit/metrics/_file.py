"""A metric in a Python file of the user's: found here by its source, run in child processes only."""

from __future__ import annotations

import ast
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.digest import json_digest
from deploykit.core.errors import DeploykitError, SettingError
from deploykit.core.settings.option import python_file
from deploykit.metrics._custom import Custom
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_REMEDY = "write def NAME(outputs, labels) that returns one number for each example, and name it: FILE.py:NAME."


class FromFile(Custom):
    """A function of (outputs, labels) in a file; see `Custom` for what it may say of itself.

    Args:
        text: ``FILE.py``, or ``FILE.py:FUNCTION`` where the file has several functions.

    Raises:
        SettingError: There is no such file or function.
    """

    def __init__(self, text: str) -> None:
        self._path = Path(python_file(text)).expanduser().resolve()
        self._source = _read(self._path)
        self.name = _function(self._path, self._source, text.rpartition(".py")[2][1:])  # type: ignore[misc]  # per file
        self.label = self.name.replace("_", " ")  # type: ignore[misc]

    def identity(self) -> str:
        """Digest of the file and the function's name: another content is another metric."""
        return json_digest(["file", self._source, self.name])

    def opened(self) -> FromFile:
        """With what the function says of itself, which is to be run for that.

        Raises:
            SettingError: The file fails.
        """
        found = self._run({})
        self.higher_is_better = bool(found["higher_is_better"])  # type: ignore[misc]  # per file
        self.relative = bool(found["relative"])  # type: ignore[misc]
        return self

    def values(self, outputs: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
        """The function's values, computed in a child.

        Raises:
            SettingError: The function fails or gives something else than one number for each example.
        """
        import numpy as np

        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            for name, array in (("outputs", outputs), ("truth", truth)):
                np.save(Path(folder, name), array, allow_pickle=False)
            self._run({"folder": folder})
            return self._checked(np.load(Path(folder, "values.npy"), allow_pickle=False), len(outputs))

    def _run(self, more: dict[str, str]) -> dict[str, Any]:
        if _read(self._path) != self._source:
            raise SettingError(f"{self._path} has changed since it was read.", remedy="start again.")
        arguments = {"path": str(self._path), "function": self.name, **more}
        task = Task("deploykit.metrics._file:compute", arguments, name=f"the metric {self.name}")
        try:
            return shared().run(task)
        except SettingError:
            raise
        except DeploykitError as error:
            raise SettingError(f"The metric {self.name} of {self._path} failed: {error.message}") from error


def compute(arguments: dict[str, Any], report: Any) -> dict[str, Any]:
    """Task: what the function says of itself, and its values where there are arrays."""
    del report
    import runpy

    import numpy as np

    name = arguments["function"]
    try:
        function = runpy.run_path(arguments["path"], run_name="deploykit_metric")[name]
        if folder := arguments.get("folder"):
            outputs, truth = (np.load(Path(folder, f"{n}.npy"), allow_pickle=False) for n in ("outputs", "truth"))
            np.save(Path(folder, "values"), np.asarray(function(outputs, truth), np.float64))
    except Exception as error:
        raise SettingError(
            f"The metric {name} of {arguments['path']} failed: {type(error).__name__}: {error}.", remedy=_REMEDY
        ) from error
    return {
        "higher_is_better": bool(getattr(function, "higher_is_better", True)),
        "relative": bool(getattr(function, "relative", False)),
    }


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"The metric's file {path} cannot be read: {error}.", remedy=_REMEDY) from error


def _function(path: Path, source: str, asked: str) -> str:
    """Name of the function, by the source alone."""
    try:
        tree = ast.parse(source, str(path))
    except (SyntaxError, ValueError) as error:
        raise SettingError(f"{path} is not Python: {error}.", remedy=_REMEDY) from error
    names = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
    public = [n for n in names if not n.startswith("_")]
    fitting = [asked] if asked in names else [] if asked else [path.stem] if path.stem in public else public
    if len(fitting) == 1:
        return fitting[0]
    has = f"it has {', '.join(names)}" if names else "it has none"
    what = f"no function {asked}" if asked else "no function" if not public else "several functions"
    raise SettingError(f"{path} has {what} for a metric; {has}.", remedy=_REMEDY)
