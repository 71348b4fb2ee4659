"""What may be opened at all: looks at bytes, names and sizes, and never parses a model.

It runs in the user's process, before any child is given the file. Limits are generous for models and mean to
attackers; each is a constant here or in `deploykit.readers.archive`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipInfo

from deploykit.core.errors import ModelFileError
from deploykit.readers.archive import MAX_JSON_BYTES, check_archive, is_archive
from deploykit.readers.pytorch import archive as pytorch
from deploykit.readers.pytorch.pickles import LIMIT_BYTES, described

#: Largest model file, and largest sum of a folder's files.
MAX_FILE_BYTES = 16 << 30
#: Most files a model folder may hold.
MAX_FOLDER_FILES = 10_000
#: How much of a file is looked at.
HEAD_BYTES = 4096
_AGAIN = "download, copy or export it again."
_MAKE_PT2 = f"build the model in Python, load its weights, and make a .pt2 file: {pytorch.TWO_LINES}"
#: How files begin that torch.save wrote before PyTorch 1.6.
_OLD_CHECKPOINT = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")


@dataclass(frozen=True)
class Passed:
    """A path the gate let pass.

    Attributes:
        path: Absolute path.
        is_folder: Whether it is a folder.
        head: The first bytes of a file, b"" for a folder.
        size_bytes: Size of the file, or of all files of the folder.
    """

    path: Path
    is_folder: bool
    head: bytes
    size_bytes: int


def check(path: str | os.PathLike[str]) -> Passed:
    """Let a file or folder pass, or say why not.

    Raises:
        ModelFileError: Missing, unreadable, no regular file, empty, too large, or known to be no model (a Git LFS
            pointer, an HTML page, a pickle, …).
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ModelFileError(f"Not a path: {text!r}.", remedy="pass the path of a model file or folder.")
    where = Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100  resolve() would follow links
    try:
        status = where.stat()
    except OSError as error:
        raise _missing(where, error) from error
    if stat.S_ISDIR(status.st_mode):
        return Passed(where, True, b"", _check_folder(where))
    _check_regular(where, status)
    head = read_head(where)
    if is_archive(head):
        _check_zip_kind(where, check_archive(where))
    else:
        _check_kind(where, head)
    return Passed(where, False, head, status.st_size)


def read_head(path: Path, size: int = HEAD_BYTES) -> bytes:
    """The first bytes of a regular file. Never blocks: a pipe that took the file's place is refused.

    Raises:
        ModelFileError: It cannot be read or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot be read: {error.strerror}.", remedy="check the permissions of the file."
        ) from error
    try:
        _check_regular(path, os.fstat(descriptor))
        return os.read(descriptor, size)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}.", remedy="check the disk.") from error
    finally:
        os.close(descriptor)


def describe(head: bytes) -> str:
    """How an unknown file begins, in words."""
    if not head.strip(b"\0"):
        return "it starts with nothing but zero bytes, as interrupted downloads do"
    sample = head[:48]
    if all(32 <= b < 127 or b in b"\t\r\n" for b in sample):
        return f"it starts with the text {sample.decode('ascii').split(chr(10))[0].strip()!r}"
    return f"it starts with the bytes {sample[:8].hex(' ')}"


def check_text(path: Path, head: bytes) -> None:
    """Refuse what downloads and version control leave in place of a file.

    Args:
        path: Named in the message.
        head: Its first bytes.

    Raises:
        ModelFileError: A Git LFS or git-annex pointer, or an HTML page.
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if start.startswith((b"version https://git-lfs", b"version http://git-media", b"version https://hawser")):
        raise ModelFileError(f"{path}: this is a Git LFS pointer, not the model itself.", remedy="run git lfs pull.")
    if b"/annex/objects/" in start and len(head) < 1024:
        raise ModelFileError(f"{path}: this is a git-annex pointer.", remedy="run git annex get.")
    if start.startswith((b"<!doctype html", b"<html", b"<head")) or (start.startswith(b"<?xml") and b"<html" in start):
        raise ModelFileError(
            f"{path}: this is an HTML page, not a model: the download returned a web page instead of the file.",
            remedy="open the address in a browser, sign in if asked, and download the raw file.",
        )


def _missing(path: Path, error: OSError) -> ModelFileError:
    if error.errno == errno.EACCES:
        return ModelFileError(f"{path}: permission denied.", remedy="check the permissions of the folders above it.")
    if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR) and path.is_symlink():
        return ModelFileError(
            f"{path}: a link to {str(path.readlink())!r}, which cannot be followed: {error.strerror}.",
            remedy="copy the real file.",
        )
    if error.errno not in (errno.ENOENT, errno.ENOTDIR):
        return ModelFileError(f"{path}: cannot be opened: {error.strerror}.", remedy="check the path.")
    parent = path.parent
    if not parent.is_dir():
        return ModelFileError(f"{path}: no such file: the folder {parent} does not exist.", remedy="check the path.")
    import difflib

    with os.scandir(parent) as entries:
        names = [entry.name for _, entry in zip(range(2000), entries, strict=False)]
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    return ModelFileError(f"{path}: no such file.", remedy=f"{hint}check the path (working folder: {Path.cwd()}).")


