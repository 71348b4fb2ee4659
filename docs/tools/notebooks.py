"""The tutorials of the site: the notebooks, executed on small settings.

The tests execute them all, and what they leave in ``docs/tutorials`` is what the site shows. Building the site alone
executes those that are missing or stale.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "notebooks"
PAGES = ROOT / "docs" / "tutorials"
#: Held while tutorials are executed for their pages, and while the site is built from them.
LOCK = ROOT / "docs" / "_build" / "pages.lock"
#: Notebook → parameters that make it small. The quickstart starts from Keras here, as ``deploykit demo`` does: what it
#: starts from by itself is run in the environment of Binder.
SMALL: dict[str, dict[str, Any]] = {
    "01_quickstart": {
        "launches": 2,
        "max_drop": 0.05,
        "model_path": "models/fashion_cnn.keras",
        "space": "small.json",
    },
    "02_workbench": {"launches": 2, "blocking": True, "space": "small.json"},
    "03_sweep": {"launches": 2, "budget": "4 candidates", "model_path": "models/fashion_cnn.onnx"},
    "04_measuring": {"launches": 2, "model_path": "models/fashion_cnn.onnx"},
    "05_cluster": {"launches": 3, "model_path": "models/fashion_cnn.onnx"},
    "06_batch": {"launches": 2, "max_drop": 0.05, "space": "small.json"},
    "07_smaller_models": {"launches": 2, "max_drop": 0.05, "runtimes": "onnxruntime"},
    "08_serving": {"launches": 2, "max_drop": 0.05, "requests": 50},
    "09_fewer_bits": {
        "launches": 2,
        "max_drop": 0.05,
        "epochs": 1,
        "train_examples": 1000,
        "runtimes": "onnxruntime",
    },
    "10_export_everywhere": {"launches": 2, "max_drop": 0.05},
    "11_watch_and_update": {"launches": 2, "max_drop": 0.05, "max_differing": 0.08},
    "12_from_training_to_update": {"launches": 2, "max_drop": 0.05, "epochs": 2, "distill_epochs": 1},
    "13_every_task": {"launches": 2, "max_drop": 0.05, "others": "embedding", "more": "speech"},
    "14_every_format": {
        "launches": 2,
        "max_drop": 0.05,
        "runtimes": "torch, onnxruntime",
        "files": "pt2, pt, onnx",
        "epochs": 2,
    },
}
#: Both ways from Keras, and pruning with one short epoch.
_PRUNE = {"technique": "prune_magnitude", "parameters": {"sparsity": 0.5, "epochs": 1, "train_examples": 1000}}
#: Shown in its place on the site: the tutorials are documents, not records of one machine's folders.
_SHOWN_FOLDER = "notebooks"
#: Output that needs a kernel or scripts from elsewhere, or is there twice; each has a static form beside it.
_LIVE = ("application/vnd.jupyter.widget-view+json", "application/javascript", "image/jpeg")
_STAMP = "deploykit_docs"
_LINK = re.compile(r"`(\d\d_\w+)(?:\.ipynb)?`")
_NOTE = """```{note}
The next cell holds the parameters this page was made with: few launches and few candidates, to be quick. Expect
narrower intervals with the values above.
```"""


@contextmanager
def executed(name: str) -> Iterator[tuple[Path, Path]]:
    """Execute a notebook in a folder of its own and publish its page.

    Args:
        name: File name in ``notebooks`` without its ending.

    Yields:
        The executed notebook, and the folder of its store; both are gone afterwards, the page stays.
    """
    import papermill

    with tempfile.TemporaryDirectory(prefix="deploykit-docs-") as temporary:
        folder = Path(temporary).resolve() / "notebooks"
        shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("runs", ".ipynb_checkpoints"))
        _small_space().save(folder / "small.json")
        source, out = folder / f"{name}.ipynb", folder / f"{name}.out.ipynb"
        made_from = fingerprint(name)
        papermill.execute_notebook(str(source), str(out), SMALL[name], cwd=str(folder), progress_bar=False)
        here = json.dumps(str(folder))[1:-1]  # as it is written in JSON: backslashes are doubled there
        publish(name, out.read_text("utf-8").replace(here, _SHOWN_FOLDER), made_from)
        yield out, folder / "runs" / name.partition("_")[2]


def stale(name: str) -> bool:
    """Whether the site's page of a notebook is missing, or was executed from other sources."""
    try:
        page = json.loads((PAGES / f"{name}.ipynb").read_text("utf-8"))
    except (OSError, ValueError):
        return True
    return bool(page.get("metadata", {}).get(_STAMP) != fingerprint(name))


