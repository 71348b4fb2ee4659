"""Tuning real servers of tiny models: what is measured, kept, and written down."""

import json
import os
import threading

import numpy as np
import psutil
import pytest

from deploykit.artifacts.artifact import Artifact
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import GoalMissed, SettingError
from deploykit.core.settings.serving import ServingSettings
from deploykit.core.space import Space
from deploykit.data.dataset import Dataset
from deploykit.exporters._export import export
from deploykit.exporters._verify import verify
from deploykit.loading._load import load
from deploykit.serving._serve import serve
from deploykit.serving.tuning import measuring, work
from deploykit.serving.tuning.bodies import requests_of
from deploykit.serving.tuning.measuring import Bench
from deploykit.serving.tuning.run import tune
from deploykit.sweeping.run import sweep
from deploykit.testing import models
from deploykit.testing.exporters import exportable

pytestmark = pytest.mark.long

BRIEF = {"workers": [1], "threads": [1], "concurrency": [1, 2], "rounds": 4, "seconds": 0.05, "p99_ms": 3.6e6}
posix = pytest.mark.skipif(os.name != "posix", reason="processes cannot share a port on Windows")


@pytest.fixture
def artifact(tmp_path):
    return export(exportable("cnn_onnx", tmp_path), tmp_path / "out")


@pytest.fixture
def quiet():
    """Takes progress and keeps it."""
    said = []
    return said, said.append


@pytest.fixture
def measured(monkeypatch):
    """The points that a search measures."""
    found, measure = [], Bench.measure

    def spy(self, point, rounds):
        found.append(point)
        return measure(self, point, rounds)

    monkeypatch.setattr(Bench, "measure", spy)
    return found


def settings_of(artifact):
    return Artifact.open(artifact.path).manifest.serving


# -- an artifact -------------------------------------------------------------------------------------------------------


def test_the_choice_goes_into_the_manifest(artifact, quiet, measured):
    said, progress = quiet
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    found = tune(artifact, progress=progress, **BRIEF)
    assert found.finished
    assert found.met
    assert len(measured) == 3, "a batch of two is the same as one of one where there is one connection"
    assert {(row.settings.largest_batch, row.concurrency) for row in found.rows} == {(1, 1), (1, 2), (2, 2)}
    for row in found.rows:
        assert row.failure is None
        assert row.rate.value > 0
        assert 0 < row.p50_ms.value <= row.p99_ms.value
        assert set(row.stages_ms) == {"decode", "queue", "run", "encode"}
        assert 1.0 <= row.batch <= row.settings.largest_batch
        assert row.memory_bytes > 1 << 20
    assert settings_of(artifact) == found.best.settings
    assert verify(artifact).ok
    assert said[-1].phase == "done"
    assert [state.done for state in said] == sorted(state.done for state in said)
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before
    assert not [pid for pid in left if "serving" in " ".join(psutil.Process(pid).cmdline())], "nothing keeps running"


@posix
def test_a_server_follows_the_choice(artifact, quiet):
    found = tune(artifact, progress=quiet[1], **{**BRIEF, "workers": [2], "largest_batch": [4], "concurrency": [4]})
    assert found.best.settings == ServingSettings(2, 1, 4, 1)
    with serve(artifact.path, port=0) as server:
        assert len(server.pids) == 2
        assert server.predict(np.zeros((1, 8, 8), np.uint8)).shape == (1, 3)


def test_nothing_is_written_unless_it_holds_and_is_wanted(artifact, quiet):
    assert tune(artifact, progress=quiet[1], save=False, **BRIEF).met
    assert settings_of(artifact) is None
    missed = tune(artifact, progress=quiet[1], **{**BRIEF, "p99_ms": 0.001})
    assert not missed.met
    assert settings_of(artifact) is None
    with pytest.raises(GoalMissed, match="No p99 is confirmed to hold"):
        missed.require()


