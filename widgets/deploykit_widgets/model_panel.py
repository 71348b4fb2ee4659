"""Model: what was loaded, and its layers."""

from __future__ import annotations

from pathlib import Path

import ipywidgets as widgets

from deploykit.core.model import Layer, Model
from deploykit_widgets import markup
from deploykit_widgets.commands import Commands
from deploykit_widgets.desk import user_only
from deploykit_widgets.markup import text

#: Most rows of the layer table; a graph of thousands of nodes would freeze the page.
_MOST_LAYERS = 1000


class ModelPanel:
    """Facts and layers; a path field when no model was given.

    Args:
        commands: What the buttons do.
        ask: Whether to show the path field.
    """

    def __init__(self, commands: Commands, *, ask: bool) -> None:
        self._commands = commands
        self.path = widgets.Text(
            description="Model file",
            placeholder=".keras .h5 .onnx .tflite, or a SavedModel folder",
            tooltip="Path of a trained model, on the machine that runs the kernel",
        )
        self.path.add_class("dk-wide")
        self.load = widgets.Button(description="Load", tooltip="Load the model", icon="folder-open")
        self.load.on_click(user_only(commands.desk, lambda: commands.load_model(self.path.value.strip())))
        row = widgets.HBox([self.path, self.load])
        row.layout.display = "flex" if ask else "none"
        self.content = widgets.HTML()
        self.widget = widgets.VBox([row, self.content])
        self.widget.add_class("dk-panel")
        commands.state.observe(self.show, "model", "problems", "busy")
        self.show()

    def show(self) -> None:
        """Draw."""
        state = self._commands.state
        self.load.disabled = "model" in state.busy
        said = markup.problem(state.problems.get("model", ""))
        if "model" in state.busy:
            said += markup.note("Reading the model …")
        elif state.model is None and not said:
            said += markup.note("Give a model file: .keras .h5 .onnx .tflite, or a SavedModel folder.")
        self.content.value = said + (describe(state.model) if state.model else "")


def describe(model: Model) -> str:
    """A model's facts, warnings and layers as HTML."""
    pairs = [
        ("File", text(Path(model.origin or model.path).name)),
        ("Format", text(model.format)),
        ("Inputs", "<br>".join(text(s) for s in model.inputs)),
        ("Outputs", "<br>".join(text(s) for s in model.outputs)),
        ("Parameters", f"{model.parameter_count:,}"),
        ("Size", f"{model.size_bytes / 1000:,.0f} kB"),
        ("SHA-256", f"<code>{text(model.digest[:16])}…</code>"),
    ]
    warnings = "".join(f'<div class="dk-warning"><b>Warning:</b> {text(w)}</div>' for w in model.warnings)
    head = ("Layer", "Type", "Output shape", "Parameters", "Share")
    layers = markup.table(head, (_row(v, model.parameter_count) for v in model.layers[:_MOST_LAYERS]), numbers=(3, 4))
    more = len(model.layers) - _MOST_LAYERS
    rest = markup.note(f"{more:,} more layers are not shown.") if more > 0 else ""
    counted = markup.heading("Layers", f"{len(model.layers):,}")
    return (
        f'{warnings}<div class="dk-two"><div>{markup.heading("Model", model.name)}{markup.facts(pairs)}</div>'
        f'<div>{counted}<div class="dk-scroll" tabindex="0">{layers}</div>{rest}</div></div>'
    )


def _row(layer: Layer, total: int) -> tuple[str, ...]:
    shape = "" if layer.shape is None else " × ".join("?" if d is None else str(d) for d in layer.shape)
    share = f"{100 * layer.parameters / total:.1f} %" if total and layer.parameters else ""
    return text(layer.name), text(layer.type), text(shape), f"{layer.parameters:,}" if layer.parameters else "", share
