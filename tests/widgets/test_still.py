"""What a saved notebook keeps of a large sweep."""

import base64
import dataclasses
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from deploykit_widgets import still

from deploykit.reporting.report import Report
from deploykit.reporting.views import tradeoff
from deploykit.storage.rows import Rows
from tests.widgets.sections.test_tradeoff import BASE, FACTS, FAILED, row

ADDRESSES = ("href", "src", "srcset", "action", "data", "poster")


@pytest.fixture(scope="module")
def large():
    """2,000 candidates, the faster the worse; one of them failed."""
    rng = random.Random(0)
    speeds = [rng.uniform(0.3, 6) for _ in range(2000)]
    made = [row(f"c{i}", s, rng.gauss(0.005 * s, 0.01), size=rng.randrange(100, 5000)) for i, s in enumerate(speeds)]
    return Report(Path("none"), Rows.of([BASE, FAILED, *made]), FACTS)


class Read(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ADDRESSES]


def test_two_thousand_candidates_stay_small_and_are_shown_by_every_viewer(large):
    text = still.document(still.Still().results(large, large.best()))
    assert len(text.encode()) < 1_000_000
    page = Read(text)
    assert {"img", "table"} <= set(page.tags)
    assert not {"script", "style", "link", "iframe", "object"} & set(page.tags)
    assert [address.partition(":")[0] for address in page.addresses] == ["data"]
    assert "&lt;img src=x onerror=alert(1)&gt; [failed]" in text
    assert large.best().result.label in text


def test_the_picture_of_very_many_says_what_it_leaves_out_and_keeps_what_counts(large):
    text, shown = still.picture(large, ["c7"])
    said = re.search(r"<p>([\d,]+) of 2,001 points", text)
    assert said is not None
    assert int(said[1].replace(",", "")) <= 300
    points = tradeoff.points(large.rows, large.baseline)
    drawn = still._thinned(large, points, {"c7"})
    assert shown == drawn
    assert len(drawn) == int(said[1])
    assert {"c7", "base", large.best().key} <= drawn
    assert {p["key"] for p in points if p["state"] == "on the front"} <= drawn
    for field in ("p50_ms", "change"):
        seen = [p[field] for p in points if p["key"] in drawn]
        assert (min(seen), max(seen)) == (min(p[field] for p in points), max(p[field] for p in points))


def test_the_picture_of_few_has_them_all(large):
    few = dataclasses.replace(large, rows=Rows.of(large.rows[:20]))
    text, shown = still.picture(few)
    assert shown == {row.key for row in few.rows}
    assert "points:" not in text
    svg = base64.b64decode(re.search(r"svg\+xml;base64,([^\"]+)", text)[1]).decode()
    assert svg.startswith("<svg")


def test_the_chart_is_drawn_again_only_for_what_it_lacks(large, monkeypatch):
    drawn, picture = [], still.picture
    monkeypatch.setattr(still, "picture", lambda *asked: drawn.append(asked) or picture(*asked))
    page = still.Still()
    seen, others = [], iter(sorted(row.key for row in large.rows if row.status == "measured"))
    first = large.best()
    seen.append(still.document(page.results(large, first)))
    shown = page._drawn[1]
    there = large.choice_for(next(key for key in shown if key not in (first.key, large.baseline)))
    seen.append(still.document(page.results(large, there)))
    assert len(drawn) == 1
    missing = large.choice_for(next(key for key in others if key not in shown))
    seen.append(still.document(page.results(large, missing)))
    assert len(drawn) == 2
    assert missing.key in page._drawn[1]
    assert len(set(seen)) == 3  # the words follow the choice each time
    list(page.results(dataclasses.replace(large), first))
    assert len(drawn) == 3
