"""Fitted estimators of scikit-learn, XGBoost and LightGBM that live in this process, as ONNX. No file is unpickled."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading._live import classes
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHECK = "deploykit.loading._onnx.estimators:check"
#: The converters' newest operator set that all of them write.
_OPSET = 15
_BOOSTERS = frozenset({"xgboost", "lightgbm"})
#: Examples that are made where none are given, and the share that may differ: a value beside a tree's threshold.
_EXAMPLES, _NEAR = 256, 0.01
_TOLERANCE = 1e-4


def is_estimator(thing: object) -> bool:
    """Whether it is an estimator or booster; imports nothing."""
    found = classes(thing)
    return ("sklearn", "BaseEstimator") in found or bool(found & {(name, "Booster") for name in _BOOSTERS})


def convert(thing: Any, example: Any) -> Any:
    """An estimator as an ONNX model: features (batch, n) → probabilities, or one column of numbers a target.

    Args:
        thing: It, fitted on numbers.
        example: Features to compare answers on, shape (batch, n); None: random numbers.

    Raises:
        UnsupportedModelError: It is not fitted, has no converter, or the conversion answers differently.
        MissingExtraError: The converters are not installed.
    """
    np = require("numpy", "")
    name, count = type(thing).__name__, _features(thing)
    x = np.random.default_rng(0).normal(size=(_EXAMPLES, count)) if example is None else np.asarray(example)
    if x.ndim != 2 or x.shape[1] != count or x.dtype.kind not in "fiub":
        raise SettingError(
            f"The example must be numbers of shape (batch, {count}), got {x.dtype} of shape {x.shape}.",
            remedy="pass rows of the features that the estimator was fitted on.",
        )
    x = x.astype(np.float32)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of converters, about packages that they use
            model = _converter(thing)(thing, count)
            expected = _answers(thing, x)
    except MemoryError:
        raise
    except Exception as error:  # converters raise what they like
        text = " ".join(str(error).split())
        raise UnsupportedModelError(
            f"The estimator {name} cannot be converted to ONNX: {type(error).__name__}: {text[:300]}",
            remedy="convert numbers only: prepare texts and categories before the estimator.",
        ) from error
    _keep_scores(model, thing)
    if not any(known.domain == "" for known in model.opset_import):  # of trees alone; tools look for it
        model.opset_import.add(domain="", version=_OPSET)
    _compare(model, name, x, expected)
    return model


def _features(thing: Any) -> int:
    for name in ("n_features_in_", "num_feature", "num_features"):
        try:
            found = getattr(thing, name)
        except Exception:  # noqa: S112  each library has an error of its own for what is not fitted
            continue
        return int(found() if callable(found) else found)
    raise UnsupportedModelError(
        f"The estimator {type(thing).__name__} has not been fitted.", remedy="call fit(x, y) on it first."
    )


def _converter(thing: Any) -> Callable[[Any, int], Any]:
    packages = {package for package, _ in classes(thing)}
    own = type(thing).__module__.partition(".")[0]
    if own in _BOOSTERS or packages & _BOOSTERS:
        tools = require("onnxmltools", "sklearn")
        types = require("onnxmltools.convert.common.data_types", "sklearn")
        boosts = "xgboost" if "xgboost" in packages else "lightgbm"

        def boosted(thing: Any, count: int) -> Any:
            given = [("features", types.FloatTensorType([None, count]))]
            plain = {"zipmap": False} if boosts == "lightgbm" else {}
            return getattr(tools, f"convert_{boosts}")(thing, initial_types=given, target_opset=_OPSET, **plain)

        return boosted
    tools = require("skl2onnx", "sklearn")
    types = require("skl2onnx.common.data_types", "sklearn")

    def plain(thing: Any, count: int) -> Any:
        return tools.convert_sklearn(
            thing, initial_types=[("features", types.FloatTensorType([None, count]))], target_opset=_OPSET,
            options={id(thing): {"zipmap": False}} if _scores(thing) else None,
        )  # fmt: skip

    return plain


def _scores(thing: Any) -> bool:
    return hasattr(thing, "classes_") and hasattr(thing, "predict_proba")


def _answers(thing: Any, x: NDArray[Any]) -> NDArray[Any]:
    """What the estimator itself gives."""
    np = require("numpy", "")
    if ("xgboost", "Booster") in classes(thing):
        found = thing.predict(sys.modules["xgboost"].DMatrix(x))  # it lives here, so this is imported
    elif _scores(thing):
        found = thing.predict_proba(x)
    else:
        found = thing.predict(x) if hasattr(thing, "predict") else thing.transform(x)
    found = np.asarray(found)
    if found.dtype.kind not in "fiub":
        raise UnsupportedModelError(
            f"The estimator {type(thing).__name__} gives {found.dtype} and has no probabilities.",
            remedy="use an estimator with predict_proba, or fit it on class numbers.",
        )
    numbers: NDArray[Any] = found.reshape(len(x), -1).astype(np.float64)
    return numbers


def _keep_scores(model: Any, thing: Any) -> None:
    """Leave the predicted label out: it is the largest of the scores, and may be text."""
    outputs = list(model.graph.output)
    if len(outputs) < 2 or not (_scores(thing) or outputs[0].name == "label"):
        return
    kept = next((value for value in outputs if "prob" in value.name), outputs[-1])
    del model.graph.output[:]
    model.graph.output.append(kept)


def _compare(model: Any, name: str, x: NDArray[Any], expected: NDArray[Any]) -> None:
    """Run the conversion in a child process, and compare.

    Raises:
        UnsupportedModelError: It answers differently.
    """
    np = require("numpy", "")
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        path, data = Path(folder) / "model.onnx", Path(folder) / "examples.npz"
        path.write_bytes(model.SerializeToString())
        np.savez(data, x=x, expected=expected)
        found = shared().run(Task(CHECK, {"path": str(path), "data": str(data)}, name=f"checking {name}"))
    if found["shape"] != list(expected.shape) or found["share"] > _NEAR:
        raise UnsupportedModelError(
            f"The conversion of the estimator {name} answers differently: {found['share']:.1%} of {len(x)} examples by "
            f"more than rounding (shape {found['shape']} for {list(expected.shape)}).",
            remedy="pass example= with rows like your data, or export the estimator to ONNX yourself.",
        )


def check(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: the ``shape`` of a conversion's answers, and the ``share`` of examples that differ beyond rounding."""
    import numpy as np

    del report
    session = require("onnxruntime", "onnx").InferenceSession(arguments["path"], providers=["CPUExecutionProvider"])
    with np.load(arguments["data"], allow_pickle=False) as file:
        x, expected = file["x"], file["expected"]
    found = np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0], np.float64).reshape(len(x), -1)
    if found.shape != expected.shape:
        return {"shape": list(found.shape), "share": 1.0}
    wrong = np.abs(found - expected) > _TOLERANCE * max(1.0, float(np.abs(expected).max()))
    return {"shape": list(found.shape), "share": float(wrong.any(axis=1).mean())}
