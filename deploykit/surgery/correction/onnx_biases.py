"""Correcting an ONNX model that has been quantized; see `deploykit.surgery.correction.biases`.

Weights can be corrected as well: those that answer best by least squares for what a layer reads once it is quantized,
rounded to the same steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.correction.biases import Corrected, along, error, share
from deploykit.surgery.onnx_session import opened
from deploykit.surgery.onnx_wires import Wires
from deploykit.surgery.quantization.graphs import CONVERSIONS
from deploykit.surgery.reconstruction.linear import solved
from deploykit.surgery.reconstruction.onnx_linear import linear
from deploykit.surgery.reconstruction.onnx_walk import Walk
from deploykit.surgery.reconstruction.walk import BUDGET, Examples, begin_together, take_in_together

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Layers, with the axis of channels in what they give, and those that take a bias themselves.
_AXES = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1, "MatMul": -1}
_BIASED = frozenset({"Conv", "ConvTranspose", "Gemm"})
#: The largest whole number of 32 bits.
_LARGEST = 2**31 - 1


def counterparts(reference: Any, model: Any) -> dict[str, tuple[str, str, str]]:
    """The layers of a model that its reference has as well.

    They have the same name there, or write the tensor that a layer of the reference writes, where quantizers have made
    something else of it.

    Args:
        reference: A ``ModelProto`` in float.
        model: The same after quantization.

    Returns:
        Tensor that a layer writes → its name, its operator and the tensor in the reference.
    """
    constants = {t.name for t in reference.graph.initializer}
    layers = [
        node for node in reference.graph.node if node.op_type in _AXES and not constants.isdisjoint(node.input[1:2])
    ]
    named = {(node.op_type, node.name): node for node in layers}
    written = {node.output[0]: node for node in layers}
    found = {}
    for node in model.graph.node:
        if not node.output or node.op_type in CONVERSIONS:
            continue
        layer = named.get((node.op_type, node.name)) or written.get(node.output[0])
        if layer is not None:
            found[node.output[0]] = (layer.name or layer.output[0], layer.op_type, layer.output[0])
    return found


def correct(reference: Any, model: Any, examples: Examples, *, weights: bool = False) -> Corrected:
    """Add the mean error of each layer's outputs to its bias; the model is changed in place.

    Args:
        reference: A ``ModelProto``: the model in float, with the same inputs.
        model: The same after quantization, with pairs of conversions around layers, or with rounded weights.
        examples: Calibration inputs.
        weights: Whether integer weights are solved again before.
    """
    import numpy as np

    found, layers, places = Corrected(), counterparts(reference, model), _Places(model)
    shifted: dict[str, _Place] = {}
    for node in [node for node in model.graph.node if node.output and node.output[0] in layers]:
        place = places.of(node)
        if isinstance(place, str):
            found.stay[layers[node.output[0]][0]] = place
        else:
            shifted[node.output[0]] = place
    places.finish()
    budget, walked = BUDGET // 2, _dequantized(model)
    first, second = _Beside(reference, examples, budget=budget), Walk(walked, examples, budget=budget)
    places.constants = second.constants
    begin_together(first, second)
    nodes, generator = list(walked.graph.node), np.random.default_rng(examples.seed)
    for number, node in enumerate(nodes):
        if first.goes_on:
            take_in_together(first, second)
        name = node.output[0] if node.output else ""
        wanted = first.reach(layers[name][2]) if name in shifted else None
        if weights and wanted is not None and node.input[0] in second.values:
            places.solve(node, second.values[node.input[0]], wanted, generator)
        second.step()
        if name in shifted:
            label, operator, _ = layers[name]
            now, axis = second.values[name], _AXES[operator]
            mean = None if wanted is None else error(wanted, now, axis)
            if mean is None or wanted is None:
                found.stay[label] = "what it gives has another shape in the original, or comes in another order"
            else:
                applied = shifted[name].shift(mean)
                found.shifts[label] = share(applied, wanted)
                if shifted[name].inside:
                    second.values[name] = (now + along(applied, axis, now.ndim)).astype(now.dtype)
            first.leave()
        second.forget()
        examples.report(number + 1, len(nodes), "correcting biases")
    return found


def _dequantized(model: Any) -> Any:
    """A copy of a model in which constants that are dequantized are constants in float, as they are not examples."""
    onnx, numpy_helper = require("onnx", ""), require("onnx.numpy_helper", "")
    made = onnx.ModelProto()
    made.CopyFrom(model)
    constants = {t.name for t in made.graph.initializer}
    nodes = [n for n in made.graph.node if n.op_type == "DequantizeLinear" and constants >= {*filter(None, n.input)}]
    outputs = [onnx.helper.make_empty_tensor_value_info(n.output[0]) for n in nodes]
    if not nodes:
        return made
    used = {name for n in nodes for name in n.input}
    graph = onnx.helper.make_graph(
        nodes, "constants", [], outputs, [t for t in made.graph.initializer if t.name in used]
    )
    session = opened(onnx.helper.make_model(graph, opset_imports=made.opset_import, ir_version=made.ir_version))
    for node, values in zip(nodes, session.run(None, {}), strict=True):
        made.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        made.graph.node.remove(node)
    return made


@dataclass(frozen=True)
class _Place:
    """Where a bias is.

    Attributes:
        shift: Adds a value per channel to it, and gives what was added.
        inside: Whether the layer adds it, rather than the node behind.
    """

    shift: Callable[[NDArray[Any]], NDArray[Any]]
    inside: bool


class _Beside(Walk):
    """The reference, which is walked as far as the other model is."""

    @property
    def goes_on(self) -> bool:
        """Whether a node is left."""
        return self._done < len(self._nodes)

    def reach(self, name: str) -> NDArray[Any] | None:
        """A tensor; None when it is not held any more. `leave` must come before anything else."""
        self._ran = False
        while name not in self.values and self._done < len(self._nodes):
            self.step()
            self._ran = name in self.values
            if not self._ran:
                self.forget()
        return self.values.get(name)

    def leave(self) -> None:
        """Go past the node that was reached."""
        if self._ran:
            self.forget()


class _Places(Wires):
    """Where the biases of a graph are, and what shifts them.

    Args:
        model: A ``ModelProto``; layers that take a bias and have none get one.

    Attributes:
        constants: Those of the copy that is walked, which change with the model's.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._added: dict[str, list[Any]] = {}
        self.constants: dict[str, Any] = {}

    def of(self, node: Any) -> _Place | str:
        """Where the bias of a layer is; the reason why there is none that could be shifted."""
        adder = node if node.op_type == "Add" else self._alone(node.output[0])
        if node.op_type in _BIASED:
            name = node.input[2] if len(node.input) > 2 and node.input[2] else self._new(node)
        elif adder is None or adder.op_type != "Add":
            return "it has no bias"
        else:
            name = next((name for name in adder.input if name in self._constants), "")
        if len(self._reads.get(name, ())) > 1:
            return "another node reads its bias as well"
        inside = node.op_type in _BIASED or adder is node
        if name in self._constants:
            return _Place(partial(self._shift, name), inside)
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear" or len(self._reads.get(maker.input[0], ())) > 1:
            return "its bias is computed"
        if not self._constants.keys() >= {*maker.input[:2]} or self._value(maker.input[0]).dtype.name != "int32":
            return "its bias is stored in too few bits"
        return _Place(partial(self._shift_integers, maker), inside)

    def solve(self, node: Any, source: NDArray[Any], wanted: NDArray[Any], generator: Any) -> None:
        """Solve the integer weights of a layer again; their scales stay.

        Args:
            node: The layer.
            source: What it reads.
            wanted: What it should give.
            generator: Draws the places at which that is compared.
        """
        import numpy as np

        maker, name = self._makers.get(node.input[1]), node.input[1]
        if maker is None or name not in self.constants or len(self._reads.get(name, ())) > 1:
            return
        numpy_helper = require("onnx.numpy_helper", "")
        layer = linear(node, {name: numpy_helper.to_array(self.constants[name])})
        if layer is None or len(maker.input) < 3:
            return
        stored, scale, zero = (self._value(one) for one in maker.input)
        if stored.dtype.name != "int8" or zero.any() or scale.ndim > 1 or len(self._reads[maker.input[0]]) > 1:
            return
        matrices, _ = solved(layer, source, wanted, generator, bias=True)
        axis = next((int(a.i) for a in maker.attribute if a.name == "axis"), 1)
        steps = scale if scale.size == 1 else along(scale, axis, stored.ndim)
        largest = int(np.abs(stored.astype(np.int32)).max())
        whole = np.rint(layer.restored(matrices) / np.where(steps > 0, steps, np.inf))
        whole = whole.clip(-largest, largest).astype(np.int8)
        self._store(maker.input[0], whole)
        self._mirror(name, whole * steps)

    def finish(self) -> None:
        """Put new nodes where they belong."""
        if self._added:
            nodes = [n for node in self._graph.node for n in (*self._added.get(node.output[0], ()), node)]
            self._graph.ClearField("node")
            self._graph.node.extend(nodes)

    def _alone(self, name: str) -> Any:
        readers = self._reads.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self._outputs else None

    def _store(self, name: str, values: NDArray[Any]) -> None:
        super()._store(name, values)
        if name in self.constants:
            self.constants[name].CopyFrom(self._constants[name])

    def _shift(self, name: str, shift: NDArray[Any]) -> NDArray[Any]:
        old = self._value(name)
        new = old + (shift.reshape(old.shape) if old.size == shift.size else shift)
        self._store(name, new.astype(old.dtype))
        return shift

    def _shift_integers(self, maker: Any, shift: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        old, scale = self._value(maker.input[0]), self._value(maker.input[1]).astype(np.float64)
        new = np.clip(old + np.rint(shift / np.where(scale > 0, scale, np.inf)), -_LARGEST, _LARGEST).astype(np.int32)
        self._store(maker.input[0], new)
        self._mirror(maker.output[0], new * scale)
        found: NDArray[Any] = (new.astype(np.int64) - old) * scale
        return found

    def _mirror(self, name: str, values: NDArray[Any]) -> None:
        """Change what the copy that is walked has in place of integers."""
        import numpy as np

        tensor = require("onnx.numpy_helper", "").from_array(values.astype(np.float32), name)
        self.constants[name].CopyFrom(tensor)

    def _new(self, node: Any) -> str:
        """A bias of zeros for a layer: in integers where its weights and inputs are, as runtimes fuse it."""
        import numpy as np

        helper = require("onnx.helper", "")
        name, outputs = f"{node.output[0]}/bias", self._outputs_of(node)
        scale = self._bias_scale(node)
        if scale is None:
            self._store(name, np.zeros(outputs, np.float32))
        else:
            self._store(f"{name}_quantized", np.zeros(outputs, np.int32))
            self._store(f"{name}_scale", scale.astype(np.float32))
            self._store(f"{name}_zero_point", np.zeros(scale.shape, np.int32))
            made = helper.make_node(
                "DequantizeLinear", [f"{name}_quantized", f"{name}_scale", f"{name}_zero_point"], [name],
                f"{name}_DequantizeLinear", **({"axis": 0} if scale.ndim else {}),
            )  # fmt: skip
            self._added.setdefault(node.output[0], []).append(made)
            self._makers[name] = made
        del node.input[2:]
        node.input.append(name)
        return name

    def _bias_scale(self, node: Any) -> NDArray[Any] | None:
        """The product of the scales of inputs and weights; None when they are not both in integers."""
        scales = []
        for name in node.input[:2]:
            maker = self._makers.get(name)
            if maker is None or maker.op_type != "DequantizeLinear" or maker.input[1] not in self._constants:
                return None
            scales.append(self._value(maker.input[1]))
        if scales[0].size != 1 or scales[1].ndim > 1:
            return None
        found: NDArray[Any] = scales[0].reshape(()) * scales[1]
        return found

    def _outputs_of(self, node: Any) -> int:
        """How many channels a layer writes."""
        name = node.input[1]
        maker = self._makers.get(name)
        dims = self._constants[maker.input[0] if maker is not None and name not in self._constants else name].dims
        given: Mapping[str, int] = {a.name: int(a.i) for a in node.attribute if a.name in {"group", "transB"}}
        if node.op_type == "ConvTranspose":
            return int(dims[1]) * given.get("group", 1)
        return int(dims[0] if node.op_type == "Conv" or given.get("transB") else dims[1])
