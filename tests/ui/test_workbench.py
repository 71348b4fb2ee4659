"""The Workbench in JupyterLab, driven in Chromium: clicks, points, keys, and nothing from the network."""

import pytest
from lab_driver import kernel_value, poll, run_all_cells

pytestmark = pytest.mark.browser

POINTS = ".dk-chart svg .mark-symbol path"


def open_bench(page, lab, notebook):
    run_all_cells(page, lab, notebook)
    run = page.get_by_role("button", name="Run sweep")
    poll(page, lambda: run.count() and run.is_enabled(), "the plan is made")
    return run


def wait_for_sweep(page):
    done = page.locator(".dk-strip:visible", has_text="Done:")
    poll(page, done.count, "the sweep has ended", 300)
    # Four layers draw a point a candidate; the last one, on top, takes the clicks.
    poll(page, lambda: page.locator(POINTS).count() >= 3 * 3, "three candidates are in the chart")


def tab(page, name):
    return page.locator(".dk-tabs .lm-TabBar-tab", has_text=name)


def test_sweep_pick_export_serve_and_try(lab, browser, notebook):
    page, outside = browser
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    run = open_bench(page, lab, notebook)
    assert page.locator(".dk-space").get_by_text("3 candidates").first.is_visible()

    run.click()
    page.locator(".dk-strip:visible [role=progressbar]").wait_for()
    assert kernel_value(page, "bench._state.sweeping") is True  # the kernel answers while the sweep runs
    wait_for_sweep(page)
    assert kernel_value(page, "sorted(r.status for r in bench.report.rows)") == ["measured"] * 3

    picked = _click_a_point_that_is_not_shown(page)
    candidate = page.locator(".dk-candidate")
    poll(page, lambda: kernel_value(page, "bench.choice.key") == picked, "the kernel knows the pick")
    poll(page, lambda: "picked" in candidate.inner_text(), "the candidate is shown")
    assert kernel_value(page, "bench.choice.result.label") in candidate.inner_text()
    assert page.locator(".dk-results tr.dk-shown").count() == 1
    assert f'report.choice_for("{picked}")' in page.locator(".dk-code pre").inner_text()

    tab(page, "Export & serve").click()
    page.locator(".dk-leave .dk-primary").click()
    page.locator(".dk-leave .dk-good", has_text="Verified").wait_for()
    assert (lab.root / "served" / "hostile" / "manifest.json").is_file()
    page.get_by_label("Port", exact=True).fill("0")
    page.get_by_label("Port", exact=True).press("Tab")
    page.get_by_role("button", name="Start server").click()
    page.locator(".dk-leave .dk-good", has_text="The server runs").wait_for()
    page.get_by_role("button", name="Try it").click()
    page.locator(".dk-answer", has_text="Prediction").wait_for()
    page.get_by_role("button", name="Stop server").click()
    page.locator(".dk-leave", has_text="The server is stopped").wait_for()

    for name in ("Model", "Data"):
        tab(page, name).click()
        assert page.get_by_text("<img src=x").first.is_visible()  # names are text
    assert page.evaluate("() => window.ran") is None
    kernel_value(page, "bench.close()")
    assert outside == []
    assert errors == []


def _click_a_point_that_is_not_shown(page):
    """Click the mark on top of a candidate that the panels do not show; returns its key."""
    shown = kernel_value(page, "bench.choice.key")
    keys = kernel_value(page, "[p['key'] for p in bench.tradeoff_panel.chart._rows['points']]")
    marks = page.locator(".dk-chart svg .mark-symbol").last.locator("path")
    poll(page, lambda: marks.count() == len(keys), "the marks that take clicks are drawn")
    marks.first.scroll_into_view_if_needed()  # the mouse clicks where it is told, seen or not
    boxes = []

    def settled():
        """Whether the chart has stopped moving."""
        before = list(boxes)
        boxes[:] = [marks.nth(i).bounding_box() for i in range(len(keys))]
        return boxes == before

    poll(page, settled, "the chart stands still")
    own = boxes[keys.index(shown)]  # marks may lie on each other: the farthest one is clear of the one that is shown
    box = max(boxes, key=lambda b: abs(b["x"] - own["x"]) + abs(b["y"] - own["y"]))
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    poll(page, lambda: kernel_value(page, "bench.choice.key") != shown, "a click picks a candidate")
    return kernel_value(page, "bench.choice.key")


def test_everything_can_be_reached_by_keys(lab, browser, notebook):
    page, _ = browser
    run = open_bench(page, lab, notebook)
    run.focus()
    page.keyboard.press("Enter")
    wait_for_sweep(page)
    pick = page.get_by_label("Show", exact=True)
    cells = page.locator(".jp-Cell").count()
    pick.focus()
    page.keyboard.press("ArrowDown")
    poll(page, lambda: kernel_value(page, "bool(bench._state.picked)"), "the arrow key picks a candidate")
    page.keyboard.press("x")  # cuts the cell, in command mode
    assert page.locator(".jp-Cell").count() == cells
    page.locator(".dk-tabs .lm-TabBar-tab.lm-mod-current").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    poll(page, lambda: page.locator(".dk-leave").is_visible(), "the arrow key leads to the next tab")
    page.get_by_label("Folder", exact=True).focus()
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Export"
    kernel_value(page, "bench.close()")


def test_a_reloaded_page_shows_the_points_again(lab, browser, notebook):
    page, _ = browser
    open_bench(page, lab, notebook).click()
    wait_for_sweep(page)
    before = page.locator(POINTS).count()
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    page.locator(".dk-Workbench").wait_for()
    poll(page, lambda: page.locator(POINTS).count() == before, "the chart has its points")
    kernel_value(page, "bench.close()")


def test_nothing_sticks_out_at_any_width(lab, browser, notebook):
    page, _ = browser
    open_bench(page, lab, notebook)
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    for width in (1400, 1000, 760):
        page.set_viewport_size({"width": width, "height": 1000})
        for name in ("Model", "Data", "Export & serve", "Explore"):
            tab(page, name).click()
            assert _sticking_out(page) == [], f"{name} at {width}"
    kernel_value(page, "bench.close()")


def _sticking_out(page):
    """Elements that end right of the Workbench, but for what scrolls."""
    return page.locator(".dk-Workbench").evaluate(
        """root => {
            const limit = root.getBoundingClientRect().right + 1;
            const scrolls = e => e.closest('.dk-scroll, pre, .dk-unseen, .lm-TabBar');
            return [...root.querySelectorAll('*')].filter(e => !scrolls(e) && e.offsetParent
                && e.getBoundingClientRect().right > limit).map(e => e.className || e.tagName);
        }"""
    )
