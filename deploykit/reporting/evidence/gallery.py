"""Examples whose answer a candidate changes, drawn for pages without a script: pictures, boxes, marked texts."""

from __future__ import annotations

import base64
import difflib
import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from deploykit.data.dataset import Dataset
from deploykit.reporting.evidence import pictures, samples
from deploykit.reporting.evidence.flips import Flip, Flips

#: Examples of each group, bytes of all pictures together, and characters of each text, at most.
MOST, MOST_BYTES, MOST_TEXT = 10, 600_000, 400
#: Longest side of a picture, and of one in which boxes are drawn, in pixels.
_SIDE, _SIDE_OF_BOXES = 128, 256
#: Sides below this are shown with square pixels.
_SMALL = 64
#: What boxes of each state are, in words.
_STATES = {
    "lost": "lost", "gained": "gained", "new": "new where there is none", "missed": "missed by both",
    "kept": "found by both",
}  # fmt: skip
CSS = """
.dk-flips{display:grid;grid-template-columns:repeat(auto-fill,minmax(116px,1fr));gap:12px 10px;padding:0;margin:8px 0;
 list-style:none}
.dk-flips.dk-boxed{grid-template-columns:repeat(auto-fill,minmax(196px,1fr))}
.dk-flips.dk-lines{grid-template-columns:minmax(0,1fr);gap:0}
.dk-flips li{font-size:13px;line-height:1.4;overflow-wrap:anywhere;min-width:0}
.dk-flips.dk-lines li{border-top:1px solid var(--dk-line);padding:6px 0}
.dk-flips img{display:block;width:100%;aspect-ratio:1;object-fit:contain;margin-bottom:3px;
 background:color-mix(in srgb,var(--dk-ink) 8%,var(--dk-back))}
.dk-flips .dk-pixelated{image-rendering:pixelated}
.dk-flips span{display:block}
.dk-flips .dk-good{color:var(--dk-good)}.dk-flips .dk-bad{color:var(--dk-bad)}
.dk-flips del{color:var(--dk-bad);text-decoration-thickness:2px}
.dk-flips ins{color:var(--dk-good);text-decoration-thickness:2px}
.dk-states{display:flex;flex-wrap:wrap;gap:4px 16px;padding:0;list-style:none;font-size:13px}
.dk-states i{display:inline-block;width:11px;height:11px;margin-right:6px;border:3px solid;vertical-align:-1px}
"""


@dataclass
class _Room:
    """What is left of the bytes that pictures may take."""

    left: int = MOST_BYTES
    states: set[str] = field(default_factory=set)
    cut: bool = False


def drawn(found: Flips, data: Dataset, *, texts: bool = False) -> str:
    """The examples as HTML, those first that changed most; "" where there are none.

    Args:
        found: The examples.
        data: The data they are of.
        texts: Whether answers are texts: the words that differ are marked.
    """
    groups = {name: found.group(name) for name, count in found.counts.items() if count}
    if not groups:
        return ""
    room, parts = _Room(), []
    for name, rows in groups.items():
        items = list(_items(rows[:MOST], found, data, room, texts=texts))
        kind = "" if any("<img" in item for item in items) else " dk-lines"
        kind = kind or (" dk-boxed" if texts or any(row.boxes for row in rows[:MOST]) else "")
        of = f"{len(items):,} of {len(rows):,}" if len(rows) > len(items) else f"{len(rows):,}"
        called = "both wrong, different" if name == "both wrong" else name
        parts.append(f"<h4>{called[:1].upper()}{called[1:]}: {of}</h4><ul class='dk-flips{kind}'>{''.join(items)}</ul>")
    return f"<h3>{_title(found)}</h3>{_said(found, room)}{_legend(room)}{''.join(parts)}"


def _title(found: Flips) -> str:
    if found.classes or found.boxes:
        return "Flipped predictions"
    return "Largest errors" if found.labelled else "Largest differences"


