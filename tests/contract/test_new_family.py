"""A technique brings its family: charts, rows and legend show it by its name and mark, and no list has to know it."""

from dataclasses import replace
from pathlib import Path

import pytest
from deploykit_widgets.actions.commands import Commands
from deploykit_widgets.desk import Desk
from deploykit_widgets.evidence.chart import specification
from deploykit_widgets.rows import rows_of
from deploykit_widgets.sections.tradeoff import TradeoffSection
from deploykit_widgets.space.choice import technique_adapters
from deploykit_widgets.state import State

from deploykit.choosing.goals import Goal
from deploykit.core.candidate import Candidate, Recipe, Step, Target
from deploykit.core.errors import SettingError
from deploykit.core.result import Interval, Latency, Measurement, Result, Score
from deploykit.reporting import families
from deploykit.reporting.evidence.causes import CauseFacts, sparsity
from deploykit.reporting.explain import sentences
from deploykit.reporting.report import Report
from deploykit.reporting.verdict import verdict
from deploykit.reporting.views import tradeoff
from deploykit.testing.transforms import TechniqueConformance
from deploykit.transforms._contract import Family

_ENTRY_POINTS = """[deploykit.transforms]
cluster_layers = shrink_layers:CLUSTER
drop_channels = shrink_layers:CHANNELS
"""
CLUSTER, CHANNELS, MAGNITUDE, INT8 = (
    Step(name) for name in ("cluster_layers", "drop_channels", "prune_magnitude", "quantize_static")
)
RECIPES = {
    "base": (), "gone": (), "cluster": (CLUSTER,), "channels": (CHANNELS,), "magnitude": (MAGNITUDE,), "int8": (INT8,),
    "both": (CLUSTER, INT8),
}  # fmt: skip
FACTS = {"baseline": "base", "metric": "accuracy", "relative": False, "higher_is_better": True}


@pytest.fixture(autouse=True)
def installed(install):
    install(Path(__file__).parent / "example" / "shrink_layers.py", _ENTRY_POINTS)


class TestItsConformance(TechniqueConformance):
    @pytest.fixture(params=["cluster_layers", "drop_channels"])
    def name(self, request):
        return request.param


def row(key, speed=1.0):
    none = Interval(0.0, 0.0, 0.0)
    claim = "baseline" if key == "base" else "same"
    p50 = Interval(0.1, 0.09, 0.11)
    latency = Latency(p50, 0.1, 0.1, Interval(speed, 0.99, 1.01), None, 0.1, 20, 4000, 0.04, (), claim)
    measured = Measurement((Score("accuracy", 0.9, none, none, 4000),), latency, 449_000, 371_000)
    recipe = Recipe(RECIPES[key])
    family = "retired" if key == "gone" else families.of_recipe(recipe)  # of a technique that was uninstalled
    return Result(key, Candidate(recipe, Target("onnxruntime")), "measured", key, family, "onnx", measurement=measured)


ORDER = {
    "original": "circle", "quantize": "square", "cluster": "triangle-left", "prune": "triangle-up",
    "cluster + quantize": "diamond", "retired": "cross",
}  # fmt: skip


def test_its_name_and_order_and_mark_are_everywhere(tmp_path):
    report = Report(tmp_path, tuple(row(key) for key in RECIPES), FACTS)
    shown = {r["family"]: r["mark"] for r in rows_of(report).values()}
    assert shown == ORDER

    state, desk = State(tmp_path), Desk(lambda error: pytest.fail(str(error)))
    section = TradeoffSection(Commands(state, desk))
    state.change(report=report)
    legend = section.value()["families"]
    desk.close()
    assert legend == [{"name": name, "mark": mark} for name, mark in ORDER.items()]

    order = [t.name for t in technique_adapters()]
    assert order.index("quantize_static") < order.index("cluster_layers") < order.index("drop_channels")


def test_the_charts_draw_its_mark(tmp_path):
    report = Report(tmp_path, tuple(row(key) for key in RECIPES), FACTS)
    spec = report.chart().to_dict()
    scales = [found for found in _shapes(spec) if found.get("field") == "family"]
    assert [(s["scale"]["domain"], s["scale"]["range"]) for s in scales] == [(list(ORDER), list(ORDER.values()))]
    assert {p["family"] for p in tradeoff.points(report.rows, "base")} == set(ORDER)
    # The browser's chart takes the mark that each row has.
    marks = [s for s in _shapes(specification()) if s.get("field") == "mark"]
    assert len(marks) == 2
    assert all(s["scale"] is None for s in marks)


def _shapes(spec):
    if isinstance(spec, dict):
        if isinstance(shape := spec.get("encoding", {}).get("shape"), dict):
            yield shape
        for part in spec.values():
            yield from _shapes(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from _shapes(part)


@pytest.mark.parametrize(("key", "zeros"), [("magnitude", True), ("channels", False)])
def test_zeros_are_a_matter_of_effects_not_of_the_family(key, zeros):
    found = row(key)
    assert found.family == "prune"
    said = verdict(found, Goal("latency", 0.01), relative=False)
    assert (sparsity(CauseFacts(found)) is not None) == zeros
    assert ("zeros" in " ".join(sentences(found, None, said, relative=False))) == zeros
    assert ("Smaller when compressed" in str(said)) == zeros


def test_a_technique_that_was_uninstalled_is_reported_all_the_same():
    found = replace(row("int8"), candidate=Candidate(Recipe((Step("retired"),)), Target("onnxruntime")))
    said = verdict(found, Goal("latency", 0.01), relative=False)
    assert "449 kB, 371 kB compressed" in str(said)
    assert not any("zeros" in line for line in sentences(found, None, said, relative=False))


@pytest.mark.parametrize("name", ["", "original", "a + b"])
def test_a_name_that_rows_use_otherwise_is_refused(name):
    with pytest.raises(SettingError, match="cannot be called"):
        Family(name, "square", 1)


def test_a_mark_that_charts_do_not_have_is_refused():
    with pytest.raises(SettingError, match=r"'star'.*triangle-left"):
        Family("cluster", "star", 1)
