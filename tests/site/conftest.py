import os
import subprocess
import sys
from html.parser import HTMLParser

import filelock
import pytest

from docs.tools import notebooks, site


@pytest.fixture(scope="session")
def pages():
    """The built site: path below its folder → page, built once in a run by the command of ``make docs``."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    built = notebooks.LOCK.with_name("built")
    notebooks.LOCK.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(notebooks.LOCK):
        if not (run and built.is_file() and built.read_text("utf-8") == run):
            built.unlink(missing_ok=True)
            done = subprocess.run(
                [sys.executable, "-m", "docs.tools.site"],
                cwd=site.DOCS.parent,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            built.write_text(run, "utf-8")
    files = [path for path in site.HTML.rglob("*.html") if "_static" not in path.parts]
    found = {path.relative_to(site.HTML).as_posix(): Page(path) for path in files}
    assert len(found) > 30
    return found


class Page(HTMLParser):
    """What the tests ask of a page.

    Attributes:
        path: The file.
        elements: Every element as (tag, attributes), in order.
        ids: All targets of links.
    """

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.elements = []
        self.ids = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        self.elements.append((tag, given))
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}

    def all(self, *tags):
        """Attributes of all elements with one of these tags."""
        return [given for tag, given in self.elements if tag in tags]
