import onnx
import pytest
from google.protobuf.descriptor import FieldDescriptor
from onnx import TensorProto, helper

from deploykit.readers import onnx_messages

NAMES = {
    "Entry": "StringStringEntryProto", "Segment": "TensorProto.Segment", "OperatorSet": "OperatorSetIdProto",
    "Value": "ValueInfoProto", "Training": "TrainingInfoProto",
}  # fmt: skip


def described(name):
    found = onnx
    for part in NAMES.get(name, f"{name}Proto").split("."):
        found = getattr(found, part)
    return found.DESCRIPTOR


def messages():
    return onnx_messages._model().DESCRIPTOR.file.message_types_by_name


@pytest.mark.parametrize("name", onnx_messages._MESSAGES)
def test_fields_are_those_of_the_specification(name):
    official = described(name).fields_by_name
    for field in messages()[name].fields:
        other = official[field.name]
        assert (field.number, field.is_repeated) == (other.number, other.is_repeated)
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            assert other.message_type is described(field.message_type.name)
        else:
            kinds = {field.type, other.type}
            assert len(kinds) == 1 or kinds == {FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM}
        assert field.GetOptions().packed == other.GetOptions().packed


def test_every_place_of_a_tensor_or_a_graph_is_read():
    """What a field can hold that is left out would be opened by a runtime, unchecked."""
    wanted = {described(name) for name in ("Tensor", "SparseTensor", "Graph", "Node", "Attribute", "Function")}
    for name in onnx_messages._MESSAGES:
        for field in described(name).fields:
            if field.message_type in wanted:
                assert field.name in messages()[name].fields_by_name or (name, field.name) in {
                    ("Attribute", "ref_attr_name")
                }, f"{name}.{field.name}"


def test_types_have_the_sizes_of_the_specification():
    for name, number in TensorProto.DataType.items():
        if name in ("UNDEFINED", "STRING"):
            assert number not in onnx_messages.BITS
        elif name.endswith(("INT2", "INT4", "E2M1")):
            assert onnx_messages.BITS[number] == (2 if name.endswith("INT2") else 4)
        else:
            assert onnx_messages.BITS[number] == 8 * helper.tensor_dtype_to_np_dtype(number).itemsize
    assert TensorProto.EXTERNAL == onnx_messages.EXTERNAL
    for name in ("STRING", "FLOAT", "FLOAT16", "DOUBLE", "COMPLEX64", "COMPLEX128", "BFLOAT16"):
        assert getattr(onnx_messages, name) == TensorProto.DataType.Value(name)
