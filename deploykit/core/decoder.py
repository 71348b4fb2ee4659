"""How a decoder that keeps keys and values of earlier tokens in a cache is called from token to token."""

from __future__ import annotations

from dataclasses import dataclass

from deploykit.core.serial import Plain


@dataclass(frozen=True)
class Decoder(Plain):
    """Which inputs of a decoder have a part in writing text, and how much it writes.

    Attributes:
        tokens: Input that takes token numbers, shape (batch, tokens).
        mask: Input that says which tokens count, shape (batch, cached tokens + tokens); "" for none.
        positions: Input that takes the place of each token in its text, shape (batch, tokens); "" for none.
        cache: Inputs that take keys and values of earlier tokens → their axis of tokens.
        write: Tokens that are written after each example; 0: examples are read only, and scores come out.
        ends: Tokens after which nothing follows.
        most: Tokens that a text may have, 0 where the model does not say.
        tokenizer: What makes text of tokens, compressed; "": the answers are token numbers.
    """

    tokens: str
    mask: str = ""
    positions: str = ""
    cache: dict[str, int] | None = None
    write: int = 0
    ends: tuple[int, ...] = ()
    most: int = 0
    tokenizer: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """Inputs that follow from the tokens and the cache, so that examples need not give them."""
        return tuple(filter(None, (self.mask, self.positions)))

    def __str__(self) -> str:
        ends = f", or up to token {' or '.join(map(str, self.ends))}" if self.ends else ""
        writes = f"writes {self.write} tokens after each example{ends}" if self.write else "reads whole examples"
        return f"{len(self.cache or {})} arrays keep earlier tokens, initially none; it {writes}"
