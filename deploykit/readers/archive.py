"""Bounds for what is inside a model file: zip archives and JSON, looked at before they are unpacked or parsed."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
from pathlib import Path

from deploykit.core.errors import ModelFileError

#: Most members of a zip archive, and the largest size of its directory.
MAX_MEMBERS = 10_000
MAX_DIRECTORY_BYTES = 4 << 20
#: Largest sum of the members' unpacked sizes.
MAX_UNPACKED_BYTES = 16 << 30
#: Largest unpacked size of an archive over its size on disk. Zeros deflate 1000:1, weights of a pruned model 20:1.
MAX_RATIO = 200
#: JSON inside a model: largest size and deepest nesting.
MAX_JSON_BYTES = 64 << 20
MAX_JSON_DEPTH = 256

_AGAIN = "download, copy or export it again."


def is_archive(head: bytes) -> bool:
    """Whether a file begins as a zip archive does."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def check_archive(path: Path) -> list[zipfile.ZipInfo]:
    """The members of a zip archive, none of them unpacked.

    Raises:
        ModelFileError: Truncated, or its directory breaks a limit: too many members, a size out of proportion (a zip
            bomb), names that leave the folder (a zip slip), two members of one name, links or encryption.
    """
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, struct.error) as error:
        raise ModelFileError(f"{path}: a damaged zip archive: {error}.", remedy=_AGAIN) from error
    seen: set[str] = set()
    for member in members:
        _check_member(path, member)
        if member.filename in seen:
            raise ModelFileError(
                f"{path}: the archive has two members called {member.filename!r}.", remedy="do not use this file."
            )
        seen.add(member.filename)
    unpacked = sum(m.file_size for m in members)
    packed = path.stat().st_size
    if unpacked > MAX_UNPACKED_BYTES or unpacked > MAX_RATIO * packed + (1 << 20):
        raise ModelFileError(
            f"{path}: a zip bomb: {packed:,} bytes unpack to {unpacked:,} (limit {MAX_RATIO} times the size, and "
            f"{MAX_UNPACKED_BYTES >> 30} GiB).",
            remedy="do not use this file; if it is yours, save it without compression.",
        )
    return members


def check_json(data: bytes, where: str) -> None:
    """Bound a JSON text before it is parsed.

    Raises:
        ModelFileError: It is larger than `MAX_JSON_BYTES` or nested deeper than `MAX_JSON_DEPTH`.
    """
    if len(data) > MAX_JSON_BYTES:
        raise ModelFileError(f"{where}: {len(data):,} bytes of JSON (limit {MAX_JSON_BYTES:,}).", remedy=_AGAIN)
    depth = 0
    for match in re.finditer(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', data, re.DOTALL):
        token = match.group()[:1]
        depth += (token in b"[{") - (token in b"]}")
        if depth > MAX_JSON_DEPTH:
            raise ModelFileError(
                f"{where}: JSON nested deeper than {MAX_JSON_DEPTH} levels.", remedy="do not use this file."
            )


def _check_directory(path: Path) -> None:
    """Bound the archive's directory by its end record, before zipfile reads all of it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 16) - 22))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise ModelFileError(
            f"{path}: the zip archive is truncated: it has {size:,} bytes, and its directory, which comes at the end, "
            "is missing.",
            remedy=_AGAIN,
        )
    members, directory = struct.unpack_from("<HI", tail, at + 10)
    if members == 0:
        raise ModelFileError(f"{path}: an empty zip archive.", remedy=_AGAIN)
    long_form = tail.rfind(b"PK\x06\x06", 0, at)
    if long_form >= 0 and at - long_form >= 56:
        members, directory = struct.unpack_from("<QQ", tail, long_form + 32)
    if members > MAX_MEMBERS or directory > MAX_DIRECTORY_BYTES:
        raise ModelFileError(
            f"{path}: the zip archive has {members:,} members and a directory of {directory:,} bytes (limits "
            f"{MAX_MEMBERS:,} and {MAX_DIRECTORY_BYTES:,}).",
            remedy="do not use this file.",
        )


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name):
        raise ModelFileError(
            f"{path}: the archive's member {name!r} would be unpacked outside its folder (a zip slip).",
            remedy="do not use this file.",
        )
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ModelFileError(f"{path}: the archive's member {name!r} is a link.", remedy="do not use this file.")
    if member.flag_bits & 1:
        raise ModelFileError(f"{path}: the archive's member {name!r} is encrypted.", remedy="save it unencrypted.")
