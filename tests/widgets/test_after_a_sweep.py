"""What the Workbench does with the results of a sweep: picking, exporting, serving, leaving."""

import dataclasses
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from deploykit_widgets import samples
from deploykit_widgets.candidate_panel import describe
from deploykit_widgets.export_panel import refusal
from deploykit_widgets.results_table import results_table

import deploykit as dk
from deploykit.core.registry import registry
from deploykit.core.result import Failure

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def done(open_workbench, model, data, space, store):
    return open_workbench(model, data, store=store, space=space)


def test_picking_in_the_list_and_in_the_chart_shows_the_candidate(done):
    baseline = done.report.baseline
    other = next(r for r in done.report.rows if r.key != baseline)
    done.tradeoff_panel.pick.value = other.key
    assert done._desk.settle()
    assert done.choice.key == other.key
    assert other.label in done.candidate_panel.content.value
    assert "picked" in done.candidate_panel.content.value
    assert f'report.choice_for("{other.key}")' in done.code
    done.tradeoff_panel.chart.widget._vl_selections = {"pick": {"value": {"key": [baseline]}, "store": []}}
    assert done._desk.settle()
    assert done.choice.key == baseline
    assert done.tradeoff_panel.pick.value == baseline
    done.tradeoff_panel.pick.value = ""
    assert done._desk.settle()
    assert done.choice.key == done.report.best().key
    assert "choice = report.best()" in done.code


def test_a_goal_chooses_anew_and_changes_axis_and_code(done):
    done.tradeoff_panel.max_drop.value = 50.0
    done.tradeoff_panel.minimize.value = "compressed_size"
    assert done._desk.settle()
    wanted = done.report.best(minimize="compressed_size", max_drop=0.5)
    assert done.choice.key == wanted.key
    assert 'report.best(max_drop=0.5, minimize="compressed_size")' in done.code
    assert "gzip" in str(done.tradeoff_panel.chart.widget.spec["layer"])
    rows = done.tradeoff_panel.chart._rows["points"]
    assert {p["x"] for p in rows} == {p["compressed_kb"] for p in rows}


def test_numbers_of_the_table_are_those_of_the_report(done):
    from deploykit.reporting import numbers

    shown = results_table(done.report, "", "")
    for row in done.report.rows:
        assert numbers.kilobytes(row.measurement.size_bytes) in shown
        if row.key != done.report.baseline:
            assert numbers.points(row.measurement.score.change) in shown
            assert numbers.times(row.measurement.latency.speedup) in shown


def test_failed_and_unfinished_rows_are_readable_and_text(done):
    report = done.report
    failure = Failure("build", "CandidateCrash", f"the process died {HOSTILE}", "use another runtime", "logs/x.log")
    failed = dataclasses.replace(report.rows[1], status="failed", measurement=None, failure=failure, label=HOSTILE)
    pending = dataclasses.replace(report.rows[1], key="p", status="pending", measurement=None)
    report = dataclasses.replace(report, rows=(report.rows[0], failed, pending))
    shown = results_table(report, failed.key, "")
    assert "<img" not in shown
    assert shown.index("under way") < shown.index("the process died")
    assert "<b>Remedy:</b> use another runtime" in shown
    assert "logs/x.log" in shown
    described = describe(report.choice_for(failed.key), follows_best=False)
    assert "the process died" in described
    assert "<img" not in described
    assert "nothing to export" in refusal(registry("deploykit.exporters", "layout").get("folder"), failed)


# -- exporting and serving ------------------------------------------------------------------------------------------


