"""Making a reference profile from examples, within 12 KiB whatever the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import Kind
from deploykit.core.errors import DeploykitError
from deploykit.monitoring.answers import MOST_CLASSES, Answered, coordinates, most_frequent, probabilities, undecided
from deploykit.monitoring.calibrating import Calibrated, calibrate, calibrate_values
from deploykit.monitoring.facts import facts_of
from deploykit.monitoring.head import CATEGORIES, Head, Sketch
from deploykit.monitoring.mapping import Measured, kept, mapped, phases, projections, vector
from deploykit.monitoring.profile import MOST_BYTES, Profile
from deploykit.monitoring.readings import Read, knots_of, measured, rows_of, sort_of, texture, vocabulary_of
from deploykit.monitoring.stable import uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Fewest examples that a profile can be made from.
FEWEST = 40
#: Columns, quantiles, numbers of the embedding and directions: the first of these that fits is taken.
_PLANS = (
    (200, 33, 1024, 24), (200, 17, 1024, 24), (200, 9, 1024, 24), (200, 7, 512, 20), (160, 7, 512, 16),
    (100, 7, 256, 16), (64, 7, 256, 12), (32, 7, 128, 8), (16, 5, 64, 8),
)  # fmt: skip
_MOST_INPUTS = 64
#: Share of the whole spread that a single number of the embedding is taken to have at least.
_LEAST_SPREAD = 0.1


def fit(
    inputs: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
    scored: str,
    kind: Kind,
    *,
    model: str,
    labels: NDArray[Any] | None = None,
    embedding: NDArray[Any] | None = None,
    class_axis: int = -1,
    threshold: float = 0.5,
    seed: int = 0,
    tap: str = "",
) -> Profile:
    """Make a profile from examples that the model was not trained on.

    One example in four, drawn at random, fits the map (quantiles, scales, vocabulary); the others give means, bands and
    p-values.

    Args:
        inputs: By name as clients send them, batch first.
        outputs: The model's, by name as clients get them.
        scored: The output that is watched; "" for none.
        kind: What its numbers are.
        model: Digest of the model.
        labels: Class numbers, or real numbers of the output's size; None without.
        embedding: What the last layer sees, batch first; None: outputs stand in for it.
        class_axis: Axis of the classes.
        threshold: Above which a label of several is there.
        seed: Of the random projections.
        tap: Tensor of the model file that is the embedding.

    Raises:
        DeploykitError: There are fewer than 40 examples, or no input can be watched.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.fitting import fit
        >>> rng = np.random.default_rng(0)
        >>> fit({"x": rng.random((400, 8, 8))}, {"y": rng.random((400, 2))}, "y", "values", model="ab" * 32)
        Profile(32 features of 400 examples)
    """
    count = min((len(array) for array in inputs.values()), default=0)
    if count < FEWEST:
        raise DeploykitError(
            f"A profile needs {FEWEST} examples, got {count}.", remedy="give more held-out examples to the data."
        )
    usable = {n: a for n, a in inputs.items() if a.dtype.kind in "biufOSU" and a.ndim and a.size}
    if not usable:
        raise DeploykitError("No input can be watched: none has numbers or text.")
    answered, chances = _answered(outputs.get(scored), scored, kind, class_axis, threshold)
    known = _calibrated(answered, chances, outputs.get(scored), labels)
    for plan in _PLANS:
        profile = _fitted(usable, outputs, answered, known, embedding, plan, model, seed, tap)
        if len(profile.to_bytes()) <= MOST_BYTES:
            return profile
    raise DeploykitError(
        f"A profile of {len(inputs)} inputs does not fit into {MOST_BYTES:,} bytes.", remedy="please report this."
    )


def _answered(
    output: NDArray[Any] | None, name: str, kind: Kind, axis: int, threshold: float
) -> tuple[Answered, NDArray[Any] | None]:
    import numpy as np

    if output is None:
        return Answered(), None
    answered = Answered(name, kind, 0, axis, (), threshold)
    if answered.scored:
        chances = probabilities(answered, output)
        answered = replace(answered, width=chances.shape[2])
        return replace(answered, frequent=most_frequent(chances.argmax(axis=2), answered.width)), chances
    if kind == "classes":
        width = 0 if output.dtype.kind in "OSU" else min(int(np.nanmax(output)) + 1, 1 << 16)
        numbers = np.clip(output, 0, width - 1).astype(np.int64) if width else np.zeros(1, np.int64)
        return replace(answered, width=width, frequent=most_frequent(numbers, width)), None
    return replace(answered, width=int(np.prod(output.shape[1:], dtype=np.int64))), None


def _calibrated(
    answered: Answered, chances: NDArray[Any] | None, output: NDArray[Any] | None, labels: NDArray[Any] | None
) -> Calibrated:
    import numpy as np

    if labels is None or output is None or labels.dtype.kind not in "biuf":
        return Calibrated()
    if answered.single and chances is not None and labels.size == chances.shape[0] * chances.shape[1]:
        return calibrate(chances, labels, answered.group_of)
    if answered.kind == "classes" and labels.size == output.size and output.dtype.kind in "iuf":
        return Calibrated(labels.size, accuracy=float((labels.ravel() == output.ravel()).mean()))
    if answered.kind == "values" and labels.size == output.size and labels.dtype.kind in "iuf":
        return calibrate_values(output.astype(np.float64), labels)
    return Calibrated()


def _fitted(
    inputs: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
    answered: Answered,
    known: Calibrated,
    embedding: NDArray[Any] | None,
    plan: tuple[int, int, int, int],
    model: str,
    seed: int,
    tap: str,
) -> Profile:
    import numpy as np

    most_columns, knots, most_kept, directions = plan
    total = len(next(iter(inputs.values())))
    # Drawn, not counted off: where classes come in turn, every fourth example has the same few of them.
    fitting = np.argsort(uniform(seed ^ 0xF1, total), kind="stable") % 4 == 0
    reads, notes = _reads(inputs, fitting, most_columns)
    words = {
        f"vocabulary.{i}": vocabulary_of(rows_of(r, inputs[r.name][fitting])) for i, r in enumerate(reads) if r.worded
    }
    source = _source(answered, outputs.get(answered.name), embedding)
    sketch, scales = _sketch(source, fitting, most_kept, directions, seed, "embedding" if tap else "answers")
    if sketch.kept < sketch.width:
        notes.append(f"{sketch.kept} of {sketch.width} numbers of the {sketch.source} are watched, evenly spaced")
    if answered.width > MOST_CLASSES:
        notes.append(f"the {len(answered.frequent)} most frequent of {answered.width} classes are watched one by one")
    head = Head(
        model, total, int(total - fitting.sum()), tuple(reads), answered, sketch, knots, known, tuple(notes), tap,
        tuple(facts_of(r, inputs[r.name]) for r in reads),
    )  # fmt: skip
    raw = _raw(head, inputs, outputs, source, scales, words)
    arrays: dict[str, NDArray[Any]] = {
        "knots": _knots(raw, answered, fitting, knots),
        "categories": _categories(reads, inputs, fitting),
        "scales": scales,
        **words,
    }
    held = mapped(head, arrays, phases(sketch), raw)[~fitting]
    place = vector(head, arrays["knots"], raw)
    center, whitening = _parted(place[fitting], head.of_inputs)
    arrays |= {"center": center, "whitening": whitening[np.tril_indices(len(center))]}
    arrays |= {n: np.rint(v * 65535).astype("<u2") for n, v in (("means", held.mean(0)), ("deviations", held.std(0)))}
    profile = Profile(head, {**arrays, "rarity": np.zeros(len(head.rarity_places), "<f4")})
    far = np.sort(profile.unusual(raw)[~fitting])
    return replace(profile, arrays={**arrays, "rarity": far[[len(far) - p for p in head.rarity_places]]})


def _raw(
    head: Head,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
    source: NDArray[Any] | None,
    scales: NDArray[Any],
    words: Mapping[str, NDArray[Any]],
) -> Measured:
    answered, projected = head.answered, None
    if source is not None and head.sketch.features:
        projected = source[:, kept(head.sketch)] @ projections(head.sketch, scales)
    read = [measured(r, inputs[r.name], words.get(f"vocabulary.{i}")) for i, r in enumerate(head.inputs)]
    output = outputs.get(answered.name)
    chances = probabilities(answered, output) if answered.scored and output is not None else None
    textures = [
        texture(inputs[r.name], moments) if r.sort == "tensor" else None
        for r, moments in zip(head.inputs, read, strict=True)
    ]
    return Measured(read, output, chances, projected, textures)


def _reads(
    inputs: Mapping[str, NDArray[Any]], fitting: NDArray[Any], most_columns: int
) -> tuple[list[Read], list[str]]:
    import numpy as np

    notes = [f"{_MOST_INPUTS} of {len(inputs)} inputs are watched"] if len(inputs) > _MOST_INPUTS else []
    taken = dict(list(inputs.items())[:_MOST_INPUTS])
    tables = sum(sort_of(array) == "table" for array in taken.values())
    found, listed = [], 0
    for name, array in taken.items():
        sort = sort_of(array)
        dtype = "string" if sort == "text" else str(array.dtype)
        columns: tuple[int, ...] = ()
        counts: list[int] = []
        if sort == "table":
            flat = array.reshape(len(array), -1)
            width = flat.shape[1]
            chosen = min(width, max(1, most_columns // tables))
            columns = tuple(int(c) for c in np.arange(chosen) * width // chosen)
            if chosen < width:
                notes.append(f"{chosen} of {width} columns of {name[:60]} are watched, evenly spaced")
            for column in columns:
                values = _values(flat[fitting, column])
                category = 1 < len(values) <= CATEGORIES and bool((values == np.round(values)).all())
                counts.append(len(values) if category and listed < _MOST_INPUTS else 0)
                listed += counts[-1] > 0
        found.append(Read(name, sort, dtype, array.shape[1:], columns, tuple(counts)))
    return found, notes


def _values(column: NDArray[Any]) -> NDArray[Any]:
    """Its different numbers, as they are compared."""
    import numpy as np

    values = np.unique(column.astype(np.float32))
    return values[np.isfinite(values)]


def _categories(reads: list[Read], inputs: Mapping[str, NDArray[Any]], fitting: NDArray[Any]) -> NDArray[Any]:
    """Categories of columns that have some, the last one repeated, shape (columns, CATEGORIES)."""
    import numpy as np

    rows = []
    for read in reads:
        for column, count in zip(read.columns, read.categories, strict=True):
            if count:
                values = _values(inputs[read.name].reshape(len(fitting), -1)[fitting, column])
                rows.append(values[np.minimum(np.arange(CATEGORIES), count - 1)])
    return np.array(rows, "<f4").reshape(len(rows), CATEGORIES)


def _source(answered: Answered, output: NDArray[Any] | None, embedding: NDArray[Any] | None) -> NDArray[Any] | None:
    """Numbers whose directions are watched, shape (examples, numbers), float32; None when there are fewer than two."""
    import numpy as np

    if embedding is not None:
        flat = np.asarray(embedding).reshape(len(embedding), -1).astype(np.float32)
    elif output is None or output.dtype.kind not in "biuf" or answered.kind == "classes":
        return None
    else:
        flat = coordinates(answered, output)
    return flat if flat.shape[1] > 1 and np.isfinite(flat).all() else None


def _sketch(
    source: NDArray[Any] | None, fitting: NDArray[Any], most: int, directions: int, seed: int, name: str
) -> tuple[Sketch, NDArray[Any]]:
    import numpy as np

    if source is None:
        return Sketch(), np.zeros(0, np.uint8)
    sketch = Sketch(name, source.shape[1], min(source.shape[1], most), directions, seed)
    chosen = source[:, kept(sketch)][fitting].astype(np.float64)
    deviations = chosen.std(axis=0)
    whole = float(np.sqrt((deviations**2).mean())) or 1.0
    deviations = np.maximum(deviations, _LEAST_SPREAD * whole)
    scales = np.clip(np.rint(8 * np.log2(deviations / whole)) + 128, 0, 255).astype(np.uint8)
    scaled = chosen / (whole * 2.0 ** ((scales.astype(np.float64) - 128) / 8))
    first, second = scaled[:250], scaled[-250:]
    square = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    bandwidth = float(np.sqrt(max(np.median(square), 1e-12)))
    return replace(sketch, bandwidth=bandwidth, scale=whole), scales


def _knots(raw: Measured, answered: Answered, fitting: NDArray[Any], count: int) -> NDArray[Any]:
    import numpy as np

    from deploykit.monitoring.answers import MOST_ANSWERS

    values = list(raw.inputs)
    if raw.chances is not None:
        values.append(np.stack([raw.chances.max(axis=2).mean(axis=1), undecided(raw.chances)], axis=1))
    elif raw.output is not None and answered.kind in ("values", "embedding"):
        values.append(raw.output.reshape(len(raw.output), -1)[:, :MOST_ANSWERS].astype(np.float32))
    return np.concatenate([knots_of(v[fitting], count) for v in values]).astype("<f4")


def _parted(place: NDArray[Any], inputs: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """As `_whitened`, inputs and embedding apart, each in units of its distance's 95th percentile.

    Together, an embedding that spreads far would hide inputs that are like nothing in the reference.
    """
    import numpy as np

    whole = np.zeros((place.shape[1], place.shape[1]), "<f4")
    centers = []
    for part in (slice(0, inputs), slice(inputs, place.shape[1])):
        if part.start == part.stop:
            continue
        center, factor = _whitened(place[:, part])
        off = np.nan_to_num(place[:, part] - center) @ factor.T
        typical = float(np.quantile((off**2).sum(axis=1), 0.95))
        whole[part, part] = factor / np.sqrt(max(typical, 1e-12))
        centers.append(center)
    return np.concatenate(centers), whole


def _whitened(place: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Center and inverse Cholesky factor of a covariance that is shrunk towards its diagonal."""
    import numpy as np

    values = np.where(np.isfinite(place), place, np.nan).astype(np.float64)
    center = np.nansum(values, axis=0) / np.maximum(np.isfinite(values).sum(axis=0), 1)
    off = np.nan_to_num(values - center)
    count, wide = off.shape
    covariance = off.T @ off / max(count - 1, 1)
    diagonal = np.maximum(np.diag(covariance), 1e-12 * (1 + center**2))
    weight = min(1.0, 0.02 + wide / max(count, 1))
    mixed = (1 - weight) * covariance
    mixed[np.diag_indices(wide)] = diagonal
    scale = np.sqrt(diagonal)
    factor = np.linalg.cholesky(mixed / np.outer(scale, scale))
    return center.astype("<f4"), (np.linalg.inv(factor) / scale).astype("<f4")
