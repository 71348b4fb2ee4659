"""The types that public functions, and what they return, give to users: found from annotations."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any


@functools.cache
def _for_checkers(module: str) -> dict[str, Any]:
    """Names that a module imports only for type checkers."""
    found: dict[str, Any] = {}
    tree = ast.parse(Path(sys.modules[module].__file__ or "").read_text("utf-8"))
    for block in (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"):
        exec(compile(ast.Module(block.body, []), module, "exec"), found)
    return found


def hints(thing: Any) -> dict[str, Any]:
    """Annotations of a function or a class, those of its bases included."""
    owners = thing.__mro__ if inspect.isclass(thing) else (thing,)
    modules = {o.__module__ for o in owners if o.__module__ in sys.modules and o.__module__ != "builtins"}
    names: dict[str, Any] = {}
    for module in modules:
        if module.startswith("deploykit"):
            names |= _for_checkers(module)
    return typing.get_type_hints(thing, localns=names)


def _types(hint: Any) -> Iterator[type]:
    arguments = typing.get_args(hint)
    if inspect.isclass(hint) and not arguments:
        yield hint
    for argument in arguments:
        yield from _types(argument)


def _function(member: Any) -> Any:
    for attribute in ("fget", "func", "__func__"):
        if isinstance(member, property | functools.cached_property | classmethod | staticmethod):
            member = getattr(member, attribute, member)
    return member if inspect.isfunction(member) else None


def given(kind: type) -> Iterator[tuple[str, Any]]:
    """Public attributes of a type with what they give: fields, and what methods and properties return."""
    for name, hint in hints(kind).items():
        if not name.startswith("_"):
            yield name, hint
    for owner in kind.__mro__:
        for name, member in vars(owner).items():
            function = _function(member)
            if function is not None and not name.startswith("_") and owner.__module__.startswith("deploykit"):
                yield name, hints(function).get("return")


def reached(module: ModuleType) -> dict[type, str]:
    """Types of deploykit that what a module exports returns, and what these give, with one way to each."""
    importlib.import_module("deploykit_widgets.surface")
    found: dict[type, str] = {}
    exported = {name: getattr(module, name) for name in module.__all__}
    waiting: list[tuple[Any, str]] = []
    for name, value in exported.items():
        if inspect.isclass(value):
            found[value] = name
            waiting.append((value, name))
        elif inspect.isfunction(value):
            _add(hints(value).get("return"), f"{name}()", found, waiting)
    while waiting:
        kind, way = waiting.pop(0)
        for name, hint in given(kind):
            _add(hint, f"{way}.{name}", found, waiting)
    return found


def _add(hint: Any, way: str, found: dict[type, str], waiting: list[tuple[Any, str]]) -> None:
    for kind in _types(hint):
        if kind.__module__.startswith("deploykit") and kind not in found:
            found[kind] = way
            waiting.append((kind, way))