def test_export_serve_try_it_and_the_code_does_the_same(done, tmp_path, data):
    best = done.choice.key
    done.export_panel.folder.value = str(tmp_path / "served")
    done.export_panel.button.click()
    assert done._desk.settle()
    assert "Verified" in done.export_panel.result.value, done._state.problems
    assert "manifest.json" in done.export_panel.result.value
    assert dk.verify(tmp_path / "served").ok

    done.serve_panel.port.value = 0
    done.serve_panel.start.click()
    assert done._desk.settle()
    server = done._state.server
    assert server.url in done.serve_panel.where.value
    _curl_works(done.serve_panel.where.value)

    done.serve_panel.sample.value = 3
    done.serve_panel.ask.click()
    assert done._desk.settle()
    said = done.serve_panel.answer.value
    split = done.report.data.splits["evaluation"]
    expected = int(done.choice.predict(split.take(slice(3, 4)).inputs)["probabilities"][0].argmax())
    assert f"Prediction <b>{_escaped(data.classes[expected])}</b>" in said
    assert samples.label_of(data, 3).replace("<", "&lt;").replace(">", "&gt;") in said

    done.export_panel.button.click()
    assert done._desk.settle()
    assert "Stop it first" in done.export_panel.result.value

    code = done.code
    assert max(map(len, code.split("\n"))) <= 100
    done.serve_panel.stop.click()
    assert done._desk.settle()
    assert "stopped" in done.serve_panel.where.value
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(server.url, timeout=5)
    _script_works(code, best, tmp_path)


def _escaped(text):
    return text.replace("<", "&lt;").replace(">", "&gt;")


def _curl_works(shown):
    """What the curl line says, done with the standard library."""
    import html

    line = html.unescape(re.search(r"<pre[^>]*>(curl .*?)</pre>", shown).group(1))
    body, address = re.fullmatch(r"curl -d '(.*)' (\S+)", line).groups()
    content = Path(body[1:]).read_bytes() if body.startswith("@") else body.encode()
    with urllib.request.urlopen(urllib.request.Request(address, content), timeout=30) as answer:
        (outputs,) = json.load(answer)["predictions"]
    assert len(outputs) == 3


def _script_works(code, best, folder):
    """The code runs as a script of its own and ends at the same candidate."""
    path = folder / "script.py"
    path.write_text(code + f"assert choice.key == {best!r}, choice\n", "utf-8")
    ran = subprocess.run([sys.executable, path], cwd=folder, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"\[\[.*\]\]", ran.stdout), ran.stdout


def test_a_layout_that_cannot_hold_the_candidate_says_why(done):
    panel = done.export_panel
    panel.layout.value = "tfserving"
    assert done._desk.settle()
    assert panel.button.disabled
    assert "onnx" in panel.why.value


def test_failures_of_export_and_serve_are_sentences(done, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not delete")
    done.export_panel.folder.value = str(tmp_path / "mine")
    done.export_panel.button.click()
    assert done._desk.settle()
    assert 'role="alert"' in done.export_panel.result.value
    assert "mine" in done.export_panel.result.value
    done.export_panel.folder.value = str(tmp_path / "served")
    done.export_panel.button.click()
    assert done._desk.settle()
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done.serve_panel.port.value = taken.getsockname()[1]
        done.serve_panel.start.click()
        assert done._desk.settle()
    assert str(done.serve_panel.port.value) in done.serve_panel.where.value
    assert 'role="alert"' in done.serve_panel.where.value
    assert done._state.server is None
    assert not done.serve_panel.start.disabled


def test_close_cancels_the_sweep_and_stops_the_server(done, tmp_path, model, data, space):
    done.export_panel.folder.value = str(tmp_path / "served")
    done.export_panel.button.click()
    done._desk.settle()
    done.serve_panel.port.value = 0
    done.serve_panel.start.click()
    assert done._desk.settle()
    server = done._state.server
    assert server is not None, done._state.problems
    done.close()
    assert not server.alive

    bench = dk.Workbench(model, data, store=tmp_path / "runs", space=space, launches=2)
    assert bench._desk.settle()
    bench.space_panel.run.click()
    bench._desk.settle()
    handle = bench._commands.handle
    bench.close()
    assert not handle.running


# -- without widgets ------------------------------------------------------------------------------------------------


def test_viewers_without_widgets_get_results_and_code(done, open_workbench, model, data, space):
    bundle = done._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert "<table" in bundle["text/html"]
    assert "import deploykit as dk" in bundle["text/html"]
    assert len(json.dumps(bundle)) < 2_000_000
    before = open_workbench(model, data, space=space)._repr_mimebundle_()
    assert "2 candidates" in before["text/html"]


def test_messages_to_the_browser_are_small(done):
    state = done.tradeoff_panel.table.get_state()
    assert len(json.dumps(state, default=str)) < 100_000
    assert len(json.dumps(done.tradeoff_panel.chart.widget._py_to_js_updates)) < 100_000
