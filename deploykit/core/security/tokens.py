"""Tokens: who may ask a server for what, how often, and how much of an answer they see.

A file holds them, without the secrets themselves: these are random, so their SHA-256 digests are enough to know them by
and useless to who reads the file.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.files import read_small, replace_whole
from deploykit.core.serial import dump, parse

#: What a token may be for: predictions and what a client asks of models; loading and steering; metrics.
SCOPES = ("predict", "admin", "metrics")
_VERSION = 1
_MOST_BYTES = 4 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
#: The best class is the least there can be of them, and no float has more digits after the point that mean something.
_OUTPUTS = re.compile(r"all|label|top-[1-9][0-9]{0,2}|rounded-1?[0-9]")
#: Bytes of a secret: too many to guess.
_SECRET_BYTES = 32


@dataclass(frozen=True)
class Token:
    """What the holder of one secret may do.

    Attributes:
        name: For the log and for removing it.
        digest: SHA-256 of the secret, hexadecimal.
        scopes: What it is for, of `SCOPES`.
        per_second: Predictions per second, over a few seconds; 0: any number.
        at_once: Predictions in progress at once in each worker; 0: any number.
        per_day: Examples a day (UTC); 0: any number.
        outputs: ``"all"``; ``"label"``: the best class alone; ``"top-3"``: the scores of so many best classes;
            ``"rounded-2"``: numbers to so many digits after the point.
    """

    name: str
    digest: str
    scopes: tuple[str, ...] = ("predict",)
    per_second: float = 0.0
    at_once: int = 0
    per_day: int = 0
    outputs: str = "all"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SettingError(
                f"A token's name is 1 to 64 letters, digits and . _ @ -, got {self.name!r}.", remedy="choose another."
            )
        if not re.fullmatch(r"[0-9a-f]{64}", self.digest):
            raise SettingError(f"Token {self.name!r}: expected a SHA-256 digest, got {self.digest!r}.")
        if not self.scopes:
            raise SettingError(f"Token {self.name!r} has no scope.", remedy=f"give some of {', '.join(SCOPES)}.")
        for scope in self.scopes:
            if scope not in SCOPES:
                raise unknown_name("scope", scope, SCOPES)
        for field in ("per_second", "at_once", "per_day"):
            value = getattr(self, field)
            whole = field != "per_second"
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not 0 <= value < 1e15:
                raise SettingError(f"Token {self.name!r}: {field} must be a number, 0 or more, got {value!r}.")
        if not _OUTPUTS.fullmatch(self.outputs):
            raise SettingError(
                f"Token {self.name!r}: outputs must be all, label, top-N (1 to 999) or rounded-N (0 to 19), got "
                f"{self.outputs!r}.",
                remedy='for example "top-3".',
            )

    def to_json(self) -> dict[str, Any]:
        """Its JSON form."""
        return {**vars(self), "scopes": list(self.scopes)}

    @classmethod
    def from_json(cls, found: Any) -> Self:
        """The token of a JSON form.

        Raises:
            SettingError: It is not one.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(found, dict) or not {"name", "digest"} <= found.keys():
            raise SettingError(f"Expected a token with a name and a digest, got {str(found)[:200]!r}.")
        for name in found:
            if name not in known:
                raise unknown_name("field of a token", name, known)
        scopes = found.get("scopes", ["predict"])
        if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
            raise SettingError(f"A token's scopes must be a list of names, got {str(scopes)[:200]!r}.")
        for name in ("name", "digest", "outputs"):
            if not isinstance(found.get(name, ""), str):
                raise SettingError(f"A token's {name} must be text, got {str(found[name])[:200]!r}.")
        return cls(**{**found, "scopes": tuple(scopes)})


class Tokens:
    """The tokens of a file.

    Args:
        found: The tokens.

    Attributes:
        by_name: Name → token.
    """

    def __init__(self, found: Iterable[Token] = ()) -> None:
        self.by_name: dict[str, Token] = {token.name: token for token in found}

    @classmethod
    def open(cls, path: Path) -> Self:
        """The tokens of a file.

        Raises:
            SettingError: It cannot be read, is damaged, or others may write to it.
        """
        content = read_small(path, _MOST_BYTES, "tokens", SettingError)
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o022:
            raise SettingError(
                f"Other users may write to {path}, and so make tokens for themselves.", remedy=f"chmod 600 {path}"
            )
        try:
            found = parse(content)
            if not isinstance(found, dict) or found.get("version") != _VERSION or not isinstance(found["tokens"], list):
                raise ValueError(f"expected version {_VERSION} and a list of tokens")
            tokens = [Token.from_json(one) for one in found["tokens"]]
        except (ValueError, KeyError) as error:  # SettingError is one as well
            raise SettingError(
                f"{path} holds no tokens: {error}", remedy="make it with deploykit token add."
            ) from error
        names = [token.name for token in tokens]
        if len(set(names)) < len(names):
            raise SettingError(f"{path} has two tokens of one name.", remedy="remove one.")
        return cls(tokens)

    def save(self, path: Path) -> None:
        """Write them as a whole; the file is its owner's alone.

        Raises:
            SettingError: It cannot be written.
        """
        content = {"version": _VERSION, "tokens": [token.to_json() for token in self.by_name.values()]}
        try:
            replace_whole(path, dump(content, indent=True) + b"\n")  # a new file of this kind has mode 600
        except OSError as error:
            raise SettingError(f"Cannot write {path}: {error.strerror}.", remedy="choose another folder.") from error

    def add(self, name: str, **rules: Any) -> str:
        """Make a token; its secret is returned here and kept nowhere.

        Raises:
            SettingError: There is one of that name, or a rule is wrong.
        """
        if name in self.by_name:
            raise SettingError(f"There is a token {name!r} already.", remedy="remove it first, or choose another name.")
        secret = f"dk_{secrets.token_urlsafe(_SECRET_BYTES)}"
        self.by_name[name] = Token(name, _digest(secret.encode()), **rules)
        return secret

    def remove(self, name: str) -> None:
        """Forget a token.

        Raises:
            SettingError: There is none of that name.
        """
        if name not in self.by_name:
            raise unknown_name("token", name, self.by_name)
        del self.by_name[name]

    def find(self, secret: bytes) -> Token | None:
        """The token of a secret. Every token is compared, in a time that says nothing about any of them."""
        digest, found = _digest(secret), None
        for token in self.by_name.values():
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
