"""One convolution in the forms in which int8 comes in ONNX files, to see what a runtime makes of them on this CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploykit.core.problem import Form

#: Large enough for its time to be distinguished from that of the nodes around it: 29 million products.
_CHANNELS, _SIDE = 64, 28
SHAPE = (1, _CHANNELS, _SIDE, _SIDE)
_SCALE = 1 / 64


def write(folder: Path) -> dict[Form, Path]:
    """Write the files; all take one input ``x`` of shape `SHAPE`."""
    import onnx

    found: dict[Form, Path] = {}
    for form, nodes, constants in _graphs():
        found[form] = folder / f"{form.replace(' ', '_')}.onnx"
        onnx.save(_model(nodes, constants), found[form])
    return found


def _graphs() -> list[tuple[Form, list[Any], dict[str, Any]]]:
    import numpy as np
    from onnx import helper

    node = helper.make_node
    weights = np.random.default_rng(0).normal(0, 0.1, (_CHANNELS, _CHANNELS, 3, 3)).astype(np.float32)
    whole = np.clip(np.rint(weights / _SCALE), -127, 127).astype(np.int8)
    pads = {"pads": [1, 1, 1, 1]}
    common = {"s": np.float32(_SCALE), "w": whole, "wz": np.int8(0)}
    graphs: list[tuple[Form, list[Any], dict[str, Any]]] = [
        ("float32", [node("Conv", ["x", "w"], ["y"], "conv", **pads)], {"w": weights})
    ]
    kinds: list[tuple[Form, Form, Any]] = [
        ("uint8", "uint8 operators", np.uint8(128)), ("int8", "int8 operators", np.int8(0)),
    ]  # fmt: skip
    for pairs, operators, zero in kinds:
        quantize = node("QuantizeLinear", ["x", "s", "z"], ["xq"], "quantize")
        after = node("DequantizeLinear", ["yq", "s", "z"], ["y"], "dequantize")
        between = [
            node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "input"),
            node("DequantizeLinear", ["w", "s", "wz"], ["wd"], "weights"),
            node("Conv", ["xd", "wd"], ["c"], "conv", **pads),
            node("QuantizeLinear", ["c", "s", "z"], ["yq"], "output"),
        ]
        whole_conv = node("QLinearConv", ["xq", "s", "z", "w", "s", "wz", "s", "z"], ["yq"], "conv", **pads)
        graphs.append((pairs, [quantize, *between, after], {**common, "z": zero}))
        graphs.append((operators, [quantize, whole_conv, after], {**common, "z": zero}))
    dynamic = [
        node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"], "quantize"),
        node("ConvInteger", ["xq", "w", "xz", "wz"], ["c"], "conv", **pads),
        node("Cast", ["c"], ["cf"], "cast", to=1),
        node("Mul", ["xs", "s"], ["both"], "scales"),
        node("Mul", ["cf", "both"], ["y"], "scale"),
    ]
    graphs.append(("dynamic", dynamic, common))
    return graphs


def _model(nodes: list[Any], constants: dict[str, Any]) -> Any:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in "xy"]
    graph = helper.make_graph(nodes, "probe", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
