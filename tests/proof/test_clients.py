"""Clients and message definitions of others, against our server and our files."""

import importlib.metadata
import json
import shutil
import subprocess

import numpy as np
import onnxruntime
import pytest

from deploykit.artifacts.arrays import load_arrays
from deploykit.exporters._export import export
from deploykit.serving.server import serve
from deploykit.testing.exporters import exportable


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A served model: left (batch, 4) float32, right (batch, 6) int64 → score (batch, 1), label (batch, 3)."""
    folder = tmp_path_factory.mktemp("two")
    with serve(export(exportable("two_inputs_onnx", folder), folder / "out"), port=0) as server:
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
