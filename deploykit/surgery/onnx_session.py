"""Sessions of ONNX Runtime for work on graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from deploykit.core.extras import require


def opened(
    source: Path | Any, *, quiet: bool = True, optimized: bool = False, arena: bool = True, profile: Path | None = None
) -> Any:
    """A session of one thread, as a sweep has one process for each core; its own would spin on all of them.

    Args:
        source: A file or a ``ModelProto``.
        quiet: Whether warnings are left out of the log.
        optimized: Whether the graph may be optimized.
        arena: Whether memory that was taken once is kept for the next run.
        profile: Where a profile begins to be written, to which ONNX Runtime adds an ending; None for none.
    """
    ort = require("onnxruntime", "")
    options = ort.SessionOptions()
    if quiet:
        options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    model = str(source) if isinstance(source, Path) else source.SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def runner(source: Path | Any, *, quiet: bool = True) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A call that gives a model's outputs by name for inputs by name; the model is opened when it is first made.

    Args:
        source: A file or a ``ModelProto``.
        quiet: See `opened`.
    """

    @cache
    def session() -> Any:
        return opened(source, quiet=quiet)

    def run(batch: Mapping[str, Any]) -> dict[str, Any]:
        names = [output.name for output in session().get_outputs()]
        return dict(zip(names, session().run(names, dict(batch)), strict=True))

    return run
