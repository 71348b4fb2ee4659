"""Saves a Keras model that lives in this process, so that it can be treated like any other file."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploykit.core.digest import file_digest
from deploykit.core.errors import SettingError, UnsupportedModelError

#: A fixed date, so that equal models give equal files.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Saved:
    """Where a model was put.

    Attributes:
        path: The ``.keras`` file, named by its content.
        name: The model's name.
        imports: Importable modules that define its custom layers.
    """

    path: Path
    name: str
    imports: tuple[str, ...]


def save(model: Any) -> Saved:
    """Save a built Keras 3 model into the cache folder; equal models share a file.

    The optimizer's state is left out: it is not part of what is deployed.

    Raises:
        SettingError: It is not a Keras model.
        UnsupportedModelError: It is a tf_keras model, was never called, or has classes that children cannot import.
    """
    _check_kind(model)
    _check_built(model)
    imports = _custom_modules(model)
    folder = cache_folder() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as work:
        raw, clean = Path(work, "raw.keras"), Path(work, "clean.keras")
        try:
            model.save(raw)
        except Exception as error:
            raise UnsupportedModelError(
                f"The model {model.name!r} cannot be saved by Keras: {' '.join(str(error).split())[:300]}",
                remedy="give its custom layers a get_config method.",
            ) from error
        _clean(raw, clean, Path(work))
        target = folder / f"{file_digest(clean)[:32]}.keras"
        if not target.exists():
            os.replace(clean, target)  # noqa: PTH105  atomic on every system
    return Saved(target, str(model.name), imports)


def cache_folder() -> Path:
    """Where deploykit keeps copies: ``$DEPLOYKIT_CACHE``, else the user's cache folder, else a temporary one."""
    if given := os.environ.get("DEPLOYKIT_CACHE"):
        return Path(given).absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "deploykit"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.gettempdir()) / f"deploykit-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"


def _check_kind(model: Any) -> None:
    packages = {(k.__module__.partition(".")[0], k.__name__) for k in type(model).__mro__}
    if any(package == "tf_keras" for package, _ in packages):
        raise UnsupportedModelError(
            f"Expected a Keras 3 model, got a tf_keras object ({type(model).__name__}).",
            remedy="save it with model.save('model.h5') and load that file, or rebuild it in Keras 3.",
        )
    if ("keras", "Model") in packages:
        return
    if ("keras", "Layer") in packages:
        raise SettingError(
            f"Expected a model, got a Keras layer ({type(model).__name__}).", remedy="wrap it: keras.Sequential([…])."
        )
    remedy = "pass a path or a keras.Model."
    if any(package == "torch" for package, _ in packages):
        remedy = "export it with torch.onnx.export and load the .onnx file."
    raise SettingError(f"Expected a model, got {type(model).__module__}.{type(model).__qualname__}.", remedy=remedy)


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
