"""ONNX files on devices: ONNX Runtime in C++, Kotlin and Swift, its web build in browsers and Node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from deploykit.exporters._edge.flavor import Flavor, Operators, raw_count
from deploykit.exporters._edge.kotlin import KOTLIN
from deploykit.exporters._edge.languages import text
from deploykit.exporters._edge.swift import SWIFT
from deploykit.exporters._edge.tensors import Fed, Tensors
from deploykit.loading._onnx.parts import STANDARD, inner_graphs
from deploykit.sandbox.task import Report

_READ = "deploykit.exporters._edge.onnx:read_operators"


def read_operators(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: which operators a file needs, as it is and as ONNX Runtime runs it.

    Args:
        arguments: ``path`` of the file, ``scratch``: a folder for the optimized one.
        report: Not used.

    Returns:
        ``operators``: for each domain and version the names, sorted.
    """
    import onnx
    import onnxruntime

    optimized = Path(arguments["scratch"]) / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(optimized)
    onnxruntime.InferenceSession(arguments["path"], options, providers=["CPUExecutionProvider"])
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    for path in (Path(arguments["path"]), optimized):
        model = onnx.load(path, load_external_data=False)
        versions = {("" if o.domain in STANDARD else o.domain): int(o.version) for o in model.opset_import}
        functions = {(f.domain, f.name) for f in model.functions}
        graphs: list[Any] = [model.graph, *model.functions]
        while graphs:
            for node in graphs.pop().node:
                graphs.extend(inner_graphs(node))
                domain = "" if node.domain in STANDARD else node.domain
                if (node.domain, node.op_type) not in functions:
                    found[domain, versions.get(domain, 1)].add(node.op_type)
    return {"operators": [[domain, version, sorted(names)] for (domain, version), names in sorted(found.items())]}


