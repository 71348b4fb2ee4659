"""What techniques share that train."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.core.parameter import Parameter
from deploykit.core.problem import Effect, Facts, Problem
from deploykit.training.choices import NO_CHANGE, NOISE_SNR_DB, OPTIMIZERS
from deploykit.transforms._conditions import Condition, Without
from deploykit.transforms._contract import Need, TransformJob, Variant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.training.schedule import Schedule
    from deploykit.training.targets import TrainingGoal
    from deploykit.training.teacher import Asked

#: Share of the examples that are not trained on: they show when to stop.
_HELD_OUT = 0.1
_SAMPLE = 16
#: Formats that are trained as ONNX graphs, without state.
_AS_ONNX = ("onnx", "tflite")
#: Time to train on an example, as a share of that to calibrate with one, which is alone in its batch.
BATCHED = 0.07

PARAMETERS = (
    Parameter(
        "epochs", "int", 8, "Passes over the training examples; fewer when it no longer helps. 0 changes nothing.",
        minimum=0, maximum=1000, step=1, unit="epochs",
    ),
    Parameter(
        "learning_rate", "float", 2e-3,
        "Highest learning rate: it rises over the first twentieth of the steps, then decays along a cosine.",
        minimum=1e-7, maximum=1.0, under="epochs",
    ),
    Parameter(
        "batch_size", "int", 64, "Examples per step.", minimum=1, maximum=65536, step=1, unit="examples",
        under="epochs",
    ),
    Parameter(
        "train_examples", "int", 15000,
        "Training examples, sampled in proportion to the classes; a tenth of them decides when to stop. 0 uses all.",
        minimum=0, step=1000, unit="examples", under="epochs",
    ),
    Parameter(
        "optimizer", "choice", "adam", "Optimizer; sgd has momentum 0.9.", choices=tuple(OPTIMIZERS), under="epochs"
    ),
)  # fmt: skip
USES = tuple(parameter.name for parameter in PARAMETERS)


#: What is said of a model that is trained in the form in which it predicts.
_NORMALIZATION = "scale and shift are trained; mean and variance stay as they are"


class Training(Variant):
    """Trains all weights of a model.

    Attributes:
        as_used: Whether Keras models are trained in the form in which they predict. Dropout and statistics of batches
            are noise where a model has a teacher, and a smaller model has none to spare.
    """

    group = "tensorflow"
    extra = "tensorflow"
    as_used: ClassVar[bool] = False
    keeps_layers = True

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Nothing when nothing is trained."""
        return super().needs_for(parameters) if parameters["epochs"] else frozenset()

    def examples(self, parameters: dict[str, Any], calibration: int, train: int) -> int:
        """As many calibrated ones as take the time of those that are trained on, in batches."""
        return round(BATCHED * super().examples(parameters, calibration, train))

    def effects(self, parameters: dict[str, Any]) -> frozenset[Effect]:
        """Other weights, unless nothing is trained."""
        return super().effects(parameters) | ({"trained"} if parameters["epochs"] else set())

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """Weights in float, none of which share their values."""
        return (
            Without("quantized", "already quantized", "train first", "train the float model it was made from"),
            Without("shared values", "already made of few values, which training would not keep", "train first"),
        )

    def problems(self, parameters: dict[str, Any], facts: Facts) -> Iterator[Problem]:
        """Nothing is trained."""
        yield from super().problems(parameters, facts)
        if not parameters["epochs"]:
            yield Problem("pointless", "0 epochs train nothing")
        elif facts.carries and facts.model.format in _AS_ONNX:
            yield Problem("impossible", "the model carries a state from step to step, which is not trained")

    @abstractmethod
    def _goals(self, job: TransformJob, schedule: Schedule, labels: LabelsOf) -> Mapping[str, TrainingGoal]:
        """What outputs are trained to be, by their names; ``job.scored`` is the one that the labels are about."""

    def _schedule(self, job: TransformJob, fixed: int | None) -> Schedule:
        """How long to train and on what; see `schedule_of`."""
        return schedule_of(job, fixed)

    def _inside(self, job: TransformJob, student: Any) -> Inside:
        """What is compared inside of the model with layers of the original: nothing, unless a technique says so."""
        return Inside()

    def _compared(
        self, job: TransformJob, schedule: Schedule, inside: Inside, given: Sequence[NDArray[Any]]
    ) -> dict[int, TrainingGoal]:
        """The goals of what is compared inside, by their places among what a trainer gives.

        Args:
            job: Has the weight.
            schedule: What is trained.
            inside: What is compared.
            given: What the trainer gives for some examples before training: outputs, then layers.
        """
        from deploykit.training import hidden
        from deploykit.training.teacher import Answers

        if inside.teacher is None:
            return {}
        first = len(given) - len(inside.layers)
        found = dict(zip(inside.layers, given[first:], strict=True))
        answers = Answers(inside.teacher, job.examples, schedule)
        wanted = {name: answers.samples[name][: len(found[name])] for name in inside.layers}
        goals, forms = hidden.weighted({n: answers.ask(n) for n in found}, wanted, found, job["hidden_weight"])
        job.notes["hidden"] = forms
        return {first + number: goal for number, goal in enumerate(goals)}


