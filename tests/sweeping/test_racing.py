"""Racing: only what is confirmed to lose too much is stopped, and the choice stays the same."""

import numpy as np
import onnx
import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.contract import Contract, OutputMeaning
from deploykit.measuring.racing import FIRST, Race, Racer, Stopped, looks, lower_bound

pytestmark = [pytest.mark.alone, pytest.mark.long]


def test_looks_double_and_end_with_all_examples():
    assert looks(500) == [64, 128, 256, 500]
    assert looks(64) == [64]
    assert looks(10) == [10]


def test_the_bound_holds_at_all_looks_together():
    rng = np.random.default_rng(0)
    total, wrong = 2048, 0
    for _ in range(300):
        losses = rng.choice([-1.0, 0.0, 1.0], total, p=[0.02, 0.93, 0.05])
        bounds = [lower_bound(losses[:n], total, k) for k, n in enumerate(looks(total)[:-1], 1)]
        wrong += max(bounds) > 0.03
    assert wrong <= 6  # 1 % of 300, with room for chance


def test_the_bound_closes_in_on_the_loss():
    losses = np.tile([1.0, 0.0, 0.0, 0.0], 1024)
    assert lower_bound(losses, 100_000, 7) > 0.20
    assert lower_bound(losses[:FIRST], 100_000, 1) < 0.0


def test_what_cannot_be_made_up_for_is_certain():
    assert lower_bound(np.ones(90), 100, 1) >= (90 - 10) / 100


def _racer(limit, count=1024, **rival):
    original = np.eye(4)[np.arange(count) % 4]
    contract = Contract((), (OutputMeaning("y", "scores", "scored", "float32"),))
    race = Race("accuracy", "", limit, **rival)
    return lambda: Racer(race, np.arange(count) % 4, original, np.arange(count), contract), original


def test_a_bad_candidate_is_stopped_early_and_a_good_one_never():
    racer, original = _racer(0.01)
    bad = np.roll(original, 1, axis=1)
    stopped = racer().look(bad[:64])
    assert stopped is not None
    assert stopped.examples == 64
    assert stopped.drop == 1.0
    assert stopped.low > 0.01
    good = racer()
    assert all(good.look(part) is None for part in np.split(original, looks(1024)[:-1]))
    assert racer().look(bad[:65]) is None  # between looks nothing is decided


def test_a_rival_that_costs_less_stops_what_it_dominates():
    racer, original = _racer(1.0, rival="cheap", rival_drop=0.1)
    stopped = racer().look(np.roll(original, 1, axis=1)[:512])
    assert stopped is not None
    assert stopped.rival == "cheap"


def test_what_was_stopped_counts_for_a_race_that_would_stop_it_too():
    found = Stopped(64, 0.5, 0.3, "accuracy", 0.4)
    assert Race("accuracy", "", 0.2).stops(found)
    assert not Race("accuracy", "", 0.35).stops(found)
    assert not Race("agreement", "", 0.2).stops(found)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory):
    """A linear model with one huge weight on an input that is always 0, and data it is always right on.

    One scale for all weights rounds the others to 0; one scale for each output leaves most of them alone.
    """
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(8, 4)).astype(np.float32)
    weights[0, 3] = 1e4
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "linear",
        [value("x", 1, ["n", 8])],
        [value("y", 1, ["n", 4])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path_factory.mktemp("fragile") / "linear.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path)
    x = rng.normal(size=(6000, 8)).astype(np.float32)
    x[:, 0] = 0
    return dk.load(path), dk.Dataset.from_arrays(x, (x @ weights).argmax(1))


def _sweep(fragile, store, **options):
    recipes = [Recipe((Step("quantize_dynamic", {"per_channel": p}),)) for p in (False, True)]
    space = dk.Space(recipes, [Target("onnxruntime")])
    return dk.sweep(*fragile, space, store=store, launches=0, max_drop=0.3, progress=lambda _p: None, **options)


def test_racing_stops_only_the_hopeless_and_chooses_the_same(fragile, tmp_path):
    raced, plain = _sweep(fragile, tmp_path / "raced"), _sweep(fragile, tmp_path / "plain", racing=False)
    assert [r.status for r in raced.rows] == ["measured", "stopped", "measured"]
    assert {r.status for r in plain.rows} == {"measured"}
    ruined, whole = raced.rows[1], plain.rows[1]
    assert ruined.measurement.score.examples < whole.measurement.score.examples
    assert ruined.measurement.score.drop.low <= whole.measurement.score.drop.value
    assert "the limit is 30.0 pp" in ruined.stopped
    assert raced.best().key == plain.best().key
    assert raced.best().result.measurement.score.drop.high <= 0.3
    assert raced.rows[2].measurement.score == plain.rows[2].measurement.score


def test_a_wider_limit_evaluates_the_rest_of_what_was_stopped(fragile, tmp_path):
    _sweep(fragile, tmp_path / "s")
    again = _sweep(fragile, tmp_path / "s")
    assert again.rows[1].status == "stopped"
    whole = _sweep(fragile, tmp_path / "s", racing=False)
    assert whole.rows[1].status == "measured"
    assert whole.rows[1].stopped == ""
