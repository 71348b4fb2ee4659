"""Kotlin: a file without dependencies, for Android and the JVM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from deploykit.exporters._edge.languages import Language, computing, gives, limits, says, single, text
from deploykit.exporters._edge.tensors import Fed, Given

_ARRAYS = {
    "float32": "FloatArray", "float64": "DoubleArray", "int8": "ByteArray", "uint8": "ByteArray",
    "int16": "ShortArray", "uint16": "ShortArray", "int32": "IntArray", "int64": "LongArray",
}  # fmt: skip


class Kotlin(Language):
    """Functions of a file; unsigned numbers are kept in the signed arrays of the JVM, as buffers hold them."""

    types: ClassVar[Mapping[str, str]] = {
        "float32": "Float", "float64": "Double", "int8": "Byte", "uint8": "Byte", "int16": "Short",
        "uint16": "Short", "int32": "Int", "int64": "Long",
    }  # fmt: skip

    def text(self, value: str) -> str:
        """A literal in which nothing is replaced."""
        return text(value).replace("$", "\\$")

    def number(self, value: float, dtype: str) -> str:
        """``1.5f``, ``1.5``, ``1`` or ``1L``."""
        if dtype == "float32":
            return f"{single(value, dtype)}f"
        return single(value, dtype) if dtype == "float64" else str(int(value))

    def row(self, values: Sequence[Any], dtype: str = "int32") -> str:
        """``intArrayOf(1, 2)``."""
        name = {"float32": "floatArrayOf", "float64": "doubleArrayOf", "int64": "longArrayOf"}.get(dtype, "intArrayOf")
        return f"{name}({', '.join(self.number(v, dtype) for v in values)})"

    def array(self, dtype: str) -> str:
        """The type of an array of a dtype."""
        return _ARRAYS[dtype]

    def prepare(self, place: int, fed: Fed) -> str:
        """``prepareN(raw)``."""
        kind, floating = computing(fed), self.types[computing(fed)]
        looked_up = fed.gathers or fed.channel >= 0
        lines = [
            f"// {says(fed)}",
            f"fun prepare{place}(raw: {_ARRAYS[fed.raw_dtype]}): {_ARRAYS[fed.dtype]} {{",
            *([f"    val sizes = {self.row(fed.sizes)}", f"    val strides = {self.row(fed.strides)}"]
              if looked_up else []),
            *(f"    val operands{n} = {self.row(s.operands, kind)}"
              for n, s in enumerate(fed.steps) if len(s.operands) > 1),
            f"    val out = {_ARRAYS[fed.dtype]}({fed.count})",
            "    for (i in out.indices) {",
        ]  # fmt: skip
        if looked_up:
            lines += [
                f"        var at = {fed.start}",
                "        var rest = i",
                *(["        var channel = 0"] if fed.channel >= 0 else []),
                f"        for (axis in {len(fed.sizes) - 1} downTo 0) {{",
                "            val place = rest % sizes[axis]",
                "            rest /= sizes[axis]",
                "            at += place * strides[axis]",
                *([f"            if (axis == {fed.channel}) channel = place"] if fed.channel >= 0 else []),
                "        }",
            ]
        value = f"raw[{'at' if looked_up else 'i'}]"
        if not fed.steps and not fed.scale:
            return "\n".join([*lines, f"        out[i] = {_plain(value, fed)}", "    }", "    return out", "}"])
        lines.append(f"        var x = {_whole(value, fed.raw_dtype)}.to{floating}()")
        lines += [f"        x = {made}" for made in self.operations(fed)]
        if fed.scale:
            low, high = limits(fed.dtype)
            scale = self.number(fed.scale, "float32")
            lines.append(
                f"        val q = (Math.rint((x.toFloat() / {scale}).toDouble()) + {fed.zero_point}.0)"
                f".coerceIn({low}.0, {high}.0)"
            )
            lines.append(f"        out[i] = {_narrowed('q.toLong()', fed.dtype)}")
        else:
            lines.append(f"        out[i] = {_narrowed('x', fed.dtype)}")
        return "\n".join([*lines, "    }", "    return out", "}"])

    def read(self, place: int, given: Given) -> str:
        """``realN(value)``."""
        kind = self.types[given.dtype]
        whole = _whole("value", given.dtype)
        if given.scale:
            scale = self.number(given.scale, "float32")
            body = f"({whole}.toFloat() - {given.zero_point}.0f) * {scale}"
            return f"// {gives(given)}\nfun real{place}(value: {kind}): Float = {body}"
        result = "Int" if given.dtype in ("uint8", "uint16") else kind
        return f"// {gives(given)}\nfun real{place}(value: {kind}): {result} = {whole}"


def _whole(value: str, dtype: str) -> str:
    """Unsigned numbers are read from the signed ones that hold them."""
    return f"({value}.toInt() and {limits(dtype)[1]})" if dtype in ("uint8", "uint16") else value


def _plain(value: str, fed: Fed) -> str:
    return value if fed.raw_dtype == fed.dtype else _narrowed(_whole(value, fed.raw_dtype), fed.dtype)


def _narrowed(value: str, dtype: str) -> str:
    """To a type of the JVM; what is narrower than Int goes by it."""
    kind = Kotlin.types[dtype]
    return f"{value}.toInt().to{kind}()" if kind in ("Byte", "Short") else f"{value}.to{kind}()"


KOTLIN = Kotlin()
