"""``deploykit inspect MODEL``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import deploykit as dk
from deploykit.cli._shared.inputs import add_data, add_model, data, model
from deploykit.cli._shared.options import add_options, given
from deploykit.cli._shared.show import columns, show
from deploykit.core.settings.options import ExamineOptions

if TYPE_CHECKING:
    from deploykit.core.model import Model

HELP = "Show a model's format, signature, layers and parameters; with --data, also how the data are interpreted."
_LAYERS = 100


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_data(parser, required=False)
    add_options(parser, ExamineOptions)


def run(options: argparse.Namespace) -> None:
    """Run the verb."""
    found = model(options)
    if options.data is None:
        show(options, _text(found), found)
        return
    examples = data(options)
    examined = dk.examine(found, examples, **given(options, ExamineOptions))
    text = "\n".join([_text(found), "", *map(str, str(examples.reading).splitlines()), "", str(examined)])
    show(options, text, {**found.to_json(), "examined": examined, "reading": examples.reading})


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
