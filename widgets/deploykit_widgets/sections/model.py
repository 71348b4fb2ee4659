"""Model: the loaded model and its layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploykit.core.model import Layer, Model
from deploykit_widgets.answers import Command, Later
from deploykit_widgets.code.script import shown_path
from deploykit_widgets.data.fit import fits
from deploykit_widgets.endings import endings, formats, usual_endings
from deploykit_widgets.evidence.layer_times import LayerTimes, layer_times, source_of_times
from deploykit_widgets.listing import listing
from deploykit_widgets.sections._contract import Hint, Panel
from deploykit_widgets.state import State

#: Layers in one answer; a layer has about a hundred bytes.
_A_PAGE = 2000


class ModelSection(Panel):
    """Facts of the model, and its layers on demand."""

    name = "model"
    title = "Model"
    order = 10
    hinted = ("model", "plan", "misfit")
    fields = ("model", "report")

    @classmethod
    def hint(cls, state: State) -> Hint:
        """The model's file, and whether it fits the data."""
        return Hint(state.model_name, done=fits(state))

    def value(self) -> Any:
        """See ``IModel`` in model/section.ts."""
        model, report = self._state.model, self._state.report
        return {
            "here": {"folder": Path.cwd().as_posix(), "home": Path.home().as_posix()},
            "endings": {
                "models": list(endings()),
                "beside": [s for f in formats() for s in f.companions],
                "words": usual_endings(),
                "named": [s for f in formats() if f.names_ends for s in f.suffixes],
            },
            "facts": None if model is None else _facts(model),
            "profile": source_of_times(report) if report is not None and model is not None else "",
        }

    def commands(self) -> Mapping[str, Command]:
        """Loading, choosing a file, and the layers."""
        return {
            "load_model": self._load,
            "cancel_model": lambda: self._commands.cancel_loading("model"),
            "browse_models": self._browse,
            "layers": self._layers,
        }

    def _load(self, path: str, inputs: str = "", outputs: str = "") -> None:
        """Load a file.

        Args:
            path: Where it is.
            inputs: Names of its inputs, separated by commas; "" for those that it has.
            outputs: The same for outputs.
        """
        self._commands.load_model(path.strip(), _names(inputs), _names(outputs))

    def _browse(self, folder: str = "") -> Later:
        able = endings()
        return Later("browse", lambda: listing(folder, lambda p: p.name.lower().endswith(able), take_models=True))

    def _layers(self, digest: str, profile: str = "", start: int = 0) -> Any:
        """A page of layers.

        Args:
            digest: Digest of the model; for a different one there are no layers.
            profile: Candidate whose profile has the times, "" for none.
            start: Place of the first layer.
        """
        model, report = self._state.model, self._state.report
        if model is None or model.digest != digest:
            return _page((), 0, 0, None)

        def work() -> Any:
            times = layer_times(report, profile) if profile and report is not None else None
            return _page(model.layers[start : start + _A_PAGE], start, len(model.layers), times)

        return Later("layers", work)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _facts(model: Model) -> dict[str, Any]:
    labels = {f.name: f.label for f in formats()}
    path = Path(model.origin if model.is_part else model.path)
    return {
        "file": Path(model.origin or model.path).name,
        "path": path.as_posix(),
        "shown": shown_path(path),
        "kernel": bool(model.origin) and not model.is_part,
        "folder": path.is_dir(),
        "fileBytes": path.stat().st_size if path.is_file() else None,
        "named": {"inputs": ", ".join(model.named_inputs), "outputs": ", ".join(model.named_outputs)},
        "format": model.format,
        "label": labels.get(model.format, model.format),
        "inputs": [str(s) for s in model.inputs],
        "outputs": [str(s) for s in model.outputs],
        "parameters": model.parameter_count,
        "bytes": model.size_bytes,
        "digest": model.digest,
        "warnings": list(model.warnings),
        "layers": len(model.layers),
    }


def _page(layers: tuple[Layer, ...], start: int, total: int, times: LayerTimes | None) -> dict[str, Any]:
    return {
        "total": total,
        "runtime": times.runtime if times else "",
        "elsewhere": times.elsewhere if times else 0.0,
        "layers": [
            {
                "name": layer.name,
                "type": layer.type,
                "shape": shape_of(layer),
                "parameters": layer.parameters,
                "time": times.shares.get(i) if times else None,
                "fused": list(times.fused.get(i, ())) if times else [],
            }
            for i, layer in enumerate(layers, start)
        ],
    }


def shape_of(layer: Layer) -> str:
    """Output shape as text, "" if unknown."""
    return "" if layer.shape is None else " × ".join("?" if d is None else str(d) for d in layer.shape)


ADAPTER = ModelSection
