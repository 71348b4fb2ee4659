"""Training/serving skew: what clients send beside what the model was measured on, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from deploykit.core.errors import DeploykitError
from deploykit.core.serial import Plain
from deploykit.monitoring.facts import Facts, facts_of
from deploykit.monitoring.profile import Profile
from deploykit.monitoring.readings import Read

if TYPE_CHECKING:
    from numpy.typing import NDArray

Suspicion = Literal["missing input", "shape", "dtype", "missing values", "units", "channel order", "inverted", "range"]
#: Factors between units that are often mixed up, and what each means.
_UNITS = (
    (255.0, "values run to 255 where the reference runs to 1: they were not divided by 255"),
    (1 / 255, "values run to 1 where the reference runs to 255: they were divided by 255 once too often"),
    (65535.0, "values run to 65,535 where the reference runs to 1: 16-bit images that were not divided by 65,535"),
    (257.0, "values are 257 times the reference's: 16-bit images in place of 8-bit ones"),
    (1 / 257, "values are 1/257 of the reference's: 8-bit images in place of 16-bit ones"),
    (100.0, "values are a hundred times the reference's: percent in place of shares, or cents in place of units"),
    (0.01, "values are a hundredth of the reference's: shares in place of percent, or units in place of cents"),
    (1000.0, "values are a thousand times the reference's: another unit"),
    (0.001, "values are a thousandth of the reference's: another unit"),
)
_NEAR = 1.35
#: Images whose channels' means differ by less than this share of their spread say nothing of the channels' order.
_APART = 0.05


@dataclass(frozen=True)
class Skew(Plain):
    """One thing that seems to be wrong with what clients send.

    Attributes:
        input: The input.
        what: Which kind of thing.
        found: What was found and what was expected, in words.

    Example:
        >>> print(dk.Skew("image", "inverted", "light and dark have changed places"))
        image: light and dark have changed places.
    """

    input: str
    what: Suspicion
    found: str

    def __str__(self) -> str:
        return f"{self.input}: {self.found}."


def check_skew(profile: Profile, inputs: Mapping[str, NDArray[Any]]) -> tuple[Skew, ...]:
    """Compare a sample of what clients send with the reference.

    Args:
        profile: Of the model.
        inputs: By name, batch first, as clients send them, before the server converts anything.

    Returns:
        What seems to be wrong, gravest first for each input; empty when nothing does.

    Raises:
        DeploykitError: There is no example.

    Example:
        >>> import numpy as np
        >>> from deploykit.monitoring.fitting import fit
        >>> from deploykit.monitoring.skew import check_skew
        >>> rng = np.random.default_rng(0)
        >>> images = rng.integers(0, 256, (100, 8, 8, 3), np.uint8)
        >>> profile = fit({"image": images}, {"y": rng.random((100, 2))}, "y", "values", model="ab" * 32)
        >>> check_skew(profile, {"image": images[:20]})
        ()
        >>> print(check_skew(profile, {"image": images[:20] / 255})[0])
        image: values run to 1 where the reference runs to 255: they were divided by 255 once too often.
    """
    import numpy as np

    found: list[Skew] = []
    for read, known in zip(profile.head.inputs, profile.head.facts, strict=True):
        if read.name not in inputs:
            found.append(Skew(read.shown, "missing input", "clients do not send it"))
            continue
        array = np.asarray(inputs[read.name])
        if not array.ndim or not len(array):
            raise DeploykitError(f"There is no example of input {read.shown!r}.", remedy="give a batch of requests.")
        found += [Skew(read.shown, what, said) for what, said in _suspicions(read, known, array)]
    return tuple(found)


def _suspicions(read: Read, known: Facts, array: NDArray[Any]) -> Iterator[tuple[Suspicion, str]]:
    now = facts_of(read, array)
    if len(now.shape) != len(known.shape) or (read.sort == "table" and now.shape != known.shape):
        yield "shape", f"examples have shape {now.shape}, the reference's {known.shape}"
        return
    if (now.dtype == "string") != (known.dtype == "string"):
        yield "dtype", f"it is {_kind(now)}, the reference's is {_kind(known)}"
        return
    if now.dtype == "string":
        return
    if now.missing > known.missing + 0.02:
        yield (
            "missing values",
            f"{100 * now.missing:.1f} % of the numbers are missing, {100 * known.missing:.1f} % in the reference",
        )
    if now.missing == 1:
        return
    unit = _unit(now, known)
    if unit:
        yield "units", unit
    elif _inverted(now, known):
        yield "inverted", "low and high values are exchanged: dark is sent where the reference is bright"
    elif _outside(now, known):
        yield (
            "range",
            f"numbers go from {now.low:.4g} to {now.high:.4g}, in the reference from {known.low:.4g} to "
            f"{known.high:.4g}",
        )
    if not unit and now.whole != known.whole and known.dtype.startswith("float") != now.dtype.startswith("float"):
        kind = "whole numbers" if now.whole else "numbers with fractions"
        yield "dtype", f"it is {now.dtype} with {kind}, the reference's is {known.dtype}"
    order = _order(now, known)
    if order:
        yield "channel order", order


def _kind(facts: Facts) -> str:
    return "text" if facts.dtype == "string" else facts.dtype


def _unit(now: Facts, known: Facts) -> str:
    """In which units it seems to be, "" when in the reference's."""
    if known.high <= 0 or now.high <= 0 or known.deviation <= 0 or now.deviation <= 0:
        return ""
    for factor, words in _UNITS:
        spread, level = now.deviation / known.deviation / factor, now.high / known.high / factor
        if 1 / _NEAR < spread < _NEAR and 1 / _NEAR < level < _NEAR:
            plain = abs(known.high - 1) < 0.01 or abs(known.high - 255) < 1
            if plain or not words.startswith("values run"):
                return words
    half = now.deviation / known.deviation
    if now.low < -0.5 and known.low >= 0 and abs(now.high - 1) < 0.05 and abs(now.low + 1) < 0.05 and half != 1:
        return f"values run from -1 to 1, in the reference from {known.low:.4g} to {known.high:.4g}"
    standard = abs(now.mean) < 0.3 and 0.6 < now.deviation < 1.6
    if standard and not now.whole and (abs(known.mean) > 1 or known.high > 4 * now.high):
        return (
            f"values look standardized (mean {now.mean:.2g}, deviation {now.deviation:.2g}), the reference's have mean "
            f"{known.mean:.4g} and deviation {known.deviation:.4g}"
        )
    return ""


