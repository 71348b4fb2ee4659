"""Faults done to real processes: nothing that was committed is lost or done twice, and no process is left over."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

import deploykit as dk
from deploykit.core.errors import StoreError
from deploykit.storage.store import Store
from deploykit.testing.cluster import wait_until

pytestmark = pytest.mark.alone

_DRIVER = Path(__file__).with_name("driver.py")
_MARK = "DEPLOYKIT_TEST_MARK"
_spec = importlib.util.spec_from_file_location("faults_driver", _DRIVER)
driver = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(driver)


def start(mark, *prefix, environment=None, **options):
    command = [*prefix, sys.executable, str(_DRIVER), json.dumps(options)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, _MARK: str(mark), "PYTHONPATH": str(Path(dk.__file__).parents[1]), **(environment or {})},
    )  # fmt: skip


def run(mark, *prefix, **options):
    process = start(mark, *prefix, **options)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def marked(mark):
    """Living processes that descend from a driver."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == str(mark) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def committed(path):
    """How many steps, evaluations and launches a store holds."""
    store = Store(path)
    series = [s for (s,) in store._all("SELECT DISTINCT series FROM launches", ())]
    counts = [len(store.records("step")), len(store.records("evaluation")), sum(len(store.launches(s)) for s in series)]
    return counts


@pytest.fixture(scope="module")
def model_path(onnx_model):
    return onnx_model.path


def test_a_driver_killed_again_and_again_does_only_what_was_not_committed(model_path, tmp_path):
    store, before = tmp_path / "store", [0, 0, 0]
    for stop in ("build: built", "accuracy: evaluating", "latency: timing all 3 models, round 3"):
        process = start(tmp_path, model=model_path, store=str(store), stop=stop)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        assert wait_until(lambda: not marked(tmp_path), 5), "processes outlive their driver"
        after = committed(store)
        assert after > before
        before = after
    kept = [p for kind in ("steps", "outputs") for p in (store / kind).rglob("*.*") if ".tmp" not in str(p)]
    files = {p: p.stat().st_mtime_ns for p in kept}
    found = run(tmp_path, model=model_path, store=str(store))
    assert found["statuses"] == ["measured"] * 3
    assert found["reused"] == sum(before) < found["total"] == sum(committed(store))
    assert {p: p.stat().st_mtime_ns for p in files} == files
    again = run(tmp_path, model=model_path, store=str(store))
    assert again["reused"] == again["total"]
    assert wait_until(lambda: not marked(tmp_path), 5)


@pytest.mark.long
def test_a_killed_child_is_a_row_that_the_next_sweep_tries_again(onnx_model, tmp_path):
    killed = []

    def kill(progress):
        if not killed and "evaluating int8 dynamic" in progress.doing and " of " in progress.doing:
            everybody = psutil.Process().children(recursive=True)
            parents = {p.ppid() for p in everybody}
            children = [p for p in everybody if p.ppid() != os.getpid() and p.pid not in parents]
            for child in children:
                child.kill()
            killed.extend(children)

    data = driver.dataset(100_000)  # a child that is reported at its first example has many left
    report = dk.sweep(onnx_model, data, driver.SPACE, store=tmp_path / "s", launches=2, progress=kill)
    failed = [r for r in report.rows if r.status == "failed"]
    assert killed
    assert failed
    assert all(r.failure.error == "CandidateCrash" and "SIGKILL" in r.failure.cause for r in failed)
    again = dk.sweep(onnx_model, data, driver.SPACE, store=tmp_path / "s", launches=2, progress=lambda _p: None)
    assert [r.status for r in again.rows] == ["measured"] * 3


def busy_children():
    """Children of the supervisor's parents."""
    everybody = psutil.Process().children(recursive=True)
    parents = {p.ppid() for p in everybody}
    return [p for p in everybody if p.ppid() != os.getpid() and p.pid not in parents]


@pytest.mark.long
@pytest.mark.parametrize(
    ("phase", "stage", "children"),
    [("accuracy", ("evaluating int8 dynamic", " of "), 1), ("latency", ("round 2",), 4)],
    ids=["accuracy", "latency"],
)
def test_stopped_children_are_rows_that_the_next_sweep_tries_again(
    phase, stage, children, onnx_model, tmp_path, monkeypatch
):
    monkeypatch.setattr("deploykit.sandbox.watching.STILL_S", 0.5)
    stopped, threads, lost = [], [], []

    def stop_one():
        # All sessions of a launch are open. One that was just done when it was stopped is closed without a word: then
        # one of the next launch is stopped.
        while not lost and wait_until(lambda: lost or len(busy_children()) >= children):
            found = busy_children()
            for child in found if phase == "accuracy" else found[-1:]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(signal.SIGSTOP)
                    stopped.append(child)
            if phase == "accuracy":
                return
            wait_until(lambda: lost or not (stopped and stopped[-1].is_running()))

    def stop(progress):
        lost.extend([True] * bool(progress.failed or progress.phase == "done"))
        if not threads and progress.phase == phase and all(word in progress.doing for word in stage):
            threads.append(threading.Thread(target=stop_one))
            threads[0].start()
            if phase == "accuracy":  # the child that has told this is not done before it is stopped
                threads[0].join()

    data = driver.dataset(100_000 if phase == "accuracy" else 400)
    report = dk.sweep(onnx_model, data, driver.SPACE, store=tmp_path / "s", launches=3, progress=stop)
    threads[0].join()
    assert stopped
    failed = [r for r in report.rows if r.status == "failed"]
    assert failed
    assert all(r.failure.error == "ProcessLost" and "SIGSTOP" in r.failure.cause for r in failed)
    again = dk.sweep(onnx_model, data, driver.SPACE, store=tmp_path / "s", launches=3, progress=lambda _p: None)
    assert [r.status for r in again.rows] == ["measured"] * 3


