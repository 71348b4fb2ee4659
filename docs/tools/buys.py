"""What each technique buys: tables and a picture of the run that ``tests/bench/techniques.py`` has written down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deploykit.core.registry import registry
from deploykit.core.result import Interval
from deploykit.reporting import numbers
from deploykit.reporting.views.drawing import in_dark, picture
from deploykit.reporting.views.tradeoff import LIGHT

#: Larger losses, in percentage points, stand at the edge of the picture with their number.
_MOST = 5.0
#: One for each runtime, from the colors of charts, which have a dark version.
_COLORS = LIGHT[:2]
RESULT = Path(__file__).parents[1] / "reference" / "techniques.json"


def page() -> str:
    """The part of the page that is generated, as Markdown."""
    return "\n".join(_page(json.loads(RESULT.read_text("utf-8"))))


def _page(found: dict[str, Any]) -> Iterator[str]:
    machine = found["environment"]
    yield (
        f"Measured on {found['date']} with deploykit {found['deploykit']} on {plain(machine['cpu'])} "
        f"({machine['cores']} cores), {found['launches']} launches per candidate, load average before "
        f"{found['load_before']:.1f}: `{found['command']}`. The run took {found['seconds'] / 60:.0f} minutes.\n"
    )
    yield _pictures(found) + "\n"
    for name, file in found["files"].items():
        runtime = registry("deploykit.runtimes", "runtime").get(file["runtime"]).label
        yield f"## `{name}` on {runtime}\n"
        yield (
            f"The original model has an accuracy of {100 * _original(file)['accuracy']:.1f} % on "
            f"{file['examples']:,} evaluation examples. Sizes and latency are relative to float32 on {runtime}.\n"
        )
        yield from _table(
            ("recipe", "size", "after gzip", "latency", "change of accuracy", "time to build"),
            (_measured(row) for row in file["rows"] if "size" in row and row["techniques"]),
        )
        if lost := [row for row in file["rows"] if "size" not in row]:
            yield "Not possible with this file:\n"
            yield from (f"- {plain(row['label'])}: {plain(row.get('reason', row['status']))}" for row in lost)
            yield ""
    yield "(refusals)=\n## What works on which format\n"
    yield from _support(found["support"])


def _original(file: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in file["rows"] if not row["techniques"])


def _measured(row: dict[str, Any]) -> Iterator[str]:
    yield plain(row["label"])
    yield f"{100 * row['size']:.0f} %"
    yield f"{100 * row['compressed']:.0f} %"
    yield plain(_latency(row))
    yield numbers.points(_loss(row))
    yield f"{row['seconds']:.1f} s"


def _latency(row: dict[str, Any]) -> str:
    if row["faster"] is None:
        return "not measured"
    if row["same_as"]:
        return "the file of another row"
    said = numbers.times(Interval(*row["faster"]))
    words = {"faster": "", "slower": "slower: ", "same": "the same: ", "unclear": "not distinguishable: "}
    return f"{words.get(row['claim'], '')}{said}"


def _loss(row: dict[str, Any]) -> Interval:
    """The change of accuracy, where losses are negative."""
    value, low, high = row["drop"]
    return Interval(-value, -high, -low)


def _support(rows: list[dict[str, Any]]) -> Iterator[str]:
    """For each technique, the runtimes that run what it makes of each format; then every refusal with its reason."""
    formats = list(dict.fromkeys(row["format"] for row in rows))
    labels = {name: registry("deploykit.loading", "format").get(name).label for name in formats}
    runtimes = {r.name: r.label for r in registry("deploykit.runtimes", "runtime").all()}
    techniques = list(dict.fromkeys(row["technique"] for row in rows))
    by_place = {(row["technique"], row["format"]): row for row in rows}
    yield "The runtimes that run what a technique makes of a file of the tutorial's network:\n"
    yield from _table(
        ("technique", *labels.values()),
        (
            (f"`{name}`", *(_runs(by_place[name, form], runtimes) for form in formats))
            for name in techniques
        ),
    )  # fmt: skip
    yield "What is refused, in the words of `deploykit plan`:\n"
    places: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in rows:
        for reason, names in row["refused"].items():
            where = ", ".join(runtimes.get(name, name) for name in names)
            places.setdefault((reason, where), []).append((row["technique"], labels[row["format"]]))
    yield from _table(("technique", "model", "on", "reason"), (
        (_each(f"`{name}`" for name, _ in about), _each(form for _, form in about), where, plain(reason))
        for (reason, where), about in places.items()
    ))  # fmt: skip


def _each(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def _runs(row: dict[str, Any], runtimes: dict[str, str]) -> str:
    return ", ".join(runtimes.get(name, name) for name in row["runs"]) or "refused"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = tuple(head)
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def plain(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|$])", r"\\\1", " ".join(text.split()))


# -- the picture ------------------------------------------------------------------------------------------------------


def points(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Plain rows of the picture: one for each measured candidate, with the ends of its intervals."""
    rows = []
    for file in found["files"].values():
        runtime = registry("deploykit.runtimes", "runtime").get(file["runtime"]).label
        for row in file["rows"]:
            if not row["techniques"] or row.get("faster") is None:
                continue
            loss, faster = _loss(row), row["faster"]
            rows.append(
                {
                    "recipe": row["label"], "runtime": runtime,
                    "faster": faster[0], "faster_low": max(faster[1], faster[0] / 4), "faster_high": faster[2],
                    "change": 100 * loss.value, "change_low": 100 * loss.low, "change_high": 100 * loss.high,
                    "shown": max(100 * loss.value, -_MOST), "beyond": 100 * loss.value < -_MOST,
                    "shown_low": max(100 * loss.low, -_MOST), "shown_high": max(100 * loss.high, -_MOST),
                }
            )  # fmt: skip
    return rows


