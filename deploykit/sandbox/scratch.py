"""The temporary folder of this process: logs of its children, and their temporary files.

It is removed when the process ends. What was left by processes that were killed is removed by the next one: each holds
a lock in its folder, which the system frees. A folder with a log that an error has named stays for a day.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PREFIX = "deploykit-logs-"
_LOCK = "process.lock"
_NAMED = "named"
#: How long a folder stays that an error has named, or that has no lock (older versions made such).
_KEPT_S = 24 * 3600.0

_path: Path | None = None
_held: Any = None
_pid = 0
_guard = threading.Lock()


def scratch() -> Path:
    """The folder, made on first use; a process that was forked makes its own."""
    global _path, _held, _pid
    with _guard:
        if _path is None or _pid != os.getpid() or not _path.is_dir():
            from filelock import FileLock

            remove_left_over()
            _path, _pid = Path(tempfile.mkdtemp(prefix=PREFIX)), os.getpid()
            _held = FileLock(str(_path / _LOCK), is_singleton=False)
            _held.acquire()
        return _path


def child_environment() -> dict[str, str]:
    """Where children put temporary files: those of a child that is killed go with the folder."""
    folder = scratch() / "tmp"
    folder.mkdir(exist_ok=True)
    return dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))


def named(log: str) -> None:
    """Keep a log that an error names, if it is in such a folder, for people to read after the process has ended."""
    folder = next((p for p in Path(log).parents if p.name.startswith(PREFIX)), None)
    with contextlib.suppress(OSError):
        if folder is not None and Path(log).stat().st_size:
            (folder / _NAMED).touch()


def remove_left_over() -> None:
    """Remove folders of processes that are gone."""
    from filelock import FileLock, Timeout

    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, Timeout):
            status = folder.lstat()
            if folder.is_symlink() or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
                continue
            young = time.time() - status.st_mtime < _KEPT_S
            if not (folder / _LOCK).exists():
                if not young:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            with FileLock(str(folder / _LOCK), timeout=0, is_singleton=False):
                _remove(folder, keep_logs=young and (folder / _NAMED).exists())


def _remove(folder: Path, *, keep_logs: bool) -> None:
    shutil.rmtree(folder / "tmp" if keep_logs else folder, ignore_errors=True)


@atexit.register  # on import, before anything that writes there: so it runs after that has ended
def _end() -> None:
    if _path is None or _pid != os.getpid():
        return
    with contextlib.suppress(OSError):
        _held.release(force=True)
    _remove(_path, keep_logs=(_path / _NAMED).exists())
