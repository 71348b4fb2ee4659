"""Removing labelled channels from a Keras model, and masking them in the original for comparison."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from deploykit.core.extras import require
from deploykit.surgery.channels.keras_axes import Traced
from deploykit.surgery.channels.keras_graph import PRODUCTS, SEPARABLE, is_nested, named
from deploykit.surgery.channels.labels import kept

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cut(
    traced: Traced, gone: Collection[int], *, custom: Mapping[str, Any] | None = None, trusted: bool = False,
    biases: bool = False,
) -> Any:  # fmt: skip
    """The model without some components, built again from its config; names, types and policies stay.

    Args:
        traced: The original.
        gone: Components to remove, none of them 0.
        custom: Classes that are not Keras's, by name.
        trusted: Code inside the config may run (Lambda layers).
        biases: Whether layers that lose inputs get a bias, of zeros, when they have none.
    """
    keras = require("keras", "tensorflow")
    scope = require("keras.src.saving.serialization_lib", "tensorflow").SafeModeScope
    config = copy.deepcopy(traced.model.get_config())
    _refit(traced, config, gone, "", biases=biases)
    with keras.saving.custom_object_scope(dict(custom or {})), scope(not trusted):
        made = type(traced.model).from_config(config)
    fill(made, traced.flat.layers, lambda name, weight: shrunk(traced, name, weight, gone))
    return made


def _refit(traced: Traced, config: dict[str, Any], gone: Collection[int], before: str, *, biases: bool) -> None:
    """Write the new numbers of channels into the config of a model."""
    for part in config["layers"]:
        part.pop("build_config", None)  # it states the shapes of before
        inner = part["config"]
        name = f"{before}{inner.get('name') or part.get('name')}"
        if isinstance(inner.get("layers"), list):
            if any(one.startswith(f"{name}/") for one in traced.flat.fed):
                _refit(traced, inner, gone, f"{name}/", biases=biases)
                inner.pop("build_input_shape", None)
        elif name in traced.flat.fed:
            fed = traced.flat.fed[name][0]
            sizes = [_size(traced, fed, k, gone) for k in range(len(traced.axes[fed]))]
            inner["batch_shape"] = [
                old if size is None else size for old, size in zip(inner["batch_shape"], sizes, strict=True)
            ]
        elif name in traced.flat.layers:
            _refit_layer(traced, name, inner, gone, biases=biases)


def _refit_layer(traced: Traced, name: str, config: dict[str, Any], gone: Collection[int], *, biases: bool) -> None:
    op = traced.flat.layers[name]
    kind = type(op).__name__
    made = next((p for p, _ in traced.made if p.layer == name), None)
    if made is not None:
        size = _size(traced, made.weight, made.axis, gone)
        key = next((k for k in ("num_heads", "output_dim", "filters", "units") if k in config), None)
        if key is not None and size is not None:
            config[key] = size
    if kind == "Reshape":
        first = (
            1 if "target_shape" in config else 0
        )  # a layer's setting leaves the examples out, an operation's does not
        old = config["target_shape" if first else "newshape"]
        step = next(step for step in traced.flat.steps if step.name == name)
        sizes = [_size(traced, step.output[0], k + first, gone) for k in range(len(old))]
        config["target_shape" if first else "newshape"] = [
            was if size is None or was in {-1, None} else size for was, size in zip(old, sizes, strict=True)
        ]
    open_to_bias = kind in PRODUCTS | SEPARABLE and f"{name}:0" in traced.axes
    if biases and open_to_bias and config.get("use_bias") is False:
        config["use_bias"] = True


def _size(traced: Traced, name: str, place: int, gone: Collection[int]) -> int | None:
    axis = traced.axes[name][place]
    return None if axis is None else int(kept(traced.labels, axis, gone).sum())


def fill(made: Any, layers: Mapping[str, Any], change: Callable[[str, Any], Any]) -> None:
    """Give the layers of a new model what those of another have learned.

    Args:
        made: The new model.
        layers: Layers of the other one by name.
        change: Gives a weight as it shall be, for its name (``layer:number``) and what it is.
    """
    keras = require("keras", "tensorflow")
    for name, layer in named(made).items():
        old = layers[name]
        if not isinstance(old, keras.Layer) or is_nested(old):
            continue
        for number, weight in enumerate(old.weights):
            layer.weights[number].assign(change(f"{name}:{number}", weight))
        for weight in layer.weights[len(old.weights) :]:  # a bias it had not
            weight.assign(keras.ops.zeros_like(weight))
        for part, twin in zip(old._flatten_layers(), layer._flatten_layers(), strict=True):
            if hasattr(part, "save_assets"):  # vocabularies
                with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
                    part.save_assets(folder)
                    twin.load_assets(folder)
            if hasattr(twin, "finalize_state"):
                twin.finalize_state()


def shrunk(traced: Traced, name: str, values: Any, gone: Collection[int]) -> NDArray[Any]:
    """A tensor or weight without what is removed."""
    import numpy as np

    found = np.asarray(values)
    for k, axis in enumerate(traced.axes.get(name, [])):
        stays = None if axis is None else kept(traced.labels, axis, gone)
        if stays is not None and len(stays) == found.shape[k] and not stays.all():
            found = np.compress(stays, found, axis=k)
    return found


def masked(traced: Traced, gone: Collection[int], feeds: Mapping[str, Any]) -> list[Any]:
    """The outputs of the original when every value of a removed channel is replaced by zero.

    This is what a cut model must compute. No weight is touched, so that channels are masked behind their activation and
    normalization and not before.

    Args:
        traced: The original.
        gone: Components that count as removed.
        feeds: Inputs by their names in ``traced.flat.inputs``.
    """
    import numpy as np

    values = dict(feeds)
    for step in traced.flat.steps:
        for name, value in step.run(values).items():
            found = np.asarray(value)
            for k, axis in enumerate(traced.axes[name]):
                if axis is not None and not (stays := kept(traced.labels, axis, gone)).all():
                    shape = [-1 if at == k else 1 for at in range(found.ndim)]
                    found = np.where(stays.reshape(shape), found, found.dtype.type(0))
            values[name] = found
    return [values[name] for name in traced.flat.outputs]
