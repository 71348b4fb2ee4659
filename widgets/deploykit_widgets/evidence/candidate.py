"""The evidence of a candidate as JSON for the browser, cached until the candidate is measured again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from deploykit.core.candidate import Recipe
from deploykit.core.errors import DatasetError, DeploykitError
from deploykit.core.registry import registry
from deploykit.core.result import Interval
from deploykit.reporting.evidence import pictures, samples
from deploykit.reporting.evidence.channels import short
from deploykit.reporting.evidence.flips import Flip, Flips, Guess
from deploykit.reporting.evidence.weights import original
from deploykit.reporting.report import Choice, Report
from deploykit_widgets.answers import Reply
from deploykit_widgets.code.script import shown_path

if TYPE_CHECKING:
    import deploykit as dk
    from deploykit import Plan
    from deploykit.reporting.evidence.graph_diff import GraphDiff

T = TypeVar("T")
#: Layers in one answer; the rest are summed up.
_MOST_LAYERS = 60
#: Tiles in one answer.
PAGE = 60


class Memory:
    """A cache of results by what they were made from. Thread-safe; the oldest entries are dropped."""

    def __init__(self, most: int = 24) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[Any, ...], Any] = {}
        self._most = most

    def get(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """The cached value, or a new one from ``make``; two callers at the same time may both make it."""
        with self._lock:
            if key in self._known:
                found: T = self._known[key]
                return found
        made = make()
        with self._lock:
            self._known[key] = made
            while len(self._known) > self._most:
                self._known.pop(next(iter(self._known)))
        return made


def identity(choice: Choice) -> tuple[str, ...]:
    """What the evidence of a candidate depends on."""
    return (*origin(choice.report), choice.key, choice.result.artifact_digest)


def origin(report: Report) -> tuple[str, ...]:
    """Store, model and data: with others of these, the same key means a different candidate."""
    return (str(report.path), str(report.facts["model"]["digest"]), str(report.facts["data"]))


def facts(choice: Choice, other: Choice | None) -> dict[str, Any]:
    """Verdict and causes; see ``IFacts`` in candidate/facts.ts."""
    verdict = choice.verdict()
    return {
        "verdict": {
            "kind": verdict.kind, "headline": verdict.headline, "detail": verdict.detail, "tone": verdict.tone,
        },
        "compare": choice.compare(other) if other is not None else "",
        "why": _why(choice),
    }  # fmt: skip


def _why(choice: Choice) -> dict[str, Any] | None:
    if choice.measurement is None:
        return None
    found = choice.why()
    rows = [
        {
            "layer": r.layer, "names": list(r.names), "operator": r.operator, "kernel": r.kernel,
            "before": r.before_us, "after": r.after_us, "state": r.state, "quantized": r.quantized,
            "fallback": r.fallback, "share": r.share,
        }
        for r in found.rows[:_MOST_LAYERS]
    ]  # fmt: skip
    rest = found.rows[_MOST_LAYERS:]
    return {
        "cause": found.cause, "note": found.note, "remedy": found.remedy, "estimate": found.estimate,
        "before": found.before_us, "after": found.after_us, "rows": rows,
        "rest": {
            "count": len(rest), "before": sum(r.before_us or 0.0 for r in rest),
            "after": sum(r.after_us or 0.0 for r in rest), "share": sum(r.share or 0.0 for r in rest),
        },
    }  # fmt: skip


def flips(choice: Choice, found: Flips, group: str, offset: int, count: int) -> Reply:
    """A page of examples whose answer changed; pictures are the buffers. See ``IFlips``."""
    data = choice.report.data
    rows = found.group(group) if group else list(found.rows)
    page = rows[offset : offset + max(0, min(count, PAGE))]
    buffers: list[bytes] = []
    shown = []
    for row in page:
        picture = pictures.png(data, row.example, found.split, boxes=row.boxes)
        shown.append(
            {**_flip(row), "picture": len(buffers) if picture else -1, "width": picture.width if picture else 0,
             "height": picture.height if picture else 0,
             "cells": [] if picture else samples.cells_of(data, row.example, found.split)}
        )  # fmt: skip
        if picture:
            buffers.append(picture.data)
    value = {
        "summary": found.summary(),
        "classes": found.classes,
        "labelled": found.labelled,
        "examples": found.examples,
        "scores": found.scores,
        "derived": found.derived,
        "against": found.against,
        "groups": [{"name": name, "count": n} for name, n in found.counts.items()],
        "total": len(rows),
        "offset": offset,
        "rows": shown,
    }
    return Reply(value, buffers)


def _flip(row: Flip) -> dict[str, Any]:
    return {
        "example": row.example, "group": row.group, "label": row.label, "before": row.before, "after": row.after,
        "lost": row.lost, "topBefore": _top(row.top_before), "topAfter": _top(row.top_after),
    }  # fmt: skip


def _top(guesses: tuple[Guess, ...]) -> list[list[Any]]:
    return [[g.name, g.confidence if g.index >= 0 else None] for g in guesses]


def sample(choice: Choice, example: int, split: str = "evaluation", found: Flips | None = None) -> Reply:
    """An example enlarged, with its boxes where it is one of a detector's flips; see ``ISample``."""
    boxes = next((row.boxes for row in found.rows if row.example == example), ()) if found is not None else ()
    picture = pictures.png(choice.report.data, example, split, pictures.LARGE, boxes)
    value = {
        "picture": 0 if picture else -1,
        "width": picture.width if picture else 0,
        "height": picture.height if picture else 0,
        "cells": [] if picture else samples.cells_of(choice.report.data, example, split),
    }
    return Reply(value, [picture.data] if picture else [])


