"""Which constructor of a dataset reads a path: what lies there decides."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from deploykit.core.serial import parse

#: Constructors of `deploykit.Dataset` that read a path and need nothing else to be said.
READERS = (
    "from_npz", "from_csv", "from_text", "from_parquet", "from_huggingface", "from_coco", "from_image_folder",
    "from_masks", "from_audio", "from_video",
)  # fmt: skip
_BY_ENDING = {
    ".csv": "from_csv", ".json": "from_coco", ".parquet": "from_parquet",
    **dict.fromkeys((".tsv", ".jsonl", ".ndjson", ".txt"), "from_text"),
}  # fmt: skip
#: What columns of text are usually called; the first that is there is taken.
TEXTS = ("text", "sentence", "review", "content", "document", "tokens", "words", "question", "query", "title")
#: Endings of images, of videos and of recordings.
PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
VIDEOS = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".flv", ".ogv", ".3gp",
)  # fmt: skip
RECORDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3")
#: Ending of LibriSpeech's files of texts, a recording's name and its text in each line.
TRANSCRIPTS = ".trans.txt"
#: Folders of images and masks inside one.
IMAGES, MASKS = "images", "masks"
#: Columns of a table that name files.
FILE_COLUMNS = ("file", "path", "filename", "file_name", "filepath", "audio", "audio_filepath", "recording")
#: Tables that may list files.
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
#: Files of a folder that are looked at, and how many folders below it.
_LOOKED_AT, _DEPTH = 200, 3
#: Bytes of a line that are looked at.
_LINE = 1 << 16


def reader_of(path: Path, file: str | None = None) -> str:
    """Name of the constructor that reads a path.

    A folder with ``.npy`` files is read like an ``.npz`` file, one that ``datasets`` has saved as such, folders with
    ``.parquet`` files, or with ``.txt`` files by class, as tables and texts, one with the folders ``images`` and
    ``masks`` as images with masks, one that holds recordings or videos, or whose folders do, as these, and other
    folders as images by class. A table (``.csv``, ``.tsv``, ``.jsonl``) lists recordings or videos where a column names
    such files; a ``.csv`` file holds text where a column is called so, else numbers; a ``.json`` file holds boxes in
    COCO's form, or a list of texts. Everything else is read as ``.npz``. No more than the first lines of a file are
    read.

    Args:
        path: Of data; it need not exist.
        file: Column of a table that names files; None: one that is called so.
    """
    with contextlib.suppress(OSError):
        if path.is_dir():
            return _reader_of_folder(path)
        if path.suffix.lower() in _TABLES:
            for endings, reader in ((RECORDINGS, "from_audio"), (VIDEOS, "from_video")):
                if _lists(path, endings, file):
                    return reader
        if path.suffix.lower() in (".csv", ".json") and _holds_text(path):
            return "from_text"
    return _BY_ENDING.get(path.suffix.lower(), "from_npz")


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder is one of ``datasets``' ``save_to_disk``."""
    return (path / "dataset_dict.json").is_file() or (
        (path / "dataset_info.json").is_file() and (path / "state.json").is_file()
    )


def _reader_of_folder(path: Path) -> str:
    if is_saved_dataset(path):
        return "from_huggingface"
    endings = {p.suffix for p in path.iterdir()}
    if endings & {".npy", ".parquet"}:
        return "from_npz" if ".npy" in endings else "from_parquet"
    if (path / IMAGES).is_dir() and (path / MASKS).is_dir():
        return "from_masks"
    if _holds(path, RECORDINGS):
        return "from_audio"
    if _holds(path, VIDEOS) and not _holds(path, PICTURES):
        return "from_video"
    texts = any(path.glob("*/*.txt")) or any(path.glob("*/*/*.txt"))
    return "from_text" if texts else "from_image_folder"


def _holds(path: Path, endings: tuple[str, ...], depth: int = _DEPTH) -> bool:
    """Whether a folder, or one not far below it, holds files with one of these endings."""
    entries = sorted(islice((p for p in path.iterdir() if not p.name.startswith((".", "__"))), _LOOKED_AT))
    if any(p.suffix.lower() in endings for p in entries):
        return True
    return depth > 0 and any(_holds(p, endings, depth - 1) for p in entries if p.is_dir() and not p.is_symlink())


def _holds_text(path: Path) -> bool:
    """Whether a ``.json`` file begins a list, or a ``.csv`` file has words in a column that is called like text."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix.lower() == ".json":
                return file.read(64).lstrip().startswith("[")
        pairs = _first_row(path)
    except (ValueError, csv.Error):
        return False  # reading it says why
    return any(not is_number(cell) for name, cell in pairs if name.strip().lower() in TEXTS)


def _first_row(path: Path, separator: str = ",") -> list[tuple[str, str]]:
    """Column and cell of a table's first row; nothing where there is none."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(islice(csv.reader(file, delimiter=separator), 2))
    # A row may be shorter than its header here: what reads the file says so.
    return list(zip(*rows, strict=False)) if len(rows) > 1 else []


def _lists(path: Path, endings: tuple[str, ...], file: str | None) -> bool:
    """Whether the first row of a table names a file with one of these endings."""
    pairs: Iterable[tuple[Any, Any]]
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            pairs = _first_row(path, "\t" if path.suffix.lower() == ".tsv" else ",")
        else:
            with path.open(encoding="utf-8-sig") as lines:
                pairs = dict(parse(lines.readline(_LINE))).items()
    except (OSError, TypeError, ValueError, csv.Error):
        return False  # reading it says why
    columns = FILE_COLUMNS if file is None else (file.lower(),)
    return any(n.strip().lower() in columns and str(c).strip().lower().endswith(endings) for n, c in pairs)


def is_number(cell: str) -> bool:
    """Whether text is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