def fingerprint(name: str) -> str:
    """Digest of what decides a notebook's output here: its source, its settings and the code of the packages."""
    digest = hashlib.sha256(json.dumps(SMALL[name], sort_keys=True).encode())
    digest.update(Path(__file__).read_bytes())
    digest.update((SOURCES / f"{name}.ipynb").read_bytes())
    for package in (ROOT / "deploykit", ROOT / "widgets" / "deploykit_widgets"):
        for path in sorted(package.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _small_space() -> Any:
    import deploykit as dk

    prune = dk.Step(str(_PRUNE["technique"]), _PRUNE["parameters"])
    recipes = [dk.Recipe((dk.Step("quantize_static"),)), dk.Recipe((prune, dk.Step("quantize_dynamic")))]
    return dk.Space(recipes, [dk.Target("litert"), dk.Target("onnxruntime")])


def publish(name: str, executed_text: str, made_from: str) -> None:
    """Write the page: an executed notebook without anything that needs a kernel, a script or this machine.

    Args:
        name: File name in ``notebooks`` without its ending.
        executed_text: The executed notebook, as JSON.
        made_from: Its `fingerprint` from before it was executed.
    """
    import nbformat

    notebook = nbformat.reads(executed_text, 4)
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata.get("tags", [])}
        if cell.cell_type == "code":
            cell.outputs = list(_shown(cell.outputs))
        else:
            cell.source = _LINK.sub(r"[`\1`](\1.ipynb)", cell.source)
    injected = next(cell for cell in notebook.cells if "injected-parameters" in cell.metadata["tags"])
    notebook.cells.insert(notebook.cells.index(injected), nbformat.v4.new_markdown_cell(_NOTE))
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], _STAMP: made_from}
    PAGES.mkdir(parents=True, exist_ok=True)
    temporary = PAGES / f".{name}.part"
    temporary.write_text(nbformat.writes(notebook), "utf-8")
    temporary.replace(PAGES / f"{name}.ipynb")


def _shown(outputs: list[Any]) -> Iterator[Any]:
    """Output without what is live; lines that were printed one after the other are one block."""
    import nbformat

    from deploykit.reporting.views.drawing import MIME_TYPE

    printed = None
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if output.output_type == "stream" and printed is not None:
            printed.text += output.text
            continue
        printed = output if output.output_type == "stream" else None
        data = output.get("data", {})
        for mime in _LIVE:
            data.pop(mime, None)
        if chart := data.pop(MIME_TYPE, None):
            output.data = nbformat.from_dict({"text/html": _themed(chart), "text/plain": data["text/plain"]})
            data = output.data
        if "text/html" in data:  # the corner of a data frame is not the heading of anything
            data["text/html"] = data["text/html"].replace("<th></th>", "<td></td>")
        yield output


def _themed(chart: dict[str, Any]) -> str:
    """A chart as a picture for light pages and one for dark pages."""
    from deploykit.reporting.views.drawing import in_dark, picture

    light, dark = (
        picture(spec, chart["description"], f"only-{name}", dark=name == "dark", legend={})
        for name, spec in (("light", chart), ("dark", in_dark(chart)))
    )
    return light + dark
