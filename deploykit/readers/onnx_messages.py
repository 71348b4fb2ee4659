"""The messages of an ONNX file, as far as checking one before a runtime opens it takes.

A server has a runtime and no ``onnx`` package, which weighs half as much again as the runtime and brings what only
conversions need. The field numbers and types are those of ``onnx.proto`` (the ONNX specification, IR version 13);
fields that are not listed are skipped, as protobuf does. The messages have a pool of their own, so that no other
package's are in the way.
"""

from __future__ import annotations

from functools import cache
from typing import Any

#: A tensor whose values are in another file, and the numbers of some types.
EXTERNAL = 1
FLOAT, STRING, FLOAT16, DOUBLE, COMPLEX64, COMPLEX128, BFLOAT16 = 1, 8, 10, 11, 14, 15, 16
#: Bits of one value by the number of its type; text has none.
BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2, 27: 8, 28: 8,
}  # fmt: skip
#: Message → fields as "number name type"; ``*`` is repeated, ``+`` repeated and packed.
_MESSAGES = {
    "Entry": "1 key string, 2 value string",
    "Segment": "1 begin int64, 2 end int64",
    "OperatorSet": "1 domain string, 2 version int64",
    "Value": "1 name string",
    "Tensor": (
        "1 dims int64*, 2 data_type int32, 3 segment Segment, 4 float_data float+, 5 int32_data int32+, "
        "6 string_data bytes*, 7 int64_data int64+, 8 name string, 9 raw_data bytes, 10 double_data double+, "
        "11 uint64_data uint64+, 13 external_data Entry*, 14 data_location int32"
    ),
    "SparseTensor": "1 values Tensor, 2 indices Tensor, 3 dims int64*",
    "Attribute": (
        "1 name string, 5 t Tensor, 6 g Graph, 10 tensors Tensor*, 11 graphs Graph*, 22 sparse_tensor SparseTensor, "
        "23 sparse_tensors SparseTensor*"
    ),
    "Node": (
        "1 input string*, 2 output string*, 3 name string, 4 op_type string, 5 attribute Attribute*, 7 domain string"
    ),
    "Graph": (
        "1 node Node*, 2 name string, 5 initializer Tensor*, 11 input Value*, 12 output Value*, 13 value_info Value*, "
        "15 sparse_initializer SparseTensor*"
    ),
    "Function": (
        "1 name string, 4 input string*, 5 output string*, 7 node Node*, 9 opset_import OperatorSet*, "
        "10 domain string, 11 attribute_proto Attribute*"
    ),
    "Training": "1 initialization Graph, 2 algorithm Graph",
    "Model": (
        "1 ir_version int64, 7 graph Graph, 8 opset_import OperatorSet*, 20 training_info Training*, "
        "25 functions Function*"
    ),
}


def parse(data: bytes) -> Any:
    """A model from the bytes of its file.

    Raises:
        google.protobuf.message.DecodeError: Truncated or malformed.
    """
    return _model().FromString(data)


@cache
def _model() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="onnx_checked.proto", package="checked", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind in (entry.split() for entry in fields.split(", ")):
            bare = kind.rstrip("*+")
            label = kinds.LABEL_OPTIONAL if bare == kind else kinds.LABEL_REPEATED
            added = message.field.add(name=field, number=int(number), label=label)
            if bare in _MESSAGES:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".checked.{bare}"
            else:
                added.type = getattr(kinds, f"TYPE_{bare.upper()}")
            if kind.endswith("+"):
                added.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("checked.Model"))
