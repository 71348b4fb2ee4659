"""Magnitude pruning: the smallest weights become zero, and the others learn to do without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.converters import _keras
from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.loading.keras import ADAPTER as KERAS
from deploykit.surgery import kernels, selection
from deploykit.surgery.weights.kernel import Kernel, globally_weakest, parse_pattern, weakest, weakest_in_blocks
from deploykit.training.bridge import to_tf_keras
from deploykit.training.schedule import Schedule
from deploykit.training.tf_keras_trainer import fine_tune
from deploykit.transforms._conditions import Condition, Zeros
from deploykit.transforms._contract import PRUNE, UNITS, Need, Transform, TransformJob, Variant
from deploykit.transforms._onnx_weights import OnnxWeights
from deploykit.transforms._settings import SMALL_LAYERS
from deploykit.transforms._weights import small_kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Share of the steps in which a polynomial schedule raises the sparsity; the others recover the accuracy.
_RAMP = 0.3
#: How often masks are recomputed: sorting all weights at every step would take longer than the step.
_UPDATES = 10
#: Share of the weights in the layers that are spared: mostly the first and the last one, which suffer most.
_SMALL = 0.01


class _TFMOT(Variant):
    name = "tfmot"
    label = "magnitude pruning (TF-MOT)"
    help = "TensorFlow Model Optimization on a tf_keras copy of the model; the weights are copied back to Keras 3."
    extra = "tensorflow"
    requires = ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization")
    group = "tf_keras"
    accepts = frozenset({"keras"})
    produces = "keras"
    uses = (
        "sparsity", "schedule", "small_layers", "epochs", "batch_size", "learning_rate", "train_examples", "exclude",
    )  # fmt: skip
    needs = ("train", "labels")

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """No labels when nothing is trained: the examples only show that the copy computes the same."""
        return super().needs_for(parameters) - ({"labels"} if not parameters["epochs"] else set())

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Zeros."""
        return frozenset({"sparse"} if parameters["sparsity"] else ())

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Zeros."""
        return (*super().ensures(parameters), Zeros(parameters["sparsity"]))

    def _apply(self, job: TransformJob) -> None:
        data = job.examples
        model = _keras.load(job)
        schedule = Schedule.of(
            data, examples=job["train_examples"], batch_size=job["batch_size"], epochs=job["epochs"],
            learning_rate=job["learning_rate"], seed=job.seed,
        )  # fmt: skip
        pruning = _Pruning(job["sparsity"], job["schedule"], schedule.steps)
        small = [] if job["small_layers"] else kernels.smallest(_keras.all_layers(model), _SMALL)
        pruning.spare([*_named(model, job["exclude"]), *small])
        bridge = to_tf_keras(model, pruning.wrap)
        probe = data.batch("train", schedule.examples[:16])
        bridge.check(probe, data.contract)
        if schedule.steps:
            trained = fine_tune(bridge, data, schedule, pruning.callbacks(), scored=job.scored, report=job.report)
            job.notes |= trained.notes
        pruning.finish()
        bridge.copy_back()
        bridge.check(probe, data.contract)
        job.notes |= pruning.notes()
        _keras.save(model, job.target)


class _Onnx(OnnxWeights):
    name = "onnx"
    label = "magnitude pruning (ONNX)"
    help = "Sets weights of the graph to zero in one go, without training; the graph stays as it is."
    uses = ("sparsity", "scope", "threshold", "pattern", "small_layers", "exclude")

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Zeros."""
        return frozenset({"sparse"} if parameters["sparsity"] or parameters["threshold"] else ())

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """The share of zeros, where it is known beforehand."""
        exact = parameters["threshold"] is None and parameters["pattern"] == "unstructured"
        zeros = (Zeros(parameters["sparsity"]),) if exact and parameters["scope"] == "layer" else ()
        return (*super().ensures(parameters), *zeros)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Settings of training have no effect here."""
        yield from super().problems(parameters, facts)
        yield Problem("note", "ONNX files are pruned in one go, without fine-tuning")

    def _changed(self, job: TransformJob, model: Any, kernels: Sequence[Kernel]) -> Sequence[NDArray[Any] | None]:
        import numpy as np

        spared = set() if job["small_layers"] else small_kernels(kernels)
        kept = [k for k in kernels if k.layer not in spared]
        chosen = [k.rows for k in kept]
        scores = [np.abs(rows) for rows in chosen]
        if pattern := parse_pattern(job["pattern"]):
            gone = [weakest_in_blocks(s, *pattern, k.places) for s, k in zip(scores, kept, strict=True)]
        elif job["threshold"] is not None:
            gone = [score < job["threshold"] for score in scores]
        elif job["scope"] == "global":
            gone = globally_weakest(scores, job["sparsity"])
        else:
            gone = [weakest(score, job["sparsity"]) for score in scores]
        found = iter(np.where(mask, np.float32(0.0), rows) for mask, rows in zip(gone, chosen, strict=True))
        return [None if k.layer in spared else next(found) for k in kernels]


class _Pruning:
    """Wraps layers for TF-MOT, and sees to it that each of them ends up with the sparsity asked for."""

    def __init__(self, sparsity: float, schedule: str, steps: int) -> None:
        tfmot = require("tensorflow_model_optimization", "tensorflow")
        self._keras = tfmot.sparsity.keras
        self._sparsity = sparsity
        self._schedule = self._make_schedule(schedule, steps)
        self._spared: set[int] = set()
        self._pruned: dict[str, Any] = {}
        self._left: list[str] = []

    def _make_schedule(self, schedule: str, steps: int) -> Any:
        if schedule == "constant":
            return self._keras.ConstantSparsity(self._sparsity, begin_step=1, frequency=max(1, steps // _UPDATES))
        ramp = max(1, int(_RAMP * steps))
        every = max(1, ramp // _UPDATES)
        end = ramp // every * every  # masks change at multiples of the frequency only: the ramp must end on one
        return self._keras.PolynomialDecay(0.0, self._sparsity, begin_step=0, end_step=end, frequency=every)

    def spare(self, layers: list[Any]) -> None:
        """Leave these Keras 3 layers as they are."""
        self._spared = {id(layer) for layer in layers}

    def wrap(self, layer: Any, twin: Any, outputs: Any) -> Any:
        """A pruning wrapper around a twin that has kernels; the twin itself otherwise."""
        if not kernels.has_kernels(twin) or id(layer) in self._spared or _masked(twin, outputs):
            if any(len(w.shape) > 1 for w in twin.weights):
                self._left.append(layer.name)
            return twin
        twin.get_prunable_weights = lambda: kernels.kernels(twin)
        self._pruned[layer.name] = twin
        return self._keras.prune_low_magnitude(twin, pruning_schedule=self._schedule)

    def callbacks(self) -> list[Any]:
        """What TF-MOT needs while it trains."""
        return [self._keras.UpdatePruningStep()]

    def finish(self) -> None:
        """Apply the sparsity to all kernels: training reaches only those that lead to the first output."""
        for twin in self._pruned.values():
            for kernel in twin.get_prunable_weights():
                kernel.assign(sparse(kernel.numpy(), self._sparsity))

    def notes(self) -> dict[str, Any]:
        """What was pruned, and how much of it."""
        import numpy as np

        values = {name: [w.numpy() for w in twin.get_prunable_weights()] for name, twin in self._pruned.items()}
        zeros = {name: sum(int((k == 0).sum()) for k in arrays) for name, arrays in values.items()}
        sizes = {name: sum(k.size for k in arrays) for name, arrays in values.items()}
        return {
            "sparsity": round(sum(zeros.values()) / max(1, sum(sizes.values())), 4),
            "sparsity_by_layer": {name: round(zeros[name] / sizes[name], 4) for name in sizes},
            "prunable_weights": int(np.sum(list(sizes.values()), dtype=int)),
            "left_dense": self._left,
            UNITS: [[name, type(twin).__name__, sizes[name]] for name, twin in self._pruned.items()],
        }


def sparse(kernel: NDArray[Any], sparsity: float) -> NDArray[Any]:
    """The kernel with its smallest weights set to zero; at least one weight stays.

    Args:
        kernel: Weights of any shape.
        sparsity: Share of them that become zero.
    """
    import numpy as np

    found: NDArray[Any] = np.where(weakest(np.abs(kernel), sparsity), kernel.dtype.type(0), kernel)
    return found


def _named(model: Any, text: str) -> list[Any]:
    """The layers that a text excludes."""
    layers = list(_keras.all_layers(model))
    seen = [Layer(layer.name, type(layer).__name__) for layer in layers]
    parts = [selection.Selectable(x.name, x.type, kind=KERAS.kind_of(x)) for x in seen]
    left = selection.excluded(text, parts, "layer", "layer type")
    return [layer for layer in layers if layer.name in left]


def _masked(twin: Any, outputs: Any) -> bool:
    """Whether a mask of padded steps passes through: TF-MOT's wrapper would lose it."""
    keras = require("keras", "tensorflow")
    tensors = [*keras.tree.flatten(twin.input), *keras.tree.flatten(outputs)]
    return any(getattr(t, "_keras_mask", None) is not None for t in tensors)


