"""Rows of large sweeps are read and decoded when they are looked at."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploykit.core.candidate import Candidate, Recipe, Target
from deploykit.core.errors import StoreError
from deploykit.core.result import Result
from deploykit.core.serial import dump
from deploykit.storage.rows import AT_ONCE, Rows
from deploykit.storage.store import Store

COUNT = 2 * AT_ONCE + 500


def result(key, label="label"):
    return Result(key, Candidate(Recipe(), Target("onnxruntime")), "measured", label, "original")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    found = Store(tmp_path_factory.mktemp("rows"), create=True)
    keys = [f"{i * 7919 % 100_003:06}" for i in range(COUNT)]  # their order is not that of the places
    values = [("context", key, place, dump(result(key))) for place, key in enumerate(keys)]
    with found._database.connection() as database:
        database.execute("BEGIN")
        database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", values)
        database.execute("COMMIT")
    return found, keys


@pytest.fixture
def rows(store, monkeypatch):
    found = store[0].rows("context")
    read, plain = [], found._read
    monkeypatch.setattr(found, "_read", lambda keys: read.append(len(keys)) or plain(keys))
    return found, store[1], read


def test_opening_decodes_nothing_and_reads_the_first(rows):
    found, keys, read = rows
    assert len(found) == COUNT
    assert found.keys == tuple(keys)
    assert found._decoded == {}
    assert len(found._packed) == AT_ONCE
    assert found[3].key == keys[3]
    assert found.get(keys[5]) == result(keys[5])
    assert found.get("no such key") is None
    assert set(found._decoded) == {keys[3], keys[5]}
    assert read == []


def test_several_threads_read_each_row_once():
    keys = [str(i) for i in range(300)]
    left = {key: dump(result(key)) for key in keys}
    found = Rows(keys, lambda some: {k: left.pop(k) for k in some if k in left})
    together = threading.Barrier(4)

    def look():
        together.wait()
        return [row.key for row in found]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            asked = [threads.submit(look) for _ in range(4)]
            assert [one.result() for one in asked] == [keys] * 4
    finally:
        sys.setswitchinterval(before)


def test_what_is_looked_at_later_is_read_with_its_neighbors(rows):
    found, keys, read = rows
    assert found[-1] is found.get(keys[-1])
    assert read == [500]
    assert len(found._decoded) == 1
    assert [row.key for row in found] == keys
    assert read == [500, AT_ONCE]
    assert found[1:5:2] == (found[1], found[3])
    with pytest.raises(IndexError):
        found[COUNT]


def test_the_order_is_read_from_an_index(store):
    query = "EXPLAIN QUERY PLAN SELECT key FROM rows WHERE context = ? ORDER BY place, key"
    ((*_, how),) = store[0]._all(query, ("context",))
    assert "COVERING INDEX rows_place" in how


def test_reports_up_to_a_thousand_rows_do_not_change_with_the_store(tmp_path):
    store = Store(tmp_path, create=True)
    for place in range(3):
        store.put_row("context", place, result(f"{place}"))
    found = store.rows("context")
    store.put_row("context", 1, result("1", "another"))
    assert [row.label for row in found] == ["label"] * 3


def test_rows_are_equal_when_they_hold_the_same(store):
    first, second = (store[0].rows("context") for _ in range(2))
    assert first == second
    assert first[:2] == tuple(Rows.of(first[:2]))
    assert Rows.of(first[:2]) == first[:2]
    assert first != Rows.of(first[:2])


def test_a_row_that_is_gone_is_named(tmp_path):
    found = Rows(["a", "b"], lambda keys: {"a": dump(result("a"))} if "a" in keys else {})
    assert found[0].key == "a"
    with pytest.raises(StoreError, match=r"The row b is no longer in the store.*reopen the report"):
        found[1]


def test_some_of_the_rows_in_their_order():
    rows = Rows.of([result("a"), result("b"), result("c")])
    assert list(rows.only({"c", "a", "nowhere"})) == [rows[0], rows[2]]
