"""The stages of channel pruning: which channels belong together, and in which order they go."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.transforms._contract import Need, Stage, TransformJob
from deploykit.transforms._weights.onnx import REQUIRES, float_model

if TYPE_CHECKING:
    from deploykit.surgery.channels.keras_axes import Traced as KerasTraced
    from deploykit.surgery.channels.labels import Ranking
    from deploykit.surgery.channels.onnx_axes import Traced
    from deploykit.transforms._training.own_answers import Ends

    AnyTraced: TypeAlias = Traced | KerasTraced

#: Files of the stages.
GRAPH, FILE, RANKS = "plain.onnx", "model.keras", "ranks.json"
#: Criteria that look at weights alone, and the power of the norm.
_NORMS = {"l1": 1, "l2": 2}


@dataclass(frozen=True)
class _Looking:
    """Where criteria look.

    Attributes:
        scales: Names of the scales of batch normalizations.
        orders: Ranks by what the next layers lose.
        means: The mean size of the activation of each component.
        gradients: What the loss changes by without each component.
    """

    scales: set[str]
    orders: Callable[[], list[Ranking]]
    means: Callable[[], dict[int, float]]
    gradients: Callable[[], dict[int, float]]


class _Ranked(Stage):
    uses = ("criterion",)
    needs = ("calibration", "train")

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Norms and scales are weights; of the training data, gradients take the labels of calibration examples."""
        if parameters["criterion"] in (*_NORMS, "batchnorm"):
            return frozenset()
        return frozenset(self.needs if parameters["criterion"] == "taylor" else ("calibration",))

    def _rank(self, job: TransformJob, traced: AnyTraced, looking: _Looking) -> None:
        """Write down in which order the channels of a model go."""
        _check_live(traced)
        rankings = _rankings(traced, job["criterion"], looking)
        (job.target / RANKS).write_text(json.dumps([r.order for r in rankings]), "utf-8")


class RankedOnnx(_Ranked):
    name = "onnx_channels"
    label = "channel ranking (ONNX)"
    help = "Finds out which channels belong together, and in which order they are missed least."
    requires: ClassVar[tuple[str, ...]] = REQUIRES

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.surgery.channels.onnx_trace import trace
        from deploykit.surgery.reconstruction import onnx_damage
        from deploykit.transforms._examples.onnx import examples_of

        onnx = require("onnx", "")
        model = float_model(job)
        onnx.save(model, str(job.target / GRAPH))
        traced = trace(model)
        looking = _Looking(
            {n.input[1] for n in traced.model.graph.node if n.op_type == "BatchNormalization"},
            lambda: onnx_damage.orders(traced, examples_of(traced.model, job)),
            lambda: onnx_damage.means(traced, examples_of(traced.model, job)),
            lambda: self._gradients(traced, job),
        )
        self._rank(job, traced, looking)

    def _gradients(self, traced: Traced, job: TransformJob) -> dict[int, float]:
        from deploykit.loading.onnx import signature
        from deploykit.surgery.onnx_session import runner
        from deploykit.surgery.reconstruction import onnx_damage
        from deploykit.transforms._examples.onnx import examples_of
        from deploykit.transforms._training.own_answers import Ends, goal_of

        specs = signature(traced.model, job.source)[1]
        ends, examples = Ends(specs, range(len(specs)), runner(traced.model)), examples_of(traced.model, job)
        return onnx_damage.gradients(traced, examples, goal_of(job, ends, examples))


class GradientsOnnx(RankedOnnx):
    name = "onnx_gradients"
    label = "channel ranking by gradients (ONNX)"
    help = "Finds out which channels change the loss least, by a TensorFlow function of the same graph."
    extra = "tensorflow"
    requires = (*REQUIRES, "tensorflow", "keras")
    group = "tensorflow"


