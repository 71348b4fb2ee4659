"""Parameters of notebooks: what a parameters cell declares, what papermill put after it, and whether the two fit.

papermill overwrites the values of the cell that is tagged ``parameters`` by a cell of its own behind it. It only warns
of names that the notebook does not have, and takes any type: a misspelled ``max_drop`` would go unnoticed for hours.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from deploykit.core.errors import SettingError, unknown_name
from deploykit.core.extras import require

#: How papermill begins the cell it adds.
_INJECTED = "# Parameters"
#: Names of types in annotations, and what a value of them may be.
_TYPES: dict[str, tuple[type, ...]] = {
    "None": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "list": (list, tuple),
    "tuple": (list, tuple),
    "dict": (dict,),
    "str": (str,),
}
_ALIASES = {"List": "list", "Tuple": "tuple", "Dict": "dict", "Sequence": "list", "Mapping": "dict"}
#: Not a value that a text can stand for.
_NONE_FITS = object()
_LITERAL = (
    ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.UnaryOp, ast.BinOp, ast.unaryop, ast.operator, ast.Load,
)  # fmt: skip


def check_parameters() -> dict[str, Any]:
    """Reject unknown parameters and values of the wrong type, in the first cell after a notebook's parameters.

    ``dk.check_parameters()`` in the cell after the one tagged ``parameters`` ends a papermill run before any work is
    done, instead of running with the default of a misspelled parameter. Types come from annotations
    (``launches: int = 10``); a parameter without one can have any type. In JupyterLab, it checks the cell's values.

    Returns:
        The parameters and their values; empty outside a notebook.

    Raises:
        SettingError: The notebook does not declare a parameter, or a value does not have the declared type.

    Example:
        >>> dk.check_parameters()  # outside a notebook there is nothing to check
        {}
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return checked(shell.user_ns.get("In", [])[:-1], shell.user_ns) if shell else {}


