"""The loop on a small model: a real notebook, a real server, real requests."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace

import nbformat
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import deploykit as dk
from deploykit.cli.main import main
from deploykit.core.errors import ExportError, SettingError, StoreError
from deploykit.updating.counting import alarm_of, counted, since
from deploykit.updating.row import UpdateRow, UpdateState

ALARM = {"alarmed": True, "since": "2026-11-30T14:02"}
COUNT = 2000


@pytest.fixture(scope="module")
def desk(zoo, tmp_path_factory):
    """A model with labels that are its own answers, its exported original, int8 and broken versions, and data."""
    folder = tmp_path_factory.mktemp("update")
    model = dk.load(zoo("cnn_onnx"))
    x = np.random.default_rng(0).random((COUNT, 1, 8, 8)).astype(np.float32)
    given = dk.Dataset.from_arrays(x, np.arange(COUNT) % 3)
    answers = dk.build(model, dk.Recipe(()), given, target="onnxruntime").predict(x)
    data = dk.Dataset.from_arrays(x, next(iter(answers.values())).argmax(axis=1))
    recipes = {
        "original": dk.Recipe(()),
        "int8": dk.Recipe((dk.Step("quantize_dynamic"),)),
    }
    made = {
        name: dk.export(dk.build(model, recipe, data, target="onnxruntime"), folder / name, name="by")
        for name, recipe in recipes.items()
    }
    opposite = dk.build(dk.load(turned(model.path, folder / "opposite.onnx")), dk.Recipe(()), data)
    made["broken"] = dk.export(opposite, folder / "broken", name="by")
    np.savez(folder / "data.npz", x=x, y=next(iter(answers.values())).argmax(axis=1))
    return model, data, made, folder


def turned(path, into):
    """The model whose most probable class is the least probable one of another: (1 - p) / 2 of three classes."""
    model = onnx.load(path)
    name = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["inner" if output == name else output for output in node.output]
    model.graph.node.extend([helper.make_node("Sub", ["one", "inner"], ["rest"]),
                             helper.make_node("Div", ["rest", "two"], [name])])  # fmt: skip
    model.graph.initializer.extend(
        numpy_helper.from_array(np.float32(number), text) for number, text in ((1, "one"), (2, "two"))
    )
    onnx.save(model, into)
    return into


def leaving(artifact, folder):
    """A user's notebook that leaves a copy of an artifact at out_path."""
    first = "\n".join(f'{n}: str = ""' for n in ("model_path", "incumbent_path", "data_path", "window_path"))
    first += '\nattempt: str = ""\nout_path: str = ""\nstore_path: str = ""\nspace: str = ""'
    first += "\nmax_drop: float = 0.01\nseed: int = 0"
    cells = [
        nbformat.v4.new_code_cell(first, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(f"import shutil\nshutil.copytree({str(artifact.path)!r}, out_path)"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / f"leave-{artifact.path.name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture
def versions(desk, tmp_path):
    found = dk.Versions(tmp_path / "by")
    found.add(desk[2]["original"])
    return found


# -- what begins, waits and ends --------------------------------------------------------------------------------------


def test_nothing_happens_without_an_alarm_and_a_person_may_have_to_allow_it(desk, versions):
    model, data, _, _ = desk
    common = {"model": model, "data": data, "approve": ["optimize"], "attempts": []}
    assert dk.update(versions, alarm=False, **common).step == "watching"
    state = dk.update(versions, alarm=ALARM, **common)
    assert (state.step, state.run, state.waits) == ("alarmed", 1, 'a person who allows "optimize"')
    assert dk.update(versions, alarm=ALARM, **common) == state
    state = dk.update(versions, alarm=ALARM, allow=["optimize"], **common)
    assert (state.step, bool(state)) == ("watching", True)  # without attempts there is no candidate
    assert [step for _, step, _ in state.history] == ["alarmed", "rolled_back", "watching"]
    assert dk.update(versions, alarm=ALARM, **common).run == 1  # the same alarm starts nothing more
    assert dk.update(versions, alarm={**ALARM, "since": "later"}, **common).run == 2
    assert versions.serving == 1


def test_a_function_may_refuse_a_step(desk, versions):
    model, data, _, _ = desk
    seen = []
    state = dk.update(versions, alarm=ALARM, model=model, data=data, approve=lambda step, _: seen.append(step))
    assert (state.step, state.waits, seen) == ("alarmed", "optimize was not approved", ["optimize"])


@pytest.mark.long(seconds=6)
def test_a_good_candidate_is_tried_and_promoted_and_a_bad_one_goes_back(desk, versions, tmp_path):
    model, data, made, _ = desk
    x = data.splits["train"].inputs["input"]
    with dk.serve(versions.folder, port=0, poll_seconds=0) as server:

        def until_it_ends(name, since, data, max_drop):
            """Requests and steps in turn, until nothing is left to do."""
            limits = {"max_differing": 0.2, "max_failing": 0.2, "canary_share": 0.9, "alpha": 0.05, "bake_seconds": 0}
            for place in range(0, 10_000, 10):
                state = dk.update(
                    versions, alarm={**ALARM, "since": since}, model=model, data=data, server=server,
                    notebook=leaving(made[name], tmp_path), attempts=["sweep"], max_drop=max_drop, **limits,
                )  # fmt: skip
                if state:
                    return [step for _, step, _ in state.history]
                assert state.waits == "more requests"
                for one in range(place, place + 10):
                    assert server.predict(x[one % len(x)][None]).shape == (1, 3)
            raise AssertionError(state)

        steps = until_it_ends("int8", 1, data, 0.05)
        assert steps == ["alarmed", "optimizing", "candidate", "shadow", "canary", "promoted", "watching"]
        assert (versions.serving, versions.pointer().loaded) == (2, (2,))
        drawn = dk.Dataset.from_arrays(x, np.random.default_rng(1).integers(0, 3, len(x)))  # all models are equal here
        steps = until_it_ends("broken", 2, drawn, 0.5)
        assert steps[7:] == ["alarmed", "optimizing", "candidate", "shadow", "rolled_back", "watching"]
        assert (versions.serving, versions.pointer().loaded, server.models[0]["split"]["shadow"]) == (2, (2,), "")


@pytest.mark.long(seconds=8)
def test_the_notebook_that_comes_with_it_calibrates_again(desk, tmp_path):
    """The incumbent is int8 static; its window makes another calibration."""
    model, data, _, _ = desk
    recipe = dk.Recipe((dk.Step("quantize_static"),))
    built = dk.build(model, recipe, data, target="onnxruntime")
    versions = dk.Versions(tmp_path / "by")
    versions.add(dk.export(built, tmp_path / "first"))
    np.savez(tmp_path / "window.npz", input=np.random.default_rng(5).random((300, 1, 8, 8)).astype(np.float32) * 2)
    state = dk.update(
        versions, alarm=ALARM, model=model, data=data, window=tmp_path / "window.npz", max_drop=0.2, bake_seconds=0,
        attempts=["recalibrate"],
    )  # fmt: skip
    assert (state.step, versions.serving) == ("watching", 2)
    assert [step for _, step, _ in state.history] == [
        "alarmed", "optimizing", "candidate", "promoted", "watching"
    ]  # fmt: skip
    manifest = versions.artifact().manifest
    assert manifest.recipe.steps[0].technique == "quantize_static"
    assert versions.rows()[0]["note"] == "update 1: recalibrate"


# -- bad input --------------------------------------------------------------------------------------------------------


def test_alarms_in_every_form(tmp_path):
    class Monitor:
        alarmed, since = True, 5

    (tmp_path / "alarm.json").write_text(json.dumps({"alarmed": True, "since": 3}))
    assert alarm_of(False) == alarm_of(None) == alarm_of({"alarmed": False}) == alarm_of(tmp_path / "none") == {}
    assert alarm_of(tmp_path / "alarm.json") == {"alarmed": True, "since": 3}
    assert alarm_of(Monitor()) == alarm_of(lambda: {"alarmed": True, "since": 5}) == {"alarmed": True, "since": 5}
    for bad in (3, {"alarm": 1}, tmp_path):
        with pytest.raises(SettingError):
            alarm_of(bad)
    (tmp_path / "alarm.json").write_text("{")
    with pytest.raises(SettingError, match="not JSON"):
        alarm_of(tmp_path / "alarm.json")


@pytest.mark.long(seconds=4)
def test_a_candidate_for_the_place_of_a_signed_version_is_signed_after_its_gate(desk, versions, tmp_path):
    model, data, made, _ = desk
    private, public = dk.new_key_pair(tmp_path / "ours")
    versions.artifact(1).sign(private)
    terms = {"alarm": ALARM, "model": model, "data": data, "notebook": leaving(made["int8"], tmp_path),
             "attempts": ["sweep"], "trials": (), "max_drop": 0.05, "bake_seconds": 0}  # fmt: skip
    state = dk.update(versions, **terms)
    assert (state.step, versions.serving) == ("candidate", 1)
    assert state.waits == f"a signature, which version 1 has: sign {versions.artifact(2).path}, or give a key"
    assert not dk.verify(versions.artifact(2), require_signature=public).ok
    with pytest.raises(SettingError, match="a public key"):
        dk.update(versions, **terms, sign=public)
    state = dk.update(versions, **terms, sign=private)
    assert (state.step, versions.serving) == ("watching", 2)
    assert dk.verify(versions.artifact(2), require_signature=public).ok


def until_waiting(book, count):
    """Workers tell of answers, and of copies, a little later."""
    end = time.monotonic() + 60
    while book.waiting < count and time.monotonic() < end:
        time.sleep(0.02)
    assert book.waiting == count


@pytest.mark.long(seconds=6)
def test_labels_promote_a_candidate_that_answers_differently_because_it_is_right(desk, tmp_path):
    model, data, made, _ = desk
    versions = dk.Versions(tmp_path / "by")
    versions.add(made["broken"])
    evaluation = data.splits["evaluation"]
    x, labels = evaluation.inputs["input"], evaluation.labels
    terms = {
        "alarm": ALARM, "model": model, "data": data, "notebook": leaving(made["original"], tmp_path), "labels": True,
        "attempts": ["sweep"], "trials": ["shadow"], "max_drop": 0.05, "bake_seconds": 0,
    }  # fmt: skip
    with dk.serve(versions.folder, port=0, poll_seconds=0) as server:
        state = dk.update(versions, server=server, **terms)
        assert (state.step, state.waits) == ("shadow", "more labels")
        book = server._watching.book
        assert (server.predict(x[:24]).argmax(axis=1) != labels[:24]).all()  # and the candidate's are the labels
        for place in range(24):
            server.predict(x[place : place + 1], request_id=f"r{place}")
        until_waiting(book, 48)
        assert sum(server.feedback(f"r{place}", int(labels[place])) for place in range(24)) == 24
        found = counted(server, versions.folder.name)
        assert found["2"] == {"differs": 25, "better": 24}
        server.predict(x[:1], request_id="last")
        until_waiting(book, 2)
        (answered, copy) = book.take("by", "last")
        book.predicted("by", "1", answered.at, [("last", answered.data, False)])
        book.predicted("by", "2", copy.at, [("last", None, True)])  # as of a shadow that failed
        server.feedback("last", int(answered.data[0]))
        assert counted(server, "by")["2"]["worse"] == 1
        state = dk.update(versions, server=server, **terms)
        assert (state.step, versions.serving) == ("watching", 2)
        assert "accuracy lost" in next(line for _, step, line in state.history if step == "promoted")


def test_what_cannot_be_is_refused(desk, versions, tmp_path):
    model, data, _, _ = desk
    good = {"alarm": False, "model": model, "data": data}
    for bad, match in (
        ({"attempts": ["magic"]}, "attempt"),
        ({"approve": ["deploy"]}, "step"),
        ({"trials": ["shadow"]}, "A trial needs a server"),
        ({"canary_share": 1.5}, "share of a canary"),
        ({"model": tmp_path / "gone.onnx"}, "no model"),
        ({"window": tmp_path / "gone.npz"}, "no window"),
    ):
        with pytest.raises(SettingError, match=match):
            dk.update(versions, **{**good, **bad})
    with pytest.raises(ExportError, match="holds no versions"):
        dk.update(tmp_path, **good)
    with closing(sqlite3.connect(versions.folder / "update.sqlite")) as database, database:
        database.execute("CREATE TABLE state (id INTEGER PRIMARY KEY, updated REAL, data BLOB)")
        database.execute("INSERT INTO state VALUES (1, 0, '{')")
    with pytest.raises(StoreError, match="cannot be read"):
        dk.update(versions, **good)


def test_counts_of_a_server_that_was_restarted_begin_again():
    assert since({"same": 12, "differs": 3}, {"same": 10}) == {"same": 2, "differs": 3}
    assert since({"same": 2}, {"same": 10}) == {"same": 2}
    with pytest.raises(dk.DeploykitError, match="does not say what it has counted"):
        counted("http://127.0.0.1:1", "by")


def test_the_row_round_trips(tmp_path):
    row = UpdateRow(tmp_path)
    state = UpdateState(run=3).now("shadow", "why", candidate="abc", number=2, before={"2@0": {"same": 3}})
    assert row.write(state) == row.read() == UpdateState.from_json(state.to_json())
    row.write(replace(state, run=4))
    assert row.read().run == 4


def test_the_command(desk, versions, capsys):
    model, _, _, folder = desk
    command = ["update", versions.folder, "--model", model.path, "--data", folder / "data.npz"]
    assert main([str(a) for a in [*command, "--alarmed", "--approve", "optimize", "--json"]]) == 0
    assert json.loads(capsys.readouterr().out)["waits"] == 'a person who allows "optimize"'
    assert main([str(a) for a in [*command, "--alarmed", "--alarm", "x"]]) == 2


# -- crashes ----------------------------------------------------------------------------------------------------------

_LOOP = """
import sys
import time
import deploykit as dk
if __name__ == "__main__":
    folder, model, data, notebook, run = sys.argv[1:]
    print("ready", flush=True)
    data = dk.Dataset.open(data)
    dk.update(folder, alarm={"alarmed": True, "since": run}, model=model, data=data, notebook=notebook,
              attempts=["sweep"], bake_seconds=0, max_drop=0.05)
"""


@pytest.mark.long(seconds=10)
def test_a_loop_that_is_killed_leaves_the_incumbent_and_continues(desk, versions, tmp_path):
    """Killed as soon as its row says that it has reached a step; in the end the candidate answers."""
    model, data, made, _ = desk
    data.save(tmp_path / "data")
    arguments = [str(versions.folder), model.path, str(tmp_path / "data"), str(leaving(made["int8"], tmp_path)), "1"]
    row = UpdateRow(versions.folder)
    for step in ("candidate", None):
        process = subprocess.Popen(
            [sys.executable, "-c", _LOOP, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ
        )
        process.stdout.readline()
        while process.poll() is None and (
            step is None or row.read().step not in (step, "watching") or not row.read().run
        ):
            pass
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert versions.artifact().problems() == []
        assert versions.serving in (1, 2)
    assert (row.read().step, versions.serving) == ("watching", 2)
    assert versions.artifact().digest == made["int8"].digest


def test_a_candidate_that_is_worse_never_gets_requests(desk, versions, tmp_path):
    """The artifact is there already, as after a crash: the gate refuses it, and what was served still is."""
    model, data, made, _ = desk
    work = versions.folder / "update" / "1-sweep"
    work.mkdir(parents=True)
    made_again = dk.Versions(tmp_path / "spare")
    made_again.add(made["broken"])
    made_again.path(1).rename(work / "artifact")
    state = dk.update(versions, alarm=ALARM, model=model, data=data, attempts=["sweep"], max_drop=0.05)
    assert [step for _, step, _ in state.history] == ["alarmed", "optimizing", "candidate", "rolled_back", "watching"]
    assert state.tried["sweep"].startswith("REGRESSION: Accuracy 100.00 %")
    assert (versions.serving, versions.pointer().loaded) == (1, (1,))
