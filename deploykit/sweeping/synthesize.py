"""Data without data: calibration and training inputs that are made from the model."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from deploykit.core import extras
from deploykit.core.errors import DatasetError
from deploykit.core.model import Model
from deploykit.core.parameter import complete as completed
from deploykit.core.settings.option import complete, takes
from deploykit.core.settings.options import BuildOptions
from deploykit.core.settings.synthesis import PARAMETERS
from deploykit.core.settings.synthesis import limits as checked_range
from deploykit.data.dataset import Dataset
from deploykit.data.splitting import evaluated_only, synthesized
from deploykit.planning.limits import Limits
from deploykit.planning.settings import declared_of
from deploykit.reporting.events import OnProgress, Progress
from deploykit.reporting.progress import automatic
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples of data that only say what the model takes.
_FEW = 10


@takes(BuildOptions)
def synthesize(
    model: Model,
    data: Any = None,
    *,
    method: str = "auto",
    examples: int = 512,
    steps: int = 200,
    between: tuple[float, float] | None = None,
    progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
    **options: Unpack[BuildOptions],
) -> Dataset:
    """Make calibration and training inputs from the model alone, for every technique that needs some.

    Quantization, reconstruction and ``distill`` then work without real inputs. The data that are given, if any, only
    evaluate: they are not read here, except for their shapes. Techniques that need labels are left out, because
    synthesized inputs have none. This takes from seconds to minutes, depending on the model; the same seed makes the
    same inputs. Expect less accuracy than with real inputs.

    Args:
        model: From ``dk.load``; a Keras or ONNX model, or one that can be converted to these.
        data: What evaluates: a Dataset or a pair (x, y). Training examples that were given apart are not used, others
            evaluate as well. None: evaluation inputs are synthesized as well; they show only how far a candidate
            agrees with the original on such inputs, not how accurate it is.
        method: ``"batchnorm"`` optimizes inputs until the batch statistics at batch normalizations match those stored
            in the model. ``"generator"`` trains a generator against the model: it looks for inputs that the model is
            sure about and that a student has not learned yet. ``"auto"`` chooses batchnorm if there are statistics.
        examples: Number of inputs to make.
        steps: Optimization steps: of each batch (batchnorm), or of the generator.
        between: Smallest and largest value that the model takes. None: what preprocessing makes of 0 and 255 if the
            data are 8-bit images; otherwise values are not limited.
        progress: Called on every change; None: a bar in a terminal, lines elsewhere.
        cancel: Set to stop.
        **options: Those of ``dk.sweep`` that matter here.

    Raises:
        UnsupportedModelError: The model cannot be used this way, or has no statistics; the message says what to do.
        DatasetError: The data do not fit the model, or the shape of an input is not known.
        SettingError: A setting is out of range.
        Cancelled: ``cancel`` was set.

    Example:
        >>> found = dk.synthesize(model, data, method="generator", examples=64, steps=4)
        synthesizing ...
        >>> found.reading.splits["train"], found.labels("train") is None
        (64, True)
    """
    extras.check("sweep")
    given = completed(PARAMETERS, {"method": method, "examples": examples, "steps": steps}, "synthesize")
    settings = complete(BuildOptions, options)
    declared, limits = declared_of(settings), Limits.of(settings)
    limited = None if between is None else _arrays(checked_range(between))
    known = None if data is None else evaluated_only(Dataset.of(data)).check(model, declared)
    base = _bare(model, settings["constants"] or {}).check(model, declared) if known is None else known
    shapes = {i.name: base.batch("evaluation", slice(0, 1))[i.name].shape[1:] for i in base.checked.inputs if i.source}
    ranges = {name: limited or (_range(known, name) if known else None) for name in shapes}
    more = 0 if known is not None else max(2 * _FEW, int(given["examples"]) // 2)  # type: ignore[arg-type]  # a whole number
    arguments = {
        "path": model.path, "format": model.format, "imports": list(model.imports), "trusted": model.trusted,
        "contract": base.checked.to_json(), "shapes": {name: list(shape) for name, shape in shapes.items()},
        "low": {name: found[0].tolist() for name, found in ranges.items() if found},
        "high": {name: found[1].tolist() for name, found in ranges.items() if found},
        "seed": settings["seed"], **given, "examples": int(given["examples"]) + more,  # type: ignore[arg-type]  # a whole number
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="deploykit-") as out, automatic(progress) as shown:
        task = Task(
            "deploykit.training.synthesis.work:synthesize", {**arguments, "out": out}, "tensorflow", limits.timeout_s,
            limits.memory_bytes, model.imports, name="synthesizing inputs",
        )  # fmt: skip

        def report(done: float, total: float, words: str) -> None:
            text = f"synthesizing inputs: {words}, step {done:.0f} of {total:.0f}"
            shown(Progress("build", text, round(done), round(total), share=done / total if total else 0.0))

        found = shared().run(task, report, cancel)
        inputs = {name: _read(Path(out) / f"{i}.npy") for i, name in enumerate(shapes)}
        shown(Progress("done", f"{given['examples']} inputs synthesized", 1, 1, share=1.0))
    note = (
        f"training and calibration inputs were synthesized from {model.name} by {found['method']} "
        f"(seed {settings['seed']}, {given['steps']} steps); {_assumed(ranges, between)}."
    )
    return synthesized(base, inputs, note, evaluated=more)


def _arrays(pair: tuple[float, float]) -> tuple[NDArray[Any], NDArray[Any]]:
    import numpy as np

    return np.array(pair[0]), np.array(pair[1])


def _range(data: Dataset, name: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """What preprocessing makes of the values that 8-bit images can have; None for other data."""
    import numpy as np

    raw = data.splits["evaluation"].inputs[name]
    if raw.dtype != np.uint8:
        return None
    info = np.iinfo(raw.dtype)
    ends = [np.full((1, *raw.shape[1:]), value, raw.dtype) for value in (info.min, info.max)]
    first, second = (np.asarray(data.preprocess[name].apply(e) if name in data.preprocess else e)[0] for e in ends)
    return np.minimum(first, second).astype(np.float32), np.maximum(first, second).astype(np.float32)


def _assumed(ranges: dict[str, Any], between: tuple[float, float] | None) -> str:
    """What was assumed of the values, in words."""
    if between is not None:
        return f"values were kept between {between[0]:g} and {between[1]:g}"
    known = [name for name, found in ranges.items() if found]
    if not known:
        return "values were not limited, because their range is not known: set between= if you know it"
    words = "values were kept within what preprocessing makes of 8-bit values"
    return words if len(known) == len(ranges) else f"{words} for {', '.join(known)}, and not limited for other inputs"


def _bare(model: Model, constants: Any) -> Dataset:
    """Data without content, of the shapes that the model takes."""
    import numpy as np

    arrays = {}
    for spec in model.inputs:
        if spec.name in constants:
            continue
        shape = spec.example_shape
        if shape is None or None in shape:
            raise DatasetError(
                f"Input {spec.name!r} takes examples of any size, so inputs cannot be synthesized without data.",
                remedy="pass data whose examples have the size that you will use.",
            )
        dims = [size or 0 for size in shape]
        arrays[spec.name] = np.zeros([_FEW, *dims], np.dtype("U1" if spec.dtype == "string" else spec.dtype))
    return Dataset.from_arrays(
        arrays, x_test={k: np.zeros((2 * _FEW, *v.shape[1:]), v.dtype) for k, v in arrays.items()}
    )


def _read(path: Path) -> NDArray[Any]:
    import numpy as np

    found: NDArray[Any] = np.load(path, allow_pickle=False)
    return found
