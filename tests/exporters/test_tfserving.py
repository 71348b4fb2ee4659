"""What TensorFlow Serving finds in the folder, read with schemas written independently of the encoder."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from deploykit.artifacts.client import Client
from deploykit.core.candidate import Recipe, Target
from deploykit.core.errors import ExportError, ServeError, SettingError, UnsupportedModelError
from deploykit.core.tfrecord import crc32c
from deploykit.data.dataset import Dataset
from deploykit.data.preprocess import Preprocess
from deploykit.exporters._export import export
from deploykit.exporters._tfserving_client import predict
from deploykit.exporters._verify import verify
from deploykit.exporters._warmup import predict_request, tensor_proto
from deploykit.loading._load import load
from deploykit.measuring.exportable import Exportable
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task
from deploykit.serving._serve import serve
from deploykit.testing.exporters import data_for
from deploykit.testing.graphs import exported, graph, node, value

#: Subset of tensorflow_serving/apis/*.proto and tensorflow_serving/config/model_server_config.proto.
SCHEMA = """
name: "subset.proto" syntax: "proto3" package: "t"
message_type { name: "ModelSpec"
  field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "signature_name" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL } }
message_type { name: "Input"
  field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "value" number: 2 type: TYPE_BYTES label: LABEL_OPTIONAL } }
message_type { name: "PredictRequest"
  field { name: "model_spec" number: 1 type: TYPE_MESSAGE type_name: ".t.ModelSpec" label: LABEL_OPTIONAL }
  field { name: "inputs" number: 2 type: TYPE_MESSAGE type_name: ".t.Input" label: LABEL_REPEATED } }
message_type { name: "PredictLog"
  field { name: "request" number: 1 type: TYPE_MESSAGE type_name: ".t.PredictRequest" label: LABEL_OPTIONAL } }
message_type { name: "PredictionLog"
  field { name: "predict_log" number: 6 type: TYPE_MESSAGE type_name: ".t.PredictLog" label: LABEL_OPTIONAL } }
message_type { name: "ModelConfig"
  field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "base_path" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "model_platform" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL } }
message_type { name: "ModelConfigList"
  field { name: "config" number: 1 type: TYPE_MESSAGE type_name: ".t.ModelConfig" label: LABEL_REPEATED } }
message_type { name: "ModelServerConfig"
  field { name: "model_config_list" number: 1 type: TYPE_MESSAGE type_name: ".t.ModelConfigList"
          label: LABEL_OPTIONAL } }
