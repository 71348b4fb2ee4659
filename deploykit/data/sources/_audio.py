"""Recordings: one channel at one rate, all of one length."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.core.extras import require
from deploykit.core.mapped import Growing
from deploykit.data.kinds import FILE_COLUMNS, RECORDINGS
from deploykit.data.reading import Found, OnRead, Origin
from deploykit.data.sources._paths import present, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LABEL_COLUMNS = ("label", "class", "target")
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


def read_audio(
    path: Path, rate: int | None, seconds: float | None, classes: Sequence[str], progress: OnRead | None
) -> Found:
    """What a folder of recordings by class, or a CSV file that lists them, holds.

    Args:
        path: The folder, or the CSV file with the columns ``file`` and ``label``.
        rate: Samples per second; None for the rate that most files have.
        seconds: Length of every recording; None for the length that most have.
        classes: Names of the classes in their order, () for that of the alphabet.
        progress: Called with the files that are read.
    """
    import numpy as np

    present(path, folder=path.is_dir())
    files, left_out = _of_folder(path, classes) if path.is_dir() else _of_csv(path)
    infos = [_info(file) for file, _ in files]
    wanted = rate or Counter(info.samplerate for info in infos).most_common(1)[0][0]
    lengths = Counter(math.ceil(info.frames * wanted / info.samplerate) for info in infos)
    length = round(seconds * wanted) if seconds else lengths.most_common(1)[0][0]
    if length < 1:
        raise DatasetError(f"Recordings of {length} samples are empty.", remedy="give seconds=, or longer files.")
    grown, labels, heard = Growing(), [], _Heard()
    for place, (file, label) in enumerate(files):
        samples = _samples(file, wanted, length, heard)
        if samples is not None:
            grown.append(samples[None])
            labels.append(label)
        if progress is not None:
            progress(place + 1, len(files), "recordings")
    if not labels:
        raise DatasetError(f"All {len(files)} recordings of {path} are silent.", remedy="check the files.")
    if heard.silent:
        left_out.append(f"{len(heard.silent):,} silent recordings: {shown(heard.silent)}")
    notes = [f"recordings have {length:,} samples at {wanted:,} Hz ({length / wanted:g} s), one channel."]
    for was, count in sorted(heard.resampled.items()):
        notes.append(f"{count:,} of {len(files):,} were resampled from {was:,} to {wanted:,} Hz (polyphase filter).")
    for count, what in (
        (heard.mixed, "had several channels, and got their mean"),
        (heard.padded, "were shorter and got zeros at their end"),
        (heard.cropped, "were longer and lost their end"),
    ):
        if count:
            notes.append(f"{count:,} of {len(files):,} {what}.")
    names = sorted({name for _, name in files}) if path.is_dir() and not classes else list(classes)
    found: dict[str, Any] = {"x": grown.array(), "y": np.array(labels), **({"classes": names} if names else {})}
    of = "names of the folders" if path.is_dir() else "column of labels"
    inputs = {"input": "recordings"}
    return Found(found, Origin(str(path), "audio", inputs, of, tuple(left_out), tuple(notes)))


def _of_folder(path: Path, classes: Sequence[str]) -> tuple[list[tuple[Path, str]], list[str]]:
    """Recordings of a folder with one folder for each class."""
    root = path.resolve()
    folders = [p for p in sorted(path.iterdir()) if p.is_dir() and not p.name.startswith((".", "__"))]
    names = list(classes) or [p.name for p in folders]
    if unknown := [p.name for p in folders if p.name not in names]:
        raise DatasetError(
            f"{path} holds the folder {unknown[0]!r}, which is not one of the classes {names}.",
            remedy="move it away, or name it in classes= (--classes).",
        )
    found, other = [], Counter[str]()
    for name in names:
        mine = []
        for file in sorted((path / name).iterdir()) if (path / name).is_dir() else ():
            inside = file.is_file() and file.resolve().is_relative_to(root) and not file.name.startswith(".")
            if inside and file.suffix.lower() in RECORDINGS:
                mine.append((file, name))
            else:
                other[file.suffix.lower() or "without ending"] += 1
        if not mine:
            raise DatasetError(
                f"{path / name} holds no recordings ({', '.join(RECORDINGS)}) for the class {name!r}.",
                remedy="add some, or remove the folder.",
            )
        found += mine
    if not found:
        raise DatasetError(f"{path} has no class folders.", remedy="put the recordings in one folder per class.")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(other.items()))
    return found, [f"{sum(other.values())} files that are not recordings: {kinds}"] if other else []


def _of_csv(path: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """Recordings that a CSV file lists, by their places relative to it."""
    found, missing = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            header = rows.fieldnames or []
            named, label = (next((h for h in header if h.lower() in k), "") for k in (FILE_COLUMNS, _LABEL_COLUMNS))
            if not named or not label:
                raise DatasetError(
                    f"{path} has the columns {', '.join(header) or 'none'}, expected file and label.",
                    remedy="name them so.",
                )
            for row in rows:
                place = path.parent / (row[named] or "")
                if not place.is_file():
                    missing.append(row[named] or f"line {rows.line_num}")
                elif not (row[label] or "").strip():
                    raise DatasetError(f"{path}, line {rows.line_num}: the label is empty.", remedy="fill it.")
                else:
                    found.append((place, row[label].strip()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a CSV file: {error}.", remedy="save it as UTF-8 text.") from error
    if not found:
        raise DatasetError(
            f"None of the {len(missing)} files that {path} lists is there: {shown(missing, 3)}.",
            remedy="give their places relative to the CSV file.",
        )
    return found, [f"{len(missing):,} files that are listed and not there: {shown(missing)}"] if missing else []


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
