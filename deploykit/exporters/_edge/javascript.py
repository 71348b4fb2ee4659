"""JavaScript: a module without dependencies, for browsers and Node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from deploykit.exporters._edge.languages import Language, computing, gives, limits, says
from deploykit.exporters._edge.tensors import Fed, Given


class JavaScript(Language):
    """Exported functions; every operation is rounded to float32, as NumPy does it."""

    types: ClassVar[Mapping[str, str]] = {
        "float32": "Float32Array", "float64": "Float64Array", "int8": "Int8Array", "uint8": "Uint8Array",
        "int16": "Int16Array", "uint16": "Uint16Array", "int32": "Int32Array", "int64": "BigInt64Array",
    }  # fmt: skip

    def number(self, value: float, dtype: str) -> str:
        """The double that a number of the dtype is."""
        import numpy as np

        return repr(float(np.dtype(dtype).type(value))) if "float" in dtype else str(int(value))

    def row(self, values: Sequence[Any], dtype: str = "int64") -> str:
        """``[1, 2]``."""
        return "[" + ", ".join(self.number(v, dtype) for v in values) + "]"

    def prepare(self, place: int, fed: Fed) -> str:
        """``prepareN(raw)``."""
        kind = computing(fed)
        rounded = "" if kind == "float64" else "Math.fround"
        looked_up = fed.gathers or fed.channel >= 0
        lines = [
            f"// {says(fed)}",
            f"export function prepare{place}(raw) {{",
            *([f"  const sizes = {self.row(fed.sizes)}, strides = {self.row(fed.strides)};"] if looked_up else []),
            *(f"  const operands{n} = {self.row(s.operands, kind)};"
              for n, s in enumerate(fed.steps) if len(s.operands) > 1),
            f"  const out = new {self.types[fed.dtype]}({fed.count});",
            "  for (let i = 0; i < out.length; i++) {",
        ]  # fmt: skip
        if looked_up:
            lines += [
                f"    let at = {fed.start}, rest = i{', channel = 0' if fed.channel >= 0 else ''};",
                f"    for (let axis = {len(fed.sizes) - 1}; axis >= 0; axis--) {{",
                "      const place = rest % sizes[axis];",
                "      rest = Math.floor(rest / sizes[axis]);",
                "      at += place * strides[axis];",
                *([f"      if (axis === {fed.channel}) channel = place;"] if fed.channel >= 0 else []),
                "    }",
            ]
        value = f"raw[{'at' if looked_up else 'i'}]"
        big, small = fed.dtype == "int64", fed.raw_dtype == "int64"
        if not fed.steps and not fed.scale:
            made = value if big == small else f"BigInt({value})" if big else f"Number({value})"
            return "\n".join([*lines, f"    out[i] = {made};", "  }", "  return out;", "}"])
        lines.append(f"    let x = {rounded}({f'Number({value})' if small else value});")
        lines += [f"    x = {rounded}({made});" for made in self.operations(fed)]
        if fed.scale:
            low, high = limits(fed.dtype)
            scale = self.number(fed.scale, "float32")
            lines.append(f"    const q = Math.fround(Math.fround(x) / {scale});")
            lines.append("    const whole = Math.round(q), even = whole - q === 0.5 && whole % 2 !== 0;")
            lines.append(f"    out[i] = Math.min(Math.max(whole - (even ? 1 : 0) + {fed.zero_point}, {low}), {high});")
        else:
            lines.append(f"    out[i] = {'BigInt(Math.trunc(x))' if big else 'x'};")
        return "\n".join([*lines, "  }", "  return out;", "}"])

    def read(self, place: int, given: Given) -> str:
        """``realN(value)``."""
        value = "Number(value)" if given.dtype == "int64" else "value"
        if given.scale:
            value = f"(value - {given.zero_point}) * {self.number(given.scale, 'float32')}"
        return f"// {gives(given)}\nexport function real{place}(value) {{\n  return {value};\n}}"


JAVASCRIPT = JavaScript()
