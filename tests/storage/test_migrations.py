"""Stores and artifacts of another version: brought up to date in one step, or refused with the remedy."""

import hashlib
import json
import os
import stat

import pytest

from deploykit.artifacts import schema
from deploykit.artifacts.artifact import Artifact
from deploykit.core.errors import ExportError, StoreError
from deploykit.storage import database, migrations
from deploykit.storage.repair import repair
from deploykit.storage.store import Store


@pytest.fixture
def older(tmp_path):
    """A store of today's schema, which is then the older one."""
    store = Store(tmp_path / "s", create=True)
    store.put_record("step", "a", {"path": "x"})
    store.put_record("step", "b", {"path": "y"})
    store.put_launch("series", 0, {"n": 1})
    return tmp_path / "s"


def raised(patch, steps, by=1):
    """Raise the schema, with steps from each version to the next."""
    before = migrations.SCHEMA
    patch.setattr(migrations, "SCHEMA", before + by)
    patch.setattr(migrations, "STEPS", {**migrations.STEPS, **{before + i: step for i, step in steps.items()}})


def rename(connection):
    migrations.rewrite(connection, "records", lambda data: {"file": data["path"]} if data["path"] == "x" else None)


def again(connection):
    migrations.rewrite(connection, "records", lambda data: {**data, "again": True})


def number(folder):
    with Store(folder)._database.connection() as connection:
        return int(connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0])


def test_a_sweep_brings_an_older_store_up_to_date(older, monkeypatch):
    raised(monkeypatch, {0: rename, 1: again}, by=2)
    with pytest.raises(StoreError, match=r"made by an older version.*schema \d.*Remedy: deploykit clean .* --repair"):
        Store(older)
    store = Store(older, create=True)
    assert store.records("step") == {"a": {"file": "x", "again": True}}
    assert store.launches("series") == {0: {"n": 1}}
    assert number(older) == migrations.SCHEMA
    assert Store(older).records("step") == store.records("step")


def test_repair_brings_an_older_store_up_to_date(older, monkeypatch):
    raised(monkeypatch, {0: rename})
    assert repair(older) == ()
    assert Store(older).records("step") == {"a": {"file": "x"}}


def test_a_step_that_fails_changes_nothing(older, monkeypatch):
    def fails(connection):
        again(connection)
        raise StoreError("The step has failed.")

    with monkeypatch.context() as patch:
        raised(patch, {0: rename, 1: fails}, by=2)
        with pytest.raises(StoreError, match="has failed"):
            Store(older, create=True)
    assert Store(older).records("step") == {"a": {"path": "x"}, "b": {"path": "y"}}


def test_nobody_migrates_a_store_that_a_sweep_writes_to(older, monkeypatch):
    with Store(older).writer():
        raised(monkeypatch, {0: rename})
        with pytest.raises(StoreError, match="Another sweep is running"):
            Store(older, create=True)


def test_a_store_that_no_step_starts_from_is_refused(older, monkeypatch):
    raised(monkeypatch, {})
    for create in (False, True):
        with pytest.raises(StoreError, match=r"made by an older version.*cannot bring it up to date.*another store"):
            Store(older, create=create)


def test_a_change_of_the_tables_needs_a_new_schema():
    """Who changes the tables raises SCHEMA, writes a step, and puts the new digest here."""
    digest = hashlib.sha256(" ".join(database.TABLES.split()).encode()).hexdigest()[:16]
    assert digest == "93acefb7106476d3"
    assert all(set(migrations.STEPS) >= set(range(low, migrations.SCHEMA)) for low in migrations.STEPS)


@pytest.mark.parametrize("found", [None, "1", 99])
def test_a_manifest_of_an_unknown_version_is_refused(tmp_path, found):
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": found}))
    with pytest.raises(ExportError, match=r"manifest.json has schema .*Remedy: upgrade"):
        Artifact.open(tmp_path)


def test_an_older_manifest_is_brought_up_to_date_or_refused(tmp_path, monkeypatch):
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": schema.SCHEMA, "version": "0.1", "called": "x"}))
    monkeypatch.setattr(schema, "SCHEMA", schema.SCHEMA + 1)
    with pytest.raises(ExportError, match=r"older version of deploykit \(0\.1\).*Remedy: export the candidate again"):
        Artifact.open(tmp_path)
    steps = {schema.SCHEMA - 1: lambda data: {"name": data["called"], "version": data["version"]}}
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    with pytest.raises(ExportError, match="missing required field `layout`"):  # the name was found
        Artifact.open(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_what_people_gave_is_for_their_eyes_only(tmp_path):
    (tmp_path / "s" / "data").mkdir(parents=True)
    (tmp_path / "s" / "data").chmod(0o755)  # as older versions made it
    store = Store(tmp_path / "s", create=True)
    temporary = store.path / "data" / "x.tmp"
    (temporary / "deep").mkdir(parents=True)
    (temporary / "deep" / "a.npy").write_bytes(b"1")
    store.keep(temporary, store.path / "data" / "x")
    modes = {
        p.relative_to(store.path).as_posix(): stat.S_IMODE(p.stat().st_mode)
        for folder in ("data", "outputs", "logs")
        for p in [store.path / folder, *(store.path / folder).rglob("*")]
    }
    assert modes == {
        "data": 0o700, "data/x": 0o700, "data/x/deep": 0o700, "data/x/deep/a.npy": 0o600,
        "outputs": 0o700, "logs": 0o700,
    }  # fmt: skip
