"""A tokenizer as preprocessing: text in, numbers out, alike while measuring, while exporting and in the server."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from deploykit.core.errors import DatasetError, SettingError
from deploykit.core.extras import require
from deploykit.core.model import plain_name
from deploykit.core.serial import Plain
from deploykit.data.tokens.content import unpacked

if TYPE_CHECKING:
    from numpy.typing import NDArray

Column = Literal["ids", "mask", "types", "positions"]
#: What models call the input that gets a column.
_CALLED: dict[Column, tuple[str, ...]] = {
    "ids": ("input_ids", "ids", "input_word_ids", "token_ids", "tokens"),
    "mask": ("attention_mask", "input_mask", "mask"),
    "types": ("token_type_ids", "segment_ids", "input_type_ids"),
    "positions": ("position_ids",),
}
#: Texts that are tokenized at once: the tokens of one hold more memory than its text.
_AT_ONCE = 4096


@dataclass(frozen=True)
class Tokenizer(Plain):
    """Turns text into what a model takes. Make one with `open`.

    Texts become rows of one length: longer ones are cut at ``max_length`` tokens, shorter ones are padded to
    the longest of those that are tokenized together, and to ``length`` at least. A text may also be a pair of two.

    Attributes:
        content: The ``tokenizer.json``, compressed.
        max_length: Most tokens of a text, those that the model wants at its ends included.
        why: Where that number comes from, in words.
        kind: Its model: ``"WordPiece"``, ``"BPE"``, ``"Unigram"`` or ``"WordLevel"``.
        tokens: How many tokens it knows: the largest number it gives is one less.
        pad: Number of the token that fills rows up.
        side: Where rows are filled up.
        length: Fewest tokens of a row.
        feeds: Model's input and what it gets: ``"ids"``, ``"mask"`` (1 for tokens, 0 for padding), ``"types"`` (0 and 1
            for the two of a pair) or ``"positions"``.

    Example:
        >>> from deploykit.testing import bert  # writes a tiny Hugging Face folder
        >>> tokenizer = dk.Tokenizer.open(bert.write_folder("tiny-bert"), max_length=16)
        >>> encoded = tokenizer.encode(["a good film", "bad"])
        >>> {name: array.shape for name, array in encoded.items()}
        {'input_ids': (2, 5), 'attention_mask': (2, 5), 'token_type_ids': (2, 5)}
        >>> encoded["attention_mask"].sum(axis=1).tolist()
        [5, 3]
    """

    content: str = field(repr=False)
    max_length: int
    why: str = ""
    kind: str = ""
    tokens: int = 0
    pad: int = 0
    side: Literal["left", "right"] = "right"
    length: int = 0
    feeds: tuple[tuple[str, Column], ...] = (
        ("input_ids", "ids"), ("attention_mask", "mask"), ("token_type_ids", "types"),
    )  # fmt: skip

    @classmethod
    def open(cls, path: str | Path, *, max_length: int | None = None) -> Self:
        """Read a ``tokenizer.json``, with what the files beside it say of padding and of the longest text.

        Args:
            path: The file, or the Hugging Face folder that it lies in.
            max_length: Most tokens of a text; None: what ``sentence_bert_config.json``, ``tokenizer_config.json`` or
                the tokenizer itself say, and no more than the positions that ``config.json`` knows.

        Raises:
            DatasetError: There is no such file, it is not a tokenizer, or nothing says how long texts may be.
            SettingError: ``max_length`` leaves no place for a text.
            MissingExtraError: The package ``tokenizers`` is not installed.
        """
        from deploykit.data.tokens.folder import read_tokenizer

        return cls(**read_tokenizer(Path(path), max_length))

    def __repr__(self) -> str:
        return f"Tokenizer({self})"

    def __str__(self) -> str:
        padded = f", padded to {self.length} at least" if self.length else ""
        return f"{self.kind}, {self.tokens:,} tokens; texts of at most {self.max_length}{padded}"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs it feeds."""
        return tuple(name for name, _ in self.feeds)

    def feeding(self, inputs: Iterable[str]) -> Self:
        """The same for the inputs of a model that are called like something it gives."""
        found: dict[Column, str] = {}
        for name in inputs:
            column = next((c for c, called in _CALLED.items() if plain_name(name) in called), None)
            if column is not None:
                found.setdefault(column, name)
        return replace(self, feeds=tuple((name, column) for column, name in found.items()))

    def padded(self, length: int) -> Self:
        """The same with rows of so many tokens at least."""
        return replace(self, length=length)

    def encode(self, texts: Any) -> dict[str, NDArray[Any]]:
        """Model's input → whole numbers (int64), shape (texts, tokens).

        Args:
            texts: Shape (texts,), or (texts, 2) for pairs; bytes are UTF-8.

        Raises:
            DatasetError: They are not text.
        """
        import numpy as np

        given = _plain(texts)
        rows: list[Any] = []
        built = self._built
        for start in range(0, len(given), _AT_ONCE):
            rows += [(r.ids, r.type_ids) for r in built.encode_batch_fast(given[start : start + _AT_ONCE])]
        width = max([self.length, 1, *(len(ids) for ids, _ in rows)])
        columns: dict[Column, NDArray[np.int64]] = {
            column: np.full((len(rows), width), self.pad if column == "ids" else 0, np.int64)
            for _, column in self.feeds
        }
        for number, (ids, types) in enumerate(rows):
            place = slice(0, len(ids)) if self.side == "right" else slice(width - len(ids), width)
            values: dict[Column, Any] = {"ids": ids, "mask": 1, "types": types, "positions": range(len(ids))}
            for column, array in columns.items():
                array[number, place] = values[column]
        return {name: columns[column] for name, column in self.feeds}

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Texts of token numbers, without those of special tokens.

        Args:
            rows: Token numbers of each text.
        """
        found: list[str] = _built(self.content, 0).decode_batch([list(row) for row in rows])
        return found

    def lengths(self, texts: Any) -> NDArray[Any]:
        """Tokens of each text before it is cut, int64 of shape (texts,)."""
        import numpy as np

        given, built = _plain(texts), _built(self.content, 0)
        found: list[int] = []
        for start in range(0, len(given), _AT_ONCE):
            found += [len(row) for row in built.encode_batch_fast(given[start : start + _AT_ONCE])]
        return np.array(found, np.int64)

    def words(self, texts: Any) -> NDArray[Any]:
        """Which word of a text a token begins, int64 of shape (texts, tokens); -1 for all other tokens.

        Words are what blanks separate. Only the first token of a word stands for it.
        """
        import numpy as np

        given = _plain(texts)
        rows = [_begun(text, offsets) for text, offsets in self._offsets(given)]
        width = max([self.length, 1, *map(len, rows)])
        found = np.full((len(rows), width), -1, np.int64)
        for number, row in enumerate(rows):
            place = slice(0, len(row)) if self.side == "right" else slice(width - len(row), width)
            found[number, place] = row
        return found

    def _offsets(self, texts: Sequence[str]) -> Iterable[tuple[str, Sequence[tuple[int, int]]]]:
        for start in range(0, len(texts), _AT_ONCE):
            some = list(texts[start : start + _AT_ONCE])
            for text, row in zip(some, self._built.encode_batch(some), strict=True):
                yield text, row.offsets

    @property
    def _built(self) -> Any:
        return _built(self.content, self.max_length)


@lru_cache(maxsize=8)
def _built(content: str, max_length: int) -> Any:
    """The tokenizer itself, which cuts texts at ``max_length`` tokens; 0: nowhere."""
    # Its threads do not survive a fork, and take cores from what is being timed.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    found = require("tokenizers").Tokenizer.from_str(unpacked(content).decode("utf-8"))
    found.no_padding()
    found.no_truncation()
    if max_length:
        least = found.num_special_tokens_to_add(True) + 1
        if max_length < least:
            raise SettingError(
                f"Texts of max_length={max_length} leave no place for words: the tokenizer adds {least - 1} tokens.",
                remedy=f"give {least} or more.",
            )
        found.enable_truncation(max_length)
    return found


def _plain(texts: Any) -> list[Any]:
    """Texts as the tokenizer takes them: strings, or pairs of them."""
    import numpy as np

    array = np.asarray(texts, None if isinstance(texts, np.ndarray) else object)
    if array.dtype.kind not in "SUO" or not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 2)):
        raise DatasetError(
            f"A tokenizer takes one text per example, or a pair; got {array.dtype} of shape {array.shape}.",
            remedy="give text of shape (examples,), or (examples, 2) for pairs.",
        )
    if array.ndim == 2:
        return [(_text(first), _text(second)) for first, second in array.tolist()]
    return [_text(item) for item in array.tolist()]


def _text(item: Any) -> str:
    if isinstance(item, bytes):
        try:
            return item.decode("utf-8")
        except UnicodeDecodeError:
            raise DatasetError(
                f"A text is not UTF-8: it begins with {item[:16]!r}.", remedy="encode text as UTF-8."
            ) from None
    if not isinstance(item, str):
        raise DatasetError(f"Expected text, got {type(item).__name__}.", remedy="give strings.")
    # JSON allows half of a surrogate pair, the tokenizer does not.
    return item if item.isascii() else item.encode("utf-8", "replace").decode("utf-8")


def _begun(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """The word that each token begins, -1 for those inside one."""
    starts = [0] if text and not text[0].isspace() else []
    starts += [i for i in range(1, len(text)) if text[i - 1].isspace() and not text[i].isspace()]
    found, done = [], -1
    for first, last in offsets:
        while first < last and text[first].isspace():  # some count the blank before a word
            first += 1
        word = bisect_right(starts, first) - 1 if first < last else -1
        found.append(word if word > done else -1)
        done = max(done, word)
    return found