def test_settings_whose_server_fails_are_rows(artifact, quiet, monkeypatch):
    def fragile(artifact, *, settings, **options):
        server = serve(artifact, settings=settings, **options)
        if settings.largest_batch == 2:
            server.stop()
        return server

    monkeypatch.setattr(measuring, "serve", fragile)
    found = tune(artifact, progress=quiet[1], **{**BRIEF, "concurrency": [2]})
    by_batch = {row.settings.largest_batch: row for row in found.rows}
    assert by_batch[1].failure is None
    assert by_batch[2].rate is None
    assert by_batch[2].failure.error == "ServeError"
    assert "The server did not answer a request" in by_batch[2].failure.cause
    assert found.best is by_batch[1]


def test_ctrl_c_keeps_what_is_measured_and_writes_nothing(artifact):
    def stop(state):
        if state.done >= 2:
            raise KeyboardInterrupt

    found = tune(artifact, progress=stop_once(stop), **BRIEF)
    assert not found.finished
    assert len(found.rows) == 1
    assert found.rows[0].rate is not None
    assert settings_of(artifact) is None


def stop_once(stop):
    """A callback that is left alone once it has raised: the end is reported as well."""
    stopped = threading.Event()

    def progress(state):
        if not stopped.is_set():
            try:
                stop(state)
            except KeyboardInterrupt:
                stopped.set()
                raise

    return progress


def test_servers_run_one_after_the_other_where_memory_is_short(artifact, quiet, monkeypatch):
    running, most = set(), []

    def counted(artifact, *, settings, **options):
        server = serve(artifact, settings=settings, **options)
        stop = server.stop
        running.add(server)
        most.append(len(running))
        monkeypatch.setattr(server, "stop", lambda: (running.discard(server), stop()))
        return server

    monkeypatch.setattr(measuring, "serve", counted)
    tune(artifact, progress=quiet[1], **{**BRIEF, "concurrency": [2]})
    assert max(most) == 2, "the finalists run together"
    most.clear()
    monkeypatch.setattr(work, "spare_bytes", lambda: 0)
    tune(artifact, progress=quiet[1], **{**BRIEF, "concurrency": [2]})
    assert max(most) == 1


def test_a_run_resumes_from_its_file(artifact, quiet, measured, tmp_path):
    file = tmp_path / "kept" / "tuning.json"
    first = tune(artifact, progress=quiet[1], resume=file, **BRIEF)
    assert len(measured) == 3
    second = tune(artifact, progress=quiet[1], resume=file, **BRIEF)
    assert len(measured) == 3, "the search has measured nothing again"
    assert {row.settings for row in second.rows} == {row.settings for row in first.rows}
    tune(artifact, progress=quiet[1], resume=file, **{**BRIEF, "requests": "json"})
    assert len(measured) == 6, "other requests are another measurement"


