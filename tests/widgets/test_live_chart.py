import altair as alt
import pytest
import vl_convert
from deploykit_widgets import live_chart
from deploykit_widgets.chart_spec import specification
from deploykit_widgets.live_chart import FRAME, MARKS, PICK, POINTS, LiveChart, color_of, frame, layers_data

from deploykit.reporting import tradeoff


def _point(key, p50_ms, change, **facts):
    return {
        "key": key, "candidate": key, "runtime": "litert", "threads": 1, "family": "quantize", "change": change,
        "change_low": change - 0.2, "change_high": change + 0.2, "p50_ms": p50_ms, "p50_ms_low": 0.9 * p50_ms,
        "p50_ms_high": 1.1 * p50_ms, "cpu_ms": p50_ms, "size_kb": 10.0, "compressed_kb": 5.0, "memory_mb": 0.0,
        "speedup": "×2", "same_runtime": "", "flags": "", "state": "on the front", "is_baseline": False,
        "chosen": False, **facts,
    }  # fmt: skip


BASELINE = _point("base", 1.0, 0.0, is_baseline=True, family="original")
ROWS = [BASELINE, *(_point(f"k{i}", 0.1 * (i + 1), -0.1 * i) for i in range(8))]


def test_the_frame_holds_every_point_the_baseline_zero_and_the_limit():
    found = frame(ROWS, "p50_ms", -1.0)
    assert found["x_low"] < 0.1
    assert found["x_high"] > 1.0
    assert found["y_low"] < -1.0
    assert found["y_high"] > 0.0
    assert found["off"] == []
    assert len(found["ticks"]) >= 3
    assert all(found["x_low"] <= t <= found["x_high"] for t in found["ticks"])


def test_a_broken_candidate_does_not_squash_the_others():
    found = frame([*ROWS, _point("broken", 0.5, -80.0)], "p50_ms", -1.0)
    assert found["off"] == ["broken"]
    assert found["y_low"] > -5
    rows = layers_data([*ROWS, _point("broken", 0.5, -80.0)], "k1", "p50_ms", -1.0, "pp")
    assert "broken" not in {p["key"] for p in rows[POINTS]}


def test_a_baseline_is_never_off_scale():
    far = [_point("base", 1.0, -50.0, is_baseline=True), *ROWS[1:]]
    assert frame(far, "p50_ms", -1.0)["off"] == []


@pytest.mark.parametrize(("low", "high"), [(0.071, 0.098), (0.05, 0.7), (1200.0, 90000.0), (0.0101, 0.0102)])
def test_ticks_are_round_and_few_on_any_span(low, high):
    ticks = live_chart._ticks(low, high)
    assert 1 <= len(ticks) <= 40
    assert all(low <= t <= high for t in ticks)
    assert ticks == sorted(set(ticks))


def test_rows_say_what_is_shown_and_where_the_limit_lies():
    rows = layers_data(ROWS, "k3", "p50_ms", -1.0, "pp")
    assert [p["key"] for p in rows[POINTS] if p["shown"]] == ["k3"]
    assert {m["kind"]: m["text"] for m in rows[MARKS]} == {"baseline": "baseline", "limit": "your limit, −1.0 pp"}
    assert [m["kind"] for m in layers_data(ROWS, "", "p50_ms", None, "%")[MARKS]] == ["baseline"]


def test_points_without_a_value_on_the_axis_are_left_out():
    assert layers_data(ROWS, "", "memory_mb", -1.0, "pp")[POINTS] == []


def test_nothing_measured_gives_a_frame_and_no_points():
    rows = layers_data([], "", "p50_ms", -1.0, "pp")
    assert rows[POINTS] == rows[MARKS] == []
    assert len(rows[FRAME]) == 1


def test_runtimes_have_the_reports_colors_and_unknown_ones_the_last():
    names = live_chart.runtime_names()
    assert [color_of(n) for n in names] == [min(i, len(tradeoff.LIGHT) - 1) for i in range(len(names))]
    assert color_of("from-a-newer-version") <= len(tradeoff.LIGHT) - 1


def test_the_chart_is_drawn_with_its_rows_and_nothing_of_the_candidates_is_code():
    hostile = [*ROWS, _point("evil", 0.3, -0.2, candidate="<script>alert(1)</script>")]
    rows = layers_data(hostile, "k1", "p50_ms", -1.0, "pp")
    spec = specification("latency", "change", rows, bars_across=True).to_dict()
    svg = vl_convert.vegalite_to_svg(spec)
    assert svg.count('aria-roledescription="symbol mark container"') == 0  # marks are silent, the table speaks
    assert "<script" not in svg
    assert "your limit" in svg
    assert "baseline" in svg


def test_altair_s_private_parts_that_the_chart_uses_are_there():
    traits = alt.JupyterChart.class_traits()
    for name in ("_py_to_js_updates", "_vl_selections"):
        assert traits[name].metadata.get("sync"), name
    alt.JupyterChart.enable_offline()
    source = alt.JupyterChart._esm
    script = source if isinstance(source, str) else source._contents
    for part in ("_py_to_js_updates", "namespace", "_vl_selections"):
        assert part in script, part
    assert "esm.sh" not in script, "the chart would be loaded from the network"


@pytest.fixture
def picks():
    return []


@pytest.fixture
def chart(picks):
    rows = layers_data(ROWS, "k1", "p50_ms", -1.0, "pp")
    return LiveChart("latency", "change", rows, picks.append)


def _from_browser(chart, value):
    chart.widget._vl_selections = {PICK: {"value": value, "store": []}}


def test_a_click_on_the_same_point_counts_each_time(chart, picks):
    for _ in range(2):
        _from_browser(chart, {"key": ["k2"], "vlPoint": {}})
    assert picks == ["k2", "k2"]


def test_a_view_that_appears_gets_the_data(chart, picks):
    sent = []
    chart.widget.observe(lambda change: sent.append(change["new"]), names="_py_to_js_updates")
    for _ in range(2):  # a reload, and a second output of the same widget
        _from_browser(chart, {})
    assert picks == []
    assert [{u["name"] for u in updates} for updates in sent] == [{POINTS, FRAME, MARKS}] * 2


def test_new_data_are_sent_once_and_do_not_draw_the_chart_anew(chart):
    sent, drawn = [], []
    chart.widget.observe(lambda change: sent.append(change["new"]), names="_py_to_js_updates")
    chart.widget.observe(drawn.append, names="spec")
    rows = layers_data([*ROWS, _point("new", 0.07, -0.4)], "k1", "p50_ms", -1.0, "pp")
    chart.put(rows)
    chart.put(rows)
    (updates,) = sent
    points = next(u["value"] for u in updates if u["name"] == POINTS)
    assert points[-1]["key"] == "new"
    assert drawn == []


def test_another_axis_draws_the_chart_anew_with_its_rows(chart):
    chart.put(layers_data(ROWS, "k1", "size_kb", -1.0, "pp"))
    chart.title("size", "change", bars_across=False)
    assert chart.widget.spec["datasets"][POINTS][0]["x"] == 10.0
    assert "p50_ms_low" not in str(chart.widget.spec["layer"])
