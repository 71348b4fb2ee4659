"""PyTorch: exported programs (``.pt2``), TorchScript, and modules that live in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from deploykit.core.errors import ModelFileError, UnsafeModelError
from deploykit.core.layers.kinds import LayerKind
from deploykit.core.model import Layer, Model
from deploykit.loading._contract import Format, Saved, Summary, Weight
from deploykit.loading._live import classes
from deploykit.loading._nodes import GraphNode, NodeWeight, digest_of
from deploykit.loading._pytorch.kinds import KINDS
from deploykit.readers import archive as zips
from deploykit.readers.pytorch.archive import NAME, TWO_LINES, Archive, kind_of
from deploykit.readers.pytorch.program import Node, Program
from deploykit.readers.pytorch.safety import check_script

#: Where a program keeps the example it was exported with, and how much of it is worth a word.
_EXAMPLE = f"data/sample_inputs/{NAME}.pt"
_MANY_BYTES = 1_000_000
#: Most of the code of a TorchScript file that is looked at.
_CODE_BYTES = 64 << 20
#: How operators begin that read or make quantized numbers.
_QUANTIZED = ("quantize_per_", "dequantize_per_")


class PyTorch(Format):
    """Recognized by the members of its zip archive. A program is read without PyTorch; pickles are never opened."""

    name = "pytorch"
    label = "PyTorch"
    help = "PyTorch exported program (.pt2) or TorchScript."
    suffixes = (".pt2", ".pt", ".pth", ".ts")
    shared_suffixes = (".ts",)
    kinds = KINDS
    live = "a torch.nn.Module with example="
    full_group = "torch"

    def matches(self, path: Path, head: bytes) -> bool:
        """A zip archive with a graph, or with TorchScript's code."""
        if not zips.is_archive(head):
            return False
        return kind_of([member.filename for member in zips.check_archive(path)]) in ("program", "script", "compiled")

    def takes(self, thing: object) -> bool:
        """A module, or a program that was exported from one."""
        return bool(classes(thing) & {("torch", "Module"), ("torch", "ExportedProgram")})

    def save(self, thing: Any) -> Saved:
        """Write a program, or a compiled script; any other module needs an example."""
        from deploykit.loading._pytorch import live

        return live.save(thing, None)

    def save_with(self, thing: Any, example: Any) -> Saved:
        """Export it, in evaluation mode, with the sizes of an example and any number of them."""
        from deploykit.loading._pytorch import live

        return live.save(thing, example)

    def quantized(self, model: Model) -> str:
        """Operators that quantize, or make real numbers of integers."""
        marks = {layer.type for layer in model.layers if layer.type.startswith(_QUANTIZED)}
        return f"it has {', '.join(sorted(marks))}" if marks else ""

    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Read a program's graph; of TorchScript only look at the code."""
        del imports
        with Archive(path) as archive:
            if archive.kind == "compiled":
                raise UnsafeModelError(
                    f"{path}: it holds a library that AOTInductor has built, which is machine code for one machine.",
                    remedy=f"save the program itself; deploykit compiles it where it runs: {TWO_LINES}",
                )
            if archive.kind == "script":
                if not trusted:
                    _check_code(archive)
                return Summary((), ())
            program = Program(archive, trusted=trusted)
            return _summary(program)

    def read_fully(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Load TorchScript and run it once, on zeros of the shape with which it was traced."""
        from deploykit.runtimes import _torch

        del trusted, imports
        return _script_summary(_torch.opened_script(path))

    def weights(self, path: Path) -> Iterator[Weight]:
        """Weights of a program by the nodes that use them first."""
        with Archive(path) as archive:
            if archive.kind != "program":
                yield from super().weights(path)
            program = Program(archive, trusted=True)
            for node, owned in program.owned.items():
                for one in owned:
                    if len(one.shape) >= 2 and program.count(one):
                        yield Weight(program.names[node], one.name, one.shape, one.dtype, partial(program.real, one))

    def nodes(self, path: Path) -> list[GraphNode]:
        """Operators of a program."""
        with Archive(path) as archive:
            if archive.kind != "program":
                return super().nodes(path)
            program = Program(archive, trusted=True)
            found = []
            for node in program.nodes:
                owned = tuple(
                    NodeWeight(one.name, one.shape, one.dtype, digest_of(program.values(one)))
                    for one in program.owned.get(node.name, ())
                )
                inputs = tuple(name for name in node.inputs if name not in program.constants)
                kind = _seen(program, node) or self.kind_of(Layer(node.name, node.operator))
                found.append(
                    GraphNode(
                        program.names[node.name], node.operator, kind, inputs, node.outputs, owned,
                        dict(node.attributes), node.shape,
                    )
                )  # fmt: skip
            return found


def _check_code(archive: Archive) -> None:
    """Refuse TorchScript that touches files or needs other packages."""
    texts: dict[str, str] = {}
    left = _CODE_BYTES
    for name in archive.names("code/"):
        if not name.endswith(".py"):
            continue
        data = archive.read(name, left)
        left -= len(data)
        try:
            texts[name] = data.decode()
        except UnicodeDecodeError as error:
            raise ModelFileError(
                f"{archive.path}: {name} is not text: {error}.", remedy="export the model again, or download it again."
            ) from error
    check_script(texts, str(archive.path))


def _seen(program: Program, node: Node) -> LayerKind:
    """A convolution with one filter for each channel is depthwise; "" for others."""
    if node.operator not in KINDS["convolution"] or node.attributes.get("groups", "1") == "1":
        return ""
    weight = next((w for w in program.owned.get(node.name, ()) if len(w.shape) > 2), None)
    return "depthwise" if weight is not None and weight.shape[1] == 1 else ""


def _summary(program: Program) -> Summary:
    layers = []
    for node in program.nodes:
        count = sum(map(program.count, program.owned.get(node.name, ())))
        layers.append(Layer(program.names[node.name], node.operator, node.shape, count, _seen(program, node)))
    total = sum(map(program.count, program.stored.values()))
    warnings = (*_flaws(program), *_examples(program))
    return Summary(program.inputs, program.outputs, tuple(layers), total, warnings, stateful=program.changed)


def _examples(program: Program) -> Iterator[str]:
    """``torch.export.save`` keeps the example, with all of the array of which it was a part."""
    held = program.archive.size(_EXAMPLE)
    if held > _MANY_BYTES:
        yield (
            f"{held:,} bytes of it are the example that it was exported with, which counts for its size: export it "
            "with a copy (example.clone()), or drop the example before it is saved."
        )


def _flaws(program: Program) -> Iterator[str]:
    import numpy as np

    for one in program.stored.values():
        if not program.count(one):
            continue
        values = program.values(one)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            what = "NaN" if np.isnan(values).any() else "infinite values"
            yield f"the weight {one.name!r} holds {what}: outputs will be wrong; export the model again."


def _script_summary(script: Any) -> Summary:
    """What is known of TorchScript that has been loaded."""
    layers = tuple(Layer(name, kind, None, count) for name, kind, count in script.layers())
    flaws: Mapping[str, str] = script.flaws()
    said = tuple(f"the weight {n!r} holds {w}: outputs will be wrong; export it again." for n, w in flaws.items())
    return Summary(script.inputs, script.outputs, layers, sum(x.parameters for x in layers), said)


ADAPTER = PyTorch()
