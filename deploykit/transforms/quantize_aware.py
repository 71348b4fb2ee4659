"""Quantization-aware training: the model is trained with the rounding of int8 in it, which costs less accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter, Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.surgery import selection
from deploykit.transforms._conditions import Condition, Without
from deploykit.transforms._contract import QUANTIZE, UNITS, Need, Stage, Transform, TransformJob, Variant
from deploykit.transforms._quantizing.stages import link
from deploykit.transforms._training.answering import answering
from deploykit.transforms._training.trained import BATCHED, PARAMETERS, LabelsOf, patience, schedule_of
from deploykit.transforms._weights.kernels import FLOAT_WEIGHTS

if TYPE_CHECKING:
    from deploykit.training.qat.model import QuantizedModel
    from deploykit.training.schedule import Schedule

#: File of the stage.
_FILE = "model.tflite"
#: Examples that the first ranges are taken from.
_CALIBRATION = 512
#: What of a model that steps before have pruned or clustered is kept: zeros, and shared values.
_KEEPS = {"auto": (True, True), "zeros": (True, False), "nothing": (False, False)}
#: Layers with weights that are trained with rounding.
_TRAINED = frozenset({"Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D", "SeparableConv2D"})
_SHOWN = 4

_USES = ("preserve", "epochs", "batch_size", "learning_rate", "train_examples", "exclude")
_NEEDS: tuple[Need, ...] = ("train", "teacher", "labels")
_REQUIRES: tuple[str, ...] = ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization")


def _needs_for(parameters: dict[str, Any]) -> frozenset[Need]:
    """Without labels, the original model says what is right."""
    return frozenset({"train", "teacher"} if parameters["epochs"] else {"train"})


class _Trained(Stage):
    name = "quantize_aware_training"
    label = "quantization-aware training (TF-MOT)"
    help = "Trains a tf_keras copy of the model with the rounding of int8 in it; files of all formats are made of it."
    extra = "tensorflow"
    requires = _REQUIRES
    group = "tf_keras"
    uses = _USES
    needs = _NEEDS

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Examples, and the original model where there is training."""
        return _needs_for(parameters)

    def _prepare(self, job: TransformJob) -> None:
        from deploykit.converters import _keras
        from deploykit.training.qat.model import QuantizedModel

        data, model = job.examples, _keras.load(job)
        if reset := _keras.make_stateless(model):
            job.notes["state"] = f"each call starts with fresh state: {', '.join(reset)}"
        schedule = schedule_of(job, model.inputs[0].shape[0])
        first = schedule.parts(schedule.examples[: max(_CALIBRATION, schedule.batch_size)])
        probe, keeps = data.batch("train", first[0]), _KEEPS[job["preserve"]]
        made = QuantizedModel.of(model, data, probe, keeps=keeps, exclude=job["exclude"])
        made.calibrate(data.batch("train", part) for part in first)
        if job["epochs"]:
            _train(job, made, schedule)
        _write(job, made)
        job.notes |= {UNITS: made.parts.units, **_kept(made)}
        if made.parts.untrained:
            job.notes["not_trained_for_int8"] = made.parts.untrained


def _train(job: TransformJob, made: QuantizedModel, schedule: Schedule) -> None:
    from deploykit.converters import _keras
    from deploykit.training.keras_ends import activation_name, final_operation
    from deploykit.training.targets import Several

    places = _keras.exportable(made.source).outputs
    place = places.get(job.scored, next(iter(places.values())))
    given = made(made.inputs(job.examples.batch("train", schedule.examples[: schedule.batch_size])), training=False)
    activation = activation_name(final_operation(made.source.outputs[place]))
    labels = LabelsOf(job, activation, given[place].numpy())
    goals = {places.get(name, place): goal for name, goal in answering(job, schedule, labels).items()}
    trained = made.train(schedule, Several(goals), report=job.report, patience=patience(schedule))
    job.notes |= trained.notes


def _write(job: TransformJob, made: QuantizedModel) -> None:
    """Write the TFLite file."""
    import tempfile

    from deploykit.surgery.quantization import tflite

    tf = require("tensorflow", "tensorflow")

    def setup(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]

    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        saved = Path(folder) / "saved_model"
        names = made.save(saved)
        tflite.quantize(replace(job, source=saved, target=job.target / _FILE), setup, names)


def _kept(made: QuantizedModel) -> dict[str, Any]:
    """Notes of the zeros and shared values that were kept."""
    zeros = {k.layer: round(1 - float(k.kept.nonzero.mean()), 4) for k in made.parts.kernels if k.kept is not None}
    shared = {k.layer: k.kept.shared for k in made.parts.kernels if k.kept is not None and k.kept.shared}
    found: dict[str, Any] = {"normalization_absorbed": made.absorbed} if made.absorbed else {}
    if any(zeros.values()):
        found["zeros_kept"] = zeros
    if shared:
        found["values_kept"] = shared
    return found


