"""Datasets of text, and of tables that may hold text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from deploykit.data.labels import class_names
from deploykit.data.making import Made


class FromText(Made):
    """The ways to make a dataset of text, and of tables that may hold it."""

    @classmethod
    def from_text(
        cls,
        texts: Any,
        labels: Any = None,
        *,
        x_test: Any = None,
        y_test: Any = None,
        text: str | Sequence[str] | None = None,
        label: str | None = None,
        **options: Any,
    ) -> Self:
        """From texts in memory, a file, or a folder with one subfolder of ``.txt`` files per class.

        The texts stay text: a model that takes tokens gets them from the ``tokenizer.json`` of its Hugging Face folder,
        or from the one that ``preprocess=dk.Preprocess(tokenizer=…)`` names. Empty texts are left out and counted in
        `reading`.

        For token classification, give lists of words and lists of tags: `check` gives each word's tag to its first
        token, and no label to the others.

        Args:
            texts: Strings, pairs of them, or lists of words; or the path of a ``.csv`` or ``.tsv`` file with a header,
                a ``.jsonl`` file with an object a line, a ``.txt`` file with a text a line, or a folder by class. A
                folder may have subfolders ``train`` and ``test`` that contain the class folders.
            labels: One label per text: a class name, a class number, or a list of tags, one for each word.
            x_test: Held-out texts, in the form of ``texts``; without them ``texts`` are split.
            y_test: Labels of ``x_test``.
            text: Column of the texts in a file, or two of pairs; None: one called text, sentence, review or alike.
            label: Column of the labels in a file; None: one called label, target, class or alike; "" for none.
            **options: As in `from_arrays`.

        Raises:
            DatasetError: A file, folder or column is missing, or words and tags do not go together; says where.

        Example:
            >>> texts = ["a fine film", "a bad film", ""] * 40
            >>> reviews = dk.Dataset.from_text(texts, ["good", "bad", "bad"] * 40)
            >>> reviews.classes, reviews.reading.left_out
            (('bad', 'good'), ('40 empty texts (texts 2, 5, 8, 11, 14 and 35 more)',))
        """
        from deploykit.data import sources

        classes = class_names(options.get("classes", ()))
        return cls._found(sources.read_texts(texts, labels, x_test, y_test, text, label, classes), options)

    @classmethod
    def from_parquet(
        cls,
        path: str | Path,
        *,
        x_test: str | Path | None = None,
        text: str | Sequence[str] | None = None,
        label: str | None = None,
        drop: Sequence[str] = (),
        **options: Any,
    ) -> Self:
        """From a Parquet file, or a folder of them: a column of texts or images, or columns of numbers.

        Args:
            path: The file. In a folder, files that begin with ``train`` are training data if there are others that
                begin with ``validation`` or ``test``; else all of them are one table.
            x_test: File or folder of held-out examples.
            text: As in `from_text`. Without a column of text or images, all other columns are features.
            label: Column of the labels; None: one called label, target, class or alike; "" for none.
            drop: Columns to leave out.
            **options: As in `from_arrays`.

        Raises:
            DatasetError: A file is missing or damaged, or a column that is used is missing or nested.
            MissingExtraError: The package ``pyarrow`` is not installed.

        Example:
            >>> import pyarrow, pyarrow.parquet
            >>> table = pyarrow.table({"review": ["fine", "dull"] * 40, "stars": [5, 1] * 40})
            >>> pyarrow.parquet.write_table(table, "reviews.parquet")
            >>> dk.Dataset.from_parquet("reviews.parquet", text="review", label="stars").inputs
            ('text',)
        """
        from deploykit.data import sources

        classes = class_names(options.get("classes", ()))
        return cls._found(sources.read_parquet(Path(path), x_test, text, label, drop, classes), options)

    @classmethod
    def from_huggingface(
        cls,
        path: str | Path,
        *,
        split: str | None = None,
        test_split: str | None = None,
        text: str | Sequence[str] | None = None,
        label: str | None = None,
        drop: Sequence[str] = (),
        size: tuple[int, int] | None = None,
        **options: Any,
    ) -> Self:
        """From a local folder that Hugging Face ``datasets`` wrote with ``save_to_disk``; without that package.

        Class names come from features that are ``ClassLabel``, also of tags in a ``Sequence``; an ``Image`` is read as
        in `from_image_folder`.

        Args:
            path: The folder.
            split: Split to train and calibrate with; None: the one called train, or the only one.
            test_split: Split that is held out; None: validation, or test, if it is there and ``split`` is not given.
            text: As in `from_text`.
            label: As in `from_parquet`.
            drop: Columns to leave out.
            size: (height, width) for images of different sizes; None: the most frequent size.
            **options: As in `from_arrays`.

        Raises:
            DatasetError: The folder is not one of ``datasets``, a split or column is missing, or a column that is used
                is nested.
            MissingExtraError: The package ``pyarrow`` is not installed.
        """
        from deploykit.data import sources

        classes = class_names(options.get("classes", ()))
        found = sources.read_saved_dataset(Path(path), split, test_split, text, label, drop, size, classes)
        return cls._found(found, options)
