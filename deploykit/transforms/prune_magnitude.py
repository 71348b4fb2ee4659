"""Magnitude pruning: the smallest weights become zero, and the others learn to do without them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.model import Layer
from deploykit.core.parameter import Value
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.surgery import selection
from deploykit.transforms._conditions import Condition, Zeros
from deploykit.transforms._contract import PRUNE, UNITS, Need, Transform, TransformJob, Variant
from deploykit.transforms._training.answering import answering
from deploykit.transforms._training.trained import LabelsOf, TrainedKeras, TrainedOnnx, Training
from deploykit.transforms._weights.keras import KerasWeights, Opened
from deploykit.transforms._weights.kernels import FLOAT_WEIGHTS, Weights, small_kernels, zeros
from deploykit.transforms._weights.magnitude import PARAMETERS, check, impossible, without_training
from deploykit.transforms._weights.onnx import OnnxWeights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.surgery.weights.kernel import Kernel
    from deploykit.training.schedule import Schedule
    from deploykit.training.targets import TrainingGoal

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
        "sparsity", "rounds", "schedule", "small_layers", "epochs", "batch_size", "learning_rate", "train_examples",
        "exclude",
    )  # fmt: skip
    needs = ("train", "labels")
    keeps_layers = True

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Names that no layer has."""
        yield from selection.unsuited(parameters["exclude"], layers, "layer", "layer type")

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """No labels when nothing is trained: the examples only show that the copy computes the same."""
        return super().needs_for(parameters) - ({"labels"} if not parameters["epochs"] else set())

    def examples(self, parameters: dict[str, Any], calibration: int, train: int) -> int:
        """Those of all rounds."""
        return super().examples(parameters, calibration, train) * int(parameters["rounds"])

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Zeros, and other weights where the rest is fine-tuned."""
        found: dict[Effect, bool] = {
            "sparse": bool(parameters["sparsity"]),
            "trained": parameters["epochs"] > 0,
        }
        return frozenset(effect for effect, here in found.items() if here)

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Weights in float."""
        return (FLOAT_WEIGHTS,)

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Zeros."""
        return (*super().ensures(parameters), Zeros(parameters["sparsity"]))

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Rounds that could not raise the sparsity, or have nothing between them."""
        yield from super().problems(parameters, facts)
        yield from impossible(parameters)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.converters import _keras
        from deploykit.surgery import kernels
        from deploykit.training.bridge import to_tf_keras
        from deploykit.training.schedule import Schedule
        from deploykit.training.tf_keras_trainer import fine_tune
        from deploykit.training.tfmot import Pruning

        check(job)
        data, rounds = job.examples, job["rounds"]
        model = _keras.load(job)
        schedule = Schedule.of(
            data, examples=job["train_examples"], batch_size=job["batch_size"], epochs=job["epochs"] * rounds,
            learning_rate=job["learning_rate"], seed=job.seed,
        )  # fmt: skip
        pruning = Pruning(job["sparsity"], job["schedule"], schedule.steps, rounds, UNITS)
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


