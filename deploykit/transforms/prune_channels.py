"""Channel pruning: whole channels and neurons are removed, so that the model is a smaller dense one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.surgery import selection
from deploykit.surgery.channels import labels
from deploykit.surgery.channels.budget import spread
from deploykit.surgery.channels.labels import Ranking
from deploykit.surgery.channels.onnx_axes import Traced
from deploykit.surgery.channels.onnx_cut import cut
from deploykit.surgery.channels.onnx_expenses import expenses
from deploykit.surgery.channels.onnx_trace import trace
from deploykit.surgery.quantization import prepare
from deploykit.surgery.reconstruction import onnx_damage
from deploykit.surgery.reconstruction.onnx_solve import reconstruct
from deploykit.transforms._conditions import Condition, Without
from deploykit.transforms._contract import PRUNE, UNITS, Need, Stage, Transform, TransformJob, Variant
from deploykit.transforms._onnx_examples import examples_of
from deploykit.transforms._onnx_weights import REQUIRES, float_model

#: Files of the stage.
_GRAPH = "plain.onnx"
_RANKS = "ranks.json"
#: Criteria that look at weights alone, and the power of the norm.
_NORMS = {"l1": 1, "l2": 2}


class _Ranked(Stage):
    name = "onnx_channels"
    label = "channel ranking (ONNX)"
    help = "Finds out which channels belong together, and in which order they are missed least."
    requires = REQUIRES
    uses = ("criterion",)
    needs = ("calibration",)

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Norms look at weights alone."""
        return frozenset() if parameters["criterion"] in _NORMS else frozenset(self.needs)

    def _prepare(self, job: TransformJob) -> None:
        onnx = require("onnx", "")
        model = float_model(job)
        onnx.save(model, str(job.target / _GRAPH))
        traced = trace(model)
        _check_live(traced)
        rankings = _rankings(traced, job)
        (job.target / _RANKS).write_text(json.dumps([r.order for r in rankings]), "utf-8")


