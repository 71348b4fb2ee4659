"""Labels for the channels of a Keras model; see `deploykit.surgery.channels.labels`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploykit.surgery.channels.keras_graph import Step, flat
from deploykit.surgery.channels.labels import Group, Labels, Producer, groups

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Traced:
    """A Keras model whose axes have labels; `deploykit.surgery.channels.keras_trace.trace` makes it.

    Weights are called ``layer:number``, the number being the weight's place among the layer's.

    Attributes:
        model: The model.
        flat: The same as a list of steps.
        constants: The weights of the layers that have a rule, as arrays.
        shapes: Shape of every tensor; None for an unknown dimension.
        axes: For every tensor and weight, the labels of each axis; None for an axis of unknown length.
        labels: What joins them.
        made: Every axis of a weight that makes channels, with its labels.
        frozen: Names of layers whose channels stay because their class has no rule, by class.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.flat = flat(model)
        self.shapes = self.flat.shapes
        self.labels = Labels()
        self.constants: dict[str, NDArray[Any]] = {}
        self.axes: dict[str, list[NDArray[Any] | None]] = {}
        self.made: list[tuple[Producer, NDArray[Any]]] = []
        self.frozen: dict[str, list[str]] = {}
        self._seen: set[tuple[str, int]] = set()
        for name in self.flat.inputs:
            self.axes[name] = self.still(name)

    def groups(self) -> list[Group]:
        """The groups of channels that compete, in the order in which their layers run."""
        return groups(self.labels, self.made)

    def still(self, name: str) -> list[NDArray[Any] | None]:
        """Frozen labels for all axes of a tensor."""
        import numpy as np

        return [None if size is None else np.zeros(size, np.int64) for size in self.shapes[name]]

    def weight(self, step: Step, number: int) -> list[NDArray[Any] | None]:
        """The labels of a weight of a step's layer, new ones at the first time."""
        import numpy as np

        name = f"{step.name}:{number}"
        if name not in self.axes:
            self.constants[name] = np.asarray(step.op.weights[number])
            self.axes[name] = [self.labels.fresh(size) for size in self.constants[name].shape]
        return self.axes[name]

    def produce(self, step: Step, number: int, axis: int) -> NDArray[Any]:
        """Note that an axis of a weight makes the channels that a step writes; gives its labels."""
        name, labels = f"{step.name}:{number}", self.weight(step, number)[axis]
        assert labels is not None
        if (name, axis) not in self._seen:
            self._seen.add((name, axis))
            self.made.append((Producer(name, axis, step.name), labels))
        return labels

    def freeze(self, step: Step) -> None:
        """Keep all channels that a step reads or writes, and note why."""
        if any(self.labels.is_live(axis) for name in step.input for axis in self.axes.get(name, [])):
            kind, active = type(step.op).__name__, step.part == "activation"
            kind = getattr(step.op.activation, "__name__", kind) if active else kind
            known = self.frozen.setdefault(kind, [])
            known += [step.name] if step.name not in known else []
        own = step.part != "activation"  # the weights of such a layer belong to the step before
        weights = [name for name in self.axes if own and name.rsplit(":", 1)[0] == step.name]
        for name in (*step.input, *step.output, *weights):
            for axis in self.axes.get(name, []):
                self.labels.freeze(axis)
        for name in step.output:
            self.axes[name] = self.still(name)
