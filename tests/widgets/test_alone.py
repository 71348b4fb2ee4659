"""The panels of a model and of data, alone in a cell."""

import html
import shutil

import numpy as np
import pytest
from deploykit_widgets import CandidateView, DataView, ModelView

import deploykit as dk
from deploykit.core.errors import SettingError


def test_a_model_alone_shows_what_dk_load_gives(model, model_path, monkeypatch):
    monkeypatch.chdir(model_path.parent)
    for given in (model, model_path):
        view = ModelView(given)
        assert view._desk.settle()
        assert view.model == model
        assert view.code == f'import deploykit as dk\n\nmodel = dk.load("{model_path.name}")\n'
        bundle = view._repr_mimebundle_()
        assert "application/vnd.deploykit.workbench.v1+json" in bundle
        assert model_path.name in bundle["text/html"]
        view.close()


def test_data_alone_are_read_or_given(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "some.npz"
    x = np.random.default_rng(0).random((50, 4), np.float32)
    np.savez(path, x=x, y=np.arange(50) % 2)
    read = DataView(path, max_drop=0.5)
    assert read._desk.settle()
    assert len(read.data) == 50
    assert read.code.endswith('data = dk.Dataset.from_npz("some.npz")\n')
    pair = DataView((x, np.arange(50) % 2))
    assert pair._desk.settle()
    assert pair.data.digest == read.data.digest
    given = DataView(data)
    assert given.data is data
    for view in (read, pair, given):
        view.close()


def test_without_anything_they_ask():
    model, data = ModelView(), DataView()
    assert (model.model, data.data) == (None, None)
    assert model.code == "import deploykit as dk\n\n"
    model.close()
    data.close()


def test_a_candidate_alone_is_told_of_and_compared(store, page_of, tmp_path):
    report = dk.Report.open(store)
    best = report.best(max_drop=1.0)
    given = report.choice_for(next(row.key for row in report.rows if row.key != best.key))
    alone = CandidateView(best, best)
    assert page_of(alone.widget, alone._desk).sections["app"]["picked"] == {"a": best.key, "b": ""}
    alone.close()
    view = CandidateView(best, given)
    sent = page_of(view.widget, view._desk).sections
    assert sent["app"]["picked"] == {"a": best.key, "b": given.key}
    assert sent["candidate"]["best"] == best.key
    assert f'report.choice_for("{best.key}"' in view.code
    bundle = view._repr_mimebundle_()
    assert best.explain().splitlines()[0] in html.unescape(bundle["text/html"])
    view.close()
    copy = dk.Report.open(shutil.copytree(store, tmp_path / "copy"))
    with pytest.raises(SettingError, match="different reports"):
        CandidateView(best, copy.choice_for(given.key))
