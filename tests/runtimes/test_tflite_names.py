"""Names of a TFLite file's inputs and outputs, in the way that TensorFlow 1 wrote them down."""

import random

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers

from deploykit.core.protos.messages import message
from deploykit.loading._load import load
from deploykit.runtimes._tflite_names import _only_text, signature_names


def described(inputs, outputs):
    """A signature's message: names of tensors by the signature's own."""
    found = message("tensorflow.SignatureDef")(method_name="tensorflow/serving/predict")
    for side, names in ((found.inputs, inputs), (found.outputs, outputs)):
        for name, tensor in names.items():
            side[name].name = tensor
    return found.SerializeToString()


def flexible(**values):
    builder = flexbuffers.Builder()
    with builder.Map():
        for name, value in values.items():
            builder.Key(name)
            builder.String(value.decode("latin-1")) if value.isascii() else builder.Blob(value)
    return bytes(builder.Finish())


@pytest.fixture
def written(zoo, tmp_path):
    """A copy of the tiny CNN without signatures but with this in the metadata."""

    def write(content):
        data = bytearray(zoo("cnn_tflite").read_bytes())
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
        model.signatureDefs = []
        buffer = schema.BufferT()
        buffer.data = list(content)
        model.buffers.append(buffer)
        metadata = schema.MetadataT()
        metadata.name, metadata.buffer = "signature_defs_metadata", len(model.buffers) - 1
        model.metadata = [*(model.metadata or []), metadata]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path = tmp_path / "older.tflite"
        path.write_bytes(builder.Output())
        return path

    return write


def names(path):
    return signature_names(Interpreter(model_path=str(path)), path)


def test_the_names_of_the_only_signature_are_taken(written):
    (given,), (made,) = names(written(b""))
    assert (given, made) != ("picture", "answer")
    path = written(flexible(serving_default=described({"picture": f"{given}:0"}, {"answer": made})))
    assert names(path) == (["picture"], ["answer"])
    model = load(path)
    assert ([spec.name for spec in model.inputs], [spec.name for spec in model.outputs]) == (["picture"], ["answer"])


def test_what_is_not_one_signature_is_left_alone(written):
    usual = names(written(b""))
    one = described({"picture": usual[0][0]}, {})
    for content in (b"\x01", flexible(), flexible(a=one, b=one), flexible(a=b"\xff\xff"), one):
        assert names(written(content)) == usual


@pytest.mark.parametrize("size", [0, 3, 100, 300, 70_000])
def test_texts_of_all_widths_are_read(size):
    assert _only_text(flexible(serving_default=b"x" * size)) == b"x" * size


def test_flipped_bits_do_no_harm():
    draw = random.Random(0)
    whole = flexible(serving_default=b"some text" * 9)
    for _ in range(3000):
        broken = bytearray(whole)
        broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
        try:
            assert len(_only_text(bytes(broken))) <= len(whole)
        except (ValueError, IndexError):
            continue