def tried(choice: Choice, other: Choice, example: int) -> dict[str, Any]:
    """The answers of two candidates to one example, computed now; see ``ITried``."""
    from deploykit.reporting.evidence import flips as finding

    data = choice.report.data
    raw = data.splits["evaluation"].take(slice(example, example + 1))
    after, before = (c.predict_scores(raw.inputs) for c in (choice, other))
    found = finding.tops(after, before, choice.report.contract.scored, data.classes)
    if found is None:
        return {"before": [[_numbers(before), None]], "after": [[_numbers(after), None]]}
    was, now = found
    return {"before": _top(was), "after": _top(now)}


def _numbers(values: Any) -> str:
    return ", ".join(f"{v:.4g}" for v in values.ravel()[:6]).replace("-", "−")


def classes(choice: Choice, other: Choice | None) -> dict[str, Any]:
    """Changes of single classes; see ``IClasses``."""
    try:
        found = choice.classes(other)
    except DatasetError as error:
        return {"rows": [], "summary": "", "reason": error.message}
    rows = [
        {
            "name": r.name, "examples": r.examples, "before": r.before, "after": r.after,
            "change": _interval(r.change), "better": r.better, "worse": r.worse, "sure": r.sure,
        }
        for r in found
    ]  # fmt: skip
    return {"rows": rows, "summary": found.summary(), "reason": ""}


def calibration(choice: Choice, other: Choice | None) -> dict[str, Any]:
    """Calibration error and what it is made of; see ``ICalibration``."""
    try:
        found = choice.calibration(other)
    except DatasetError as error:
        return {"rows": [], "summary": "", "reason": error.message}
    rows = [
        {
            "side": one.side, "low": one.low, "high": one.high, "examples": one.examples,
            "confidence": one.confidence, "accuracy": _interval(one.accuracy),
        }
        for one in found.bins
    ]  # fmt: skip
    return {"rows": rows, "summary": found.summary(), "reason": ""}


def rests(choice: Choice, other: Choice | None, example: int) -> Reply:
    """What the answers of two candidates to one example rest on; maps are the buffers. See ``IRests``."""
    import deploykit as dk
    from deploykit.reporting.attribution import drawing
    from deploykit.reporting.views.images import png

    found = dk.explain_example(choice, example, against=other or "original")
    parts = found.parts
    maps = [
        panel
        for place, part in enumerate(parts)
        if part.kind in ("image", "volume")
        for panel in drawing.panels(found, place)
        if "largest" in panel
    ]
    rows = [[row["name"], row["value"], row["against"]] for row in found.strongest()]
    value = {
        "summary": found.summary(), "answer": found.answer, "correlation": found.correlation, "floor": found.floor,
        "largest": max((panel["largest"] for panel in maps), default=0.0), "maps": [p["title"] for p in maps],
        "rows": rows,
    }  # fmt: skip
    return Reply(value, [png(panel["image"]) for panel in maps])


def weights(choice: Choice) -> dict[str, Any]:
    """Channels, sparsity and histograms; see ``IWeights``."""
    found = choice.weights()
    channels = [
        {"layer": layer, "name": short(layer), "before": before, "after": after}
        for layer, (before, after) in choice.channels().items()
    ]
    return {"summary": found.summary(), "notes": found.notes, "before": found.before, "channels": channels,
            "rows": [r.to_json() for r in found]}  # fmt: skip


