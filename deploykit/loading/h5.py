"""Legacy whole-model HDF5 files of Keras 2 and 3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.core.errors import ModelFileError
from deploykit.core.serial import parse
from deploykit.loading._contract import Summary, Weight
from deploykit.loading._keras.file import KerasFile
from deploykit.readers import hdf5 as _hdf5
from deploykit.readers.archive import check_json


class H5(KerasFile):
    """Recognized by HDF5's signature; the architecture is a JSON text in the attribute ``model_config``."""

    name = "h5"
    label = "Keras HDF5"
    help = "Legacy Keras model file."
    suffixes = shared_suffixes = (".h5", ".hdf5")

    def matches(self, path: Path, head: bytes) -> bool:
        """HDF5's signature."""
        del path
        return head.startswith(_hdf5.MAGIC)

    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Read config and weights."""
        from deploykit.loading._keras import config as _keras_config
        from deploykit.loading._keras import safety as _keras_safety
        from deploykit.loading._keras import summary as _keras_summary

        shown = str(path)
        with _hdf5.opened(path, shown) as file:
            contents = _hdf5.read_contents(file, shown, path.stat().st_size)
            config = _config(file, shown, contents)
        _keras_safety.check_config(config, shown, trusted=trusted, imports=imports)
        graph = _keras_config.parse_model(config, shown)
        if graph is not None:
            _keras_safety.check_layers(graph, shown, imports)
        return _keras_summary.summarize(graph, contents, shown, legacy=True)

    def weights(self, path: Path) -> Iterator[Weight]:
        """Weights by layer; by their path in the file where the config does not list the layers."""
        from deploykit.loading._keras import config as _keras_config
        from deploykit.loading._keras import summary as _keras_summary

        shown = str(path)
        with _hdf5.opened(path, shown) as file:
            contents = _hdf5.read_contents(file, shown, path.stat().st_size)
            graph = _keras_config.parse_model(_config(file, shown, contents), shown)
            if graph is None:
                inside = [t for t in contents.tensors if t.path.startswith("model_weights/")]
                found = [(t.path.split("/", 1)[1].rpartition("/")[0], [t]) for t in inside]
            else:
                found = list(_keras_summary.legacy_tensors(graph, contents).items())
            yield from _keras_summary.weights(file, found)

    def _config(self, path: Path) -> Any:
        return read_config(path)


def read_config(path: Path) -> Any:
    """The config of an ``.h5`` file.

    Raises:
        ModelFileError: It has none, or it is damaged.
    """
    shown = str(path)
    with _hdf5.opened(path, shown) as file:
        return _config(file, shown, _hdf5.read_contents(file, shown, path.stat().st_size))


def _config(file: Any, shown: str, contents: _hdf5.Contents) -> Any:
    try:
        text = file.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise ModelFileError(f"{shown}: model_config is damaged: {error}.", remedy="save the model again.") from error
    if text is None:
        held = f"{len(contents.tensors)} arrays" if contents.tensors else "nothing"
        raise ModelFileError(
            f"{shown}: an HDF5 file without a model: it has no attribute model_config and holds {held}; a file "
            "written by model.save_weights has no architecture.",
            remedy="save the whole model with model.save('model.keras').",
        )
    data = text if isinstance(text, bytes) else str(text).encode(errors="surrogateescape")
    check_json(data, f"{shown}: model_config")
    try:
        return parse(data)
    except ValueError as error:
        raise ModelFileError(f"{shown}: model_config is damaged: {error}.", remedy="save the model again.") from error


ADAPTER = H5()
