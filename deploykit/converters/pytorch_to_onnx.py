"""PyTorch to ONNX, and so to everything else."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.converters._contract import Converter, Job
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.loading._keras.ends import distinct
from deploykit.readers.pytorch.program import Program, opened
from deploykit.runtimes import _torch

#: GELU is an operator from here on.
_OPSET = 20
_LIMIT_BYTES = 2_000_000_000


class PyTorchToOnnx(Converter):
    """Exports with PyTorch's own exporter and keeps free dimensions free."""

    name = "pytorch_to_onnx"
    label = "PyTorch to ONNX"
    help = "Exports to a float32 ONNX file and keeps input and output names and free dimensions."
    extra = "torch"
    requires = ("torch", "onnxscript", "onnx")
    group = "torch"
    accepts = "pytorch"
    produces = "onnx"
    refuses = frozenset({"quantized", "compiled"})  # halved or compiled for PyTorch: ONNX has its own ways

    def _convert(self, job: Job) -> None:
        if _torch.is_script(job.source):
            self._script(job)
            return
        known = opened(job.source, trusted=job.trusted)
        inputs, outputs = [s.name for s in known.inputs], [s.name for s in known.outputs]
        fresh = distinct([*inputs, *outputs])
        taken, given = fresh[: len(inputs)], fresh[len(inputs) :]
        made = _exported(_torch.load_program(job.source), taken, given)
        _name_batch(made, known)
        _write(made, job.target)
        job.named(dict(zip(inputs, taken, strict=True)), dict(zip(outputs, given, strict=True)))

    def _script(self, job: Job) -> None:
        """TorchScript goes through the older exporter: the newer one takes programs alone."""
        script = _torch.opened_script(job.source)
        inputs, outputs = [s.name for s in script.inputs], [s.name for s in script.outputs]
        fresh = distinct([*inputs, *outputs])
        specs = [*script.inputs, *script.outputs]
        free = {name: {0: "batch"} for name, s in zip(fresh, specs, strict=True) if s.shape and s.shape[0] is None}
        taken, given = fresh[: len(inputs)], fresh[len(inputs) :]
        with _explained():
            _torch.pytorch().onnx.export(
                script.module, tuple(script.examples), str(job.target), dynamo=False, input_names=taken,
                output_names=given, dynamic_axes=free, opset_version=_OPSET,
            )  # fmt: skip
        job.named(dict(zip(inputs, taken, strict=True)), dict(zip(outputs, given, strict=True)))


def _exported(program: Any, taken: list[str], given: list[str]) -> Any:
    """The ONNX model of a program."""
    with _explained():
        return _torch.pytorch().onnx.export(
            program, dynamo=True, input_names=taken, output_names=given, opset_version=_OPSET, verbose=False,
            external_data=False,
        ).model_proto  # fmt: skip


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Let the exporters work without a word, and turn what they raise into one error."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns of a package for images that it does without
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (MemoryError, UnsupportedModelError):
        raise
    except Exception as error:  # the exporters raise what their rules raise
        raise _unable(error) from error
    finally:
        log.setLevel(level)


def _unable(error: Exception) -> UnsupportedModelError:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__) is not None and cause not in causes:
        causes.append(cause)
    text = " ".join(str(causes[-1]).split())[:400]
    return UnsupportedModelError(
        f"PyTorch's exporter cannot write the model as ONNX: {type(causes[-1]).__name__}: {text}",
        remedy="use the torch runtime for this model, or replace the operator.",
    )


def _name_batch(model: Any, known: Program) -> None:
    """Call the free first dimension ``batch`` everywhere, so that shape inference can follow it."""
    axes = {spec.name: spec.batch_axis for spec in known.inputs}
    symbols = {
        value.type.tensor_type.shape.dim[axes[value.name]].dim_param
        for value in model.graph.input
        if value.name in axes and len(value.type.tensor_type.shape.dim) > axes[value.name]
    } - {""}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_param = "batch"


def _write(model: Any, target: Path) -> None:
    if model.ByteSize() > _LIMIT_BYTES:
        raise UnsupportedModelError(
            f"The model makes {model.ByteSize() / 1e9:.1f} GB of ONNX; one file can hold at most 2 GB.",
            remedy="use the torch runtime for this model.",
        )
    require("onnx", "").save(model, str(target))


ADAPTER = PyTorchToOnnx()
