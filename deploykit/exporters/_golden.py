"""Golden inputs and outputs: what the measured candidate answered, and whether another copy still answers it.

**Tolerance.** Two answers count as the same when they differ by at most ``tolerance`` times the range (largest minus
smallest value) of the golden output. The tolerance is 0.001, or one and a half quantization steps where an output is
quantized more coarsely. The same file on the same machine differs by nothing; other kernels on another processor
round differently. Whole numbers that are no quantized reals (class indices), truth values and text must be equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.artifact import Artifact
from deploykit.core.candidate import Target
from deploykit.core.errors import DatasetError, ExportError
from deploykit.core.model import TensorSpec
from deploykit.core.preprocess import Preprocess
from deploykit.core.serial import from_plain, to_plain
from deploykit.exporters._arrays import load_arrays, save_arrays
from deploykit.exporters._pipeline import Pipeline, open_session
from deploykit.loading._contract import FORMATS
from deploykit.sandbox.task import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Examples kept as golden data.
EXAMPLES = 8
TOLERANCE = 1e-3
_QUANTIZATION_STEPS = 1.5


def record(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: run the candidate's own file on the golden inputs.

    Args:
        arguments: ``path format target preprocess`` of the candidate, ``outputs`` (names of the model as given),
            ``golden_inputs``; the answers go to ``golden_outputs``, the inputs as the file takes them to ``prepared``.
        report: Not used.

    Returns:
        ``outputs``: specs of the outputs as clients get them; ``tolerance``.
    """
    target = Target.from_json(arguments["target"])
    session = open_session(Path(arguments["path"]), target, arguments["format"])
    raw = load_arrays(Path(arguments["golden_inputs"]))
    pipeline = Pipeline(
        session, list(raw), from_plain(dict[str, Preprocess], arguments["preprocess"]), arguments["outputs"]
    )
    prepared = pipeline.prepare(raw)
    outputs = pipeline.run(prepared)
    count = len(next(iter(raw.values())))
    specs = {s.name: s for s in session.outputs}
    arranged = zip(session.inputs, session.arrange(prepared), strict=True)
    save_arrays(Path(arguments["prepared"]), {spec.name: array for spec, array in arranged})
    save_arrays(Path(arguments["golden_outputs"]), outputs)
    named = [(name, specs[file_name], outputs[name]) for name, file_name in pipeline.pairs]
    steps = [_QUANTIZATION_STEPS * s.scale / value_range(o) for _, s, o in named if s.scale]
    return {
        "outputs": to_plain([_client_spec(name, spec, array, count) for name, spec, array in named]),
        "tolerance": max([TOLERANCE, *steps]),
    }


def replay(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: run an artifact's model on its golden inputs.

    Returns:
        ``difference``: the largest one, relative to the output's range; ``problems``: a sentence for each output that
        differs too much.
    """
    artifact = Artifact.open(arguments["artifact"])
    manifest = artifact.manifest
    inputs = load_arrays(artifact.path / manifest.golden_inputs)
    golden = load_arrays(artifact.path / manifest.golden_outputs)
    missing = [i.name for i in manifest.inputs if i.name not in inputs]
    if missing:
        raise ExportError(f"{manifest.golden_inputs} has no {', '.join(missing)}.", remedy="export again.")
    found = Pipeline.open(artifact)(inputs)
    difference, problems = compare(golden, found, manifest.tolerance)
    return {"difference": difference, "problems": problems}


def read_structure(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: parse a model file with its format's reader, which refuses what is broken or would run code.

    Returns:
        ``extra_files`` the model refers to.
    """
    reader = FORMATS.get(arguments["format"])
    summary = reader.read(Path(arguments["path"]), trusted=arguments["trusted"], imports=())
    return {"extra_files": list(summary.extra_files)}


def compare(
    golden: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]], tolerance: float
) -> tuple[float, list[str]]:
    """The largest difference relative to the output's range, and a sentence for each output beyond the limit."""
    largest, problems = 0.0, []
    for name, wanted in golden.items():
        if name not in found:
            problems.append(f"Output {name!r} is missing; there are {', '.join(found)}.")
            continue
        got = found[name]
        if got.shape != wanted.shape:
            problems.append(f"Output {name!r} has shape {got.shape}, the measured model gave {wanted.shape}.")
            continue
        difference = _difference(wanted, got)
        largest = max(largest, difference)
        limit = tolerance if wanted.dtype.kind == "f" else 0.0
        if difference > limit:
            problems.append(
                f"Outputs differ from the measured model by {difference:.2g} of the range of {name!r} "
                f"(limit {limit:g})."
            )
    return largest, problems


def _difference(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    import numpy as np

    if wanted.dtype.kind not in "fiu" or got.dtype.kind not in "fiu":
        same = [_text(w) == _text(g) for w, g in zip(wanted.ravel(), got.ravel(), strict=True)]
        return 0.0 if all(same) else 1.0
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    alike = (a == b) | (np.isnan(a) & np.isnan(b))
    if alike.all():
        return 0.0
    gap = np.abs(a[~alike] - b[~alike])
    if not np.isfinite(gap).all():
        return float("inf")
    return float(gap.max()) / value_range(wanted)


def value_range(array: NDArray[Any]) -> float:
    """Largest minus smallest finite value; the largest magnitude, or 1, when that is nothing."""
    import numpy as np

    finite = array[np.isfinite(array)].astype(np.float64) if array.dtype.kind in "fiu" else np.zeros(0)
    if not finite.size:
        return 1.0
    return float(finite.max() - finite.min()) or float(np.abs(finite).max()) or 1.0


def raw_specs(inputs: Mapping[str, NDArray[Any]], preprocess: Mapping[str, Preprocess]) -> tuple[TensorSpec, ...]:
    """What clients may send: the raw examples' shapes with a free batch; images that are resized may have any size."""
    specs = []
    for name, array in inputs.items():
        step = preprocess.get(name, Preprocess())
        dims: list[int | None] = list(array.shape[1:])
        for axis in step.free_axes(array.shape[1:]):
            dims[axis] = None
        dtype = "string" if array.dtype.kind in "SUO" else array.dtype.name
        specs.append(TensorSpec(name, (None, *dims), dtype))
    return tuple(specs)


def _client_spec(name: str, spec: TensorSpec, array: NDArray[Any], count: int) -> TensorSpec:
    if array.ndim == 0 or len(array) != count:
        raise DatasetError(
            f"output {name!r} has shape {array.shape} for {count} examples: its first dimension is not the batch.",
            remedy="deploykit serves models whose outputs have the batch as their first dimension.",
        )
    known = spec.shape if spec.shape is not None and len(spec.shape) == array.ndim else (None,) * array.ndim
    dims = tuple(None if old is None else int(size) for old, size in zip(known[1:], array.shape[1:], strict=True))
    dtype = "string" if array.dtype.kind in "SUO" else array.dtype.name
    return TensorSpec(name, (None, *dims), dtype)


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
