"""Datasets of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from deploykit.data.labels import class_names
from deploykit.data.making import Made


class FromText(Made):
    """The ways to make a dataset of text."""

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
