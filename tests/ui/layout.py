"""What a person would miss in the Workbench at the present size of the window."""

import re
import time
from typing import Any

from lab_driver import poll, run_button

RUN = re.compile(r"^Run \d+ candidates?, about .+|^No changes to apply$")
NAME_PX = 220
STAY_S = 5

#: The Workbench at the top of the window, after all that watches sizes has answered.
_SETTLE = """e => new Promise(done => {
    e.scrollIntoView({ block: 'start' });
    let frames = 12;
    const next = () => frames-- ? requestAnimationFrame(next) : done();
    next();
})"""
#: Whether an element is in sight with all its corners, and nothing is above it.
_IN_SIGHT = """e => {
    const { left, right, top, bottom } = e.getBoundingClientRect();
    return [[left + 4, top + 4], [right - 4, top + 4], [left + 4, bottom - 4], [right - 4, bottom - 4]]
        .every(([x, y]) => e.contains(document.elementFromPoint(x, y)));
}"""
#: How many pixels an element ends right of the room that what it is in has for it.
_BEYOND = """(e, holder) => {
    const around = e.closest(holder);
    const { paddingRight, borderRightWidth } = getComputedStyle(around);
    const end = around.getBoundingClientRect().right - parseFloat(paddingRight) - parseFloat(borderRightWidth);
    return e.getBoundingClientRect().right - end;
}"""


def compare_two(page: Any) -> None:
    """Wait for the results and the plan, and mark A and B in the table."""
    page.locator(".dk-chart-canvas canvas").wait_for(timeout=60_000)
    poll(page, lambda: run_button(page).inner_text().startswith("Run "), "the button says what it starts", 30)
    rows = page.get_by_role("grid", name="Candidates").locator(".dk-grid-row")
    rows.filter(has_text="int8 dynamic").click()  # by names: their order is that of latencies, and these are close
    rows.filter(has_text="int8 static").click(modifiers=["Shift"])
    for letter, name in (("A", "dynamic"), ("B", "static")):
        page.locator(".dk-chosen-row", has_text=f"int8 {name}").get_by_role("checkbox", name=letter).wait_for()
    page.locator(".dk-numbers-three").wait_for()


def settle(bench: Any) -> None:
    """Put it at the top of the window, and wait until it has answered to a change of its size."""
    bench.evaluate(_SETTLE)


def in_sight(element: Any) -> bool:
    return bool(element.evaluate(_IN_SIGHT))


def faults(page: Any) -> list[str]:
    """Faults of the Explore view, which compares two candidates, that stay; none where all is as it should be."""
    end = time.monotonic() + STAY_S
    while (found := _faults(page)) and time.monotonic() < end:
        page.wait_for_timeout(100)  # a busy machine answers late to a new size
    return found


def _faults(page: Any) -> list[str]:
    bench = page.locator(".dk-Workbench").first
    settle(bench)
    found = []
    run = run_button(page)
    if not RUN.match(words := run.inner_text()):
        found.append(f"the button says {words!r}")
    if not in_sight(run):
        found.append(f"the button is not in sight: {run.bounding_box()}")
    name = bench.locator(".dk-grid-row:not(.dk-failed) .dk-grid-name").first.bounding_box()["width"]
    if name < NAME_PX:
        found.append(f"the candidate's column has {name} px")
    for selector, holder in (
        (".dk-grid [role=columnheader] >> nth=-1", ".dk-grid"),
        (".dk-grid-row:not(.dk-failed) .dk-grid-cell >> nth=-1", ".dk-grid"),
        (".dk-numbers-three", ".dk-part"),
    ):
        beyond = bench.locator(selector).evaluate(_BEYOND, holder)
        if beyond > 1:
            found.append(f"{selector} ends {beyond} px beyond {holder}")
    if (last := bench.get_by_role("columnheader").filter(has_text="Size, kB")).count() != 1 or not last.is_visible():
        found.append("Size is not shown")
    return found + [f"sticks out: {what}" for what in sticking_out(page)]


def sticking_out(page: Any) -> list[str]:
    """Elements that end right of the Workbench, but for what scrolls and what only screen readers see; and text that is
    cut off without three dots."""
    return page.locator(".dk-Workbench").first.evaluate(
        """root => {
            const limit = root.getBoundingClientRect().right + 1;
            const scrolls = e => {
                for (let p = e.parentElement; p && p !== root; p = p.parentElement) {
                    if (/auto|scroll|hidden/.test(getComputedStyle(p).overflowX)) return true;
                }
                return e.closest('.dk-unseen');
            };
            const isCut = e => {
                const style = getComputedStyle(e);
                return style.overflowX === 'hidden' && style.textOverflow !== 'ellipsis' && e.clientWidth > 1
                    && e.scrollWidth > e.clientWidth + 1 && !e.closest('.dk-unseen');
            };
            return [...root.querySelectorAll('*')].filter(e => e.getClientRects().length
                && (e.getBoundingClientRect().right > limit && !scrolls(e) || isCut(e)))
                .map(e => e.className || e.tagName);
        }"""
    )
