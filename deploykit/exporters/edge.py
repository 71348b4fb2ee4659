"""Code for devices: the bare model with programs in the languages of phones, browsers, boards and desktops.

Sources: ONNX Runtime's documentation of custom builds (reduced operator configuration) and of its bindings, LiteRT's of
its C, Kotlin, Swift and JavaScript interfaces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from deploykit.artifacts.arrays import load_arrays
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._edge import onnx, programs, pte, tflite
from deploykit.exporters._edge.flavor import Flavor, Operators
from deploykit.exporters._edge.tensors import Tensors, tensors
from deploykit.exporters._files import copy_model
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable
from deploykit.runtimes.executorch import ADAPTER as EXECUTORCH

_FLAVORS: Mapping[str, Flavor] = {"onnx": onnx.FLAVOR, "tflite": tflite.FLAVOR}
#: Formats that are lowered to a program of their own runtime instead of run by generated code.
_LOWERED = dict.fromkeys(EXECUTORCH.accepts, pte.write)
#: Golden examples that are kept as files of raw numbers, and the most bytes of them.
_EXAMPLES, _MOST_BYTES = 8, 4_000_000

_RUN = """\
## Run it

Every program takes **raw** examples and prepares them itself, exactly as deploykit does; `examples/N-inK.bin` is golden
example N of input K in the machine's byte order, `examples/N-outK.bin` what the measured model answers.

{programs}
## What it needs

{needs}
`deploykit verify .` checks the model in this folder, and `deploykit serve .` serves it.
"""
_CPP = """\
- **C++**: `cmake -S cpp -B build -D{variable}=/path/to/{library} && cmake --build build`, then
  `build/run model{suffix}{arguments}`. `cpp/model.h` needs the standard library alone.
"""
_WEB = """\
- **Browser**: `npm install` in this folder (it fetches {packages}; the export has fetched nothing), then
  `python -m http.server` and open <http://127.0.0.1:8000/web/>. The page runs the golden examples and your own.
"""
_NODE = "- **Node**: `npm install`, then `node javascript/run.mjs model.onnx{arguments}`.\n"
_KOTLIN = (
    "- **Kotlin** (Android): `kotlin/Model.kt` prepares, `kotlin/Run.kt` runs; its first line names the dependency.\n"
)
_SWIFT = (
    "- **Swift** (iOS): `swift/Model.swift` prepares, `swift/Run.swift` runs; its first line names the dependency.\n"
)
_ARRAY = "- **Firmware**: `c/model_data.h` and `c/model_data.c` hold the file as an array, aligned to 16 bytes.\n"
_BOARD = """\
- **MicroPython**: `micropython/model.py` prepares examples and reads answers; the model runs in a firmware with
  TensorFlow Lite Micro, which `c/model_data.c` is compiled into.
