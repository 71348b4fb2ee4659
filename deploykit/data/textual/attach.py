"""Finds the tokenizer that a model of tokens needs for text, and whether it fits the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import DatasetError
from deploykit.data.examples import Data
from deploykit.data.preprocess import Preprocess
from deploykit.data.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploykit.core.model import TensorSpec

#: Share of a model's table that a tokenizer reaches at least; a table is often somewhat larger than its tokenizer.
_USUAL_SHARE = 0.9


def tokenized(data: Data, inputs: Sequence[TensorSpec], hub: str) -> tuple[Data, list[str]]:
    """The data with a tokenizer that feeds a model's inputs, where the data are text and the model takes numbers.

    Args:
        data: The data.
        inputs: What the model takes, without constants and states.
        hub: The Hugging Face folder that the model lies in, "" for none.

    Returns:
        The data and sentences on what may surprise.

    Raises:
        DatasetError: There is no tokenizer, or it does not fit the model.
    """
    texts = [name for name, array in data.splits["evaluation"].inputs.items() if array.dtype.kind in "SUO"]
    given = [name for name in texts if _of(data, name) is not None]
    whole = [spec for spec in inputs if spec.dtype.lstrip("u").startswith("int")]
    if not given:
        if not texts or any(spec.dtype == "string" for spec in inputs):
            return data, []
        fed = Tokenizer("", 0).feeding([spec.name for spec in whole])
        if len(texts) != 1 or not fed.feeds:
            return data, []  # what does not fit is said where arrays and inputs are paired
        given, tokenizer = texts, _of_hub(hub, inputs)
    else:
        found = _of(data, given[0])
        assert found is not None
        tokenizer = found
    name = given[0]
    tokenizer = tokenizer.feeding([spec.name for spec in whole])
    _check(tokenizer, whole)
    tokenizer, notes = _sized(tokenizer, data, name, whole)
    return replace(data, preprocess={**data.preprocess, name: Preprocess(tokenizer=tokenizer)}), notes


def _of(data: Data, name: str) -> Tokenizer | None:
    step = data.preprocess.get(name)
    return None if step is None else step.tokenizer


def _of_hub(hub: str, inputs: Sequence[TensorSpec]) -> Tokenizer:
    if hub and (Path(hub) / "tokenizer.json").is_file():
        return Tokenizer.open(hub)
    where = f"its folder {hub} has no tokenizer.json" if hub else "there is no tokenizer beside it"
    raise DatasetError(
        f"The data are text, the model takes {'; '.join(map(str, inputs))}, and {where}.",
        remedy='give one: preprocess=dk.Preprocess(tokenizer=dk.Tokenizer.open("tokenizer.json")) (--tokenizer PATH).',
    )


def _check(tokenizer: Tokenizer, inputs: Sequence[TensorSpec]) -> None:
    """Raise `DatasetError` unless the tokenizer feeds something and all of its tokens are in the model's table."""
    specs = {spec.name: spec for spec in inputs}
    ids = next((name for name, column in tokenizer.feeds if column == "ids"), "")
    if not ids:
        raise DatasetError(
            f"The tokenizer feeds no input: the model takes {'; '.join(map(str, inputs)) or 'no whole numbers'}.",
            remedy="name the model's inputs input_ids, attention_mask and token_type_ids.",
        )
    rows = specs[ids].rows
    if rows and tokenizer.tokens > rows:
        raise DatasetError(
            f"The tokenizer does not fit the model: it has {tokenizer.tokens:,} tokens, and the table for {ids!r} has "
            f"{rows:,} rows.",
            remedy="give the tokenizer that the model was trained with.",
        )


def _sized(tokenizer: Tokenizer, data: Data, name: str, inputs: Sequence[TensorSpec]) -> tuple[Tokenizer, list[str]]:
    """The tokenizer with rows of one length for all splits, and sentences on that."""
    fed = dict(tokenizer.feeds)
    sizes = [spec.shape[-1] for spec in inputs if spec.name in fed and spec.shape]
    fixed = {size for size in sizes if size is not None}
    most = min([tokenizer.max_length, *fixed])
    tokenizer = replace(tokenizer, max_length=most)
    texts: dict[str, NDArray[Any]] = {split: part.inputs[name] for split, part in data.splits.items() if len(part)}
    lengths = {split: tokenizer.lengths(array) for split, array in texts.items()}
    longest = max((int(found.max()) for found in lengths.values()), default=1)
    cut = sum(int((found > most).sum()) for found in lengths.values())
    count = sum(map(len, lengths.values()))
    tokenizer = tokenizer.padded(most if fixed else min(longest, most))
    notes = []
    why = "the model's own length" if most in fixed else tokenizer.why
    if cut:
        notes.append(f"{cut:,} of {count:,} texts are longer than {most} tokens ({why}) and are cut.")
    rows = next((spec.rows for spec in inputs if fed.get(spec.name) == "ids"), 0)
    if rows and tokenizer.tokens < _USUAL_SHARE * rows:
        notes.append(
            f"the tokenizer has {tokenizer.tokens:,} tokens and the model a table of {rows:,} rows: check that they "
            "belong together."
        )
    return tokenizer, notes
