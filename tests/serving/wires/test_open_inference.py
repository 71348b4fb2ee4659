"""The Open Inference Protocol over gRPC: what comes back is what the bare runtime answers, bit for bit."""

import io
import struct

import numpy as np
import onnxruntime
import PIL.Image
import pytest

import deploykit as dk
from deploykit.core.protos.messages import message
from deploykit.serving._serve import serve
from deploykit.testing import graphs

from .conftest import Caller

TYPES = {
    "BOOL": "bool", "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64", "UINT8": "uint8",
    "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
FIELDS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents",
}  # fmt: skip


def infer(name, arrays, *, raw=True, **fields):
    request = message("inference.ModelInferRequest")(model_name=name, **fields)
    for label, (wire, array) in arrays.items():
        tensor = request.inputs.add(name=label, datatype=wire, shape=array.shape)
        if raw:
            request.raw_input_contents.append(packed(array))
        else:
            getattr(tensor.contents, FIELDS.get(wire, "bytes_contents")).extend(array.ravel().tolist())
    return request


def packed(array):
    """Little-endian, row-major; bytes with their length before them."""
    if array.dtype.kind == "O":
        return b"".join(struct.pack("<I", len(v)) + v for v in array.ravel())
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def arrays(answer):
    found = {}
    for place, tensor in enumerate(answer.outputs):
        if answer.raw_output_contents:
            blob = answer.raw_output_contents[place]
            assert not tensor.HasField("contents")
            values = unpacked(blob) if tensor.datatype == "BYTES" else np.frombuffer(blob, TYPES[tensor.datatype])
        else:
            values = getattr(tensor.contents, FIELDS.get(tensor.datatype, "bytes_contents"))
            values = list(values) if tensor.datatype == "BYTES" else np.array(values, TYPES[tensor.datatype])
        found[tensor.name] = values if isinstance(values, list) else values.reshape(tensor.shape)
    return found


def unpacked(blob):
    found = []
    while blob:
        (length,) = struct.unpack_from("<I", blob)
        found.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return found


def bare(server, given):
    session = onnxruntime.InferenceSession(server.artifact.model_path)
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, given), strict=True))


@pytest.fixture
def two(spoken):
    """left (batch, 4) float32, right (batch, 6) int64 → score (batch, 1), label (batch, 3)."""
    return spoken("two_inputs_onnx")


@pytest.fixture
def given():
    rng = np.random.default_rng(3)
    return {"left": rng.normal(size=(5, 4)).astype("f4"), "right": rng.integers(-9, 9, (5, 6))}


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """An input and an output of each type: what goes in comes out, (batch, 3)."""
    folder = tmp_path_factory.mktemp("every")
    nodes = [graphs.node("Identity", [wire], [f"{wire}_out"]) for wire in TYPES]
    inputs = [graphs.value(wire, dtype, "N", 3) for wire, dtype in TYPES.items()]
    outputs = [graphs.value(f"{wire}_out", dtype, "N", 3) for wire, dtype in TYPES.items()]
    data = dk.Dataset.from_arrays({wire: np.tile(examples(wire), (15, 1)) for wire in TYPES})
    artifact = graphs.exported(graphs.graph(folder, nodes, inputs, outputs), data)
    with serve(artifact, port=0, ports={"grpc": 0}) as server:
        yield Caller(server)


def examples(wire):
    """The ends of the type's range and what lies between, (4, 3)."""
    dtype = np.dtype(TYPES[wire])
    if dtype.kind == "b":
        return np.array([[True, False, True]] * 4)
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return np.array([[limits.min, limits.max, 1], [0, 1, 2], [3, 4, 5], [6, 7, 8]], dtype)


