"""Charts of explanations: plain rows first, then Altair."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deploykit.reporting import numbers
from deploykit.reporting.attribution.explained import Explained, InputExplanation
from deploykit.reporting.views.images import address, as_picture, overlaid
from deploykit.reporting.views.tradeoff import DARK, LIGHT

if TYPE_CHECKING:
    from numpy.typing import NDArray


#: Side of a map, pixels, and bars at most.
_SIDE = 200
_BARS = 20
_LEGEND = "blue speaks for the answer, orange against it; full color is ±"


def panels(found: Explained, place: int) -> list[dict[str, Any]]:
    """The example and a map for each model, as images with titles.

    Args:
        found: What is drawn.
        place: Of the input.
    """
    import numpy as np

    part = found.parts[place]
    picture = picture_of(part)
    both = [(found.against, found.against.parts[place])] if found.against is not None else []
    sides = [*both, (found, part)]
    largest = max(float(np.abs(flat(one.values)).max()) for _, one in sides)
    rows: list[dict[str, Any]] = []
    if picture is not None:
        rows.append({"title": "the example", "image": picture})
    rows += [
        {"title": model.model, "image": overlaid(picture, flat(one.values), largest), "largest": largest}
        for model, one in sides
    ]
    return rows


def picture_of(part: InputExplanation) -> NDArray[Any] | None:
    """The example as an image of the map's size, None if it is none."""
    if part.example is None or part.kind != "image":
        return None
    found = as_picture(part.example)
    return found if found is not None and found.shape[:2] == part.values.shape else None


def flat(values: NDArray[Any]) -> NDArray[Any]:
    """A map of two dimensions: the mean over those before."""
    while values.ndim > 2:
        values = values.mean(axis=0)
    return values


def bars(found: Explained, place: int) -> list[dict[str, Any]]:
    """Values of columns, tokens and words, with those of both models; the weakest are summed up.

    Args:
        found: What is drawn.
        place: Of the input.
    """
    import numpy as np

    part = found.parts[place]
    sides = [(found.model, part.values)]
    if found.against is not None:
        sides.insert(0, (found.against.model, found.against.parts[place].values))
    weight = np.max([np.abs(values) for _, values in sides], axis=0)
    kept = sorted(np.argsort(-weight, kind="stable")[:_BARS].tolist())
    if part.kind == "table":
        kept.sort(key=lambda i: -weight[i])
    rest = [i for i in range(len(weight)) if i not in set(kept)]
    rows = []
    for model, values in sides:
        rows += [
            {"order": order, "name": part.names[i], "model": model, "value": float(values[i])}
            for order, i in enumerate(kept)
        ]
        if rest:
            name = f"{len(rest)} other{'s' if len(rest) > 1 else ''}"
            rows.append({"order": len(kept), "name": name, "model": model, "value": float(values[rest].sum())})
    return rows


def steps(found: Explained, place: int) -> list[dict[str, Any]]:
    """Values of a series by step, of both models."""
    sides = [(found.model, found.parts[place].values)]
    if found.against is not None:
        sides.insert(0, (found.against.model, found.against.parts[place].values))
    return [
        {"step": step, "model": model, "value": value}
        for model, values in sides
        for step, value in enumerate(values.tolist())
    ]


def chart(found: Explained, *, dark: bool) -> Any:
    """All inputs, one below the other."""
    import altair as alt

    charts = [_of(alt, found, place, dark=dark) for place in range(len(found.parts))]
    whole = charts[0] if len(charts) == 1 else alt.vconcat(*charts)
    return whole.properties(description=f"What the answer rests on. {found.summary()}")


def _of(alt: Any, found: Explained, place: int, *, dark: bool) -> Any:
    part = found.parts[place]
    if part.kind in ("image", "volume"):
        return _maps(alt, found, place)
    color = _color(alt, found, dark=dark)
    title = f"Adds to {'the confidence in ' if found.classes else 'the answer '}{found.answer!r}"
    if part.kind == "series":
        return (
            alt.Chart(_values(alt, steps(found, place)))
            .mark_line(strokeWidth=1.4, aria=False)
            .encode(x=alt.X("step:Q", title=f"step of {part.input}"), y=alt.Y("value:Q", title=title), color=color)
            .properties(width=560, height=160)
        )
    rows = bars(found, place)
    return (
        alt.Chart(_values(alt, rows))
        .mark_bar()
        .encode(
            y=alt.Y("order:O", title=None, axis=alt.Axis(labelLimit=260, labelExpr=_label(rows))),
            yOffset=alt.YOffset("model:N", sort=_models(found)),
            x=alt.X("value:Q", title=title, stack=None),
            color=color,
            tooltip=[
                alt.Tooltip("name:N", title="part"),
                alt.Tooltip("model:N"),
                alt.Tooltip("value:Q", format=".4f"),
            ],
        )
        .properties(width=420)
    )


def _maps(alt: Any, found: Explained, place: int) -> Any:
    rows = panels(found, place)
    height, width = flat(found.parts[place].values).shape
    size = {"width": round(_SIDE * min(1.0, width / height)), "height": round(_SIDE * min(1.0, height / width))}
    drawn = []
    for row in rows:
        image = alt.Chart(_values(alt, [{"address": address(row["image"])}])).mark_image(
            **size, aspect=True, aria=False
        )
        drawn.append(
            image.encode(
                x=alt.value(size["width"] / 2), y=alt.value(size["height"] / 2), url=alt.Url("address:N")
            ).properties(**size, title=alt.Title(_short(row["title"]), fontSize=11, fontWeight="normal"))
        )
    largest = numbers.significant(rows[-1]["largest"], 2)
    kind = f"Confidence in {found.answer!r}" if found.classes else f"Answer {found.answer!r}"
    return alt.hconcat(*drawn, spacing=16).properties(
        title=alt.Title(f"{kind}, by place", subtitle=f"{_LEGEND}{largest}", fontSize=12, subtitleColor="#888888")
    )


def _label(rows: list[dict[str, Any]]) -> str:
    """Orders are the axis, since a word may occur twice; what is shown are the names."""
    return f"({json.dumps({row['order']: row['name'] for row in rows})})[datum.value]"


def _short(text: str) -> str:
    return text if len(text) <= 34 else f"{text[:32]}…"


def _models(found: Explained) -> list[str]:
    return [*([found.against.model] if found.against is not None else []), found.model]


def _color(alt: Any, found: Explained, *, dark: bool) -> Any:
    models, palette = _models(found), DARK if dark else LIGHT
    scale = alt.Scale(domain=models, range=list(palette[: len(models)]))
    legend = alt.Legend(orient="bottom", labelLimit=0) if len(models) > 1 else None
    return alt.Color("model:N", title=None, scale=scale, legend=legend)


def _values(alt: Any, rows: list[dict[str, Any]]) -> Any:
    return alt.Data(values=rows)
