"""Charts are pictures where they are shown, whatever is made of them."""

import altair as alt

from deploykit.reporting.drawing import shown


def _chart():
    data = alt.Data(values=[{"a": 1, "b": 2}])
    return alt.Chart(data).mark_point().encode(x="a:Q", y="b:Q").properties(description="one point")


def test_a_chart_is_shown_as_a_picture_that_needs_no_network():
    bundle = shown(_chart())._repr_mimebundle_()
    assert set(bundle) == {"image/svg+xml", "text/plain"}
    assert bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/plain"] == "one point"


def test_what_is_made_of_it_is_still_an_altair_chart_and_a_picture():
    chart = shown(_chart()).properties(width=123)
    assert isinstance(chart, alt.Chart)
    assert chart.to_dict()["width"] == 123
    assert "image/svg+xml" in chart._repr_mimebundle_()
    assert type(shown(chart)) is type(chart)
