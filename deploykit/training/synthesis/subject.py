"""The model that inputs are made for, as a function of TensorFlow tensors that gradients can be taken of."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from deploykit.converters import _keras
from deploykit.converters._contract import CONVERTERS, Job
from deploykit.core.contract import Contract
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.data.dataset import Dataset
from deploykit.data.feeding import Feeding
from deploykit.loading._contract import FORMATS
from deploykit.loading._keras.open import graph_of
from deploykit.training.keras_ends import feeding
from deploykit.training.keras_hidden import layers, watched
from deploykit.training.onnx.trainer import OnnxTrainer
from deploykit.training.onnx.weights import stored

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Statistics:
    """What a batch normalization has stored of its inputs in training.

    Attributes:
        name: Of the layer or node.
        mean: Of each channel.
        variance: Of each channel.
        axis: The axis of the channels, batch included.
    """

    name: str
    mean: NDArray[Any]
    variance: NDArray[Any]
    axis: int


class Subject(ABC):
    """A model that can be called with tensors of examples.

    Attributes:
        accepts: The format it reads.
        contract: What inputs and outputs mean.
        feeding: Where inputs go in the model.
        statistics: What its batch normalizations have stored; empty when it has none, or none is left.
        scored: Place of the scored output.
    """

    accepts: ClassVar[str]
    contract: Contract
    feeding: Feeding
    statistics: list[Statistics]
    scored: int

    def __call__(self, examples: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        """The outputs, and what the batch normalizations take, in the order of ``statistics``.

        Args:
            examples: Tensors by the names of the contract's inputs, batch first; constants are added.
        """
        import numpy as np

        tf = require("tensorflow", "tensorflow")
        count = next(iter(examples.values())).shape[0]
        plain = {name: np.zeros((count, *tensor.shape[1:]), np.float32) for name, tensor in examples.items()}
        arrays = self.feeding.arrange(plain)
        return self._call([
            examples[meaning.name] if meaning is not None and meaning.name in examples else tf.constant(array)
            for (_, meaning), array in zip(self.feeding.inputs, arrays, strict=True)
        ])  # fmt: skip

    @abstractmethod
    def _call(self, tensors: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """The same for tensors in the model's order."""


class KerasSubject(Subject):
    """A Keras 3 model in the form in which it predicts."""

    accepts = "keras"

    def __init__(self, job: Job, contract: Contract) -> None:
        import numpy as np

        self.contract, self._model = contract, _keras.load(job)
        self.feeding = feeding(self._model, contract)
        places = _keras.exportable(self._model).outputs
        self.scored = places.get(contract.scored.name, 0)
        self._layers = {
            name: layer for name, layer in layers(self._model).items() if type(layer).__name__ == "BatchNormalization"
        }
        self.statistics = [
            Statistics(name, np.asarray(x.moving_mean), np.asarray(x.moving_variance), _only(x.axis))
            for name, x in self._layers.items()
        ]

    def _call(self, tensors: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        keras = require("keras", "tensorflow")
        with watched(self._layers, taken=True) as seen:
            packed = keras.tree.pack_sequence_as(graph_of(self._model)._inputs_struct, list(tensors))
            found = self._model(packed, training=False)
        return keras.tree.flatten(found), [seen[name] for name in self._layers]


def _only(axis: Any) -> int:
    return int(axis if isinstance(axis, int) else axis[0])


class OnnxSubject(Subject):
    """An ONNX file by a TensorFlow function of its graph."""

    accepts = "onnx"

    def __init__(self, job: Job, contract: Contract) -> None:
        onnx = require("onnx", "")
        model = onnx.load(str(job.source))
        constants = stored(model)
        nodes = [
            node for node in model.graph.node
            if node.op_type == "BatchNormalization" and {node.input[3], node.input[4]} <= set(constants)
        ]  # fmt: skip
        data = Dataset({}, contract=contract)
        self._trainer = OnnxTrainer(model, job.source, data, tuple(node.input[0] for node in nodes))
        self.contract, self.feeding = contract, self._trainer.feeding
        self.scored = self._trainer.place(contract.scored.name)
        array = onnx.numpy_helper.to_array
        self.statistics = [
            Statistics(node.name or node.output[0], array(constants[node.input[3]]), array(constants[node.input[4]]), 1)
            for node in nodes
        ]

    def _call(self, tensors: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        found = self._trainer(tensors)
        first = len(found) - len(self.statistics)
        return found[:first], found[first:]


#: Format → what calls its models.
SUBJECTS: Mapping[str, type[KerasSubject | OnnxSubject]] = {s.accepts: s for s in (KerasSubject, OnnxSubject)}


def subject_of(job: Job, contract: Contract) -> Subject:
    """The model of a job, after conversions where there must be some.

    Raises:
        UnsupportedModelError: It cannot be called with tensors, or keeps a state, or an input takes no real numbers.
    """
    if contract.state or contract.sequences:
        raise UnsupportedModelError(
            "The model carries a state from step to step; inputs for it cannot be synthesized.",
            remedy="provide calibration data for this model.",
        )
    for meaning in contract.inputs:
        if meaning.source and (meaning.dtype != "float32" or meaning.batch_axis):
            kind = meaning.dtype if meaning.dtype != "float32" else f"its batch on axis {meaning.batch_axis}"
            raise UnsupportedModelError(
                f"Input {meaning.name!r} takes {kind}; only float32 inputs with the batch first can be synthesized.",
                remedy="provide calibration data for this model.",
            )
    route = _route(job.source_format)
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        for converter in route:
            target = Path(folder) / f"model{FORMATS.get(converter.produces).suffixes[0]}"
            step = replace(job, target=target)
            converter.convert(step)
            job = replace(job, source=target, source_format=converter.produces)
        return SUBJECTS[job.source_format](job, contract)


def _route(format_name: str) -> list[Any]:
    """The shortest row of conversions to a format that can be called."""
    rows: list[tuple[str, list[Any]]] = [(format_name, [])]
    seen = {format_name}
    for here, row in rows:
        if here in SUBJECTS:
            return row
        for converter in CONVERTERS.all():
            if converter.accepts == here and converter.produces not in seen:
                seen.add(converter.produces)
                rows.append((converter.produces, [*row, converter]))
    raise UnsupportedModelError(
        f"Inputs cannot be synthesized for {FORMATS.get(format_name).label} models: gradients are needed.",
        remedy="load the Keras or ONNX file that it was made from.",
    )
