"""Which recordings there are, and the class or the text of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploykit.core.errors import DatasetError
from deploykit.data.kinds import RECORDINGS, TRANSCRIPTS
from deploykit.data.sources._listing import Columns, listed
from deploykit.data.sources._paths import present, shown

#: Most bytes of a file that holds the text of one recording, or those of a chapter.
_MOST_BYTES = 4 << 20
#: Recordings have texts beside them when at least this share does.
_BESIDE = 0.5


@dataclass
class Recordings:
    """Recordings that are there.

    Attributes:
        files: The files.
        labels: One per file, empty when there are none.
        texts: Whether labels are what is said, rather than names of classes.
        of: What was taken for the labels, in words.
        classes: Names of the classes in their order, empty when that is open.
        left_out: What is not used, in words.
        notes: What may surprise, in sentences.
    """

    files: list[Path]
    labels: list[str]
    texts: bool = False
    of: str = ""
    classes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def recordings_at(path: Path, classes: Sequence[str], columns: Columns) -> Recordings:
    """The recordings of a folder, or those that a table lists.

    Args:
        path: A folder by class, one with texts beside the recordings or in LibriSpeech's files, or a table.
        classes: Names of the classes in their order, () for that of the alphabet.
        columns: Of the table.

    Raises:
        DatasetError: There are none, or some have neither class nor text.
    """
    present(path, folder=path.is_dir())
    if not path.is_dir():
        found = listed(path, columns, RECORDINGS, texts=True)
        named = [] if found.texts else list(classes)
        return Recordings(found.files, found.labels, found.texts, found.of, named, found.left_out, found.notes)
    if any(value is not None for value in (columns.file, columns.label, columns.text)):
        raise DatasetError(
            f"{path} is a folder, which has no columns.",
            remedy="leave out file=, label= and text=, or give the table that lists the recordings.",
        )
    files = list(_below(path))
    if lists := [file for file in files if file.name.endswith(TRANSCRIPTS)]:
        return _of_lists(path, files, lists)
    sounds = [file for file in files if file.suffix.lower() in RECORDINGS]
    texts = {file for file in files if file.suffix == ".txt"}
    beside = {file for file in sounds if file.with_suffix(".txt") in texts}
    if beside and len(beside) >= _BESIDE * len(sounds):
        return _beside(sounds, beside)
    return _of_classes(path, classes)


def _below(path: Path) -> Iterator[Path]:
    """Files of a folder and those below it; links to outside, pipes and devices are never opened."""
    root = path.resolve()
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith((".", "__")) for part in file.relative_to(path).parts)
        if not hidden and file.is_file() and (not file.is_symlink() or file.resolve().is_relative_to(root)):
            yield file


def _of_lists(path: Path, files: Sequence[Path], lists: Sequence[Path]) -> Recordings:
    """Recordings whose names and texts are the lines of files beside them, as LibriSpeech has them."""
    sounds = {file.with_suffix(""): file for file in files if file.suffix.lower() in RECORDINGS}
    found, missing, empty, named = Recordings([], [], True, f"lines of *{TRANSCRIPTS}"), [], [], set[Path]()
    for file in lists:
        for line in _text(file).splitlines():
            name, _, words = line.strip().partition(" ")
            if not name:
                continue
            named.add(file.parent / name)
            if (sound := sounds.get(file.parent / name)) is None:
                missing.append(name)
            elif not words.strip():
                empty.append(name)
            else:
                found.files.append(sound)
                found.labels.append(words.strip())
    other = [sound.name for place, sound in sounds.items() if place not in named]
    return _checked(path, found, other, empty, [(missing, "recordings that are listed and not there")])


def _beside(sounds: Sequence[Path], beside: set[Path]) -> Recordings:
    """Recordings whose texts are in files of the same names."""
    found, empty = Recordings([], [], True, "a .txt file beside each recording"), []
    for file in sounds:
        if file not in beside:
            continue
        words = " ".join(_text(file.with_suffix(".txt")).split())
        if words:
            found.files.append(file)
            found.labels.append(words)
        else:
            empty.append(file.name)
    other = [file.name for file in sounds if file not in beside]
    return _checked(sounds[0].parent, found, other, empty, [])


def _checked(
    path: Path, found: Recordings, other: Sequence[str], empty: Sequence[str], more: list[tuple[list[str], str]]
) -> Recordings:
    what = [*more, (other, "recordings without a text"), (empty, "recordings whose text is empty")]
    found.left_out += [f"{len(names):,} {words}: {shown(names)}" for names, words in what if names]
    if not found.files:
        raise DatasetError(
            f"{path} holds no recording with a text ({'; '.join(found.left_out) or 'no lines'}).",
            remedy="put each recording beside its text: a .txt file of the same name, or a line that begins with it.",
        )
    return found


def _text(file: Path) -> str:
    if file.stat().st_size > _MOST_BYTES:
        raise DatasetError(f"{file} has more than {_MOST_BYTES:,} bytes.", remedy="give the text of its recordings.")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file} is not UTF-8 text: {error.reason}.", remedy="save it as UTF-8.") from error
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}.", remedy="change its permissions.") from error


def _of_classes(path: Path, classes: Sequence[str]) -> Recordings:
    """Recordings of a folder with one folder for each class."""
    root = path.resolve()
    folders = [p for p in sorted(path.iterdir()) if p.is_dir() and not p.name.startswith((".", "__"))]
    names = list(classes) or [p.name for p in folders]
    if unknown := [p.name for p in folders if p.name not in names]:
        raise DatasetError(
            f"{path} holds the folder {unknown[0]!r}, which is not one of the classes {names}.",
            remedy="move it away, or name it in classes= (--classes).",
        )
    found, other = Recordings([], [], of="names of the folders", classes=names), Counter[str]()
    for name in names:
        mine = []
        for file in sorted((path / name).iterdir()) if (path / name).is_dir() else ():
            inside = file.is_file() and file.resolve().is_relative_to(root) and not file.name.startswith(".")
            if inside and file.suffix.lower() in RECORDINGS:
                mine.append(file)
            else:
                other[file.suffix.lower() or "without ending"] += 1
        if not mine:
            raise DatasetError(
                f"{path / name} holds no recordings ({', '.join(RECORDINGS)}) for the class {name!r}.",
                remedy="add some, or remove the folder.",
            )
        found.files += mine
        found.labels += [name] * len(mine)
    if not found.files:
        raise DatasetError(
            f"{path} has no class folders, and its recordings have no texts beside them.",
            remedy="put the recordings in one folder per class, or a .txt file beside each.",
        )
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(other.items()))
    found.left_out += [f"{sum(other.values())} files that are not recordings: {kinds}"] if other else []
    return found
