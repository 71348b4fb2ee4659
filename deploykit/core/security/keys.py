"""Secret keys: where they are found, and how they are made.

A key is 32 random bytes, written as URL-safe base64. Functions take its *place*, never the key itself, so that none
gets into a notebook, a shell's history or a list of processes: ``env:NAME``, ``file:PATH``, ``keyring:NAME`` or
``cmd:PROGRAM ARGUMENTS``, whose output is the key, as that of the tool of a key management service.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import shlex
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from deploykit.core.errors import SettingError
from deploykit.core.extras import require
from deploykit.core.files import read_small

#: Bytes of a key.
KEY_BYTES = 32
#: Who asks a keyring.
_SERVICE = "deploykit"
_MOST_BYTES = 4096
#: Time for a command to find a key.
_COMMAND_S = 60.0
#: Digits of the digest that names a key.
_ID_DIGITS = 16


@dataclass(frozen=True)
class Key:
    """A secret key. It is shown and logged by its `id` alone.

    Attributes:
        secret: Its bytes.
        place: Where it was found, for messages.
    """

    secret: bytes = field(repr=False)
    place: str = ""

    @property
    def id(self) -> str:
        """Names the key without telling it: the start of a SHA-256 digest, hexadecimal."""
        return hashlib.sha256(b"deploykit key\0" + self.secret).hexdigest()[:_ID_DIGITS]

    @property
    def text(self) -> str:
        """The key itself, as it is stored: hand it to processes through pipes alone."""
        return base64.urlsafe_b64encode(self.secret).decode()

    @classmethod
    def of_text(cls, text: str, place: str = "") -> Self:
        """The key of a text.

        Args:
            text: 32 bytes as base64, in either alphabet.
            place: Where it was found.

        Raises:
            SettingError: It is none; the message does not hold the text.
        """
        try:
            found = base64.b64decode(text.strip().translate(str.maketrans("-_", "+/")), validate=True)
        except (binascii.Error, ValueError):
            found = b""
        if len(found) != KEY_BYTES:
            raise SettingError(
                f"{place or 'The text'} holds no key: expected {KEY_BYTES} bytes as base64 (44 characters), got "
                f"{len(text.strip()):,} characters.",
                remedy="make one with deploykit key new.",
            )
        return cls(found, place)


def new_key() -> str:
    """A new key, as text.

    Example:
        >>> len(dk.new_key())
        44
    """
    return Key(secrets.token_bytes(KEY_BYTES)).text


def read_key(place: str | Key) -> Key:
    """The key at a place.

    Args:
        place: ``env:NAME``, ``file:PATH``, ``keyring:NAME`` or ``cmd:PROGRAM ARGUMENTS``, which is run without a shell.

    Raises:
        SettingError: There is no such place, or no key in it. Neither a key nor what was there instead is shown.
        MissingExtraError: A keyring is asked for, and the package ``keyring`` is not installed.
    """
    if isinstance(place, Key):
        return place
    kind, _, name = str(place).partition(":")
    if kind not in _PLACES or not name.strip():
        raise SettingError(  # what was given may be the key itself
            "The place of a key must be env:NAME, file:PATH, keyring:NAME or cmd:PROGRAM ARGUMENTS; "
            f"got {len(str(place))} characters that begin with none of them.",
            remedy="for example env:DEPLOYKIT_KEY; give the key's place rather than the key.",
        )
    return Key.of_text(_PLACES[kind](name), f"{kind}:{name}" if kind != "cmd" else "The output of the command")


def _of_environment(name: str) -> str:
    text = os.environ.get(name)
    if not text:
        raise SettingError(f"The environment variable {name} is not set, or empty.", remedy="set it to the key.")
    return text


def _of_file(name: str) -> str:
    path = Path(name).expanduser()
    content = read_small(path, _MOST_BYTES, "the key", SettingError)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SettingError(f"Other users may read or write the key in {path}.", remedy=f"chmod 600 {path}")
    return content.decode("ascii", "replace")


def _of_keyring(name: str) -> str:
    keyring = require("keyring")
    try:
        text = keyring.get_password(_SERVICE, name)
    except keyring.errors.KeyringError as error:
        raise SettingError(
            f"The keyring cannot be read: {' '.join(str(error).split())}.", remedy="unlock it, or use env: or file:."
        ) from error
    if not text:
        raise SettingError(
            f"The keyring has no key {name!r} of the service {_SERVICE!r}.",
            remedy=f"keyring set {_SERVICE} {name}, then paste what deploykit key new prints.",
        )
    return str(text)


def _of_command(line: str) -> str:
    program = shlex.split(line, posix=os.name != "nt")
    try:
        done = subprocess.run(program, capture_output=True, timeout=_COMMAND_S, check=False)  # noqa: S603  the user's
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it took more than {_COMMAND_S:g} s"
        raise SettingError(
            f"The key's command {program[0]!r} cannot be run: {reason}.", remedy="run it by hand."
        ) from None
    if done.returncode:
        raise SettingError(f"The key's command {program[0]!r} ended with {done.returncode}.", remedy="run it by hand.")
    return done.stdout.decode("ascii", "replace")


_PLACES: dict[str, Callable[[str], str]] = {
    "env": _of_environment, "file": _of_file, "keyring": _of_keyring, "cmd": _of_command,
}  # fmt: skip
