"""Tables that inputs choose rows from: a number must be smaller than the table has rows."""

from __future__ import annotations

from typing import Any

#: Operators between an input and the table, or between a table and its use, that keep rows and numbers.
_PASSING = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "DequantizeLinear"})


def rows_of(graph: Any) -> dict[str, int]:
    """Input → rows of the smallest table that it chooses from; inputs that choose from none are left out.

    Args:
        graph: A GraphProto.
    """
    tables = {tensor.name: int(tensor.dims[0]) for tensor in graph.initializer if tensor.dims}
    sources = {v.name: v.name for v in graph.input if v.name not in tables}
    found: dict[str, int] = {}
    for node in graph.node:
        first = node.input[0] if node.input else ""
        if node.op_type in _PASSING and node.output:
            if first in sources:
                sources[node.output[0]] = sources[first]
            elif first in tables and node.op_type in ("Cast", "Identity", "DequantizeLinear"):
                tables[node.output[0]] = tables[first]
        elif node.op_type == "Gather" and len(node.input) > 1 and node.input[1] in sources and first in tables:
            if any(a.name == "axis" and a.i for a in node.attribute):
                continue
            name = sources[node.input[1]]
            found[name] = min(found.get(name, tables[first]), tables[first])
    return found
