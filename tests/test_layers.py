"""The architecture, as far as import-linter can see it (contracts in pyproject.toml)."""

import subprocess
import sys
import tomllib
from pathlib import Path

from deploykit.core.registry import registry

ROOT = Path(__file__).parents[1]


def test_layers_are_kept():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_a_broken_layer_would_be_seen(tmp_path):
    """The same contracts fail on packages whose lowest layers import one above them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    for contract in (c for c in contracts if c["type"] == "layers"):
        (package,) = (tmp_path / container for container in contract["containers"])
        for name in (name for layer in contract["layers"] for name in layer.split(" | ")):
            (package / name).mkdir(parents=True)
            (package / name / "__init__.py").write_text("")
        (package / "__init__.py").write_text("")
    (tmp_path / "deploykit" / "core" / "wrong.py").write_text("import deploykit.serving\n")
    (tmp_path / "deploykit_widgets" / "space" / "wrong.py").write_text("import deploykit_widgets.sections\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8"), "utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))",
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "deploykit.core.wrong" in done.stdout
    assert "deploykit_widgets.space.wrong" in done.stdout


def test_adapters_are_named_after_their_files_and_only_they_are_public():
    """In a registry every file is an adapter or begins with an underscore."""
    for package, what in {
        "converters": "converter",
        "deploying": "way of deploying",
        "engines": "engine",
        "exporters": "layout",
        "loading": "format",
        "metrics": "metric",
        "runtimes": "runtime",
        "serving.wires": "protocol",
        "trackers": "tracker",
        "transforms": "technique",
    }.items():
        names = registry(f"deploykit.{package}", what)
        files = {
            p.stem for p in (ROOT / "deploykit" / package.replace(".", "/")).glob("*.py") if not p.name.startswith("_")
        }
        assert set(names.names()) == files
        for adapter in names.all():
            assert adapter.label, (package, adapter.name)
            assert adapter.help, (package, adapter.name)
