"""How the time of the original model is divided among its layers, if a runtime has profiled its nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploykit.core.errors import DeploykitError
from deploykit.core.layers.kinds import HEAVY
from deploykit.core.model import Layer
from deploykit.core.registry import registry
from deploykit.core.result import Result
from deploykit.reporting.report import Report

_MOST_FUSED = 4
#: Kinds of nodes that do none of a layer's work, so they do not end a group of fused layers.
_BETWEEN = frozenset({"move", "convert"})
#: Suffix that tracing adds to a layer's name when it is called again.
_CALL = re.compile(r"_\d+$")


@dataclass(frozen=True)
class LayerTimes:
    """Times of layers.

    Attributes:
        runtime: Label of the runtime that was profiled, with the rest of the target.
        shares: Place of a layer → its share of the time of one inference.
        fused: Place of a layer → names of the layers whose time is included in its share.
        elsewhere: Share of the time that belongs to no layer.
    """

    runtime: str
    shares: dict[int, float]
    fused: dict[int, tuple[str, ...]]
    elsewhere: float


def source_of_times(report: Report) -> str:
    """Key of the candidate whose profile has the float times, "" if there is none.

    A candidate's profile includes float32 on the same runtime; one on the baseline's own target is the most relevant.
    """
    with_profile = [r for r in report.rows if r.measurement is not None and r.measurement.profile]
    base = next((r.candidate.target for r in report.rows if r.key == report.baseline), None)
    here = [r for r in with_profile if r.candidate.target == base]
    return (here or with_profile)[0].key if with_profile else ""


def layer_times(report: Report, key: str) -> LayerTimes | None:
    """Times from the profile of a candidate; None if it is gone, or no node matches a layer."""
    choice = report.choice_for(key)
    try:
        records = [r for r in choice.layers() if r["float_ms"] is not None]
    except DeploykitError:
        return None
    total = sum(r["float_ms"] for r in records)
    if not total:
        return None
    shares, fused = _divided(report.model.layers, records, total)
    if not shares:
        return None
    return LayerTimes(_where(choice.result), shares, fused, max(0.0, 1 - sum(shares.values())))


def _divided(
    layers: Sequence[Layer], records: Sequence[dict[str, Any]], total: float
) -> tuple[dict[int, float], dict[int, tuple[str, ...]]]:
    places = {layer.name: i for i, layer in enumerate(layers)}
    shares: dict[int, float] = {}
    fused: dict[int, tuple[str, ...]] = {}
    last = -1
    for record in records:
        place = _place(places, record)
        if place is None:
            continue
        owner = place
        if record["kind"] in HEAVY and last < place:
            # A fused node has the name of the last of its layers; the weights show which layer does the work.
            group = range(max(last + 1, place - _MOST_FUSED + 1), place + 1)
            owner = max(group, key=lambda i: layers[i].parameters)
            others = tuple(layers[i].name for i in range(owner, place + 1) if i != owner)
            if others:
                fused[owner] = others
        shares[owner] = shares.get(owner, 0.0) + record["float_ms"] / total
        if record["kind"] not in _BETWEEN:
            last = max(last, place)
    return shares, fused


def _place(places: dict[str, int], record: dict[str, Any]) -> int | None:
    """Place of the layer a node belongs to: by its full name, or by the last part of the name that is a layer."""
    for name in (record["node"], record["layer"]):
        if name in places:
            return places[name]
    for part in reversed(f"{record['node']}/{record['layer']}".replace(":", "/").replace(";", "/").split("/")):
        for name in (part, _CALL.sub("", part)):
            if name in places:
                return places[name]
    return None


def _where(row: Result) -> str:
    target = row.candidate.target
    labels = {r.name: r.label for r in registry("deploykit.runtimes", "runtime").all()}
    return f"{labels.get(target.runtime, target.runtime)}{str(target).removeprefix(target.runtime)}"
