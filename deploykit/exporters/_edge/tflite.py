"""TFLite files on devices: LiteRT in C++, Kotlin and Swift, its web build in browsers."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from deploykit.core.errors import ExportError
from deploykit.exporters._edge.flavor import Flavor, Operators, raw_count
from deploykit.exporters._edge.kotlin import KOTLIN
from deploykit.exporters._edge.languages import WIDTHS, text
from deploykit.exporters._edge.swift import SWIFT
from deploykit.exporters._edge.tensors import Tensors
from deploykit.loading._contract import FORMATS
from deploykit.readers.flatbuffers import Table
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task

_READ = "deploykit.exporters._edge.tflite:read_operators"
_PIN = "deploykit.exporters._edge.tflite:pin_sizes"
#: Fields of the schema's tables.
_SUBGRAPHS, _TENSORS, _SHAPE, _SHAPE_SIGNATURE = 2, 0, 0, 7
_TYPES = {
    "float32": "Float32", "float64": "Float64", "int8": "Int8", "uint8": "UInt8", "int16": "Int16",
    "uint16": "UInt16", "int32": "Int32", "int64": "Int64",
}  # fmt: skip
#: What views a buffer in Java; bytes need none.
_VIEWS = {
    "float32": "asFloatBuffer()", "float64": "asDoubleBuffer()", "int16": "asShortBuffer()",
    "uint16": "asShortBuffer()", "int32": "asIntBuffer()", "int64": "asLongBuffer()",
}  # fmt: skip
#: What LiteRT.js has types for.
_WEB = frozenset({"float32", "int32"})


def read_operators(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: which operators a file needs.

    Args:
        arguments: ``path`` of the file.
        report: Not used.

    Returns:
        ``operators``: the names, sorted, of the only domain there is.
    """
    nodes = FORMATS.get("tflite").nodes(Path(arguments["path"]))
    return {"operators": [["", 0, sorted({node.operator for node in nodes})]]}