@pytest.mark.parametrize("raw", [True, False])
def test_answers_are_those_of_the_bare_runtime(two, given, raw):
    wires = {"left": ("FP32", given["left"]), "right": ("INT64", given["right"])}
    answer = two("ModelInfer", infer(two.server.name, wires, raw=raw, id="seven"))
    assert (answer.model_name, answer.model_version, answer.id) == (two.server.name, "1", "seven")
    assert bool(answer.raw_output_contents) is raw
    found, wanted = arrays(answer), bare(two.server, given)
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("raw", [True, False])
def test_every_type_passes_unchanged(every, raw):
    sent = {wire: (wire, examples(wire)) for wire in TYPES if raw or wire in FIELDS}
    missing = {wire: (wire, examples(wire)) for wire in TYPES if wire not in sent}
    request = infer(every.server.name, sent, raw=raw)
    if missing:  # half precision has no typed values
        request = infer(
            every.server.name, {**sent, **{w: ("FP32", a.astype("f4")) for w, (_, a) in missing.items()}}, raw=raw
        )
    found = arrays(every("ModelInfer", request))
    for wire in TYPES:
        assert found[f"{wire}_out"].dtype == TYPES[wire]
        assert found[f"{wire}_out"].tobytes() == examples(wire).tobytes()


def test_half_precision_is_for_raw_contents(every, refusal):
    tensors = {wire: (wire, examples(wire)) for wire in TYPES}
    request = infer(every.server.name, {w: t for w, t in tensors.items() if w in FIELDS}, raw=False)
    request.inputs.add(name="FP16", datatype="FP16", shape=(4, 3))
    with refusal("INVALID_ARGUMENT", "'FP16': FP16 is sent in raw_input_contents only"):
        every("ModelInfer", request)


@pytest.mark.parametrize("raw", [True, False])
def test_text_and_bytes_pass_unchanged(spoken, raw):
    words = np.array([["grün", "blue"], ["", "a\0b"]], object)
    sent = np.array([[w.encode() for w in row] for row in words], object)
    text = spoken("text_onnx")
    (found,) = arrays(text("ModelInfer", infer(text.server.name, {"words": ("BYTES", sent)}, raw=raw))).values()
    assert found == sent.ravel().tolist()


def test_a_request_encoded_by_hand_is_understood(spoken):
    """Field numbers and wire types as the protocol has them, without our definitions."""

    def field(number, value):
        return bytes([number << 3 | 2, len(value)]) + value

    log = spoken("log_onnx")
    numbers = np.array([[1, 2, 4, 8]], "<f4")
    tensor = field(1, b"features") + field(2, b"FP32") + field(3, bytes([1, 4]))
    request = field(1, log.server.name.encode()) + field(5, tensor) + field(7, numbers.tobytes())
    answer = log.raw("/inference.GRPCInferenceService/ModelInfer", request)
    assert answer.endswith(bytes([6 << 3 | 2, 16]) + np.log(numbers).tobytes())


def test_named_outputs_come_in_the_order_asked_for(two, given):
    request = infer(two.server.name, {"left": ("FP32", given["left"]), "right": ("INT64", given["right"])})
    for name in ("label", "score"):
        request.outputs.add(name=name)
    assert [o.name for o in two("ModelInfer", request).outputs] == ["label", "score"]


def test_the_best_classes_come_as_text(spoken):
    cnn = spoken("cnn_onnx")
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 8)).astype("u1")
    request = infer(cnn.server.name, {"image": ("UINT8", images)})
    plain = arrays(cnn("ModelInfer", request))
    ((name, scores),) = plain.items()
    output = request.outputs.add(name=name)
    output.parameters["classification"].int64_param = 2
    (tensor,), (texts,) = (a := cnn("ModelInfer", request)).outputs, a.raw_output_contents
    assert (tensor.datatype, list(tensor.shape)) == ("BYTES", [2, 2])
    labels = ("boot", "coat", "shirt")
    wanted = [f"{row[i]!s}:{i}:{labels[i]}".encode() for row in scores for i in np.argsort(-row)[:2]]
    assert unpacked(texts) == wanted