class _Aware(Variant):
    extra = "tensorflow"
    requires = _REQUIRES
    group = "tf_keras"
    accepts = frozenset({"keras"})
    uses = _USES
    needs = _NEEDS
    stages = (_Trained(),)

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Examples, and the original model where there is training."""
        return _needs_for(parameters)

    def finishing_needs(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Nothing: the stage has trained."""
        return frozenset()

    def examples(self, parameters: dict[str, Any], calibration: int, train: int) -> int:
        """As many calibrated ones as take the time of those that are trained on, in batches."""
        return round(BATCHED * super().examples(parameters, calibration, train)) + min(_CALIBRATION, train)

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """Integers of 8 bits."""
        return 1.0

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Integer activations, and weights that have learned."""
        found: dict[Effect, bool] = {
            "int8": True,
            "quantized": True,
            "fully quantized": not parameters["exclude"],
            "trained": bool(parameters["epochs"]),
        }
        return frozenset(effect for effect, here in found.items() if here)

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Weights in float; zeros and shared values only where they are kept."""
        keeps_zeros, keeps_values = _KEEPS[parameters["preserve"]]
        order, remedy = "leave preserve at auto", "leave preserve at auto"
        yield FLOAT_WEIGHTS
        if not keeps_zeros:
            yield Without("sparse", "already pruned, and this training would not keep the zeros", order, remedy)
        if not keeps_values:
            words = "already made of few values, which this training would not keep"
            yield Without("shared values", words, order, remedy)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Nothing is trained."""
        yield from super().problems(parameters, facts)
        if not parameters["epochs"]:
            yield Problem("note", "0 epochs train nothing: ranges are measured as quantize_static does")

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no layer has, and layers that are not trained with rounding."""
        yield from selection.unsuited(parameters["exclude"], layers, "layer", "layer type")
        weighty = [x for x in layers if x.parameters and x.type != "BatchNormalization"]
        others = sorted({x.type for x in weighty if x.type not in _TRAINED})
        said = f"{', '.join(others[:_SHOWN])}{', …' if len(others) > _SHOWN else ''}"
        if weighty and not any(x.type in _TRAINED for x in weighty):
            yield Problem("impossible", f"TF-MOT cannot train any of the layers for int8: {said}; use quantize_static")
        elif others:
            yield Problem("note", f"TF-MOT cannot train layers of these types for int8: {said}")


class _TFLite(_Aware):
    name = "tflite"
    label = "int8 by training (TFLite)"
    help = (
        "Integer kernels with the ranges of the training; layers that TF-MOT does not know are converted as they are."
    )
    produces = "tflite"

    def _apply(self, job: TransformJob) -> None:
        link(job.source / _FILE, job.target)


class _Onnx(_Aware):
    name = "onnx"
    label = "int8 by training (ONNX)"
    help = "The numbers of the TFLite file as pairs of QuantizeLinear and DequantizeLinear, activations as uint8."
    requires = (*_REQUIRES, "tf2onnx", "onnx", "onnxruntime")
    produces = "onnx"

    def _apply(self, job: TransformJob) -> None:
        from deploykit.converters import _onnx
        from deploykit.loading._keras.ends import distinct
        from deploykit.surgery.quantization import graphs, prepare, tflite
        from deploykit.surgery.quantization.unsigned import unsign

        file, said = job.source / _FILE, job.notes["names"]
        fresh = distinct([*said["inputs"], *said["outputs"]])  # tensors of a graph have names of their own
        count = len(said["inputs"])
        inputs = dict(zip(said["inputs"], fresh[:count], strict=True))
        outputs = dict(zip(said["outputs"], fresh[count:], strict=True))
        taken, given = tflite.ends(file.read_bytes())
        names = {taken[said["inputs"][name]]: new for name, new in inputs.items()}
        names |= {given[said["outputs"][name]]: new for name, new in outputs.items()}
        _onnx.write_tflite(file, job.target, names)
        onnx = require("onnx", "")
        model = onnx.load(str(job.target))
        unsign(model.graph)
        onnx.save(model, str(job.target))
        with graphs.failures("open"):
            prepare.check_opens(job.target)
        job.named(inputs, outputs)


_EXCLUDE = selection.setting("layers", "layer types", "stay float", "They are trained all the same.")


def _own(parameter: Parameter) -> Parameter:
    """A parameter of training as it is here."""
    if parameter.name != "epochs":
        return parameter
    words = (
        "Passes over the training examples; fewer when it no longer helps. 0 only measures ranges, as quantize_static"
    )
    return replace(parameter, help=f"{words} does.")


class QuantizeAware(Transform):
    """Trains the model with the rounding of int8 in it."""

    name = "quantize_aware"
    label = "quantization-aware training"
    help = (
        "Trains the model while it rounds weights and activations as int8 does, and stores it in int8: as small and "
        "as fast as int8 static, with more of the accuracy where that loses some. Takes training data."
    )
    family = QUANTIZE
    parameters = (
        *(_own(parameter) for parameter in PARAMETERS if parameter.name in _USES),
        Parameter(
            "preserve", "choice", "auto",
            "What training keeps of steps before. auto: weights that are zero and values that the weights of a layer "
            "share, where there are any; zeros: zeros alone; nothing: all weights are free. Layers whose weights share "
            "values have one scale for all outputs, so that the integers are shared as well.",
            choices=tuple(_KEEPS),
        ),
        replace(_EXCLUDE, late=True),
    )  # fmt: skip
    variants = (_TFLite(), _Onnx())
    excluding = _EXCLUDE.name
    one_shot: ClassVar[dict[str, Value]] = {"epochs": 0}


ADAPTER = QuantizeAware()
