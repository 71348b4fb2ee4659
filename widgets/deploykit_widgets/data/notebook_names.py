"""Names of data in the user's notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploykit.core.errors import SettingError
from deploykit.data.dataset import Dataset

_MOST_NAMES = 20
#: Beginnings of names that usually mean examples and their labels.
_PAIRS = (("x", "y"), ("X", "y"), ("images", "labels"), ("features", "labels"), ("inputs", "targets"))


def namespace() -> Mapping[str, Any]:
    """The notebook's variables; empty outside of IPython."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return {}
    shell = get_ipython()
    return {} if shell is None else dict(tuple(shell.user_ns.items()))


def name_of(value: Any) -> str:
    """The notebook's name for an object, "" if it has none."""
    if value is None:
        return ""
    return next((n for n, v in namespace().items() if v is value and not n.startswith("_")), "")


def names_of_data() -> list[dict[str, str]]:
    """Variables that can be used as data: Datasets, pairs, and arrays whose names belong together."""
    variables = {n: v for n, v in namespace().items() if not n.startswith("_")}
    found = [{"name": n, "what": str(v)} for n, v in variables.items() if isinstance(v, Dataset)]
    found += [
        {"name": n, "what": f"pair of {_shape(v[0])} and {_shape(v[1])}"}
        for n, v in variables.items()
        if isinstance(v, tuple) and len(v) == 2 and _are_pair(*v)
    ]
    for x in variables:
        y = _partner(x, variables)
        if y and _are_pair(variables[x], variables[y]):
            found.append({"name": f"{x}, {y}", "what": f"arrays of {_shape(variables[x])} and {_shape(variables[y])}"})
    return found[:_MOST_NAMES]


def found_in(name: str) -> Any:
    """The value of a name, or the pair of two names separated by a comma.

    Raises:
        SettingError: The notebook has no such variable.
    """
    variables = namespace()
    parts = [p.strip() for p in name.strip(" ()").split(",")]
    for part in parts:
        if part not in variables:
            raise SettingError(
                f"The notebook has no variable {part!r}.", remedy="run the cell that makes it, or give a path."
            )
    values = tuple(variables[p] for p in parts)
    return values[0] if len(values) == 1 else values


def _partner(x: str, variables: Mapping[str, Any]) -> str:
    for first, second in _PAIRS:
        y = second + x.removeprefix(first)
        if x.startswith(first) and y in variables:
            return y
    return ""


def _are_pair(x: Any, y: Any) -> bool:
    shapes: list[Any] = [getattr(v, "shape", ()) for v in (x, y)]
    return all(isinstance(s, tuple) and s for s in shapes) and shapes[0][0] == shapes[1][0]


def _shape(value: Any) -> str:
    return " × ".join(str(d) for d in value.shape)