def test_a_stream_answers_each_request_and_says_which_it_refuses(two, given):
    good = infer(two.server.name, {"left": ("FP32", given["left"]), "right": ("INT64", given["right"])}, id="a")
    bad = infer("other", {})
    call = two.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    kind = message("inference.ModelStreamInferResponse")
    data = [r.SerializeToString() for r in (good, bad, good)]
    answers = [kind.FromString(one) for one in call(iter([*data, b"\xff"]), timeout=60)]
    assert [a.infer_response.id for a in answers] == ["a", "", "a", ""]
    assert answers[1].error_message.startswith("Servable not found for request: Latest(other).")
    assert answers[3].error_message.startswith("Expected a message of type inference.ModelInferRequest")
    final = [a.infer_response.parameters["triton_final_response"].bool_param for a in answers]
    assert final == [True, False, True, False], "clients wait for it"
    wanted = bare(two.server, given)
    assert arrays(answers[2].infer_response)["score"].tobytes() == wanted["score"].tobytes()


def test_facts_of_the_server_and_the_model(two):
    name = two.server.name
    assert two("ServerLive").live
    assert two("ServerReady").ready
    assert two("ModelReady", name=name, version="1").ready
    assert not two("ModelReady", name=name, version="7").ready, "clients wait for it"
    assert not two("ModelReady", name="other").ready
    assert two("ServerMetadata").name == "deploykit"
    found = two("ModelMetadata", name=name)
    assert (found.name, list(found.versions)) == (name, ["1"])
    assert [(t.name, t.datatype, list(t.shape)) for t in found.inputs] == [
        ("left", "FP32", [-1, 4]), ("right", "INT64", [-1, 6]),
    ]  # fmt: skip
    assert [(t.name, list(t.shape)) for t in found.outputs] == [("score", [-1, 1]), ("label", [-1, 3])]
    config = two("ModelConfig", name=name).config
    assert [(t.name, t.data_type) for t in config.input] == [("left", 11), ("right", 9)]
    assert [(m.name, m.version, m.state) for m in two("RepositoryIndex").models] == [(name, "1", "READY")]


def test_statistics_are_those_of_the_meters(two, given, refusal):
    def ask(name):
        (found,) = two("ModelStatistics", name=name).model_stats
        assert (found.name, found.version) == ("two", "1")
        return found

    request = infer("two", {"left": ("FP32", given["left"]), "right": ("INT64", given["right"])})
    two("ModelInfer", request)
    before = ask("two")
    two("ModelInfer", request)
    after = ask("")
    assert after.inference_count == before.inference_count + len(given["left"])
    assert after.execution_count == before.execution_count + 1
    for stage in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        old, new = getattr(before.inference_stats, stage), getattr(after.inference_stats, stage)
        assert new.count == old.count + 1
        assert new.ns > old.ns
    assert after.inference_stats.fail == before.inference_stats.fail
    with refusal("NOT_FOUND", "Latest(other)"):
        ask("other")


@pytest.mark.parametrize("raw", [True, False])
def test_images_come_encoded_as_well(spoken, raw):
    cnn = spoken("cnn_onnx")
    pixels = np.random.default_rng(4).integers(0, 256, (2, 8, 8)).astype("u1")
    files = np.array([png(image) for image in pixels], object)
    encoded = cnn("ModelInfer", infer("cnn", {"image": ("BYTES", files)}, raw=raw))
    plain = cnn("ModelInfer", infer("cnn", {"image": ("UINT8", pixels)}, raw=raw))
    assert encoded == plain


def png(image):
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_what_the_server_does_not_do_is_said(two, refusal):
    with refusal("UNIMPLEMENTED", "Method not found"):
        two.raw("/inference.GRPCInferenceService/CudaSharedMemoryStatus", b"")


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig"])
def test_an_unknown_model_or_version_is_not_found(two, refusal, method):
    with refusal("NOT_FOUND", "Servable not found for request: Latest(other)"):
        two(method, name="other")
    with refusal("NOT_FOUND", "Specific(two, 7)"):
        two(method, name="two", version="7")


