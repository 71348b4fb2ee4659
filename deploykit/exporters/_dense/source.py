"""From a candidate to the layers of its network: in this process, and in the child that reads the file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.artifacts.arrays import load_arrays
from deploykit.converters._contract import CONVERTERS, Job
from deploykit.converters._route import route
from deploykit.core.errors import ExportError, UnsupportedModelError
from deploykit.exporters._contract import Draft
from deploykit.exporters._dense.network import Dense, layers_of
from deploykit.exporters._edge.tensors import Tensors, tensors
from deploykit.exporters._files import copy_model
from deploykit.measuring.exportable import Exportable
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Task

_FORMAT = "onnx"
_OTHER = "export with layout='edge' or layout='folder', which hold any network."


def single(candidate: Exportable, draft: Draft, folder: Path, label: str) -> Tensors:
    """What the one input and the one output of a network are.

    Raises:
        ExportError: There are several, or they hold quantized numbers.
    """
    inputs, outputs = (load_arrays(folder / "golden" / f"{name}.npz") for name in ("inputs", "outputs"))
    found = tensors(candidate, draft, inputs, outputs)
    if len(found.inputs) != 1 or len(found.fed) != 1 or len(found.outputs) != 1:
        raise ExportError(
            f"{label} takes networks with one input and one output; this one has {len(found.inputs)} and "
            f"{len(found.outputs)}.",
            remedy=_OTHER,
        )
    if found.fed[0].scale or found.outputs[0].scale:
        raise ExportError(
            f"The file takes or gives quantized numbers, which {label} does not.",
            remedy="choose a candidate with float32 inputs and outputs.",
        )
    return found


def run(function: str, candidate: Exportable, arguments: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Run a task on a candidate's file, in a child that can convert it.

    Raises:
        ExportError: The network is not one that the layout takes.
    """
    asked = {
        "path": str(candidate.path),
        "format": candidate.format,
        "imports": list(candidate.model.imports),
        "trusted": candidate.model.trusted,
        **arguments,
    }
    way = route(candidate.format, frozenset({_FORMAT}), CONVERTERS)
    group = way[0].group if way else "light"
    try:
        return shared().run(Task(function, asked, group=group, imports=candidate.model.imports, name=name))
    except UnsupportedModelError as error:
        raise ExportError(error.message, remedy=error.remedy) from error


def layers_at(arguments: Mapping[str, Any], size: int) -> list[Dense]:
    """In the child: the layers of the file that `run` names.

    Args:
        arguments: As `run` makes them.
        size: How many values one example has.
    """
    import onnx

    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        path, here = Path(arguments["path"]), arguments["format"]
        for converter in route(here, frozenset({_FORMAT}), CONVERTERS) or ():
            target = Path(folder) / f"{converter.produces}.onnx"
            converter.convert(Job(path, target, here, tuple(arguments["imports"]), arguments["trusted"]))
            path, here = target, converter.produces
        return layers_of(onnx.load(path), size)


def copy_measured(candidate: Exportable, draft: Draft, folder: Path) -> str:
    """Put the measured model beside what was written of it; returns its name."""
    model = f"model{draft.suffix}"
    copy_model(candidate.path, folder / model)
    for name in draft.extra_files:
        copy_model(candidate.path.parent / name, folder / name)
    return model
