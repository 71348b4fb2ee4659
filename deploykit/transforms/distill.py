"""Distillation: the model is trained to answer as the original model does, with or without labels."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.converters._contract import Job
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.model import Layer
from deploykit.core.parameter import Parameter
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.loading._contract import FORMATS
from deploykit.training.choices import COMPARISONS
from deploykit.transforms._contract import TRAIN, Need, Transform, TransformJob
from deploykit.transforms._training import augmenting
from deploykit.transforms._training.trained import (
    PARAMETERS,
    USES,
    Inside,
    LabelsOf,
    TrainedKeras,
    TrainedOnnx,
    Training,
)
from deploykit.transforms._weights.keras import opened as keras_opened
from deploykit.transforms._weights.onnx import float_model

if TYPE_CHECKING:
    from deploykit.training.schedule import Schedule
    from deploykit.training.targets import TrainingGoal

_USES = (*USES, "temperature", "alpha", "loss", "hidden", "hidden_weight", "width", "depth", *augmenting.USES)
_NEEDS: tuple[Need, ...] = ("train", "teacher", "labels", "calibration")
_TEMPERATURE = 2.0


class _ByTeacher(Training):
    """Distillation in every format.

    Attributes:
        comparable: Formats of originals whose layers are those of the model that is trained, and have their names.
    """

    comparable: ClassVar[frozenset[str]]
    as_used = True

    def unable(self, parameters: dict[str, Any]) -> str:
        """A setting that changes nothing."""
        if parameters["loss"] != "mse" or parameters["temperature"] == _TEMPERATURE:
            return augmenting.unheard(parameters)
        return "temperature softens class scores for kl, and has no effect with loss=mse: leave one of them out"

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Layers that the original does not have."""
        yield from super().problems(parameters, facts)
        yield from augmenting.problems(parameters["augment"], facts.model.inputs)
        if parameters["hidden"] and facts.model.format not in self.comparable:
            yield Problem("impossible", self._incomparable(facts.model.format))
        elif absent := _absent(parameters["hidden"], [layer.name for layer in facts.model.layers]):
            yield self._unnamed(absent)

    def unsuited(self, parameters: dict[str, Any], layers: Sequence[Layer], facts: Facts) -> Iterator[Problem]:
        """Shapes that show that a student cannot be shallower."""
        from deploykit.surgery.layers import spans
        from deploykit.training import students

        yield from super().unsuited(parameters, layers, facts)
        if parameters["depth"] < 1 and spans.impossible(layers, facts.model.inputs):
            yield Problem("impossible", f"{students.NO_BLOCK}: {students.NO_DEPTH}")

    @abstractmethod
    def _unnamed(self, name: str) -> Problem:
        """What it means that no layer of the original has a name."""

    def _incomparable(self, original: str) -> str:
        return (
            f"{self.label} with hidden compares layers by their names, and the original is "
            f"{FORMATS.get(original).label}: give the original as {' or '.join(sorted(self.comparable))}, or leave "
            "out hidden"
        )

    def _comparable(self, job: TransformJob) -> Job:
        """The original, whose layers are compared."""
        if job.original.source_format not in self.comparable:
            raise UnsupportedModelError(f"{self._incomparable(job.original.source_format)}.")
        return job.original

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Labels only where they count, and calibration data where blocks are compared."""
        found = super().needs_for(parameters) - {"calibration"} - (set() if parameters["alpha"] else {"labels"})
        return found | ({"calibration"} if parameters["depth"] < 1 else set())

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """A student that is made is smaller."""
        return super().effects(parameters) | ({"smaller"} if _smaller(parameters) else set())

    def bytes_a_weight(self, parameters: dict[str, Any], facts: Facts) -> float:
        """About half of the inputs and half of the outputs of a layer go with half of the channels."""
        return 4.0 * float(parameters["width"]) ** 2 * float(parameters["depth"])

    def _goals(self, job: TransformJob, schedule: Schedule, labels: LabelsOf) -> Mapping[str, TrainingGoal]:
        from deploykit.training.targets import Mixed
        from deploykit.training.teacher import Answers, opened

        session = opened(job.original, job.examples, often=schedule.changes)
        found = Answers(session, job.examples, schedule).goals(job["temperature"], job["loss"])
        if not found:
            raise UnsupportedModelError(
                "The original model gives no real numbers that another model could be trained to give.",
                remedy="use finetune, which needs labels.",
            )
        if job["alpha"]:
            name = job.scored if job.scored in found else next(iter(found))
            found[name] = Mixed(labels(), found[name], job["alpha"])
        return found


def _absent(text: str, layers: Sequence[str]) -> str:
    """The first name of a setting that no layer has; "" when there is none, or the layers are not known."""
    names = filter(None, map(str.strip, text.split(","))) if layers else ()
    return next((name for name in names if not any(fnmatchcase(layer, name) or layer == name for layer in layers)), "")


def _smaller(parameters: dict[str, Any]) -> bool:
    """Whether the model is made smaller first."""
    return bool(parameters["width"] < 1 or parameters["depth"] < 1)


class _Onnx(_ByTeacher, TrainedOnnx):
    name = "onnx"
    label = "distillation (ONNX)"
    help = "Trains a TensorFlow function of the graph; the weights go back into the file, and the graph stays as it is."
    uses = _USES
    needs = _NEEDS
    comparable = frozenset({"onnx"})

    def _unnamed(self, name: str) -> Problem:
        reason = f"no node of the original is called {name!r}, which hidden names: only a tensor could be"
        return Problem("note", reason)

    def _student(self, job: TransformJob) -> Any:
        from deploykit.loading._onnx.parts import weight_count
        from deploykit.surgery.channels import onnx_cut, onnx_trace
        from deploykit.surgery.layers import onnx_loss, onnx_spans
        from deploykit.training.students import blocks, channels, left_out, narrowed
        from deploykit.transforms._examples.onnx import examples_of

        if not _smaller(job.parameters or {}):
            return super()._student(job)
        given = model = float_model(job)
        if job["depth"] < 1:
            examples = examples_of(model, job)
            found = blocks(onnx_spans.spans(model, partial(onnx_loss.shapes, model, examples)))
            ways, notes = left_out(onnx_loss.ordered(model, found, examples), job["depth"])
            model = onnx_spans.skipped(model, ways)
            job.notes |= notes
        if job["width"] < 1:
            traced = onnx_trace.trace(model)
            gone = narrowed(traced, job["width"])
            model = onnx_cut.cut(traced, gone)
            job.notes["channels"] = channels(traced, gone)
        job.notes["weights"] = [weight_count(one) for one in (given, model)]
        return model

    def _inside(self, job: TransformJob, student: Any) -> Inside:
        from deploykit.training import hidden
        from deploykit.training.onnx.hidden import OnnxLayers, tensors

        if not job["hidden"]:
            return Inside()
        path = self._comparable(job).source
        teacher = require("onnx", "").load(str(path))
        own, theirs = tensors(student), tensors(teacher)
        named = hidden.matching(job["hidden"], own, theirs)
        names = {own[name]: name for name in named}.values()  # a tensor is called as its node, where both are named
        asked = OnnxLayers(teacher, path, {name: theirs[name] for name in names}, job.examples)
        return Inside({name: own[name] for name in names}, asked)


class _Keras(_ByTeacher, TrainedKeras):
    name = "keras"
    label = "distillation (Keras)"
    help = "Trains the Keras 3 model itself, in the form in which it predicts: without dropout or augmentation."
    uses = _USES
    needs = _NEEDS
    comparable = frozenset({"keras", "h5"})

    def _unnamed(self, name: str) -> Problem:
        return Problem("impossible", f"no layer of the original is called {name!r}, which hidden names: correct it")

    def _student(self, job: TransformJob) -> Any:
        from deploykit.loading._keras.open import custom_objects
        from deploykit.surgery.channels import keras_cut, keras_trace
        from deploykit.surgery.layers import keras_loss, keras_spans
        from deploykit.training.students import blocks, channels, left_out, narrowed

        if not _smaller(job.parameters or {}):
            return super()._student(job)
        custom, given = custom_objects(job.imports), keras_opened(job)
        model = given.model
        if job["depth"] < 1:
            found = blocks(keras_spans.spans(model, given.flat))
            ways, notes = left_out(keras_loss.ordered(given.flat, found, given.examples(job)), job["depth"])
            model = keras_spans.cut(model, given.flat, ways, custom=custom, trusted=job.trusted)
            given.carry(model)
            job.notes |= notes
        if job["width"] < 1:
            traced = keras_trace.trace(model)
            gone = narrowed(traced, job["width"])
            model = keras_cut.cut(traced, gone, custom=custom, trusted=job.trusted)
            job.notes["channels"] = channels(traced, gone)
        job.notes["weights"] = [int(sum(math.prod(w.shape) for w in one.weights)) for one in (given.model, model)]
        return model

    def _inside(self, job: TransformJob, student: Any) -> Inside:
        from deploykit.converters import _keras
        from deploykit.training import hidden
        from deploykit.training.keras_hidden import KerasLayers, layers

        if not job["hidden"]:
            return Inside()
        original = self._comparable(job)
        teacher = _keras.load(original, suffix=f".{original.source_format}")
        own = layers(student)
        names = hidden.matching(job["hidden"], own, layers(teacher))
        return Inside({name: own[name] for name in names}, KerasLayers(teacher, names, job.examples))


class Distill(Transform):
    """Trains all weights so that the model answers as the original (Hinton et al. 2015, arXiv:1503.02531)."""

    name = "distill"
    label = "distillation"
    help = (
        "Trains all weights to answer as the original model does, without labels if there are none, to win back what a "
        "step before has cost, or as a smaller student (width, depth). Otherwise neither smaller nor faster by itself."
    )
    family = TRAIN
    parameters = (
        *PARAMETERS,
        Parameter(
            "temperature", "float", _TEMPERATURE,
            "Softens the class scores of both models, so that small ones count as well; no effect on other outputs.",
            minimum=0.1, maximum=100.0,
        ),
        Parameter(
            "alpha", "float", 0.0, "Weight of the labels' loss, added to the teacher's; 0 needs no labels.",
            minimum=0.0, maximum=100.0,
        ),
        Parameter(
            "loss", "choice", "auto",
            "How answers are compared. kl: the divergence of class scores; mse: the squared error of values, and of "
            "what comes before softmax or sigmoid; auto: kl for class scores, mse for values.",
            choices=COMPARISONS,
        ),
        Parameter(
            "hidden", "text", "",
            "Layers (in ONNX files nodes or tensors) that are also trained to give what they give in the original, by "
            "name, separated by commas; * stands for any characters. Compared are activations, or attention maps where "
            "channels were cut. Takes memory and time; answers alone are often enough.",
            label="hidden layers",
        ),
        Parameter(
            "hidden_weight", "float", 1.0, "Weight of the hidden layers' mean loss, added to the answers'.",
            minimum=0.0, maximum=1e6, under="hidden",
        ),
        *augmenting.parameters(
            "The same for the original as for the trained model. Helps where examples are few; each epoch asks the "
            "original again, which takes time."
        ),
        Parameter(
            "width", "float", 1.0,
            "Share of the channels and neurons of each layer that the trained model has; below 1, it starts from "
            "those with the largest weights. prune_channels as a step before starts better where much is cut.",
            minimum=0.05, maximum=1.0, step=0.05, unit="share",
        ),
        Parameter(
            "depth", "float", 1.0,
            "Share of the residual blocks (or layers that keep the shape) that the trained model has; below 1, those "
            "go that the outputs miss least on calibration data.",
            minimum=0.0, maximum=1.0, step=0.05, unit="share",
        ),
    )  # fmt: skip
    variants = (_Onnx(), _Keras())


ADAPTER = Distill()
