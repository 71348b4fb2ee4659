"""Tables with columns of text, numbers and lists: which column is what, and the rows as examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.data.kinds import TEXTS
from deploykit.data.reading import Found, Origin
from deploykit.data.sources._features import images, numbers
from deploykit.data.sources._paths import shown
from deploykit.data.sources._tags import multi_hot, spoken, tagged

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What columns of pairs of texts, and of labels, are usually called; the first that is there is taken.
_PAIRS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("text_a", "text_b"), ("question1", "question2"))
_LABELS = ("label", "labels", "target", "class", "y", "ner_tags", "tags", "sentiment", "stars", "category")


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        values: One for each row; None where there is none.
        kind: ``"text"``, ``"number"``, ``"words"`` or ``"numbers"`` (a list in each row), ``"image"``; anything else
            is what it is in words, and is not read.
        names: Class names of its numbers by index, if they are known.
    """

    values: Sequence[Any]
    kind: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows with named columns.

    Attributes:
        source: Where it is.
        kind: As in `Reading`.
        columns: By name.
        row: What a row is called in messages.
        first: Number of the first row as people count it.
        left_out: What was not read, in words.
    """

    source: str
    kind: str
    columns: Mapping[str, Column]
    row: str = "row"
    first: int = 1
    left_out: tuple[str, ...] = ()

    def column(self, name: str, argument: str) -> Column:
        """The column called ``name``.

        Raises:
            DatasetError: There is none, or it is nested.
        """
        if name not in self.columns:
            flag = argument.replace("_", "-")
            raise DatasetError(
                f"{self.source} has no column {name!r}; it has {shown(self.columns, 20) or 'none'}.",
                remedy=f"correct {argument}= (--{flag}).",
            )
        found = self.columns[name]
        if found.kind not in ("text", "number", "words", "numbers", "image"):
            raise DatasetError(
                f"{self.source}: column {name!r} is nested ({found.kind}); deploykit reads text, numbers, images, and "
                "lists of words or numbers.",
                remedy="flatten it before: one column for each part.",
            )
        return found


@dataclass(frozen=True)
class Rows:
    """What the rows of a table give.

    Attributes:
        x: Examples.
        y: Labels, None for none.
        classes: Class names by index.
        inputs: What was taken for the examples.
        labels: What was taken for the labels.
        left_out: What was not used.
        notes: What may surprise.
    """

    x: Any
    y: Any
    classes: tuple[str, ...] = ()
    inputs: str = ""
    labels: str = ""
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def texts_of(table: Table, text: str | Sequence[str] | None, label: str | None, classes: Sequence[str] = ()) -> Rows:
    """Texts and labels; texts without a letter are left out and counted.

    Args:
        table: The table.
        text: Column of the texts, or two of pairs; None to look for it.
        label: Column of the labels; "" for none; None to look for it.
        classes: Class names by index; () for those of the table.

    Raises:
        DatasetError: A column is missing or of another kind, or words and tags do not go together.
    """
    import numpy as np

    names = _text_columns(table, text, label)
    target = _label_column(table, label, names)
    columns = [table.column(name, "text") for name in names]
    if odd := next((n for n, c in zip(names, columns, strict=True) if c.kind not in ("text", "words")), ""):
        raise DatasetError(
            f"{table.source}: column {odd!r} holds {table.columns[odd].kind}s, not text.",
            remedy="correct text= (--text).",
        )
    tags = None if target is None else table.column(target, "label")
    spoken_rows = [spoken(c.values, c.kind == "words") for c in columns]
    kept, left_out = _kept(table, spoken_rows)
    notes: list[str] = []
    y: Any = None
    found = tuple(classes)
    if tags is not None:
        found = found or tags.names
        if tags.kind in ("words", "numbers") and len(columns) == 1:
            words = columns[0].values if columns[0].kind == "words" else [t.split() for t in spoken_rows[0]]
            if columns[0].kind == "words" or all(len(words[i]) == len(tags.values[i] or ()) for i in kept):
                pairs = [(words[i], tags.values[i], i) for i in kept]
                texts, y, found, notes = tagged(pairs, found, f"{table.source}, {table.row}", table.first)
                spoken_rows = [dict(zip(kept, texts, strict=True))]  # type: ignore[list-item]  # by row as well
            else:
                y, found = multi_hot([tags.values[i] for i in kept], found)
                notes.append(f"several labels per text, one column each: {', '.join(found)}.")
        else:
            missing = [i for i in kept if tags.values[i] is None]
            if missing:
                raise DatasetError(
                    f"{table.source}: {len(missing):,} texts have no label in column {target!r}; the first is in "
                    f"{table.row} {missing[0] + table.first}.",
                    remedy='drop those rows, or give label="" (--label "") to read no labels.',
                )
            y = [tags.values[i] for i in kept]
    elif label is None:
        notes.append("no column is called label, target, class or alike: there are no labels (label= names one).")
    x = objects([tuple(rows[i] for rows in spoken_rows) if len(spoken_rows) > 1 else spoken_rows[0][i] for i in kept])
    unused = [n for n in table.columns if n not in (*names, target)]
    left_out += tuple(f"column {name}" for name in unused)
    of = f"column{'s' if len(names) > 1 else ''} {' and '.join(names)}" if table.kind != "arrays" else ""
    y = np.asarray(y) if y is not None and not hasattr(y, "shape") else y
    labels = f"column {target}" if target is not None and table.kind != "arrays" else ""
    return Rows(x, y, found, of, labels, (*table.left_out, *left_out), tuple(notes))


def examples_of(
    table: Table, text: str | Sequence[str] | None, label: str | None, drop: Sequence[str] = (),
    classes: Sequence[str] = (), size: tuple[int, int] | None = None,
) -> tuple[Rows, tuple[int, int] | None]:  # fmt: skip
    """Texts, images or numbers and their labels, whichever a table holds, and the size of the images.

    Args:
        table: The table.
        text: As for `texts_of`; named or found, the other columns are not used.
        label: As for `texts_of`.
        drop: Columns that are not used.
        classes: Class names by index.
        size: (height, width) of images; None: the most frequent.

    Raises:
        DatasetError: A column is missing or nested, or it is not clear what the examples are.
    """
    import numpy as np

    names = [drop] if isinstance(drop, str) else list(drop)
    for name in names:
        if name not in table.columns:
            raise DatasetError(
                f"{table.source} has no column {name!r}; it has {shown(table.columns, 20)}.",
                remedy="correct drop= (--drop).",
            )
    kept = Table(
        table.source, table.kind, {n: c for n, c in table.columns.items() if n not in names}, table.row, table.first,
        (*table.left_out, *(f"column {n}: named in drop=" for n in names)),
    )  # fmt: skip
    target = _label_column(kept, label, () if text is None else [text] if isinstance(text, str) else text)
    kinds = {n: c.kind for n, c in kept.columns.items() if n != target}
    pictures = [n for n, kind in kinds.items() if kind == "image"]
    if text is not None or (not pictures and any(kind in ("text", "words") for kind in kinds.values())):
        return texts_of(kept, text, label, classes), size
    labels = None if target is None else kept.column(target, "label")
    y = None if labels is None else list(labels.values)
    if y is not None and any(v is None for v in y):
        raise DatasetError(f"{table.source}: column {target!r} has empty cells.", remedy="drop or fill those rows.")
    found = tuple(classes) or (labels.names if labels is not None else ())
    if pictures:
        if len(pictures) > 1:
            raise DatasetError(
                f"{table.source} has the images {shown(pictures)}.", remedy="leave all but one out with drop=."
            )
        x, size, notes = images(table.source, pictures[0], kept.columns[pictures[0]].values, size)
        used = pictures
    else:
        used = list(kinds)
        if not used:
            raise DatasetError(f"{table.source} has no column beside its labels.", remedy="add the features.")
        x = numbers(table.source, [(n, kept.column(n, "drop").values, kinds[n]) for n in used])
        notes = []
    left_out = (*kept.left_out, *(f"column {n}" for n in kinds if n not in used))
    of = f"column{'s' if len(used) > 1 else ''} {shown(used, 6)}"
    return Rows(
        x, None if y is None else np.asarray(y), found, of, f"column {target}" if target else "", left_out, tuple(notes)
    ), size


def objects(texts: Sequence[Any]) -> NDArray[Any]:
    """Texts of any length, or pairs of them, as an array: NumPy's own text would make all as wide as the longest."""
    import numpy as np

    wide = bool(texts) and isinstance(texts[0], tuple)
    found = np.empty((len(texts), 2) if wide else len(texts), object)
    found[...] = [list(t) for t in texts] if wide else list(texts)
    return found