def pin_sizes(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: write a file again with sizes of 1 where they are free, for runtimes that refuse free ones.

    Args:
        arguments: ``path`` of the file, ``target`` of the new one.
        report: Not used.

    Returns:
        ``changed``: how many sizes.
    """
    data = bytearray(Path(arguments["path"]).read_bytes())
    changed = 0
    for graph in Table.root(memoryview(bytes(data))).tables(_SUBGRAPHS):
        for tensor in graph.tables(_TENSORS):
            sizes, found = tensor.numbers(_SHAPE, "i"), tensor.span(_SHAPE_SIGNATURE, 4)
            for place in range(found[1] if found else 0):
                at = found[0] + 4 * place if found else 0
                if struct.unpack_from("<i", data, at)[0] < 0:
                    struct.pack_into("<i", data, at, sizes[place])
                    changed += 1
    Path(arguments["target"]).write_bytes(data)
    return {"changed": changed}


class TfLiteFlavor(Flavor):
    """Code that calls LiteRT."""

    suffix = ".tflite"
    module = "ai_edge_litert"
    npm: ClassVar[Mapping[str, str]] = {"@litertjs/core": "^2.5.3", "@litertjs/wasm-utils": "^2.5.3"}
    imports: ClassVar[Mapping[str, str]] = {
        "@litertjs/core": "../node_modules/@litertjs/core/dist/index.js",
        "@litertjs/wasm-utils": "../node_modules/@litertjs/wasm-utils/dist/index.js",
    }
    load_runtime = """async function loadRuntime() {
  const litert = await import("@litertjs/core");
  await litert.loadLiteRt(new URL("../node_modules/@litertjs/core/wasm/", import.meta.url).href);
  return litert;
}"""
    words: ClassVar[Mapping[str, str]] = {"variable": "LITERT", "library": "litert"}
    smaller = "The layout `microcontroller` says what TensorFlow Lite Micro needs."
    boards = True
    page_model = "model.tflite"
    task = _READ

    def check(self, found: Tensors) -> None:
        """Sizes other than the batch's must be known: the programs resize nothing."""
        for fed in found.inputs:
            if free := [n for n, size in zip(fed.shape, fed.declared, strict=True) if size is None and n != 1]:
                raise ExportError(
                    f"The file's input {fed.there!r} has free sizes besides the batch (here {free}).",
                    remedy="convert the model with fixed sizes, or export with layout='folder'.",
                )

    def with_fixed_sizes(self, path: Path, target: Path) -> None:
        """LiteRT.js wants the sizes that it is given, and no free ones."""
        asked = {"path": str(path), "target": str(target)}
        shared().run(Task(_PIN, asked, name=f"fixing the sizes of {path.name}"))

    def list_file(self, operators: Operators) -> tuple[str, str]:
        """One name a line."""
        return "operators.txt", "".join(f"{name}\n" for _, _, names in operators for name in names)

    def fill_cpp(self, found: Tensors) -> dict[str, str]:
        """Lines that make inputs and print outputs."""
        inputs, number = [], 0
        for place, fed in enumerate(found.inputs):
            kind = self.cpp(fed.dtype)
            filled = "" if fed.constant is None else f", {fed.constant:g}"
            inputs.append(f"  std::vector<{kind}> input{place}({fed.count}{filled});")
            if fed.constant is None:
                raw = f"ReadValues<{self.cpp(fed.raw_dtype)}>(argv[{number + 2}], {raw_count(fed)})"
                inputs.append(f"  model::Prepare{number}({raw}.data(), input{place}.data());")
                number += 1
            inputs += [
                f"  const LiteRtParamIndex in{place} = "
                f"Place(signature, fed, LiteRtGetSignatureInputName, {text(fed.there)});",
                f"  inputs[in{place}] = Input(env, compiled, in{place}, {_type(fed.dtype, fed.shape)});",
                f"  Write(inputs[in{place}], input{place});",
            ]
        buffers, outputs = [], []
        for place, given in enumerate(found.outputs):
            kind = self.cpp(given.dtype)
            buffers += [
                f"  const LiteRtParamIndex out{place} = "
                f"Place(signature, given, LiteRtGetSignatureOutputName, {text(given.there)});",
                f"  outputs[out{place}] = Output(env, compiled, out{place}, {_type(given.dtype, given.shape)});",
            ]
            outputs += [
                f"  const std::vector<{kind}> output{place} = Read<{kind}>(outputs[out{place}], {given.count});",
                *self.printed(place, given),
            ]
        return {"INPUTS": "\n".join(inputs), "OUTPUT_BUFFERS": "\n".join(buffers), "OUTPUTS": "\n".join(outputs)}

    def web_type(self, dtype: str) -> str:
        """The type of a tensor in the browser."""
        return dtype

    def fill_kotlin(self, found: Tensors) -> dict[str, str]:
        """Buffers in the order of the file."""
        inputs, buffers, outputs, number = [], [], [], 0
        for place, fed in enumerate(found.inputs):
            array = f"{KOTLIN.array(fed.dtype)}({fed.count}) {{ {KOTLIN.number(fed.constant or 0.0, fed.dtype)} }}"
            if fed.constant is None:
                array = f"prepare{number}(in{number})"
                number += 1
            view = _VIEWS.get(fed.dtype)
            put = f"{view}.put({array})" if view else f"put({array}).rewind()"
            inputs.append(f"        val input{place} = buffer({fed.count * WIDTHS[fed.dtype]}).apply {{ {put} }}")
        for place, given in enumerate(found.outputs):
            buffers.append(f"        val output{place} = buffer({given.count * WIDTHS[given.dtype]})")
            view = _VIEWS.get(given.dtype)
            read = f"output{place}.apply {{ rewind() }}{f'.{view}' if view else ''}"
            values = f"{read}.let {{ b -> List({given.count}) {{ real{place}(b.get()) }} }}"
            outputs.append(f"            {KOTLIN.text(given.name)} to {values},")
        return {
            "INPUTS": "\n".join(inputs),
            "BUFFERS": "\n".join(buffers),
            "OUTPUTS": "\n".join(outputs),
            "IN_ORDER": ", ".join(f"input{place}" for place in range(len(inputs))),
            "OUT_ORDER": ", ".join(f"{given.place} to output{place}" for place, given in enumerate(found.outputs)),
        }

    def fill_swift(self, found: Tensors) -> dict[str, str]:
        """Copies in the order of the file."""
        inputs, outputs, number = [], [], 0
        for place, fed in enumerate(found.inputs):
            kind = SWIFT.types[fed.dtype]
            array = f"[{kind}](repeating: {SWIFT.number(fed.constant or 0.0, fed.dtype)}, count: {fed.count})"
            if fed.constant is None:
                array = f"prepare{number}(in{number})"
                number += 1
            inputs.append(f"        try interpreter.copy(data({array}), toInputAt: {place})")
        for place, given in enumerate(found.outputs):
            made = f"values({given.place}, {SWIFT.types[given.dtype]}.self).map {{ Double(real{place}($0)) }}"
            outputs.append(f"            {SWIFT.text(given.name)}: try {made},")
        return {"INPUTS": "\n".join(inputs), "OUTPUTS": "\n".join(outputs)}

    def unsupported(self, found: Tensors, language: str) -> str:
        """The web build takes two types."""
        odd = sorted(found.dtypes - _WEB)
        return f"LiteRT.js has no type for {', '.join(odd)}" if odd and language == "javascript" else ""


def _type(dtype: str, shape: tuple[int, ...]) -> str:
    dims = ", ".join(map(str, shape))
    return f"Type(kLiteRtElementType{_TYPES[dtype]}, {{{dims}}})"


FLAVOR = TfLiteFlavor()
