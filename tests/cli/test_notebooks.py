"""Notebooks that run headless, and the batch, demo and lab verbs on top of them."""

import io
import json
import os
import sys
from pathlib import Path

import nbformat
import pytest

from deploykit.cli import demo
from deploykit.cli._shared import notebooks
from deploykit.core import headless
from deploykit.core.errors import DeploykitError
from deploykit.reporting import progress
from deploykit.reporting.events import Progress

PARAMETERS = "count: int = 1\nshare: float = 0.5\nsay: str = 'hi'\nloud: bool = False"


@pytest.fixture
def notebook(tmp_path):
    def make(*cells, first=PARAMETERS):
        first = nbformat.v4.new_code_cell(first, metadata={"tags": ["parameters"]})
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
    headless.execute(path, tmp_path / "out" / "done.ipynb", notebooks.typed(path, given))
    assert capfd.readouterr().out == "folder 3 0.25 hallo True\n"  # a kernel may warn of its own affairs
    done = nbformat.read(tmp_path / "out" / "done.ipynb", 4)
    assert "hallo" in done.cells[-1].outputs[0].text


def test_a_cell_that_fails_is_named(notebook, tmp_path):
    path = notebook("1 / 0")
    with pytest.raises(DeploykitError, match=r"tiny\.ipynb failed in cell 2: ZeroDivisionError.*done\.ipynb"):
        headless.execute(path, tmp_path / "done.ipynb", {})


def test_parameters_papermill_does_not_see_are_parameters(notebook):
    path = notebook(first="sign: str = '='\nlimit: int | None = None\nplain = 3  # no type\nold = 4  # type: int")
    assert notebooks.parameters(path) == {"sign": "str", "limit": "int | None", "plain": "", "old": "int"}
    given = {"sign": "a=b", "limit": "None", "plain": "0.5", "old": "4"}
    assert notebooks.typed(path, given) == {"sign": "a=b", "limit": None, "plain": 0.5, "old": 4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "cuont", "1"], "Unknown parameter of tiny.ipynb 'cuont'. Remedy: did you mean 'count'? known: count, "),
        (["-p", "count", "many"], "The parameter 'count' is declared as int, got 'many'"),
        (["-p", "loud", "perhaps"], "The parameter 'loud' is declared as bool, got 'perhaps'"),
        (["-p", "count"], "expected 2 arguments"),
    ],
)
def test_batch_refuses_before_anything_runs(cli, notebook, tmp_path, arguments, message):
    path, out = notebook("raise AssertionError"), tmp_path / "done.ipynb"
    status, shown, err = cli("batch", path, out, *arguments)
    assert (status, shown) == (2, "")
    assert message in err
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "out", "message"),
    [
        ("none.ipynb", None, "There is no notebook 'none.ipynb'. Remedy: known: 01_quickstart.ipynb, "),
        ("text.ipynb", None, "text.ipynb is not a notebook"),
        ("tiny.ipynb", "done.html", "give a file name that ends in .ipynb"),
        ("tiny.ipynb", "../folder/tiny.ipynb", "would be overwritten"),
    ],
)
def test_batch_needs_a_notebook_and_a_place(cli, notebook, monkeypatch, name, out, message):
    path = notebook("1")
    monkeypatch.chdir(path.parent)
    Path("text.ipynb").write_text("import this")
    before = path.read_bytes()
    status, _, err = cli("batch", name, *([out] if out else []))
    assert status == 2
    assert message in err
    assert path.read_bytes() == before


def test_batch_runs_here_and_finds_defaults_beside_the_notebook(cli, notebook, monkeypatch, tmp_path):
    first = "model_path: str = 'm.onnx'\ndata_path: str = 'd.npz'\nstore: str = 's'\nn: int = 1"
    path = notebook("from pathlib import Path\nprint(Path.cwd().name, model_path, data_path, store, n)", first=first)
    for name in ("m.onnx", "d.npz", "s"):
        (path.parent / name).touch()
    here = tmp_path / "here {now}"
    here.mkdir()
    (here / "d.npz").touch()
    monkeypatch.chdir(here)
    status, out, _ = cli("batch", path, "-p", "n", "-2")
    assert status == 0
    assert f"here {{now}} {path.parent / 'm.onnx'} d.npz s -2\n" in out
    assert f"done      {here / 'tiny-out.ipynb'}" in out
    assert (here / "tiny-out.ipynb").is_file()


@pytest.mark.parametrize("by", ["deploykit", "papermill"])
def test_viewers_of_a_notebook_that_was_run_without_a_browser_show_the_static_form(by, cli, notebook, tmp_path):
    import papermill
    from nbconvert import HTMLExporter

    cells = "import deploykit as dk\nworkbench = dk.Workbench()\ndisplay(workbench, workbench.panel('data'))"
    path, out = notebook(cells), tmp_path / "out.ipynb"
    if by == "deploykit":
        assert cli("batch", path, out)[0] == 0
    else:
        papermill.execute_notebook(str(path), str(out), progress_bar=False)
    shown = nbformat.read(out, 4).cells[-1].outputs
    assert [set(o.data) for o in shown] == [{"text/plain", "text/html"}] * 2
    page, _ = HTMLExporter().from_notebook_node(nbformat.read(out, 4))
    assert page.count("report = dk.sweep(model, data") == 2  # the script, in what stands for the Workbench and a panel


