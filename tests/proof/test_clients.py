"""Clients and message definitions of others, against our server and our files."""

import importlib.metadata
import json
import shutil
import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from deploykit.artifacts.arrays import load_arrays
from deploykit.core.protos import messages
from deploykit.exporters._export import export
from deploykit.serving._serve import serve
from deploykit.testing.exporters import exportable


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A served model: left (batch, 4) float32, right (batch, 6) int64 → score (batch, 1), label (batch, 3)."""
    folder = tmp_path_factory.mktemp("two")
    with serve(export(exportable("two_inputs_onnx", folder), folder / "out"), port=0, ports={"grpc": 0}) as server:
        yield server


@pytest.fixture(scope="module")
def given(two):
    return load_arrays(two.artifact.path / two.artifact.manifest.golden_inputs)


@pytest.fixture(scope="module")
def wanted(two, given):
    """What the bare runtime gives."""
    session = onnxruntime.InferenceSession(two.artifact.model_path)
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, given), strict=True))


@pytest.mark.proof("A client of the Open Inference protocol is answered, binary and JSON", against="tritonclient")
def test_triton_client(two, given, wanted, packages, versions, tmp_path):
    ask = packages("tritonclient[http]>=2.60,<3")
    np.savez(tmp_path / "inputs.npz", **given)
    found = ask("triton_client.py", f"127.0.0.1:{two.port}", two.artifact.manifest.name, tmp_path / "inputs.npz")
    versions(tritonclient=found["version"], onnxruntime=onnxruntime.__version__)
    assert found["live"] is found["ready"] is found["model_ready"] is True
    for form in ("binary", "json"):
        assert set(found["answers"][form]) == set(wanted)
        for name, value in wanted.items():
            np.testing.assert_allclose(np.array(found["answers"][form][name]), value, atol=1e-6)
    name = two.artifact.manifest.name
    assert found["index"] == [{"name": name, "version": "1", "state": "READY", "reason": ""}]
    assert [(i["name"], i["data_type"]) for i in found["config"]["input"]] == [
        ("left", "TYPE_FP32"), ("right", "TYPE_INT64"),
    ]  # fmt: skip
    session = onnxruntime.InferenceSession(two.artifact.model_path)
    left = given["left"].astype(ml_dtypes.bfloat16).astype(np.float32)
    (label,) = session.run(["label"], {**given, "left": left})
    places = [[int(text.split(":")[1]) for text in row] for row in found["bfloat16_classes"]]
    assert places == np.argsort(-label, axis=1)[:, :2].tolist()


@pytest.mark.proof("A client of the Open Inference protocol is answered over gRPC", against="tritonclient")
def test_triton_grpc_client(two, given, wanted, packages, versions, tmp_path):
    ask = packages("tritonclient[grpc]>=2.60,<3")
    np.savez(tmp_path / "inputs.npz", **given)
    name = two.artifact.manifest.name
    address = f"127.0.0.1:{two.ports['grpc']}"
    definitions = Path(messages.__file__).parent / "messages.binpb"
    found = ask("triton_grpc_client.py", address, name, tmp_path / "inputs.npz", definitions)
    versions(tritonclient=found["version"], onnxruntime=onnxruntime.__version__)
    assert found["live"] is found["ready"] is found["model_ready"] is True
    for form in ("plain", "compressed", "streamed"):
        for output, value in wanted.items():
            np.testing.assert_array_equal(np.array(found["answers"][form][output], value.dtype), value)
    places = [[int(text.split(":")[1]) for text in row] for row in found["classes"]]
    assert places == np.argsort(-wanted["label"], axis=1)[:, :2].tolist()
    missing = "Servable not found for request: Latest(other). This server has 'two', version 1."
    assert found["error"] == ["StatusCode.NOT_FOUND", missing]
    assert missing in found["streamed_error"]
    assert (found["index"], found["config"]) == ([name], list(given))
    assert found["statistics"] >= 4
    assert found["different"] == []
    assert found["fields"] > 100


@pytest.mark.proof("Images from a form and from a file are answered, with names", against="curl")
def test_curl_sends_images(tmp_path, versions):
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not installed")
    versions(curl=subprocess.check_output([curl, "--version"], text=True).split()[1])
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    file = str(tmp_path / "image.png")
    with serve(export(exportable("cnn_onnx", tmp_path), tmp_path / "out"), port=0) as server:
        url = f"{server.url}/v1/models/{server.name}"

        def ask(*arguments):
            done = subprocess.run([curl, "-sS", *arguments], capture_output=True, check=True)
            return json.loads(done.stdout)

        wanted = ask("-d", json.dumps({"instances": [pixels.tolist()]}), f"{url}:predict")
        assert ask("-F", f"image=@{file}", f"{url}:predict") == wanted
        assert ask("-H", "Content-Type: image/png", "--data-binary", f"@{file}", f"{url}:predict") == wanted
        best = ask("-F", f"image=@{file}", "-F", "classification=3", f"{url}:predict")["predictions"][0]
        scores = sorted(zip(wanted["predictions"][0], ("boot", "coat", "shirt"), strict=True), reverse=True)
        assert [(one["score"], one["label"]) for one in best] == scores


@pytest.mark.proof("The request in an exported folder's README is answered", against="curl")
def test_curl(two, given, wanted, versions):
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not installed")
    versions(curl=subprocess.check_output([curl, "--version"], text=True).split()[1])
    rows = [{name: value[i].tolist() for name, value in given.items()} for i in range(3)]
    url = f"{two.url}/v1/models/{two.artifact.manifest.name}:predict"
    done = subprocess.run([curl, "-sS", "-d", json.dumps({"instances": rows}), url], capture_output=True, check=True)
    found = json.loads(done.stdout)["predictions"]
    assert len(found) == 3
    for row, answer in enumerate(found):
        for name, value in wanted.items():
            np.testing.assert_allclose(np.array(answer[name]).ravel(), value[row].ravel(), atol=1e-6)


@pytest.mark.proof("models.config and warm-up requests are read by its own messages", against="TensorFlow Serving")
def test_tensorflow_serving_messages(packages, versions, tmp_path):
    read = packages("tensorflow-serving-api==2.21.*", dependencies=False)  # TensorFlow is ours
    candidate = exportable("cnn_saved_model", tmp_path)
    artifact = export(candidate, tmp_path / "out", layout="tfserving", name="shoes")
    found = read(
        "tf_serving.py", artifact.path / "models.config",
        artifact.model_path / "assets.extra" / "tf_serving_warmup_requests",
    )  # fmt: skip
    versions(**{"tensorflow-serving-api": found["version"], "tensorflow": importlib.metadata.version("tensorflow")})
    assert found["models"] == [["shoes", "/models/shoes", "tensorflow"]]
    examples = candidate.data.batch("evaluation", slice(0, len(found["requests"])))["image"]
    assert len(examples) == 4
    for request, example in zip(found["requests"], examples, strict=True):
        assert (request["model"], request["signature"]) == ("shoes", "serving_default")
        assert request["dtypes"] == {"image": "float32"}
        np.testing.assert_array_equal(np.array(request["inputs"]["image"], np.float32)[0], example)
