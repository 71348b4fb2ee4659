"""Exports a module of PyTorch that lives in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.loading._contract import Saved
from deploykit.loading._live import classes, keep
from deploykit.readers.pytorch.archive import TWO_LINES

#: Examples in the batch with which it is exported: graphs take 0 and 1 for fixed sizes.
_BATCH = 2


def save(thing: Any, example: Any) -> Saved:
    """Export a module, or write a program; equal ones share a file.

    Raises:
        SettingError: A module without an example, or one that is not made of tensors.
        UnsupportedModelError: PyTorch cannot export it; says why.
    """
    import torch  # it is there: the object is of one of its classes

    found = classes(thing)
    if ("torch", "ExportedProgram") in found:
        return Saved(keep(".pt2", lambda path: _write(torch, thing, path)), "model")
    name = type(thing).__name__
    if ("torch", "ScriptModule") in found:
        return Saved(keep(".pt", lambda path: thing.save(str(path))), str(getattr(thing, "original_name", name)))
    if example is None:
        raise SettingError(
            f"The module {name!r} does not say which shapes it takes.",
            remedy=f"give an example of its input: dk.load(model, example=x). Or make a file: {TWO_LINES}",
        )
    arguments, keywords = _arguments(torch, example)
    program = _exported(torch, thing, name, arguments, keywords)
    return Saved(keep(".pt2", lambda path: _write(torch, program, path)), name)


def _arguments(torch: Any, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An example as arguments of ``forward``, in batches of two."""
    if isinstance(example, Mapping):
        return (), {str(key): _batch(torch, value) for key, value in example.items()}
    given = example if isinstance(example, tuple | list) else (example,)
    return tuple(_batch(torch, value) for value in given), {}


def _batch(torch: Any, value: Any) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        value = torch.from_numpy(np.array(value))
    if not isinstance(value, torch.Tensor):
        raise SettingError(
            f"The setting example holds a {type(value).__name__}, not a tensor or an array.",
            remedy="give what forward takes: an array, a tuple of them, or a dict of them by name, each with the batch "
            "first.",
        )
    value = value.detach()
    return torch.cat([value, value])[:_BATCH] if value.ndim and len(value) == 1 else value


def _exported(torch: Any, module: Any, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    modes = [(part, part.training) for part in module.modules()]
    place = next((w.device for w in [*module.parameters(), *module.buffers()]), torch.device("cpu"))
    arguments = tuple(value.to(place) for value in arguments)
    keywords = {key: value.to(place) for key, value in keywords.items()}
    module.eval()
    plain = module.register_forward_hook(_plain)
    try:
        program = _traced(torch, module, name, arguments, keywords)
    finally:
        plain.remove()
        for part, training in modes:
            part.training = training
    if place.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, "cpu")
    return program


def _plain(module: Any, given: Any, found: Any) -> Any:
    """A plain dict for one of a class of its own, as the models of Transformers give: files hold no classes."""
    del module, given
    return dict(found) if isinstance(found, Mapping) and type(found) not in (dict, OrderedDict) else None


def _traced(torch: Any, module: Any, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    import warnings

    dim = torch.export.Dim
    last: Exception | None = None
    # A batch that is not free is found out by what is asked for first; then it is fixed as the example has it.
    for free in ({0: dim("batch")}, {0: dim.AUTO}):
        shapes = (*(free if v.ndim else None for v in arguments),)
        named = {key: free if v.ndim else None for key, v in keywords.items()}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.export.export(module, arguments, keywords or None, dynamic_shapes=named or shapes)
        except Exception as error:  # whatever the module's own code raises under the exporter
            last = error
    text = " ".join(str(last).split())[:500]
    raise UnsupportedModelError(
        f"The module {name!r} cannot be exported by PyTorch: {type(last).__name__}: {text}",
        remedy="check the example, and write forward so that what runs does not depend on values of tensors, or uses "
        "torch.cond.",
    ) from last


def _write(torch: Any, program: Any, path: Path) -> None:
    """Write a program without the example, and without lines and paths of the code that it came from."""
    example, program._example_inputs = program._example_inputs, None
    parts = [part.graph for part in program.graph_module.modules() if hasattr(part, "graph")]
    traces = [(node, node.meta.pop("stack_trace", None)) for graph in parts for node in graph.nodes]
    try:
        torch.export.save(program, str(path))
    finally:
        program._example_inputs = example
        for node, trace in traces:
            if trace is not None:
                node.meta["stack_trace"] = trace