def _inverted(now: Facts, known: Facts) -> bool:
    """Whether the mean lies where the reference's would if high and low values were exchanged."""
    width = known.high - known.low
    if width <= 0 or len(known.shape) < 2:
        return False
    place, was = (now.mean - known.low) / width, (known.mean - known.low) / width
    return abs(was - 0.5) > 0.1 and abs(place - (1 - was)) < 0.35 * abs(place - was)


def _outside(now: Facts, known: Facts) -> bool:
    width = max(known.high - known.low, 1e-12)
    beyond = max(known.low - now.low, now.high - known.high) / width
    return beyond > 0.5 or now.deviation > 3 * known.deviation + 1e-12 or now.deviation < known.deviation / 20


def _order(now: Facts, known: Facts) -> str:
    """Whether channels stand in another order, or on another axis."""
    if known.channels and now.channels and now.channel_axis != known.channel_axis:
        names = {0: "first", -1: "last"}
        return f"channels come {names[now.channel_axis]}, in the reference {names[known.channel_axis]}"
    if len(known.channels) != 3 or len(now.channels) != 3 or not known.deviation or not now.deviation:
        return ""
    was = [(c - known.mean) / known.deviation for c in known.channels]
    here = [(c - now.mean) / now.deviation for c in now.channels]
    straight = sum((a - b) ** 2 for a, b in zip(was, here, strict=True))
    swapped = sum((a - b) ** 2 for a, b in zip(was, reversed(here), strict=True))
    if abs(was[0] - was[2]) > _APART and swapped < 0.25 * straight:
        return "the first and the last channel seem to be exchanged (BGR in place of RGB)"
    return ""