def recipe(choice: Choice) -> dict[str, Any]:
    """How a candidate was made and where it was measured; see ``IRecipe``."""
    row = choice.result
    environment = choice.measurement.environment if choice.measurement else {}
    packages = environment.get("packages", {})
    machine = {k: v for k, v in environment.items() if k != "packages" and not isinstance(v, dict)}
    file = [["Format", row.format], ["File", row.artifact], ["SHA-256", row.artifact_digest]]
    file += [["Candidate", row.key], ["Same file as", row.same_as]]
    return {
        "steps": [
            {"name": s.technique.replace("_", " "), "parameters": [[k, _plain(v)] for k, v in s.parameters.items()]}
            for s in row.candidate.recipe.steps
        ],
        "notes": [[k.replace("_", " "), _plain(v)] for k, v in row.notes.items()],
        "file": [[k, v] for k, v in file if v],
        "machine": [[k.replace("_", " "), _plain(v)] for k, v in machine.items() if v not in (None, "")],
        "packages": [[k, _plain(v)] for k, v in packages.items()],
        "suggested": [str(r) for r in choice.suggested()],
    }


def graphs(choice: Choice) -> dict[str, Any]:
    """Files for the graph view; see ``IGraphs``."""
    report, row = choice.report, choice.result
    like = original(report, row)
    return {
        "given": _file(Path(report.model.path), f"original file · {_format(report.model.format)}"),
        "before": _file(report.path / like.artifact, f"original · {_format(like.format)}") if like.artifact else None,
        "after": _file(report.path / row.artifact, row.label) if row.artifact else None,
    }


def graph_diff(found: GraphDiff) -> dict[str, Any]:
    """The two graphs as one diff; see ``IDiff``."""
    able = found.can_keep_float
    rows = [
        {
            "state": r.state, "name": r.node.name, "operator": r.node.operator, "before": _node(r.before),
            "after": _node(r.after), "matched": r.matched, "changes": list(r.changes), "into": r.into,
            "reads": list(r.reads), "error": None if r.error == float("inf") else r.error,
            "snr": None if r.snr_db in (float("inf"), float("-inf")) else r.snr_db, "leftOut": r.channels_left_out,
            "own": None if r.own_error == float("inf") else r.own_error, "range": r.after_range,
            "saturated": r.saturated, "float": bool(able and r.after and r.own_error),
            "times": [None if ms is None else 1000 * ms for ms in (r.before_ms, r.after_ms)],
        }
        for r in found
    ]  # fmt: skip
    return {
        "summary": found.summary(), "notes": found.notes, "before": found.before, "after": found.after,
        "counts": [[state, count] for state, count in found.counts.items()], "rows": rows,
    }  # fmt: skip


def _node(node: dk.types.GraphNode | None) -> dict[str, Any] | None:
    if node is None:
        return None
    return {
        "name": node.name, "operator": node.operator, "shape": None if node.shape is None else list(node.shape),
        "weights": [[w.name, " × ".join(map(str, w.shape)), w.stored] for w in node.weights],
        "attributes": [[k, v] for k, v in node.attributes.items()],
    }  # fmt: skip


def _format(name: str) -> str:
    return next((str(f.label) for f in registry("deploykit.loading", "format").all() if f.name == name), name)


def _file(path: Path, title: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    folder = path.is_dir()
    return {
        "path": path.absolute().as_posix(),
        "shown": shown_path(path),
        "home": Path.home().as_posix(),
        "bytes": None if folder else path.stat().st_size,
        "folder": folder,
        "title": title,
    }


def sensitivity(report: Report, seconds: Callable[[int], float | None], added: tuple[Recipe, ...]) -> dict[str, Any]:
    """Layers by levels; see ``ISensitivity``.

    Args:
        report: The results.
        seconds: How long a level takes to measure, None if unknown.
        added: Recipes that are already in the space.
    """
    table = report.sensitivity_table()
    keys = {r.key for r in added}
    levels = [
        {
            "label": level.label, "group": level.group, "measured": level.measured,
            "seconds": None if level.measured else seconds(place),
        }
        for place, level in enumerate(table.levels)
    ]  # fmt: skip
    cells = [
        [
            {
                "drop": _interval(c.drop), "fidelity": _interval(c.fidelity), "problem": c.problem,
                "known": bool(c.names), "added": bool(c.names) and table.leaving_out(i, j).key in keys,
            }
            for j, c in enumerate(row)
        ]
        for i, (_, row) in enumerate(table)
    ]  # fmt: skip
    return {"levels": levels, "layers": list(table.layers), "cells": cells, "relative": table.relative}


def _interval(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.value, interval.low, interval.high]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def planned_seconds(plan: Callable[[], Plan]) -> float | None:
    """Expected seconds of a plan, or None if it cannot be made."""
    try:
        found = plan()
    except DeploykitError:
        return None
    return float(found.expected.seconds) if found.expected else None
