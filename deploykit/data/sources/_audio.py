"""Recordings: one channel at one rate, all of one length."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.extras import require
from deploykit.core.mapped import Growing
from deploykit.data.reading import Found, OnRead, Origin
from deploykit.data.sources._listing import Columns
from deploykit.data.sources._paths import shown
from deploykit.data.sources._recordings import recordings_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Recordings whose largest sample is below this are silent: less than one step of 16 bits.
_SILENT = 1 / (1 << 15)


@dataclass
class _Heard:
    """What was met in the files."""

    resampled: Counter[int] = field(default_factory=Counter)
    mixed: int = 0
    padded: int = 0
    cropped: int = 0
    silent: list[str] = field(default_factory=list)

    def notes(self, count: int, length: int, rate: int) -> list[str]:
        """What was changed, in sentences.

        Args:
            count: Number of recordings.
            length: Their length in samples.
            rate: Samples per second.
        """
        found = [f"recordings have {length:,} samples at {rate:,} Hz ({length / rate:g} s), one channel."]
        for was, of in sorted(self.resampled.items()):
            found.append(f"{of:,} of {count:,} were resampled from {was:,} to {rate:,} Hz (polyphase filter).")
        for of, what in (
            (self.mixed, "had several channels, and got their mean"),
            (self.padded, "were shorter and got zeros at their end"),
            (self.cropped, "were longer and lost their end"),
        ):
            if of:
                found.append(f"{of:,} of {count:,} {what}.")
        return found


def read_audio(
    path: Path,
    rate: int | None,
    seconds: float | None,
    classes: Sequence[str],
    progress: OnRead | None,
    columns: Columns = Columns(),  # noqa: B008  frozen
) -> Found:
    """What a folder of recordings, or a table that lists them, holds.

    Args:
        path: The folder or the table; see `recordings_at`.
        rate: Samples per second; None for the rate that most files have.
        seconds: Length of every recording; None for the length that most have, or the longest of those with texts.
        classes: Names of the classes in their order, () for that of the alphabet; or tokens of texts.
        progress: Called with the files that are read.
        columns: Of the table.
    """
    import numpy as np

    given = recordings_at(path, classes, columns)
    infos = [_info(file) for file in given.files]
    wanted = rate or Counter(info.samplerate for info in infos).most_common(1)[0][0]
    lengths = [math.ceil(info.frames * wanted / info.samplerate) for info in infos]
    usual = max(lengths) if given.texts else Counter(lengths).most_common(1)[0][0]
    length = round(seconds * wanted) if seconds else usual
    if length < 1:
        raise DatasetError(f"Recordings of {length} samples are empty.", remedy="give seconds=, or longer files.")
    # The text of a recording that is cut would hold words that are not in it.
    cut = {place for place, own in enumerate(lengths) if own > length} if given.texts else set()
    if len(cut) == len(infos):
        raise DatasetError(
            f"All {len(cut):,} recordings of {path} are longer than {length / wanted:g} s, and their texts cannot be "
            "cut with them.",
            remedy=f"give seconds={max(lengths) / wanted:g}, which the longest has (--seconds).",
        )
    grown, kept, heard = Growing(), [], _Heard()
    for place, file in enumerate(given.files):
        samples = None if place in cut else _samples(file, wanted, length, heard)
        if samples is not None:
            grown.append(samples[None])
            kept.append(place)
        if progress is not None:
            progress(place + 1, len(infos), "recordings")
    if not kept:
        raise DatasetError(f"All {len(infos)} recordings of {path} are silent.", remedy="check the files.")
    left_out, names = list(given.left_out), [given.files[place].name for place in sorted(cut)]
    if cut:
        left_out.append(
            f"{len(cut):,} recordings longer than {length / wanted:g} s, which would lose words of their texts: "
            f"{shown(names)}"
        )
    if heard.silent:
        left_out.append(f"{len(heard.silent):,} silent recordings: {shown(heard.silent)}")
    notes = [*given.notes, *heard.notes(len(infos) - len(cut), length, wanted)]
    found: dict[str, Any] = {"x": grown.array()}
    if given.labels:
        found["y"] = np.array([given.labels[place] for place in kept])
    if given.classes:
        found["classes"] = given.classes
    origin = Origin(
        str(path), "audio", {"input": "recordings"}, given.of, tuple(left_out), tuple(notes), texts=given.texts
    )
    return Found(found, origin)


def _info(file: Path) -> Any:
    soundfile = require("soundfile")
    try:
        found = soundfile.info(str(file))
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(file, error) from error
    if not found.frames:
        raise DatasetError(f"{file} holds no samples.", remedy="remove or replace it.")
    return found


def _unreadable(file: Path, error: Exception) -> DatasetError:
    why = "it is empty" if not file.stat().st_size else str(error).rstrip(".")
    return DatasetError(f"{file} is not a readable recording: {why}.", remedy="remove or replace it.")


def _samples(file: Path, rate: int, length: int, heard: _Heard) -> NDArray[Any] | None:
    """A recording of one channel, float32 from -1 to 1; None when it is silent."""
    import numpy as np

    soundfile = require("soundfile")
    try:
        found, own = soundfile.read(str(file), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(file, error) from error
    if not np.isfinite(found).all():
        raise DatasetError(f"{file} holds NaN or infinite samples.", remedy="remove or replace it.")
    samples = found.mean(axis=1)
    if np.abs(samples).max() < _SILENT:
        heard.silent.append(file.name)
        return None
    heard.mixed += found.shape[1] > 1
    if own != rate:
        heard.resampled[own] += 1
        shared = math.gcd(own, rate)
        samples = require("scipy.signal").resample_poly(samples, rate // shared, own // shared)
    heard.padded += len(samples) < length
    heard.cropped += len(samples) > length
    whole = np.zeros(length, np.float32)
    whole[: min(length, len(samples))] = samples[:length]
    return whole
