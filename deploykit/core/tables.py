"""HTML for notebooks: plain tables in the colors of the JupyterLab theme, all text escaped, no scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_FONT = "font:var(--jp-ui-font-size1,13px)/1.4 var(--jp-ui-font-family,system-ui,sans-serif)"
_TEXT = "color:var(--jp-ui-font-color1,#222)"
_DIM = "color:var(--jp-ui-font-color2,#666)"
_LINE = "1px solid var(--jp-border-color2,#ddd)"
_CELL = f"padding:2px 12px 2px 0;border-bottom:{_LINE};text-align:left;vertical-align:top"
_NUMBER = f"{_CELL};text-align:right;font-variant-numeric:tabular-nums"


def card(title: str, subtitle: str, *parts: str) -> str:
    """A titled box.

    Args:
        title: Plain text.
        subtitle: Plain text, shown dimmed.
        parts: HTML that is safe already.
    """
    return (
        f'<div class="deploykit" style="{_FONT};{_TEXT};max-width:60em">'
        f'<div style="font-weight:600">{escape(title)}</div>'
        f'<div style="{_DIM};margin-bottom:6px">{escape(subtitle)}</div>{"".join(parts)}</div>'
    )


def table(header: Sequence[str], rows: Iterable[Sequence[object]], numeric: Sequence[int] = ()) -> str:
    """A table of plain values, each escaped.

    Args:
        header: Column names.
        rows: Values by row.
        numeric: Columns to align right.
    """

    def style(column: int) -> str:
        return _NUMBER if column in numeric else _CELL

    head = "".join(
        f'<th style="{style(i)};{_DIM};font-weight:600;background:transparent">{escape(name)}</th>'
        for i, name in enumerate(header)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{style(i)};overflow-wrap:anywhere">{escape(str(value))}</td>' for i, value in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<table style="border-collapse:collapse;{_FONT};{_TEXT};margin:0"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def fold(summary: str, content: str) -> str:
    """A part that is closed at first; ``content`` is HTML that is safe already."""
    return f'<details><summary style="cursor:pointer;{_DIM}">{escape(summary)}</summary>{content}</details>'


def notes(texts: Sequence[str]) -> str:
    """Warnings, one per line."""
    color = "color:var(--jp-warn-color0,#8a5300)"
    return "".join(f'<div style="{color}">⚠ {escape(text)}</div>' for text in texts)
