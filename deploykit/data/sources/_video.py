"""Videos as images: frames at a rate, all of one size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError, SettingError
from deploykit.core.extras import require
from deploykit.data.kinds import VIDEOS
from deploykit.data.reading import Found, OnRead, Origin
from deploykit.data.resize import FILTER, resized
from deploykit.data.sources._class_folders import (
    Walk,
    classes_of,
    files_of,
    folders_of,
    known,
    members_of,
    parts_of,
    tell,
)
from deploykit.data.sources._listing import Columns, listed
from deploykit.data.sources._paths import present, shown
from deploykit.data.sources._stack import Stack

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: FFmpeg's names of the containers that are opened: its others may be lists of files and addresses to open.
_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf"
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}
#: Pixels of a frame at most, as Pillow has it for images.
_MOST_PIXELS = 178_956_970
#: A frame that is this much of the time between two too early is the one that was meant: times are rounded.
_SLACK = 0.01


@dataclass
class _Seen:
    """What was met in the files."""

    broken: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    slow: int = 0
    turned: int = 0
    scaled: int = 0
    frames: int = 0
    videos: int = 0

    def left_out(self) -> list[str]:
        """What is not used, in words."""
        kinds = ((self.broken, "that cannot be decoded"), (self.without, "without a picture"))
        return [f"{len(names):,} videos {why}: {shown(names)}" for names, why in kinds if names]

    def notes(self, per_second: float, size: tuple[int, int]) -> list[str]:
        """What was taken and changed, in sentences."""
        found = [
            f"{self.frames:,} frames of {self.videos:,} videos, {per_second:g} per second of video; all frames of a "
            "video are in the same split.",
            "frames of a video resemble each other: intervals count videos, not frames.",
        ]
        if self.slow:
            found.append(f"{self.slow:,} of {self.videos:,} videos have fewer frames per second; each was taken once.")
        if self.scaled:
            found.append(
                f"{self.scaled:,} of {self.frames:,} frames have a different size and were scaled to "
                f"{size[0]} x {size[1]} ({FILTER})."
            )
        if self.turned:
            found.append(f"{self.turned:,} of {self.videos:,} videos were rotated as they say.")
        if self.ended:
            found.append(f"{len(self.ended):,} videos are damaged and end early: {shown(self.ended)}.")
        return found


def read_video(
    path: Path,
    per_second: float,
    size: tuple[int, int] | None,
    classes: Sequence[str],
    progress: OnRead | None,
    columns: Columns = Columns(),  # noqa: B008  frozen
) -> Found:
    """What a folder of videos, or a table that lists them, holds.

    Args:
        path: A folder by class, one of videos without labels, or a table.
        per_second: Frames for each second of video.
        size: (height, width) of all frames; None for the size of most training videos.
        classes: Names of the classes in their order, () for that of the alphabet.
        progress: Called with the videos that are read.
        columns: Of the table.
    """
    import numpy as np

    if not 0 < per_second < float("inf"):
        raise SettingError(f"Expected per_second above 0, got {per_second!r}.", remedy="give 1 for a frame per second.")
    present(path, folder=path.is_dir())
    require("av")
    parts, of, left_out, notes, names = _of_folder(path, classes) if path.is_dir() else _of_table(path, columns)
    seen, found, groups = _Seen(), dict[str, Any](), dict[str, Any]()
    if names:
        found["classes"] = names
    for key, files in parts.items():
        size = size or _usual_size([file for file, _ in files], seen)
        stack, labels, own = Stack(), list[Any](), list[int]()
        for place, (file, label) in enumerate(files):
            before = len(stack)
            for frame in _frames(file, per_second, seen):
                seen.scaled += frame.shape[:2] != size
                stack.add(resized(frame[None], size)[0])
            if taken := len(stack) - before:
                seen.videos += 1
                labels += [label] * taken
                own += [place] * taken
            if progress is not None:
                progress(place + 1, len(files), "videos")
        if not own:
            why = "; ".join(seen.left_out())
            raise DatasetError(f"No video of {path} can be read ({why}).", remedy="check the files.")
        fewest = 2 if key == "x_test" else 1 if "x_test" in parts else 3  # one for each split
        if len(set(own)) < fewest:
            raise DatasetError(
                f"{path} holds {len(set(own))} {'held-out ' if key == 'x_test' else ''}videos that can be read, at "
                f"least {fewest} are needed: all frames of a video are in the same split.",
                remedy="give more videos, or cut the long ones where the scene changes.",
            )
        seen.frames += len(stack)
        others = len(parts["x"]) if key == "x_test" else 0  # a video of one part is none of the other
        found[key], groups[key] = stack.array(), np.array(own) + others
        if of:
            found[key.replace("x", "y")] = np.array(labels)
    assert size is not None
    origin = Origin(
        str(path), "video", {"input": "frames of videos"}, of, (*left_out, *seen.left_out()),
        (*notes, *seen.notes(per_second, size)), groups=groups["x"], test_groups=groups.get("x_test"),
    )  # fmt: skip
    return Found(found, origin)


_Parts = tuple[dict[str, list[tuple[Path, Any]]], str, list[str], list[str], list[str]]


def _of_folder(path: Path, classes: Sequence[str]) -> _Parts:
    """Videos with their classes, what the labels are, what is left out, notes, and the class names."""
    walk = Walk(path.resolve(), VIDEOS, "video")
    if not folders_of(path, walk) and not classes:
        files: list[tuple[Path, Any]] = [(file, None) for file in members_of(path, walk)]
        if not files:
            raise DatasetError(f"{path} holds no videos ({', '.join(VIDEOS)}).", remedy="check the folder.")
        tell(walk)
        return {"x": files}, "", walk.left_out, walk.notes, []
    folders = parts_of(path, walk)
    names = classes_of(folders["x"], classes, walk)
    parts: dict[str, list[tuple[Path, Any]]] = {}
    for key, folder in folders.items():
        known(folder, names, walk)
        parts[key] = [(file, index) for file, index in files_of(folder, names, walk)]
    tell(walk)
    return parts, "names of the folders", walk.left_out, walk.notes, names


def _of_table(path: Path, columns: Columns) -> _Parts:
    found = listed(path, columns, VIDEOS)
    labels: Sequence[Any] = found.labels or [None] * len(found.files)
    return {"x": list(zip(found.files, labels, strict=True))}, found.of, found.left_out, found.notes, []


def _usual_size(files: Sequence[Path], seen: _Seen) -> tuple[int, int]:
    """The size that most videos have; of several the one that comes first."""
    sizes = Counter[tuple[int, int]]()
    for file in files:
        first = next(_frames(file, 1.0, _Seen()), None)
        if first is not None:
            sizes[first.shape[0], first.shape[1]] += 1
    return sizes.most_common(1)[0][0] if sizes else (1, 1)


def _frames(file: Path, per_second: float, seen: _Seen) -> Iterator[NDArray[Any]]:
    """Frames of a video, RGB (height, width, channel): the first one, then one each time a step of time has passed."""
    import numpy as np

    av = require("av")
    count, decoded, start, time = 0, 0, 0.0, 0.0
    # Titles that are not UTF-8 matter to nothing here; av 19 no longer asks.
    options = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "ignore"}
    try:
        with file.open("rb") as content, av.open(content, options=_OPTIONS, **options) as container:
            if not container.streams.video:
                (seen.without if len(container.streams) else seen.broken).append(file.name)
                return
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or 0)
            for frame in container.decode(stream):
                if frame.width * frame.height > _MOST_PIXELS:
                    raise ValueError("a frame has too many pixels")
                time = frame.time if frame.time is not None else start + decoded / (rate or 1.0)
                start = start if decoded else time
                decoded += 1
                if (time - start) * per_second < count - _SLACK:
                    continue
                # A video that is slower than the rate gives each of its frames once.
                count = max(count, int((time - start) * per_second + _SLACK)) + 1
                seen.turned += decoded == 1 and frame.rotation != 0
                yield np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
    except (OSError, ValueError, IndexError, ArithmeticError, MemoryError):
        (seen.ended if decoded else seen.broken).append(file.name)
        return
    if not decoded:
        seen.without.append(file.name)
    elif decoded > 1 and time > start and (decoded - 1) / (time - start) < per_second * (1 - _SLACK):
        seen.slow += 1
