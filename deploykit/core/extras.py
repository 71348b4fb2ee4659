"""Optional packages: import them where they are used, and say how to install the one that is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType

from deploykit.core.errors import MissingExtraError

#: Distribution names that differ from their import names.
_DISTRIBUTIONS = {
    "ai_edge_litert": "ai-edge-litert",
    "tensorflow_model_optimization": "tensorflow-model-optimization",
    "tf_keras": "tf-keras",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "vl_convert": "vl-convert-python",
}


def require(module: str, extra: str) -> ModuleType:
    """Import a module of an optional extra.

    Args:
        module: Dotted import name.
        extra: The deploykit extra that installs it; empty when it belongs to the core install.

    Raises:
        MissingExtraError: The package is not installed; names the pip line.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name.split(".")[0]):
            raise
        target = f"deploykit[{extra}]" if extra else "deploykit"
        raise MissingExtraError(
            f"the package {distribution(module)!r} is not installed.", remedy=f"pip install '{target}'"
        ) from error


def distribution(module: str) -> str:
    """The name to give pip for an import name."""
    top = module.partition(".")[0]
    return _DISTRIBUTIONS.get(top, top)


def installed(module: str) -> bool:
    """Whether a module could be imported; imports nothing."""
    top = module.partition(".")[0]
    return top in sys.modules or _found(top, *stamps(sys.path))


def version(module: str) -> str:
    """Version of the distribution that holds a module, "" when it is not installed."""
    return _version(distribution(module), *stamps(sys.path))


def stamps(folders: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Folders and when each of them changed: what is found in them is asked for thousands of times in a plan."""
    return tuple(folders), tuple(_changed(folder) for folder in folders)


def _changed(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116  a third of the time of Path.stat
    except OSError:
        return 0


@lru_cache(maxsize=512)
def _found(module: str, _folders: tuple[str, ...], _changes: tuple[int, ...]) -> bool:
    importlib.invalidate_caches()
    return importlib.util.find_spec(module) is not None


@lru_cache(maxsize=512)
def _version(name: str, _folders: tuple[str, ...], _changes: tuple[int, ...]) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