def test_two_drivers_on_one_store(model_path, tmp_path):
    """One of them works; the other one is refused with the reason, and every piece of work is done once."""
    both = [start(tmp_path, model=model_path, store=str(tmp_path / "s")) for _ in range(2)]
    ended = [process.communicate(timeout=120) for process in both]
    assert [p.returncode for p in both] == [0, 0], [e for _, e in ended]
    found = sorted((json.loads(out) for out, _ in ended), key=lambda f: "error" in f)
    assert found[0]["statuses"] == ["measured"] * 3
    assert found[1]["error"] == "StoreError"
    assert "Another sweep is running" in found[1]["text"]
    assert found[0]["reused"] == 0
    assert sum(committed(tmp_path / "s")) == found[0]["total"]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_data_and_what_children_computed_of_them_are_for_the_owner_only(swept):
    store = swept[0]
    private = [store / "data", store / "outputs", store / "logs"]
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in private} == {"data": 0o700, "outputs": 0o700, "logs": 0o700}
    files = [p for folder in private for p in folder.rglob("*") if p.is_file()]
    assert {".npy", ".json"} <= {p.suffix for p in files}
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_the_data_of_somebody_else(swept, tmp_path):
    copied = shutil.copytree(swept[0], tmp_path / "s")
    report = dk.Report.open(copied)
    (copied / "data").chmod(0)
    try:
        with pytest.raises(StoreError, match="can be read by their owner only"):
            _ = report.data
    finally:
        (copied / "data").chmod(0o700)


@pytest.mark.long
@pytest.mark.parametrize("fill", [":", "build: int8", "latency: timing all 3 models, round 2"])
def test_a_full_disk_ends_the_sweep_and_keeps_what_was_committed(fill, model_path, tmp_path):
    """The store is on a small file system of its own, which is filled in the middle of the work."""
    store = tmp_path / "store"
    store.mkdir()
    shell = f'mount -t tmpfs -o size=4m none "{store}" && exec "$@"'
    found = run(
        tmp_path, "unshare", "--map-root-user", "--mount", "sh", "-c", shell, "sh",
        model=model_path, store=str(store), fill=fill,
    )  # fmt: skip
    assert found["error"] == "StoreError"
    assert "full" in found["text"]
    assert "Remedy: free some space" in found["text"]
    assert found["again"]["statuses"] == ["measured"] * 3
    assert fill == ":" or found["again"]["reused"] >= 3


@pytest.mark.parametrize("size", ["8k", "96k", "160k", "256k"])
def test_a_disk_without_room_for_the_data_is_told_as_such(size, model_path, tmp_path):
    """Too small for the database, for the data, for the log of the database, or for what is built."""
    store = tmp_path / "store"
    store.mkdir()
    shell = f'mount -t tmpfs -o size={size} none "{store}" && "$@" && ls -R "{store}" >&2'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", shell, "sh"]
    process = start(tmp_path, *command, model=model_path, store=str(store))
    out, err = process.communicate(timeout=120)
    found = json.loads(out)
    assert found["error"] == "StoreError"
    assert f"disk of the store {store} is full" in found["text"] or f"disk of the folder {store}" in found["text"]
    assert "Remedy: free some space" in found["text"]
    assert ".tmp" not in err


def test_a_read_only_store_is_read_and_refuses_sweeps(model_path, swept, tmp_path):
    """A copy that no process has open: the files SQLite would need beside the database are not there."""
    copied = tmp_path.with_name(f"{tmp_path.name}-copy")
    shutil.copytree(swept[0], copied)
    Store(copied)  # puts SQLite's log into the database
    shell = f'mount --bind "{copied}" "{tmp_path}" && mount -o remount,ro,bind "{tmp_path}" && exec "$@"'
    found = run(
        tmp_path, "unshare", "--map-root-user", "--mount", "sh", "-c", shell, "sh",
        model=model_path, store=str(tmp_path), read=True,
    )  # fmt: skip
    assert found["read"] == 3
    assert found["error"] == "StoreError"
    assert "is not writable" in found["text"]


@pytest.mark.long
def test_clocks_may_jump(model_path, tmp_path):
    """Every process of the sweep sees a wall clock that jumps by hours, back and forth, at each look."""
    (tmp_path / "sitecustomize.py").write_text(
        "import itertools, time\n"
        "real, jumps = time.time, itertools.cycle([-36000, 36000, 0, 7200])\n"
        "time.time = lambda: real() + next(jumps)\n"
        "time.time_ns = lambda: int(time.time() * 1e9)\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path(dk.__file__).parents[1])])
    found = run(tmp_path, model=model_path, store=str(tmp_path / "s"), environment={"PYTHONPATH": paths})
    assert found["statuses"] == ["measured"] * 3
    again = run(tmp_path, model=model_path, store=str(tmp_path / "s"), environment={"PYTHONPATH": paths})
    assert again["reused"] == again["total"]
