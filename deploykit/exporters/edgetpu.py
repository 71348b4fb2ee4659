"""Coral's Edge TPU: a full-integer TFLite file, ready for ``edgetpu_compiler``, and what that will make of it.

Source: Coral's documentation, "TensorFlow models on the Edge TPU": model requirements and supported operations.
"""

from __future__ import annotations

from pathlib import Path

from deploykit.core.errors import ExportError
from deploykit.exporters._contract import Draft, Exporter
from deploykit.exporters._edge.graph import MicroGraph, MicroOperator, graph_of
from deploykit.exporters._edge.micro_operators import EDGE_TPU
from deploykit.exporters._edge.tflite import FLAVOR
from deploykit.exporters._files import copy_model
from deploykit.exporters._texts import readme
from deploykit.measuring.exportable import Exportable

_RUN = """\
## Compile and run it

    edgetpu_compiler {compiled}

gives `model_edgetpu.tflite`, which runs with Coral's delegate (`libedgetpu.so.1`). The compiler is a program of the
vendor for Linux on x86-64; **it was not here, and nothing was compiled.** What follows is by its documented rules.
{pinned}
## What to expect

{words}

| # | operator | on the Edge TPU | on condition |
|---|---|---|---|
{rows}

`deploykit verify .` checks the model in this folder, and `deploykit serve .` serves it on the CPU.
"""
_PINNED = """
`fixed/model.tflite` is the model for one example at a time: the compiler refuses free sizes.
"""
_QUANTIZED = frozenset({"int8", "uint8", "int32", "bool"})


class EdgeTpu(Exporter):
    """Holds full-integer TFLite files."""

    name = "edgetpu"
    label = "Edge TPU"
    place = "devices"
    help = "Full-integer TFLite only: the model for Coral's compiler, and which operators would stay on the CPU."
    accepts = frozenset({"tflite"})
    sample = "cnn_int8_tflite"

    def write(self, candidate: Exportable, draft: Draft, folder: Path) -> str:
        """Write ``model.tflite`` and ``README.md``.

        Raises:
            ExportError: The model is not full-integer, so that the compiler would refuse it, or its first operator is
                one that the Edge TPU lacks, so that nothing would run there.
        """
        graph = graph_of(candidate.path)
        ends = _ends(graph)
        allowed = {place for o in ends for place in (*o.inputs, *o.outputs)} & {*graph.inputs, *graph.outputs}
        odd = [t for place, t in graph.tensors.items() if t.dtype not in _QUANTIZED and place not in allowed]
        if odd:
            raise ExportError(
                f"The Edge TPU runs whole numbers of 8 bits alone; {len(odd)} of {len(graph.tensors)} tensors hold "
                f"{', '.join(sorted({t.dtype for t in odd}))}, such as {odd[0].name!r}.",
                remedy="choose a candidate of quantize_static.",
            )
        inner = [operator for operator in graph.operators if operator not in ends]
        known = [operator.name in EDGE_TPU for operator in inner]
        reached = known.index(False) if False in known else len(known)
        if not reached:
            raise ExportError(
                f"The Edge TPU has no {inner[0].name}, the first operator: the whole model would stay on the CPU.",
                remedy="export with layout='edge', which runs it on the CPU.",
            )
        copy_model(candidate.path, folder / "model.tflite")
        total = len(inner)
        words = (
            f"All {total} operators are on Coral's list: the whole model may run on the Edge TPU."
            if reached == total
            else f"{reached} of {total} operators may run on the Edge TPU. The compiler cuts the graph once: from "
            f"`{inner[reached].name}` on, everything stays on the CPU."
        )
        if ends:
            words += (
                " Real numbers at the ends of the model are converted on the CPU"
                f" ({', '.join(sorted({o.name for o in ends}))})."
            )
        rows = _rows(graph, ends, inner[:reached])
        compiled, pinned = "model.tflite", ""
        if any(size is None for spec in draft.file_inputs for size in spec.shape or ()):
            compiled, pinned = "fixed/model.tflite", _PINNED
            (folder / "fixed").mkdir()
            FLAVOR.with_fixed_sizes(candidate.path, folder / compiled)
        run = _RUN.format(words=words, rows="\n".join(rows), compiled=compiled, pinned=pinned)
        (folder / "README.md").write_text(readme(candidate, draft, run), encoding="utf-8")
        return "model.tflite"


def _ends(graph: MicroGraph) -> list[MicroOperator]:
    """What makes whole numbers of real inputs, and real outputs of whole numbers; the compiler leaves it to the CPU.

    Source: "Float input and output tensors" of Coral's documentation.
    """
    return [
        o
        for o in graph.operators
        if (o.name == "QUANTIZE" and o.inputs[0] in graph.inputs and _is_real(graph, o.inputs[0]))
        or (o.name == "DEQUANTIZE" and o.outputs[0] in graph.outputs)
    ]


def _is_real(graph: MicroGraph, place: int) -> bool:
    return graph.tensors[place].dtype.startswith("float")


def _rows(graph: MicroGraph, ends: list[MicroOperator], mapped: list[MicroOperator]) -> list[str]:
    """A line for each operator."""
    rows = []
    for number, operator in enumerate(graph.operators, 1):
        where = "yes" if operator in mapped else "no" if operator.name not in EDGE_TPU else "no: behind the cut"
        if operator in ends:
            where = "no: at the end of the model"
        rows.append(f"| {number} | {operator.name} | {where} | {EDGE_TPU.get(operator.name, '')} |")
    return rows


ADAPTER = EdgeTpu()