def region(tensor):
    return tensor.parameters["shared_memory_region"]


def broken(change):
    rng = np.random.default_rng(3)
    wires = {"left": ("FP32", rng.normal(size=(2, 4)).astype("f4")), "right": ("INT64", rng.integers(0, 9, (2, 6)))}
    request = infer("two", wires)
    change(request)
    return request


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (lambda r: setattr(r, "model_name", "other"), "NOT_FOUND", "Latest(other)"),
        (lambda r: setattr(r, "model_version", "2"), "NOT_FOUND", "Specific(two, 2)"),
        (lambda r: r.raw_input_contents.pop(), "INVALID_ARGUMENT", "for all 2 inputs or for none, got 1"),
        (lambda r: setattr(r.inputs[0], "name", "up"), "INVALID_ARGUMENT", "Unknown input 'up'"),
        (lambda r: setattr(r.inputs[1], "name", "left"), "INVALID_ARGUMENT", "'left' is given twice"),
        (lambda r: setattr(r.inputs[0], "datatype", "FP64"), "INVALID_ARGUMENT", "needs 64 bytes, got 32"),
        (lambda r: setattr(r.inputs[0], "datatype", "BOOL"), "INVALID_ARGUMENT", "expected datatype FP32, got 'BOOL'"),
        (lambda r: setattr(r.inputs[0], "datatype", "FP99"), "INVALID_ARGUMENT", "datatypes are"),
        (lambda r: r.inputs[0].shape.append(2), "INVALID_ARGUMENT", "needs 64 bytes, got 32"),
        (lambda r: r.inputs[0].shape.__setitem__(0, -2), "INVALID_ARGUMENT", "expected 'shape'"),
        (lambda r: r.inputs[0].shape.__setitem__(0, 2**62), "INVALID_ARGUMENT", ""),
        (lambda r: r.inputs[0].shape.extend([1] * 70), "INVALID_ARGUMENT", ""),
        (lambda r: r.inputs[0].contents.fp32_contents.append(1), "INVALID_ARGUMENT", "got both"),
        (lambda r: r.outputs.add(name="up"), "INVALID_ARGUMENT", "Unknown output 'up'"),
        (lambda r: setattr(r.parameters["sequence_id"], "int64_param", 5), "INVALID_ARGUMENT", "not supported"),
        (
            lambda r: r.raw_input_contents.pop() and setattr(region(r.inputs[0]), "string_param", "r"),
            "INVALID_ARGUMENT",
            "Input 'left': shared_memory_region is not supported",
        ),
        (
            lambda r: setattr(region(r.outputs.add(name="label")), "string_param", "r"),
            "INVALID_ARGUMENT",
            "Output 'label': shared_memory_region is not supported",
        ),
        (lambda r: r.inputs.pop() and r.raw_input_contents.pop(), "INVALID_ARGUMENT", "Expected the inputs"),
        (lambda r: r.Clear() or setattr(r, "model_name", "two"), "INVALID_ARGUMENT", "Expected the inputs"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(two, refusal, change, code, text):
    with refusal(code, text):
        two("ModelInfer", broken(change))


def test_a_typed_value_out_of_its_type_is_refused(every, refusal):
    tensors = {wire: (wire, examples(wire)) for wire in TYPES if wire in FIELDS}
    request = infer(every.server.name, {**tensors, "FP16": ("FP32", examples("FP16").astype("f4"))}, raw=False)
    place = next(i for i, t in enumerate(request.inputs) if t.name == "INT8")
    request.inputs[place].contents.int_contents[0] = 300
    with refusal("INVALID_ARGUMENT", "expected int8 (-128 to 127), got 300"):
        every("ModelInfer", request)
