"""The store: what is committed stays, what is foreign is refused."""

import sqlite3
from contextlib import contextmanager
from multiprocessing import get_context

import pytest

from deploykit.core.candidate import Candidate, Recipe, Target
from deploykit.core.errors import StoreError
from deploykit.core.result import Result
from deploykit.storage.store import Store, locked


def row(key):
    return Result(key, Candidate(Recipe(), Target("litert")), "pending", "original", "original")


def test_everything_comes_back(tmp_path):
    with_all = Store(tmp_path / "s", create=True)
    with_all.put_record("step", "a", {"path": "x"})
    with_all.put_launch("series", 0, {"n": 1})
    with_all.put_sweep("context", {"baseline": "k"})
    with_all.put_row("context", 1, row("late"))
    with_all.put_row("context", 0, row("early"))
    again = Store(tmp_path / "s")
    assert again.record("step", "a") == {"path": "x"}
    assert again.record("step", "b") is None
    assert again.launches("series") == {0: {"n": 1}}
    assert again.sweep() == ("context", {"baseline": "k"})
    assert [r.key for r in again.rows("context")] == ["early", "late"]


def test_a_store_from_a_newer_version_is_refused(tmp_path):
    Store(tmp_path / "s", create=True)
    with sqlite3.connect(tmp_path / "s" / "store.sqlite") as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    db.close()
    with pytest.raises(StoreError, match=r"schema 99.*Remedy: upgrade deploykit"):
        Store(tmp_path / "s")


def test_no_store(tmp_path):
    with pytest.raises(StoreError, match="No store at"):
        Store(tmp_path / "Nothing")
    assert not (tmp_path / "Nothing").exists()


def test_a_file_where_the_store_should_be(tmp_path):
    (tmp_path / "s").write_text("hello")
    with pytest.raises(StoreError, match="is a file"):
        Store(tmp_path / "s", create=True)


def test_another_database(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="not a deploykit store"):
        Store(tmp_path / "s")


def test_one_writer_at_a_time(tmp_path):
    one, two = Store(tmp_path / "s", create=True), Store(tmp_path / "s")
    with one.writer(), pytest.raises(StoreError, match="Another sweep"), two.writer():
        pass
    with two.writer():
        pass


def test_keep_replaces_a_folder(tmp_path):
    store = Store(tmp_path / "s", create=True)
    for text in ("old", "new"):
        temporary = store.path / "steps" / "x.tmp"
        temporary.mkdir()
        (temporary / "f").write_text(text)
        store.keep(temporary, store.path / "steps" / "x")
    assert (store.path / "steps" / "x" / "f").read_text() == "new"
    assert not (store.path / "steps" / "x.tmp").exists()


def make_stores(folder, count, barrier, found):
    """In a process: make each store at the moment at which the others make it."""
    for number in range(count):
        barrier.wait()
        try:
            Store(folder / str(number), create=True)
            found.put("")
        except StoreError as error:
            found.put(str(error))


def test_many_processes_make_one_store_at_once(tmp_path):
    """SQLite refuses a process that meets the switch to its log, without waiting: no process may meet it."""
    spawned, rounds, processes = get_context("spawn"), 40, 4
    barrier, found = spawned.Barrier(processes), spawned.Queue()
    makers = [
        spawned.Process(target=make_stores, args=(tmp_path, rounds, barrier, found), daemon=True)
        for _ in range(processes)
    ]
    for maker in makers:
        maker.start()
    assert {found.get(timeout=60) for _ in range(rounds * processes)} == {""}
    for maker in makers:
        maker.join()
        maker.close()
    assert list(tmp_path.glob("*/*.tmp*")) == []


def test_a_store_that_was_cut_off_while_it_was_made_is_made_again(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.sqlite").touch()
    (tmp_path / "s" / "store.sqlite.17.tmp").write_bytes(b"half")
    with Store(tmp_path / "s", create=True).writer() as store:
        store.put_record("step", "a", {"path": "x"})
    assert Store(tmp_path / "s").record("step", "a") == {"path": "x"}
    assert not (tmp_path / "s" / "store.sqlite.17.tmp").exists()


def hold_the_lock(folder, ready, go):
    """In a process: hold the lock as one that is about to make the file, then make it."""
    with locked(folder):
        ready.set()
        go.wait(60)
    Store(folder, create=True)


def test_a_slow_maker_is_waited_for(tmp_path, monkeypatch):
    """The lock is refused after 0.2 seconds: a maker may take longer."""
    spawned = get_context("spawn")
    ready, go = spawned.Event(), spawned.Event()
    maker = spawned.Process(target=hold_the_lock, args=(tmp_path, ready, go), daemon=True)
    maker.start()
    assert ready.wait(60)
    refused = []

    @contextmanager
    def seen(folder):
        try:
            with locked(folder):
                yield
        except StoreError as error:
            refused.append(error)
            go.set()
            raise

    monkeypatch.setattr("deploykit.storage.store.locked", seen)
    assert Store(tmp_path, create=True).record("step", "a") is None
    assert refused
    maker.join()
    maker.close()


def test_a_lock_that_cannot_be_had_is_said_at_once(tmp_path, monkeypatch):
    asked = []

    @contextmanager
    def denied(folder):
        asked.append(folder)
        raise StoreError(f"{folder} cannot be used.") from PermissionError("denied")
        yield

    monkeypatch.setattr("deploykit.storage.store.locked", denied)
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path, create=True)
    assert len(asked) == 1
