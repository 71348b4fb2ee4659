"""The whole path as a person goes it: a model in the file browser, a sweep, a candidate, a server, a notebook."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from lab_driver import TOKEN, kernel_value, poll, run_button

from tests.measuring import variants

pytestmark = [pytest.mark.browser, pytest.mark.long(seconds=110)]

ROOT = Path(__file__).parents[2]
FOLDER = "path"


@pytest.fixture(scope="module")
def folder(lab):
    """A real model, whose first output gives the classes in another order, and real pictures, few enough for a sweep of
    seconds."""
    place = lab.root / FOLDER
    place.mkdir()
    onnx.save(variants.two_outputs(), place / "fashion.onnx")
    with np.load(ROOT / "notebooks/data/fashion-mnist.npz") as found:
        arrays = {"x": found["x_test"][:1500], "y": found["y_test"][:1500], "classes": found["classes"]}
    np.savez_compressed(place / "fashion.npz", **arrays)
    return place


@pytest.fixture
def page(lab, browser):
    page, outside = browser
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_viewport_size({"width": 1600, "height": 1300})
    yield page
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
    assert outside == []
    assert errors == []


def tab(page, name):
    return page.locator(".dk-Workbench .dk-tab", has_text=name)


def strip(page):
    return page.locator(".dk-strip-words")


def test_from_a_file_to_a_served_model_and_a_notebook(page, lab, folder):
    page.goto(f"{lab.url}/lab/tree/{FOLDER}?token={TOKEN}&reset")
    page.locator(".jp-DirListing-item", has_text="fashion.onnx").click(button="right")
    page.locator(".lm-Menu-item", has_text="Optimize with deploykit").click()
    tab(page, "Model").get_by_text("fashion.onnx").wait_for()
    tab(page, "Data").click()
    _load_data(page)
    tab(page, "Explore").click()
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    _choose_a_small_space(page)

    run = run_button(page)
    poll(page, lambda: run.count() and run.get_attribute("aria-disabled") is None, "the plan is made")
    run.click()
    page.get_by_role("progressbar", name="Sweep").wait_for()
    assert kernel_value(page, "workbench._state.sweeping") is True  # the kernel answers while the sweep runs
    poll(page, lambda: strip(page).inner_text().startswith("Done:"), "the sweep has ended", 300)

    picked = _click_a_point(page)
    assert kernel_value(page, "workbench.choice.key") == picked
    candidate = page.get_by_role("region", name="Candidate")
    candidate.get_by_text("Flipped predictions").wait_for()
    _look_at_flips(page, candidate)

    _export_and_serve(page, folder)
    _save_as_notebook(page, folder, picked)


def _load_data(page):
    """What does not fit is put right with one click each."""
    page.get_by_label("Path or variable").fill("fashion.npz")
    fields = page.get_by_role("group", name="Settings of arrays")
    fields.get_by_label("Classes").fill("a, b, a")
    fields.get_by_label("Classes").press("Tab")
    page.get_by_text("Classes must name each one once, 'a' is there twice.").wait_for()
    assert fields.get_by_label("Classes").input_value() == ""
    page.get_by_label("Scale").fill("a lot")
    page.get_by_role("button", name="Load", exact=True).click()  # the kernel refuses it, and nothing is loaded
    page.get_by_text("Scale must be a number or a fraction such as 1/255, got 'a lot'.").wait_for()
    assert page.get_by_label("Scale").input_value() == ""
    assert kernel_value(page, "workbench._state.data is None and not workbench._state.busy")
    page.get_by_role("button", name="Load", exact=True).click()
    page.get_by_role("img", name="sample").first.wait_for()
    page.get_by_role("tab", name="Data").locator(".dk-tab-wrong").wait_for()
    for remedy in ("Reshape to 28 × 28 × 1", 'Score output "class"', "Scale by 1/255"):
        page.get_by_role("button", name=remedy).click()
        page.get_by_role("button", name=remedy).wait_for(state="detached")
    page.locator(".dk-fits", has_text=re.compile(r"The original model: (8|9)\d % right")).wait_for()
    page.get_by_text(re.compile("samples (can resolve|give about)")).wait_for()
    assert page.get_by_label("Scale").input_value() == "1/255"
    assert page.get_by_label("Reshape").input_value() == "28, 28, 1"
    assert kernel_value(page, "workbench._state.plan.contract.scored.name") == "class"


def _choose_a_small_space(page):
    """Only int8, on one runtime; the slider of a technique moves by keys."""
    space = page.get_by_role("region", name="Space")
    space.get_by_role("button", name="More settings of Magnitude pruning").click()
    sparsity = space.get_by_role("slider", name="Sparsity").last
    before = sparsity.get_attribute("aria-valuenow")
    sparsity.press("ArrowRight")
    poll(page, lambda: sparsity.get_attribute("aria-valuenow") != before, "the slider moves")
    for name in ("Magnitude pruning", "Channel pruning", "Distillation"):
        space.get_by_role("checkbox", name=name, exact=True).click()
    poll(page, lambda: "left_out" in kernel_value(page, "workbench.code"), "the code follows the controls")
    for name in ("LiteRT", "OpenVINO", "TensorFlow"):
        space.get_by_role("button", name=name, pressed=True).click()
    left = "{target.runtime for target in workbench._state.space.targets} == {'onnxruntime'}"
    poll(page, lambda: kernel_value(page, left), "one runtime is left")


#: Where the chart is coloured, as pixels of the page at least 16 apart: its points are, axes and rules are gray.
_COLOURED = """() => {
    const canvas = document.querySelector('.dk-chart-canvas canvas');
    const box = canvas.getBoundingClientRect();
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const found = [];
    for (let at = 0; at < data.length; at += 4) {
        const [red, green, blue, alpha] = data.slice(at, at + 4);
        if (alpha < 200 || Math.max(red, green, blue) - Math.min(red, green, blue) < 60) continue;
        const x = box.left + (at / 4 % canvas.width) * box.width / canvas.width;
        const y = box.top + Math.floor(at / 4 / canvas.width) * box.height / canvas.height + 3;
        if (found.every(([a, b]) => Math.hypot(a - x, b - y) > 16)) found.push([x, y]);
    }
    return found;
}"""
#: What the card of the point under the pointer says. A card stays for a moment when the pointer has left its point, so
#: one that is there is looked at again when that moment has passed; and it stays while the pointer is in the card.
_CARD = """async () => {
    const words = () => document.querySelector('.dk-card .dk-card-name')?.textContent ?? '';
    const frames = async count => { while (count--) await new Promise(requestAnimationFrame); };
    await frames(9);  // as long as a card takes to open, and more
    if (words()) await frames(60);
    return document.querySelector('.dk-card:hover') ? '' : words();
}"""


def _click_a_point(page):
    """Click on the first point that a search with the pointer finds and that is not shown; returns its key."""
    shown = kernel_value(page, "workbench.choice.key")
    names = kernel_value(page, "{r.key: r.label for r in workbench.report.rows}")
    page.locator(".dk-chart-canvas canvas").scroll_into_view_if_needed()
    for x, y in page.evaluate(_COLOURED):
        page.mouse.move(x, y)
        name = page.evaluate(_CARD)
        if name and not name.startswith((names[shown], "original")):
            page.mouse.click(x, y)
            poll(page, lambda: kernel_value(page, "workbench._state.picked") != "", "a click picks a candidate", 30)
            return kernel_value(page, "workbench._state.picked")
    raise AssertionError("the pointer finds no other point")


def _look_at_flips(page, candidate):
    assert kernel_value(page, "workbench.choice.result.label") in candidate.inner_text()
    part = candidate.locator("section", has_text="Flipped predictions")
    part.scroll_into_view_if_needed()  # pictures are sent when they are near
    tiles = part.locator(".dk-flip img")
    poll(
        page,
        lambda: tiles.count() or part.get_by_text("answers match those of").count(),
        "flips, or that there are none",
    )


def _export_and_serve(page, folder):
    tab(page, "Export & serve").click()
    page.get_by_role("button", name="Export", exact=True).click()
    page.locator(".dk-checks").wait_for()
    poll(page, lambda: page.locator(".dk-checks .dk-check-done").count() >= 3, "the checks are ticked")
    assert next(folder.glob("**/manifest.json")).is_file()
    port = page.get_by_label("Port", exact=True)
    port.fill("80x")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("“80x” is not a port.").wait_for()
    assert port.input_value() == "8501"
    port.fill("0")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Try it", exact=True).click()
    page.get_by_role("table", name="Highest probabilities").wait_for()
    assert page.get_by_text("is not a port.").count() == 0
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Start", exact=True).wait_for()


def _save_as_notebook(page, folder, picked):
    page.get_by_role("button", name="Save as notebook").click()
    page.get_by_label("Save to").fill("mine.ipynb")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Saved mine.ipynb.").wait_for()
    page.get_by_role("button", name="Open", exact=True).click()  # in the kernel's folder, which is not the server's
    page.locator(".lm-TabBar-tab.lm-mod-current", has_text="mine.ipynb").wait_for()
    page.locator(".jp-NotebookPanel:visible").get_by_text("import deploykit as dk").first.wait_for()
    page.locator(".lm-TabBar-tab", has_text="fashion-optimize.ipynb").click()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Overwrite").wait_for()  # never over a file without asking
    keys = kernel_value(page, "sorted(r.key for r in workbench.report.rows)")
    kernel_value(page, "workbench.close()")
    command = [sys.executable, "-m", "papermill", "mine.ipynb", "out.ipynb", "-k", "python3", "--no-progress-bar"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    import deploykit as dk

    report = dk.Report.open(folder / "runs" / "fashion")
    assert sorted(r.key for r in report.rows) == keys  # the same candidates: nothing was made again
    out = json.loads((folder / "out.ipynb").read_text("utf-8"))
    source = "".join("".join(cell["source"]) for cell in out["cells"])
    assert f'report.choice_for("{picked}"' in source
