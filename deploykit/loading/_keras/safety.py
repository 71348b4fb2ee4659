"""Looks for code in the config of a Keras file, and for classes that Keras does not have. Imports no Keras.

Keras makes objects of what a config names: classes and functions by module and name, and registered ones by name
alone. What is not a part of Keras that models are made of is refused before Keras sees it.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from deploykit.core.errors import ModelFileError, UnsafeModelError, UnsupportedModelError
from deploykit.loading._keras.config import Graph, name_of
from deploykit.loading._keras.names import LAYERS, UNSAFE

#: Parts of Keras that models are made of; others read and write files, or the network.
_FUNCTIONS = frozenset(
    {"activations", "constraints", "initializers", "losses", "metrics", "ops", "quantizers", "regularizers"}
)
_PARTS = _FUNCTIONS | {"dtype_policies", "engine", "layers", "models", "optimizers", "random"}
#: Kinds of values, which Keras writes as classes.
_VALUES = frozenset(
    {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__"}
)
_TYPES = re.compile(r"bool|bfloat16|float(?:16|32|64)|u?int(?:8|16|32|64)|string|str|<U\d{1,4}")
#: Settings that make a layer as large as their value: compared with what the file really holds.
_SIZES = ("units", "filters", "input_dim", "output_dim")


def check_config(config: Any, shown: str, *, trusted: bool, imports: tuple[str, ...]) -> None:
    """Look for code and for classes that Keras does not have.

    Raises:
        UnsafeModelError: A Lambda layer, or something that is not a part of a model, and ``trusted`` is false.
        UnsupportedModelError: A custom class, and no ``imports`` are given.
    """
    # What the model was trained with is not rebuilt: custom losses and metrics do not justify refusing the file.
    top = {k: v for k, v in config.items() if k != "compile_config"} if isinstance(config, dict) else config
    waiting: list[tuple[Any, str]] = [(top, "")]
    while waiting:
        item, layer = waiting.pop()
        if isinstance(item, list):
            waiting += [(value, layer) for value in item]
            continue
        if not isinstance(item, dict):
            continue
        kind = item.get("class_name")
        if isinstance(kind, str):
            layer = name_of(item, layer) if isinstance(item.get("config"), dict) else layer
            if not trusted:
                _check_code(item, kind, layer, shown)
            _check_known(item, kind, layer, shown, imports)
        waiting += [(value, layer) for value in item.values()]


def _check_code(item: dict[str, Any], kind: str, layer: str, shown: str) -> None:
    """Refuse what holds code, and names of what is not a part of a model."""
    if kind in UNSAFE or kind == "__lambda__":
        raise UnsafeModelError(
            f"{shown}: layer {layer!r} is a {kind if kind in UNSAFE else 'Lambda'} layer, which holds code or "
            "loads other files; none of it was run.",
            remedy="replace it with a registered layer class and pass imports=[…]; or, if you trust the "
            "file's source, pass trusted=True in code.",
        )
    module = item.get("module")
    inner = item.get("config")
    if kind in _VALUES:
        wrong = isinstance(inner, dict) and not _TYPES.fullmatch(str(inner.get("dtype", "bool")))
        found = f"a value of type {inner['dtype']!r}" if wrong and isinstance(inner, dict) else ""
    else:
        found = _foreign(module, kind, inner)
    if found:
        raise UnsafeModelError(
            f"{shown}: layer {layer!r} asks for {found}, which is not part of a model. Files like this are made to "
            "run code; none of it was run.",
            remedy="do not use this file.",
        )


def _foreign(module: Any, kind: str, inner: Any) -> str:
    """What a class or function is, when it is neither a part of a model nor of the user's own modules."""
    if not isinstance(module, str):
        return f"the module {module!r}" if module is not None else ""
    function = kind == "function"
    what = f"{inner if function else kind!s} of the module {module!r}"
    package, *rest = module.split(".")
    if package == "builtins":
        return "" if function else what
    if package != "keras":
        return what if package in sys.stdlib_module_names else ""
    part = next((name for name in rest if name not in ("src", "api", "legacy", "_legacy")), "models")
    if function:
        return "" if part in _FUNCTIONS else what
    return "" if part in _PARTS and (kind[:1].isupper() or part not in ("layers", "models", "ops")) else what


def _check_known(item: dict[str, Any], kind: str, layer: str, shown: str, imports: tuple[str, ...]) -> None:
    module = item.get("module")
    registered = item.get("registered_name")
    if isinstance(module, str):
        custom = module.split(".")[0] not in ("keras", "builtins")
    else:
        custom = isinstance(registered, str) and ">" in registered
    if custom and not imports:
        home = f" of the module {module!r}" if isinstance(module, str) else ""
        raise _unknown(shown, f"layer {layer!r} uses {kind!r}{home}, which is not part of Keras")


def check_layers(graph: Graph, shown: str, imports: tuple[str, ...]) -> None:
    """Refuse layer classes that Keras does not have, for files that name classes without their modules.

    Raises:
        UnsupportedModelError: A custom class, and no ``imports`` are given.
    """
    for node in graph.leaves():
        if node.type not in LAYERS and not imports:
            raise _unknown(shown, f"layer {node.path!r} is a {node.type!r}, which is not a Keras layer")


def _unknown(shown: str, found: str) -> UnsupportedModelError:
    """The remedy names no module of the file's: who follows it would import whatever the file says."""
    return UnsupportedModelError(
        f"{shown}: {found}.", remedy='pass imports=["my_layers"] with the module that defines it.'
    )


def check_sizes(graph: Graph, shown: str, stored: int) -> None:
    """Refuse layers that claim more weights than the file holds, before Keras allocates them.

    Raises:
        ModelFileError: Names the layer and what it claims.
    """
    for node in graph.leaves():
        for key in _SIZES:
            claimed = node.config.get(key)
            if isinstance(claimed, int | float) and claimed > max(stored, 1):
                raise ModelFileError(
                    f"{shown}: layer {node.path!r} claims {key}={claimed:,}, but the file holds {stored:,} weights.",
                    remedy="do not use this file.",
                )