def test_another_file_is_not_taken_for_an_earlier_run(artifact, tmp_path):
    (tmp_path / "other.json").write_text('{"rows": []}')
    with pytest.raises(SettingError, match="does not hold what an earlier run has measured"):
        tune(artifact, resume=tmp_path / "other.json", **BRIEF)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"p99_ms": 0}, r"p99_ms must be between 0\.001 and 3600000, got 0"),
        ({"rounds": 1}, "rounds must be between 2 and 1000, got 1"),
        ({"share": 1.5}, r"share must be between 0\.001 and 1, got 1\.5"),
        ({"requests": "xml"}, "Unknown kind of requests 'xml'"),
        ({"workers": [0]}, "workers must be between 1 and 256, got 0"),
        ({"max_drop": 0.1}, "The arguments max_drop and out are for reports"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_starts(artifact, changed, message, measured):
    with pytest.raises(SettingError, match=message):
        tune(artifact, **{**BRIEF, **changed})
    assert measured == []


# -- a report ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A sweep of two recipes on two runtimes."""
    folder = tmp_path_factory.mktemp("swept")
    rng = np.random.default_rng(0)
    data = Dataset.from_arrays(rng.random((200, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 200))
    space = Space([Recipe((Step("quantize_dynamic"),))], [Target("onnxruntime"), Target("openvino")])
    model = load(models.build("cnn_onnx", folder))
    return sweep(model, data, space, store=folder / "runs", launches=2, progress=lambda _: None)


def test_the_best_candidate_on_each_runtime_is_tried(report, quiet, tmp_path):
    found = tune(report, max_drop=1.0, out=tmp_path / "served", progress=quiet[1], **{**BRIEF, "largest_batch": [2]})
    assert set(found.grid.sources) == {"onnxruntime", "openvino"}
    assert {row.runtime for row in found.rows} == {"onnxruntime", "openvino"}
    for runtime, key in found.candidates.items():
        own = [r for r in report.rows if r.candidate.target.runtime == runtime]
        fastest = min(own, key=lambda row: row.measurement.latency.p50_ms.high)
        rival = report.row(key).measurement.latency.p50_ms
        assert rival.low <= fastest.measurement.latency.p50_ms.high, "it is as fast as any, by interval"
    made = Artifact.open(tmp_path / "served")
    assert made.manifest.target.runtime == found.best.runtime
    assert made.manifest.serving == found.best.settings
    assert report.row(found.candidate).candidate.target.runtime == found.best.runtime
    assert found.artifact == str(made.path)


def test_a_store_is_a_report(report, quiet):
    found = tune(report.path, max_drop=1.0, progress=quiet[1], **{**BRIEF, "largest_batch": [1], "concurrency": [1]})
    assert found.candidate
    assert found.artifact == ""
    with pytest.raises(SettingError, match="A report was tuned, not an artifact"):
        found.apply()


def test_candidates_that_may_lose_too_much_are_not_tried(report):
    with pytest.raises(GoalMissed, match="There is nothing to tune: No candidate is confirmed to stay within"):
        tune(report, max_drop=-1.0, **BRIEF)


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "json"])
@pytest.mark.parametrize("model", ["cnn_onnx", "two_inputs_onnx", "text_onnx"])
def test_the_golden_inputs_are_sent_as_clients_would(tmp_path, model, kind):
    """Each request gets the golden outputs, whatever the model takes."""
    import http.client

    artifact = export(exportable(model, tmp_path), tmp_path / "out")
    with artifact.opened() as files:
        _, golden = files.golden()
    sent = requests_of(artifact, kind)
    assert len(sent) == len(next(iter(golden.values())))
    with serve(artifact, port=0) as server:
        for request in sent:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.connect()
            connection.sock.sendall(request)
            response = connection.response_class(connection.sock, method="POST")
            response.begin()
            body = response.read()
            connection.close()
            assert response.status == 200, body


def test_what_a_server_refuses_is_said(artifact, quiet):
    with Bench({"onnxruntime": artifact}, [b"POST /v1/models/none:predict HTTP/1.1\r\nHost: localhost\r\n"
                                            b"Content-Length: 2\r\n\r\n{}"], 0.05) as bench:  # fmt: skip
        point = measuring.TuningPoint("onnxruntime", ServingSettings(), 2)
        with pytest.raises(measuring.ServeError, match="did not answer a request: 404"):
            bench.measure(point, 1)
        with pytest.raises(measuring.ServeError, match="did not answer a request: 404"):
            bench.measure(point, 1)


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_command_line(artifact, capsys):
    from deploykit.cli.main import main

    held = ["--p99-ms", "3600000"]  # the longest there is, since short rounds leave wide intervals
    arguments = [
        "--concurrency",
        "2",
        "--workers",
        "1",
        "--threads",
        "1",
        "--largest-batch",
        "1,2",
    ]
    arguments += ["--rounds", "4", "--seconds", "0.05"]
    assert main(["tune", str(artifact.path), *held, *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["grid"]["largest_batch"] == [1, 2]
    assert {row["settings"]["largest_batch"] for row in found["rows"]} == {1, 2}
    assert settings_of(artifact) is not None
    assert main(["tune", str(artifact.path), *held, *arguments, "--no-save"]) == 0
    assert "Best: ONNX Runtime with 1 worker, 1 thread" in capsys.readouterr().out
    assert main(["tune", str(artifact.path), *arguments, "--p99-ms", "0.001", "--require"]) == 1
    assert "No p99 is confirmed to hold" in capsys.readouterr().err
    assert main(["tune", str(artifact.path), "--p99-ms", "1", "--concurrency", "a"]) == 2