def _check_regular(path: Path, status: os.stat_result) -> None:
    mode = status.st_mode
    if not stat.S_ISREG(mode):
        kinds = {
            stat.S_IFIFO: "a named pipe (FIFO)",
            stat.S_IFSOCK: "a socket",
            stat.S_IFCHR: "a character device",
            stat.S_IFBLK: "a block device",
        }
        raise ModelFileError(
            f"{path}: {kinds.get(stat.S_IFMT(mode), 'not a regular file')}, not a model file.",
            remedy="pass the path of a regular file.",
        )
    if status.st_size == 0:
        raise ModelFileError(f"{path}: the file is empty (0 bytes).", remedy=_AGAIN)
    if status.st_size > MAX_FILE_BYTES:
        held = getattr(status, "st_blocks", 0) * 512
        sparse = f", of which {held:,} are on disk (a sparse file)" if 0 <= held < status.st_size // 2 else ""
        raise ModelFileError(
            f"{path}: the file claims {status.st_size:,} bytes{sparse}; the limit is {MAX_FILE_BYTES:,}.",
            remedy="pass a smaller model.",
        )


def _check_folder(path: Path) -> int:
    total = 0
    root = path.resolve()
    for number, (file, status) in enumerate(_walk(path)):
        if number >= MAX_FOLDER_FILES:
            raise ModelFileError(
                f"{path}: the folder holds more than {MAX_FOLDER_FILES:,} files.", remedy="pass the model's own folder."
            )
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ModelFileError(
                f"{path}: {file.relative_to(path)} in it is not a regular file.", remedy="remove it, or copy the model."
            )
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            raise ModelFileError(
                f"{path}: {file.relative_to(path)} in it is a link that leaves the folder.",
                remedy="copy the model with its real files (cp -rL).",
            )
        if stat.S_ISREG(status.st_mode):
            total += status.st_size
            if 0 < status.st_size < HEAD_BYTES:  # pointers and error pages are small
                check_text(file, read_head(file))
    if total > MAX_FILE_BYTES:
        raise ModelFileError(
            f"{path}: the folder's files have {total:,} bytes; the limit is {MAX_FILE_BYTES:,}.",
            remedy="pass a smaller model.",
        )
    return total


def _walk(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            file = Path(folder, name)
            try:
                yield file, file.stat()
            except OSError as error:
                raise ModelFileError(
                    f"{path}: {file.relative_to(path)} in it cannot be read: {error.strerror}.",
                    remedy="copy the model with its real files.",
                ) from error


def _check_zip_kind(path: Path, members: list[ZipInfo]) -> None:
    names = [m.filename for m in members]
    kind = pytorch.kind_of(names)
    if kind == "pickle":
        with pytorch.Archive(path) as archive:
            found = described(archive.head("data.pkl", LIMIT_BYTES))
        raise _refused(path, f"{found}; deploykit never unpickles, because that runs code", _MAKE_PT2)
    if not kind and any(n.endswith("data.pkl") or n == "constants.pkl" for n in names):
        raise _refused(path, "a PyTorch checkpoint (a zip archive with a pickle)", _MAKE_PT2)
    if all(n.endswith(".npy") for n in names):
        raise _refused(path, "a NumPy .npz archive of arrays", "pass it as data (Dataset.from_npz), not as a model.")


#: What to do with a pickle: the object itself can be passed, by who trusts the file.
_PASS_OBJECT = (
    "export it as .keras, .onnx or .tflite; or, if you trust its source, open it yourself and pass the object (a "
    "fitted estimator of scikit-learn, XGBoost or LightGBM): estimator = joblib.load(path); model = dk.load(estimator)."
)
#: Beginnings that tell a file, what it is, and the remedy.
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x93NUMPY", "a NumPy array", "pass it as data, not as a model."),
    (b"\x1f\x8b", "a gzip archive", "unpack it first."),
    (b"BZh", "a bzip2 archive", "unpack it first."),
    (b"\xfd7zXZ\0", "an xz archive", "unpack it first."),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive", "unpack it first."),
    (b"7z\xbc\xaf\x27\x1c", "a 7-zip archive", "unpack it first."),
    (b"GGUF", "a GGUF file", "export the model to ONNX."),
)


def _check_kind(path: Path, head: bytes) -> None:
    check_text(path, head)
    for start, found, remedy in _KINDS:
        if head.startswith(start):
            raise _refused(path, found, remedy)
    if head[257:262] == b"ustar":
        raise _refused(path, "a tar archive", "unpack it first.")
    if len(head) > 8 and struct.unpack_from("<Q", head)[0] < MAX_JSON_BYTES and head[8:10] == b'{"':
        raise _refused(path, "a safetensors file, which holds only weights", "export the model to ONNX.")
    if head.startswith(_OLD_CHECKPOINT):
        raise _refused(path, "a PyTorch checkpoint: a pickle, which deploykit never unpickles", _MAKE_PT2)
    if _is_pickle(path, head):
        kind = "a joblib pickle" if b"joblib" in head or path.suffix == ".joblib" else "a Python pickle"
        raise _refused(
            path,
            f"{kind}, which deploykit never unpickles, because that runs code",
            _PASS_OBJECT,
        )


def _is_pickle(path: Path, head: bytes) -> bool:
    if len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return True
    if re.match(rb"\(?c[A-Za-z_][\w.]*\n\w+\n|\([dl]p\d*\n", head):
        return True
    return path.suffix.lower() in {".pkl", ".pickle", ".joblib"}


def _refused(path: Path, found: str, remedy: str) -> ModelFileError:
    return ModelFileError(f"{path}: this is {found}.", remedy=remedy)
