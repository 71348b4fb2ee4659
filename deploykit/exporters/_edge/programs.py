"""The files of each language, by their paths in the artifact."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from deploykit.exporters._edge.cpp import CPP
from deploykit.exporters._edge.flavor import Flavor, filled, raw_count
from deploykit.exporters._edge.javascript import JAVASCRIPT
from deploykit.exporters._edge.kotlin import KOTLIN
from deploykit.exporters._edge.micropython import MICROPYTHON
from deploykit.exporters._edge.swift import SWIFT
from deploykit.exporters._edge.tensors import Fed, Given, Tensors

Files = dict[str, str]
#: Larger models are not written as C source: compilers take minutes for them.
MOST_BYTES = 4_000_000
_TOLERANCE, _STEPS = 1e-3, 1.5


def header(name: str, found: Tensors, classes: Sequence[str]) -> str:
    """``model.h``: preparation of examples and what answers mean, in C++."""
    facts = "\n".join(
        [
            *(f"// Input {n}: {raw_count(fed)} raw values." for n, fed in enumerate(found.fed)),
            f"constexpr size_t kClasses = {len(classes)};",
            *([f"static const char* const kClassNames[] = {{{CPP.texts(classes)}}};"] if classes else []),
        ]
    )
    return filled("model.h", {"FACTS": facts, "CODE": CPP.code(found), "NAME": name})


def cpp(flavor: Flavor, name: str, found: Tensors, classes: Sequence[str]) -> Files:
    """A program that is built with CMake."""
    values = {
        **flavor.fill_cpp(found),
        "NAME": name,
        "PLAIN": name,
        "COUNT": str(len(found.fed) + 2),
        "ARGUMENTS": _arguments(found),
    }
    return {
        "cpp/model.h": header(name, found, classes),
        "cpp/main.cpp": filled(f"{flavor.suffix[1:]}.cpp", values),
        "cpp/CMakeLists.txt": filled(f"{flavor.suffix[1:]}.cmake", {}),
    }


def javascript(flavor: Flavor, name: str, found: Tensors, classes: Sequence[str], beside: Sequence[str]) -> Files:
    """A module, a program, and a page that runs the model in the browser."""
    script = JAVASCRIPT
    inputs = [
        f'  {{ name: {script.text(f.name)}, there: {script.text(f.there)}, type: "{flavor.web_type(f.dtype)}", '
        f'raw: "{f.raw_dtype}", count: {raw_count(f)}, shape: {script.row(f.shape)}, prepare: prepare{n}, '
        f"view: (buffer) => new {script.types[f.raw_dtype]}(buffer) }},"
        for n, f in enumerate(found.fed)
    ]
    constants = [
        f'  {{ there: {script.text(f.there)}, type: "{flavor.web_type(f.dtype)}", shape: {script.row(f.shape)}, '
        f"make: () => new {script.types[f.dtype]}({f.count}).fill({_constant(f)}) }},"
        for f in found.inputs
        if f.constant is not None
    ]
    outputs = [
        f"  {{ name: {script.text(g.name)}, there: {script.text(g.there)}, place: {g.place}, real: real{n}, "
        f"limit: {_limit(g, found, n)!r}, view: (buffer) => new {script.types[_golden_dtype(g)]}(buffer) }},"
        for n, g in enumerate(found.outputs)
    ]
    facts = [
        *("export const inputs = [", *inputs, "];"),
        "// Inputs that are the same for every example.",
        *("export const constants = [", *constants, "];"),
        "// `limit`: the largest difference from a golden output that counts as the same.",
        *("export const outputs = [", *outputs, "];"),
        f"export const classes = [{script.texts(classes)}];",
        f"// Files of the model beside it.\nexport const beside = [{script.texts(beside)}];",
        f"export const examples = {len(found.raw[0]) if found.raw else 0};",
    ]
    page = {"MODEL": flavor.page_model, "RUNTIME": flavor.load_runtime}
    package = {"private": True, "type": "module", "dependencies": dict(flavor.npm)}
    return {
        "package.json": json.dumps(package, indent=2) + "\n",
        "javascript/model.mjs": filled(
            "model.mjs", {"PLAIN": name, "CODE": script.code(found), "FACTS": "\n".join(facts)}
        ),
        "javascript/run.mjs": filled(f"run-{flavor.suffix[1:]}.mjs", {"ARGUMENTS": _arguments(found)}),
        "web/index.html": filled("index.html", {"TITLE": name, "IMPORTS": json.dumps(dict(flavor.imports))}),
        "web/page.mjs": filled("page.mjs", page),
    }


def kotlin(flavor: Flavor, name: str, found: Tensors, classes: Sequence[str]) -> Files:
    """``Model.kt``, which needs nothing, and ``Run.kt``, which needs the runtime for Android."""
    listed = f"val classes = listOf<String>({KOTLIN.texts(classes)})"
    code = f"// {name}: what one raw example becomes, and what the model's answers are. Written by deploykit.\n"
    values = {**flavor.fill_kotlin(found), "PLAIN": name, "SIGNATURE": _signature(found, KOTLIN.array)}
    return {
        "kotlin/Model.kt": f"{code}\n{listed}\n\n{KOTLIN.code(found)}\n",
        "kotlin/Run.kt": filled(f"Run-{flavor.suffix[1:]}.kt", values),
    }


def swift(flavor: Flavor, name: str, found: Tensors, classes: Sequence[str]) -> Files:
    """``Model.swift``, which needs nothing, and ``Run.swift``, which needs the runtime for iOS."""
    code = f"// {name}: what one raw example becomes, and what the model's answers are. Written by deploykit.\n"
    listed = f"let classes: [String] = [{SWIFT.texts(classes)}]"
    signature = _signature(found, lambda dtype: f"[{SWIFT.types[dtype]}]")
    values = {**flavor.fill_swift(found), "PLAIN": name, "SIGNATURE": signature}
    return {
        "swift/Model.swift": f"{code}\n{listed}\n\n{SWIFT.code(found)}\n",
        "swift/Run.swift": filled(f"Run-{flavor.suffix[1:]}.swift", values),
    }


def micropython(name: str, found: Tensors, classes: Sequence[str]) -> Files:
    """A module for boards."""
    facts = f"CLASSES = ({''.join(f'{MICROPYTHON.text(c)}, ' for c in classes).rstrip()})"
    values = {"PLAIN": name, "FACTS": facts, "CODE": MICROPYTHON.code(found)}
    return {"micropython/model.py": filled("model.py.txt", values)}


def c_array(name: str, model: bytes) -> Files:
    """The file as C source."""
    lines = (", ".join(map(str, model[start : start + 20])) for start in range(0, len(model), 20))
    return {
        "c/model_data.h": filled("model_data.h", {"PLAIN": name, "SIZE": f"{len(model):,}"}),
        "c/model_data.c": filled("model_data.c", {"BYTES": ",\n".join(lines)}),
    }


def _arguments(found: Tensors) -> str:
    return "".join(f" INPUT{n}.bin" for n in range(len(found.fed)))


def _signature(found: Tensors, array: Callable[[str], str]) -> str:
    return ", ".join(f"in{n}: {array(fed.raw_dtype)}" for n, fed in enumerate(found.fed))


def _constant(fed: Fed) -> str:
    return f"{JAVASCRIPT.number(fed.constant or 0.0, fed.dtype)}{'n' if fed.dtype == 'int64' else ''}"


def _golden_dtype(given: Given) -> str:
    return "float32" if given.scale else given.dtype


def _limit(given: Given, found: Tensors, place: int) -> float:
    """The largest difference that counts as the same, as ``deploykit verify`` has it."""
    from deploykit.artifacts.golden import value_range

    if "float" not in _golden_dtype(given):
        return 0.0
    return max(_TOLERANCE * value_range(found.golden[place]), _STEPS * given.scale)
