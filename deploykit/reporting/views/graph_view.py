"""A diff of two graphs as a still picture: its nodes in order, with what differs."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

from deploykit.measuring.graphs.diff import NodeDiff, State
from deploykit.reporting.numbers import DASH
from deploykit.reporting.views.table import CSS

#: Marks that distinguish states without color.
MARKS = {"same": "=", "changed": "~", "added": "+", "removed": "−", "fused": "⊂"}
_STYLE = """
.dk-report .dk-diff td{font-size:12px;padding:2px 8px}
.dk-report .dk-diff td.dk-words{white-space:normal;min-width:18em;max-width:46em;overflow-wrap:anywhere}
.dk-report .dk-diff .dk-mark{font-weight:700;text-align:center;color:#fff;padding:0}
.dk-report .dk-diff .dk-mark span{display:inline-block;min-width:1.5em;border-radius:3px}
.dk-report .dk-diff .dk-same span{background:#5b6470}
.dk-report .dk-diff .dk-changed span{background:#8a5a00}
.dk-report .dk-diff .dk-added span{background:#1b7340}
.dk-report .dk-diff .dk-removed span{background:#b3261e}
.dk-report .dk-diff .dk-fused span{background:#5b3fa8}
.dk-report .dk-diff .dk-rest td{font-style:italic}
"""
_FOLDERS = re.compile(r"(?:[^\s/;]+[/;])+(?=[^\s/;]+/[^\s/;]+(?:\s|$|:))")
#: Longer texts are cut: all of it is in their title.
_LONG = 140
_HEADS = (
    "", "Node", "Operator", "Before → after, µs", "Error, %", "Comes in here, %", "SNR, dB", "Range", "Saturated, %",
    "What differs",
)  # fmt: skip


def ending(text: str) -> str:
    """A text with the ends of the paths in it, by which people know nodes: exporters put a whole path into a name."""
    return _FOLDERS.sub("", text.partition(";")[0] if " " not in text else text)


def still(
    rows: Iterable[NodeDiff],
    counts: Mapping[State, int],
    said: Sequence[str],
    caption: str,
    *,
    top: int,
    all_nodes: bool,
) -> str:
    """The diff as HTML without scripts.

    Args:
        rows: The rows.
        counts: How many nodes are in each state.
        said: The summary and the notes.
        caption: What is compared.
        top: Rows at most.
        all_nodes: Whether nodes that are the same are shown.
    """
    shown: list[NodeDiff | int] = []
    for row in rows:
        if all_nodes or row.state != "same":
            shown.append(row)
        elif shown and isinstance(shown[-1], int):
            shown[-1] += 1
        else:
            shown.append(1)
    left = len(shown) - top
    body = [_rest(f"{row:,} the same") if isinstance(row, int) else _row(row) for row in shown[:top]]
    if left > 0:
        body.append(_rest(f"{left:,} more rows"))
    heads = "".join(f'<th scope="col">{html.escape(h)}</th>' for h in _HEADS)
    legend = " · ".join(f"{MARKS[state]} {count:,} {state}" for state, count in counts.items())
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in said[1:])
    return (
        f'<style>{CSS}{_STYLE}</style><div class="dk-report"><b>{html.escape(said[0])}</b><p>{legend}</p>'
        f'<div class="dk-scroll"><table class="dk-diff"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f"{notes}</div>"
    )


def _rest(words: str) -> str:
    return f'<tr class="dk-rest"><td></td><td colspan="{len(_HEADS) - 1}">{html.escape(words)}</td></tr>'


def _row(row: NodeDiff) -> str:
    old, new = (node.operator if node else "" for node in (row.before, row.after))
    operator = f"{old} → {new}" if old and new and old != new else new or old
    error = DASH if row.error is None else f"{100 * row.error:.3g}"
    snr = DASH if row.snr_db is None else "exact" if row.error == 0 else f"{row.snr_db:.1f}"
    words = "; ".join(row.changes) or (f"into {row.into}" if row.into else "")
    times = (
        f"{_micro(row.before_ms)} → {_micro(row.after_ms)}" if (row.before_ms, row.after_ms) != (None, None) else DASH
    )
    shown = ending(words)
    shown = shown if len(shown) <= _LONG else f"{shown[:_LONG]}…"
    name, said = (f' title="{html.escape(text)}"' for text in (row.node.name, words))
    cells = [html.escape(text) for text in (ending(row.node.name), operator)]
    own, beyond = (DASH if x is None else f"{100 * x:.3g}" for x in (row.own_error, row.saturated))
    span = " to ".join(f"{end:.3g}" for end in row.after_range) if row.after_range else DASH
    numbers = "".join(f'<td class="dk-n">{text}</td>' for text in (times, error, own, snr, span, beyond))
    mark = f'<td class="dk-mark dk-{row.state}"><span title="{row.state}">{MARKS[row.state]}</span></td>'
    return (
        f"<tr>{mark}<td{name}>{cells[0]}</td><td>{cells[1]}</td>{numbers}"
        f'<td class="dk-words"{said}>{html.escape(shown)}</td></tr>'
    )


def _micro(ms: float | None) -> str:
    return DASH if ms is None else f"{1000 * ms:.1f}"
