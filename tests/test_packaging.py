"""What the wheel holds, and that everything the code imports is declared."""

import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from deploykit.core import extras

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def names(requirements):
    return {re.match(r"[A-Za-z0-9._-]+", r)[0].lower().replace("_", "-") for r in requirements}


def imported(folder):
    """Top-level modules that the files of a folder import, anywhere in them."""
    found = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules = [a.name for a in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require" and node.args:
                modules = [getattr(node.args[0], "value", None)]
            else:
                continue
            found |= {m.partition(".")[0]: path for m in modules if isinstance(m, str)}
    return found


@pytest.mark.parametrize("folder", ["deploykit", "widgets/deploykit_widgets"])
def test_every_imported_package_is_declared(folder):
    declared = names(PROJECT["dependencies"]).union(*map(names, PROJECT["optional-dependencies"].values()))
    owners = packages_distributions()
    for module, path in imported(ROOT / folder).items():
        if module in sys.stdlib_module_names or module in {"deploykit", "deploykit_widgets", "__future__"}:
            continue
        distributions = {d.lower().replace("_", "-") for d in owners.get(module, [extras.distribution(module)])}
        assert distributions & declared, f"{path} imports {module}, which pyproject.toml does not declare"


def others(extra):
    """Requirements of an extra but for deploykit itself."""
    return [r for r in PROJECT["optional-dependencies"][extra] if not r.startswith("deploykit[")]


def included(extra):
    """Extras that an extra includes, directly or not, and itself."""
    found = {extra}
    for line in PROJECT["optional-dependencies"][extra]:
        for name in re.findall(r"^deploykit\[(.*)\]$", line):
            found |= set().union(*map(included, name.split(",")))
    return found


def test_every_requirement_has_a_floor_and_a_cap():
    for requirement in [*PROJECT["dependencies"], *(r for e in PROJECT["optional-dependencies"] for r in others(e))]:
        assert re.search(r">=[0-9.]+,<[0-9.]+", requirement), requirement


def test_a_server_installs_no_scientific_package_but_numpy_and_its_own_runtime():
    heavy = {"pandas", "scipy", "sympy", "altair", "vl-convert-python", "h5py", "onnx", "onnxslim", "tensorflow"}
    base = names(PROJECT["dependencies"])
    assert "numpy" in base
    assert not base & heavy
    assert names(others("onnx")) == {"onnxruntime"}
    assert names(others("tflite")) == {"ai-edge-litert"}
    assert {included(name) == {name} for name in ("onnx", "tflite", "openvino")} == {True}


def test_what_measures_includes_reports_and_charts():
    for name in ("sweep", "tensorflow", "jupyter", "search", "dask", "all"):
        assert {"sweep", "onnx", "tflite"} <= included(name)


def test_messages_name_the_extra_that_holds_a_package():
    listed = {name: {extras.distribution(module) for module in held} for name, held in extras.EXTRAS.items()}
    assert listed == {name: names(others(name)) for name in PROJECT["optional-dependencies"] if name != "all"}


def test_what_is_required_by_name_is_in_the_extra_that_is_named():
    named = {}
    for folder in ("deploykit", "widgets/deploykit_widgets"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require" and len(node.args) == 2:
                    module, extra = (getattr(a, "value", None) for a in node.args)
                    if isinstance(module, str) and isinstance(extra, str) and extra:
                        named[module.partition(".")[0], extra] = path
    assert named.keys() >= {("keras", "tensorflow"), ("papermill", "jupyter")}
    for (module, extra), path in named.items():
        held = set().union(*(extras.EXTRAS.get(name, ()) for name in included(extra)))
        assert module in held, f"{path}: {extra} does not hold {module}"


#: What brings gigabytes on some systems, or is for a device or a compiler of its own.
ON_THEIR_OWN = {"executorch", "torch", "onnx-openvino", "tensorrt", "tvm"}


def test_all_is_everything():
    extras = set(PROJECT["optional-dependencies"]) - {"all"}
    (everything,) = PROJECT["optional-dependencies"]["all"]
    assert set(everything.partition("[")[2].rstrip("]").split(",")) == extras - ON_THEIR_OWN


def test_the_installed_versions_are_inside_the_declared_ranges():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert "deploykit" not in done.stdout.lower().replace("no broken requirements found.", ""), done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(ROOT)],
        check=True,
        timeout=300,
    )
    (path,) = folder.glob("deploykit-*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_both_packages_whole(wheel):
    content = set(wheel.namelist())
    for package in (ROOT / "deploykit", ROOT / "widgets" / "deploykit_widgets"):
        tracked = {p for p in package.rglob("*.py") if "_generated" not in p.parts}
        assert {p.relative_to(package.parent).as_posix() for p in tracked} <= content
        assert f"{package.name}/py.typed" in content
    assert {f"deploykit/core/presets/{n}.json" for n in ("quick", "balanced", "thorough")} <= content


def test_the_wheel_holds_the_notebooks_and_what_they_need(wheel):
    content = set(wheel.namelist())
    notebooks = {p.name for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert "01_quickstart.ipynb" in notebooks
    models = {f"models/fashion_cnn.{ending}" for ending in ("keras", "onnx", "tflite")}
    wanted = {*notebooks, *models, "data/fashion-mnist.npz", "data/LICENSE", "finished/store.sqlite"}
    assert {f"deploykit/_notebooks/{n}" for n in wanted} <= content


def test_the_wheel_brings_the_extension_of_jupyterlab(wheel):
    data = {n.partition(".data/data/")[2]: n for n in wheel.namelist() if ".data/data/" in n}
    folder = "share/jupyter/labextensions/deploykit-widgets"
    package = json.loads(wheel.read(data[f"{folder}/package.json"]))
    assert package["version"] == re.search(r"deploykit-([\d.]+)-", wheel.filename)[1]
    assert f"{folder}/{package['jupyterlab']['_build']['load']}" in data
    assert {f"{folder}/install.json", "etc/jupyter/jupyter_server_config.d/deploykit.json"} <= set(data)
    assert {f"deploykit_widgets/server/{n}" for n in ("netron_bridge.js", "templates/optimize.ipynb")} <= set(
        wheel.namelist()
    )


def test_the_wheel_holds_nothing_else(wheel):
    for name in wheel.namelist():
        assert name.split("/")[0] in {"deploykit", "deploykit_widgets"} or ".dist-info/" in name or ".data/" in name, (
            name
        )
        assert not re.search(r"__pycache__|\.pyc$|ipynb_checkpoints|/runs/|/tests/|node_modules", name), name


def test_the_wheel_has_its_licence_and_command(wheel):
    info = next(n.split("/")[0] for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    assert "BSD 3-Clause" in wheel.read(f"{info}/licenses/LICENSE").decode()
    assert "deploykit = deploykit.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode()
