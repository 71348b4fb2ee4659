"""The graph of a candidate laid over that of the original: what is the same, changed, added, removed or fused."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from deploykit.core.candidate import Recipe, Step
from deploykit.core.digest import json_digest
from deploykit.core.errors import Cancelled, CandidateError, SettingError, StoreError
from deploykit.core.result import LayerTime, Result
from deploykit.core.serial import Plain, from_plain
from deploykit.loading._contract import FORMATS
from deploykit.loading._nodes import GraphNode
from deploykit.measuring.graphs.diff import DIFF_VERSION, NodeDiff, State, diff_graphs
from deploykit.measuring.graphs.pairing import family, plain
from deploykit.measuring.profile_match import Comparison
from deploykit.reporting.evidence.weights import original
from deploykit.reporting.swept import Swept
from deploykit.reporting.views.drawing import shown
from deploykit.reporting.views.graph_view import ending, still
from deploykit.reporting.views.noise import noise_chart
from deploykit.sandbox.supervisor import OnReport, shared
from deploykit.sandbox.task import Task
from deploykit.storage.store import Store
from deploykit.surgery.selection import nameable
from deploykit.transforms._contract import TRANSFORMS

if TYPE_CHECKING:
    import pandas as pd

#: Kind of the store's records.
RECORD = "graph diff"
_DEADLINE_S = 300.0
#: What operators with integers or packed weights have behind the name of the float one.
_BEHIND = re.compile(r"_(quant|Q\d)$")
#: Nodes that a runtime runs as one at most.
_FUSED = 5
STATES: tuple[State, ...] = get_args(State)
_GUESSES = {"order": "by their order alone, which is a guess", "structure": "by their neighbors"}


@dataclass(frozen=True)
class GraphDiff(Plain):
    """Two graphs as one diff. See ``Choice.graph_diff``.

    Attributes:
        rows: The candidate's nodes in the order in which they run, with those of the original that it lacks in their
            places; `deploykit.measuring.graphs.diff.NodeDiff` lists their fields.
        before: What the candidate is compared with, in words.
        after: The candidate, in words.
        examples: How many examples both graphs were run on; 0 when they were not run.
        source: The split these are from: ``"calibration"``, or ``"evaluation"`` for data without training examples.
        problem: Why there are no errors, "" when there are.
        same_format: Whether both files are of one format.
        recipe: How the candidate was made.
        format: Format of its file.
    """

    rows: tuple[NodeDiff, ...]
    before: str
    after: str
    examples: int
    source: str
    problem: str
    same_format: bool
    recipe: Recipe
    format: str

    def __iter__(self) -> Iterator[NodeDiff]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counts(self) -> dict[State, int]:
        """How many nodes are in each state, all states included."""
        found = Counter(row.state for row in self.rows)
        return {state: found[state] for state in STATES}

    def differing(self) -> list[NodeDiff]:
        """The rows that are not the same."""
        return [row for row in self.rows if row.state != "same"]

    def worst(self, count: int = 5) -> list[NodeDiff]:
        """The rows at which most of the error comes in, largest first; those at which none does are not among them.

        Args:
            count: How many at most.
        """
        found = [row for row in self.rows if _finite(row.own_error) and row.own_error]
        return sorted(found, key=lambda row: -(row.own_error or 0.0))[:count]

    def keeping_float(self, row: NodeDiff) -> Recipe:
        """The candidate's recipe with one node left in float: what loses most may need more than 8 bits.

        Of a tensor that is converted, these are the nodes that read it, up to the next ones with weights.

        Args:
            row: One of its rows, for example ``diff.worst(1)[0]``.

        Raises:
            SettingError: None of the steps can leave a node out, or the row has no node that computes.

        Example:
            >>> space = dk.Space([dk.Recipe((dk.Step("quantize_static"),))], [dk.Target("onnxruntime")])
            >>> report = dk.sweep(model, data, space, store="runs/diff", launches=0)
            [...
            >>> diff = report.best(minimize="size", max_drop=1.0).graph_diff()
            >>> node = next(row for row in diff if row.after and row.after.operator == "Conv")
            >>> diff.keeping_float(node).steps[0].parameters["exclude"] == node.after.name
            True
        """
        place = self._leaving()
        if place is None:
            raise SettingError(
                f"No step of {self.after} can leave a single node in float.",
                remedy="quantize for ONNX Runtime or OpenVINO, where steps have the setting exclude.",
            )
        names = {nameable(_BEHIND.sub("", name)) for name in self._computing(row)}
        if not names:
            raise SettingError(
                f"{row.node.name} does not compute in {self.after}.",
                remedy="choose an operator that the candidate has, or a tensor that one reads.",
            )
        steps = list(self.recipe.steps)
        name, given = TRANSFORMS.get(steps[place].technique).excluding, steps[place].parameters
        known = {part.strip() for part in str(given.get(name, "")).split(",")} - {""}
        steps[place] = Step(steps[place].technique, {**given, name: ", ".join(sorted(known | names))})
        return Recipe(tuple(steps))

    @property
    def can_keep_float(self) -> bool:
        """Whether one of the candidate's steps can leave a node in float; see `keeping_float`."""
        return self._leaving() is not None

    def _leaving(self) -> int | None:
        """Place of the last step that quantizes and can leave nodes out."""
        for place in reversed(range(len(self.recipe.steps))):
            step = self.recipe.steps[place]
            technique = TRANSFORMS.get(step.technique)
            used = {p for v in technique.variants if v.produces == self.format for p in v.uses}
            if technique.excluding in used and "quantized" in technique.effects(step.parameters):
                return place
        return None

    def _computing(self, row: NodeDiff) -> list[str]:
        """Names of the nodes for whose sake a tensor is quantized: the row's own, or those that read what it converts.

        Nodes without weights only pass integers on, so that what reads them counts as well.
        """
        at, found = [self.rows.index(row)], list[str]()
        while at:
            place = at.pop()
            node = self.rows[place].after
            converts = node is not None and node.kind == "conversion"
            if node is not None and not converts:
                found.append(node.name)
            if converts or (node is not None and self.rows[place] is not row and not node.weights):
                at += [k for k, other in enumerate(self.rows) if place in other.reads and k > place]
        return list(dict.fromkeys(found))

    def summary(self) -> str:
        """The most important in a sentence."""
        parts = [f"{count:,} {state}" for state, count in self.counts.items() if count]
        said = f"{len(self.rows):,} nodes beside {self.before}: {', '.join(parts) or 'none'}."
        worst = max((r for r in self.rows if _finite(r.error)), key=lambda r: r.error or 0.0, default=None)
        if worst is None or not worst.error:
            return said
        name = f"{worst.node.operator} {ending(worst.node.name)}"
        said = f"{said} The largest error is {100 * worst.error:.2g} %, of {name}."
        source = self.worst(1)[0]
        if source is worst or not source.own_error:
            return said
        name = f"{source.node.operator} {ending(source.node.name)}"
        return f"{said} Most of it comes in at {name} ({100 * source.own_error:.2g} %)."

    @property
    def notes(self) -> list[str]:
        """What limits the comparison, in sentences."""
        found = []
        if self.problem:
            found.append(f"The nodes have no errors: {self.problem.rstrip('.')}.")
        elif self.examples:
            found.append(f"Errors are relative (L2), over {self.examples} {self.source} examples.")
        for how, words in _GUESSES.items():
            if count := sum(row.matched == how for row in self.rows):
                found.append(f"{count} nodes are paired {words}.")
        if any(row.channels_left_out for row in self.rows):
            found.append(
                "Where channels were removed, the error is over those that are left, found by their values in order."
            )
        if not self.same_format:
            found.append("The formats differ: layers of one are paired with the operators of the other by name.")
        if not any(row.after_ms is not None for row in self.rows):
            found.append("The runtime gives no time for each node.")
        return found

    def records(self) -> list[dict[str, Any]]:
        """One flat record for each node; unknown values are None."""
        return [
            {
                "state": r.state,
                "before": r.before.name if r.before else None,
                "before_operator": r.before.operator if r.before else None,
                "after": r.after.name if r.after else None,
                "after_operator": r.after.operator if r.after else None,
                "matched": r.matched,
                "changes": "; ".join(r.changes),
                "into": r.into or None,
                "error": r.error,
                "snr_db": r.snr_db,
                "own_error": r.own_error,
                "before_low": r.before_range[0] if r.before_range else None,
                "before_high": r.before_range[1] if r.before_range else None,
                "after_low": r.after_range[0] if r.after_range else None,
                "after_high": r.after_range[1] if r.after_range else None,
                "saturated": r.saturated,
                "channels_left_out": r.channels_left_out,
                "before_ms": r.before_ms,
                "after_ms": r.after_ms,
            }
            for r in self.rows
        ]

    def to_frame(self) -> pd.DataFrame:
        """The rows as a data frame; ``error`` is a share, times are in milliseconds."""
        import pandas as pd

        return pd.DataFrame.from_records(self.records())

    def chart(self, *, dark: bool = False) -> Any:
        """Signal-to-noise ratio of every tensor along the graph, with what comes in at each node (Altair).

        Args:
            dark: Colors for a dark background.

        Raises:
            CandidateError: No tensor differs, as far as they could be compared.
        """
        return shown(noise_chart(self.rows, f"{self.after} beside {self.before}", dark=dark))

    def to_html(self, *, top: int = 200, all_nodes: bool = False) -> str:
        """A still picture of the diff for saved notebooks, without scripts.

        Args:
            top: Rows at most; the rest are counted.
            all_nodes: Whether nodes that are the same are shown, not only counted.
        """
        said = [self.summary(), *self.notes]
        return still(self.rows, self.counts, said, f"{self.after} beside {self.before}", top=top, all_nodes=all_nodes)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        return " ".join([self.summary(), *self.notes])


def _finite(error: float | None) -> bool:
    return error is not None and error < float("inf")


#: One thread at a time makes a diff.
_turns: dict[str, threading.Lock] = {}


def compare(
    report: Swept,
    row: Result,
    against: tuple[Swept, Result] | None,
    on_report: OnReport | None = None,
    cancel: threading.Event | None = None,
) -> GraphDiff:
    """The diff of a candidate's graph and another's; see ``Choice.graph_diff``.

    Args:
        report: The report of the candidate.
        row: The candidate's row.
        against: Report and row of another candidate; None: the original.
        on_report: Called with the progress.
        cancel: Stops the work when it is set.
    """
    before, words = _before(report, row, against)
    after = _file(report.path, row)
    sides = [[f["digest"], f["format"]] for f in (before, after)]
    key = json_digest([DIFF_VERSION, *sides, report.data.digest])
    with _turns.setdefault(key, threading.Lock()):
        known = Store(report.path).record(RECORD, key)
        if known is None:
            if cancel is not None and cancel.is_set():
                raise Cancelled("The comparison of the graphs was cancelled.")
            known = _made(report, row, [before, after], on_report, cancel)
            if not known["problem"]:
                with suppress(OSError, StoreError):  # a store that cannot be written can still be read
                    Store(report.path).put_record(RECORD, key, known)
    rows = from_plain(tuple[NodeDiff, ...], known["rows"])
    return GraphDiff(
        rows if against is not None else _timed(rows, _times(report, row)), words,
        f"{row.label} ({FORMATS.get(row.format).label})", int(known["examples"]), str(known["source"]),
        str(known["problem"]), before["format"] == row.format, row.candidate.recipe, row.format,
    )  # fmt: skip


def _before(report: Swept, row: Result, against: tuple[Swept, Result] | None) -> tuple[dict[str, str], str]:
    """What a candidate is compared with: the given file where the sweep has not converted it to the same format."""
    store, other = against or (report, original(report, row))
    model = report.model
    if against is None and other.format != row.format and Path(model.path).exists():
        given = {"path": str(model.path), "format": model.format, "digest": model.digest}
        return given, f"the given file ({FORMATS.get(model.format).label})"
    return _file(store.path, other), f"{other.label} ({FORMATS.get(other.format).label})"


def _made(
    report: Swept, row: Result, files: list[dict[str, str]], on_report: OnReport | None, cancel: threading.Event | None
) -> dict[str, Any]:
    model = report.model
    groups = dict.fromkeys(FORMATS.get(f["format"]).given_group() for f in files)
    arguments = {
        "before": files[0], "after": files[1], "data": str(report.path / report.facts["data"]),
        "contract": report.contract.to_json(), "imports": list(model.imports), "trusted": model.trusted,
    }  # fmt: skip
    task = Task(
        f"{diff_graphs.__module__}:{diff_graphs.__name__}", arguments,
        next((g for g in groups if g != "light"), "light"), _DEADLINE_S, imports=model.imports,
        name=f"comparing the graph of {row.label}",
    )  # fmt: skip
    return shared().run(task, on_report, cancel)


def _file(store: Path, row: Result) -> dict[str, str]:
    path = store / row.artifact
    if not row.artifact or not path.exists():
        raise CandidateError(
            f"The file of {row.label} ({row.key}) is not in the store.",
            remedy="run the same sweep again to make what is missing.",
        )
    return {"path": str(path), "format": row.format, "digest": row.artifact_digest}


def _times(report: Swept, row: Result) -> tuple[LayerTime, ...]:
    """What the profile of the sweep has measured, nothing without one."""
    key = row.measurement.profile if row.measurement else ""
    record = Store(report.path).record("profile", key) if key else None
    return () if record is None else Comparison.from_json(record).layers


def _timed(rows: tuple[NodeDiff, ...], times: tuple[LayerTime, ...]) -> tuple[NodeDiff, ...]:
    """Rows with times. What a runtime runs as one has its time at the node that does the work, and nowhere else."""
    found = list(rows)
    by_name = {name: place for place, row in enumerate(rows) for name in _names(row.before)}
    by_name |= {name: place for place, row in enumerate(rows) for name in _names(row.after)}
    for time in times:
        place = by_name.get(time.node, by_name.get(plain(time.node)))
        if place is None:
            continue
        place = _working(rows, place, time.operator)
        row = found[place]
        if time.ms is None:
            found[place] = replace(row, before_ms=time.float_ms)
        else:
            was = time.float_ms if row.before else None
            found[place] = replace(row, before_ms=was, after_ms=time.ms)
    return tuple(found)


def _names(node: GraphNode | None) -> list[str]:
    """What runtimes may call a node: some name it after what it computes."""
    if node is None:
        return []
    own = [node.name, plain(node.name)]
    return own if node.kind == "conversion" else [*(plain(name) for name in node.outputs), *own]


def _working(rows: tuple[NodeDiff, ...], place: int, operator: str) -> int:
    """The node of an operator that was fused with the one at a place, which reads it."""
    wanted, at = family(operator), place
    for _ in range(_FUSED):
        if wanted in {family(n.operator) for n in (rows[at].before, rows[at].after) if n}:
            return at
        if not rows[at].reads:
            return place
        at = rows[at].reads[0]
    return place
