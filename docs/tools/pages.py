"""Sphinx extension: pictures with a dark version, and pages generated before the sources are read."""

from __future__ import annotations

import re
from typing import Any

from docs.tools import reference

#: A picture as GitHub shows it in the reader's theme. The site has a switch of its own, so it needs two images.
_PICTURE = re.compile(
    r'<picture><source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">'
    r'<img src="(?P<light>[^"]+)" alt="(?P<alt>[^"]+)"></picture>'
)


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", lambda app: reference.write())
    app.connect("source-read", _both_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _both_pictures(_app: Any, _name: str, source: list[str]) -> None:
    source[0] = _PICTURE.sub(_images, source[0])


def _images(found: re.Match[str]) -> str:
    return "\n\n".join(
        f"```{{image}} {found[theme]}\n:alt: {found['alt']}\n:class: only-{theme}\n```" for theme in ("light", "dark")
    )
