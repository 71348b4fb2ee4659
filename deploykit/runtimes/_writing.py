"""Writes text with a decoder: the likeliest next token again and again, with a cache of the earlier ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from deploykit.core.decoder import Decoder
from deploykit.core.errors import UnsupportedModelError
from deploykit.data.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deploykit.core.contract import Contract

#: Number that fills up rows after a text has ended.
_NONE = -1
#: Tokens whose time is not counted in the pace.
_LEAD = 2


class Runs(Protocol):
    """What of `deploykit.runtimes._session.Session` writing takes."""

    contract: Contract | None

    @property
    def batch_size(self) -> int | None: ...

    def arrange(
        self, feeds: Mapping[str, NDArray[Any]], carried: Mapping[str, NDArray[Any]] | None = None
    ) -> list[NDArray[Any]]: ...

    def run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]: ...

    def answer(self, values: Sequence[NDArray[Any]], name: str) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]: ...


def write(session: Runs, feeds: Mapping[str, NDArray[Any]], decoder: Decoder) -> NDArray[Any]:
    """What a decoder writes after each example: texts, shape (examples,), where it has a tokenizer; else token numbers.

    Examples of one length run together, those of others apart: nothing is padded, so that no answer depends on it.

    Args:
        session: An opened model that follows a contract with a decoder.
        feeds: Input name → examples, batch first.
        decoder: How it is called; ``write`` says how many tokens.

    Returns:
        Token numbers have shape (examples, ``write``), filled up with -1 after the end of a text.
    """
    import numpy as np

    count = len(feeds[decoder.tokens])
    found = np.full((count, decoder.write), _NONE, np.int64)
    lengths = _lengths(feeds, decoder)
    size = session.batch_size
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        for start in range(0, len(places), size or len(places)):
            some = places[start : start + (size or len(places))]
            padded = np.resize(some, size) if size else some
            prompts = _without_padding({k: v[padded] for k, v in feeds.items()}, decoder, int(length))
            for step, tokens in enumerate(islice(_tokens(session, prompts, decoder), decoder.write)):
                found[some, step] = tokens[: len(some)]
    return texts_of(found, decoder) if decoder.tokenizer else found


def texts_of(rows: NDArray[np.int64], decoder: Decoder) -> NDArray[Any]:
    """Token numbers as texts, shape (examples,): without what ends them, and what fills rows up."""
    import numpy as np

    tokenizer = Tokenizer(decoder.tokenizer, 0)
    kept = [[t for t in row if t != _NONE and t not in decoder.ends] for row in rows.tolist()]
    return np.array(tokenizer.decode(kept), np.str_)


def pace(session: Runs, feeds: Mapping[str, NDArray[Any]], decoder: Decoder, most: int) -> tuple[int, int]:
    """How many tokens follow the first ones after the first example, and the nanoseconds that they take.

    The time of the first token, in which the whole example is read, is left out: it is the model's latency. So is that
    of the second, for which a runtime prepares itself. Nothing ends the text, so that all candidates write as much.

    Args:
        session: An opened model that follows a contract with a decoder.
        feeds: Input name → examples, batch first.
        decoder: How it is called.
        most: Tokens to write at most, 3 or more.

    Returns:
        0 and 0 where the model's texts are too short for it.
    """
    import numpy as np

    size = session.batch_size or 1
    length = int(_lengths(feeds, decoder)[0])
    prompts = _without_padding({k: v[np.zeros(size, np.int64)] for k, v in feeds.items()}, decoder, length)
    if decoder.most:
        most = min(most, decoder.most - length)
    if most <= _LEAD:
        return 0, 0
    written = _tokens(session, prompts, replace(decoder, ends=()))
    for _ in range(_LEAD):
        next(written)
    began = time.perf_counter_ns()
    done = sum(1 for _ in islice(written, most - _LEAD))
    return done, time.perf_counter_ns() - began


def _lengths(feeds: Mapping[str, NDArray[Any]], decoder: Decoder) -> NDArray[Any]:
    import numpy as np

    tokens = feeds[decoder.tokens]
    mask = feeds.get(decoder.mask) if decoder.mask else None
    return np.full(len(tokens), tokens.shape[1]) if mask is None else (mask != 0).sum(axis=1)


def _without_padding(feeds: Mapping[str, NDArray[Any]], decoder: Decoder, length: int) -> dict[str, NDArray[Any]]:
    """Examples of one length, without the columns that their mask leaves out."""
    import numpy as np

    if decoder.mask not in feeds:
        return dict(feeds)
    there = feeds[decoder.mask] != 0
    columns = np.argsort(~there, axis=1, kind="stable")[:, :length]
    rows = {decoder.tokens, decoder.mask, decoder.positions} & feeds.keys()
    return {k: np.take_along_axis(v, columns, axis=1) if k in rows else v for k, v in feeds.items()}


def _tokens(session: Runs, feeds: dict[str, NDArray[Any]], decoder: Decoder) -> Iterator[NDArray[np.int64]]:
    """The next token of each example, -1 for those that have ended; ends when all have."""
    import numpy as np

    assert session.contract is not None
    carried: dict[str, NDArray[Any]] = {}
    scored = session.contract.scored.name
    ended = np.zeros(len(feeds[decoder.tokens]), bool)
    while not ended.all():
        values = session.run(session.arrange(feeds, carried))
        scores, by_name = session.answer(values, scored)
        if scores.ndim != 3:
            raise UnsupportedModelError(
                f"Output {scored!r} has shape {scores.shape}; a decoder that writes gives scores of the next token at "
                "each place: (batch, tokens, vocabulary).",
                remedy="score that output: output= (--output), or leave generate= out.",
            )
        tokens = np.where(ended, _NONE, scores[:, -1].argmax(axis=-1))
        yield tokens
        ended |= np.isin(tokens, decoder.ends)
        carried = {fed: by_name[made] for made, fed in session.contract.state.items()}
        kept = {k: v for k, v in feeds.items() if k not in (decoder.mask, decoder.positions)}
        feeds = {**kept, decoder.tokens: np.maximum(tokens, 0)[:, None]}
