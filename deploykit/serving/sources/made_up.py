"""Inputs for a model of which only the signature is known: small numbers, short texts, one size after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.model import TensorSpec
from deploykit.loading._contract import Feature
from deploykit.serving.examples import message_of, serialized

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What free dimensions are tried with: sequences, channels, small images, those of well-known models.
_SIZES = (16, 1, 3, 32, 64, 128, 224, 256, 299)
#: What examples of unknown rank are tried with.
_SHAPES: tuple[tuple[int | None, ...], ...] = ((), (1,), (None,), (None, None), (None, None, 3), (None, None, 1))


def candidates(
    specs: Sequence[TensorSpec], count: int, features: Sequence[Feature] = ()
) -> Iterator[dict[str, NDArray[Any]]]:
    """Examples to try, batch first, the likeliest first.

    Args:
        specs: The inputs, the batch first in their shapes.
        count: Number of examples.
        features: What the model looks for in ``tf.Example`` messages; () if it takes none.
    """
    seen = set()
    for sizes in _SIZES:
        for rest in _SHAPES:
            shapes = [
                tuple(sizes if d is None else d for d in (rest if spec.shape is None else spec.shape[1:]))
                for spec in specs
            ]
            if (key := tuple(shapes)) not in seen:
                seen.add(key)
                yield {
                    spec.name: _values(spec, (count, *shape), number, features)
                    for number, (spec, shape) in enumerate(zip(specs, shapes, strict=True))
                }


def _values(spec: TensorSpec, shape: tuple[int, ...], seed: int, features: Sequence[Feature]) -> NDArray[Any]:
    import numpy as np

    rng = np.random.default_rng(seed)
    if spec.dtype == "string":
        return _texts(shape, features)
    if spec.dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if spec.dtype.startswith(("int", "uint")):  # zero and one are numbers of words and of rows of any table
        return rng.integers(0, 2, shape).astype(spec.dtype)
    dtype = spec.dtype if spec.dtype.startswith("float") else "float32"
    return rng.random(shape).astype(dtype)


def _texts(shape: tuple[int, ...], features: Sequence[Feature]) -> NDArray[Any]:
    import numpy as np

    found = np.empty(shape, object)
    for place in range(found.size):
        row = place * shape[0] // max(found.size, 1)
        found.flat[place] = f"text {row}"
    if features and len(shape) == 1:
        found = serialized([message_of(_features(features, row)) for row in range(shape[0])], None)
    return found


def _features(features: Sequence[Feature], row: int) -> dict[str, list[Any]]:
    value = {"float32": (row + 1) / 4, "int64": row % 2}
    return {f.name: [value.get(f.dtype, f"text {row}")] * f.size for f in features}