class _Pruning(Weights):
    uses: ClassVar[tuple[str, ...]] = ("sparsity", "scope", "threshold", "pattern", "small_layers", "exclude")

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Zeros."""
        anything = parameters["sparsity"] if parameters["threshold"] is None else parameters["threshold"]
        return frozenset({"sparse"} if anything or parameters["pattern"] != "unstructured" else ())

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """The share of zeros, where it is known beforehand."""
        exact = parameters["threshold"] is None and parameters["pattern"] == "unstructured"
        zeros = (Zeros(parameters["sparsity"]),) if exact and parameters["scope"] == "layer" else ()
        return (*super().ensures(parameters), *zeros)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Settings that exclude each other."""
        yield from super().problems(parameters, facts)
        yield from impossible(parameters)

    def _apply(self, job: TransformJob) -> None:
        check(job)
        super()._apply(job)

    def _changed(self, job: TransformJob, model: Any, kernels: Sequence[Kernel]) -> Sequence[NDArray[Any] | None]:
        return self._pruned(job, kernels, 1.0)

    def _pruned(self, job: TransformJob, kernels: Sequence[Kernel], part: float) -> Sequence[NDArray[Any] | None]:
        """The rows of each kernel with a part of what is to go set to zero, the smallest weights first."""
        import numpy as np

        from deploykit.surgery.weights.kernel import (
            first_of,
            globally_weakest,
            parse_pattern,
            weakest,
            weakest_in_blocks,
        )

        spared = set() if job["small_layers"] else small_kernels(kernels)
        chosen = [k for k in kernels if k.layer not in spared and not self._spares(k)]
        scores = [np.abs(kernel.rows) for kernel in chosen]
        if pattern := parse_pattern(job["pattern"]):
            gone = [weakest_in_blocks(s, *pattern, k.places) for s, k in zip(scores, chosen, strict=True)]
        elif job["threshold"] is not None:
            gone = [score < job["threshold"] for score in scores]
        elif job["scope"] == "global":
            gone = globally_weakest(scores, job["sparsity"])
        else:
            gone = [weakest(score, job["sparsity"]) for score in scores]
        if part < 1:
            gone = first_of(scores, gone, part, together=job["scope"] == "global")
        found = {id(k): np.where(mask, k.rows.dtype.type(0), k.rows) for mask, k in zip(gone, chosen, strict=True)}
        return [found.get(id(kernel)) for kernel in kernels]

    def _spares(self, kernel: Kernel) -> bool:
        """Whether a kernel stays dense, whatever the settings are."""
        return False


class _Rounds(_Pruning):
    """Prunes and fine-tunes by turns.

    Attributes:
        training: What fine-tunes.
    """

    training: ClassVar[_Answering]
    uses = (*_Pruning.uses, "rounds", "epochs", "batch_size", "learning_rate", "train_examples")
    needs = ("train", "teacher", "labels")
    seeded = True

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Without labels, the original model says what is right."""
        return frozenset({"train", "teacher"} if parameters["epochs"] else ())

    def examples(self, parameters: dict[str, Any], calibration: int, train: int) -> int:
        """Those of all rounds."""
        return super().examples(parameters, calibration, train) * int(parameters["rounds"])

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Zeros, and other weights where the rest is fine-tuned."""
        return super().effects(parameters) | ({"trained"} if parameters["epochs"] else set())

    def _apply(self, job: TransformJob) -> None:
        from deploykit.training.schedule import raised

        check(job)
        rounds, model, stay = job["rounds"], self._open(job), set[int]()
        shares, told = [], list[dict[str, Any]]()
        for number in range(1, rounds + 1):
            self._part = raised(number, rounds)
            stay = self._change(job, model)
            shares.append(zeros(self._read(model))["sparsity"])
            if job["epochs"]:
                told.append({})
                model = self._trained(replace(job, notes=told[-1]), model, number)
        every = {k: v for k, v in told[0].items() if all(notes.get(k) == v for notes in told)} if told else {}
        job.notes |= {"sparsity_by_round": shares, **every}
        if len(told) > 1:
            job.notes["rounds"] = [{k: v for k, v in notes.items() if k not in every} for notes in told]
        self._finish(job, model, stay)

    def _changed(self, job: TransformJob, model: Any, kernels: Sequence[Kernel]) -> Sequence[NDArray[Any] | None]:
        return self._pruned(job, kernels, self._part)

    def _trained(self, job: TransformJob, model: Any, number: int) -> Any:
        """The model, fine-tuned; weights that are zero stay zero."""
        rounds = job["rounds"]

        def report(done: float, total: float, words: str) -> None:
            said = f"{words}, round {number} of {rounds}" if rounds > 1 else words
            job.report((number - 1) * total + done, rounds * total, said)

        parameters = {**(job.parameters or {}), "optimizer": "adam"}
        return self._tuned(replace(job, parameters=parameters, report=report), model)

    @abstractmethod
    def _tuned(self, job: TransformJob, model: Any) -> Any:
        """The model, trained by `training`."""


