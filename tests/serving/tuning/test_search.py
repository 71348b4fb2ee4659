"""The search finds what measuring everything would find, in a fifth of the measurements."""

import json
import random
from pathlib import Path

import pytest

from deploykit.core.settings.serving import ServingSettings
from deploykit.serving.tuning.grid import TuningGrid, TuningPoint
from deploykit.serving.tuning.search import FEWEST, Seen, budget_of, order, search
from tests.serving.tuning.machine import Machine

RECORDED = sorted(Path(__file__).parent.glob("recorded/*.json"))


def start(grid):
    return TuningPoint(grid.sources[0], ServingSettings(1, 1, 8, 1), grid.concurrency[-1])


def shortfall(grid, truth, seen, limit_ms):
    """By how much the best that was seen is below the best there is, as a share; infinite if its p99 does not hold."""
    best = truth(order({point: truth(point) for point in grid.points()}, limit_ms)[0])
    # The best few are measured again before the choice, so that noise does not decide.
    again = {point: truth(point) for point in order(seen, limit_ms)[:3]}
    found = again[order(again, limit_ms)[0]]
    if best.p99_ms > limit_ms:
        return 0.0  # nothing holds, and nothing can be missed
    return 1 - found.rate / best.rate if found.p99_ms <= limit_ms else float("inf")


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_it_lands_within_five_percent_on_computed_machines(noise):
    """Of 500 machines; where p99 nearly misses the limit, noise may decide otherwise, hence one in a hundred."""
    missed = []
    for seed in range(500):
        machine, draw = Machine(seed), random.Random(seed)

        def measure(point, machine=machine, draw=draw):
            true = machine(point)
            return Seen(true.rate * (1 + draw.gauss(0, noise)), true.p99_ms * (1 + draw.gauss(0, 2 * noise)))

        grid = machine.grid
        seen = search(grid, machine.limit_ms, measure, budget_of(grid), start(grid))
        assert len(seen) <= max(FEWEST, grid.size / 5)
        if shortfall(grid, machine, seen, machine.limit_ms) > 0.05:
            missed.append(seed)
    assert len(missed) <= 5, missed


#: Of the 44 limits of each recorded grid, those for which the search ends more than 5 % below the best of the table.
#: The search was adjusted with the first two grids in view; the other two were recorded afterwards and show what it
#: does on grids it has not seen. All are of the same model on a machine with two cores on which other work ran.
MISSED = {"grid_1": 0, "grid_2": 0, "grid_3": 13, "grid_4": 23}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_it_misses_no_more_limits_of_recorded_machines_than_before(path):
    """Grids that tests/bench/tune.py measured as a whole; each p99 in them is a limit that it just holds."""
    recorded = json.loads(path.read_text())
    grid = TuningGrid.from_json(recorded["grid"])
    table = {TuningPoint.from_json(one["point"]): Seen(one["rate"], one["p99_ms"]) for one in recorded["points"]}
    assert set(table) == {grid.same(point) for point in grid.points()}

    def truth(point):
        return table[grid.same(point)]

    missed = 0
    for limit in [seen.p99_ms for seen in table.values()]:
        seen = search(grid, limit, truth, budget_of(grid), start(grid))
        assert len(seen) <= grid.size / 5
        missed += shortfall(grid, truth, seen, limit) > 0.05
    assert missed <= MISSED[path.stem]


def test_each_point_is_measured_once_and_in_its_own_form():
    machine = Machine(3)
    asked = []

    def measure(point):
        asked.append(point)
        return machine(point)

    seen = search(machine.grid, machine.limit_ms, measure, budget_of(machine.grid), start(machine.grid))
    assert len(asked) == len(set(asked)) == len(seen)
    assert all(machine.grid.same(point) == point for point in asked)


def test_all_is_measured_where_the_budget_allows_it():
    machine = Machine(3)
    seen = search(machine.grid, machine.limit_ms, machine, machine.grid.size, start(machine.grid))
    assert set(seen) == {machine.grid.same(point) for point in machine.grid.points()}


def test_settings_whose_server_fails_are_left():
    machine = Machine(3)

    def measure(point):
        return None if point.settings.workers > 1 else machine(point)

    seen = search(machine.grid, machine.limit_ms, measure, budget_of(machine.grid), start(machine.grid))
    assert any(found is None for found in seen.values())
    assert all(point.settings.workers == 1 for point in order(seen, machine.limit_ms))


def test_nothing_is_best_where_all_servers_fail():
    grid = TuningGrid.of(["onnxruntime"], [1, 8], 2)
    seen = search(grid, 10.0, lambda point: None, budget_of(grid), start(grid))
    assert seen
    assert order(seen, 10.0) == []


def test_the_lowest_p99_is_best_where_none_holds():
    grid = TuningGrid.of(["onnxruntime"], [8], 1, largest_batch=[1, 8])
    slow, quick = (TuningPoint("onnxruntime", ServingSettings(1, 1, largest, 1), 8) for largest in (1, 8))
    assert order({slow: Seen(900.0, 30.0), quick: Seen(500.0, 20.0)}, 10.0) == [quick, slow]
    assert order({slow: Seen(900.0, 30.0), quick: Seen(500.0, 20.0)}, 25.0) == [quick, slow]
    assert order({slow: Seen(900.0, 30.0), quick: Seen(500.0, 20.0)}, 40.0) == [slow, quick]
    assert grid.size == 2


def test_a_small_grid_is_measured_more_than_a_fifth():
    assert budget_of(TuningGrid.of(["onnxruntime"], [8], 1)) == 4
    assert budget_of(TuningGrid.of(["onnxruntime"], [1, 8], 2)) == FEWEST
    assert budget_of(TuningGrid.of(["onnxruntime"], [1, 8, 32], 2)) == 14
    assert budget_of(TuningGrid.of(["onnxruntime"], [1, 8, 32], 2), 1.0) == 72
