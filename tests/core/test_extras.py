import importlib
import sys

import numpy as np
import pytest

from deploykit.core import extras
from deploykit.core.adapter import Adapter
from deploykit.core.errors import MissingExtraError


class Needy(Adapter):
    name = "needy"
    label = "Needy"
    extra = "tensorflow"
    requires = ("numpy", "no_such_package_at_all")


def test_a_missing_package_names_its_pip_line():
    with pytest.raises(MissingExtraError, match=r"'no_such_package_at_all' is not installed.*'deploykit\[jupyter\]'"):
        extras.require("no_such_package_at_all.part", "jupyter")


def test_the_extra_that_holds_a_package_is_found(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "sweep", ("no_such_package_at_all", "numpy"))
    line = r"pip install 'deploykit\[sweep\]'"
    with pytest.raises(MissingExtraError, match=rf"'no_such_package_at_all' is not installed.*{line}"):
        extras.require("no_such_package_at_all.part")
    with pytest.raises(MissingExtraError, match=rf"not installed: no_such_package_at_all\. Remedy: {line}"):
        extras.check("sweep")
    with pytest.raises(MissingExtraError, match=line):
        extras.needs("no_such_package_at_all")
    extras.needs("numpy")
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("no_such_package_at_all")
    assert line.replace("\\", "") in str(extras.explained(caught.value))


def test_nothing_is_said_of_a_module_that_no_extra_holds():
    assert extras.explained(ModuleNotFoundError("No module named 'mine'", name="mine")) is None
    assert extras.pip_line(["no_such_package_at_all"]) == "pip install deploykit"
    assert extras.pip_line(["onnxruntime", "scipy"]) == "pip install 'deploykit[onnx,sweep]'"


def test_an_extra_that_is_installed_passes():
    extras.check("sweep")


def test_a_package_that_fails_inside_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import no_such_package_at_all")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all") as caught:
        extras.require("half_installed", "jupyter")
    assert not isinstance(caught.value, MissingExtraError)


def test_facts_of_installed_packages():
    assert extras.require("numpy", "") is np
    assert extras.version("numpy") == np.__version__
    assert extras.version("no_such_package_at_all") == ""
    assert extras.distribution("PIL.Image") == "pillow"


def test_asking_whether_something_is_installed_imports_nothing():
    code_only = "wave"  # a standard module that nothing else imports
    sys.modules.pop(code_only, None)
    assert extras.installed(code_only)
    assert not extras.installed("no_such_package_at_all")
    assert code_only not in sys.modules


def test_an_adapter_says_what_it_misses():
    adapter = Needy()
    assert adapter.missing() == "no_such_package_at_all not installed; pip install 'deploykit[tensorflow]'"
    with pytest.raises(MissingExtraError, match=r"Needy: no_such_package_at_all not installed"):
        adapter.check_installed()
    assert adapter.versions() == {"numpy": np.__version__, "no_such_package_at_all": ""}
