"""Swift: a file without dependencies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from deploykit.exporters._edge.languages import Language, computing, gives, limits, says, single, text
from deploykit.exporters._edge.tensors import Fed, Given


class Swift(Language):
    """Functions of a file."""

    types: ClassVar[Mapping[str, str]] = {
        "float32": "Float", "float64": "Double", "int8": "Int8", "uint8": "UInt8", "int16": "Int16",
        "uint16": "UInt16", "int32": "Int32", "int64": "Int64",
    }  # fmt: skip

    def text(self, value: str) -> str:
        """A literal; Swift puts the numbers of characters in braces."""
        return re.sub(r"\\u([0-9a-f]{4})", r"\\u{\1}", text(value))

    def number(self, value: float, dtype: str) -> str:
        """``1.5`` or ``1``."""
        return single(value, dtype) if "float" in dtype else str(int(value))

    def row(self, values: Sequence[Any], dtype: str = "int64") -> str:
        """``[1, 2]``."""
        return "[" + ", ".join(self.number(v, dtype) for v in values) + "]"

    def prepare(self, place: int, fed: Fed) -> str:
        """``prepareN(raw)``."""
        raw, out, kind = self.types[fed.raw_dtype], self.types[fed.dtype], computing(fed)
        looked_up = fed.gathers or fed.channel >= 0
        lines = [
            f"// {says(fed)}",
            f"func prepare{place}(_ raw: [{raw}]) -> [{out}] {{",
            *([f"    let sizes: [Int] = {self.row(fed.sizes)}", f"    let strides: [Int] = {self.row(fed.strides)}"]
              if looked_up else []),
            *(f"    let operands{n}: [{self.types[kind]}] = {self.row(s.operands, kind)}"
              for n, s in enumerate(fed.steps) if len(s.operands) > 1),
            f"    var out = [{out}](repeating: 0, count: {fed.count})",
            "    for i in out.indices {",
        ]  # fmt: skip
        if looked_up:
            lines += [
                f"        var at = {fed.start}",
                "        var rest = i",
                *(["        var channel = 0"] if fed.channel >= 0 else []),
                f"        for axis in stride(from: {len(fed.sizes) - 1}, through: 0, by: -1) {{",
                "            let place = rest % sizes[axis]",
                "            rest /= sizes[axis]",
                "            at += place * strides[axis]",
                *([f"            if axis == {fed.channel} {{ channel = place }}"] if fed.channel >= 0 else []),
                "        }",
            ]
        value = f"raw[{'at' if looked_up else 'i'}]"
        if not fed.steps and not fed.scale:
            return "\n".join([*lines, f"        out[i] = {out}({value})", "    }", "    return out", "}"])
        lines.append(f"        {'var' if fed.steps else 'let'} x = {self.types[kind]}({value})")
        lines += [f"        x = {made}" for made in self.operations(fed)]
        if fed.scale:
            low, high = limits(fed.dtype)
            scale = self.number(fed.scale, "float32")
            lines.append(f"        let q = (Float(x) / {scale}).rounded(.toNearestOrEven) + {fed.zero_point}")
            lines.append(f"        out[i] = {out}(min(max(q, {low}), {high}))")
        else:
            lines.append(f"        out[i] = {out}(x)")
        return "\n".join([*lines, "    }", "    return out", "}"])

    def read(self, place: int, given: Given) -> str:
        """``realN(value)``."""
        kind = self.types[given.dtype]
        if not given.scale:
            return f"// {gives(given)}\nfunc real{place}(_ value: {kind}) -> {kind} {{ value }}"
        scale = self.number(given.scale, "float32")
        return (
            f"// {gives(given)}\n"
            f"func real{place}(_ value: {kind}) -> Float {{ (Float(value) - {given.zero_point}) * {scale} }}"
        )


SWIFT = Swift()
