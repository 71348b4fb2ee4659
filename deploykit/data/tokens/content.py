"""A ``tokenizer.json`` as text in a manifest."""

from __future__ import annotations

import base64
import zlib


def packed(content: bytes) -> str:
    """The file, compressed, in characters that JSON keeps as they are."""
    return base64.b85encode(zlib.compress(content, 9)).decode("ascii")


def unpacked(content: str) -> bytes:
    """What `packed` packed."""
    return zlib.decompress(base64.b85decode(content))
