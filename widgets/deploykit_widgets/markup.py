"""Pieces of HTML. All text from models, data and results passes through `text`."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Shapes of the families of techniques, as in the chart; the paths fit a box from -5 to 5.
_GLYPHS = {
    "original": '<circle r="4"/>',
    "quantize": '<rect x="-3.6" y="-3.6" width="7.2" height="7.2"/>',
    "prune": '<path d="M0-4.4 4.6 3.6-4.6 3.6Z"/>',
    "prune + quantize": '<path d="M0-5 4.6 0 0 5-4.6 0Z"/>',
    "other": '<path d="M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3Z"/>',
}


def text(value: object) -> str:
    """Escaped text, also fit for attribute values in quotes."""
    return html.escape(str(value), quote=True)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = (), label: str = "") -> str:
    """A table of cells that are HTML already; ``numbers`` are the columns to align right."""
    right = set(numbers)

    def cell(tag: str, place: int, content: str) -> str:
        kind = ' class="dk-n"' if place in right else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{kind}{scope}>{content}</{tag}>"

    top = "".join(cell("th", i, c) for i, c in enumerate(head))
    body = "".join("<tr>" + "".join(cell("td", i, c) for i, c in enumerate(row)) + "</tr>" for row in rows)
    named = f' aria-label="{text(label)}"' if label else ""
    return f"<table{named}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and values; the values are HTML already."""
    return '<dl class="dk-facts">' + "".join(f"<dt>{text(k)}</dt><dd>{v}</dd>" for k, v in pairs) + "</dl>"


def problem(words: str) -> str:
    """An error message; "" when there is none."""
    if not words:
        return ""
    return f'<div class="dk-problem" role="alert"><span aria-hidden="true">✗</span> {text(words)}</div>'


def note(words: str) -> str:
    """Secondary text that is HTML already."""
    return f'<div class="dk-note">{words}</div>' if words else ""


def heading(title: str, aside: str = "") -> str:
    """A panel's title; ``aside`` stands at its right."""
    return f'<div class="dk-heading"><h3>{text(title)}</h3><span class="dk-soft">{text(aside)}</span></div>'


def glyph(family: str, color: int, *, filled: bool = True) -> str:
    """The mark of a candidate as it is in the chart."""
    kind = "dk-filled" if filled else "dk-hollow"
    shape = _GLYPHS.get(family, _GLYPHS["other"])
    return f'<svg class="dk-glyph dk-c{color} {kind}" viewBox="-6 -6 12 12" aria-hidden="true">{shape}</svg>'


def picture(image: NDArray[Any], label: str, size: int = 56) -> str:
    """An image as ``<img>`` with a PNG inside.

    Args:
        image: (height, width) or (height, width, channel) with 1, 3 or 4 channels, bytes.
        label: What it shows, for screen readers.
        size: Width in CSS pixels.
    """
    from PIL import Image

    squeezed = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    drawn = Image.fromarray(squeezed)
    drawn.thumbnail((160, 160))  # never enlarges: small images stay sharp, large ones stay light
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img width="{size}" src="data:image/png;base64,{data}" alt="{text(label)}" title="{text(label)}">'


def count(number: int, one: str, many: str = "") -> str:
    """``1 candidate``, ``2 candidates``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
