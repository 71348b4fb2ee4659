"""A Keras model as it is trained with the rounding of int8 in it, and as it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.converters import _keras
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.sandbox.task import Report
from deploykit.surgery import selection
from deploykit.surgery.channels.keras_graph import Flat, flat
from deploykit.surgery.weights.keras_normalization import absorb
from deploykit.training.augment import Batches
from deploykit.training.bridge import to_tf_keras
from deploykit.training.keras_ends import arranged
from deploykit.training.loop import Trainee, fit
from deploykit.training.progress import Trained
from deploykit.training.qat import quantizers
from deploykit.training.qat.builder import Quantizing
from deploykit.training.schedule import Schedule
from deploykit.training.targets import TrainingGoal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: End of the range of what is nothing but zeros.
_ALONE = 1.0

Feeds = Mapping[str, "NDArray[Any]"]


@dataclass
class QuantizedModel:
    """A model that computes with the rounding of int8.

    Attributes:
        source: The Keras model that it is made from.
        model: The tf_keras model.
        parts: What was replaced in it.
        data: The data; only the training split is read.
        absorbed: Layers that a batch normalization has been multiplied into.
    """

    source: Any
    model: Any
    parts: Quantizing
    data: Dataset
    absorbed: list[str]

    @classmethod
    def of(
        cls, source: Any, data: Dataset, probe: Feeds, *, keeps: tuple[bool, bool], exclude: str = ""
    ) -> QuantizedModel:
        """Make it of a Keras model, which is changed: batch normalizations are multiplied into the layers before.

        Args:
            source: A functional or Sequential Keras 3 model.
            data: The data.
            probe: Some examples, on which the copy must give what the model gives.
            keeps: Whether zeros are kept, and whether shared values are.
            exclude: Says which layers stay float.

        Raises:
            SettingError: A name in ``exclude`` is neither a layer's nor a class's.
            UnsupportedModelError: A layer has no counterpart in tf_keras, or none of them can be quantized.
            CandidateError: The copy computes something else.
        """
        steps = flat(source)
        left = _left(steps, exclude)
        absorbed = absorb(steps, _alone(steps))
        plain = Quantizing(steps, absorbed, rounds=False)
        to_tf_keras(source, plain.wrap).check(probe, data.contract)
        parts = Quantizing(steps, absorbed, keeps=keeps, left=left)
        made = to_tf_keras(source, parts.wrap).model
        if not parts.kernels:
            raise UnsupportedModelError(
                "TF-MOT cannot quantize any layer of the model"
                + (" that exclude leaves" if left else "")
                + ": it knows Dense, and two-dimensional convolutions.",
                remedy=f"{'leave fewer layers out, or ' if left else ''}use quantize_static or quantize_dynamic for "
                "this model.",
            )
        return cls(source, made, parts, data, list(absorbed))

    def __call__(self, tensors: Any, *, training: bool) -> list[Any]:
        """The outputs for inputs in the model's order. While training, ranges follow what they see."""
        found = self.model(tensors if len(tensors) > 1 else tensors[0], training=training)
        return list(found) if isinstance(found, list | tuple) else [found]

    def inputs(self, feeds: Feeds) -> list[Any]:
        """Examples by name as tensors in the model's order."""
        tf = require("tensorflow", "tensorflow")
        return [tf.convert_to_tensor(v) for v in arranged(self.source, feeds, self.data.contract)]

    def calibrate(self, batches: Iterable[Feeds]) -> None:
        """Let all ranges be those of some examples: training starts from what static quantization would give."""
        kinds = quantizers.module("quantizers")
        seen = kinds.AllValuesQuantizer(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        kept = []
        for owner, name, variables in self._ranges():
            kept.append((owner, name, getattr(owner, name)))
            setattr(owner, name, [seen] if isinstance(getattr(owner, name), list) else seen)
            for variable in variables.values():
                variable.assign(0.0)
        for feeds in batches:
            self(self.inputs(feeds), training=True)
        for owner, name, own in kept:
            setattr(owner, name, own)
        for _, _, variables in self._ranges():
            _open(variables, 0.0)
        self.settle()

    def _ranges(self) -> Iterator[tuple[Any, str, Mapping[str, Any]]]:
        """Each range of activations: who has the quantizer, under which name, and the variables of the range."""
        for layer in self.parts.quantized:
            if hasattr(layer, "quantizer_vars"):
                yield layer, "quantizer", layer.quantizer_vars
                continue
            if layer._output_quantizers:
                yield layer, "_output_quantizers", layer._output_quantizer_vars
            for activation in layer._quantize_activations:
                for name in ("_pre_activation_vars", "_post_activation_vars"):
                    if hasattr(activation, name):
                        yield activation, "quantizer", getattr(activation, name)

    def settle(self) -> None:
        """Put kernels back onto what they keep, and let their ranges be those of the weights as they are now."""
        for kernel in self.parts.kernels:
            if kernel.kept is not None:
                kernel.variable.assign(kernel.kept.project(kernel.variable))
            for weight, quantizer, variables in kernel.wrapper._weight_vars:
                quantizer(weight, True, weights=variables)
                _open(variables, -_ALONE)

    def train(self, schedule: Schedule, goal: TrainingGoal, *, report: Report, patience: int) -> Trained:
        """Train it in place. The same seed gives the same weights. Penalties of weights are left out.

        Args:
            schedule: How long and on what.
            goal: What all outputs are compared with.
            report: Called with the progress in steps.
            patience: Epochs without a smaller loss of the held-out examples after which training stops.

        Raises:
            CandidateError: The loss is not finite.
        """
        tf, tf_keras = require("tensorflow", "tensorflow"), require("tf_keras", "tensorflow")
        tf_keras.utils.set_random_seed(schedule.seed)
        variables = self.model.trainable_variables
        chosen = tf_keras.optimizers.Adam(tf_keras.optimizers.schedules.CosineDecay(**schedule.cosine()))
        chosen.build(variables)
        kept = {k.variable.ref(): k.kept for k in self.parts.kernels if k.kept is not None}

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def step(inputs: Any, targets: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = goal.loss(targets, self(inputs, training=True))
            gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
            own = [
                kept[v.ref()].gradient(g) if v.ref() in kept else g for g, v in zip(gradients, variables, strict=True)
            ]
            chosen.apply_gradients(zip(own, variables, strict=True))
            self.settle()
            return loss

        @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
        def measure(inputs: Any, targets: Any) -> Any:
            return goal.loss(targets, self(inputs, training=False))

        batches = Batches(self.data, schedule)

        def given(index: NDArray[np.int64], *, training: bool) -> tuple[Any, Any]:
            batch = batches.changed(index) if training else batches.plain(index)
            return self.inputs(batch.inputs), goal.targets(batch)

        trainee = Trainee(
            given=given,
            step=lambda made: float(step(*made)),
            measure=lambda made: float(measure(*made)),
            weights=self.model.get_weights,
            restore=self.model.set_weights,
        )
        return fit(trainee, schedule, goal.name, report, patience=patience)

    def save(self, target: Path) -> _keras.Names:
        """Write a SavedModel in which TFLite's converter finds the rounding, and all kernels are rounded."""
        tf, made = require("tensorflow", "tensorflow"), _keras.exportable(self.source)
        for kernel in self.parts.kernels:
            for weight, quantizer, variables in kernel.wrapper._weight_vars:
                weight.assign(quantizer(weight, False, weights=variables))
                quantizer.stored = True
        arguments = _keras.argument_names(list(made.inputs))
        tensors = [self.model.inputs[place] for place in made.inputs.values()]
        specs = [tf.TensorSpec(t.shape, t.dtype, name=n) for t, n in zip(tensors, arguments, strict=True)]
        places = sorted(range(len(arguments)), key=list(made.inputs.values()).__getitem__)

        def serve(*given: Any) -> dict[str, Any]:
            found = self([given[place] for place in places], training=False)
            return {name: tf.identity(found[place]) for name, place in made.outputs.items()}

        module, signature = tf.Module(), tf.function(serve, input_signature=specs).get_concrete_function()
        module.held = list(signature.variables)  # not the model, whose layers would all be traced once more
        tf.saved_model.save(module, str(target), signatures=signature)
        return _keras.Names(dict(zip(made.inputs, arguments, strict=True)), {name: name for name in made.outputs})


def _open(variables: Mapping[str, Any], low: float) -> None:
    """Give what is nothing but zeros a range, from ``low`` on: no runtime knows a scale of 0."""
    tf = require("tensorflow", "tensorflow")
    ends = variables["min_var"], variables["max_var"]
    closed = tf.equal(*ends)
    for variable, value in zip(ends, (low, _ALONE), strict=True):
        variable.assign(tf.where(closed, value, variable))


def _left(steps: Flat, exclude: str) -> set[int]:
    """The layers that stay float, by their ids."""
    form = FORMATS.get("keras")
    parts = [
        selection.Selectable(
            name, kind, follows=not getattr(layer, "weights", ()), kind=form.kind_of(Layer(name, kind))
        )
        for name, layer in steps.layers.items()
        if (kind := type(layer).__name__) not in {"InputLayer", "BatchNormalization"}
    ]
    return {id(steps.layers[name]) for name in selection.excluded(exclude, parts, "layer", "layer type")}


def _alone(steps: Flat) -> set[str]:
    """Layers whose weights only they use."""
    return {name for name, count in steps.calls().items() if count == 1}
