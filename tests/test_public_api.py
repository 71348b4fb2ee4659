"""The public names, and what importing them costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import deploykit
from tests.returned import reached

PUBLIC = [
    "Artifact",
    "BuiltCandidate",
    "Candidate",
    "Capacity",
    "Choice",
    "Cleaned",
    "Comparison",
    "Contract",
    "Dataset",
    "DeploykitError",
    "Deployment",
    "DetectedBox",
    "DeviceRanking",
    "DeviceTable",
    "Diagnosis",
    "Examined",
    "Explanation",
    "GoalMissed",
    "Model",
    "Monitor",
    "Plan",
    "Preprocess",
    "Recipe",
    "Report",
    "ReportComparison",
    "Result",
    "Sensitivity",
    "SensitivityHandle",
    "Server",
    "ServerCheck",
    "Skew",
    "Space",
    "Split",
    "Step",
    "Surface",
    "SweepHandle",
    "Target",
    "Tokenizer",
    "Tuning",
    "UpdateState",
    "Verification",
    "Versions",
    "WatermarkCheck",
    "Workbench",
    "__version__",
    "build",
    "capacity",
    "check_parameters",
    "check_server",
    "check_skew",
    "check_watermark",
    "clean",
    "compare",
    "compare_reports",
    "deploy",
    "detections",
    "devices",
    "doctor",
    "errors",
    "examine",
    "explain_example",
    "export",
    "load",
    "monitor",
    "new_key",
    "new_key_pair",
    "plan",
    "rank_devices",
    "sensitivity",
    "serve",
    "start_sensitivity",
    "start_sweep",
    "sweep",
    "synthesize",
    "tune",
    "types",
    "update",
    "verify",
]
REFERENCE = Path(__file__).parents[1] / "docs" / "reference" / "api" / "types.md"
HEAVY = {
    "tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "tf2onnx", "onnx", "onnxruntime",
    "ai_edge_litert", "numpy", "scipy", "pandas", "altair", "vl_convert", "h5py", "PIL", "psutil", "msgspec",
    "uvicorn", "httptools", "papermill", "netron", "ipywidgets", "IPython", "deploykit_widgets",
}  # fmt: skip
REGISTRIES = (
    "converters",
    "deploying",
    "engines",
    "exporters",
    "loading",
    "metrics",
    "runtimes",
    "trackers",
    "transforms",
)


def modules_loaded_by(code):
    """Modules that a fresh interpreter has loaded after running ``code``."""
    command = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def loaded_by(code):
    """Top-level modules that a fresh interpreter has loaded after running ``code``."""
    return {module.partition(".")[0] for module in modules_loaded_by(code)}


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
    if name not in {"__version__", "errors", "types"}:
        assert value.__name__ == name
        assert value.__doc__


def test_names_for_type_checkers_are_the_public_ones():
    tree = ast.parse(Path(deploykit.__file__).read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    imported = {(a.name, n.module) for n in block.body for a in n.names}
    homes = {(name, home) for name, home in deploykit._HOMES.items()} | {
        ("errors", "deploykit.core"),
        ("types", "deploykit"),
    }
    assert imported == homes


def test_what_public_functions_return_is_public():
    """Functions return names of deploykit; what is in their attributes is in deploykit.types."""
    names = {getattr(deploykit, name) for name in deploykit.__all__ if name != "__version__"}
    inner = {getattr(deploykit.types, name) for name in deploykit.types.__all__}
    missing = {f"{way}: {kind.__qualname__}" for kind, way in reached(deploykit).items() if kind not in names | inner}
    assert not missing
    direct = {way: kind for kind, way in reached(deploykit).items() if "." not in way}
    assert not [way for way, kind in direct.items() if kind not in names]
    assert not names & inner


def test_a_type_that_is_not_public_is_found():
    module = SimpleNamespace(__all__=["diagnose"], diagnose=deploykit.doctor)
    assert {kind.__name__: way for kind, way in reached(module).items()} == {
        "Diagnosis": "diagnose()", "RuntimeState": "diagnose().runtimes", "Device": "diagnose().runtimes.devices",
    }  # fmt: skip


@pytest.mark.parametrize("name", deploykit.types.__all__)
def test_every_public_type_resolves_and_is_documented(name):
    kind = getattr(deploykit.types, name)
    assert kind.__name__ == name
    assert kind.__doc__
    assert f"deploykit.types.{name}\n" in REFERENCE.read_text("utf-8")


def test_names_of_types_for_type_checkers_are_the_public_ones():
    tree = ast.parse(Path(deploykit.types.__file__).read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    assert {(a.name, n.module) for n in block.body for a in n.names} == set(deploykit.types._HOMES.items())
    assert sorted(deploykit.types._HOMES) == deploykit.types.__all__ == dir(deploykit.types)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = deploykit.types.Nothing


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


def test_techniques_declare_without_what_does_their_work():
    """Every process that plans imports them all."""
    done = modules_loaded_by("from deploykit.transforms._contract import TRANSFORMS\nassert list(TRANSFORMS.all())")
    rooms = ("deploykit.surgery.", "deploykit.training.", "deploykit.converters._")
    declarative = {"deploykit.converters._contract", "deploykit.surgery.selection", "deploykit.training.choices"}
    assert declarative <= done
    assert {module for module in done if module.startswith(rooms)} == declarative


def test_the_parent_of_children_imports_the_work_without_frameworks():
    code = "import importlib\nfrom deploykit.sweeping import work\nfor m in work.later(): importlib.import_module(m)"
    done = modules_loaded_by(code)
    assert {
        "deploykit.converters._tensorflow_graph.write", "deploykit.surgery.channels.onnx_cut",
        "deploykit.training.keras_trainer", "deploykit.transforms._training.own_answers",
    } <= done  # fmt: skip
    assert not {module.partition(".")[0] for module in done} & HEAVY - {"msgspec", "psutil"}


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
