"""Microcontrollers: a TFLite file as a C array with the code that TensorFlow Lite Micro needs to run it.

Source: TensorFlow Lite Micro's ``MicroMutableOpResolver`` and memory planner.
"""

from __future__ import annotations

from pathlib import Path

from deploykit.artifacts.arrays import load_arrays
from deploykit.core.errors import ExportError
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._edge import programs
from deploykit.exporters._edge.cpp import CPP
from deploykit.exporters._edge.flavor import filled, raw_count
from deploykit.exporters._edge.graph import MicroGraph, graph_of
from deploykit.exporters._edge.micro_operators import MICRO
from deploykit.exporters._edge.tensors import Tensors, tensors
from deploykit.exporters._files import copy_model
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable

_RUN = """\
## Run it

Add the files of `src/` to a project with TensorFlow Lite Micro, call `Setup()` once, and `Run(…)` for each example. It
takes **raw** examples and gives real numbers: preprocessing and quantization are in `src/model.h`.

## What it needs

| | |
|---|---|
| flash for the model | {flash:,} bytes |
| arena (RAM), upper estimate | {arena:,} bytes, {planned:,} of them for tensors |
| numbers | {numbers} |
| operators | {operators} |

The tensors' share of the arena is what TensorFlow Lite Micro's greedy planner makes of this graph. The rest is an
estimate for pointers of 64 bits and its reference kernels; kernels with memory of their own (CMSIS-NN, ESP-NN) take
more. `Setup()` logs what is used. deploykit has not run this on a board.

`deploykit verify .` checks the model in this folder, and `deploykit serve .` serves it.
"""


class Microcontroller(Exporter):
    """Holds TFLite files whose operators TensorFlow Lite Micro knows."""

    name = "microcontroller"
    label = "Microcontroller"
    place = "devices"
    help = "TFLite only: the model as a C array, with operators, arena and code for TensorFlow Lite Micro."
    accepts = frozenset({"tflite"})

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``model.tflite``, ``src/`` and ``README.md``.

        Raises:
            ExportError: TensorFlow Lite Micro lacks an operator, or the model is larger than a C array should be.
        """
        graph = graph_of(candidate.path)
        if lacking := [name for name in graph.names if name not in MICRO]:
            raise ExportError(
                f"TensorFlow Lite Micro has no {', '.join(lacking)}; it has {len(MICRO)} operators of TFLite.",
                remedy="change the layers they come from, or export with layout='edge'.",
            )
        size = candidate.path.stat().st_size
        if size > programs.MOST_BYTES:
            raise ExportError(
                f"The model has {size:,} bytes; a C array is written of {programs.MOST_BYTES:,} at most.",
                remedy="choose a smaller candidate, or export with layout='edge'.",
            )
        inputs, outputs = (load_arrays(folder / "golden" / f"{name}.npz") for name in ("inputs", "outputs"))
        found = tensors(candidate, draft, inputs, outputs)
        copy_model(candidate.path, folder / "model.tflite")
        for name, content in _sources(candidate, draft, found, graph).items():
            (folder / "src").mkdir(exist_ok=True)
            (folder / "src" / name).write_text(content, encoding="utf-8")
        floating = graph.floating
        run = _RUN.format(
            flash=size,
            arena=graph.arena_bytes,
            planned=graph.planned_bytes,
            numbers="whole numbers alone (full-integer)"
            if not floating
            else f"not full-integer: {len(floating)} tensors hold real numbers, such as `{floating[0]}`; boards "
            "without a unit for these compute them slowly",
            operators=", ".join(graph.names),
        )
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return "model.tflite"


def _sources(candidate: Exportable, draft: Draft, found: Tensors, graph: MicroGraph) -> dict[str, str]:
    classes = [str(c) for c in candidate.data.classes or ()]
    array = programs.c_array(draft.name, candidate.path.read_bytes())
    signature = ", ".join(
        [
            *(f"const {CPP.types[fed.raw_dtype]}* in{n}" for n, fed in enumerate(found.fed)),
            *(f"{_real(given.dtype, given.scale)}* out{n}" for n, given in enumerate(found.outputs)),
        ]
    )
    sizes = [f"in{n} has {raw_count(fed)} values" for n, fed in enumerate(found.fed)]
    sizes += [f"out{n} {given.count}" for n, given in enumerate(found.outputs)]
    inputs, number = [], 0
    for place, fed in enumerate(found.inputs):
        kind = CPP.types[fed.dtype]
        data = f"reinterpret_cast<{kind}*>(interpreter->input({place})->data.raw)"
        if fed.constant is None:
            inputs.append(f"  model::Prepare{number}(in{number}, {data});")
            number += 1
        else:
            value = CPP.number(fed.constant, fed.dtype)
            inputs.append(f"  for (size_t i = 0; i < {fed.count}; ++i) {data}[i] = {value};")
    outputs = [
        f"  for (size_t i = 0; i < {given.count}; ++i) out{n}[i] = model::Real{n}("
        f"reinterpret_cast<const {CPP.types[given.dtype]}*>(interpreter->output({given.place})->data.raw)[i]);"
        for n, given in enumerate(found.outputs)
    ]
    values = {
        "NAME": draft.name,
        "SIGNATURE": signature,
        "SIZES": f": {', '.join(sizes)}",
        "ARENA": str(graph.arena_bytes),
        "PLANNED": f"{graph.planned_bytes:,}",
        "COUNT": str(len(graph.names)),
        "ADDED": "\n".join(f"  if (resolver.Add{MICRO[name]}() != kTfLiteOk) return false;" for name in graph.names),
        "INPUTS": "\n".join(inputs),
        "OUTPUTS": "\n".join(outputs),
    }
    return {
        "model.h": programs.header(draft.name, found, classes),
        "model_data.h": array["c/model_data.h"],
        "model_data.cc": array["c/model_data.c"],
        "main_functions.h": filled("micro.h", values),
        "main_functions.cc": filled("micro.cc", values),
    }


def _real(dtype: str, scale: float) -> str:
    return "float" if scale else CPP.types[dtype]


ADAPTER = Microcontroller()
