"""What OpenVINO Model Server would find: OpenVINO itself runs the model; the rest is by the server's documentation.

There is not a binary of the server among the packages of Python, npm or Debian.
"""

import json

import numpy as np
import pytest

from deploykit.artifacts.arrays import load_arrays
from deploykit.core.errors import ExportError
from deploykit.exporters._bare import answers, feeds
from deploykit.exporters._export import export
from deploykit.testing.graphs import carrying, exported

#: Members that the documentation of the configuration file lists for a model, and their types.
DOCUMENTED = {"name": str, "base_path": str, "target_device": str, "plugin_config": dict, "nireq": int}


@pytest.fixture(scope="module")
def artifact(cnn, tmp_path_factory):
    """image (batch, 8, 8) uint8 → probabilities (batch, 3) float32."""
    parameters = {"version": 2, "requests": 4}
    folder = tmp_path_factory.mktemp("openvino") / "out"
    return export(cnn, folder, layout="openvino_model_server", name="shoes", parameters=parameters)


@pytest.mark.proves(
    "openvino_model_server", "documentation", by="OpenVINO Model Server's documentation; OpenVINO itself runs the file"
)
def test_the_configuration_is_as_documented_and_openvino_runs_the_model(artifact):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    (entry,) = json.loads((artifact.path / "config.json").read_text("utf-8"))["model_config_list"]
    assert entry.keys() == {"config"}
    config = entry["config"]
    assert {name: type(value) for name, value in config.items()} == DOCUMENTED
    assert config["base_path"] == "/models/shoes"
    assert config["plugin_config"] == {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1,
    }  # fmt: skip
    (model,) = (artifact.path / "shoes" / "2").iterdir()
    inputs, golden = (load_arrays(artifact.path / n) for n in ("golden/inputs.npz", "golden/outputs.npz"))
    compiled = openvino.Core().compile_model(model, config["target_device"], config["plugin_config"])
    found = compiled(feeds(artifact.manifest, inputs))
    named = answers(artifact.manifest, {port.get_any_name(): array for port, array in found.items()}, 8)
    for name, wanted in golden.items():
        np.testing.assert_allclose(named[name], wanted, atol=1e-5)


def test_sequences_are_refused_by_name(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 7, 4)).astype(np.float32)
    with pytest.raises(ExportError, match="sequences") as caught:
        exported(carrying(tmp_path), (x, None), layout="openvino_model_server", state={"next": "state"})
    assert "folder" in caught.value.remedy
