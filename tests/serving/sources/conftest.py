"""SavedModels with signatures, each made once."""

from pathlib import Path

import pytest

from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Folder of one version of a model: ``graph``, or a module with functions by their names."""
    found = {}
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(Path(__file__).parent))

    def get(*only):
        if only not in found:
            path = tmp_path_factory.mktemp("saved") / "model" / "00000123"
            maker = "graph_model" if only == ("graph",) else "module_model"
            arguments = {"path": str(path), "only": list(only)}
            shared().run(Task(f"signature_makers:{maker}", arguments, group="tensorflow"))
            found[only] = path
        return found[only]

    yield get
    patch.undo()
