"""A damaged store is read as far as it goes, says what is missing, and can be repaired."""

import sqlite3
from contextlib import closing

import pytest

from deploykit.core.candidate import Candidate, Recipe, Target
from deploykit.core.errors import StoreError
from deploykit.core.result import Result
from deploykit.core.serial import dump
from deploykit.storage.repair import repair
from deploykit.storage.rows import AT_ONCE
from deploykit.storage.store import Store

BAD = [b"\xff\xfe\x00 not text", b'{"key": "a", "candi', b"", b"[1, 2]", b'{"a": "\xff"}', b"{}"]


def row(key):
    return Result(key, Candidate(Recipe(), Target("litert")), "pending", "original", "original")


def change(folder, query, *values):
    with closing(sqlite3.connect(folder / "store.sqlite")) as db, db:
        db.execute(query, values)


@pytest.fixture
def folder(tmp_path):
    store = Store(tmp_path / "s", create=True)
    with store:
        for key in "abc":
            store.put_record("step", key, {"path": key})
            store.put_row("context", ord(key), row(key))
        for number in range(3):
            store.put_launch("series", number, {"n": number})
        store.put_sweep("older", {"data": "x"})
        store.put_sweep("newer", {"data": "y"})
    return tmp_path / "s"


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_damaged_row_is_left_out_and_named(folder, bad):
    change(folder, "UPDATE rows SET data = ? WHERE key = 'b'", bad)
    rows = Store(folder).rows("context")
    assert [r.key for r in rows] == ["a", "c"]
    assert rows.damaged == ("b",)
    assert len(rows) == 2
    assert rows.get("b") is None
    assert repair(folder) == ("rows b",)
    assert Store(folder).rows("context").damaged == ()
    assert repair(folder) == ()


@pytest.mark.parametrize("bad", BAD[:3], ids=range(3))
def test_damaged_records_launches_and_sweeps_are_as_if_they_were_not_there(folder, bad):
    change(folder, "UPDATE records SET data = ? WHERE key = 'b'", bad)
    change(folder, "UPDATE launches SET data = ? WHERE number = 1", bad)
    change(folder, "UPDATE sweeps SET data = ? WHERE context = 'newer'", bad)
    store = Store(folder)
    assert store.record("step", "b") is None
    assert store.record("step", "a") == {"path": "a"}
    assert set(store.records("step")) == {"a", "c"}
    # The next launch is number 1 again, and must not take the place of a later one that it does not know of.
    assert store.launches("series") == {0: {"n": 0}}
    assert store.sweep() == ("older", {"data": "x"})
    assert store.sweep("newer") is None
    assert list(store.sweeps()) == ["older"]
    assert set(store.damaged) == {"records step b", "launches series 1", "sweeps newer"}
    assert set(repair(folder)) == {"records step b", "launches series 1", "sweeps newer"}
    assert Store(folder).launches("series") == {0: {"n": 0}}


def test_a_damaged_key_does_not_hide_the_others(folder):
    change(folder, "UPDATE rows SET key = CAST(X'62FF' AS TEXT) WHERE key = 'b'")
    change(folder, "UPDATE records SET key = CAST(X'62FF' AS TEXT) WHERE key = 'b'")
    store = Store(folder)
    assert [r.key for r in store.rows("context")] == ["a", "c"]
    assert set(store.records("step")) == {"a", "c"}
    assert len(repair(folder)) == 2
    assert set(store.places("context")) == {"a", "c"}


def test_rows_beyond_the_first_are_checked_when_they_are_read(tmp_path):
    store = Store(tmp_path, create=True)
    count = AT_ONCE + 10
    with store._database.connection() as database:
        values = [("context", f"{i:05}", i, dump(row(f"{i:05}"))) for i in range(count)]
        database.execute("BEGIN")
        database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", values)
        database.execute("COMMIT")
    late = f"{AT_ONCE + 3:05}"
    change(tmp_path, "UPDATE rows SET data = X'FF' WHERE key = ?", late)
    rows = store.rows("context")
    assert rows.damaged == ()
    assert len([r.key for r in rows]) == count - 1
    assert len(rows[AT_ONCE:]) == 9
    assert rows.damaged == (late,)
    assert rows.get(late) is None
    with pytest.raises(StoreError, match=rf"row {late} of the store is damaged.*--repair"):
        rows[AT_ONCE + 3]


def test_pages_that_sqlite_cannot_read_are_left_behind(tmp_path):
    store = Store(tmp_path, create=True)
    with store:
        for i in range(300):
            store.put_row("context", i, row(f"{i:03}"))
            store.put_record("step", f"{i:03}", {"path": "x" * 400})
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = db.execute("PRAGMA page_size").fetchone()[0]
    file = tmp_path / "store.sqlite"
    content = bytearray(file.read_bytes())
    place = content.index(b'"key":"150"') // size * size  # the page with row 150, in the middle of its table
    content[place : place + size] = b"\xff" * size
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"store.sqlite is damaged: .*malformed.*deploykit clean .* --repair"):
        list(Store(tmp_path).rows("context"))
    assert any("rows" in words for words in repair(tmp_path))
    keys = [r.key for r in Store(tmp_path).rows("context")]
    assert "000" in keys
    assert "299" in keys
    assert "150" not in keys
    assert len(keys) > 250
    assert len(Store(tmp_path).records("step")) == 300


def test_what_is_not_a_store_is_not_repaired(tmp_path):
    with pytest.raises(StoreError, match="No store at"):
        repair(tmp_path)
    (tmp_path / "store.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="not a deploykit store"):
        repair(tmp_path)
    assert (tmp_path / "store.sqlite").read_bytes() == b"not a database" * 100


def test_no_repair_while_a_sweep_runs(folder):
    with Store(folder).writer(), pytest.raises(StoreError, match="Another sweep is running"):
        repair(folder)
