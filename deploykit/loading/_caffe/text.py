"""Protobuf's text form without a schema, with bounds: what a ``.prototxt`` is written in.

Grammar: https://protobuf.dev/reference/protobuf/textformat-spec, without extensions and ``Any``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Largest text, deepest nesting, and most values.
MAX_BYTES = 16 << 20
MAX_DEPTH = 32
MAX_VALUES = 500_000

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*|[;,])|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<mark>[{}<>\[\]:])"""
    r"""|(?P<word>[^\s{}<>\[\]:;,"'\#]+)"""
)
_NUMBER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|\d+|\d*\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)[fF]?")
_CLOSES = {"{": "}", "<": ">"}

Value = "str | int | float | Message"


class Quoted(str):
    """A text that stands in quotes, with its escapes as they are; names of enumerations stand without."""

    __slots__ = ()


class TextError(ValueError):
    """The text is not of this form, or breaks a bound; says where."""


@dataclass
class Message:
    """The fields of a message; each may come several times."""

    fields: dict[str, list[str | int | float | Message]] = field(default_factory=dict)

    def messages(self, name: str) -> list[Message]:
        """The messages of a field."""
        return [value for value in self.fields.get(name, ()) if isinstance(value, Message)]

    def message(self, name: str) -> Message:
        """The last message of a field, an empty one where there is none."""
        return next(reversed(self.messages(name)), Message())

    def words(self, name: str) -> list[str]:
        """The texts and names of a field."""
        return [str(value) for value in self.fields.get(name, ()) if isinstance(value, str)]

    def word(self, name: str, usual: str = "") -> str:
        """The last text or name of a field."""
        return next(reversed(self.words(name)), usual)

    def flag(self, name: str, *, usual: bool = False) -> bool:
        """A truth value."""
        value = next(reversed(self.fields.get(name, [])), usual)
        return value in (True, 1, "true", "True", "t")

    def numbers(self, name: str) -> list[float]:
        """The numbers of a field."""
        return [float(value) for value in self.fields.get(name, ()) if isinstance(value, int | float)]

    def number(self, name: str, usual: float) -> float:
        """The last number of a field."""
        return next(reversed(self.numbers(name)), float(usual))

    def wholes(self, name: str) -> list[int]:
        """The whole numbers of a field.

        Raises:
            TextError: One is not whole, or has more than 32 bits.
        """
        found = self.fields.get(name, [])
        if wrong := [v for v in found if not isinstance(v, int) or abs(v) > 1 << 31]:
            raise TextError(f"{name} must be a whole number, got {str(wrong[0])[:40]!r}")
        return [int(v) for v in found if isinstance(v, int)]

    def whole(self, name: str, usual: int) -> int:
        """The last whole number of a field.

        Raises:
            TextError: It is not whole, or has more than 32 bits.
        """
        return next(reversed(self.wholes(name)), usual)


def parse(text: str) -> Message:
    """The message that a text describes.

    Raises:
        TextError: It is not of this form, is nested too deeply, or has too many values.
    """
    tokens = _tokens(text)
    root = Message()
    open_messages, closers = [root], [""]
    values = 0
    for name, line in tokens:
        if name == closers[-1]:
            open_messages.pop()
            closers.pop()
            continue
        if not (name[0].isalpha() or name[0] == "_"):
            raise TextError(f"line {line}: expected the name of a field, got {name[:40]!r}")
        mark, line = _next(tokens, line)
        if mark == ":":
            mark, line = _next(tokens, line)
        found = open_messages[-1].fields.setdefault(name, [])
        values += 1
        if mark in _CLOSES:
            if len(open_messages) > MAX_DEPTH:
                raise TextError(f"line {line}: messages are nested more than {MAX_DEPTH} deep")
            inner = Message()
            found.append(inner)
            open_messages.append(inner)
            closers.append(_CLOSES[mark])
        elif mark == "[":
            while (item := _next(tokens, line))[0] != "]":
                found.append(_value(*item))
                values += 1
        else:
            found.append(_value(mark, line))
        if values > MAX_VALUES:
            raise TextError(f"line {line}: more than {MAX_VALUES:,} values")
    if len(open_messages) > 1:
        raise TextError(f"the text ends inside {len(open_messages) - 1} open messages: it is truncated")
    return root


def written(message: Message, depth: int = 0) -> str:
    """A message as text, which `parse` reads back."""
    lines = []
    for name, values in message.fields.items():
        for value in values:
            if isinstance(value, Message):
                lines.append(f"{name} {{\n{written(value, depth + 1)}{'  ' * depth}}}")
            elif isinstance(value, Quoted):
                mark = "'" if '"' in value.replace('\\"', "") else '"'
                lines.append(f"{name}: {mark}{value}{mark}")
            else:
                lines.append(f"{name}: {value}")
    return "".join(f"{'  ' * depth}{line}\n" for line in lines)


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """The tokens with their lines."""
    at, line = 0, 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise TextError(f"line {line}: cannot read {text[at : at + 20]!r}")
        if found.lastgroup != "space":
            yield found.group(), line
        line += found.group().count("\n")
        at = found.end()


def _next(tokens: Iterator[tuple[str, int]], line: int) -> tuple[str, int]:
    found = next(tokens, None)
    if found is None:
        raise TextError(f"line {line}: the text ends in the middle of a field: it is truncated")
    return found


def _value(token: str, line: int) -> str | int | float:
    if token[0] in "\"'":
        return Quoted(token[1:-1])
    if token[0] in "{}<>[]:":
        raise TextError(f"line {line}: expected a value, got {token!r}")
    if not _NUMBER.fullmatch(token) or token.strip("+-") in (".", "e"):
        return token
    if len(token) > 40:
        raise TextError(f"line {line}: a number of {len(token):,} characters")
    if token.lstrip("+-").lower().startswith("0x"):
        return int(token, 16)
    plain = token.rstrip("fF")
    return int(plain) if plain.lstrip("+-").isdigit() else float(plain)
