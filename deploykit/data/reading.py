"""What was read: where the data come from, what was taken for what, and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploykit.core.mapped import blocks, distinct, is_large, stowed
from deploykit.core.serial import Plain
from deploykit.data.boxes import CLASS, are_boxes
from deploykit.data.labels import gaps
from deploykit.data.rows import MOST_KEPT_BYTES, Rows, hashes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deploykit.data.split import Split


#: Bytes of an example that are compared before whole examples are.
_PROBED = 64
_MOST_SHOWN = 5
#: Called while data are read: what is done, of how much (0 when that is not known), and in what unit.
OnRead = Callable[[int, int, str], None]
#: Examples that are looked at together where there are many, and in how many turns at most.
_AT_ONCE, _MOST_ROUNDS = 1 << 17, 64


@dataclass(frozen=True)
class Origin:
    """Where data come from, as the one who reads them knows it.

    Attributes:
        source: Path, "" for data in memory.
        kind: See `Reading`.
        inputs: Input name → what was taken for it.
        labels: What was taken for the labels.
        left_out: What was not used and why.
        notes: What is remarkable, in sentences.
        spare: Arrays that are not inputs unless the model takes more of them, and the input itself, by their own names.
        test_spare: The same of the held-out examples.
        texts: Whether labels are texts even where no vocabulary is given.
        groups: What each example is a part of, None for none; see `Split`.
        test_groups: The same of the held-out examples.
    """

    source: str = ""
    kind: str = "arrays"
    inputs: Mapping[str, str] = field(default_factory=dict)
    labels: str = ""
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    spare: Mapping[str, Any] = field(default_factory=dict)
    test_spare: Mapping[str, Any] = field(default_factory=dict)
    texts: bool = False
    groups: Any = None
    test_groups: Any = None


@dataclass(frozen=True)
class Found:
    """What was read of a source.

    Attributes:
        arguments: Of `Dataset.from_arrays`.
        origin: Where they come from.
    """

    arguments: dict[str, Any]
    origin: Origin


@dataclass(frozen=True)
class ClassCounts(Plain):
    """How many examples the classes of a split have.

    Attributes:
        classes: How many classes have any.
        fewest: Examples of the class that has the fewest of them.
        most: Examples of the class that has the most.
    """

    classes: int
    fewest: int
    most: int

    def __str__(self) -> str:
        each = f"{self.fewest:,}" if self.fewest == self.most else f"{self.fewest:,} to {self.most:,}"
        return f"{self.classes:,} class{'' if self.classes == 1 else 'es'} of {each}"


@dataclass(frozen=True)
class Reading(Plain):
    """What was read. It is saved with a dataset and is not part of its digest.

    Attributes:
        source: Path, "" for data in memory.
        kind: What it is: "arrays", "npz", "csv", "images", "audio", "video", "coco" or "tf.data".
        inputs: What was taken for each input, in words.
        labels: What was taken for the labels, in words; "" when there are none.
        splits: Split → examples.
        classes: Split → examples of its classes; empty for labels that are not classes.
        given_apart: The held-out examples were given apart from the training examples, not split from them here.
        left_out: What was not used and why, in words.
        notes: What is remarkable, in sentences.
    """

    source: str = ""
    kind: str = "arrays"
    inputs: tuple[str, ...] = ()
    labels: str = ""
    splits: dict[str, int] = field(default_factory=dict)
    classes: dict[str, ClassCounts] = field(default_factory=dict)
    given_apart: bool = False
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """Short lines for people."""
        found = [f"read {self.source or 'arrays in memory'}" + (f" ({self.kind})" if self.source else "")]
        found += [line if line.startswith("input") else f"input {line}" for line in self.inputs]
        found.append(f"labels {self.labels}" if self.labels else "no labels")
        for name, count in self.splits.items():
            of = f": {self.classes[name]}" if name in self.classes else ""
            found.append(f"{name} {count:,}{of}")
        found += [f"not used: {words}" for words in self.left_out]
        return (*found, *(f"note: {words}" for words in self.notes))

    def __str__(self) -> str:
        return "\n".join(self.lines)


def described(name: str, array: NDArray[Any], origin: str = "") -> str:
    """An input in words: its name, where it comes from, dtype and shape of one example."""
    of = f" from {origin}" if origin and origin != name else ""
    shape = "x".join(map(str, array.shape[1:])) or "one value"
    text = array.dtype.kind in "SU" or (array.dtype == object and all(isinstance(v, str) for v in array.flat))
    dtype = "text" if text else "bytes" if array.dtype == object else str(array.dtype)
    return f"{name}{of}: {dtype}, {shape}"


def form(labels: NDArray[Any] | None) -> str:
    """What labels are, in words; "" when there are none."""
    if labels is None:
        return ""
    shape = "x".join(map(str, labels.shape[1:]))
    if are_boxes(labels):
        count = int((labels[..., CLASS] >= 0).sum())
        return f"{count:,} boxes, up to {labels.shape[1]} per image"
    if labels.dtype.kind == "f":
        return f"real numbers, {shape} per example" if shape else "real numbers"
    if labels.dtype.kind == "U":
        return "texts"
    if not shape:
        return "class indices"
    return f"integers, {shape} per example"


def counts(labels: NDArray[Any] | None) -> ClassCounts | None:
    """Examples of each class, None when labels are not class indices."""
    if labels is None or labels.dtype.kind not in "iub" or labels.ndim != 1 or not len(labels):
        return None
    found = tally(labels)[1]
    return ClassCounts(len(found), int(found.min()), int(found.max()))


def tally(*labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The different labels, sorted, and how many there are of each."""
    import numpy as np

    names = distinct(*labels)
    sizes = np.zeros(len(names), np.int64)
    for part in labels:
        for _, block in blocks(part, _AT_ONCE):
            sizes += np.bincount(np.searchsorted(names, block), minlength=len(names))
    return names, sizes


