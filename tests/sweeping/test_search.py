"""Searching a space within a budget."""

import threading

import pytest

import deploykit as dk
from deploykit.core.candidate import Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.core.settings.budget import Budget
from deploykit.core.settings.option import complete
from deploykit.core.settings.options import SweepOptions
from deploykit.planning.planner import make
from deploykit.planning.routes import Routes
from deploykit.sweeping.search import Searcher

pytestmark = [pytest.mark.alone, pytest.mark.long]


@pytest.fixture(scope="module")
def space():
    """Ten candidates: eight static and two dynamic ones."""
    static = [
        Recipe((Step("quantize_static", {"calibration": c, "activations": a, "form": f}),))
        for c in ("minmax", "entropy")
        for a in ("uint8", "int8")
        for f in ("qdq", "qoperator")
    ]
    dynamic = [Recipe((Step("quantize_dynamic", {"per_channel": p}),)) for p in (False, True)]
    return dk.Space([*static, *dynamic], [Target("onnxruntime")])


def _search(model, data, space, store, budget, **options):
    return dk.sweep(
        model, data, space, store=store, search="tpe", budget=budget, launches=0, progress=lambda _p: None, **options
    )


@pytest.mark.parametrize(
    ("value", "seconds", "candidates"),
    [(90, 90, None), ("10 min", 600, None), ("2h", 7200, None), ("40 candidates", None, 40), (None, None, 30)],
)
def test_budgets(value, seconds, candidates):
    assert Budget.of(value) == Budget(seconds, candidates)


@pytest.mark.parametrize("value", ["soon", "-3 min", "0 candidates", "1.5 candidates", "3 parsecs", "1..5 s"])
def test_what_is_no_budget(value):
    with pytest.raises(SettingError, match="cannot parse"):
        Budget.of(value)


def test_unknown_searches_and_a_grid_with_a_budget():
    with pytest.raises(SettingError, match="did you mean 'tpe'"):
        complete(SweepOptions, {"search": "tpee"})
    with pytest.raises(SettingError, match="budget applies only together with search"):
        complete(SweepOptions, {"search": "grid", "budget": "10 min"})


def test_a_search_keeps_its_budget_goes_on_and_ends_with_the_space(onnx_model, images, space, tmp_path):
    first = _search(onnx_model, images, space, tmp_path, "4 candidates")
    assert len(first.rows) == 5  # the original model is not counted
    assert {r.status for r in first.rows} == {"measured"}
    steps = [r.candidate.recipe.steps[0].technique for r in first.rows[1:3]]
    assert sorted(steps) == ["quantize_dynamic", "quantize_static"]  # each kind of recipe is tried at first
    more = _search(onnx_model, images, space, tmp_path, "6 candidates")
    assert {r.key for r in first.rows} < {r.key for r in more.rows}
    assert len(more.rows) == 7
    whole = _search(onnx_model, images, space, tmp_path, "100 candidates")
    assert len(whole.rows) == 11


def test_the_same_search_again_does_nothing_new(onnx_model, images, space, tmp_path):
    _search(onnx_model, images, space, tmp_path, "4 candidates")
    last = []
    dk.sweep(
        onnx_model, images, space, store=tmp_path, search="tpe", budget="4 candidates", launches=0, progress=last.append
    )
    assert last[-1].phase == "done"
    assert last[-1].reused == last[-1].done == last[-1].total


@pytest.mark.parametrize("kind", ["tpe", "nsga2", "random"])
def test_proposals_lie_in_the_space_and_repeat_with_the_seed(kind, onnx_model, images):
    techniques = [Recipe((Step("quantize_static", {"per_channel": p, "calibration": c}),)) for p in (False, True)
                  for c in ("minmax", "percentile")]  # fmt: skip
    plan = make(Routes(onnx_model, images.check(onnx_model), 0), dk.Space(techniques, [Target("onnxruntime")]))
    one, two = (Searcher(plan, kind, "size", None, seed=3) for _ in range(2))
    found = one.ask(3)
    assert found == two.ask(3)
    assert len({c.key for c in found}) == 3
    assert all(one.holds(c) for c in found)
    assert len(one.ask(10)) == 1  # four candidates are all there is
    assert not one.holds(plan.candidates[0].candidate)


def test_numbers_move_between_the_ends_in_steps(onnx_model, images, space):
    del space
    import deploykit.sweeping.search as search
    from deploykit.transforms._contract import TRANSFORMS

    sparsity = next(p for p in TRANSFORMS.get("prune_magnitude").parameters if p.name == "sparsity")
    axis = search._Axis("s", 0, sparsity, (0.3, 0.9))

    class Trial:
        def suggest_float(self, _name, low, high):
            assert (low, high) == (0.3, 0.9)
            return 0.5123

    value = axis.suggest(Trial())
    assert value == pytest.approx(round(0.5123 / sparsity.step) * sparsity.step)
    assert axis.place(0.95) is None
    assert axis.place(0.4) == 0.4


def test_a_cancelled_search_keeps_what_it_has(onnx_model, images, space, tmp_path):
    measured = threading.Event()

    def progress(state):
        if state.phase == "accuracy":
            measured.set()

    handle = dk.start_sweep(
        onnx_model, images, space, store=tmp_path, search="random", budget="10 min", launches=0, progress=progress
    )
    assert measured.wait(60)
    handle.cancel()
    report = handle.wait()
    assert any(r.status == "measured" for r in report.rows) or report.rows[0].measurement is not None