def checked(history: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """What `check_parameters` does, for the sources of the cells that were run, in their order.

    Raises:
        SettingError: See `check_parameters`.
    """
    given, known = _latest([source for source in history if source.strip()])
    for name in given:
        if name not in known:
            raise unknown_name("parameter of this notebook", name, known)
    found = {name: values[name] for name in known if name in values}
    for name, value in found.items():
        if not fits(value, known[name]):
            raise _misfit(name, known[name], value)
    return found


def _latest(cells: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What the latest cell of papermill gives, nothing if there is none, and what the cell before it declares."""
    for i in reversed(range(len(cells))):
        if i and _is_injected(cells[i]) and (before := declared(cells[i - 1])):
            return declared(cells[i]), before
        if _is_parameters(cells[i]):
            return {}, declared(cells[i])
    return {}, {}


def declared(source: str) -> dict[str, str]:
    """Names that the source of a cell assigns, and their annotated types, ``""`` without; none if it is not Python."""
    found: dict[str, str] = {}
    tree = _parsed(source)
    for node in tree.body if tree else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = ast.unparse(node.annotation)
        elif isinstance(node, ast.Assign):
            parts = [n for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
            found |= {n.id: node.type_comment or "" for n in parts if isinstance(n.ctx, ast.Store)}
    return found


def constants(source: str) -> dict[str, Any]:
    """Names that the source of a cell assigns a constant, also a negative number or a list, and the constant."""
    tree = _parsed(source)
    found = {}
    for node in tree.body if tree else []:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.expr):
            with suppress(ValueError, TypeError, MemoryError, RecursionError):  # what literal_eval raises
                found[target.id] = ast.literal_eval(value)
    return found


def fits(value: Any, annotation: str) -> bool:
    """Whether a value is of an annotated type; anything is where the type is not one of the plain ones."""
    names = _names(annotation)
    if names is None:
        return True
    if isinstance(value, bool):  # which is an int for Python
        return "bool" in names
    return any(isinstance(value, _TYPES[name]) for name in names)


def from_text(name: str, text: str, annotation: str, default: Any = None) -> Any:
    """The value that a text on the command line stands for.

    It is of the type that was declared; where that is none of the plain ones, of the default's. Where neither is known,
    numbers, ``True``, ``False`` and ``None`` are what Python reads them as, and all else stays text.

    Args:
        name: The parameter, for the error.
        text: The text.
        annotation: The type that was declared, "" when none was.
        default: The constant that the notebook assigns, None when it is none.

    Raises:
        SettingError: It is none of that type.
    """
    names = _names(annotation)
    if names is not None:
        found = _first(names, text, _READERS)
        if found is _NONE_FITS:
            raise _misfit(name, annotation, text)
        return found
    if default is None:
        return text if annotation else _as_written(text)
    kinds = ("int", "float") if type(default) is int else (type(default).__name__,)
    found = _first(kinds, text, _READERS | {"float": float})
    if found is _NONE_FITS:
        raise SettingError(
            f"The parameter {name!r} has the default {default!r}, got {text!r}.",
            remedy=f"give a value such as {_EXAMPLES.get(kinds[0], default)}.",
        )
    return found


def _first(kinds: Sequence[str], text: str, readers: Mapping[str, Any]) -> Any:
    for kind in (k for k in _TYPES if k in kinds):
        try:
            return readers[kind](text)
        except ValueError:
            continue
    return _NONE_FITS


def _as_written(text: str) -> Any:
    try:
        found = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
    return found if found is None or isinstance(found, bool | int | float) else text


def _misfit(name: str, annotation: str, value: Any) -> SettingError:
    remedy = f"give a value such as {_EXAMPLES[names[0]]}." if (names := _names(annotation)) else ""
    if names and "str" in names and not isinstance(value, str):
        remedy = f"give it as text: papermill takes -r {name} VALUE for that."
    return SettingError(f"The parameter {name!r} is declared as {annotation}, got {value!r}.", remedy=remedy)


def _names(annotation: str) -> tuple[str, ...] | None:
    """The plain types of an annotation, None where it has others."""
    try:
        return _plain(ast.parse(annotation, mode="eval").body)
    except SyntaxError:
        return None


def _plain(node: ast.expr) -> tuple[str, ...] | None:
    match node:
        case ast.Constant(value=None):
            return ("None",)
        case ast.Constant(value=str(text)):
            return _names(text)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            name = _ALIASES.get(name, name)
            return (name,) if name in _TYPES else None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _all([left, right])
        case ast.Subscript(value=ast.Name(id="Optional") | ast.Attribute(attr="Optional"), slice=inner):
            return _all([inner, ast.Constant(None)])
        case ast.Subscript(value=ast.Name(id="Union") | ast.Attribute(attr="Union"), slice=ast.Tuple(elts=several)):
            return _all(several)
        case ast.Subscript(value=outer):
            return _plain(outer)
    return None


def _all(nodes: Sequence[ast.expr]) -> tuple[str, ...] | None:
    found = [_plain(node) for node in nodes]
    return None if None in found else tuple(name for names in found for name in names or ())


def _parsed(source: str) -> ast.Module | None:
    for comments in (True, False):  # a comment may look like the type it is not
        try:
            return ast.parse(source, type_comments=comments)
        except SyntaxError:
            continue
    return None


def _is_parameters(source: str) -> bool:
    """Whether a cell only assigns constants, at least one of them with its type."""
    tree = _parsed(source)
    body = tree.body if tree else []
    plain = all(isinstance(n, ast.AnnAssign | ast.Assign) and n.value is not None and _constant(n.value) for n in body)
    return plain and any(isinstance(node, ast.AnnAssign) for node in body)


def _is_injected(source: str) -> bool:
    """Whether a cell is papermill's: its comment, then names and values without types."""
    tree = _parsed(source)
    assigns = tree is not None and all(isinstance(node, ast.Assign) for node in tree.body)
    return assigns and source.lstrip().startswith(_INJECTED)


def _constant(node: ast.expr) -> bool:
    return all(isinstance(part, _LITERAL) for part in ast.walk(node))


def _truth(text: str) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]


def _number(text: str) -> float:
    above, slash, below = text.partition("/")
    try:
        return float(above) / float(below) if slash else float(above)
    except ZeroDivisionError as error:
        raise ValueError(text) from error


def _nothing(text: str) -> None:
    if text not in {"None", "null"}:
        raise ValueError(text)


def _structure(kind: type) -> Any:
    def read(text: str) -> Any:
        yaml = require("yaml", "")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(text) from error
        if not isinstance(value, kind):
            raise ValueError(text)
        return value

    return read


_READERS: dict[str, Any] = {
    "None": _nothing,
    "bool": _truth,
    "int": int,
    "float": _number,
    "list": _structure(list),
    "tuple": _structure(list),
    "dict": _structure(dict),
    "str": str,
}
_EXAMPLES = {
    "None": "None", "bool": "true", "int": "10", "float": "0.01", "str": "text", "list": "[1, 2]", "tuple": "[1, 2]",
    "dict": "{name: 1}",
}  # fmt: skip
