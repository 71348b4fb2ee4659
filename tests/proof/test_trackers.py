"""MLflow's own library and TensorBoard's own server, against what trackers write."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import deploykit as dk
from deploykit.exporters._wheel import write_wheel
from deploykit.testing import models

sys.path.insert(0, str(Path(__file__).parents[1] / "bench" / "peers"))

import servers

ROOT = Path(__file__).parents[2]
_FINISHED = ROOT / "notebooks" / "finished"
#: Logs a store twice, and once more after a setting has changed; then says what MLflow holds.
_LOG = """\
import json, sys
import deploykit as dk
store, place = sys.argv[1:]
report = dk.Report.open(store)
logged = [report.log_to("mlflow", place, minimize="size", max_drop=1.0) for _ in range(2)]
logged.append(report.log_to("mlflow", place, minimize="size", max_drop=1.0, alias="champion"))
import mlflow, numpy as np
mlflow.set_tracking_uri(place)
client = mlflow.MlflowClient()
(experiment,) = [e for e in client.search_experiments() if e.name == report.model.name]
runs = client.search_runs([experiment.experiment_id])
best = report.best(minimize="size", max_drop=1.0)
model = mlflow.pyfunc.load_model(f"models:/{report.model.name}@best")
inputs = {"image": report.data.splits["evaluation"].take(slice(0, 8)).inputs["image"]}
found, wanted = model.predict(inputs), best.predict(inputs)
print(json.dumps({
    "mlflow": mlflow.__version__,
    "written": [one.written for one in logged],
    "unchanged": [one.unchanged for one in logged],
    "runs": {
        r.data.tags.get("deploykit.candidate", ""): {
            "id": r.info.run_id, "parent": r.data.tags.get("mlflow.parentRunId"), "status": r.info.status,
            "params": r.data.params, "metrics": r.data.metrics,
            "points": max([len(client.get_metric_history(r.info.run_id, m)) for m in r.data.metrics], default=0),
        } for r in runs
    },
    "versions": len(client.search_model_versions(f"name = '{report.model.name}'")),
    "aliases": dict(client.get_registered_model(report.model.name).aliases),
    "best": best.key,
    "difference": max(float(abs(found[name] - wanted[name]).max()) for name in wanted),
}))
"""


@pytest.fixture(scope="module")
def programs(engine, tmp_path_factory):
    """An environment with what the extras of both trackers install, and nothing else; deploykit itself is that here."""
    folder = tmp_path_factory.mktemp("wheel")
    version = write_wheel(folder).split("-")[1]
    (folder / "requirements.txt").write_text(f"--find-links .\ndeploykit[mlflow,tensorboard]=={version}\n", "utf-8")
    return engine("trackers", "mlflow-skinny==3.17.2", "tensorboard==2.21.0", folder=folder)


@pytest.mark.proof(
    "`report.log_to` writes runs and a model with an alias to SQLite once, and `mlflow.pyfunc` loads the model",
    against="MLflow",
)
def test_mlflow_holds_the_sweep_once(programs, versions, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (200, 8, 8), dtype=np.uint8), rng.integers(0, models.CLASSES, 200)
    data = dk.Dataset.from_arrays(images, labels, preprocess=dk.Preprocess(scale=1 / 255, reshape=(1, 8, 8)))
    space = dk.Space([dk.Recipe((dk.Step("quantize_dynamic"),))], [dk.Target("onnxruntime")])
    report = dk.sweep(dk.load(models.build("cnn_onnx", tmp_path)), data, space, store=tmp_path / "runs", launches=0)
    done = subprocess.run(
        [programs / "python", "-c", _LOG, tmp_path / "runs", f"sqlite:///{tmp_path}/mlflow.db"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    versions(mlflow=found["mlflow"])
    assert found["written"] == [3, 0, 0]
    assert found["unchanged"] == [0, 3, 3]
    parent = found["runs"].pop("")
    assert found["runs"].keys() == {row.key for row in report.rows}
    for row in report.rows:
        run = found["runs"][row.key]
        assert run["parent"] == parent["id"]
        assert run["status"] == "FINISHED"
        assert run["params"]["recipe"] == row.label
        assert run["metrics"]["accuracy"] == pytest.approx(row.measurement.score.value)
        assert run["points"] == 1
    assert found["versions"] == 1
    assert {name: int(version) for name, version in found["aliases"].items()} == {"best": 1, "champion": 1}
    assert found["difference"] <= 1e-6


@pytest.mark.proof("`report.log_to` writes sessions that TensorBoard's HParams page lists", against="TensorBoard")
def test_tensorboard_lists_the_sessions(programs, versions, tmp_path):
    report = dk.Report.open(_FINISHED)
    report.log_to("tensorboard", tmp_path / "board")
    versions(tensorboard="2.21.0")
    (port,) = servers.free_ports(1)
    command = [programs / "tensorboard", "--logdir", tmp_path / "board", "--port", str(port), "--load_fast", "false"]
    with servers.started(command, {"PYTHONPATH": ""}, port, "/data/runs", tmp_path / "tensorboard.log"):
        home = f"http://127.0.0.1:{port}/data/plugin/hparams"
        asked = {
            "experimentName": "", "startIndex": 0, "sliceSize": 100,
            "allowedStatuses": ["STATUS_SUCCESS", "STATUS_FAILURE"],
            "colParams": [{"metric": {"tag": "accuracy"}, "order": "ORDER_DESC"}],
        }  # fmt: skip
        while True:  # the first pages come before the files are read
            request = urllib.request.Request(
                f"{home}/session_groups", json.dumps(asked).encode(), {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request) as answer:
                groups = json.load(answer)["sessionGroups"]
            if len(groups) == len(report.rows):
                break
    frame = report.to_frame()
    assert {group["name"] for group in groups} == set(frame.index)
    for group in groups:
        row = frame.loc[group["name"]]
        assert group["hparams"]["recipe"] == row["candidate"]
        values = {m["name"]["tag"]: m["value"] for m in group["metricValues"]}
        assert values["accuracy"] == pytest.approx(row["value"])
    accuracies = [frame.loc[group["name"], "value"] for group in groups]
    assert accuracies == sorted(accuracies, reverse=True)
