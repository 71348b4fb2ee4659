"""What is said of how arrays feed a model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import InputMeaning
from deploykit.data.examples import Examples

if TYPE_CHECKING:
    from numpy.typing import NDArray


def said_of_inputs(inputs: Sequence[InputMeaning], data: Examples, sources: Mapping[str, str]) -> list[str]:
    """What may surprise in how arrays feed inputs, one sentence each.

    Args:
        inputs: What the inputs mean.
        data: The data.
        sources: Input → array of the data.
    """
    found = []
    for meaning in inputs:
        found += _rounded(meaning, data.splits["evaluation"].inputs.get(sources.get(meaning.name, "")))
        if meaning.how == "form":
            found.append(f"input {meaning.name!r} gets the array {meaning.source!r}, the only one that fits.")
        source = sources.get(meaning.name, "")
        step, raw = data.preprocess.get(source), data.splits["evaluation"].inputs.get(source)
        if step is not None and raw is not None and (order := step.moves_axes(raw.shape[1:])):
            found.append(
                f"input {meaning.name!r}: reshape={step.reshape} would mix up the channels of {raw.shape[1:]}; the "
                f"axes are moved instead, as transpose={order} does it."
            )
    return found


def _rounded(meaning: InputMeaning, raw: NDArray[Any] | None) -> list[str]:
    """A sentence on whole numbers that the input cannot hold exactly."""
    import numpy as np

    if raw is None or raw.dtype.kind not in "iu" or not raw.size or meaning.dtype not in ("float16", "float32"):
        return []
    exact, most = 2 ** (np.finfo(meaning.dtype).nmant + 1), max(abs(int(raw.min())), abs(int(raw.max())))
    if most <= exact:
        return []
    return [
        f"input {meaning.name!r}: the whole numbers go up to {most:,}; {meaning.dtype} holds all of them only up to "
        f"{exact:,}, others are rounded."
    ]
