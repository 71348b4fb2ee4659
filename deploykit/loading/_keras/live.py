"""Saves a Keras model that lives in this process without its optimizer's state, and equal models alike."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from deploykit.core.errors import SettingError, UnsupportedModelError
from deploykit.loading._contract import Saved
from deploykit.loading._live import classes, keep

#: A fixed date, so that equal models give equal files.
_DATE = (1980, 1, 1, 0, 0, 0)


def takes(thing: object) -> bool:
    """Whether it is a model or a layer of Keras 3 or tf_keras; `save` explains what to do with those it cannot save."""
    return bool(classes(thing) & {("keras", "Layer"), ("tf_keras", "Layer")})


def save(model: Any) -> Saved:
    """Save a built Keras 3 model into the cache folder; equal models share a file.

    The optimizer's state is left out: it is not part of what is deployed.

    Raises:
        SettingError: It is a layer.
        UnsupportedModelError: It is a tf_keras model, was never called, or has classes that children cannot import.
    """
    _check_kind(model)
    _check_built(model)
    imports = _custom_modules(model)

    def write(target: Path) -> None:
        raw = target.with_name("raw.keras")
        try:
            model.save(raw)
        except Exception as error:
            raise UnsupportedModelError(
                f"The model {model.name!r} cannot be saved by Keras: {' '.join(str(error).split())[:300]}",
                remedy="give its custom layers a get_config method.",
            ) from error
        _clean(raw, target, target.parent)

    return Saved(keep(".keras", write), str(model.name), imports)


def _check_kind(model: Any) -> None:
    found = classes(model)
    if ("tf_keras", "Layer") in found:
        raise UnsupportedModelError(
            f"Expected a Keras 3 model, got a tf_keras object ({type(model).__name__}).",
            remedy="save it with model.save('model.h5') and load that file, or rebuild it in Keras 3.",
        )
    if ("keras", "Model") not in found:
        raise SettingError(
            f"Expected a model, got a Keras layer ({type(model).__name__}).", remedy="wrap it: keras.Sequential([…])."
        )


def _check_built(model: Any) -> None:
    symbolic = getattr(model, "inputs", None)
    if not model.built or (not symbolic and not (model.get_build_config() or {}).get("input_shape")):
        raise UnsupportedModelError(
            f"The model {model.name!r} has never been called, so its shapes and weights do not exist yet.",
            remedy="call it once on data (model(x)), or start it with keras.Input(shape).",
        )


def _custom_modules(model: Any) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for layer in (model, *model._flatten_layers(include_self=False)):
        module = type(layer).__module__
        if module.partition(".")[0] == "keras":
            continue
        if module == "__main__":
            raise UnsupportedModelError(
                f"The class {type(layer).__name__!r} of layer {layer.name!r} is defined in this notebook, which other "
                "processes cannot import.",
                remedy="move it to a module beside the notebook, for example my_layers.py, and import it from there.",
            )
        found[module] = None
    return tuple(found)


def _clean(raw: Path, target: Path, work: Path) -> None:
    """Copy a ``.keras`` file without dates, optimizer and compile settings."""
    import json

    import h5py

    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(target, "w") as copy:
        for name in sorted(source.namelist()):
            data = source.read(name)
            if name == "metadata.json":
                data = json.dumps({"keras_version": json.loads(data).get("keras_version", "")}).encode()
            elif name == "config.json":
                config = json.loads(data)
                config.pop("compile_config", None)
                data = json.dumps(_number_shared(config, {})).encode()
            elif name == "model.weights.h5":
                old, new = work / "old.h5", work / "new.h5"
                old.write_bytes(data)
                with h5py.File(old) as weights, h5py.File(new, "w") as kept:
                    for key in sorted(set(weights) - {"optimizer"}):
                        weights.copy(key, kept)
                data = new.read_bytes()
            copy.writestr(zipfile.ZipInfo(name, _DATE), data)


def _number_shared(item: Any, numbers: dict[Any, int]) -> Any:
    """Replace the memory addresses Keras writes as ``shared_object_id`` by small numbers, in order of appearance."""
    if isinstance(item, list):
        return [_number_shared(value, numbers) for value in item]
    if not isinstance(item, dict):
        return item
    return {
        key: numbers.setdefault(value, len(numbers)) if key == "shared_object_id" else _number_shared(value, numbers)
        for key, value in item.items()
    }
