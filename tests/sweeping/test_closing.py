"""What public calls open is closed when they return or raise: nothing waits for the garbage collector."""

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

import deploykit as dk
from deploykit.cli.main import main
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import CandidateError, DeploykitError, GoalMissed, SettingError, StoreError
from deploykit.storage.repair import repair
from deploykit.storage.store import Store
from deploykit.sweeping.state import State

pytestmark = pytest.mark.alone


@pytest.fixture
def connections(monkeypatch):
    """All connections that are opened, kept alive so that only their owners can close them."""
    made = []
    plain = sqlite3.connect

    def connect(*arguments, **options):
        made.append(plain(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", connect)
    yield made
    for connection in made:
        connection.close()


def is_open(connection):
    try:
        return connection.total_changes >= 0
    except sqlite3.ProgrammingError:
        return False


def store_files(store):
    """Files of a store that this process has open."""
    folder = Path("/proc/self/fd")
    found = []
    for number in folder.iterdir() if folder.is_dir() else ():
        try:
            found.append(str(number.readlink()))
        except OSError:
            continue
    return [path for path in found if path.startswith(str(store))]


READING = {
    "open": lambda r: dk.Report.open(r.path),
    "open for a model": lambda r: dk.Report.open(r.path, model=r.model),
    "rows": lambda r: list(dk.Report.open(r.path).rows),
    "best": lambda r: r.best(max_drop=1.0),
    "explain": lambda r: r.best(max_drop=1.0).explain(),
    "why": lambda r: [r.choice_for(row.key).why() for row in r.rows],
    "layers": lambda r: [r.choice_for(row.key).layers() for row in r.rows if row.measurement.profile],
    "verdict": lambda r: r.best(max_drop=1.0).verdict(),
    "flips": lambda r: r.choice_for(r.rows[1].key).flips(),
    "to_frame": lambda r: r.to_frame(),
    "to_html": lambda r: r.to_html(),
    "str": str,
    "sensitivity_table": lambda r: r.sensitivity_table(),
    "clean": lambda r: dk.clean(r.path),
    "repair": lambda r: dk.clean(r.path, repair=True),
    "report": lambda r: main(["report", str(r.path)]),
    "explain on the command line": lambda r: main(["explain", str(r.path)]),
}
#: Calls that raise, with what they raise.
FAILING = {
    "no such sweep": (StoreError, lambda r: dk.Report.open(r.path, context="another")),
    "another model": (StoreError, lambda r: dk.Report.open(r.path, data=(r.data.sample(40), [0] * 40))),
    "no sensitivity": (StoreError, lambda r: r.sensitivity()),
    "no layers": (CandidateError, lambda r: r.choice_for(r.baseline).layers()),
    "no such candidate": (SettingError, lambda r: r.choice_for("nothing")),
    "goal missed": (GoalMissed, lambda r: r.best(max_drop=0.0).require(min_speedup=1e9)),
}


@pytest.fixture(scope="module")
def report(swept, tmp_path_factory):
    folder = shutil.copytree(swept[0], tmp_path_factory.mktemp("closing") / "s")
    return dk.Report.open(folder)


@pytest.mark.parametrize("name", READING)
def test_reading(name, report, connections):
    result = READING[name](report)
    assert not any(map(is_open, connections))
    assert not [path for path in store_files(report.path) if "sqlite" in path or path.endswith(".lock")]
    del result


@pytest.mark.parametrize("name", FAILING)
def test_reading_that_fails(name, report, connections):
    expected, call = FAILING[name]
    with pytest.raises(expected):
        call(report)
    assert not any(map(is_open, connections))
    assert not [path for path in store_files(report.path) if "sqlite" in path]


def foreign(folder):
    folder.mkdir()
    (folder / "store.sqlite").write_bytes(b"not a database" * 100)


def empty(folder):
    folder.mkdir()
    sqlite3.connect(folder / "store.sqlite").close()
    (folder / "store.sqlite").touch()


def newer(folder):
    Store(folder, create=True)
    with Store(folder)._database.connection() as database:
        database.execute("UPDATE meta SET value = '99'")


@pytest.mark.parametrize("make", [foreign, empty, newer])
@pytest.mark.parametrize("call", [Store, dk.Report.open, repair])
def test_stores_that_cannot_be_opened(make, call, tmp_path, connections):
    make(tmp_path / "s")
    with pytest.raises(StoreError):
        call(tmp_path / "s")
    assert connections
    assert not any(map(is_open, connections))


def test_planning_sweeping_building(onnx_model, images, small_space, tmp_path, connections):
    store = tmp_path / "s"
    dk.plan(onnx_model, images, small_space, store=store)
    dk.sweep(onnx_model, images, small_space, store=store, launches=2, progress=lambda _p: None)
    dk.plan(onnx_model, images, small_space, store=store)
    dk.build(onnx_model, Step("quantize_dynamic"), images, store=tmp_path / "built")
    with pytest.raises(SettingError):
        dk.sensitivity(onnx_model, images, "no such technique", store=store)
    assert connections
    assert not any(map(is_open, connections))
    assert not store_files(store)


def test_a_sweep_that_is_read_while_it_runs(onnx_model, images, small_space, tmp_path, connections):
    handles, seen = [], []

    def look(progress):
        if handles and progress.phase == "accuracy":
            seen.append(len(handles[0].report.rows))

    handles.append(dk.start_sweep(onnx_model, images, small_space, store=tmp_path, launches=2, progress=look))
    assert handles[0].wait().finished
    assert seen
    assert handles[0].report.finished  # the store is opened once more, and closed
    assert not any(map(is_open, connections))


def test_a_sweep_that_never_begins(onnx_model, images, small_space, tmp_path, connections, monkeypatch):
    def fails(*_arguments):
        raise CandidateError("It fails before it begins.")

    monkeypatch.setattr(State, "__init__", fails)
    with pytest.raises(CandidateError, match="before it begins"):
        dk.start_sweep(onnx_model, images, small_space, store=tmp_path)
    with pytest.raises(CandidateError, match="before it begins"):
        dk.start_sensitivity(onnx_model, images, store=tmp_path)
    assert connections
    assert not any(map(is_open, connections))


def test_a_sweep_that_fails_in_the_middle(onnx_model, images, small_space, tmp_path, connections):
    def fails(progress):
        if progress.phase == "accuracy":
            raise RuntimeError("The bar is broken.")

    with pytest.raises(RuntimeError, match="bar is broken"):
        dk.sweep(onnx_model, images, small_space, store=tmp_path / "s", launches=2, progress=fails)
    with Store(tmp_path / "s").writer(), pytest.raises(DeploykitError, match="Another sweep"):
        dk.sweep(onnx_model, images, small_space, store=tmp_path / "s", progress=lambda _p: None)
    assert not any(map(is_open, connections))
    assert not store_files(tmp_path / "s")


def test_one_connection_for_a_block_of_any_threads(tmp_path, connections):
    store = Store(tmp_path / "s", create=True)
    connections.clear()
    with store, store:
        store.put_record("step", "a", {"path": "x"})
        threads = [threading.Thread(target=store.record, args=("step", "a")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(connections) == 1
        assert is_open(connections[0])
    assert not is_open(connections[0])
    assert store.record("step", "a") == {"path": "x"}
    assert len(connections) == 2


def test_the_command_line(tmp_path, report, connections, capsys):
    """Verbs run in one process, and most of them fail."""
    space = tmp_path / "space.json"
    dk.Space([Recipe()], [Target("onnxruntime")]).save(space)
    for arguments in (
        ["report", report.path, "--json"],
        ["report", tmp_path / "nothing"],
        ["clean", tmp_path / "nothing"],
        ["export", report.path, "--out", tmp_path / "out", "--candidate", "nothing"],
        ["explain", report.path, "--candidate", "nothing"],
        ["sweep", report.model.path, "--data", tmp_path / "no.npz", "--space", space, "--store", tmp_path / "s"],
    ):
        main([str(a) for a in arguments])
    capsys.readouterr()
    assert not any(map(is_open, connections))
