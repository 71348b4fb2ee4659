"""Tokens as text: what scores of a vocabulary at each step, or token numbers, say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

#: What the blank of connectionist temporal classification is called; wav2vec 2.0 calls it like padding.
_BLANKS = ("<blank>", "[blank]", "<blk>", "<ctc>", "<ctc_blank>", "<eps>", "", "<pad>", "[PAD]")
#: What stands for a space between words, as a token of its own (wav2vec 2.0) or before one (SentencePiece, byte BPE).
_BARS, _STARTS, _INSIDE = ("|", "▁", "Ġ", "<space>"), ("▁", "Ġ"), "##"
#: After these nothing follows.
_ENDS = ("</s>", "<eos>", "[SEP]", "<|endoftext|>", "[EOS]")


def is_vocabulary(names: Sequence[str]) -> bool:
    """Whether names are tokens that texts are made of rather than names of classes."""
    known = set(names)
    special = any(_is_special(n) or n.startswith((*_STARTS, _INSIDE)) for n in known)
    return len(known) > 2 and (special or sum(len(n) == 1 for n in known) > len(known) / 2)


def spells(names: Sequence[str], texts: Iterable[str]) -> bool:
    """Whether all characters of texts, blanks aside, are in some token."""
    known = {c for n in names if not _is_special(n) for c in n}
    return all(c.isspace() or c in known for text in texts for c in text)


def blank_of(names: Sequence[str]) -> int | None:
    """The place of the blank that separates repeated tokens; None when there is none."""
    return next((names.index(b) for b in _BLANKS if b in names), None)


def decoded(tokens: Sequence[int], names: Sequence[str], blank: int | None = None) -> str:
    """Tokens as text.

    Args:
        tokens: Their numbers, in order; those outside the vocabulary (padding) are left out.
        names: The vocabulary by number.
        blank: With one, repeated tokens are one, and the blank is none (Graves et al., 2006).
    """
    if blank is not None:
        tokens = [t for t, _ in groupby(tokens) if t != blank]
    pieces = []
    for token in tokens:
        name = names[token] if 0 <= token < len(names) else ""
        if name in _ENDS:
            break
        if name in _BARS:
            pieces.append(" ")
        elif name and not _is_special(name):
            pieces.append(name)
    if any(n.startswith(_INSIDE) for n in names):
        text = " ".join(pieces).replace(f" {_INSIDE}", "").replace(_INSIDE, "")
    elif any(n.startswith(_STARTS) for n in names) or sum(len(n) == 1 for n in names) > len(names) / 2:
        text = "".join(pieces).replace("▁", " ").replace("Ġ", " ")
    else:
        text = " ".join(pieces)
    return " ".join(text.split())


def _is_special(name: str) -> bool:
    return name in _BLANKS or (len(name) > 2 and (name[0], name[-1]) in (("<", ">"), ("[", "]")))
