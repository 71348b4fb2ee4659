"""The ``.keras`` format of Keras 3: a zip archive of a JSON config and HDF5 weights."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploykit.core import extras
from deploykit.core.errors import ModelFileError
from deploykit.core.serial import parse
from deploykit.loading._contract import Saved, Summary, Weight
from deploykit.loading._keras import live as _live
from deploykit.loading._keras.file import KerasFile
from deploykit.readers import archive as zips

CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
METADATA = "metadata.json"
_AGAIN = "save the model again, or download it again."


class Keras(KerasFile):
    """Recognized by its member ``config.json``; the summary is read without TensorFlow if the config contains it."""

    name = "keras"
    label = "Keras"
    help = "Keras 3 model file."
    suffixes = (".keras",)
    live = "a keras.Model"

    def matches(self, path: Path, head: bytes) -> bool:
        """A zip archive with a member ``config.json`` or ``model.weights.h5``."""
        if not zips.is_archive(head):
            return False
        names = {member.filename for member in zips.check_archive(path)}
        return bool(names & {CONFIG, WEIGHTS})

    def takes(self, thing: object) -> bool:
        """A model of Keras."""
        return _live.takes(thing)

    def save(self, thing: Any) -> Saved:
        """Let Keras save it, without what is not deployed."""
        return _live.save(thing)

    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Read config and weights."""
        zips.check_archive(path)
        with zipfile.ZipFile(path) as archive:
            config = _json(archive, path, CONFIG)
            metadata = _json(archive, path, METADATA)
            return _summary(archive, path, config, metadata, trusted=trusted, imports=imports)

    def weights(self, path: Path) -> Iterator[Weight]:
        """Weights by layer; by group of the weight file where the config does not list the layers."""
        from deploykit.loading._keras import config as _keras_config
        from deploykit.loading._keras import summary as _keras_summary
        from deploykit.readers import hdf5 as _hdf5

        zips.check_archive(path)
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            with zipfile.ZipFile(path) as archive:
                graph = _keras_config.parse_model(_json(archive, path, CONFIG), str(path))
                file = _unpack(archive, path, Path(folder) / WEIGHTS)
            where = f"{path}: {WEIGHTS}"
            with _hdf5.opened(file, where) as opened:
                contents = _hdf5.read_contents(opened, where, file.stat().st_size)
                yield from _keras_summary.weights(opened, _keras_summary.owned(graph, contents))

    def _config(self, path: Path) -> Any:
        return read_config(path)


def _summary(
    archive: zipfile.ZipFile, path: Path, config: Any, metadata: Any, *, trusted: bool, imports: tuple[str, ...]
) -> Summary:
    from deploykit.loading._keras import config as _keras_config
    from deploykit.loading._keras import safety as _keras_safety
    from deploykit.loading._keras import summary as _keras_summary
    from deploykit.readers import hdf5 as _hdf5

    shown = str(path)
    _keras_safety.check_config(config, shown, trusted=trusted, imports=imports)
    graph = _keras_config.parse_model(config, shown)
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        file = _unpack(archive, path, Path(folder) / WEIGHTS)
        where = f"{shown}: {WEIGHTS}"
        with _hdf5.opened(file, where) as weights:
            contents = _hdf5.read_contents(weights, where, file.stat().st_size)
    return _keras_summary.summarize(graph, contents, shown, warnings=_version_warning(metadata))


def read_config(path: Path) -> dict[str, Any]:
    """The config of a ``.keras`` file.

    Raises:
        ModelFileError: The file is not an archive, or its config is missing or damaged.
    """
    zips.check_archive(path)
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = _json(archive, path, CONFIG)
    return found


def _json(archive: zipfile.ZipFile, path: Path, member: str) -> Any:
    """A JSON member; {} for a missing metadata.json."""
    names = archive.namelist()
    if member not in names:
        if member == METADATA:
            return {}
        raise ModelFileError(
            f"{path}: the archive has no {member}; it holds {', '.join(names[:8])}.", remedy="save it with model.save."
        )
    if archive.getinfo(member).file_size > zips.MAX_JSON_BYTES:
        raise ModelFileError(f"{path}: {member} is larger than {zips.MAX_JSON_BYTES:,} bytes.", remedy=_AGAIN)
    try:
        data = archive.read(member)
        zips.check_json(data, f"{path}: {member}")
        found = parse(data)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as error:
        raise ModelFileError(f"{path}: {member} is damaged: {error}.", remedy=_AGAIN) from error
    if not isinstance(found, dict):
        raise ModelFileError(f"{path}: {member} does not hold a JSON object.", remedy=_AGAIN)
    return found


def _unpack(archive: zipfile.ZipFile, path: Path, target: Path) -> Path:
    if WEIGHTS not in archive.namelist():
        raise ModelFileError(
            f"{path}: the archive has no {WEIGHTS}, so the model has no weights.", remedy="save it with model.save."
        )
    try:
        with archive.open(WEIGHTS) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise ModelFileError(f"{path}: {WEIGHTS} is truncated or damaged: {error}.", remedy=_AGAIN) from error
    return target


def _version_warning(metadata: dict[str, Any]) -> tuple[str, ...]:
    saved, here = str(metadata.get("keras_version", "")), extras.version("keras")
    if not saved or not here or _numbers(saved) <= _numbers(here):
        return ()
    return (f"saved by Keras {saved}, newer than the {here} installed here; upgrade keras if loading fails.",)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")[:2]
    return tuple(int(p) if p.isdigit() else 0 for p in parts)


ADAPTER = Keras()
