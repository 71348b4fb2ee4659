"""The report's page as it is opened from a file, without a network."""

from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

import deploykit as dk
from deploykit.reporting.evidence import gallery
from deploykit.reporting.evidence.flips import Flip, FlippedBox, Flips

pytestmark = pytest.mark.browser

FINISHED = Path(__file__).parents[2] / "notebooks" / "finished"
WIDTHS = (1400, 1000, 700)
#: Elements that end beyond the page, and those whose content is cut off or must be scrolled to.
_CUT = """
() => [...document.querySelectorAll('main *')].filter(e => !e.closest('thead') || getComputedStyle(e.closest('thead'))
        .position !== 'absolute').filter(e => e.getClientRects().length && (e.getBoundingClientRect().right > innerWidth
        || (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible'))).map(e => e.outerHTML)
"""
#: Texts of the chart that leave its picture, drawn in a font that is wider than the one they were measured with.
_TEXTS = """
async wide => {
    const image = [...document.querySelectorAll('.dk-chart img')].find(e => e.getClientRects().length);
    const text = await (await fetch(image.src)).text();
    const host = document.createElement('div');
    host.innerHTML = text;
    document.body.append(host);
    const svg = host.querySelector('svg');
    const room = svg.getBoundingClientRect();
    const found = [];
    for (const label of svg.querySelectorAll('text')) {
        label.setAttribute('font-family', wide);
        const box = label.getBoundingClientRect();
        if (box.width && (box.left < room.left - 0.5 || box.right > room.right + 0.5
            || box.top < room.top - 0.5 || box.bottom > room.bottom + 0.5)) {
            found.push(label.textContent);
        }
    }
    const count = svg.querySelectorAll('text').length;
    host.remove();
    return { found, count };
}
"""


def with_flips():
    """The page with flipped examples: pictures, boxes, and texts whose words differ."""
    random = np.random.default_rng(0)
    data = dk.Dataset.from_arrays(random.integers(90, 160, (60, 40, 30, 3), np.uint8), np.arange(60) % 2)
    rows = [
        Flip(i, ("now wrong", "now right")[i % 2], "shirt", "shirt", "a coat that is long", 0.9, 0.8, 0.5)
        for i in range(16)
    ]
    boxes = (FlippedBox((0.1, 0.1, 0.6, 0.8), "bus", "lost"), FlippedBox((0.5, 0.2, 0.9, 0.6), "bus", "gained"))
    boxed = [Flip(i, "now wrong", "1 bus", "1 bus", "none", None, None, 1.0, boxes=boxes) for i in range(5)]
    text = Flip(0, "both wrong", "one two", "one " * 40 + "two", "one three", None, None, 0.5)
    words = dk.Dataset.from_text(["words"] * 60)
    parts = [
        gallery.drawn(Flips(tuple(rows), 60, "evaluation", classes=True, labelled=True, scores="softmax"), data),
        gallery.drawn(Flips(tuple(boxed), 60, "evaluation", classes=False, labelled=True, boxes=True), data),
        gallery.drawn(Flips((text,), 60, "evaluation", classes=True, labelled=True), words, texts=True),
    ]
    page = dk.Report.open(FINISHED).to_html()
    return page.replace("<h2>All candidates</h2>", "".join(parts) + "<h2>All candidates</h2>")


def test_all_of_the_page_is_seen_at_every_width_and_axe_finds_nothing(browser, tmp_path):
    shared, _outside = browser
    address = tmp_path / "report.html"
    address.write_text(with_flips(), "utf-8")
    found, asked = [], []
    for theme in ("light", "dark"):
        context = shared.context.browser.new_context(color_scheme=theme, offline=True)
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.goto(address.as_uri())
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 1000})
            found += [(theme, width, out) for out in page.evaluate(_CUT)]
            found += [(theme, width, v["id"]) for v in Axe().run(page).response["violations"]]
            texts = page.evaluate(_TEXTS, "DejaVu Sans, Verdana, sans-serif")
            assert texts["count"] > 20
            found += [(theme, width, out) for out in texts["found"]]
        page.bring_to_front()
        page.keyboard.press("Tab")  # to the table
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.tagName") == "SUMMARY"
        page.keyboard.press("Enter")
        page.locator("details[open]").wait_for()
        assert page.get_by_text("Best so far: int8 static").is_visible()
        context.close()
    assert found == []
    assert all(url.startswith(("file://", "data:")) for url in asked)