"""


@pytest.fixture(scope="module")
def message():
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(SCHEMA, descriptor_pb2.FileDescriptorProto()))
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}"))


@pytest.fixture
def in_tensorflow(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return lambda what, **arguments: shared().run(Task(f"tf_reader:{what}", arguments, group="tensorflow"))


@pytest.fixture(scope="module")
def artifact(saved_model, tmp_path_factory):
    return export(saved_model, tmp_path_factory.mktemp("served") / "out", layout="tfserving", name="shoes")


@pytest.mark.proves("tfserving", "schema", by="TensorFlow Serving's messages, and TensorFlow, which loads the model")
def test_the_layout_is_the_one_tensorflow_serving_loads(artifact, saved_model, message):
    assert (artifact.path / "shoes" / "1" / "saved_model.pb").read_bytes() == (
        saved_model.path / "saved_model.pb"
    ).read_bytes()
    assert (artifact.path / "shoes" / "1" / "variables" / "variables.index").is_file()
    config = text_format.Parse((artifact.path / "models.config").read_text(), message("ModelServerConfig")())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("shoes", "/models/shoes", "tensorflow")
    assert artifact.manifest.model == "shoes/1"


def test_the_version_is_a_parameter(saved_model, tmp_path):
    artifact = export(saved_model, tmp_path / "out", layout="tfserving", name="shoes", parameters={"version": 7})
    assert artifact.manifest.parameters == {"version": 7}
    assert artifact.model_path == tmp_path / "out" / "shoes" / "7"
    assert (artifact.model_path / "assets.extra" / "tf_serving_warmup_requests").is_file()
    assert "shoes/7/assets.extra" in (artifact.path / "README.md").read_text(encoding="utf-8")
    assert verify(artifact).ok
    for wrong in (0, "two", 1.5):
        with pytest.raises(SettingError, match="tfserving: version must be"):
            export(saved_model, tmp_path / "no", layout="tfserving", parameters={"version": wrong})
    with pytest.raises(SettingError, match=r"Unknown parameter for folder 'version'"):
        export(saved_model, tmp_path / "no", parameters={"version": 2})
    assert not (tmp_path / "no").exists()


def test_warm_up_requests_hold_what_the_signature_takes(artifact, saved_model, message, in_tensorflow):
    file = artifact.model_path / "assets.extra" / "tf_serving_warmup_requests"
    records = [bytes.fromhex(r) for r in in_tensorflow("read", path=str(file))["records"]]
    assert len(records) == 4
    wanted = saved_model.data.batch("evaluation", slice(0, 4))["image"]
    for number, record in enumerate(records):
        request = message("PredictionLog").FromString(record).predict_log.request
        assert request.model_spec.name == "shoes"
        assert request.model_spec.signature_name == "serving_default"
        (entry,) = request.inputs
        assert entry.key == "image"
        found = in_tensorflow("tensor", proto=entry.value.hex())
        assert found["dtype"] == "float32"
        assert found["shape"] == [1, 8, 8, 1]
        np.testing.assert_array_equal(np.array(found["values"], np.float32), wanted[number].ravel())


def test_the_readme_says_that_clients_must_preprocess(artifact):
    text = (artifact.path / "README.md").read_text(encoding="utf-8")
    assert "must send preprocessed examples" in text
    assert "x × 0.00392157" in text
    assert "tensorflow/serving --model_config_file=/models/models.config" in text


def test_it_verifies(artifact):
    assert verify(artifact).difference == 0.0


def test_an_artifact_whose_model_writes_files_runs_only_where_code_says_so(tmp_path, in_tensorflow):
    path, mark = tmp_path / "writer", tmp_path / "mark"
    in_tensorflow("writer", path=str(path), mark=str(mark))
    model = load(path, trusted=True)
    item = Exportable(path, model.format, "writer", Recipe(), Target("tensorflow"), model, data_for(model))
    made = export(item, tmp_path / "out", layout="tfserving")
    mark.unlink()
    found = verify(made)
    assert not found.ok
    assert "'WriteFile'" in found.problems[0]
    with pytest.raises(ServeError, match="'WriteFile'"):
        serve(made, port=0)
    assert not mark.exists()
    assert verify(made, trusted=True).ok
    assert mark.exists()


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    """A SavedModel that adds up what it was given, and gives words back, as a candidate."""
    path = tmp_path_factory.mktemp("counter") / "counter"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        shared().run(Task("tf_reader:counter", {"path": str(path)}, group="tensorflow", fresh=True))
    model = load(path)
    words = np.array([[b"\xff\xd8" + bytes([i]), b"a\0"][i % 2] for i in range(60)], object)[:, None]
    arrays = {"words": words, "x": np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)}
    data = Dataset.from_arrays(arrays, preprocess={"words": Preprocess(raw=True)}).check(model)
    return Exportable(path, model.format, "counter", Recipe(), Target("tensorflow"), model, data)


def test_a_model_that_remembers_is_not_for_tensorflow_serving(counter, tmp_path):
    with pytest.raises(
        ExportError, match=r"keeps state between calls \(Variable\).*Remedy: export with layout='folder'"
    ):
        export(counter, tmp_path / "out", layout="tfserving")
    assert not (tmp_path / "out").exists()


def test_each_request_begins_with_fresh_state_and_bytes_arrive_as_they_are(counter, tmp_path):
    artifact = export(counter, tmp_path / "out")
    assert artifact.manifest.batch_dependent
    x = np.array([[1, 2], [3, 4]], np.float32)
    words = np.array([[b"\xff\0"], ["größe\0"]], object)
    with serve(artifact, port=0) as server:
        for _ in range(2):
            found = server.predict({"x": x, "words": words})
            np.testing.assert_array_equal(found["y"], 2 * x)  # one by one, each from zero
            assert found["same"].tolist() == [[b"\xff\0"], ["größe\0"]]
        with Client(server.url) as client:
            found = predict(client, "counter", {"words": words, "x": x}, ["y", "same"])
        assert found["same"].tolist() == [[b"\xff\0"], ["größe\0"]]
        assert verify(artifact, url=server.url).ok


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.array([[1.5], [-2.5]], np.float16),
        np.array([True, False]),
        np.array([300, 2], ">u2"),
        np.zeros((0, 3), np.float32),
        np.array(["ü", ""]),
        np.arange(300, dtype=np.float32),
    ],
)
def test_tensors_are_encoded_as_tensorflow_reads_them(array, in_tensorflow):
    found = in_tensorflow("tensor", proto=tensor_proto(array).hex())
    assert found["shape"] == list(array.shape)
    assert found["values"] == array.ravel().tolist()


def test_a_dtype_tensorflow_serving_lacks_is_refused():
    with pytest.raises(ExportError, match=r"does not accept float128 inputs.*layout='folder'"):
        tensor_proto(np.zeros(1, np.longdouble))


def test_checksums_are_those_of_the_standard():
    # RFC 3720, B.4
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_several_inputs_are_entries_of_a_map(message):
    encoded = predict_request("m", {"a": np.zeros(1, np.float32), "b": np.zeros(1, np.int32)})
    assert [e.key for e in message("PredictRequest").FromString(encoded).inputs] == ["a", "b"]


class Stub(BaseHTTPRequestHandler):
    """TensorFlow Serving as its REST documentation describes it: of x + state · rate it returns sum and names."""

    def do_GET(self):
        def tensor(kind):
            return {"dtype": kind, "tensor_shape": {"dim": [], "unknown_rank": False}, "name": "x:0"}

        signature = {
            "inputs": {"state": tensor("DT_FLOAT"), "rate": tensor("DT_FLOAT"), "x": tensor("DT_FLOAT")},
            "outputs": {"next": tensor("DT_FLOAT"), "y": tensor("DT_FLOAT"), "name": tensor("DT_STRING")},
        }
        found = {"metadata": {"signature_def": {"signature_def": {"serving_default": signature}}}}
        self.answer(200 if self.path.endswith("/metadata") else 404, found)

    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
        x, state = (np.array(given[name], np.float32) for name in ("x", "state"))
        self.server.sizes.append(len(x))
        found = (x + state[0]) * np.float32(given["rate"])
        outputs = {"next": (found + self.server.error)[None].tolist(), "y": found.tolist()}
        names = [{"b64": base64.b64encode(b"\xff").decode()}, "a\0"] * (len(x) // 2)
        self.answer(200, {"outputs": {**outputs, "name": names}})

    def answer(self, status, message):
        body = json.dumps(message).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def stub():
    server = HTTPServer(("127.0.0.1", 0), Stub)
    server.error, server.sizes = 0.0, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_of_the_model_alone_gets_constants_and_fresh_state(tmp_path, stub):
    path = graph(
        tmp_path,
        [
            node("Unsqueeze", ["x", "axis"], ["u"]),
            node("Add", ["state", "u"], ["sum"]),
            node("Mul", ["sum", "rate"], ["next"]),
            node("Squeeze", ["next", "axis"], ["y"]),
        ],
        [value("x", "float32", "N", 4), value("state", "float32", 1, "N", 4), value("rate", "float32")],
        [value("y", "float32", "N", 4), value("next", "float32", 1, "N", 4)],
        axis=np.array([0]),
    )
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    artifact = exported(path, (x, None), state={"next": "state"}, constants={"rate": 3.0})
    server, url = stub
    found = verify(artifact, url=url)
    assert found.ok, found
    assert server.sizes == [8]
    manifest = artifact.path / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "batch_dependent": True}))
    assert verify(artifact, url=url).ok
    assert server.sizes == [8, *[1] * 8]
    server.error = 1.0
    (problem,) = verify(artifact, url=url).problems
    assert "of the range of 'next'" in problem


def test_text_comes_from_such_a_server_as_it_is(stub):
    inputs = {"x": np.zeros((2, 4), np.float32), "state": np.zeros((1, 2, 4), np.float32), "rate": np.float32(1)}
    with Client(stub[1]) as client:
        found = predict(client, "m", inputs, ["name", "y"])
    assert found["name"].tolist() == [b"\xff", "a\0"]
    assert found["y"].dtype == np.float32
    with Client(stub[1]) as client, pytest.raises(UnsupportedModelError, match="not clear which"):
        predict(client, "m", {"a": inputs["x"], "b": inputs["x"], "rate": inputs["rate"]}, ["y"])
