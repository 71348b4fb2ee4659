"""Content digests: the identity of files, folders and settings."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's relative names and contents."""
    if path.is_file():
        return file_digest(path)
    total = hashlib.sha256()
    members = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
    for name in sorted(members):
        total.update(f"{name}\0{file_digest(members[name])}\n".encode())
    return total.hexdigest()


def path_size(path: Path) -> int:
    """Size in bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def compressed_size(path: Path) -> int:
    """Size in bytes after gzip (level 6), file by file."""
    import zlib

    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    total = 0
    for member in files:
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        with member.open("rb") as file:
            while block := file.read(_BLOCK):
                total += len(packer.compress(block))
        total += len(packer.flush())
    return total


def json_digest(data: Any) -> str:
    """SHA-256 of plain data in canonical JSON (sorted keys, no spaces)."""
    import json

    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def array_digest(array: Any) -> str:
    """SHA-256 of a NumPy array: dtype, shape and values."""
    import numpy as np

    array = np.ascontiguousarray(array)
    total = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    total.update(array.view(np.uint8).data if array.size and array.dtype.kind != "U" else array.tobytes())
    return total.hexdigest()
