"""Every verb on a tiny model, as text and as JSON."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing

import pytest

import deploykit
from deploykit.cli._shared.show import columns, printable
from deploykit.core.model import Model
from deploykit.core.security.tokens import Tokens
from deploykit.runtimes._contract import RUNTIMES
from deploykit.runtimes._onnx_providers import PROVIDERS


@pytest.fixture(scope="module")
def artifact(store):
    from deploykit.cli.main import main

    folder = store.parent / "served"
    assert main(["export", str(store), "--out", str(folder), "--json"]) == 0
    return folder


# -- inspect, plan --------------------------------------------------------------------------------------------------


def test_inspect(cli, desk):
    status, out, err = cli("inspect", desk / "net.onnx")
    assert (status, err) == (0, "")
    assert "format      onnx" in out
    assert "input       image: float32 (?, 1, 8, 8)" in out
    assert "layer" in out


def test_inspect_as_json_is_the_model(cli, desk):
    status, out, _ = cli("inspect", desk / "net.onnx", "--json")
    assert status == 0
    assert Model.from_json(json.loads(out)) == deploykit.load(desk / "net.onnx")


def test_names_from_files_cannot_control_the_terminal():
    assert printable("a\x1b[2Jb\n\tc\x07") == "a\\x1b[2Jb\n\tc\\x07"
    assert printable("käfer 🐞") == "käfer 🐞"


def test_columns_are_aligned():
    assert columns([("a", "1"), ("bcd", "22")], right=(1,)) == "a     1\nbcd  22"


def test_plan(cli, desk, data_flags):
    status, out, err = cli("plan", desk / "net.onnx", *data_flags)
    assert (status, err) == (0, "")
    assert out.startswith("2 candidates")
    status, out, _ = cli("plan", desk / "net.onnx", *data_flags, "--json")
    assert status == 0
    assert [c["candidate"]["target"]["threads"] for c in json.loads(out)["candidates"]] == [1, 2]


def test_plan_with_a_file_that_exists_already(cli, desk, data_flags):
    status, out, err = cli("plan", desk / "net.onnx", *data_flags, "--candidate", desk / "net.onnx", "--no-check")
    assert (status, err) == (0, "")
    assert "net.onnx on onnxruntime" in out
    status, _, err = cli("plan", desk / "net.onnx", *data_flags, "--candidate", desk / "gone.onnx", "--no-check")
    assert status == 1
    assert "Candidate" in err
    assert "gone.onnx: no such file" in err


def test_plan_with_data_that_do_not_fit(cli, desk):
    status, out, err = cli("plan", desk / "net.onnx", "--data", desk / "data.npz")
    assert (status, out) == (1, "")
    assert "the model takes examples of shape (1, 8, 8), the data give (8, 8)" in err


# -- sweep, report, clean -------------------------------------------------------------------------------------------


def test_sweep_again_repeats_nothing_and_prints_the_table(cli, desk, data_flags, store):
    status, out, err = cli("sweep", desk / "net.onnx", *data_flags, "--store", store, "--launches", 2)
    assert status == 0
    assert out.splitlines()[0].startswith("Candidate")
    assert "ONNX Runtime · 2 threads" in out
    assert "2 measured, 0 failed" in err
    assert "\r" not in err


def test_report(cli, store):
    status, out, _ = cli("report", store)
    assert status == 0
    assert "Accuracy, %" in out
    assert "on ONNX Runtime" in out


def test_report_shows_what_candidates_take_and_cost(cli, store, tmp_path):
    page = tmp_path / "report.html"
    status, out, _ = cli("report", store, "--price-per-hour", "0.17", "--html", page)
    assert status == 0
    assert "First inference, ms" in out
    assert "Cost per million" in out
    assert "at 0.17 per hour" in out
    assert "Cost per million" in page.read_text()
    _, plain, _ = cli("report", store, "--footprint")
    assert "Examples/s" in plain
    assert "Cost per million" not in plain
    _, out, _ = cli("report", store, "--json", "--price-per-hour", "0.17")
    rows = [row for row in json.loads(out)["rows"] if row["status"] == "measured"]
    assert all(row["cost_per_million_low"] <= row["cost_per_million"] for row in rows)
    status, _, err = cli("report", store, "--price-per-hour", "-1")
    assert status == 1
    assert "must be a positive number" in err


def test_report_as_json_has_a_row_for_each_candidate(cli, store):
    status, out, _ = cli("report", store, "--json", "--max-drop", "1")
    found = json.loads(out)
    assert status == 0
    assert [r["status"] for r in found["rows"]] == ["measured", "measured"]
    assert found["best"] in [r["key"] for r in found["rows"]]
    assert found["met"] is True


def test_a_sweep_without_latencies_is_reported_by_its_own_goal(cli, desk, data_flags, tmp_path):
    runs = tmp_path / "runs"
    cli("sweep", desk / "net.onnx", *data_flags, "--store", runs, "--launches", 0, "--max-drop", "0.5")
    status, out, _ = cli("report", runs)
    assert status == 0
    assert "the lowest size" in out
    assert "50.0 pp" in out
    assert "1.0 pp" not in out
    status, out, _ = cli("report", runs, "--minimize", "latency")
    assert status == 0
    assert "Accuracy, %" in out
    assert "No latency was measured" in out


def test_an_error_that_ends_a_sweep_is_said_once(cli, desk, data_flags, tmp_path):
    status, _, err = cli("sweep", desk / "net.onnx", *data_flags, "--store", tmp_path / "s", "--engine", "moon")
    assert status == 1
    assert err.count("Unknown engine 'moon'") == 1


def test_rank(cli, store):
    status, out, _err = cli("rank", store, "--minimize", "size", "--json")
    assert status == 0
    (entry,) = json.loads(out)["devices"]
    assert entry["device"] == "cpu"
    assert entry["p50_ms_low"] <= entry["p50_ms"] <= entry["p50_ms_high"]
    status, out, _err = cli("rank", store, "--max-p50-ms", "0.000001")
    assert status == 0
    assert "0.000001" in out or "1e-06 is the limit" in out
    status, _out, err = cli("rank", store, "--price", "cuda=much")
    assert status == 1
    assert "'cuda=much'" in err
    status, _out, err = cli("rank", store, "--price", "cuda=2")
    assert status == 1
    assert "known: " in err


def test_compare(cli, store, tmp_path):
    status, out, _err = cli("compare", store, store, "--html", tmp_path / "c.html")
    assert status == 0
    assert "no change found." in out
    assert (tmp_path / "c.html").stat().st_size > 1000
    status, out, _err = cli("compare", store, store, "--json")
    assert status == 0
    assert {row["latency_claim"] for row in json.loads(out)["rows"]} == {"same"}
    status, out, err = cli("compare", store, tmp_path / "nowhere")
    assert (status, out) == (1, "")
    assert "nowhere" in err


def test_report_writes_files(cli, store, tmp_path):
    page, data = tmp_path / "new" / "report.html", tmp_path / "results.json"
    status, out, _ = cli("report", store, "--html", page, "--save", data)
    assert status == 0
    assert f"wrote {page}" in out
    assert page.read_text("utf-8").lstrip().lower().startswith("<!doctype html")
    assert len(json.loads(data.read_text("utf-8"))["rows"]) == 2


def test_report_is_logged_to_a_tracker_once(cli, store, tmp_path):
    for written in (3, 0):
        status, out, _ = cli("report", store, "--log-to", f"tensorboard={tmp_path / 'board'}", "--json")
        assert status == 0
        logged = json.loads(out)["logged"]
        assert (logged["written"], logged["written"] + logged["unchanged"]) == (written, 3)
    assert len([*(tmp_path / "board").rglob("*tfevents*")]) == 3
    status, _, err = cli("report", store, "--log-to", "papyrus")
    assert status == 2
    assert "'papyrus' is not one of mlflow, tensorboard" in err
    status, _, err = cli("report", store, "--set", "alias=champion")
    assert status == 2
    assert "--set applies only with --log-to" in err


def test_explain(cli, store):
    status, out, _ = cli("explain", store, "--max-drop", "1")
    assert status == 0
    assert "on ONNX Runtime" in out
    status, found, _ = cli("explain", store, "--max-drop", "1", "--json")
    assert {"key", "explanation", "findings", "suggested", "layers", "changed"} <= set(json.loads(found))
    assert all(line in out for line in json.loads(found)["changed"])


@pytest.mark.long(seconds=3)
def test_explain_an_example(cli, store, tmp_path):
    page = tmp_path / "page.html"
    status, out, _ = cli("explain", store, "--max-drop", "1", "--example", "2", "--html", page)
    assert status == 0
    assert "Confidence in" in out
    assert out.splitlines()[-1].strip()
    assert "<h1>Explanation of an answer" in page.read_text("utf-8")
    status, out, _ = cli("explain", store, "--example", "2", "--answer", "1", "--split", "test", "--json")
    found = json.loads(out)
    assert (status, found["index"], found["inputs"][0]["kind"]) == (0, [1], "image")
    status, _, err = cli("explain", store, "--answer", "1")
    assert status == 1
    assert "--answer applies only with --example" in err
    status, _, err = cli("explain", store, "--example", "100000")
    assert status == 1
    assert "There is no example 100000" in err


def test_explain_writes_what_would_help_as_a_space(cli, desk, data_flags, tmp_path):
    space = tmp_path / "space.json"
    recipes = [{"steps": [{"technique": "quantize_dynamic"}]}]
    space.write_text(json.dumps({"recipes": recipes, "targets": [{"runtime": "onnxruntime"}]}))
    runs, fixes = tmp_path / "runs", tmp_path / "fixes.json"

    def sweep(wanted):
        cli("sweep", desk / "net.onnx", *data_flags[:-1], wanted, "--store", runs, "--launches", 2)

    sweep(space)
    _, out, _ = cli("report", runs, "--json")
    key = next(r["key"] for r in json.loads(out)["rows"] if not r["is_baseline"])
    status, out, _ = cli("explain", runs, "--candidate", key, "--fixes", fixes)
    assert status == 0
    assert "slowest layers" in out
    assert f"--store {runs} --space {fixes}" in out
    sweep(fixes)
    status, out, _ = cli("explain", runs, "--candidate", key, "--fixes", tmp_path / "more.json")
    assert "Tried already: int8 static" in out
    assert "was not written" in out


def test_report_as_json_is_json_even_when_files_are_written(cli, store, tmp_path):
    _, out, err = cli("report", store, "--json", "--html", tmp_path / "r.html")
    assert json.loads(out)["rows"]
    assert "wrote" in err


@pytest.mark.parametrize("verb", ["report", "clean"])
def test_a_store_that_is_not_there(cli, tmp_path, verb):
    status, _, err = cli(verb, tmp_path / "none")
    assert status == 1
    assert "No store at" in err
    assert not (tmp_path / "none").exists()


def test_an_unknown_cost(cli, store):
    status, _, err = cli("report", store, "--minimize", "latncy")
    assert status == 1
    assert "did you mean 'latency'" in err


def test_clean(cli, store):
    leftover = store / "logs" / "old.log"
    leftover.parent.mkdir(exist_ok=True)
    leftover.write_bytes(b"x" * 1000)
    status, out, _ = cli("clean", store, "--json")
    found = json.loads(out)
    assert status == 0
    assert "logs/old.log" in found["removed"]
    assert found["freed_bytes"] >= 1000
    assert not leftover.exists()


def test_a_damaged_store_is_named_and_repaired(cli, store, desk, data_flags, tmp_path):
    folder = shutil.copytree(store, tmp_path / "copy")
    with closing(sqlite3.connect(folder / "store.sqlite")) as db, db:
        (key,) = db.execute("SELECT key FROM rows ORDER BY place DESC LIMIT 1").fetchone()
        db.execute("UPDATE rows SET data = X'FF00FF' WHERE key = ?", (key,))
    status, out, _ = cli("report", folder)
    assert status == 0
    assert f"One row of the store {folder} is damaged and was left out: row {key}." in out
    assert f"deploykit clean {folder} --repair" in out
    status, _, err = cli("clean", folder)
    assert status == 1
    assert f"{folder} is damaged: rows {key}. Remedy: run deploykit clean {folder} --repair first." in err
    status, out, _ = cli("clean", folder, "--repair", "--json")
    assert (status, json.loads(out)["dropped"]) == (0, [f"rows {key}"])
    assert cli("clean", folder, "--repair")[1].strip() == "nothing in the store is damaged"
    status, _, err = cli("sweep", desk / "net.onnx", *data_flags, "--store", folder, "--launches", 2)
    assert status == 0
    assert "2 measured, 0 failed" in err
    assert "damaged" not in cli("report", folder)[1]


# -- export, verify, serve ------------------------------------------------------------------------------------------


def test_export_says_why_and_where(cli, store, tmp_path):
    status, out, _ = cli("export", store, "--out", tmp_path / "served", "--max-drop", "1", "--name", "digits")
    assert status == 0
    assert "p50" in out
    assert f"deploykit serve {tmp_path / 'served'}" in out
    assert json.loads((tmp_path / "served" / "manifest.json").read_text("utf-8"))["name"] == "digits"


def test_export_of_one_candidate(cli, store, tmp_path):
    _, out, _ = cli("report", store, "--json")
    key = json.loads(out)["rows"][1]["key"]
    status, out, err = cli("export", store, "--candidate", key[:6], "--out", tmp_path / "served", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["candidate"] == key
    assert found["manifest"]["target"]["threads"] == 2
    assert "p50" in err


def test_export_with_a_parameter_the_layout_lacks(cli, store, tmp_path):
    status, _, err = cli("export", store, "--out", tmp_path / "served", "--max-drop", "1", "--set", "version=2")
    assert status == 1
    assert "Unknown parameter for folder 'version'" in err
    assert not (tmp_path / "served").exists()
    status, out, _ = cli("export", "--help")
    assert "version: at least 1, default 1" in out


def test_a_goal_that_must_be_met(cli, store, tmp_path):
    status, _, err = cli("export", store, "--out", tmp_path / "served", "--max-drop=-1", "--require", "--candidate",
                         _second(store))  # fmt: skip
    assert status == 1
    assert "Remedy: " in err
    assert not (tmp_path / "served").exists()


def _second(store):
    return deploykit.Report.open(store).rows[1].key


def test_an_unknown_candidate(cli, store, tmp_path):
    status, _, err = cli("export", store, "--candidate", "ffffff", "--out", tmp_path / "served")
    assert status == 1
    assert "Unknown candidate 'ffffff'" in err


def test_verify(cli, artifact, tmp_path):
    status, out, _ = cli("verify", artifact, "--json")
    assert (status, json.loads(out)["ok"]) == (0, True)
    broken = tmp_path / "broken"
    import shutil

    shutil.copytree(artifact, broken)
    model = broken / json.loads((broken / "manifest.json").read_text("utf-8"))["model"]
    model.write_bytes(model.read_bytes()[:-1])
    status, out, _ = cli("verify", broken)
    assert status == 1
    assert model.name in out


def test_serve_until_ctrl_c(artifact):
    process = subprocess.Popen(
        [sys.executable, "-m", "deploykit", "serve", str(artifact), "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            text += line
        found = json.loads(text)
        body = json.dumps({"instances": [[[0] * 8] * 8]}).encode()
        request = urllib.request.Request(
            f"{found['url']}/v1/models/{found['name']}:predict", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert len(json.load(answer)["predictions"][0]) == 3
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()


def test_serve_something_else(cli, tmp_path):
    status, _, err = cli("serve", tmp_path)
    assert status == 1
    assert "holds no model" in err


def test_doctor(cli):
    status, out, _ = cli("doctor", "--json")
    found = json.loads(out)
    assert status == 0
    assert {r["name"] for r in found["runtimes"]} >= {"litert", "onnxruntime", "tensorflow"}
    assert found["version"] == deploykit.__version__


def test_devices_are_listed_with_state_and_remedy(cli):
    """After the test above, whose processes of all runtimes still live."""
    status, out, _ = cli("devices", "--json")
    rows = json.loads(out)["rows"]
    by_place = {(row["runtime"], row["device"]): row for row in rows}
    assert status == 0
    assert {row["runtime"] for row in rows} == set(RUNTIMES.names())
    assert {row["state"] for row in rows} <= {"ready", "not installed", "no such hardware", "detected only"}
    assert all(row["detail"] for row in rows)
    assert by_place["onnxruntime", "cpu"]["state"] == by_place["openvino", "auto"]["state"] == "ready"
    assert {device for runtime, device in by_place if runtime == "onnxruntime"} == set(PROVIDERS)
    assert by_place["onnxruntime", "coreml"]["remedy"] or by_place["onnxruntime", "coreml"]["state"] == "ready"


# -- Ctrl-C ---------------------------------------------------------------------------------------------------------


def test_ctrl_c_prints_the_report_so_far_and_the_next_sweep_goes_on(cli, desk, data_flags, tmp_path):
    store = tmp_path / "runs"
    command = [sys.executable, "-m", "deploykit", "sweep", desk / "net.onnx", *data_flags, "--store", store]
    process = subprocess.Popen(
        [*map(str, command), "--launches", "10000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        for line in process.stderr:
            if "timing" in line:
                break
        else:
            pytest.fail("the sweep ended before it timed anything")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert "Rerun the same command to resume from" in err
    assert "Traceback" not in err
    assert out.splitlines()[0].startswith("Candidate")
    status, out, err = cli("sweep", desk / "net.onnx", *data_flags, "--store", store, "--launches", 2, "--json")
    assert status == 0
    assert [r["status"] for r in json.loads(out)["rows"]] == ["measured", "measured"]


def test_no_process_is_left_behind(tmp_path, artifact):
    import psutil

    process = subprocess.Popen(
        [sys.executable, "-m", "deploykit", "serve", str(artifact), "--port", "0"], stdout=subprocess.PIPE
    )
    assert process.stdout.readline()
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.kill()
    process.communicate()
    end = time.monotonic() + 60
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family):
        assert time.monotonic() < end, family
        time.sleep(0.05)


def test_plan_with_synthesized_inputs(cli, desk, data_flags):
    status, out, err = cli(
        "plan", desk / "net.onnx", *data_flags, "--synthesize", "generator", "--synthesized-examples", "32",
        "--synthesized-steps", "2", "--synthesized-between", "0,1", "--json",
    )  # fmt: skip
    assert status == 0, err
    assert json.loads(out)["evaluation_examples"] == 72, "all 120 examples evaluate or test"
    status, _, err = cli("plan", desk / "net.onnx", *data_flags, "--synthesized-steps", "2")
    assert status == 2
    assert "--synthesized-steps applies only with --synthesize" in err


def test_tokens_are_made_listed_and_removed(cli, tmp_path):
    file = tmp_path / "secret" / "tokens.json"
    status, out, _ = cli("token", "add", file, "web", "--per-day", 1000, "--outputs", "top-3", "--scope", "predict")
    assert status == 0
    assert Tokens.open(file).find(out.strip().encode()).per_day == 1000
    status, out, _ = cli("token", "add", file, "ci", "--scope", "metrics", "--scope", "admin", "--json")
    assert Tokens.open(file).find(json.loads(out)["token"].encode()).scopes == ("metrics", "admin")
    status, out, _ = cli("token", "list", file)
    assert out.splitlines() == ["web: predict; 1,000 examples a day; outputs top-3", "ci: metrics, admin"]
    status, out, _ = cli("token", "list", file, "--json")
    assert "digest" not in out
    assert cli("token", "add", file, "ci")[0] == 1
    assert cli("token", "remove", file, "ci")[0] == 0
    assert list(Tokens.open(file).by_name) == ["web"]
    assert cli("token", "remove", file)[0] == 2
    status, _, err = cli("token", "list", file, "--outputs", "label", "--per-day", 3)
    assert status == 2
    assert err.startswith("deploykit token: --per-day, --outputs: only a token that is added has rules")
    assert cli("token", "list", tmp_path / "none.json")[0] == 1
