"""Runtimes that start quickly and share a process: ONNX Runtime, LiteRT."""

from __future__ import annotations

from deploykit.sandbox.groups._contract import ImportGroup


class Light(ImportGroup):
    """What most tasks need."""

    name = "light"
    label = "ONNX and LiteRT"
    help = "Readers and runtimes that start quickly."
    modules = ("numpy", "onnx", "onnxruntime", "ai_edge_litert.interpreter", "h5py")
    # SymPy imports its tensors at the first subtraction, which takes as long as preparing a small graph.
    later = (
        "onnxruntime.quantization",
        "sympy",
        "sympy.assumptions.wrapper",
        "sympy.tensor.tensor",
        "onnxruntime.tools.symbolic_shape_infer",
    )


ADAPTER = Light()
