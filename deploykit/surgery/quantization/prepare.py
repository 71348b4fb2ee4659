"""Getting an ONNX graph ready for ONNX Runtime's quantizers, by whatever of ONNX Runtime's own preparation works."""

from __future__ import annotations

import contextlib
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploykit.core.extras import installed, require
from deploykit.loading._onnx.parts import operator_set
from deploykit.surgery import selection
from deploykit.surgery.onnx_session import opened
from deploykit.surgery.quantization import floating, names, normal, stored
from deploykit.surgery.quantization.graphs import failures

#: How ONNX Runtime calls types → their numbers in a file.
_TYPES = {"tensor(float)": 1, "tensor(int32)": 6, "tensor(int64)": 7, "tensor(bool)": 9, "tensor(float16)": 10}


def raised(source: Path, folder: Path, notes: dict[str, Any]) -> Path:
    """The model with a set of operators that can be quantized; in ``folder`` when it had to be changed."""
    onnx = require("onnx", "")
    if operator_set(onnx.load(str(source), load_external_data=False)) >= normal.OPERATORS:
        return source.resolve()
    model = onnx.load(str(source))
    new, note = normal.raised(model)
    if note:
        notes["operator_set"] = note
    if new is model:
        return source.resolve()
    onnx.save(new, str(folder / "raised.onnx"))
    return folder / "raised.onnx"


def unpacked(source: Path, folder: Path) -> Path:
    """The model with weights that folding constants leaves packed; in ``folder`` when it had to be changed."""
    onnx = require("onnx", "")
    if not stored.folded(onnx.load(str(source), load_external_data=False).graph):
        return source
    model = onnx.load(str(source))
    stored.unfold(model)
    onnx.save(model, str(folder / "unpacked.onnx"))
    return folder / "unpacked.onnx"


#: What is left out when ONNX Runtime's preparation stumbles, one thing after another.
_ATTEMPTS: tuple[tuple[str, dict[str, bool]], ...] = (
    ("", {}),
    ("without symbolic shape inference", {"skip_symbolic_shape": True}),
    ("without optimization", {"skip_symbolic_shape": True, "skip_optimization": True}),
)


def folded(source: Path, folder: Path, notes: dict[str, Any]) -> Path:
    """The model after shape inference and constant folding, or after what of it works; in ``folder``."""
    quantization = require("onnxruntime.quantization.shape_inference", "")
    path = folder / "folded.onnx"
    failed: list[str] = []
    # Symbolic shape inference needs SymPy, and fails on graphs it does not know; the plain one finds less.
    for words, options in _ATTEMPTS if installed("sympy") else _ATTEMPTS[1:]:
        try:
            with contextlib.chdir(folder):  # symbolic shape inference leaves a file where it fails
                quantization.quant_pre_process(str(source), str(path), **options)
            if failed:
                notes["preparation"] = f"{words}, after: {'; '.join(failed)}"
            return path
        except MemoryError:
            raise
        except Exception as error:  # whatever the graph makes it stumble over
            traceback.print_exc()  # into the log of the task
            failed.append(" ".join(str(error).split())[:200] or type(error).__name__)
            path.unlink(missing_ok=True)
    notes["preparation"] = f"the unchanged graph, after: {'; '.join(failed)}"
    onnx = require("onnx", "")
    onnx.save(onnx.load(str(source)), str(path))
    return path


def complete(model: Any, folder: Path) -> None:
    """Ask ONNX Runtime for the types that shape inference has not found: what has none is never quantized."""
    onnx = require("onnx", "")
    known = {v.name for v in (*model.graph.value_info, *model.graph.output)}
    unknown = [name for node in model.graph.node for name in node.output if name and name not in known]
    if not unknown:
        return
    asking, path = onnx.ModelProto(), folder / "asking.onnx"
    asking.CopyFrom(model)
    asking.graph.output.extend(onnx.ValueInfoProto(name=name) for name in unknown)
    try:
        onnx.save(asking, str(path))
        found = {output.name: output for output in opened(path, quiet=False).get_outputs()}
    except MemoryError:
        raise
    except Exception:  # then they stay unknown, and what they belong to stays float
        traceback.print_exc()  # into the log of the task
        return
    for name in unknown:
        if (kind := _TYPES.get(found[name].type)) is not None:
            shape = found[name].shape or None  # an unknown one, or that of a number
            model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, shape))


def name_nodes(nodes: Sequence[Any]) -> None:
    """Give every node a name of its own, by which it can be left out."""
    taken = {node.op_type for node in nodes}
    for node in nodes:
        base = name = selection.nameable(node.name) or node.op_type
        number = 0
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        if node.name != name:
            node.name = name


def check_opens(path: Path) -> None:
    """Let ONNX Runtime open a file: its quantizers write some that it refuses."""
    opened(path, quiet=False)


def prepare(source: Path, target: Path, notes: dict[str, Any]) -> None:
    """Write the model as ONNX Runtime's quantizers need it.

    Args:
        source: An ONNX file.
        target: Where the prepared model goes.
        notes: Gets what could not be done.

    Raises:
        CandidateError: ONNX Runtime cannot prepare the model.
    """
    onnx = require("onnx", "")
    tools = require("onnxruntime.quantization.quant_utils", "")
    kinds = require("onnxruntime.quantization", "").QuantType
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder, failures("prepare"):
        path = unpacked(raised(source, Path(folder), notes), Path(folder))
        path = folded(path, Path(folder), notes)
        model = onnx.load(str(path))
        if any([floating.release(model), normal.normalize(model), names.separate(model)]):
            onnx.save(model, str(path))
        # What the quantizers themselves would do first, each time.
        model = tools.load_model_with_shape_infer(path)
        model = tools.update_opset_version(model, kinds.QInt8, kinds.QUInt8)
        complete(model, Path(folder))
        name_nodes(model.graph.node)
        onnx.save(model, str(target))
