"""How many channels each layer has lost."""

from __future__ import annotations

from typing import Any

from deploykit.core.errors import CandidateError
from deploykit.core.result import Result
from deploykit.reporting.views.tradeoff import DARK, LIGHT

#: Note of a technique that removes channels: ``{layer: [channels before, channels after]}``, in order.
NOTE = "channels"
_SIDES = ("original", "this candidate")
#: Parts of a long name that are shown: exporters put a whole path into it.
_PARTS = 2


def counts(row: Result) -> dict[str, tuple[int, int]]:
    """Channels of each layer that has lost some, before and after, in the order in which layers run."""
    found = [notes[NOTE] for notes in row.notes.values() if isinstance(notes, dict) and NOTE in notes]
    return {layer: (int(before), int(after)) for layer, (before, after) in found[-1].items()} if found else {}


def short(layer: str) -> str:
    """The end of a layer's name, by which people know it."""
    return "/".join(layer.split("/")[-_PARTS:])


def bars(row: Result) -> list[dict[str, Any]]:
    """Two bars for each layer, in order."""
    shown: list[dict[str, Any]] = []
    taken: dict[str, int] = {}
    for order, (layer, sides) in enumerate(counts(row).items()):
        name = short(layer)
        taken[name] = taken.get(name, 0) + 1
        name += f" ({taken[name]})" if taken[name] > 1 else ""  # bars of one name would be drawn as one
        shown += [
            {"order": order, "layer": name, "side": side, "channels": count}
            for side, count in zip(_SIDES, sides, strict=True)
        ]
    return shown


def chart(row: Result, *, dark: bool = False, width: int = 560) -> Any:
    """The bars as an Altair object; see `bars` for its data.

    Raises:
        CandidateError: None of its steps has removed channels.
    """
    import altair as alt

    if not (data := bars(row)):
        raise CandidateError(
            f"No step of {row.label} has removed channels.", remedy="choose a candidate with prune_channels."
        )
    palette = DARK if dark else LIGHT
    totals = [sum(b["channels"] for b in data if b["side"] == side) for side in _SIDES]
    return (
        alt.Chart(_values(alt, data))
        .mark_bar()
        .encode(
            y=alt.Y("layer:N", title=None, axis=alt.Axis(labelLimit=320), sort=alt.EncodingSortField("order")),
            yOffset=alt.YOffset("side:N", sort=list(_SIDES)),
            x=alt.X("channels:Q", title="Channels", stack=None),
            color=alt.Color("side:N", title=None, scale=alt.Scale(domain=list(_SIDES), range=list(palette[:2]))),
            tooltip=[alt.Tooltip("layer:N"), alt.Tooltip("side:N"), alt.Tooltip("channels:Q")],
        )
        .properties(
            width=width,
            description=f"Channels of each layer: {totals[0]:,} in the original, {totals[1]:,} in this candidate.",
        )
    )


def _values(alt: Any, rows: list[dict[str, Any]]) -> Any:
    return alt.Data(values=rows)
