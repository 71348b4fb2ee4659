"""The site in a real browser: axe finds nothing, nothing is clipped, and nothing is asked of another machine."""

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe

from docs.tools import site

pytestmark = [pytest.mark.browser, pytest.mark.notebook]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
#: One page of each kind: text, executed notebooks, tables, generated commands, names from docstrings, pictures.
KINDS = (
    "index",
    "tutorials/01_quickstart",
    "tutorials/04_measuring",
    "workbench",
    "how-to/add-a-technique",
    "reference/commands",
    "reference/formats-and-runtimes",
    "reference/api/models-and-data",
    "explanation/noise",
    "search",
)


@pytest.fixture(scope="module")
def page(pages):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser.new_page()
        browser.close()


@pytest.mark.parametrize("name", KINDS)
def test_a_page_in_both_themes_and_widths(name, page):
    asked, problems = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: problems.append(str(e)))
    for theme, width in (("light", 1400), ("dark", 400)):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 900})
        page.goto((site.HTML / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for image in page.locator("img:visible").all():
            assert image.evaluate("i => i.complete && i.naturalWidth > 0"), image.get_attribute("src")
        page.evaluate("Promise.all(document.getAnimations().map(animation => animation.finished))")
        violations = Axe().run(page).response["violations"]
        problems += [f"{theme}: {v['id']}: {v['nodes'][0]['html'][:200]}" for v in violations]
    assert problems == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_pictures_follow_the_switch(page):
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1400, "height": 900})
    page.goto((site.HTML / "workbench.html").as_uri())
    light, dark = page.locator("img.only-light").first, page.locator("img.only-dark").first
    assert light.is_visible()
    assert not dark.is_visible()
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert dark.is_visible()
    assert not light.is_visible()


def test_the_search_finds_a_name(page):
    page.goto((site.HTML / "search.html").as_uri() + "?q=max_drop")
    page.locator("#search-results ul.search li").nth(3).wait_for()  # they come one after the other