class _Onnx(Variant):
    name = "onnx"
    label = "channel pruning (ONNX)"
    help = "Cuts the graph itself: the same operators with fewer channels. Needs no labels and no training."
    requires = REQUIRES
    accepts = frozenset({"onnx"})
    produces = "onnx"
    uses = ("ratio", "criterion", "budget", "multiple", "reconstruct", "exclude")
    needs = ("calibration",)
    stages = (_Ranked(),)

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Nothing where weights alone decide and stay as they are."""
        return self.finishing_needs(parameters) | self.stages[0].needs_for(parameters)

    def finishing_needs(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Calibration data where weights are solved again."""
        return frozenset(self.needs) if parameters["reconstruct"] and parameters["ratio"] else frozenset()

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Fewer weights in dense layers."""
        return frozenset({"smaller"} if parameters["ratio"] else ())

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Weights in float."""
        return (Without("quantized", "already quantized", "prune first", "prune the float model it was made from"),)

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """About half of the inputs and half of the outputs of a layer go with half of the channels."""
        kept = 1.0 - float(parameters["ratio"])
        return 4.0 * (kept if parameters["budget"] == "parameters" else kept**2)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Nothing is removed, or batches do not fit."""
        yield from super().problems(parameters, facts)
        if not parameters["ratio"]:
            yield Problem("pointless", "a ratio of 0 removes nothing")

    def _apply(self, job: TransformJob) -> None:
        onnx = require("onnx", "")
        traced = trace(onnx.load(str(job.source / _GRAPH)))
        orders = json.loads((job.source / _RANKS).read_text("utf-8"))
        rankings = [
            Ranking(group, tuple((int(c), float(d)) for c, d in order))
            for group, order in zip(traced.groups(), orders, strict=True)
        ]
        free = _free(traced, rankings, job["exclude"])
        counts = _counts(traced, free, job["ratio"], job["budget"], job["multiple"])
        gone = {c for ranking, count in zip(free, counts, strict=True) for c, _ in ranking.order[:count]}
        if job["ratio"] and not gone:
            raise UnsupportedModelError(
                f"A ratio of {job['ratio']:g} removes no channel of the model.",
                remedy=f"raise ratio, or keep fewer than a multiple of {job['multiple']} channels with multiple=1.",
            )
        made = cut(traced, gone)
        if gone and job["reconstruct"]:
            made = reconstruct(traced, gone, made, examples_of(traced.model, job))
        onnx.save(made, str(job.target))
        prepare.check_opens(job.target)
        job.notes |= _notes(traced, free, gone, made)


class PruneChannels(Transform):
    """Whole channels are removed, with everything that belongs to them."""

    name = "prune_channels"
    label = "channel pruning"
    help = (
        "Removes whole channels and neurons and rewires what reads them: a smaller dense model, faster on every "
        "runtime. The remaining weights are solved again to make up for the loss, without labels."
    )
    family = PRUNE
    parameters = (
        Parameter(
            "ratio", "float", 0.5, "Share of the channels to remove, or of the budget to save.", minimum=0.0,
            maximum=0.95, step=0.05, unit="share", shown=True,
        ),
        Parameter(
            "criterion", "choice", "reconstruction",
            "What decides which channels go: the norm of their weights, the mean size of their activation, or what the "
            "next layers lose when their other weights make up for it (the most accurate).",
            choices=("reconstruction", "activation", "l1", "l2"),
        ),
        Parameter(
            "budget", "choice", "channels",
            "What the ratio is a share of. channels: each layer loses the same share; parameters or macs: layers that "
            "suffer less lose more, until the model as a whole has lost the share.",
            choices=("channels", "parameters", "macs"),
        ),
        Parameter(
            "multiple", "int", 8,
            "Keep a multiple of so many channels where a layer has them: kernels are fastest at 8 or 16.",
            minimum=1, maximum=64, label="multiple of",
        ),
        Parameter(
            "reconstruct", "bool", True,
            "Solve the remaining weights again, so that each layer answers as the original's on calibration data.",
        ),
        selection.setting("layers", "operator types", "keep all channels"),
    )  # fmt: skip
    variants = (_Onnx(),)
    excluding = "exclude"
    careful: ClassVar[dict[str, Value]] = {"ratio": 0.25}
    one_shot: ClassVar[dict[str, Value]] = {"reconstruct": False}


def _check_live(traced: Traced) -> None:
    """Refuse a model in which no channel can go; names what is in the way."""
    if traced.groups():
        return
    found = [f"{kind} ({', '.join(names[:3])})" for kind, names in sorted(traced.frozen.items())]
    between = f": channels run into {'; '.join(found)}" if found else ""
    raise UnsupportedModelError(
        f"No channel of the model can be removed{between}.",
        remedy="layers whose outputs are outputs of the model, and layers behind operators without a rule, stay whole; "
        "use another technique for this model.",
    )


def _rankings(traced: Traced, job: TransformJob) -> list[Ranking]:
    criterion = job["criterion"]
    if criterion in _NORMS:
        scores = labels.magnitudes(traced.labels, traced.made, traced.constants, _NORMS[criterion])
        return labels.ranked(traced.groups(), scores)
    examples = examples_of(traced.model, job)
    if criterion == "activation":
        return labels.ranked(traced.groups(), onnx_damage.means(traced, examples))
    return onnx_damage.orders(traced, examples)


def _free(traced: Traced, rankings: list[Ranking], exclude: str) -> list[Ranking]:
    """The groups that may lose channels."""
    sizes = {name: values.size for name, values in traced.constants.items()}
    owners = {producer.layer for producer, _ in traced.made}
    parts = [
        selection.Selectable(n.name, n.op_type, sum(sizes.get(i, 0) for i in n.input), n.name not in owners)
        for n in traced.model.graph.node
    ]
    left = selection.excluded(exclude, parts, "layer", "operator")
    return [ranking for ranking in rankings if left.isdisjoint(ranking.group.layers)]


def _counts(traced: Traced, rankings: list[Ranking], ratio: float, budget: str, multiple: int) -> list[int]:
    """How many components of each group go."""
    if budget == "channels":
        sizes = [len(ranking.group.components) for ranking in rankings]
        return [size - labels.kept_count(size, ratio, multiple) for size in sizes]
    return spread(rankings, expenses(traced, rankings, "macs" if budget == "macs" else "parameters"), ratio, multiple)


def _notes(traced: Traced, rankings: list[Ranking], gone: set[int], made: Any) -> dict[str, Any]:
    """Channels before and after, layer by layer, and the units that were changed."""
    shrunk = [ranking.group for ranking in rankings if gone.intersection(ranking.group.components)]
    changed = {name for group in shrunk for name in group.layers}
    kinds = {node.name: node.op_type for node in traced.model.graph.node}
    channels, units = {}, []
    for producer, axis in traced.made:
        stays = labels.kept(traced.labels, axis, gone)
        if producer.layer in changed:
            channels[producer.layer] = [len(stays), int(stays.sum())]
            units.append([producer.layer, kinds[producer.layer], int(traced.constants[producer.weight].size)])
    sizes = [sum(math.prod(t.dims) for t in model.graph.initializer) for model in (traced.model, made)]
    found: dict[str, Any] = {"channels": channels, "weights": sizes, UNITS: units}
    if traced.frozen:
        found["keeps_channels"] = {kind: names[:5] for kind, names in sorted(traced.frozen.items())}
    return found


ADAPTER = PruneChannels()