@dataclass(frozen=True)
class Inside:
    """What is compared inside of a model with the original.

    Attributes:
        layers: Layers of the model by name, as its trainer takes them.
        teacher: Gives what the same layers of the original give, by name; None when nothing is compared.
    """

    layers: Mapping[str, Any] = field(default_factory=dict)
    teacher: Asked | None = None


class LabelsOf:
    """Makes the goal of the labels when they are wanted.

    Args:
        job: Has the labels.
        activation: The last activation, "" when it is not known.
        sample: Some outputs before training.
    """

    def __init__(self, job: TransformJob, activation: str, sample: NDArray[Any]) -> None:
        self._job, self._activation, self._sample = job, activation, sample
        self._changed = (job.parameters or {}).get("augment", NO_CHANGE) != NO_CHANGE

    def __call__(self, loss: str = "auto") -> TrainingGoal:
        """The labels as a goal; ``loss`` is one of `deploykit.training.choices.LOSSES`."""
        from deploykit.training.objective import objective
        from deploykit.training.targets import Labels

        labels = self._job.examples.targets("train")
        assert labels is not None
        shape = (None, *self._sample.shape[1:])
        chosen = objective(self._activation, shape, labels, self._sample, loss)
        if self._changed and not (chosen.loss.endswith("Crossentropy") and self._sample.ndim == 2):
            raise UnsupportedModelError(
                "Inputs are changed by augment, and the labels are not classes of whole examples: what they refer to "
                "would change.",
                remedy="leave out augment, or use distill without alpha: the original's answers follow the changes.",
            )
        return Labels(chosen, labels)


def schedule_of(job: TransformJob, fixed: int | None) -> Schedule:
    """The schedule that the parameters ask for.

    Args:
        job: Has the parameters.
        fixed: Batch size that the model takes, None when it is free.
    """
    from deploykit.training.schedule import Schedule

    count = len(job.examples.splits["train"])
    count = min(job["train_examples"] or count, count)
    size = fixed or job["batch_size"]
    if fixed and fixed != job["batch_size"]:
        job.notes["batch"] = f"{fixed}, which the model takes"
    apart = _HELD_OUT if round(_HELD_OUT * count) >= (fixed or 1) else 0.0
    return Schedule.of(
        job.examples, examples=job["train_examples"], batch_size=size, epochs=job["epochs"],
        learning_rate=job["learning_rate"], seed=job.seed, held_out=apart,
        augment=(job.parameters or {}).get("augment", NO_CHANGE),
        noise_snr=(job.parameters or {}).get("noise_snr", NOISE_SNR_DB),
    )  # fmt: skip


