"""The panels of a model and of data, alone in a cell."""

import numpy as np
from deploykit_widgets import DataView, ModelView


def test_a_model_alone_shows_what_dk_load_gives(model, model_path, monkeypatch):
    monkeypatch.chdir(model_path.parent)
    for given in (model, model_path):
        view = ModelView(given)
        assert view._desk.settle()
        assert view.model == model
        assert view.code == f'import deploykit as dk\n\nmodel = dk.load("{model_path.name}")\n'
        bundle = view._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in bundle
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
