"""What a worker leaves in shared memory, as its parent finds it, and what follows for requests."""

import ml_dtypes
import numpy as np
import pytest

from deploykit.serving.batches import Batch, join
from deploykit.serving.faults import PoisonError
from deploykit.serving.health import suspects
from deploykit.serving.health.suspects import Suspects, Wary, suspects_file
from deploykit.serving.health.vitals import Run, Signs, Vitals, digest_of, key_of, vitals_file

KEY = key_of("model", "1")


@pytest.fixture
def sides(tmp_path):
    """The parent's and the worker's side of a file."""
    path = vitals_file(tmp_path / "counters", 0)
    return Signs(path), Vitals(path)


def rows(*values, dtype=np.float32):
    return Batch({"x": np.array([[v, v + 1] for v in values], dtype)}, len(values))


def test_the_parent_sees_what_runs_and_nothing_else(sides):
    signs, vitals = sides
    assert (signs.runs(), signs.longest()) == ([], 0.0)
    vitals.begin(KEY, rows(1))
    with vitals.in_thread(KEY, rows(2)), vitals.in_thread(KEY, rows(3)):
        found = {digest for run in signs.runs() for digest in run.digests}
        assert found == {digest_of(KEY, rows(n)) for n in (1, 2, 3)}
        assert signs.longest() > 0
    vitals.end()
    assert signs.runs() == []


def test_the_parts_of_a_joined_batch_have_the_digests_they_have_alone(sides):
    signs, vitals = sides
    parts = [rows(1), rows(2, 3), rows(4)]
    vitals.begin(KEY, join(parts), parts)
    (run,) = signs.runs()
    assert run.digests == tuple(digest_of(KEY, part) for part in parts)
    assert len(set(run.digests)) == 3
    parts = [rows(n) for n in range(200)]
    vitals.begin(KEY, join(parts), parts)
    (run,) = signs.runs()
    assert run.digests == tuple(digest_of(KEY, part) for part in parts)


@pytest.mark.parametrize(
    "batch",
    [
        rows(1, dtype=np.float16),
        rows(1, dtype=np.bool_),
        rows(1, dtype=ml_dtypes.bfloat16),
        rows(1, dtype=np.complex64),
        Batch({"x": np.array([["grün", b"x"]], object)}, 1),
        Batch({"x": np.zeros((1, 3, 4), np.float32).transpose(0, 2, 1)}, 1),
        Batch({"x": np.zeros((2, 0), np.float32)}, 2),
        Batch({"x": np.zeros((1, 1 << 21))}, 1),
        Batch({f"x{i}": np.zeros((1, 1)) for i in range(20)}, 1),
    ],
    ids=["half", "bool", "bfloat16", "complex", "text", "transposed", "empty", "large", "many"],
)
def test_whatever_is_in_a_batch_it_has_one_digest(sides, batch):
    signs, vitals = sides
    vitals.begin(KEY, batch)
    assert [run.digests for run in signs.runs()] == [(digest_of(KEY, batch),)]
    parts = [batch, batch]
    vitals.begin(KEY, join(parts), parts)
    assert [run.digests for run in signs.runs()] == [(digest_of(KEY, batch),) * 2]


def test_a_digest_stands_for_model_version_and_examples():
    batches = [rows(1), rows(2), rows(1, 2), rows(1, dtype=np.float64)]
    keys = [KEY, key_of("model", "2"), key_of("other", "1")]
    assert len({digest_of(key, batch) for key in keys for batch in batches}) == 12
    assert digest_of(KEY, rows(1)) == digest_of(KEY, rows(1))


def test_the_next_worker_of_a_slot_starts_with_nothing(sides, tmp_path):
    signs, vitals = sides
    vitals.begin(KEY, rows(1))
    vitals.beat_loop()
    path = vitals_file(tmp_path / "counters", 0)
    assert Signs.of(path, signs) is signs
    assert (signs.runs(), signs.loop) == ([], 0)
    path.unlink()
    assert Signs.of(path, signs) is not signs, "temporary files were removed"


def test_no_run_comes_back_once_the_worker_is_doomed(sides):
    _, vitals = sides
    vitals.begin(KEY, rows(1))
    assert not vitals.doom(60.0), "it has not run for so long"
    vitals.end()
    assert not vitals.parked


# -- suspects ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def both(tmp_path):
    """The parent's list, and a worker's view of it."""
    listed = Suspects(suspects_file(tmp_path / "counters"))
    listed.share()
    return listed, Wary(suspects_file(tmp_path / "counters"))


def ran(*batches):
    return Run(1, tuple(digest_of(KEY, batch) for batch in batches))


def test_what_ended_a_worker_alone_is_suspect_once_and_refused_twice(both):
    listed, wary = both
    assert not wary.suspects(KEY, rows(1))
    listed.accuse([ran(rows(1))])
    assert wary.suspects(KEY, rows(1))
    assert not wary.suspects(KEY, rows(2))
    assert not wary.suspects(key_of("other", "1"), rows(1))
    listed.accuse([ran(rows(1))])
    with pytest.raises(PoisonError, match="have ended a worker of the server twice"):
        wary.suspects(KEY, rows(1))


def test_what_shared_a_crash_must_do_it_alone_to_be_refused(both):
    listed, wary = both
    listed.accuse([ran(rows(1), rows(2)), ran(rows(3))])
    assert all(wary.suspects(KEY, rows(n)) for n in (1, 2, 3))
    listed.accuse([ran(rows(1))])
    with pytest.raises(PoisonError):
        wary.suspects(KEY, rows(1))
    assert wary.suspects(KEY, rows(2))


def test_the_list_is_bounded_and_survives_its_file(both, tmp_path, monkeypatch):
    monkeypatch.setattr(suspects, "MOST", 3)
    listed, wary = both
    for n in range(5):
        listed.accuse([ran(rows(n))])
    assert [wary.suspects(KEY, rows(n)) for n in range(5)] == [False, False, True, True, True]
    path = suspects_file(tmp_path / "counters")
    path.unlink()
    listed.share()
    assert Wary(path).suspects(KEY, rows(4))