class PruneMagnitude(Transform):
    """Sets the smallest weights of each layer to zero while fine-tuning the others."""

    name = "prune_magnitude"
    label = "magnitude pruning"
    help = (
        "Sets the smallest weights to zero, and fine-tunes the rest of Keras models. Makes the compressed file "
        "smaller. No runtime here skips single zeros, so it is no faster."
    )
    family = PRUNE
    parameters = (
        Parameter(
            "sparsity",
            "float",
            0.5,
            "Share of each layer's weights that become zero.",
            minimum=0.0,
            maximum=0.99,
            step=0.05,
            unit="share",
            shown=True,
        ),
        Parameter(
            "scope",
            "choice",
            "layer",
            "layer: the same share of every layer; global: the smallest weights of all layers together.",
            choices=("layer", "global"),
            binding=True,
        ),
        Parameter(
            "threshold",
            "float",
            None,
            "Set weights below this size to zero, instead of a share of them.",
            minimum=0.0,
            binding=True,
        ),
        Parameter(
            "pattern",
            "choice",
            "unstructured",
            "N:M keeps the largest N of every M weights along the inputs, as sparse kernels of GPUs want them; the "
            "sparsity is then 1 − N/M.",
            choices=("unstructured", "1:2", "1:4", "2:4", "4:8"),
            binding=True,
        ),
        Parameter(
            "schedule",
            "choice",
            "polynomial",
            "Polynomial raises the sparsity step by step; constant prunes all at once and then recovers.",
            choices=("polynomial", "constant"),
        ),
        SMALL_LAYERS,
        Parameter(
            "epochs",
            "int",
            2,
            "Passes over the training examples; 0 prunes without fine-tuning.",
            minimum=0,
            maximum=1000,
            step=1,
            unit="epochs",
        ),
        Parameter("batch_size", "int", 64, "Examples per step.", minimum=1, maximum=65536, step=1, unit="examples"),
        Parameter(
            "learning_rate",
            "float",
            1e-3,
            "Adam's learning rate at the first step of fine-tuning; it decays along a cosine.",
            minimum=1e-7,
            maximum=1.0,
        ),
        Parameter(
            "train_examples",
            "int",
            4000,
            "Training examples to fine-tune on, sampled in proportion to the classes; 0 uses all.",
            minimum=0,
            step=1000,
            unit="examples",
        ),
        selection.setting("layers", "layer types", "stay dense"),
    )
    variants = (_TFMOT(), _Onnx())
    excluding = "exclude"
    one_shot: ClassVar[dict[str, Value]] = {"epochs": 0}


ADAPTER = PruneMagnitude()