class OnnxFlavor(Flavor):
    """Code that calls ONNX Runtime."""

    suffix = ".onnx"
    module = "onnxruntime"
    npm: ClassVar[Mapping[str, str]] = {"onnxruntime-web": "^1.30.0"}
    imports: ClassVar[Mapping[str, str]] = {"onnxruntime-web": "../node_modules/onnxruntime-web/dist/ort.wasm.min.mjs"}
    load_runtime = """async function loadRuntime() {
  const ort = await import("onnxruntime-web");
  ort.env.wasm.wasmPaths = new URL("../node_modules/onnxruntime-web/dist/", import.meta.url).href;
  return ort;
}"""
    words: ClassVar[Mapping[str, str]] = {"variable": "ONNXRUNTIME", "library": "onnxruntime"}
    smaller = "A minimal build with `required_operators.config` holds these operators alone."
    page_model = "../model.onnx"
    task = _READ

    def list_file(self, operators: Operators) -> tuple[str, str]:
        """The configuration of a build with these operators alone."""
        lines = [
            "# Operators that the model needs, as it is and as ONNX Runtime's extended optimizations leave it:",
            "# build.sh --minimal_build extended --include_ops_by_config required_operators.config",
            *(f"{domain or 'ai.onnx'};{version};{','.join(names)}" for domain, version, names in operators),
        ]
        return "required_operators.config", "".join(f"{line}\n" for line in lines)

    def fill_cpp(self, found: Tensors) -> dict[str, str]:
        """Lines that make inputs and print outputs."""
        inputs, number = [], 0
        for place, fed in enumerate(found.inputs):
            kind = self.cpp(fed.dtype)
            inputs.append(f"  std::vector<{kind}> input{place}({fed.count}{_filled(fed)});")
            if fed.constant is None:
                raw = self.cpp(fed.raw_dtype)
                read = f"ReadValues<{raw}>(argv[{number + 2}], {raw_count(fed)})"
                inputs.append(f"  model::Prepare{number}({read}.data(), input{place}.data());")
                number += 1
            dims = "{" + ", ".join(map(str, fed.shape)) + "}"
            inputs += [
                f"  const std::vector<int64_t> shape{place}{dims if fed.shape else ''};",
                f"  inputs.push_back(Ort::Value::CreateTensor<{kind}>(memory, input{place}.data(), "
                f"input{place}.size(), shape{place}.data(), shape{place}.size()));",
            ]
        outputs = []
        for place, given in enumerate(found.outputs):
            outputs += [
                f"  const {self.cpp(given.dtype)}* output{place} = outputs[{place}]"
                f".GetTensorData<{self.cpp(given.dtype)}>();",
                *self.printed(place, given),
            ]
        return {
            "INPUTS": "\n".join(inputs),
            "INPUT_NAMES": ", ".join(text(fed.there) for fed in found.inputs),
            "OUTPUT_NAMES": ", ".join(text(given.there) for given in found.outputs),
            "OUTPUTS_COUNT": str(len(found.outputs)),
            "OUTPUTS": "\n".join(outputs),
        }

    def web_type(self, dtype: str) -> str:
        """The type of a tensor in the browser."""
        return dtype

    def fill_kotlin(self, found: Tensors) -> dict[str, str]:
        """Pairs of names and tensors."""
        inputs, outputs, number = [], [], 0
        for fed in found.inputs:
            array = f"{KOTLIN.array(fed.dtype)}({fed.count}) {{ {KOTLIN.number(fed.constant or 0.0, fed.dtype)} }}"
            if fed.constant is None:
                array = f"prepare{number}(in{number})"
                number += 1
            buffer = _BUFFERS[fed.dtype]
            kind = f", OnnxJavaType.{fed.dtype.upper()}" if buffer == "Byte" else ""
            made = f"{buffer}Buffer.wrap({array}), {KOTLIN.row(fed.shape, 'int64')}{kind}"
            inputs.append(f"            {KOTLIN.text(fed.there)} to OnnxTensor.createTensor(env, {made}),")
        for place, given in enumerate(found.outputs):
            buffer = (
                f"(found.get({KOTLIN.text(given.there)}).get() as OnnxTensor).{_BUFFERS[given.dtype].lower()}Buffer"
            )
            values = f"{buffer}.let {{ b -> List(b.remaining()) {{ real{place}(b.get()) }} }}"
            outputs.append(f"                    {KOTLIN.text(given.name)} to {values},")
        return {"INPUTS": "\n".join(inputs), "OUTPUTS": "\n".join(outputs)}

    def fill_swift(self, found: Tensors) -> dict[str, str]:
        """Pairs of names and values."""
        inputs, outputs, number = [], [], 0
        for fed in found.inputs:
            kind = SWIFT.types[fed.dtype]
            array = f"[{kind}](repeating: {SWIFT.number(fed.constant or 0.0, fed.dtype)}, count: {fed.count})"
            if fed.constant is None:
                array = f"prepare{number}(in{number})"
                number += 1
            made = f"tensor({array}, .{_SWIFT[fed.dtype]}, {SWIFT.row(fed.shape)})"
            inputs.append(f"                {SWIFT.text(fed.there)}: {made},")
        for place, given in enumerate(found.outputs):
            kind = SWIFT.types[given.dtype]
            made = f"values(found, {SWIFT.text(given.there)}, {kind}.self).map {{ Double(real{place}($0)) }}"
            outputs.append(f"            {SWIFT.text(given.name)}: try {made},")
        names = SWIFT.texts([given.there for given in found.outputs])
        return {"INPUTS": "\n".join(inputs), "OUTPUTS": "\n".join(outputs), "OUTPUT_NAMES": names}

    def unsupported(self, found: Tensors, language: str) -> str:
        """The bindings for Java and Objective-C know fewer types."""
        known = {"kotlin": _BUFFERS.keys(), "swift": _SWIFT.keys()}.get(language)
        odd = sorted(found.dtypes - set(known or ())) if known else []
        return f"its binding has no type for {', '.join(odd)}" if odd else ""


#: What views a tensor's memory in Java.
_BUFFERS = {
    "float32": "Float", "float64": "Double", "int8": "Byte", "uint8": "Byte", "int16": "Short", "int32": "Int",
    "int64": "Long",
}  # fmt: skip
_SWIFT = {"float32": "float", "int8": "int8", "uint8": "uInt8", "int32": "int32", "int64": "int64"}


def _filled(fed: Fed) -> str:
    return "" if fed.constant is None else f", {fed.constant:g}"


FLAVOR = OnnxFlavor()
