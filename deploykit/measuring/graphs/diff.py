"""The task that lays the graphs of two files over each other and runs both on a few examples."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deploykit.core.contract import Contract
from deploykit.core.errors import DeploykitError
from deploykit.core.serial import Plain
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.loading._nodes import GraphNode, Values, in_batches
from deploykit.measuring.graphs.changes import changes_of
from deploykit.measuring.graphs.errors import ends, relative_error, saturated
from deploykit.measuring.graphs.fusing import fused
from deploykit.measuring.graphs.pairing import How, Links, pair, plain
from deploykit.sandbox.task import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Raised when what a diff holds changes: old ones are then made again.
DIFF_VERSION = 2
#: Calibration examples that both graphs are run on.
EXAMPLES = 8
#: Bytes that the tensors of one graph may take; fewer examples are run where more would take them.
_BUDGET = 256 << 20

State = Literal["same", "changed", "added", "removed", "fused"]


@dataclass(frozen=True)
class NodeDiff(Plain):
    """A node in the diff of two graphs; see ``Choice.graph_diff``.

    Attributes:
        state: ``"same"``; ``"changed"``: other settings, weights, shapes or inputs; ``"added"``: only the candidate
            has it; ``"removed"``: only the original has it; ``"fused"``: another node does its work now.
        before: The node of the original; None for an added one.
        after: The node of the candidate; None for one that was removed or fused.
        matched: How both were found to be one: ``"name"`` and ``"weights"`` are sure, ``"layer"`` (one layer's name in
            two formats) and ``"structure"`` (the only ones beside nodes that belong together) are likely, ``"order"``
            is a guess; "" without a partner.
        changes: What differs, in words.
        into: Name of the node that a fused one has gone into.
        reads: Places in the diff of the nodes whose outputs it reads, on either side.
        error: Relative L2 error of its output, ‖after - before‖ / ‖before‖, on calibration examples; of a node that
            has taken in others, against what the last of them computed. None where nothing can be compared.
        channels_left_out: Channels of the original that have no partner: the error is over the others.
        own_error: What of the error comes in at this node, √(error² - e²) with e the largest error of what it reads;
            None where nothing can be compared.
        before_range: Lowest and highest number that the original's tensor has on the examples; None while unknown.
        after_range: The same of the candidate's tensor.
        saturated: Share of the original's numbers that lie beyond the range of the candidate's tensor; None while
            unknown.
        before_ms: Time in the original model, None while unknown.
        after_ms: Time in the candidate, None while unknown.
    """

    state: State
    before: GraphNode | None
    after: GraphNode | None
    matched: How = ""
    changes: tuple[str, ...] = ()
    into: str = ""
    reads: tuple[int, ...] = ()
    error: float | None = None
    channels_left_out: int = 0
    own_error: float | None = None
    before_range: tuple[float, float] | None = None
    after_range: tuple[float, float] | None = None
    saturated: float | None = None
    before_ms: float | None = None
    after_ms: float | None = None

    @property
    def node(self) -> GraphNode:
        """The candidate's node, or the original's where the candidate has none."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio of its output in decibels, infinite for equal outputs; None without an error."""
        if self.error is None:
            return None
        return math.inf if self.error == 0 else -20 * math.log10(self.error)


