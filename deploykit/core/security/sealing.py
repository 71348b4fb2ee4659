"""Encrypted files: AES-256-GCM in chunks, by the STREAM construction, so that a file of any size is sealed in one pass.

Source: Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance"
(CRYPTO 2015). Each file has a random data key of its own, which is wrapped by the user's key; the chunks' key is
derived from it by HKDF-SHA-256. A chunk's nonce is a random prefix, its number, and whether it is the last one, so that
chunks can be neither moved nor left out; all that stands before them, with the file's name and size, is authenticated
with each.

Layout, little-endian::

    8   magic
    2   length of the name          4   bytes of a chunk          8   size of the content
    8   id of the key               32  salt                      7   prefix of nonces
    …   name, UTF-8
    12  nonce of the wrapped key    48  wrapped key
    …   chunks, each with a tag of 16 bytes
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from deploykit.core.errors import ExportError
from deploykit.core.extras import require
from deploykit.core.security.keys import Key

MAGIC = b"DKSEAL1\n"
CHUNK_BYTES = 1 << 20
_TAG_BYTES = 16
_FIXED = struct.Struct("<8sHIQ8s32s7s")
_WRAPPED_BYTES = 12 + 32 + _TAG_BYTES
_PURPOSE = b"deploykit/sealed-file/1"
#: Most bytes of a chunk that is believed: a forged header must not fill the memory.
_MOST_CHUNK_BYTES = 64 << 20
#: Numbers of chunks have 32 bits.
_MOST_CHUNKS = 1 << 32


@dataclass(frozen=True)
class _Header:
    """What stands before the chunks.

    Attributes:
        name: The file's name in its artifact.
        chunk: Bytes of a chunk.
        size: Bytes of the content.
        key_id: Which key has wrapped the data key.
        salt: Of the derivation.
        prefix: Of nonces.
    """

    name: str
    chunk: int
    size: int
    key_id: bytes
    salt: bytes
    prefix: bytes

    def encode(self) -> bytes:
        name = self.name.encode()
        fixed = _FIXED.pack(MAGIC, len(name), self.chunk, self.size, self.key_id, self.salt, self.prefix)
        return fixed + name

    @classmethod
    def read(cls, file: BinaryIO, shown: str) -> tuple[Self, bytes]:
        """The header and its bytes."""
        fixed = file.read(_FIXED.size)
        if len(fixed) < _FIXED.size or not fixed.startswith(MAGIC):
            raise _damaged(f"{shown} is not encrypted, and its artifact says that it is")
        _, length, chunk, size, key_id, salt, prefix = _FIXED.unpack(fixed)
        name = file.read(length)
        if len(name) < length or not 0 < chunk <= _MOST_CHUNK_BYTES or size > chunk * _MOST_CHUNKS:
            raise _damaged(f"The start of {shown} is damaged")
        return cls(name.decode("utf-8", "replace"), chunk, size, key_id, salt, prefix), fixed + name

    @property
    def chunks(self) -> int:
        """How many there are: one at least."""
        return max(1, -(-self.size // self.chunk))

    def nonce(self, number: int) -> bytes:
        return self.prefix + struct.pack(">IB", number, number == self.chunks - 1)


def seal(source: BinaryIO, size: int, target: Path, name: str, key: Key) -> None:
    """Encrypt a file.

    Args:
        source: Its content.
        size: Bytes of it.
        target: Where to write.
        name: Its name in its artifact, which `unseal` asks for.
        key: The user's key.

    Raises:
        ExportError: The content has another size.
        MissingExtraError: The package ``cryptography`` is not installed.
    """
    data_key, nonce = secrets.token_bytes(32), secrets.token_bytes(12)
    header = _Header(
        name, CHUNK_BYTES, size, bytes.fromhex(key.id)[:8], secrets.token_bytes(32), secrets.token_bytes(7)
    )
    plain = header.encode()
    start = plain + nonce + _aes(_wrapping(key)).encrypt(nonce, data_key, plain)
    cipher = _aes(_derived(data_key, header.salt))
    piece, sealed = memoryview(bytearray(CHUNK_BYTES)), memoryview(bytearray(CHUNK_BYTES + _TAG_BYTES))
    left = size
    with target.open("wb") as file:
        file.write(start)
        for number in range(header.chunks):
            count = _filled(source, piece[: min(left, CHUNK_BYTES)])
            left -= count
            cipher.encrypt_into(header.nonce(number), piece[:count], start, sealed[: count + _TAG_BYTES])
            file.write(sealed[: count + _TAG_BYTES])
        if left or source.read(1):
            raise ExportError(f"{name} has changed while it was encrypted.", remedy="export again.")
        file.flush()
        os.fsync(file.fileno())


def unseal(path: Path, name: str, key: Key) -> bytearray:
    """The content of an encrypted file; none of it is given unless all of it is as it was sealed.

    Args:
        path: The file.
        name: Its name in its artifact.
        key: The key that it was sealed with.

    Raises:
        ExportError: It cannot be read, was sealed with another key, or has been changed: says in what way.
        MissingExtraError: The package ``cryptography`` is not installed.
    """
    try:
        with path.open("rb") as file:
            return _unsealed(file, path, name, key)
    except OSError as error:
        raise ExportError(f"Cannot read {path}: {error.strerror}.", remedy="check the path.") from error


def _unsealed(file: BinaryIO, path: Path, name: str, key: Key) -> bytearray:
    invalid = require("cryptography.exceptions", "protect").InvalidTag
    header, plain = _Header.read(file, str(path))
    if header.key_id != bytes.fromhex(key.id)[:8]:
        raise ExportError(
            f"{path} was encrypted with the key {header.key_id.hex()}; the key given is {key.id}.",
            remedy="give the key that it was exported with.",
        )
    wrapped = file.read(_WRAPPED_BYTES)
    wanted = file.tell() + header.size + header.chunks * _TAG_BYTES
    if (there := os.fstat(file.fileno()).st_size) != wanted:
        how = "cut off" if there < wanted else "appended to, or its size was forged"
        raise _damaged(f"{path} has been {how}: it has {there:,} bytes and says that it has {wanted:,}")
    try:
        data_key = _aes(_wrapping(key)).decrypt(wrapped[:12], wrapped[12:], plain)
    except invalid:
        raise _damaged(f"The start of {path} has been changed: its name, its size or its key") from None
    if header.name != name:
        raise _damaged(f"{path} is another file of an artifact, {header.name!r}")
    start, cipher = plain + wrapped, _aes(_derived(data_key, header.salt))
    found = bytearray(header.size)
    into, sealed = memoryview(found), memoryview(bytearray(header.chunk + _TAG_BYTES))
    for number in range(header.chunks):
        place = number * header.chunk
        count = min(header.chunk, header.size - place)
        got = _filled(file, sealed[: count + _TAG_BYTES])
        try:
            cipher.decrypt_into(header.nonce(number), sealed[:got], start, into[place : place + count])
        except invalid:
            where = f"bytes {place:,} to {place + count:,}"
            raise _damaged(f"{path} has been changed: {where} of its content are not as they were written") from None
    return found


def _filled(source: BinaryIO, into: memoryview) -> int:
    """Fill as far as the source goes."""
    count = 0
    while count < len(into) and (got := source.readinto(into[count:])):  # type: ignore[attr-defined]  # all have it
        count += got
    return count


def _damaged(what: str) -> ExportError:
    return ExportError(f"{what}.", remedy="copy the artifact again from where it was exported.")


def _aes(key: bytes) -> Any:
    return require("cryptography.hazmat.primitives.ciphers.aead", "protect").AESGCM(key)


def _wrapping(key: Key) -> bytes:
    return _derived(key.secret, b"wrap")


def _derived(secret: bytes, salt: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869) to 32 bytes: a single block."""
    extracted = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(extracted, _PURPOSE + b"\x01", hashlib.sha256)
