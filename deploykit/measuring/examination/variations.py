"""Other ways to preprocess the same examples: the most usual mistakes, each with its line of code and its flags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploykit.core.contract import InputMeaning
from deploykit.data.preprocess import Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Usual mean and standard deviation of red, green and blue, from 0 to 1 (ImageNet).
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def variants(step: Preprocess, raw: NDArray[Any], meaning: InputMeaning) -> Iterator[tuple[str, str, str, Preprocess]]:
    """Other preprocessing of the same examples: kind, words, label for a button, and what it is."""
    high, low = float(raw.max(initial=0)), float(raw.min(initial=0))
    plain = replace(step, scale=1.0, offset=0.0, mean=None, std=None, raw=False)
    if meaning.scale and not step.raw and raw.dtype.kind in "iu":
        yield (
            "raw",
            "raw=True: the data are the model's own integers",
            "Take them as raw integers",
            replace(plain, raw=True),
        )
    for words, label, changes in _scales(low, high, _channels(raw, step)):
        yield "scale", words, label, replace(plain, **changes)
    if _channels(raw, step) == 3:
        other = None if step.channels else "reversed"
        yield "channels", f"channels={other!r}", "Reverse the channels", replace(step, channels=other)  # type: ignore[arg-type]  # one of both
    shape = step.reshape or raw.shape[1:]
    if len(shape) in (2, 3) and step.transpose is None and step.layout is None:
        planes = [d for d in shape if d not in (1, 3)] if len(shape) == 3 else list(shape)
        if len(planes) == 2 and planes[0] == planes[1]:
            axes = [i for i, d in enumerate(shape) if d == planes[0]]
            order = list(range(len(shape)))
            order[axes[0]], order[axes[1]] = order[axes[1]], order[axes[0]]
            said = f"transpose={tuple(order)}: height and width exchanged"
            yield "axes", said, "Exchange height and width", replace(step, transpose=tuple(order))


def _scales(low: float, high: float, channels: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield "scale=1: the numbers as they are", "Do not scale", {}
    bytes_like = high > 2 and low >= 0
    if bytes_like:
        yield "scale=1/255", "Scale by 1/255", {"scale": 1 / 255}
        yield "scale=1/127.5, offset=-1", "Scale to −1 … 1", {"scale": 1 / 127.5, "offset": -1.0}
        yield (
            "scale=-1/255, offset=1: light and dark exchanged",
            "Exchange light and dark",
            {"scale": -1 / 255, "offset": 1.0},
        )
        if channels == 3:
            yield ("scale=1/255 and the usual mean and std", "Scale by 1/255, mean and std",
                   {"scale": 1 / 255, "mean": _MEAN, "std": _STD})  # fmt: skip
    elif low >= 0 and high <= 2:
        yield "scale=2, offset=-1", "Scale to −1 … 1", {"scale": 2.0, "offset": -1.0}
        yield "scale=255", "Scale by 255", {"scale": 255.0}
        yield "scale=-1, offset=1: light and dark exchanged", "Exchange light and dark", {"scale": -1.0, "offset": 1.0}
        if channels == 3:
            yield "the usual mean and std", "Apply mean and std", {"mean": _MEAN, "std": _STD}
    elif low < 0 and high <= 2 and low >= -2:
        yield "scale=0.5, offset=0.5", "Scale to 0 … 1", {"scale": 0.5, "offset": 0.5}
        yield "scale=127.5, offset=127.5", "Scale to 0 … 255", {"scale": 127.5, "offset": 127.5}


def _channels(raw: NDArray[Any], step: Preprocess) -> int:
    """Channels on the last axis, as preprocessing sees them; 0 when examples are not images."""
    shape = step.reshape or raw.shape[1:]
    return int(shape[-1]) if len(shape) == 3 else 0


def code_of(step: Preprocess) -> str:
    """The line that makes it, with the usual scales as fractions."""
    text = step.code()
    for value, words in ((1 / 255, "1/255"), (-1 / 255, "-1/255"), (1 / 127.5, "1/127.5")):
        text = text.replace(repr(value), words)
    return text


def flags_of(step: Preprocess) -> str:
    """The same on the command line."""
    words = {1 / 255: "1/255", -1 / 255: "-1/255", 1 / 127.5: "1/127.5"}
    found = []
    for name in ("scale", "offset"):
        value, default = getattr(step, name), getattr(Preprocess(), name)
        if value != default:  # a leading minus would be taken for a flag
            found.append(f"--{name}{'=' if value < 0 else ' '}{words.get(value, f'{value:g}')}")
    for name in ("reshape", "resize", "transpose", "mean", "std"):
        if (value := getattr(step, name)) is not None:
            listed = value if isinstance(value, tuple) else (value,)
            found.append(f"--{name} {','.join(f'{v:g}' for v in listed)}")
    found += [f"--{name} {getattr(step, name)}" for name in ("layout", "channels") if getattr(step, name)]
    return " ".join([*found, "--raw"] if step.raw else found)
