"""Rows of candidates as stores keep them."""

from deploykit.core.candidate import Candidate, Recipe, Target
from deploykit.core.result import Result
from deploykit.core.serial import dump, parse

_ROW = Result("k", Candidate(Recipe(), Target("onnxruntime")), "pending", "original", "original")


def test_machines_that_were_lost_are_read_from_rows_of_older_versions():
    stored = {**parse(dump(_ROW)), "notes": {"lost_workers": ["one: gone"], "onnxruntime": {"ops": 3}}}
    del stored["lost_workers"], stored["compiled"]
    row = Result.from_json(stored)
    assert row.lost_workers == ("one: gone",)
    assert row.notes == {"onnxruntime": {"ops": 3}}
    assert Result.from_json(row.to_json()) == row
