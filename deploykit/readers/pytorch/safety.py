"""What of a PyTorch file would run code of its own, or touch files: found before PyTorch opens it.

PyTorch looks operators of an exported program up by their dotted names, and evaluates its sizes as Python; TorchScript
has operators that write files, which may run as soon as it is loaded. So everything is refused that is not known.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from deploykit.core.errors import UnsafeModelError

#: Operators that read or write files.
_TOUCHING = frozenset({"save", "from_file", "load", "_load", "open"})
#: Namespaces of operators that PyTorch has itself.
_SPACES = frozenset({"aten", "prims", "quantized_decomposed", "quantized"})
#: Operators that run parts of the same graph.
_HIGHER = frozenset(
    {"cond", "while_loop", "scan", "associative_scan", "map_impl", "wrap_with_set_grad_enabled", "wrap_with_autocast",
     "out_dtype"}
)  # fmt: skip
_OPERATOR = re.compile(r"torch\.ops\.(?P<space>\w+)\.(?P<name>\w+)(\.\w+)?")
#: Functions of Python that graphs use for sizes.
_PLAIN = re.compile(
    r"_operator\.(add|sub|mul|truediv|floordiv|mod|neg|pow|pos|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem|xor)"
    r"|math\.(ceil|floor|trunc|sqrt|pow|prod)|torch\.(sym_\w+|_sym_sqrt|_check\w*)"
)
#: What an expression of a size may call.
_CALLS = frozenset(
    {"Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv",
     "CeilDiv", "CleanDiv", "IntTrueDiv", "FloatTrueDiv", "TruncToInt", "TruncToFloat", "ToFloat", "FloorToInt",
     "CeilToInt", "RoundToInt", "RoundDecimal", "ModularIndexing", "Where", "Identity", "Eq", "Equality", "Ne",
     "Unequality", "Lt", "Le", "Gt", "Ge", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "And",
     "Or", "Not", "PowByNatural", "FloatPow", "Abs", "floor", "ceiling", "BooleanTrue", "BooleanFalse"}
)  # fmt: skip
_NAMES = _CALLS | {"true", "false", "oo", "int_oo", "True", "False"}
_SYMBOL = re.compile(r"[A-Za-z]{1,3}\d+")
_ARITHMETIC = (
    ast.Expression, ast.Call, ast.keyword, ast.Constant, ast.Name, ast.Load, ast.UnaryOp, ast.USub, ast.UAdd, ast.BinOp,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.Compare, ast.Eq, ast.NotEq, ast.Lt,
    ast.LtE, ast.Gt, ast.GtE, ast.BoolOp, ast.And, ast.Or, ast.Not,
)  # fmt: skip
_LONGEST_EXPRESSION = 4000
#: Containers of inputs and outputs; others are looked up, and may import modules.
_CONTAINERS = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
#: TorchScript's own modules of operators.
_SCRIPT_SPACES = frozenset({"prim", "aten", "quantized", "prepacked", "sparse", "mkldnn"})
_SCRIPT_CALL = re.compile(r"\bops\.(\w+)\.(\w+)")
_SCRIPT_TORCH = re.compile(r"(?<![\w.])torch\.(\w+)\s*\(")
_SCRIPT_BARE = re.compile(r"(?<![\w.])(save|from_file)\s*\(")
_TRUST = "use a file from a source that you trust, and load it with trusted=True."


def check_program(program: Mapping[str, Any], shown: str) -> None:
    """Refuse an exported program with operators, sizes or containers that are not known.

    Args:
        program: Its graph as JSON.
        shown: The file, for messages.

    Raises:
        UnsafeModelError: Names what was found.
    """
    for key, value in _walk(program):
        if key in ("target", "as_operator") and isinstance(value, str):
            _check_target(value, shown)
        elif key == "expr_str":
            _check_expression(value, shown)
        elif key in ("in_spec", "out_spec"):
            _check_containers(value, shown)
        elif key == "as_custom_obj":
            raise UnsafeModelError(
                f"{shown}: the graph uses an object of a class of its own (a ScriptObject), which is pickled code.",
                remedy="export a model of plain tensors and operators.",
            )


def check_script(texts: Mapping[str, str], shown: str) -> None:
    """Refuse TorchScript that calls operators which touch files, or operators of other packages.

    Args:
        texts: Its code by member.
        shown: The file, for messages.

    Raises:
        UnsafeModelError: Names the operator and the member.
    """
    for member, text in texts.items():
        called = [("aten", name) for name in (*_SCRIPT_TORCH.findall(text), *_SCRIPT_BARE.findall(text))]
        for space, name in (*called, *_SCRIPT_CALL.findall(text)):
            if name in _TOUCHING:
                raise UnsafeModelError(
                    f"{shown}: {member} calls {space}.{name}, which reads or writes files.", remedy=_TRUST
                )
            if space not in _SCRIPT_SPACES:
                raise UnsafeModelError(
                    f"{shown}: {member} calls {space}.{name}, an operator of a package of its own.", remedy=_TRUST
                )


def _walk(item: Any) -> Iterator[tuple[str, Any]]:
    """All keys and values of nested JSON."""
    waiting = [item]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            yield from here.items()
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here


def _check_target(target: str, shown: str) -> None:
    found = _OPERATOR.fullmatch(target)
    if found and found["name"] in _TOUCHING:
        raise UnsafeModelError(f"{shown}: the operator {target} reads or writes files.", remedy=_TRUST)
    if found and (found["space"] in _SPACES or (found["space"] == "higher_order" and found["name"] in _HIGHER)):
        return
    if _PLAIN.fullmatch(target):
        return
    raise UnsafeModelError(
        f"{shown}: {target[:200]!r} is not an operator of PyTorch: it may run code of its own.", remedy=_TRUST
    )


def _check_expression(text: Any, shown: str) -> None:
    if isinstance(text, str) and len(text) <= _LONGEST_EXPRESSION and _is_arithmetic(text):
        return
    raise UnsafeModelError(
        f"{shown}: a size is {str(text)[:200]!r}, which is not arithmetic: PyTorch would run it as Python.",
        remedy="do not use this file; if it is yours, export the model again.",
    )


def _is_arithmetic(text: str) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    for node in nodes:
        if not isinstance(node, _ARITHMETIC):
            return False
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _CALLS):
            return False
        if isinstance(node, ast.Name) and node.id not in _NAMES and not _SYMBOL.fullmatch(node.id):
            return False
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not _SYMBOL.fullmatch(node.value):
            return False
    return True


def _check_containers(text: Any, shown: str) -> None:
    try:
        spec = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        spec = {"type": text}
    for key, value in _walk(spec):
        if (key == "type" and value not in _CONTAINERS) or key == "__enum__":
            raise UnsafeModelError(
                f"{shown}: inputs or outputs come in a {str(value)[:100]!r}, which is not a tuple, list or dict.",
                remedy="export a model that takes and gives tensors, or tuples, lists and dicts of them.",
            )
        if key == "context" and isinstance(value, str) and ("__enum__" in value or "default_factory" in value):
            raise UnsafeModelError(f"{shown}: keys of inputs or outputs are not text.", remedy="use texts as keys.")
