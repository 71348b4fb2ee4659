"""Where the time of a candidate goes, layer by layer, beside float32 on the same runtime."""

from __future__ import annotations

from typing import Any

from deploykit.measuring.profile_match import Comparison
from deploykit.reporting.views.tradeoff import DARK, LIGHT

_SIDES = ("float32", "this candidate")
_REST = "all others"


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """One flat record for each layer in the order of execution, with the same keys; unknown values are None."""
    return [
        {
            "layer": x.name or x.operator,
            "node": x.node,
            "operator": x.operator,
            "kernel": x.kernel,
            "kind": x.kind,
            "quantized": x.quantized,
            "float_ms": x.float_ms,
            "ms": x.ms,
            "ratio": x.ratio,
        }
        for x in comparison.layers
    ]


def bars(comparison: Comparison, top: int = 15) -> list[dict[str, Any]]:
    """Two bars for each of the ``top`` slowest layers in the order of execution, and two for the rest."""
    found = comparison.layers
    places = sorted(range(len(found)), key=lambda i: -max(found[i].float_ms or 0.0, found[i].ms or 0.0))[:top]
    shown: list[dict[str, Any]] = []
    taken: dict[str, int] = {}
    for order, i in enumerate(sorted(places)):
        layer = found[i]
        name = f"{layer.name} · {layer.operator}" if layer.name not in {"", layer.operator} else layer.operator
        taken[name] = taken.get(name, 0) + 1
        name += f" ({taken[name]})" if taken[name] > 1 else ""  # bars of one name would be drawn as one
        for side, value in zip(_SIDES, (layer.float_ms, layer.ms), strict=True):
            kernel = layer.kernel if side == _SIDES[1] else ""
            shown.append({"order": order, "layer": name, "side": side, "ms": value or 0.0, "kernel": kernel})
    named = set(places)
    rest = [x for i, x in enumerate(found) if i not in named]
    if rest:
        sums = (sum(x.float_ms or 0.0 for x in rest), sum(x.ms or 0.0 for x in rest))
        name = f"{_REST} ({len(rest)})"
        shown += [
            {"order": len(places), "layer": name, "side": side, "ms": value, "kernel": ""}
            for side, value in zip(_SIDES, sums, strict=True)
        ]
    return shown


def chart(comparison: Comparison, *, top: int = 15, dark: bool = False, width: int = 560) -> Any:
    """The bars as an Altair object; see `bars` for its data."""
    import altair as alt

    data = bars(comparison, top)
    palette = DARK if dark else LIGHT
    order = alt.EncodingSortField("order", order="ascending")
    return (
        alt.Chart(_values(alt, data))
        .mark_bar()
        .encode(
            y=alt.Y("layer:N", title=None, axis=alt.Axis(labelLimit=320), sort=order),
            yOffset=alt.YOffset("side:N", sort=list(_SIDES)),
            x=alt.X("ms:Q", title="Time of one inference, ms"),
            color=alt.Color("side:N", title=None, scale=alt.Scale(domain=list(_SIDES), range=list(palette[:2]))),
            tooltip=[
                alt.Tooltip("layer:N"), alt.Tooltip("side:N"), alt.Tooltip("ms:Q", format=".4f"),
                alt.Tooltip("kernel:N"),
            ],
        )
        .properties(
            width=width,
            description=f"Time of each layer: {comparison.float_ms:.3f} ms in float32, {comparison.ms:.3f} ms here.",
        )
    )  # fmt: skip


def _values(alt: Any, rows: list[dict[str, Any]]) -> Any:
    return alt.Data(values=rows)