def found_in(parts: Mapping[str, Rows], source: str, kind: str) -> Found:
    """What is read of one part (``"x"``), or of two (``"x"`` and ``"x_test"``)."""
    first = parts["x"]
    name = "text" if first.x.dtype.kind == "O" else "input"
    arguments: dict[str, Any] = {}
    for key, rows in parts.items():
        arguments |= {key: {name: rows.x}, key.replace("x", "y", 1): rows.y}
    if first.classes:
        arguments["classes"] = first.classes
    left_out = tuple(dict.fromkeys(words for rows in parts.values() for words in rows.left_out))
    notes = tuple(dict.fromkeys(words for rows in parts.values() for words in rows.notes))
    return Found(arguments, Origin(source, kind, {name: first.inputs}, first.labels, left_out, notes))


def _kept(table: Table, texts: Sequence[Sequence[str]]) -> tuple[list[int], tuple[str, ...]]:
    """Rows with a text in each column, and how many have none."""
    count = len(texts[0])
    empty = [i for i in range(count) if not all(rows[i].strip() for rows in texts)]
    if not empty:
        return list(range(count)), ()
    where = shown([i + table.first for i in empty])
    plural = "s" if len(empty) > 1 else ""
    words = f"{len(empty):,} empty text{plural} ({table.row}{plural} {where})"
    if len(empty) == count:
        raise DatasetError(f"{table.source}: all {count:,} texts are empty.", remedy="correct text= (--text).")
    gone = set(empty)
    return [i for i in range(count) if i not in gone], (words,)


def _text_columns(table: Table, text: str | Sequence[str] | None, label: str | None) -> list[str]:
    if text is not None:
        names = [text] if isinstance(text, str) else list(text)
        if len(names) not in (1, 2):
            raise DatasetError(
                f"Expected one column of texts or two, text= names {len(names)}.",
                remedy="name one, or two for pairs of texts.",
            )
        return names
    lower = {name.lower(): name for name in table.columns}
    for name in TEXTS:
        if name in lower and table.columns[lower[name]].kind in ("text", "words"):
            return [lower[name]]
    for first, second in _PAIRS:
        if first in lower and second in lower:
            return [lower[first], lower[second]]
    able = [
        n for n, c in table.columns.items() if c.kind in ("text", "words") and n != label and n.lower() not in _LABELS
    ]
    if len(able) == 1:
        return able
    raise DatasetError(
        f"{table.source}: it is not clear which column holds the texts; it has {shown(table.columns, 20)}.",
        remedy="name it with text= (--text).",
    )


def _label_column(table: Table, label: str | None, texts: Sequence[str]) -> str | None:
    if label is not None:
        return label or None
    lower = {name.lower(): name for name in table.columns if name not in texts}
    return next((lower[name] for name in _LABELS if name in lower), None)