def test_batch_ends_with_status_1_when_a_cell_fails(cli, notebook, tmp_path):
    path, out = (
        notebook("import deploykit as dk\nraise dk.GoalMissed('too slow.', remedy='wait.')"),
        tmp_path / "o.ipynb",
    )
    status, shown, err = cli("batch", path, out, "--json")
    assert (status, shown) == (1, "")
    assert f"failed in cell 2: GoalMissed: too slow. Remedy: wait. (executed notebook: {out})" in err
    assert nbformat.read(out, 4).cells[-1].outputs[0].ename == "GoalMissed"


def test_progress_lines_are_one_bar_in_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    live = headless.Live(stream)
    lines = io.StringIO()
    show = progress.Lines(lines)
    for done, phase in [(1, "build"), (3, "accuracy"), (4, "latency")]:
        show(Progress(phase, "work " * 20, done, 4, share=done / 4, candidates=4))
    for line in lines.getvalue().splitlines(keepends=True):
        live.write(line)
    live.write("after\nwards\n")
    before, *bars = stream.getvalue().split("\r\x1b[K")
    assert before == ""
    assert [b.count("█") for b in bars] == [6, 24]  # building and evaluating take turns: no line for each
    assert all(len(b) == 59 for b in bars[:-1])
    assert bars[-1].partition("\n")[2] == "after\nwards\n"


def test_a_notebook_that_is_not_installed():
    with pytest.raises(DeploykitError, match=r"no notebook '99_none\.ipynb' in .*notebooks"):
        notebooks.find("99_none.ipynb")


def test_the_demo_is_the_quickstart_with_its_store_here(cli, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(demo, "execute", lambda *given, **options: calls.append((given, options)))
    monkeypatch.chdir(tmp_path)
    status, out, _ = cli("demo", "-p", "launches=2", "-p", "space=x=y", "--json")
    assert status == 0
    (notebook, executed, parameters), options = calls[0]
    assert notebook.name == "01_quickstart.ipynb"
    assert executed == tmp_path / "runs" / "demo" / "01_quickstart.ipynb"
    assert parameters == {
        "model_path": "models/fashion_cnn.keras",
        "launches": 2,
        "space": "x=y",
        "store": str(tmp_path / "runs" / "demo"),
    }
    assert options == {"stream": sys.stderr}  # standard output is for the JSON
    assert json.loads(out)["store"] == str(tmp_path / "runs" / "demo")


def test_the_demo_starts_from_onnx_without_tensorflow(cli, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(demo, "execute", lambda *given, **options: calls.append(given))
    monkeypatch.setattr("deploykit.cli.demo.installed", lambda module: False)
    assert cli("demo", "--store", tmp_path)[0] == 0
    assert calls[0][2] == {"store": str(tmp_path)}


def test_the_demo_refuses_what_the_quickstart_does_not_know(cli, tmp_path):
    status, _, err = cli("demo", "--store", tmp_path, "-p", "lanches=2")
    assert status == 2
    assert "Unknown parameter of 01_quickstart.ipynb 'lanches'" in err


def test_lab_copies_what_the_workbench_needs_and_overwrites_nothing(cli, tmp_path):
    (tmp_path / "data").mkdir()
    mine = tmp_path / "data" / "fashion-mnist.npz"
    mine.write_bytes(b"my own")
    status, out, _ = cli("lab", "--folder", tmp_path, "--no-start", "--json")
    assert status == 0
    assert json.loads(out)["copied"] == [
        "02_workbench.ipynb", "models/fashion_cnn.keras", "models/fashion_cnn.onnx",
    ]  # fmt: skip
    assert mine.read_bytes() == b"my own"
    assert (tmp_path / "02_workbench.ipynb").read_bytes() == notebooks.find("02_workbench.ipynb").read_bytes()
    _, out, _ = cli("lab", "--folder", tmp_path, "--no-start", "--json")
    assert json.loads(out)["copied"] == []


def test_lab_starts_jupyter_on_the_notebook(cli, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("deploykit.cli.lab.subprocess.call", lambda command, cwd: calls.append((command, cwd)) or 0)
    status, _, _ = cli("lab", "--folder", tmp_path, "--", "--no-browser", "--port=8899")
    assert status == 0
    command, cwd = calls[0]
    assert command[1:4] == ["-m", "jupyterlab", f"--ServerApp.root_dir={tmp_path}"]
    assert (
        command[4] == "--LabApp.default_url=/lab/tree/02_workbench.ipynb"
    )  # the browser's page and the printed address
    assert command[-2:] == ["--no-browser", "--port=8899"]
    assert cli("lab", "--folder", tmp_path, "--no-browser")[0] == 0
    assert calls[-1][0][-1] == "--no-browser"
    assert ("--allow-root" in command) == (os.geteuid() == 0)
    assert Path(cwd) == tmp_path
