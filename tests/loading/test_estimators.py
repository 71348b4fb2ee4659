"""Estimators that live in this process: their own answers beside those of the file they become."""

import pickle

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import LocalOutlierFactor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deploykit.core.errors import ModelFileError, SettingError, UnsupportedModelError
from deploykit.loading._load import load
from deploykit.loading._onnx import estimators
from deploykit.testing import work

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)).astype(np.float32)
CLASSES = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int) + (X[:, 2] > 1)
NUMBERS = X @ [1.0, -2.0, 0.5, 3.0]
NAMES = np.array(["boot", "coat", "shirt"])[CLASSES]
FEW = {"n_estimators": 5, "max_depth": 3}


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (make_pipeline(StandardScaler(), LogisticRegression()), NAMES),
        (RandomForestClassifier(**FEW, random_state=0), CLASSES),
        (
            make_pipeline(
                StandardScaler(),
                MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", max_iter=5000, tol=1e-2, random_state=0),
            ),
            NUMBERS,
        ),
        (xgboost.XGBClassifier(**FEW), CLASSES),
        (xgboost.XGBRegressor(**FEW), NUMBERS),
        (lightgbm.LGBMClassifier(**FEW, verbose=-1), CLASSES),
        (lightgbm.LGBMRegressor(**FEW, verbose=-1), NUMBERS),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else None,
)
def test_answers_stay(estimator, y):
    estimator.fit(X, y)
    model = load(estimator, example=X)
    assert (model.format, model.name) == ("onnx", type(estimator).__name__)
    (given,), (made,) = model.inputs, model.outputs
    assert (given.name, given.shape, given.dtype) == ("features", (None, 4), "float32")
    expected = estimator.predict_proba(X) if hasattr(estimator, "classes_") else estimator.predict(X).reshape(-1, 1)
    found = work.predicted(model.path, "onnx", {"features": X})[made.name]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_converted_is_named():
    with pytest.raises(UnsupportedModelError, match="Ridge has not been fitted"):
        load(Ridge())
    with pytest.raises(UnsupportedModelError, match="LocalOutlierFactor cannot be converted to ONNX"):
        load(LocalOutlierFactor().fit(X))
    with pytest.raises(SettingError, match=r"shape \(batch, 4\), got float32 of shape \(300, 3\)"):
        load(Ridge().fit(X, NUMBERS), example=X[:, :3])


def test_a_conversion_that_answers_differently_is_refused(monkeypatch):
    fitted = Ridge().fit(X, NUMBERS)
    other = estimators.convert(Ridge().fit(X, -NUMBERS), None)
    monkeypatch.setattr(estimators, "_converter", lambda thing: lambda thing, count: other)
    with pytest.raises(UnsupportedModelError, match=r"Ridge answers differently: \d"):
        load(fitted)


class Marked:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def test_a_pickle_is_never_opened(tmp_path, refused):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps([Marked(tmp_path / "was-run"), Ridge()]))
    error = refused(path, ModelFileError, "never unpickles")
    assert "estimator = joblib.load(path); model = dk.load(estimator)" in error.remedy
    assert not (tmp_path / "was-run").exists()
