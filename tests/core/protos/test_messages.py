"""The compiled definitions are those of the .proto files, and those of others."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from deploykit.core.protos import messages
from deploykit.core.protos.messages import message, pool

FOLDER = Path(messages.__file__).parent


def test_the_compiled_definitions_are_those_of_the_texts(tmp_path):
    files = [path.name for path in sorted(FOLDER.glob("*.proto"))]
    compiled = tmp_path / "messages.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", "--include_imports"]
    subprocess.run([*command, f"--descriptor_set_out={compiled}", *files], cwd=FOLDER, check=True)
    new, old = (
        {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file}
        for path in (compiled, FOLDER / "messages.binpb")
    )
    assert set(files) <= set(new)
    assert new == old


def fields(kind):
    return {
        f.name: (f.number, f.type, f.is_repeated, f.containing_oneof and f.containing_oneof.name) for f in kind.fields
    }


@pytest.fixture(scope="module")
def serving():
    """TensorFlow Serving's own definitions, which belong to the default pool."""
    from tensorflow_serving.apis import model_service_pb2, prediction_log_pb2, prediction_service_pb2  # noqa: F401
    from tensorflow_serving.config import model_server_config_pb2  # noqa: F401

    return descriptor_pool.Default()


#: What TensorFlow Serving's Python package leaves out.
NOT_IN_ITS_PACKAGE = {"BatchingParameters", "MonitoringConfig", "PrometheusConfig", "SSLConfig"}


def test_tensorflow_serving_has_the_same_fields(serving):
    files = ("tensorflow.proto", "tensorflow_serving.proto", "model_server.proto")
    names = [n for file in files for n in kinds(pool().FindFileByName(file))]
    names = [n for n in names if n.removeprefix("tensorflow.serving.") not in NOT_IN_ITS_PACKAGE]
    assert len(names) == 55
    for name in names:
        ours, theirs = fields(pool().FindMessageTypeByName(name)), fields(serving.FindMessageTypeByName(name))
        if name == "tensorflow.serving.StatusProto":  # an enumeration, whose numbers are enough
            ours["error_code"] = theirs["error_code"]
        if name == "tensorflow.TensorInfo":  # one of several encodings
            ours["name"] = theirs["name"]
        assert ours.items() <= theirs.items(), name


def test_tensorflow_serving_has_the_same_methods(serving):
    for name in ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
        ours, theirs = (
            {m.name: (m.input_type.full_name, m.output_type.full_name) for m in where.FindServiceByName(name).methods}
            for where in (pool(), serving)
        )
        assert ours == theirs


def test_tensorflow_has_the_same_types(serving):
    for name in ("tensorflow.DataType", "tensorflow.serving.ModelVersionStatus.State"):
        ours, theirs = (where.FindEnumTypeByName(name).values_by_name for where in (pool(), serving))
        assert {n: v.number for n, v in ours.items()}.items() <= {n: v.number for n, v in theirs.items()}.items()


def test_both_definitions_of_one_name_live_in_one_process(serving):
    ours = message("tensorflow.TensorProto")
    from tensorflow.core.framework.tensor_pb2 import TensorProto as Theirs

    assert ours.DESCRIPTOR is not Theirs.DESCRIPTOR
    assert ours.FromString(Theirs(dtype=3, int_val=[7]).SerializeToString()).int_val == [7]


def test_fields_of_later_versions_are_left_alone():
    request = message("inference.ModelInferRequest")(model_name="m")
    found = message("inference.ModelInferRequest").FromString(request.SerializeToString() + b"\xa2\x06\x03abc")
    assert found.model_name == "m"
    assert found.SerializeToString().endswith(b"\xa2\x06\x03abc")


def kinds(file):
    """Names of all messages of a file but for those of maps' entries."""
    waiting, found = list(file.message_types_by_name.values()), []
    while waiting:
        kind = waiting.pop()
        waiting += kind.nested_types
        if not kind.GetOptions().map_entry:
            found.append(kind.full_name)
    return found
