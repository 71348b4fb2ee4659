"""How recipes name files that exist already: by name, format and the fingerprint of their content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from deploykit.core.model import Model
from deploykit.loading._contract import FORMATS

#: Characters of the fingerprint: enough to distinguish all files there will ever be.
_DIGITS = 24
_WRITTEN = re.compile(r"(?P<name>[^/\\]*)#(?P<format>[a-z0-9_]+)(?P<quantized>:quantized)?:(?P<digest>[0-9a-f]{24})")


@dataclass(frozen=True)
class GivenFile:
    """A file that a recipe names, wherever it is: written as ``model_int8.onnx#onnx:quantized:0d32…``.

    Attributes:
        name: Its name when it was given.
        format: Name of its format.
        quantized: Whether it stores numbers of fewer bits.
        digest: The first characters of the SHA-256 of its content.
    """

    name: str
    format: str
    quantized: bool
    digest: str

    def __str__(self) -> str:
        return f"{self.name}#{self.format}{':quantized' if self.quantized else ''}:{self.digest}"

    @classmethod
    def of(cls, model: Model, name: str) -> Self:
        """A file that was read."""
        quantized = bool(FORMATS.get(model.format).quantized(model))
        return cls(name.replace("#", "_"), model.format, quantized, model.digest[:_DIGITS])

    @classmethod
    def read(cls, text: str) -> Self | None:
        """A file from how recipes write it; None for a path, whose content is not known yet."""
        found = _WRITTEN.fullmatch(text)
        if found is None:
            return None
        return cls(found["name"], found["format"], bool(found["quantized"]), found["digest"])
