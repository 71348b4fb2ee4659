"""HTML for notebooks: plain tables in the colors of the JupyterLab theme, all text escaped, no scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploykit.core.model import Model, TensorSpec

#: Layers shown; the rest is counted.
MAX_LAYERS = 200

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


def model_html(model: Model) -> str:
    """A model as a card: facts, warnings, signature, and the layers folded away."""
    shown = Path(model.origin or model.path).name
    count = f"{len(model.layers):,} layer{'s' if len(model.layers) != 1 else ''}"
    facts = (
        f"{model.format} · {model.parameter_count:,} parameters · {model.size_bytes / 1000:,.0f} kB · "
        f"{count} · sha256 {model.digest[:12]}"
    )
    signature = table(
        ("signature", "name", "type", "shape"),
        [
            *(("input", spec.name, _kind(spec), _shape(spec.shape)) for spec in model.inputs),
            *(("output", spec.name, _kind(spec), _shape(spec.shape)) for spec in model.outputs),
        ],
    )
    layers = table(
        ("layer", "type", "output shape", "parameters"),
        [
            (layer.name, layer.type, _shape(layer.shape), f"{layer.parameters:,}" if layer.parameters else "")
            for layer in model.layers[:MAX_LAYERS]
        ],
        numeric=(3,),
    )
    hidden = len(model.layers) - MAX_LAYERS
    title = count + (f" (the first {MAX_LAYERS})" if hidden > 0 else "")
    return card(shown, facts, notes(model.warnings), signature, fold(title, layers) if model.layers else "")


def _kind(spec: TensorSpec) -> str:
    return f"{spec.dtype} × {spec.scale:.6g}, zero {spec.zero_point}" if spec.scale else spec.dtype


def _shape(shape: tuple[int | None, ...] | None) -> str:
    return "" if shape is None else " × ".join("?" if d is None else str(d) for d in shape) or "scalar"
