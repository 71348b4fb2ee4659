"""The public names, and what importing them costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import deploykit

PUBLIC = [
    "Artifact",
    "Candidate",
    "Contract",
    "Dataset",
    "DeploykitError",
    "GoalMissed",
    "Model",
    "Preprocess",
    "Recipe",
    "Report",
    "Sensitivity",
    "Space",
    "Step",
    "Target",
    "Workbench",
    "__version__",
    "build",
    "check_parameters",
    "clean",
    "compare_reports",
    "doctor",
    "errors",
    "examine",
    "export",
    "load",
    "plan",
    "sensitivity",
    "serve",
    "start_sensitivity",
    "start_sweep",
    "sweep",
    "verify",
]
HEAVY = {
    "tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "tf2onnx", "onnx", "onnxruntime",
    "ai_edge_litert", "numpy", "scipy", "pandas", "altair", "vl_convert", "h5py", "PIL", "psutil", "msgspec",
    "uvicorn", "httptools", "papermill", "netron", "ipywidgets", "IPython", "deploykit_widgets",
}  # fmt: skip
REGISTRIES = ("converters", "engines", "exporters", "loading", "metrics", "runtimes", "transforms")


def loaded_by(code):
    """Top-level modules that a fresh interpreter has loaded after running ``code``."""
    command = f"{code}\nimport sys, json\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_public_names_are_pinned():
    assert deploykit.__all__ == PUBLIC
    assert dir(deploykit) == sorted(PUBLIC)


def test_the_list_is_a_literal():
    tree = ast.parse(Path(deploykit.__file__).read_text("utf-8"))
    assigned = [n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__"]
    assert ast.literal_eval(assigned[0]) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_resolves(name):
    value = getattr(deploykit, name)
    assert value is getattr(deploykit, name)
    if name not in {"__version__", "errors"}:
        assert value.__name__ == name
        assert value.__doc__


def test_names_for_type_checkers_are_the_public_ones():
    tree = ast.parse(Path(deploykit.__file__).read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    imported = {(a.name, n.module) for n in block.body for a in n.names}
    homes = {(name, home) for name, home in deploykit._HOMES.items()} | {("errors", "deploykit.core")}
    assert imported == homes


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'deploykit' has no attribute 'no_such_name'"):
        _ = deploykit.no_such_name


def test_importing_deploykit_loads_nothing_heavy():
    assert not loaded_by("import deploykit") & HEAVY


def test_listing_adapters_loads_none_of_them():
    code = "from deploykit.core.registry import registry\n" + "\n".join(
        f"assert registry('deploykit.{package}', 'adapter').names(), '{package}'" for package in REGISTRIES
    )
    code += "\nimport sys\n" + "\n".join(
        f"assert not [m for m in sys.modules if m.startswith('deploykit.{package}.')]" for package in REGISTRIES
    )
    assert not loaded_by(code) & HEAVY


def test_the_adapters_facts_need_no_framework():
    """Menus and help are made from them: no framework may be imported for that."""
    code = "from deploykit.core.registry import registry\n" + "\n".join(
        f"assert list(registry('deploykit.{package}', 'adapter').all())" for package in REGISTRIES
    )
    frameworks = HEAVY - {"msgspec", "psutil", "numpy"}
    assert not loaded_by(code) & frameworks


def test_help_of_the_command_line_loads_nothing_heavy():
    code = "from deploykit.cli.main import main\nimport sys\nassert main(['--help']) == 0"
    assert not loaded_by(code) & HEAVY


def test_the_package_is_typed():
    assert (Path(deploykit.__file__).parent / "py.typed").is_file()