class RankedKeras(_Ranked):
    name = "keras_channels"
    label = "channel ranking (Keras)"
    help = RankedOnnx.help
    extra = "tensorflow"
    requires = ("tensorflow", "keras")
    group = "tensorflow"

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.converters import _keras
        from deploykit.surgery.channels import keras_trace
        from deploykit.surgery.reconstruction import keras_damage
        from deploykit.transforms._examples.keras import keras_examples

        model = _keras.load(job)
        shutil.copyfile(job.source, job.target / FILE)
        traced = keras_trace.trace(model)
        _keras.make_stateless(model)
        layers = traced.flat.layers.items()
        looking = _Looking(
            {f"{name}:0" for name, x in layers if type(x).__name__ == "BatchNormalization" and x.scale},
            lambda: keras_damage.orders(traced, keras_examples(model, traced.flat, job)),
            lambda: keras_damage.means(traced, keras_examples(model, traced.flat, job)),
            lambda: self._gradients(traced, job),
        )
        self._rank(job, traced, looking)

    def _gradients(self, traced: KerasTraced, job: TransformJob) -> dict[int, float]:
        from deploykit.surgery.reconstruction import keras_damage
        from deploykit.transforms._examples.keras import keras_examples
        from deploykit.transforms._training.own_answers import goal_of

        examples = keras_examples(traced.model, traced.flat, job)
        return keras_damage.gradients(traced, examples, goal_of(job, _keras_ends(traced), examples))


def _check_live(traced: AnyTraced) -> None:
    """Refuse a model in which no channel can go; names what is in the way."""
    if traced.groups():
        return
    found = [f"{kind} ({', '.join(names[:3])})" for kind, names in sorted(traced.frozen.items())]
    between = f": channels run into {'; '.join(found)}" if found else ""
    raise UnsupportedModelError(
        f"No channel of the model can be removed{between}.",
        remedy="layers whose outputs are outputs of the model, and layers before parts without a rule, stay whole; "
        "use another technique for this model.",
    )


def _rankings(traced: AnyTraced, criterion: str, looking: _Looking) -> list[Ranking]:
    from deploykit.surgery.channels import labels

    if criterion in _NORMS:
        scores = labels.magnitudes(traced.labels, traced.made, traced.constants, _NORMS[criterion])
        return labels.ranked(traced.groups(), scores)
    if criterion == "batchnorm":
        return labels.ranked(traced.groups(), _scales(traced, looking.scales))
    if criterion == "reconstruction":
        return looking.orders()
    return labels.ranked(traced.groups(), looking.means() if criterion == "activation" else looking.gradients())


def _keras_ends(traced: KerasTraced) -> Ends:
    """The outputs of a Keras model, in the order in which its steps give them."""
    from deploykit.converters import _keras
    from deploykit.loading._keras.open import ends, graph_of, spec_of
    from deploykit.training.keras_ends import activation_name, final_operation
    from deploykit.transforms._training.own_answers import Ends

    made = _keras.exportable(traced.model)
    given = ends(graph_of(traced.model))[1]
    specs = [spec_of(name, tensor, activation_name(final_operation(tensor))) for name, tensor in given]
    inputs = {name: traced.flat.inputs[place] for name, place in made.inputs.items()}
    return Ends(
        specs, [made.outputs[spec.name] for spec in specs],
        lambda feeds: _keras.called(made, {name: feeds[at] for name, at in inputs.items()}),
    )  # fmt: skip


def _scales(traced: AnyTraced, names: set[str]) -> dict[int, float]:
    """The |γ| of each component.

    Source: Network Slimming (Liu et al. 2017, https://arxiv.org/abs/1708.06519)
    """
    found: dict[int, float] = {}
    for name in sorted(names & traced.constants.keys()):
        axis = traced.axes[name][0]
        assert axis is not None
        for component, value in zip(traced.labels.roots(axis), abs(traced.constants[name]), strict=True):
            found[int(component)] = found.get(int(component), 0.0) + float(value)
    for group in traced.groups():
        if not found.keys() >= set(group.components):
            raise UnsupportedModelError(
                f"No batch normalization scales the channels of {', '.join(group.layers[:3])}.",
                remedy="choose a criterion other than batchnorm. Files exported for inference often have their "
                "normalizations folded into the layers before.",
            )
    return found