def diff_graphs(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: the diff of two files.

    Args:
        arguments: ``before`` and ``after``, each with ``path`` and ``format``; ``data`` (folder), ``contract`` (plain
            or None), ``imports`` and ``trusted`` of the model.
        report: Called with the steps.

    Returns:
        ``rows``: plain `NodeDiff`; ``examples``: how many were run; ``source``: the split they are from; ``problem``:
        why there are no errors, "" when there are.
    """
    files = [arguments[side] for side in ("before", "after")]
    old, new = (FORMATS.get(f["format"]).nodes(Path(f["path"])) for f in files)
    old = [node for node in old if node.kind != "input"]
    report(1, 4, "graphs")
    same_format = files[0]["format"] == files[1]["format"]
    pairs = pair(old, new, same_format=same_format)
    gone = fused(old, new, pairs, same_format=same_format)
    examples, source, problem = 0, "", ""
    values: list[Values] = [{}, {}]
    try:
        examples, source, values = _values(arguments, files, report)
    except (DeploykitError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        problem = error.message if isinstance(error, DeploykitError) else " ".join(str(error).split())[:300]
    except Exception as error:  # ONNX Runtime's own have no home
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    rows = lay_over(old, new, pairs, gone, values, same_format=same_format)
    report(4, 4, "graphs")
    return {"rows": [r.to_json() for r in rows], "examples": examples, "source": source, "problem": problem}


def _values(
    arguments: dict[str, Any], files: Sequence[dict[str, str]], report: Report
) -> tuple[int, str, list[Values]]:
    """What both graphs compute on as many examples as fit."""
    data = Dataset.open(Path(arguments["data"]))
    contract = None if arguments["contract"] is None else Contract.from_json(arguments["contract"])
    given, source = (data.calibration(), "calibration") if len(data.splits["train"]) else (data.batch(), "evaluation")
    imports, trusted = tuple(arguments["imports"]), bool(arguments["trusted"])
    sides = []
    for file in files:
        form, path = FORMATS.get(file["format"]), Path(file["path"])
        session = form.open_given(path, contract, imports=imports, trusted=trusted)
        sides.append((form, path, session))
    least = max((session.batch_size or 1 for _, _, session in sides), default=1)
    count = least
    found: list[Values] = []
    for step in range(2):
        found = []
        for place, (form, path, session) in enumerate(sides):
            first = session.feeding.first_step({k: v[:count] for k, v in given.items()})
            feeds = {
                spec.name: array.copy() for spec, array in zip(session.inputs, session.arrange(first), strict=True)
            }
            found.append(in_batches(lambda f, a=form, p=path, s=session: a.values(p, s, f), feeds, session.batch_size))  # type: ignore[misc]  # bound at once
            report(2 + step / 2 + place / 4, 4, "graphs")
        size = max(1, *(sum(v.nbytes for v in side.values()) for side in found))
        more = min(EXAMPLES, len(next(iter(given.values()))), count * max(1, _BUDGET // size)) // least * least
        if step or more <= count:
            break
        count = more
    return count, source, found


def lay_over(
    old: Sequence[GraphNode],
    new: Sequence[GraphNode],
    pairs: Mapping[int, tuple[int, How]],
    gone: Mapping[int, int],
    values: Sequence[Values],
    *,
    same_format: bool,
) -> list[NodeDiff]:
    """The rows of a diff: the candidate's nodes in order, those of the original that it lacks in their places.

    Args:
        old: The original's nodes.
        new: The candidate's nodes.
        pairs: What `deploykit.measuring.graphs.pairing.pair` has found.
        gone: What `deploykit.measuring.graphs.fusing.fused` has found; what the values contradict is taken back.
        values: What both graphs compute; empty when they were not run.
        same_format: Whether both are of one format.
    """
    gone = _confirmed(old, new, pairs, gone, values)
    partner = {j: (i, how) for i, (j, how) in pairs.items()}
    inside: dict[int, list[int]] = {}
    for place in sorted(gone):
        inside.setdefault(gone[place], []).append(place)
    behind: dict[int, list[int]] = {}
    last = -1
    for place in range(len(old)):
        if place in pairs:
            last = pairs[place][0]
        else:
            behind.setdefault(last, []).append(place)
    order: list[tuple[int | None, int | None]] = [(k, None) for k in behind.get(-1, ())]
    ours, theirs = Links(old), Links(new)
    for place in _in_order(new, theirs):
        order.append((partner[place][0] if place in partner else None, place))
        order += [(k, None) for k in behind.get(place, ())]
    row_of_old = {sides[0]: row for row, sides in enumerate(order)}
    row_of_new = {sides[1]: row for row, sides in enumerate(order)}
    made = {plain(name): i for i, node in enumerate(old) for name in node.outputs}
    words = changes_of(old, new, pairs, gone, same_format=same_format)
    rows = []
    for i, j in order:
        # An output of both sides is drawn once: from the candidate's node.
        read = [row_of_new[s] for s in theirs.sources(j) if s is not None] if j is not None else []
        before = [s for s in ours.sources(i) if s is not None] if i is not None else []
        read += [row_of_old[s] for s in before if j is None or s not in pairs]
        reads = tuple(sorted(set(read)))
        if j is None:
            assert i is not None
            into = new[gone[i]].name if i in gone else ""
            rows.append(
                NodeDiff("fused" if into else "removed", _shaped(old[i], values[0]), None, into=into, reads=reads)
            )
            continue
        node = _shaped(new[j], values[1])
        members = inside.get(j, [])
        if i is None:
            # A quantizer stands for the tensor that it makes coarser.
            same = made.get(plain(node.outputs[0])) if node.kind == "conversion" and node.outputs else None
            found = _error(old, members[-1:] or ([] if same is None else [same]), node, values)
            rows.append(NodeDiff("added", None, node, reads=reads, **found))
            continue
        known = _shaped(old[i], values[0])
        said = (*words[i], *_shapes(known, node, same_format=same_format))
        # A layer of one format may be several operators of the other: the nearest has its output.
        ends = [node] if same_format else [node, *(new[k] for k in _chain(j, partner, theirs))]
        errors = [_error(old, [i, *members][-1:], end, values) for end in ends]
        nearest = min(errors, key=lambda e: float(e.get("error", math.inf)))
        rows.append(NodeDiff("changed" if said else "same", known, node, pairs[i][1], said, reads=reads, **nearest))
    return _traced(rows)


def _traced(rows: Sequence[NodeDiff]) -> list[NodeDiff]:
    """Rows with what of their errors comes in at them; errors of what cannot be compared are those of what it reads."""
    carried, found = dict[int, float](), []
    for place, row in enumerate(rows):
        read = max((carried.get(k, 0.0) for k in row.reads), default=0.0)
        carried[place] = read if row.error is None or not math.isfinite(row.error) else row.error
        if row.error is None:
            found.append(row)
        else:
            own = math.sqrt(max(row.error**2 - read**2, 0.0)) if math.isfinite(row.error) else row.error
            found.append(replace(row, own_error=own))
    return found


def _in_order(nodes: Sequence[GraphNode], links: Links) -> list[int]:
    """Nodes in order, those that make real numbers of a constant right before the node that needs them."""
    before: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        readers = [] if node.inputs else links.readers(place)
        before.setdefault(min([r for r in readers if r > place], default=place), []).append(place)
    return [k for place in sorted(before) for k in sorted(before[place], key=lambda k, p=place: (k == p, k))]  # type: ignore[misc]  # bound at once


def _shaped(node: GraphNode, values: Values) -> GraphNode:
    """A node with the shape of one example of what it computes."""
    found = values.get(node.outputs[0]) if node.outputs else None
    return node if found is None else replace(node, shape=(None, *found.shape[1:]) if found.ndim else ())


def _shapes(old: GraphNode, new: GraphNode, *, same_format: bool) -> list[str]:
    if old.shape is None or new.shape is None or old.shape[1:] == new.shape[1:]:
        return []
    if not same_format and sorted(d or 0 for d in old.shape[1:]) == sorted(d or 0 for d in new.shape[1:]):
        return []  # channels first or last
    return [f"output {_dims(old.shape)} → {_dims(new.shape)}"]


def _dims(shape: Sequence[int | None]) -> str:
    return " × ".join("?" if d is None else str(d) for d in shape[1:]) or "one value"


def _tensor(node: GraphNode, values: Values) -> NDArray[Any] | None:
    return values.get(node.outputs[0]) if node.outputs else None


def _error(
    old: Sequence[GraphNode], against: Sequence[int], node: GraphNode, values: Sequence[Values]
) -> dict[str, Any]:
    before = _tensor(old[against[0]], values[0]) if against else None
    after = _tensor(node, values[1])
    if after is not None and after.dtype.kind != "f" and against and node.kind != "conversion":
        # Sums of whole numbers, which others turn into real ones.
        after = values[1].get(old[against[0]].outputs[0])
    if before is None or after is None or before.dtype.kind != "f" or after.dtype.kind != "f":
        return {}
    found = relative_error(before, after)
    if found is None:
        return {}
    return {
        "error": found[0], "channels_left_out": found[1], "before_range": ends(before), "after_range": ends(after),
        "saturated": saturated(before, after),
    }  # fmt: skip


def _chain(place: int, partner: Collection[int], links: Links) -> list[int]:
    """The nodes without a partner behind a node, as long as there is one only."""
    found: list[int] = []
    while len(readers := [r for r in links.readers(found[-1] if found else place) if r not in partner]) == 1:
        found.append(readers[0])
    return found


def _confirmed(
    old: Sequence[GraphNode],
    new: Sequence[GraphNode],
    pairs: Mapping[int, tuple[int, How]],
    gone: Mapping[int, int],
    values: Sequence[Values],
) -> dict[int, int]:
    """Fused nodes as far as the values agree: what the other node computes is nearer to theirs than to its own.

    A quantizer behind the other node may be the one that does the work: it clips what an activation has clipped.
    """
    kept = dict(gone)
    partner = {j: i for i, (j, _) in pairs.items()}
    theirs = Links(new)
    for i, j in gone.items():
        if j not in partner or partner[j] > i:
            continue
        chain = [j, *_chain(j, partner, theirs)]
        sides = [_tensor(old[partner[j]], values[0]), _tensor(old[i], values[0])]
        for place in chain:
            after = _tensor(new[place], values[1])
            found = [None if s is None or after is None else relative_error(s, after) for s in sides]
            if found[0] is None or found[1] is None or found[0][0] >= found[1][0]:
                kept[i] = chain[min(1, chain.index(place))]
                break
        else:
            del kept[i]
    return kept
