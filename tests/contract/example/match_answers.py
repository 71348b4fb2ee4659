"""A technique as an outsider would write it: trains a model to answer like the original one, without labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deploykit.converters import _keras
from deploykit.core.parameter import Parameter
from deploykit.training.keras_trainer import train
from deploykit.training.schedule import Schedule
from deploykit.training.targets import Teacher
from deploykit.transforms._conditions import Condition, Outcome, Without
from deploykit.transforms._contract import Family, Need, Transform, TransformJob, Variant


@dataclass(frozen=True)
class SameSize(Condition):
    """There are as many parameters as before."""

    def broken(self, outcome: Outcome) -> str:
        """How many there are."""
        before, after = outcome.before, outcome.after
        if before is None or before.parameter_count == after.parameter_count:
            return ""
        return f"it has {after.parameter_count:,} parameters instead of {before.parameter_count:,}"


class _Keras(Variant):
    name = "match_keras"
    label = "matching answers (Keras)"
    help = "Trains the Keras model itself; the output that is scored is what is matched."
    extra = "tensorflow"
    requires = ("tensorflow", "keras")
    group = "tensorflow"
    accepts = frozenset({"keras"})
    produces = "keras"
    uses = ("epochs", "batch_size")
    needs = ("teacher", "train")

    def needs_for(self, parameters: dict[str, Any]) -> frozenset[Need]:
        """Nothing when it does not train."""
        return frozenset(self.needs if parameters["epochs"] else ())

    def expects(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """No zeros: training would fill them."""
        return (Without("sparse", "already pruned", "prune after it"),)

    def ensures(self, parameters: dict[str, Any]) -> Iterable[Condition]:
        """No layers are added."""
        return (*super().ensures(parameters), SameSize())

    def _apply(self, job: TransformJob) -> None:
        model = _keras.load(job)
        if job["epochs"]:
            teacher = _keras.load(job.original)
            schedule = Schedule.of(
                job.examples, examples=0, batch_size=job["batch_size"], epochs=job["epochs"], learning_rate=1e-3,
                seed=job.seed, held_out=0.2,
            )  # fmt: skip
            goal = Teacher(lambda batch: teacher(*batch.inputs.values(), training=False))
            job.notes |= train(model, job.examples, schedule, goal, report=job.report).notes
        _keras.save(model, job.target)


class MatchAnswers(Transform):
    """Trains a model on the answers of the original one."""

    name = "match_answers"
    label = "matched answers"
    help = "Wins back accuracy that an earlier step has lost; neither smaller nor faster by itself."
    family = Family("training", "triangle-right", 40)
    parameters = (
        Parameter("epochs", "int", 2, "Passes over the training examples.", minimum=0, maximum=100, unit="epochs"),
        Parameter("batch_size", "int", 16, "Examples per step.", minimum=1, maximum=4096, unit="examples"),
    )
    variants = (_Keras(),)


class Forgetful(_Keras):
    """Says that it changes nothing of the size, and does."""

    name = "forgetful_keras"

    def _apply(self, job: TransformJob) -> None:
        import keras

        model = _keras.load(job)
        last = model.layers[-1]
        outputs = keras.layers.Dense(last.units, name="added")(last.output)
        _keras.save(keras.Model(model.inputs, {"class": outputs}), job.target)


class Lying(MatchAnswers):
    """A technique that does not keep its word."""

    name = "match_falsely"
    label = "falsely matched answers"
    variants = (Forgetful(),)


ADAPTER = MatchAnswers()
LYING = Lying()
