"""What the last layer of an ONNX graph sees: the tensor that a model's answer is computed from."""

from __future__ import annotations

from typing import Any

from deploykit.readers.onnx_messages import parse

#: Operators that multiply by weights; all that may stand between one and the answer is looked through.
_LAYERS = frozenset(
    {"Conv", "ConvInteger", "ConvTranspose", "DynamicQuantizeMatMul", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm",
     "MatMul", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "QGemm", "QLinearConv", "QLinearMatMul"}
)  # fmt: skip
#: They give another form of their first input.
_FORMS = frozenset({"Cast", "DequantizeLinear", "DynamicQuantizeLinear", "Identity"})
_MOST_STEPS = 64
_MOST_BYTES = 1 << 30


def last_input(data: bytes, output: str) -> str:
    """Name of the tensor that goes into the last layer with weights before an output; "" where none is found.

    Args:
        data: The bytes of the file.
        output: Name of the output in the file.

    Raises:
        google.protobuf.message.DecodeError: Truncated or malformed.
    """
    if len(data) > _MOST_BYTES:
        return ""
    graph = parse(data).graph
    fixed = {tensor.name for tensor in graph.initializer} | {""}
    makers: dict[str, Any] = {name: node for node in graph.node for name in node.output}
    wanted = output
    for _ in range(_MOST_STEPS):
        node = makers.get(wanted)
        if node is None or not node.input:
            return ""
        if node.op_type in _LAYERS:
            return _before_forms(node.input[0], makers, fixed)
        wanted = next((n for n in node.input if n not in fixed and not _constant(n, makers, fixed)), "")
    return ""


def _before_forms(name: str, makers: dict[str, Any], fixed: set[str]) -> str:
    """The tensor of which a layer takes another form: what is computed, not what is converted for one layer."""
    for _ in range(_MOST_STEPS):
        node = makers.get(name)
        if node is None:
            return ""  # an input of the model
        before = node.input[0] if node.input else ""
        if node.op_type not in _FORMS or before in fixed or before not in makers:
            return name
        name = before
    return name


def _constant(name: str, makers: dict[str, Any], fixed: set[str]) -> bool:
    """Whether a tensor is the same whatever the model is asked."""
    seen = 0
    while seen < _MOST_STEPS and name not in fixed:
        node = makers.get(name)
        if node is None:
            return False
        if not node.input:
            return bool(node.op_type == "Constant")
        name = node.input[0]
        seen += 1
    return name in fixed


def also_giving(data: bytes, name: str) -> bytes:
    """A file's bytes and, behind them, a graph of one output alone.

    Protobuf merges a message that comes twice, so readers see the file's own graph with one more output.

    Args:
        data: The bytes of the file.
        name: Name of a tensor in its graph.
    """
    value = _field(1, name.encode())
    return data + _field(7, _field(12, value))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