def patience(schedule: Schedule) -> int:
    """Epochs without gain after which training stops: the last ones, with the smallest steps, bring the most."""
    return max(2, schedule.epochs // 2)


class TrainedOnnx(Training):
    """Trains an ONNX file by a TensorFlow function of its graph; the weights come back by their names."""

    requires = ("tensorflow", "keras", "onnx", "onnxruntime")
    accepts = frozenset({"onnx"})
    produces = "onnx"

    def _student(self, job: TransformJob) -> Any:
        """The ``ModelProto`` that is trained."""
        return require("onnx", "").load(str(job.source))

    def _apply(self, job: TransformJob) -> None:
        from deploykit.surgery.quantization import prepare

        model = self._student(job)
        if job["epochs"]:
            model = self.trained(job, model)
        require("onnx", "").save(model, str(job.target))
        prepare.check_opens(job.target)

    def trained(self, job: TransformJob, model: Any) -> Any:
        """A trained copy of a ``ModelProto``."""
        from deploykit.training.onnx.trainer import OnnxTrainer
        from deploykit.training.targets import Several

        inside = self._inside(job, model)
        trainer = OnnxTrainer(model, job.source, job.examples, tuple(inside.layers.values()))
        schedule = self._schedule(job, trainer.batch_size)
        place = trainer.place(job.scored)
        given = trainer.given(schedule.examples[: trainer.batch_size or _SAMPLE])
        labels = LabelsOf(job, trainer.outputs[place].operator.lower(), given[place])
        goals = {trainer.place(name): goal for name, goal in self._goals(job, schedule, labels).items()}
        goal = Several(goals | self._compared(job, schedule, inside, given))
        model, trained = trainer.train(
            schedule, goal, report=job.report, optimizer_name=job["optimizer"], patience=patience(schedule)
        )
        job.notes |= trained.notes
        if any(node.op_type == "BatchNormalization" for node in model.graph.node):
            job.notes["batch_normalization"] = _NORMALIZATION
        return model


class TrainedKeras(Training):
    """Trains a Keras 3 model natively."""

    requires = ("tensorflow", "keras")
    accepts = frozenset({"keras"})
    produces = "keras"

    def _student(self, job: TransformJob) -> Any:
        """The Keras model that is trained."""
        from deploykit.converters import _keras

        return _keras.load(job)

    def _apply(self, job: TransformJob) -> None:
        from deploykit.converters import _keras

        model = self._student(job)
        if job["epochs"]:
            self.trained(job, model)
        _keras.save(model, job.target)

    def trained(self, job: TransformJob, model: Any) -> Any:
        """The same Keras model, trained in place."""
        import numpy as np

        from deploykit.converters import _keras
        from deploykit.training.keras_ends import activation_name, arranged, final_operation
        from deploykit.training.keras_hidden import watched
        from deploykit.training.keras_trainer import train
        from deploykit.training.targets import Several

        data, places = job.examples, _keras.exportable(model).outputs
        schedule = self._schedule(job, model.inputs[0].shape[0])
        place = places.get(job.scored, next(iter(places.values())))
        inside = self._inside(job, model)
        inputs = arranged(model, data.batch("train", schedule.examples[: schedule.batch_size]), data.contract)
        keras = require("keras", "tensorflow")
        with watched(inside.layers) as seen:
            found = model(keras.tree.pack_sequence_as(_structure(model), inputs), training=False)
        given = [np.asarray(v, np.float32) for v in keras.tree.flatten(found)]
        given += [keras.ops.convert_to_numpy(seen[name]) for name in inside.layers]
        labels = LabelsOf(job, activation_name(final_operation(model.outputs[place])), given[place])
        goals = {places.get(name, place): goal for name, goal in self._goals(job, schedule, labels).items()}
        goal = Several(goals | self._compared(job, schedule, inside, given))
        trained = train(
            model, data, schedule, goal, report=job.report, place=None, optimizer_name=job["optimizer"],
            patience=patience(schedule), as_used=self.as_used, hidden=inside.layers,
        )  # fmt: skip
        job.notes |= trained.notes
        if self.as_used and any(type(x).__name__ == "BatchNormalization" for x in _keras.all_layers(model)):
            job.notes["batch_normalization"] = _NORMALIZATION
        return model


def _structure(model: Any) -> Any:
    from deploykit.loading._keras.open import graph_of

    return graph_of(model)._inputs_struct
