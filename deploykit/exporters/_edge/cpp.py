"""C++17: nothing but the standard library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from deploykit.exporters._edge.languages import Language, computing, gives, limits, says, single
from deploykit.exporters._edge.tensors import Fed, Given


class Cpp(Language):
    """Functions in a header."""

    types: ClassVar[Mapping[str, str]] = {
        "float32": "float", "float64": "double", "int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t",
        "uint16": "uint16_t", "int32": "int32_t", "int64": "int64_t",
    }  # fmt: skip

    def number(self, value: float, dtype: str) -> str:
        """``1.5f``, ``1.5`` or ``1``."""
        if dtype == "float32":
            return f"{single(value, dtype)}f"
        return single(value, dtype) if dtype == "float64" else str(int(value))

    def row(self, values: Sequence[Any], dtype: str = "int64") -> str:
        """``{1, 2}``."""
        return "{" + ", ".join(self.number(v, dtype) for v in values) + "}"

    def prepare(self, place: int, fed: Fed) -> str:
        """``PrepareN(raw, out)``."""
        raw, out, kind = self.types[fed.raw_dtype], self.types[fed.dtype], computing(fed)
        lines = [f"// {says(fed)}", f"inline void Prepare{place}(const {raw}* raw, {out}* out) {{"]
        if fed.gathers or fed.channel >= 0:
            lines += [
                f"  static const size_t sizes[] = {self.row(fed.sizes)};",
                f"  static const long strides[] = {self.row(fed.strides)};",
            ]
        lines += [
            f"  static const {self.types[kind]} operands{n}[] = {self.row(s.operands, kind)};"
            for n, s in enumerate(fed.steps)
            if len(s.operands) > 1
        ]
        lines.append(f"  for (size_t i = 0; i < {fed.count}; ++i) {{")
        if fed.gathers or fed.channel >= 0:
            lines += [
                f"    long at = {fed.start};",
                "    size_t rest = i;",
                *(["    size_t channel = 0;"] if fed.channel >= 0 else []),
                f"    for (int axis = {len(fed.sizes) - 1}; axis >= 0; --axis) {{",
                "      const size_t place = rest % sizes[axis];",
                "      rest /= sizes[axis];",
                "      at += static_cast<long>(place) * strides[axis];",
                *([f"      if (axis == {fed.channel}) channel = place;"] if fed.channel >= 0 else []),
                "    }",
            ]
        value = "raw[at]" if fed.gathers or fed.channel >= 0 else "raw[i]"
        if not fed.steps and not fed.scale:
            return "\n".join([*lines, f"    out[i] = static_cast<{out}>({value});", "  }", "}"])
        lines.append(f"    {self.types[kind]} x = static_cast<{self.types[kind]}>({value});")
        lines += [f"    x = {made};" for made in self.operations(fed)]
        if fed.scale:
            low, high = (f"{end}.0f" for end in limits(fed.dtype))
            scale, zero = self.number(fed.scale, "float32"), f"{fed.zero_point}.0f"
            lines.append(f"    float q = std::nearbyint(static_cast<float>(x) / {scale}) + {zero};")
            lines.append(f"    q = q < {low} ? {low} : q > {high} ? {high} : q;")
        lines.append(f"    out[i] = static_cast<{out}>({'q' if fed.scale else 'x'});")
        return "\n".join([*lines, "  }", "}"])

    def read(self, place: int, given: Given) -> str:
        """``RealN(value)``."""
        kind = self.types[given.dtype]
        if not given.scale:
            return f"// {gives(given)}\ninline {kind} Real{place}({kind} value) {{ return value; }}"
        zero, scale = f"{given.zero_point}.0f", self.number(given.scale, "float32")
        return (
            f"// {gives(given)}\n"
            f"inline float Real{place}({kind} value) {{ return (static_cast<float>(value) - {zero}) * {scale}; }}"
        )


CPP = Cpp()