"""


class Edge(Exporter):
    """Holds ONNX and TFLite files, and PyTorch's programs with what ExecuTorch runs of them."""

    name = "edge"
    label = "Edge"
    place = "devices"
    help = (
        "ONNX and TFLite: the model with C++, Kotlin, Swift, JavaScript and MicroPython code, and a page that runs it; "
        "PyTorch: the program for ExecuTorch."
    )
    accepts = frozenset({*_FLAVORS, *_LOWERED})

    def refuses(self, format_name: str) -> str:
        """Why it cannot hold a format; "" when it can."""
        return super().refuses(format_name) or (EXECUTORCH.missing() if format_name in _LOWERED else "")

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write the model, ``examples/``, a folder a language, the list of operators and ``README.md``.

        Raises:
            ExportError: The model keeps state, takes text, or runs a fixed number of examples; or its lowered program
                answers something else.
            MissingExtraError: ExecuTorch is not installed, which lowers PyTorch's programs.
        """
        if (lowered := _LOWERED.get(candidate.format)) is not None:
            return lowered(candidate, draft, folder)
        flavor = _FLAVORS[candidate.format]
        inputs, outputs = (load_arrays(folder / "golden" / f"{name}.npz") for name in ("inputs", "outputs"))
        found = _few(tensors(candidate, draft, inputs, outputs))
        flavor.check(found)
        model = f"model{flavor.suffix}"
        copy_model(candidate.path, folder / model)
        for name in draft.extra_files:
            copy_model(candidate.path.parent / name, folder / name)
        (folder / "examples").mkdir()
        for side, arrays in (("in", found.raw), ("out", found.golden)):
            for place, array in enumerate(arrays):
                for number, example in enumerate(array):
                    (folder / "examples" / f"{number}-{side}{place}.bin").write_bytes(example.tobytes())
        classes = [str(c) for c in candidate.data.classes or ()]
        files, missing = _programs(flavor, draft, found, classes)
        if not draft.extra_files and (folder / model).stat().st_size <= programs.MOST_BYTES:
            files |= programs.c_array(draft.name, (folder / model).read_bytes())
            if flavor.boards:
                files |= programs.micropython(draft.name, found, classes)
        operators = flavor.operators(candidate.path)
        listed, content = flavor.list_file(operators)
        for name, text in {**files, listed: content}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        if "web/page.mjs" in files:
            flavor.with_fixed_sizes(candidate.path, folder / "web" / flavor.page_model)
        run = _RUN.format(programs=_said(flavor, found, files), needs=_needs(flavor, operators, listed, missing))
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return model


def _few(found: Tensors) -> Tensors:
    """As many golden examples as fit, one at least."""
    size = sum(array[:1].nbytes for array in (*found.raw, *found.golden)) or 1
    count = max(1, min(_EXAMPLES, _MOST_BYTES // size))
    return Tensors(
        found.inputs, found.outputs, tuple(a[:count] for a in found.raw), tuple(a[:count] for a in found.golden)
    )


def _programs(
    flavor: Flavor, draft: Draft, found: Tensors, classes: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Files by path, and the languages that cannot run the model with the reason."""
    name = draft.name
    makers: dict[str, Callable[[], programs.Files]] = {
        "cpp": lambda: programs.cpp(flavor, name, found, classes),
        "javascript": lambda: programs.javascript(flavor, name, found, classes, draft.extra_files),
        "kotlin": lambda: programs.kotlin(flavor, name, found, classes),
        "swift": lambda: programs.swift(flavor, name, found, classes),
    }
    files: dict[str, str] = {}
    missing = {}
    for language, make in makers.items():
        if reason := flavor.unsupported(found, language):
            missing[language] = reason
        else:
            files |= make()
    return files, missing


def _said(flavor: Flavor, found: Tensors, files: Mapping[str, str]) -> str:
    arguments = "".join(f" examples/0-in{n}.bin" for n in range(len(found.fed)))
    values = {"arguments": arguments, "suffix": flavor.suffix, "packages": " and ".join(flavor.npm), **flavor.words}
    said = {
        "cpp/main.cpp": _CPP, "web/index.html": _WEB, "kotlin/Run.kt": _KOTLIN, "swift/Run.swift": _SWIFT,
        "c/model_data.c": _ARRAY, "micropython/model.py": _BOARD,
    }  # fmt: skip
    texts = [text.format(**values) for name, text in said.items() if name in files]
    if "javascript/run.mjs" in files and "onnxruntime-web" in flavor.npm:
        texts.insert(2, _NODE.format(**values))
    return "".join(texts)


def _needs(flavor: Flavor, operators: Operators, listed: str, missing: Mapping[str, str]) -> str:
    names = sorted({name for _, _, found in operators for name in found})
    lines = [
        f"- Runtime: {flavor.runtime_size()}. {flavor.smaller}",
        f"- Operators ({len(names)}, listed in `{listed}`): {', '.join(names)}.",
        *(f"- No code in {language}: {reason}." for language, reason in missing.items()),
    ]
    return "".join(f"{line}\n" for line in lines) + "\n"


ADAPTER = Edge()