def _said(found: Flips, room: _Room) -> str:
    first = "that lost most confidence" if found.scores else "that changed most"
    words = f"At most {MOST} examples of each kind, those {first} first."
    if room.cut:
        words += f" Pictures end at {MOST_BYTES // 1000} kB; the others are in words."
    if found.derived:
        words += f" Confidence is the {html.escape(found.scores)}."
    return f'<p class="dk-soft">{words}</p>'


def _legend(room: _Room) -> str:
    shown = [(pictures.COLORS[state], words) for state, words in _STATES.items() if state in room.states]
    items = "".join(f'<li><i style="border-color:{color}"></i>{words}</li>' for color, words in shown)
    return f'<ul class="dk-states" aria-label="Colors">{items}</ul>' if items else ""


def _items(rows: Sequence[Flip], found: Flips, data: Dataset, room: _Room, *, texts: bool) -> Iterator[str]:
    for row in rows:
        side = _SIDE_OF_BOXES if row.boxes else _SIDE
        picture = pictures.png(data, row.example, found.split, side, row.boxes)
        if picture is not None and len(picture.data) > room.left:
            picture, room.cut = None, True
        if picture is not None:
            room.left -= len(picture.data)
            room.states |= {box.state for box in row.boxes}
            small = ' class="dk-pixelated"' if max(picture.width, picture.height) < _SMALL else ""
            address = base64.b64encode(picture.data).decode()
            shown = f'<img{small} src="data:image/png;base64,{address}" alt="{html.escape(described(row, found))}">'
        else:
            cells = "  ".join(samples.cells_of(data, row.example, found.split))
            shown = f'<span class="dk-soft">Sample {row.example}: {html.escape(_cut(cells))}</span>'
        yield f"<li>{shown}{_marked(row) if texts else _answers(row, found)}</li>"


def described(row: Flip, found: Flips) -> str:
    """What screen readers say of an example, as in the Workbench."""
    right = f", right answer {_cut(row.label)}" if row.label else ""
    said = f"sample {row.example}{right}: was {_cut(row.before)}, now {_cut(row.after)}"
    return said if found.classes else f"{said}, {_grown(row, found)}"


def _grown(row: Flip, found: Flips) -> str:
    if not math.isfinite(row.lost) or row.lost > 1e300:
        return "not a number"
    if found.boxes:
        many = abs(row.lost) != 1
        return f"{abs(row.lost):g} {'more' if row.lost >= 0 else 'fewer'} box{'es' if many else ''} wrong"
    return f"error larger by {row.lost:.3g}" if found.labelled else f"mean difference {row.lost:.3g}"


def _answers(row: Flip, found: Flips) -> str:
    """The former and the present answer, each with its mark."""
    before, after = html.escape(_cut(row.before)), html.escape(_cut(row.after))
    if not found.classes:
        right = f'<span class="dk-soft">right: {html.escape(_cut(row.label))}</span>' if row.label else ""
        return f'<span>{before} → {after}</span>{right}<span class="dk-soft">{_grown(row, found)}</span>'
    if not row.label:
        return f"<span>{before}</span><span>→ {after}</span>"
    marks = [" ✓" if answer == row.label else " ✗" for answer in (row.before, row.after)]
    kind = "dk-good" if row.after == row.label else "dk-bad"
    return f'<span>{before}{marks[0]}</span><span class="{kind}">{after}{marks[1]}</span>'


def _marked(row: Flip) -> str:
    """Both texts: the words that are gone marked in the former, those that came in the present one."""
    old, new = (_cut(text).split() for text in (row.before, row.after))
    was: list[str] = []
    now: list[str] = []
    for kind, start, end, begin, stop in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        for words, side, tag in ((old[start:end], was, "del"), (new[begin:stop], now, "ins")):
            text = html.escape(" ".join(words))
            if text:
                side.append(text if kind == "equal" else f"<{tag}>{text}</{tag}>")
    right = f'<span class="dk-soft">right: {html.escape(_cut(row.label))}</span>' if row.label else ""
    return f"<span>was: {' '.join(was)}</span><span>now: {' '.join(now)}</span>{right}"


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"
