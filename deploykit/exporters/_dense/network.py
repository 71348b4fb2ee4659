"""Reads a dense network off an ONNX graph: a chain of products, sums and activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.loading._onnx.parts import STANDARD, attributes, initializers

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: ONNX's activations by PMML's names.
ACTIVATIONS = {"Relu": "rectifier", "Sigmoid": "logistic", "Tanh": "tanh", "Exp": "exponential", "Softmax": "softmax"}
#: Operators that keep all values in their order.
_PASSING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast"})
_OTHER = "export with layout='edge' or layout='folder', which hold any network."


@dataclass(frozen=True)
class Dense:
    """One layer: activation(x @ weights + bias).

    Attributes:
        weights: Shape (inputs, units), float64.
        bias: Shape (units,), float64.
        activation: PMML's name; ``"identity"`` for none, ``"softmax"`` for the last layer alone.
    """

    weights: NDArray[Any]
    bias: NDArray[Any]
    activation: str = "identity"


def layers_of(model: Any, size: int) -> list[Dense]:
    """The layers of a graph with one input and one output.

    Args:
        model: The ``ModelProto``, with its data.
        size: How many values one example has.

    Raises:
        UnsupportedModelError: It is not a chain of dense layers; names the node that is not.
    """
    constants: dict[str, Any] = initializers(model.graph)
    fed = [i.name for i in model.graph.input if i.name not in constants]
    given = [o.name for o in model.graph.output]
    if len(fed) != 1 or len(given) != 1:
        raise UnsupportedModelError(
            f"It takes networks with one input and one output; this one has {len(fed)} and {len(given)}.",
            remedy=_OTHER,
        )
    chain = _Chain(size)
    here = fed[0]
    for node in model.graph.node:
        if all(name in constants for name in node.input if name):
            constants |= _folded(node, constants, model.opset_import)
            continue
        if [name for name in node.input if name and name not in constants] != [here]:
            raise _refused(node, "it does not continue one chain")
        chain.take(node, here, constants)
        here = node.output[0]
    if here != given[0]:
        raise UnsupportedModelError(f"The output {given[0]!r} is not the end of the chain of layers.", remedy=_OTHER)
    return chain.layers()


class _Chain:
    """Layers so far; sums and factors wait until a product takes them in."""

    def __init__(self, size: int) -> None:
        import numpy as np

        self._done: list[Dense] = []
        self._width = size
        self._scale, self._shift = np.ones(size), np.zeros(size)

    def take(self, node: Any, here: str, constants: Mapping[str, Any]) -> None:
        """Continue with a node."""
        kind = node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"
        values = [constants[name] for name in node.input if name and name != here]
        first = node.input[0] == here
        known = attributes(node)
        if kind in _PASSING and first:
            if kind == "Cast" and known["to"] not in (1, 11):
                raise _refused(node, "it makes whole numbers")
        elif kind == "MatMul" and first and values[0].ndim == 2:
            self._product(values[0], None)
        elif kind == "Gemm" and first and not known.get("transA"):
            weights = values[0].T if known.get("transB") else values[0]
            bias = values[1] * known.get("beta", 1.0) if len(values) > 1 else None
            self._product(weights * known.get("alpha", 1.0), bias)
        elif kind in ("Add", "Sub", "Mul", "Div"):
            self._elementwise(node, kind, values[0], first=first)
        elif kind == "BatchNormalization" and first and len(values) == 4:
            gamma, beta, mean, variance = (self._row(node, v) for v in values)
            factor = gamma / (variance + known.get("epsilon", 1e-5)) ** 0.5
            self._affine(factor, beta - mean * factor)
        elif kind in ACTIVATIONS:
            if kind == "Softmax" and known.get("axis", -1) not in (-1, 1):
                raise _refused(node, f"its axis is {known['axis']}")
            self._activate(node, ACTIVATIONS[kind])
        else:
            raise _refused(node, "only dense layers and their activations are taken")

    def layers(self) -> list[Dense]:
        """All layers; what waits becomes one of its own."""
        self._settle()
        return self._done

    def _product(self, weights: Any, bias: Any) -> None:
        import numpy as np

        weights = np.asarray(weights, np.float64)
        if len(weights) != self._width:
            raise UnsupportedModelError(
                f"A product takes {len(weights)} values where {self._width} arrive.", remedy=_OTHER
            )
        moved = self._shift @ weights
        self._done.append(Dense(self._scale[:, None] * weights, moved + (0.0 if bias is None else np.ravel(bias))))
        self._width = weights.shape[1]
        self._scale, self._shift = np.ones(self._width), np.zeros(self._width)

    def _elementwise(self, node: Any, kind: str, value: Any, *, first: bool) -> None:
        import numpy as np

        row = self._row(node, value)
        if kind in ("Add", "Sub"):
            sign = -1.0 if kind == "Sub" and not first else 1.0
            self._affine(np.full(self._width, sign), -row if kind == "Sub" and first else row)
        elif kind == "Mul" or first:
            self._affine(row if kind == "Mul" else 1.0 / row, np.zeros(self._width))
        else:
            raise _refused(node, "it divides by what arrives")

    def _row(self, node: Any, value: Any) -> NDArray[Any]:
        """A constant for each value that arrives."""
        import numpy as np

        flat = np.asarray(value, np.float64).ravel()
        if flat.size not in (1, self._width):
            raise _refused(node, f"its constant has {flat.size} values where {self._width} arrive")
        return np.broadcast_to(flat, self._width)

    def _affine(self, factor: NDArray[Any], shift: NDArray[Any]) -> None:
        """Into the layer before, if nothing stands between; else it waits."""
        if self._done and self._done[-1].activation == "identity":
            last = self._done[-1]
            self._done[-1] = replace(last, weights=last.weights * factor, bias=last.bias * factor + shift)
        else:
            self._scale, self._shift = self._scale * factor, self._shift * factor + shift

    def _settle(self) -> None:
        import numpy as np

        if not self._done or (self._scale != 1.0).any() or (self._shift != 0.0).any():
            self._product(np.eye(self._width), None)

    def _activate(self, node: Any, name: str) -> None:
        if self._done and self._done[-1].activation == "softmax":
            raise _refused(node, "it follows a softmax")
        self._settle()
        if self._done[-1].activation != "identity":
            import numpy as np

            self._product(np.eye(self._width), None)
        self._done[-1] = replace(self._done[-1], activation=name)


def _folded(node: Any, constants: Mapping[str, Any], imports: Any) -> dict[str, Any]:
    """What a node makes of constants."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    graph = onnx.helper.make_graph(
        [node],
        "constants",
        [],
        [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name],
        [onnx.numpy_helper.from_array(constants[name], name) for name in dict.fromkeys(node.input) if name],
    )
    names = [name for name in node.output if name]
    try:
        evaluator = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=imports))
        return dict(zip(names, evaluator.run(names, {}), strict=True))
    except Exception as error:  # the reference does not know all operators, and raises what it likes
        raise _refused(node, "what it makes of constants cannot be computed beforehand") from error


def _refused(node: Any, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{node.op_type} ({node.name or node.output[0]!r}) is not part of a dense network: {reason}.", remedy=_OTHER
    )
