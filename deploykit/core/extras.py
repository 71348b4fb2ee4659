"""Optional packages: import them where they are used, and say how to install the one that is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
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
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def version(module: str) -> str:
    """Version of the distribution that holds a module, "" when it is not installed."""
    try:
        return importlib.metadata.version(distribution(module))
    except importlib.metadata.PackageNotFoundError:
        return ""
