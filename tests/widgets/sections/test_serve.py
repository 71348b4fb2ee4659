"""The server panel on a real server: start, call, try, watch, stop."""

import dataclasses
import io
import json
import socket
import subprocess
import sys

import numpy as np
import pytest
from deploykit_widgets.code.clients import curl
from deploykit_widgets.sections.serve import ServeSection, answer
from PIL import Image

import deploykit as dk
from deploykit.core.contract import Contract, LabelMeaning, OutputMeaning
from deploykit.core.errors import SettingError


@pytest.fixture(scope="session")
def artifact(store, tmp_path_factory):
    return dk.export(dk.Report.open(store).best(), tmp_path_factory.mktemp("served") / "cnn")


@pytest.fixture
def section(finished, artifact):
    finished.desk.post(lambda: finished.state.change(artifact=artifact))
    assert finished.desk.settle()
    return ServeSection(finished)


@pytest.fixture
def running(section, ask):
    ask(section, "serve", port=0)
    return section


def test_without_an_export_nothing_is_served(finished, ask):
    section = ServeSection(finished)
    assert not section.value()["ready"]
    ask(section, "serve", port=0)
    assert finished.state.problems["serve"] == "Export a candidate first."
    assert ask(section, "traffic")[0] is None
    with pytest.raises(SettingError, match="The server is not running"):
        ask(section, "try_sample", index=0)


def test_it_starts_answers_counts_and_stops(running, ask, finished):
    server = running.value()["server"]
    assert server["url"] == finished.state.server.url
    count = running.value()["samples"]
    sample, pictures = ask(running, "sample", index=3)
    assert sample["label"] in ("cat", "dog", "<b>owl</b>")
    assert Image.open(io.BytesIO(pictures[0])).size == (8, 8)
    before, _ = ask(running, "traffic")
    found, _ = ask(running, "try_sample", index=3)
    assert found["label"] == sample["label"]
    assert found["right"] == (found["prediction"] == found["label"])
    assert found["prediction"] == found["top"][0]["name"]
    assert found["shares"]
    assert sum(t["value"] for t in found["top"]) == pytest.approx(1, abs=1e-3)
    after, _ = ask(running, "traffic")
    assert after["alive"]
    assert (after["answered"] - before["answered"], after["refused"]) == (1, 0)
    assert sum(after["counts"]) == after["answered"]
    with pytest.raises(SettingError, match=f"choose one from 0 to {count - 1}"):
        ask(running, "try_sample", index=count)
    ask(running, "stop_server")
    assert running.value()["server"] is None
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server["port"])) != 0


def test_the_shown_clients_run_as_they_stand(running, finished):
    server = running.value()["server"]
    assert server["curl"].startswith("curl -d ")
    assert server["curl"].endswith(f"{server['url']}/v1/models/{server['name']}:predict")
    body = finished.state.artifact.path.with_name("cnn.request.json").read_text("utf-8")
    golden = np.load(finished.state.artifact.path / "golden" / "inputs.npz")
    np.testing.assert_allclose(json.loads(body)["instances"][0], next(iter(golden.values()))[0])
    assert [c["title"] for c in server["clients"]] == ["TensorFlow Serving REST", "Open Inference Protocol v2"]
    for client in server["clients"]:
        assert max(map(len, client["code"].splitlines())) <= 100
        done = subprocess.run([sys.executable, "-c", client["code"]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("0.") >= 3, "three probabilities"


def test_where_nothing_can_be_written_the_line_is_a_long_one(artifact, tmp_path):
    example = {artifact.manifest.inputs[0].name: np.zeros((1, 1, 8, 8), np.float32)}
    nowhere = dataclasses.replace(artifact, path=tmp_path / "gone" / "cnn")
    assert "@" not in curl(nowhere, "http://127.0.0.1:1", example)
    assert json.dumps(example[artifact.manifest.inputs[0].name][0].tolist(), separators=(",", ":")) in curl(
        nowhere, "http://127.0.0.1:1", example
    )


def test_a_port_in_use_is_named_with_a_free_one(section, ask, finished):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ask(section, "serve", port=port)
        value = section.value()
        assert value["taken"] == port
        assert value["free"] > port
        assert "in use" in finished.state.problems["serve"]
        ask(section, "serve", port=value["free"])
        value = section.value()
        assert (value["taken"], value["server"]["port"]) == (0, finished.state.server.port)


def test_a_server_that_ended_by_itself_is_told(running, ask, finished):
    finished.state.server.stop()
    assert not ask(running, "traffic")[0]["alive"]


def contract(kind, *, classes=(), more=()):
    scored = OutputMeaning("y", kind, "scored", "float32", (None, 2))
    return Contract((), (*more, scored), LabelMeaning("classes", len(classes), classes))


def test_answers_that_are_no_classes_are_numbers():
    data = dk.Dataset.from_arrays(np.random.default_rng(0).random((40, 2), np.float32), np.arange(40) / 7)
    found = answer(data, 0, np.array([[1.5]], np.float32), contract("values"))
    assert (found["prediction"], found["numbers"], found["right"]) == ("", [1.5], None)


def test_the_scored_output_is_what_is_shown():
    logits = dk.Dataset.from_arrays(np.zeros((40, 2), np.float32), np.arange(40) % 2, classes=("<b>", "b"))
    other = OutputMeaning("z", "values", "judged", "float32", (None, 2))
    outputs = {"z": np.array([[0.0, 9.0]], np.float32), "y": np.array([[3.0, -1.0]], np.float32)}
    found = answer(logits, 0, outputs, contract("scores", more=(other,)))
    assert found["top"] == [{"name": "<b>", "value": 3.0}, {"name": "b", "value": -1.0}]
    assert not found["shares"], "logits are not probabilities"


@pytest.mark.parametrize(
    ("kind", "output", "prediction", "top"),
    [
        ("probability", [[0.25]], "no", [("no", 0.75), ("yes", 0.25)]),
        ("logit", [[2.0]], "yes", [("yes", 2.0), ("no", 0.0)]),
        ("classes", [1], "yes", []),
        ("classes", ["maybe"], "maybe", []),
        ("classes", [7], "7", []),
        ("several", [[0.25, 0.75]], "", []),
    ],
)
def test_an_answer_is_read_as_the_contract_says(kind, output, prediction, top):
    data = dk.Dataset.from_arrays(np.zeros((40, 2), np.float32), np.arange(40) % 2)
    found = answer(data, 0, np.array(output), contract(kind, classes=("no", "yes")))
    assert found["prediction"] == prediction
    assert [(t["name"], t["value"]) for t in found["top"]] == top
    assert found["shares"] == (kind == "probability")
