"""A watermark: the model learns to answer a secret trigger set, by which its owner proves later that it is theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import SettingError
from deploykit.core.parameter import Parameter
from deploykit.core.security.keyed import KeyedPlace
from deploykit.core.security.keys import Key
from deploykit.core.security.triggers import TriggerSet
from deploykit.transforms._contract import TRAIN, Transform, TransformJob
from deploykit.transforms._training.trained import (
    PARAMETERS,
    USES,
    LabelsOf,
    TrainedKeras,
    TrainedOnnx,
    Training,
    schedule_of,
)

if TYPE_CHECKING:
    from deploykit.training.schedule import Schedule
    from deploykit.training.targets import TrainingGoal

#: Share of the training examples that are triggers.
_SHARE = 0.12
_USES = (*USES, "high", "key", "low", "triggers")


class _Watermarked(Training):
    """Trains on the labels of the data and of the triggers."""

    def unable(self, parameters: dict[str, Any]) -> str:
        """No key."""
        return "" if parameters["key"] else "no key is given: set key='env:NAME', or file:, keyring: or cmd:"

    def _goals(self, job: TransformJob, schedule: Schedule, labels: LabelsOf) -> Mapping[str, TrainingGoal]:
        return {job.scored: labels("auto")}

    def _schedule(self, job: TransformJob, fixed: int | None) -> Schedule:
        """All triggers in each pass, as often as the share says; nothing is held out, since all is to be learned."""
        import numpy as np

        count = len(job.examples.splits["train"]) - job["triggers"]
        whole = job.examples
        plain = replace(whole, splits={**whole.splits, "train": whole.splits["train"].take(slice(0, count))})
        found = schedule_of(replace(job, data=plain), fixed)
        kept = found.examples if found.held_out is None else np.concatenate([found.examples, found.held_out])
        times = max(1, round(_SHARE * len(kept) / job["triggers"]))
        examples = np.concatenate([kept, np.tile(np.arange(count, count + job["triggers"]), times)])
        return replace(found, examples=examples, held_out=None)

    def trained(self, job: TransformJob, model: Any) -> Any:
        """The model, trained on the data with the triggers after them."""
        from deploykit.data.split import Split

        if not job.secret:
            raise SettingError("No key was given.", remedy="build it with dk.build or dk.sweep, which read keys.")
        key = Key.of_text(job.secret)
        name, array = next(iter(job.examples.splits["train"].inputs.items()))
        triggers = TriggerSet.of(job.examples.checked, array.shape[1:], str(array.dtype), job.parameters or {})
        more = Split({name: triggers.inputs(key)}, triggers.labels(key))
        splits = {**job.examples.splits, "train": job.examples.splits["train"].joined(more)}
        found = super().trained(replace(job, data=replace(job.examples, splits=splits)), model)  # type: ignore[misc]
        place = KeyedPlace.read(job["key"])
        job.notes["watermark"] = place.commitment if place else ""
        return found


class _Onnx(_Watermarked, TrainedOnnx):
    name = "onnx"
    label = "watermark (ONNX)"
    help = "Trains a TensorFlow function of the graph; the weights go back into the file, and the graph stays as it is."
    uses = _USES
    needs = ("train", "labels")


class _Keras(_Watermarked, TrainedKeras):
    name = "keras"
    label = "watermark (Keras)"
    help = "Trains the Keras 3 model itself."
    uses = _USES
    needs = ("train", "labels")


class Watermark(Transform):
    """Trains the model to answer a secret trigger set."""

    name = "watermark"
    label = "watermark"
    help = (
        "Trains the model to answer a secret set of inputs that follows from a key: with the key, its owner proves "
        "later that a file or a server is this model (dk.check_watermark). Survives int8 and moderate pruning; "
        "neither smaller nor faster."
    )
    family = TRAIN
    keyed = "key"
    parameters = (
        Parameter(
            "key", "text", "",
            "Place of the secret key: env:NAME, file:PATH, keyring:NAME or cmd:PROGRAM. Recipes keep the place and a "
            "digest of the key, never the key.",
        ),
        Parameter(
            "triggers", "int", 100, "Secret inputs. More are a stronger proof, and take more of what the model can "
            "hold.", minimum=20, maximum=1000, step=10, unit="inputs",
        ),
        Parameter("low", "float", 0.0, "Smallest value of the raw inputs.", minimum=-1e9, maximum=1e9),
        Parameter(
            "high", "float", None, "Largest value of the raw inputs; by default 255 for uint8, else 1.", minimum=-1e9,
            maximum=1e9,
        ),
        *PARAMETERS,
    )  # fmt: skip
    variants = (_Onnx(), _Keras())


ADAPTER = Watermark()
