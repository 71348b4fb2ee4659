"""What can be tuned on a machine."""

import pytest

from deploykit.core.errors import SettingError
from deploykit.core.settings.serving import ServingSettings
from deploykit.serving.tuning.grid import TuningGrid, TuningPoint


@pytest.mark.parametrize(("cores", "values"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))])
def test_workers_and_threads_are_powers_of_two_up_to_the_cores(cores, values):
    grid = TuningGrid.of(["onnxruntime"], [1, 8, 32], cores)
    assert (grid.workers, grid.threads, grid.readers) == (values, values, (1,))


def test_batches_are_no_larger_than_the_connections():
    assert TuningGrid.of(["onnxruntime"], [1, 8], 2).largest_batch == (1, 2, 4, 8)
    assert TuningGrid.of(["onnxruntime"], [6], 2).largest_batch == (1, 2, 4, 6)
    assert TuningGrid.of(["onnxruntime"], [100], 2).largest_batch == (1, 2, 4, 8, 16, 32)
    assert TuningGrid.of(["onnxruntime"], [100], 2, joins=False).largest_batch == (1,)


def test_readers_matter_where_requests_are_long():
    assert TuningGrid.of(["onnxruntime"], [1], 4, long_requests=True).readers == (1, 2, 4)


def test_all_points_are_there_once():
    grid = TuningGrid.of(["onnxruntime", "litert"], [32, 1, 8], 2, largest_batch=[8, 1])
    points = list(grid.points())
    assert len(points) == len(set(points)) == grid.size == 2 * 2 * 2 * 2 * 3
    assert points[0] == TuningPoint("onnxruntime", ServingSettings(1, 1, 1, 1), 1)
    assert points[-1] == TuningPoint("litert", ServingSettings(2, 2, 8, 1), 32)


@pytest.mark.parametrize(
    ("largest", "connections", "same"), [(32, 1, 1), (32, 8, 8), (32, 5, 8), (4, 8, 4), (32, 32, 32)]
)
def test_a_batch_larger_than_the_connections_is_no_other_point(largest, connections, same):
    grid = TuningGrid.of(["onnxruntime"], [1, 5, 8, 32], 1)
    point = TuningPoint("onnxruntime", ServingSettings(1, 1, largest, 1), connections)
    assert grid.same(point) == TuningPoint("onnxruntime", ServingSettings(1, 1, same, 1), connections)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"concurrency": []}, r"concurrency must be a list of whole numbers, got \[\]"),
        ({"concurrency": "8"}, "concurrency must be a list of whole numbers, got '8'"),
        ({"concurrency": [0]}, "concurrency must be between 1 and 1024, got 0"),
        ({"concurrency": [1.5]}, r"concurrency must be a whole number, got 1\.5"),
        ({"workers": [0]}, "workers must be between 1 and 256, got 0"),
        ({"readers": 2}, "readers must be a list of whole numbers, got 2"),
    ],
)
def test_axes_that_cannot_be_are_refused(axes, message):
    with pytest.raises(SettingError, match=message):
        TuningGrid.of(["onnxruntime"], axes.pop("concurrency", [8]), 2, **axes)


def test_it_round_trips_as_json():
    grid = TuningGrid.of(["onnxruntime"], [1, 8], 2)
    assert TuningGrid.from_json(grid.to_json()) == grid
