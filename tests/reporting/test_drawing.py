"""Charts are pictures where they are shown, whatever is made of them."""

import altair as alt
import nbformat
from nbconvert import HTMLExporter

from deploykit.reporting.views.drawing import MIME_TYPE, shown


def _chart():
    data = alt.Data(values=[{"a": 1, "b": 2}])
    return alt.Chart(data).mark_point().encode(x="a:Q", y="b:Q").properties(description="one point")


def test_a_chart_is_shown_as_a_picture_that_needs_no_network():
    bundle = shown(_chart())._repr_mimebundle_()
    assert set(bundle) == {MIME_TYPE, "image/svg+xml", "text/plain"}
    assert bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/plain"] == "one point"


def test_an_extension_can_draw_it_again_in_any_theme():
    spec = shown(_chart())._repr_mimebundle_()[MIME_TYPE]
    assert spec["data"] == {"values": [{"a": 1, "b": 2}]}  # inside: nothing is left to load
    dark = spec["usermeta"]["deploykit"]["dark"]
    assert all(len(c) == 7 and c[0] == "#" for c in [*dark, *dark.values()])


def test_a_page_made_of_a_notebook_shows_the_picture():
    output = nbformat.v4.new_output("display_data", shown(_chart())._repr_mimebundle_())
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("chart", outputs=[output])])
    nbformat.validate(book)  # papermill writes no notebook that fails here
    page, _ = HTMLExporter().from_notebook_node(book)
    assert "data:image/svg+xml;base64," in page
    assert MIME_TYPE not in page


def test_what_is_made_of_it_is_still_an_altair_chart_and_a_picture():
    chart = shown(_chart()).properties(width=123)
    assert isinstance(chart, alt.Chart)
    assert chart.to_dict()["width"] == 123
    assert "image/svg+xml" in chart._repr_mimebundle_()
    assert type(shown(chart)) is type(chart)
