"""Notebooks that run headless, and the demo and lab verbs on top of them."""

import io
import json
import os
from pathlib import Path

import nbformat
import pytest

from deploykit.cli import _notebooks
from deploykit.core.errors import DeploykitError, SettingError
from deploykit.core.events import Progress
from deploykit.reporting import progress

PARAMETERS = "count: int = 1\nshare: float = 0.5\nsay: str = 'hi'\nloud: bool = False"


@pytest.fixture
def notebook(tmp_path):
    def make(*cells):
        first = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        made = nbformat.v4.new_notebook(
            cells=[first, *map(nbformat.v4.new_code_cell, cells)],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        )
        path = tmp_path / "folder" / "tiny.ipynb"
        path.parent.mkdir()
        nbformat.write(made, path)
        return path

    return make


def test_a_notebook_runs_in_its_folder_and_shows_its_output(notebook, tmp_path, capfd):
    path = notebook("from pathlib import Path\nprint(Path.cwd().name, repr(count), repr(share), say, loud)")
    given = {"count": "3", "share": "0.25", "say": "hallo", "loud": "true"}
    _notebooks.execute(path, tmp_path / "out" / "done.ipynb", given)
    assert capfd.readouterr() == ("folder 3 0.25 hallo True\n", "")
    done = nbformat.read(tmp_path / "out" / "done.ipynb", 4)
    assert "hallo" in done.cells[-1].outputs[0].text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cuont": 1}, r"unknown parameter of tiny\.ipynb 'cuont'.*did you mean 'count'"),
        ({"count": "many"}, r"the parameter 'count' is a int, got 'many'"),
        ({"loud": "perhaps"}, r"the parameter 'loud' is a bool, got 'perhaps'"),
    ],
)
def test_parameters_are_checked_before_anything_runs(notebook, tmp_path, given, message):
    path = notebook("raise AssertionError")
    with pytest.raises(SettingError, match=message):
        _notebooks.execute(path, tmp_path / "done.ipynb", given)
    assert not (tmp_path / "done.ipynb").exists()


def test_a_cell_that_fails_is_named(notebook, tmp_path):
    path = notebook("1 / 0")
    with pytest.raises(DeploykitError, match=r"tiny\.ipynb failed in cell 2: ZeroDivisionError.*done\.ipynb"):
        _notebooks.execute(path, tmp_path / "done.ipynb", {})


def test_progress_lines_are_one_bar_in_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    live = _notebooks.Live(stream)
    lines = io.StringIO()
    show = progress.Lines(lines)
    for done, phase in [(1, "build"), (3, "accuracy"), (4, "latency")]:
        show(Progress(phase, "work " * 20, done, 4))
    for line in lines.getvalue().splitlines(keepends=True):
        live.write(line)
    live.write("after\nwards\n")
    before, *bars = stream.getvalue().split("\r\x1b[K")
    assert before == ""
    assert [b.count("█") for b in bars] == [6, 18, 24]
    assert all(len(b) == 59 for b in bars[:-1])
    assert bars[-1].partition("\n")[2] == "after\nwards\n"


def test_a_notebook_that_is_not_installed():
    with pytest.raises(DeploykitError, match=r"no notebook '99_none\.ipynb' in .*notebooks"):
        _notebooks.find("99_none.ipynb")


def test_the_demo_is_the_quickstart_with_its_store_here(cli, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(_notebooks, "execute", lambda *given, **options: calls.append((given, options)))
    monkeypatch.chdir(tmp_path)
    status, out, _ = cli("demo", "-p", "launches=2", "-p", "space=x=y", "--json")
    assert status == 0
    (notebook, executed, parameters), options = calls[0]
    assert notebook.name == "01_quickstart.ipynb"
    assert executed == tmp_path / "runs" / "demo" / "01_quickstart.ipynb"
    assert parameters == {"launches": "2", "space": "x=y", "store": str(tmp_path / "runs" / "demo")}
    assert options == {"quiet": True}
    assert json.loads(out)["store"] == str(tmp_path / "runs" / "demo")


def test_the_quickstart_has_the_parameters_the_demo_sets():
    import papermill

    assert {"store", "launches", "space"} <= set(
        papermill.inspect_notebook(str(_notebooks.find("01_quickstart.ipynb")))
    )


def test_lab_copies_what_the_workbench_needs_and_overwrites_nothing(cli, tmp_path):
    (tmp_path / "data").mkdir()
    mine = tmp_path / "data" / "fashion-mnist.npz"
    mine.write_bytes(b"my own")
    status, out, _ = cli("lab", "--folder", tmp_path, "--no-start", "--json")
    assert status == 0
    assert json.loads(out)["copied"] == ["02_workbench.ipynb", "models/fashion_cnn.keras"]
    assert mine.read_bytes() == b"my own"
    assert (tmp_path / "02_workbench.ipynb").read_bytes() == _notebooks.find("02_workbench.ipynb").read_bytes()
    _, out, _ = cli("lab", "--folder", tmp_path, "--no-start", "--json")
    assert json.loads(out)["copied"] == []


def test_lab_starts_jupyter_on_the_notebook(cli, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("deploykit.cli.lab.subprocess.call", lambda command, cwd: calls.append((command, cwd)) or 0)
    status, _, _ = cli("lab", "--folder", tmp_path, "--", "--no-browser", "--port=8899")
    assert status == 0
    command, cwd = calls[0]
    assert command[1:4] == ["-m", "jupyterlab", str(tmp_path / "02_workbench.ipynb")]
    assert command[-2:] == ["--no-browser", "--port=8899"]
    assert ("--allow-root" in command) == (os.geteuid() == 0)
    assert Path(cwd) == tmp_path
