"""Flipped examples in the report's page: which ones, what is drawn of them, and how much."""

import base64
import io
import re

import numpy as np
from PIL import Image

import deploykit as dk
from deploykit.data.preprocess import Preprocess
from deploykit.reporting.evidence import gallery
from deploykit.reporting.evidence.flips import Flip, FlippedBox, Flips
from deploykit.reporting.evidence.pictures import COLORS
from deploykit.reporting.evidence.samples import picture_of
from deploykit.testing import bert


def flip(example, group="now wrong", label="shirt", before="shirt", after="coat", lost=0.5, **more):
    return Flip(example, group, label, before, after, 0.9, 0.8, lost, **more)


def flips(*rows, classes=True, labelled=True, **more):
    return Flips(tuple(rows), 100, "evaluation", classes, labelled, "probabilities" if classes else "", **more)


def images(size=(8, 6), count=60):
    rng = np.random.default_rng(0)
    return dk.Dataset.from_arrays(rng.integers(0, 256, (count, *size, 3), np.uint8), np.arange(count) % 2)


def drawn(page):
    """The pictures, with their alternative texts."""
    found = re.findall(r'<img[^>]* src="data:image/png;base64,([^"]+)" alt="([^"]*)">', page)
    return [(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), alt) for data, alt in found]


def test_pictures_are_the_examples_with_both_answers_and_an_alternative_text():
    data = images()
    page = gallery.drawn(flips(flip(4), flip(2, "now right", "coat")), data)
    (first, alt), (second, _) = drawn(page)
    np.testing.assert_array_equal(first, data.splits["evaluation"].inputs["input"][4])
    np.testing.assert_array_equal(second, data.splits["evaluation"].inputs["input"][2])
    assert alt == "sample 4, right answer shirt: was shirt, now coat"
    assert '<span>shirt ✓</span><span class="dk-bad">coat ✗</span>' in page
    assert '<span>shirt ✗</span><span class="dk-good">coat ✓</span>' in page
    assert "<h3>Flipped predictions</h3>" in page
    assert "<h4>Now wrong: 1</h4>" in page
    assert "Both wrong" not in page  # there are none
    assert "dk-pixelated" in page
    assert "dk-pixelated" not in gallery.drawn(flips(flip(0)), images((64, 80)))


def test_what_is_drawn_is_bounded():
    rows = [flip(i % 18, lost=1 - i / 100) for i in range(61)]
    page = gallery.drawn(flips(*rows), images())
    assert len(drawn(page)) == gallery.MOST
    assert f"<h4>Now wrong: {gallery.MOST} of 61</h4>" in page
    assert f"At most {gallery.MOST} examples of each kind" in page
    noise = images((400, 400))  # 128 pixels each way: some 50 kB
    groups = ("now wrong", "now right", "both wrong")
    page = gallery.drawn(flips(*(flip(i, group) for group in groups for i in range(gallery.MOST))), noise)
    shown = drawn(page)
    assert {picture.shape for picture, _ in shown} == {(128, 128, 3)}
    assert 5 < len(shown) < 3 * gallery.MOST
    assert len(page) < 1.4 * gallery.MOST_BYTES
    assert f"Pictures end at {gallery.MOST_BYTES // 1000} kB" in page
    assert page.count("<li>") == 3 * gallery.MOST
    text = dk.Dataset.from_text(["x" * 5000, "y"] * 30, ["a", "b"] * 30)
    assert len(gallery.drawn(flips(*(flip(i, after="z" * 5000) for i in range(10))), text)) < 30_000


def test_boxes_are_drawn_and_their_colors_named():
    boxes = (FlippedBox((0.25, 0.25, 0.75, 0.75), "bus", "lost"), FlippedBox((0.0, 0.0, 0.2, 0.2), "bus", "kept"))
    row = Flip(3, "now wrong", "1 bus", "1 bus", "nothing", None, None, 1.0, boxes=boxes)
    page = gallery.drawn(flips(row, classes=False, boxes=True), images((32, 32)))
    ((picture, alt),) = drawn(page)
    assert picture.shape == (256, 256, 3)
    color = tuple(int(COLORS["lost"][i : i + 2], 16) for i in (1, 3, 5))
    assert tuple(picture[64, 128]) == tuple(picture[128, 64]) == color
    assert alt == "sample 3, right answer 1 bus: was 1 bus, now nothing, 1 more box wrong"
    legend = page[page.index('<ul class="dk-states"') :].partition("</ul>")[0]
    assert re.findall(r"</i>([^<]+)", legend) == ["lost", "found by both"]


def test_words_that_differ_are_marked_in_texts():
    was, now = "the cat sat on the mat", "the dog sat down on the mat"
    row = flip(0, label="the cat sat on a mat", before=was, after=now, group="both wrong")
    page = gallery.drawn(flips(row), dk.Dataset.from_text(["some words"] * 60), texts=True)
    old, new = (re.search(rf"<span>{word}: (.*?)</span>", page)[1] for word in ("was", "now"))
    assert re.findall(r"<del>(.*?)</del>", old) == ["cat"]
    assert re.findall(r"<ins>(.*?)</ins>", new) == ["dog", "down"]
    assert [re.sub(r"<[^>]+>", "", side) for side in (old, new)] == [was, now]
    assert "right: the cat sat on a mat" in page
    assert "Sample 0: some words" in page
    assert "dk-lines" in page


def test_names_from_files_are_text():
    bad = "<img src=x onerror=alert(1)>"
    row = flip(0, label=bad, before=bad, after='"><script>')
    for texts in (False, True):
        for data in (images(), dk.Dataset.from_text([bad] * 60)):
            page = gallery.drawn(flips(row), data, texts=texts)
            assert "<script" not in page
            assert "<img src=x" not in page
            assert 'alt="">' not in page


def test_numbers_say_how_the_error_grew():
    row = Flip(1, "largest error", "2.5", "2.4", "9", None, None, 6.4)
    page = gallery.drawn(flips(row, classes=False), dk.Dataset.from_arrays(np.ones((60, 3)), np.ones(60)))
    assert "<h3>Largest errors</h3>" in page
    assert "<span>2.4 → 9</span>" in page
    assert "error larger by 6.4" in page
    lost = Flip(1, "largest error", "2.5", "2.4", "nan", None, None, float("inf"))
    assert "not a number" in gallery.drawn(flips(lost, classes=False), images())
    assert gallery.drawn(flips(), images()) == ""


def test_texts_with_a_tokenizer_are_no_pictures(tmp_path):
    tokenizer = dk.Tokenizer.open(bert.write_folder(tmp_path))
    data = dk.Dataset.from_text(["the film was fine"] * 60, preprocess=Preprocess(tokenizer=tokenizer))
    assert picture_of(data, 0) is None


def test_the_page_draws_what_the_choice_changes(swept):
    _, report, _ = swept
    best = report.best()
    found = best.flips()
    whole = report.to_html().partition("</style>")[2]
    assert gallery.drawn(found, report.data) in whole
    assert len(drawn(whole)) == sum(min(count, gallery.MOST) for count in found.counts.values())
