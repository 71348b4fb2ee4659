"""MicroPython: a module that needs nothing but ``array``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from deploykit.exporters._edge.languages import WIDTHS, Language, computing, gives, limits, says, single
from deploykit.exporters._edge.tensors import Fed, Given


class MicroPython(Language):
    """Functions of a module. Boards compute in single precision, where sums may differ by a rounding."""

    types: ClassVar[Mapping[str, str]] = {
        "float32": "f", "float64": "d", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i",
        "int64": "q",
    }  # fmt: skip

    def number(self, value: float, dtype: str) -> str:
        """``1.5`` or ``1``."""
        return single(value, dtype) if "float" in dtype else str(int(value))

    def row(self, values: Sequence[Any], dtype: str = "int64") -> str:
        """``(1, 2)``."""
        return "(" + "".join(f"{self.number(v, dtype)}, " for v in values).rstrip() + ")"

    def prepare(self, place: int, fed: Fed) -> str:
        """``prepareN(raw)``."""
        kind, looked_up = computing(fed), fed.gathers or fed.channel >= 0
        zeros = f"bytes({fed.count} * {WIDTHS[fed.dtype]})"
        lines = [
            f"# {says(fed)}",
            f"def prepare{place}(raw):",
            *([f"    sizes, strides = {self.row(fed.sizes)}, {self.row(fed.strides)}"] if looked_up else []),
            *(f"    operands{n} = {self.row(s.operands, kind)}"
              for n, s in enumerate(fed.steps) if len(s.operands) > 1),
            f"    out = array.array({self.types[fed.dtype]!r}, {zeros})",
            "    for i in range(len(out)):",
        ]  # fmt: skip
        if looked_up:
            lines += [
                f"        at, rest = {fed.start}, i",
                *(["        channel = 0"] if fed.channel >= 0 else []),
                f"        for axis in range({len(fed.sizes) - 1}, -1, -1):",
                "            place = rest % sizes[axis]",
                "            rest //= sizes[axis]",
                "            at += place * strides[axis]",
                *([f"            if axis == {fed.channel}:", "                channel = place"]
                  if fed.channel >= 0 else []),
            ]  # fmt: skip
        value = f"raw[{'at' if looked_up else 'i'}]"
        if not fed.steps and not fed.scale:
            made = f"int({value})" if "int" in fed.dtype else value
            return "\n".join([*lines, f"        out[i] = {made}", "    return out"])
        lines.append(f"        x = {value}")
        lines += [f"        x = {made}" for made in self.operations(fed)]
        if fed.scale:
            low, high = limits(fed.dtype)
            scale = self.number(fed.scale, "float32")
            lines.append(f"        out[i] = min(max(round(x / {scale}) + {fed.zero_point}, {low}), {high})")
        else:
            lines.append(f"        out[i] = {'int(x)' if 'int' in fed.dtype else 'x'}")
        return "\n".join([*lines, "    return out"])

    def read(self, place: int, given: Given) -> str:
        """``realN(value)``."""
        value = "value"
        if given.scale:
            value = f"(value - {given.zero_point}) * {self.number(given.scale, 'float32')}"
        return f"# {gives(given)}\ndef real{place}(value):\n    return {value}"

    def code(self, found: Any) -> str:
        """Two lines between functions, as Python has them."""
        return "\n\n\n".join(super().code(found).split("\n\n"))


MICROPYTHON = MicroPython()
