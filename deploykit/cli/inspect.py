"""``deploykit inspect MODEL``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from deploykit.cli._inputs import add_model, model
from deploykit.cli._show import columns, show

if TYPE_CHECKING:
    from deploykit.core.model import Model

HELP = "Show a model's format, signature, layers and parameters; nothing of it is run."
_LAYERS = 100


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    found = model(options)
    show(options, _text(found), found)


def _text(found: Model) -> str:
    lines = [
        f"{found.path}",
        f"format      {found.format}",
        f"parameters  {found.parameter_count:,}",
        f"size        {found.size_bytes:,} bytes",
        f"sha256      {found.digest}",
        *(f"input       {spec}" for spec in found.inputs),
        *(f"output      {spec}" for spec in found.outputs),
        *(f"warning     {text}" for text in found.warnings),
    ]
    if found.layers:
        rows = [("layer", "type", "output shape", "parameters")]
        for layer in found.layers[:_LAYERS]:
            shape = "" if layer.shape is None else "×".join("?" if d is None else str(d) for d in layer.shape)
            rows.append((layer.name, layer.type, shape, f"{layer.parameters:,}"))
        lines += ["", columns(rows, right=(3,))]
        if len(found.layers) > _LAYERS:
            lines.append(f"… and {len(found.layers) - _LAYERS} more; --json lists all")
    return "\n".join(lines)