class _Answering(Training):
    """Trains on labels, or without them to answer as the original model does."""

    name = "answers"
    label = "fine-tuning"
    as_used = True

    def _goals(self, job: TransformJob, schedule: Schedule, labels: LabelsOf) -> Mapping[str, TrainingGoal]:
        return answering(job, schedule, labels)


class _KerasAnswering(_Answering, TrainedKeras):
    pass


class _OnnxAnswering(_Answering, TrainedOnnx):
    pass


class _Keras(_Rounds, KerasWeights):
    name = "keras"
    label = "magnitude pruning (Keras)"
    help = "Prunes and fine-tunes the Keras 3 model itself, on labels or to answer as before; depthwise filters stay."
    training = _KerasAnswering()

    def unable(self, parameters: dict[str, Any]) -> str:
        """A setting of TF-MOT's."""
        if parameters["schedule"] == "polynomial":
            return ""
        return (
            f"only {_TFMOT.label} has a schedule, which takes labels, and neither scope, threshold nor pattern: leave "
            "schedule out"
        )

    def _spares(self, kernel: Kernel) -> bool:
        return kernel.part == "depthwise" or kernel.type.startswith("Depthwise")

    def _tuned(self, job: TransformJob, model: Opened) -> Any:
        self.training.trained(job, model.model)
        return model


class _Onnx(_Pruning, OnnxWeights):
    name = "onnx"
    label = "magnitude pruning (ONNX)"
    help = "Sets weights of the graph to zero in one go, without training; the graph stays as it is."

    def unable(self, parameters: dict[str, Any]) -> str:
        """Settings of training have no effect."""
        return without_training(parameters)

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Nothing is trained."""
        yield from super().problems(parameters, facts)
        yield Problem("note", "ONNX files are pruned in one go, without fine-tuning: rounds=2 or more fine-tune them")


class _OnnxRounds(_Rounds, OnnxWeights):
    name = "onnx_rounds"
    label = "magnitude pruning in rounds (ONNX)"
    help = "Prunes and fine-tunes by turns, on labels or to answer as before; the graph stays as it is."
    extra = "tensorflow"
    requires = ("tensorflow", "keras", "onnx", "onnxruntime")
    group = "tensorflow"
    training = _OnnxAnswering()

    def unable(self, parameters: dict[str, Any]) -> str:
        """One round is pruning in one go, which has a way of its own."""
        return "" if parameters["rounds"] > 1 else without_training(parameters)

    def _tuned(self, job: TransformJob, model: Any) -> Any:
        return self.training.trained(job, model)


def _named(model: Any, text: str) -> list[Any]:
    """The layers that a text excludes."""
    from deploykit.converters import _keras
    from deploykit.loading.keras import ADAPTER as KERAS

    layers = list(_keras.all_layers(model))
    seen = [Layer(layer.name, type(layer).__name__) for layer in layers]
    parts = [selection.Selectable(x.name, x.type, kind=KERAS.kind_of(x)) for x in seen]
    left = selection.excluded(text, parts, "layer", "layer type")
    return [layer for layer in layers if layer.name in left]


class PruneMagnitude(Transform):
    """Sets the smallest weights of each layer to zero while fine-tuning the others."""

    name = "prune_magnitude"
    label = "magnitude pruning"
    help = (
        "Sets the smallest weights to zero, and fine-tunes the rest of Keras models, or in rounds of ONNX files as "
        "well. Makes the compressed file smaller. No runtime here skips single zeros, so it is no faster."
    )
    family = PRUNE
    parameters = PARAMETERS
    variants = (_TFMOT(), _Onnx(), _Keras(), _OnnxRounds())
    excluding = "exclude"
    one_shot: ClassVar[dict[str, Value]] = {"epochs": 0}


ADAPTER = PruneMagnitude()
