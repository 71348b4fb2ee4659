"""NNCF's static int8: OpenVINO's own quantizer, with its accuracy control."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.errors import CandidateError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.surgery import selection
from deploykit.transforms._conditions import FLOAT_LAYERS, Condition, Without
from deploykit.transforms._contract import QUANTIZE, UNITS, Need, Transform, TransformJob, Variant
from deploykit.transforms._quantizing import settings, stages

if TYPE_CHECKING:
    from deploykit.transforms._quantizing import nncf

#: NNCF cannot read what others have quantized.
_ALL_FLOAT = Without(
    "quantized",
    "quantized in part",
    "NNCF takes a float model: quantize once",
    "quantize the float model it was made from",
)

#: Sums of floats differ by less in another order.
_EXACT = 1e-9


class _Nncf(Variant):
    name = "nncf"
    label = "int8 static (NNCF)"
    help = "Pairs of conversions around operators, one scale for each channel of weights."
    extra = "nncf"
    requires = (*stages.REQUIRES, "nncf")
    accepts = stages.ACCEPTS
    produces = "onnx"
    uses = ("preset", "bias", "transformer", "smooth", "max_drop", "exclude")
    needs = ("calibration", "labels")
    seeded = False
    stages = (stages.GRAPH,)

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Labels for accuracy control."""
        return frozenset({"calibration", "labels"} if parameters.get("max_drop") else {"calibration"})

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers of 8 bits."""
        return 1.0

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Integer activations, which are unsigned; accuracy control may leave any operator in float."""
        whole = not parameters["exclude"] and not parameters["max_drop"]
        return frozenset({"int8", "quantized", "fully quantized"} if whole else {"int8", "quantized"})

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Nothing but floats."""
        return (FLOAT_LAYERS, _ALL_FLOAT)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Batches that do not fit, layers without an integer operator, attention that is not said."""
        yield from super().problems(parameters, facts)
        yield from settings.problems(parameters, facts, floating=("recurrent",))
        if settings.attends(facts) and not parameters["transformer"]:
            yield Problem(
                "note",
                "the model has attention: transformer=true keeps what lies between its products in float, which often "
                "keeps more accuracy",
            )
        if parameters["max_drop"] and facts.batch_size > 1:
            yield Problem("impossible", f"accuracy control needs single examples, not batches of {facts.batch_size}")

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no node has."""
        yield from settings.unsuited(parameters, layers)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import graphs, prepare, unsigned, write
        from deploykit.transforms._quantizing import nncf

        model = stages.graph(job.source)
        parts = write.parts_of(model.graph)
        left = selection.excluded(job["exclude"], parts, "node", "operator")
        if graphs.done_before(model.graph):
            raise UnsupportedModelError(
                "The model has quantized operators already, which NNCF cannot read.",
                remedy="quantize the float model it was made from, or use quantize_static for what is left in float.",
            )
        if wrong := write.spared(model.graph, None, per_channel=False):
            job.notes["stays_float"] = wrong
        wanted = nncf.Settings(
            job["preset"], job["bias"], job["transformer"], job["smooth"], tuple(sorted({*left, *wrong}))
        )
        examples = nncf.Examples(model, job)
        if job["max_drop"]:
            made = _controlled(job, model, wanted, examples)
        else:
            with graphs.failures("quantize", "NNCF"):
                made = nncf.quantized(model, wanted, examples)
        if not (quantized := set(nncf.operators(made.graph))):
            raise UnsupportedModelError(
                "NNCF found nothing to quantize in the model.",
                remedy="exclude less, or skip this technique for the model.",
            )
        unsigned.unsign(made.graph)
        nncf.round_biases(made.graph)
        require("onnx", "").save(made, str(job.target))
        prepare.check_opens(job.target)
        job.notes |= nncf.counts(made.graph)
        job.notes[UNITS] = selection.units([part for part in parts if part.name in quantized], set())


def _controlled(job: TransformJob, model: Any, wanted: nncf.Settings, examples: nncf.Examples) -> Any:
    """The graph that keeps the promise, with notes of what that took.

    Raises:
        CandidateError: Nothing keeps it.
    """
    from deploykit.surgery.quantization import graphs
    from deploykit.transforms._quantizing import nncf

    judge, allowed = nncf.Judge(model, job, examples), float(job["max_drop"])
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder, graphs.failures("quantize", "NNCF"):
        found = nncf.controlled(model, wanted, examples, judge, allowed, Path(folder))
    now = set(nncf.operators(found.model.graph))
    back = [name for name in nncf.operators(found.whole.graph) if name not in now]
    job.notes |= {
        "turned_back": back,
        "metric": found.metric,
        **dict(zip(("float_score", "int8_score", "score"), (round(s, 6) for s in found.scores), strict=True)),
    }
    if found.drop > allowed + _EXACT or not now:
        missed = f"{found.metric} on the calibration examples still drops by {found.drop:.3g}"
        raise CandidateError(
            f"NNCF turned {len(back)} operators back to float to lose {allowed:.3g} at most, and "
            f"{missed if now else 'none is left in int8'}.",
            remedy="raise max_drop or calibration_size=, or choose the operators with quantize_mixed.",
        )
    return found.model


class QuantizeNncf(Transform):
    """Quantizes weights and activations with NNCF."""

    name = "quantize_nncf"
    label = "int8 by NNCF"
    help = (
        "OpenVINO's own quantizer: int8 with corrected biases, and accuracy control, which turns operators back to "
        "float until no more than you allow is lost. The file runs in OpenVINO and ONNX Runtime, about as fast as one "
        "of quantize_static, whose own bias correction kept more of EfficientNet-Lite0."
    )
    family = QUANTIZE
    parameters = (
        Parameter(
            "preset", "choice", "auto", "performance: activations around 0 where they may be negative; mixed: from the "
            "lowest to the highest; auto: mixed for transformers, else performance.",
            choices=("auto", "performance", "mixed"),
        ),
        Parameter(
            "bias", "choice", "fast", "How biases take up the error of quantization: fast, from the statistics of each "
            "layer; full, layer after layer, which takes longer to build; none.", label="bias correction",
            choices=("fast", "full", "none"),
        ),
        Parameter(
            "transformer", "bool", False, "Takes the model for a transformer: keeps the operators between the products "
            "of attention in float, and allows smooth.",
        ),
        Parameter(
            "smooth", "float", 0.0, "SmoothQuant's α: how much of the outliers in what matrix products read moves into "
            "their weights; 0 leaves them where they are. NNCF's documentation takes 0.95.", minimum=0.0, maximum=1.0,
            step=0.05, under="transformer",
        ),
        Parameter(
            "max_drop", "float", 0.0, "Accuracy control: what the metric may lose on the calibration examples, as in a "
            "sweep absolute for accuracies and relative for errors; 0 for no control. Takes labels, and the time of "
            "many evaluations. Calibration examples are few: the row shows what other examples lose.",
            label="accuracy control", minimum=0.0, maximum=1.0, step=0.005, unit="share",
        ),
        settings.EXCLUDE,
    )  # fmt: skip
    variants = (_Nncf(),)
    excluding = settings.EXCLUDE.name
    careful: ClassVar[dict[str, Value]] = {"bias": "full"}
    one_shot: ClassVar[dict[str, Value]] = {"max_drop": 0.0}


ADAPTER = QuantizeNncf()
