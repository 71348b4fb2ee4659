"""How a TFLite file calls its inputs and outputs, and what it keeps from call to call."""

from __future__ import annotations

from typing import Any


def signature_names(interpreter: Any) -> tuple[list[str], list[str]]:
    """Names of inputs and outputs in the file's order: those of its only signature, else those of the tensors."""
    sides = interpreter.get_input_details(), interpreter.get_output_details()
    signatures = list(interpreter.get_signature_list())
    if len(signatures) != 1:
        return [str(d["name"]) for d in sides[0]], [str(d["name"]) for d in sides[1]]
    runner = interpreter.get_signature_runner(signatures[0])
    known = runner.get_input_details(), runner.get_output_details()
    return _named(sides[0], known[0]), _named(sides[1], known[1])


def _named(details: list[dict[str, Any]], known: dict[str, dict[str, Any]]) -> list[str]:
    left = [(int(entry["index"]), str(name)) for name, entry in known.items()]
    names = []
    for detail in details:
        found = next((entry for entry in left if entry[0] == int(detail["index"])), None)
        names.append(found[1] if found else str(detail["name"]))
        if found:  # one tensor may be two outputs
            left.remove(found)
    return names


def written_variables(operators: list[dict[str, Any]]) -> list[int]:
    """Tensors that stand for variables which a run changes: all but those that are only read.

    Args:
        operators: What the interpreter tells of its operators.
    """
    handles = {int(i) for op in operators if op["op_name"] == "VAR_HANDLE" for i in op["outputs"]}
    users = [op for op in operators if op["op_name"] not in ("READ_VARIABLE", "VAR_HANDLE", "DELEGATE")]
    return sorted({int(i) for op in users for i in op["inputs"]} & handles)