def remarks(splits: Mapping[str, Split], classes: tuple[str, ...]) -> list[str]:
    """What is remarkable about examples and labels that were split: sentences."""
    import numpy as np

    found = []
    labels = [s.labels for s in splits.values() if s.labels is not None]
    if len(labels) == len(splits) and all(part.dtype.kind == "i" and part.ndim == 1 for part in labels):
        names, sizes = tally(*labels)
        if words := gaps(names, classes):
            found.append(words)
        single = names[sizes == 1]
        if len(single):
            shown = _of_classes(single, classes)
            found.append(f"class {shown} has only one example: it is in one split and missing from the others.")
        train, *held_out = labels
        for what, here, there in (("held-out", held_out, [train]), ("training", [train], held_out)):
            lacking = np.setdiff1d(np.setdiff1d(distinct(*there), distinct(*here)), single)
            if len(lacking):
                found.append(f"no {what} example has class {_of_classes(lacking, classes)}.")
    return found + duplicates(splits)


def _of_classes(indices: NDArray[Any], classes: tuple[str, ...]) -> str:
    shown = ", ".join(classes[i] if classes else str(i) for i in indices[:_MOST_SHOWN].tolist())
    return shown + (f" and {len(indices) - _MOST_SHOWN} more" if len(indices) > _MOST_SHOWN else "")


def duplicates(splits: Mapping[str, Split]) -> list[str]:
    """Sentences on examples that are in more than one split: what is confirmed on them was seen before."""
    if any(is_large(array) for split in splits.values() for array in split.inputs.values()):
        return _many_duplicates(splits)
    keys = _keys(list(splits.values()))
    seen: dict[str, set[bytes]] = {}
    found = []
    for (name, split), own in zip(splits.items(), keys, strict=True):
        for other, known in seen.items():
            shared = sum(key in known for key in own)
            if shared:
                found.append(f"{shared:,} of the {len(split):,} {name} examples are also in {other}.")
        seen[name] = set(own)
    return found


def _many_duplicates(splits: Mapping[str, Split]) -> list[str]:
    """As `duplicates`, of so many examples that they are compared by 64-bit hashes, some of these at a time."""
    import numpy as np

    known: dict[int, NDArray[Any]] = {}
    hashed = {name: stowed(_hashes(split, known), MOST_KEPT_BYTES) for name, split in splits.items()}
    rounds = max(1, min(_MOST_ROUNDS, sum(map(len, hashed.values())) // _AT_ONCE))
    shared: dict[tuple[str, str], int] = {}
    for turn in range(rounds):
        seen: dict[str, NDArray[Any]] = {}
        for name, keys in hashed.items():
            own = np.concatenate([block[block % np.uint64(rounds) == turn] for _, block in blocks(keys, _AT_ONCE)])
            for other, theirs in seen.items():
                shared[name, other] = shared.get((name, other), 0) + int(np.isin(own, theirs).sum())
            seen[name] = own
    return [
        f"{count:,} of the {len(splits[name]):,} {name} examples are also in {other}."
        for (name, other), count in shared.items()
        if count
    ]


def _hashes(split: Split, known: dict[int, NDArray[Any]]) -> Iterator[NDArray[np.uint64]]:
    """A number for each example of a split, block by block."""
    import numpy as np

    given: list[Any] = list(split.inputs.values())
    arrays = [v if isinstance(v, Rows) else np.concatenate([*hashes(v)]) for v in given]
    for start in range(0, len(split), _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, len(split)))
        total = np.zeros(part.stop - start, np.uint64)
        for array in arrays:
            own = array.hashes(part, known) if isinstance(array, Rows) else array[part]
            total = total * np.uint64(3) + own
        yield total


def _keys(splits: list[Split]) -> list[list[bytes]]:
    """A key for every example of every split; equal keys are equal examples. Whole examples are read only in doubt."""
    import hashlib

    probes = [_probes(split) for split in splits]
    owners: dict[bytes, int] = {}
    doubtful: set[bytes] = set()
    for place, part in enumerate(probes):
        for key in part:
            if owners.setdefault(key, place) != place:
                doubtful.add(key)
    keys = []
    for split, part in zip(splits, probes, strict=True):
        own = list(part)
        for i, key in enumerate(part):
            if key in doubtful:
                total = hashlib.blake2b(digest_size=16)
                for array in split.inputs.values():
                    total.update(_bytes(array[i]))
                own[i] = total.digest()
        keys.append(own)
    return keys


def _probes(split: Split) -> list[bytes]:
    import numpy as np

    parts = []
    for array in split.inputs.values():
        if array.dtype == object:
            parts.append([_bytes(row)[:_PROBED] for row in array])
            continue
        rows = np.ascontiguousarray(array).reshape(len(array), -1)
        columns = np.unique(np.linspace(0, rows.shape[1] - 1, _PROBED).astype(int))
        picked = np.ascontiguousarray(rows[:, columns])
        parts.append([row.tobytes() for row in picked])
    return [b"".join(row) for row in zip(*parts, strict=True)]


def _bytes(example: Any) -> bytes:
    import numpy as np

    array = np.asarray(example)
    if array.dtype == object:
        return b"\0\0".join(v if isinstance(v, bytes) else str(v).encode("utf-8", "replace") for v in array.ravel())
    return array.tobytes()