def chart(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Speed and accuracy of each recipe side by side, as a Vega-Lite specification."""
    import altair as alt

    best: dict[str, float] = {}
    for row in rows:
        best[row["recipe"]] = max(best.get(row["recipe"], 0.0), row["faster"])
    order = sorted(best, key=lambda recipe: -best[recipe])
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    base = alt.Chart(alt.Data(values=rows)).encode(
        color=alt.Color("runtime:N", title=None, sort=runtimes, scale=alt.Scale(range=_COLORS[: len(runtimes)])),
        yOffset=alt.YOffset("runtime:N", sort=runtimes),
    )  # fmt: skip
    low = min((row["faster_low"] for row in rows), default=0.5)
    high = max((row["faster_high"] for row in rows), default=2.0)
    speed = alt.Scale(type="log", domain=[min(low, 0.95) / 1.02, high * 1.05], nice=False)
    accuracy = alt.Scale(domain=[-_MOST, 1.5])
    names = alt.Y("recipe:N", sort=order, title=None, axis=alt.Axis(labelLimit=360, grid=True))
    unnamed = alt.Y("recipe:N", sort=order, title=None, axis=alt.Axis(labels=False, ticks=False, grid=True))
    across = {
        "faster": (speed, "times as fast as float32", alt.Axis(values=_ticks(low, high))),
        "shown": (accuracy, "change of accuracy (percentage points)", alt.Axis(values=[-4, -3, -2, -1, 0, 1])),
    }

    def panel(name: str, up: Any, start: str, end: str) -> Any:
        scale, title, axis = across[name]
        rule = base.mark_rule(strokeWidth=2).encode(
            x=alt.X(f"{start}:Q", title=title, scale=scale, axis=axis), x2=f"{end}:Q", y=up
        )
        dot = base.mark_point(filled=True, size=45, opacity=1).encode(
            x=alt.X(f"{name}:Q", title=title, scale=scale, axis=axis), y=up
        )
        return rule, dot

    beyond = (
        base.transform_filter("datum.beyond")
        .mark_text(align="left", dx=8, fontSize=10)
        .encode(x=alt.X("shown:Q", scale=accuracy), y=unnamed, text=alt.Text("change:Q", format=".0f"))
    )
    height = 22 * len(order)
    spec: dict[str, Any] = alt.hconcat(
        alt.layer(*panel("faster", names, "faster_low", "faster_high")).properties(width=330, height=height),
        alt.layer(*panel("shown", unnamed, "shown_low", "shown_high"), beyond).properties(width=250, height=height),
        spacing=12,
    ).to_dict()
    return spec


def _ticks(low: float, high: float) -> list[float]:
    return [tick for tick in (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32) if low / 1.1 <= tick <= high * 1.05]


def _pictures(found: dict[str, Any]) -> str:
    """The picture for light pages and for dark ones, as the site shows either."""
    rows = points(found)
    best = max(rows, key=lambda row: row["faster"])
    text = (
        f"Speed-up against change of accuracy of {len(rows)} candidates, with intervals. The fastest is "
        f"{best['recipe']} on {best['runtime']}: {best['faster']:.1f} times as fast as float32, accuracy "
        f"{best['change']:+.1f} percentage points."
    )
    spec = chart(rows)
    light, dark = (
        picture(drawn, text, f"only-{name}", dark=name == "dark", legend={"orient": "top"})
        for name, drawn in (("light", spec), ("dark", in_dark(spec)))
    )
    return f"```{{raw}} html\n{light}{dark}\n```"
