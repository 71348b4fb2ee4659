"""Which models and versions are wanted: TensorFlow Serving's ``models.config`` and folders, Triton's repositories.

Sources: TensorFlow Serving's ``ModelServerConfig`` and its ``file_system_storage_path_source.cc``, which decides what
counts as a version; Triton's model repository and model configuration.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from deploykit.artifacts.artifact import is_artifact
from deploykit.artifacts.versions import Versions, is_versioned
from deploykit.core.errors import ServeError
from deploykit.core.files import read_small
from deploykit.core.protos.messages import message, read_text

#: A models.config and a model's configuration in a Triton repository, as messages.
_SERVER, _TRITON = "tensorflow.serving.ModelServerConfig", "inference.ModelConfig"
_TRITON_FILE = "config.pbtxt"
#: What a Triton repository may name as what runs a model: each has a runtime here.
_BACKENDS = frozenset({"onnxruntime", "tensorflow"})
_PLATFORMS = frozenset({"onnxruntime_onnx", "tensorflow_savedmodel"})
#: What has a Triton repository answer otherwise than a model does by itself: it is not there here.
_UNLIKE = ("sequence_batching", "ensemble_scheduling", "batch_input", "batch_output")
#: Endings of files that are models.
_FILES = (".onnx", ".tflite")
#: What becomes a part of URLs.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LARGEST = (1 << 63) - 1
#: Most bytes of a file with names of classes.
_MOST_NAMES_BYTES = 16 << 20
#: Bytes of a file that show whether it is text.
_LOOK_BYTES = 4096


@dataclass(frozen=True)
class Wish:
    """One model that is wanted, whatever is there now.

    Attributes:
        name: Name to serve it by.
        path: Absolute path of the folder of its versions.
        policy: Which versions: the ``latest`` ones, ``all``, or ``specific`` ones.
        numbers: The versions of policy ``specific``.
        labels: Label → version.
        count: How many versions of policy ``latest``.
        file: Name of the model in the folder of each version; "" for the usual ones.
        classes: Names of classes by index, by the name of the output that scores them.
        pointed: Whether the folder's own pointer says which versions are served, see `deploykit.artifacts.versions`.
    """

    name: str
    path: Path
    policy: Literal["latest", "all", "specific"] = "latest"
    numbers: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    count: int = 1
    file: str = ""
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pointed: bool = False

    def of(self, versions: Iterable[int]) -> tuple[int, ...]:
        """Those of the versions that are wanted, the highest last."""
        there = sorted(versions)
        if self.pointed:
            return tuple(there)
        if self.policy == "latest":
            return tuple(there[-self.count :])
        return tuple(v for v in there if self.policy == "all" or v in self.numbers)


def stands_alone(path: Path) -> bool:
    """Whether a path is a model, exported or not, and no folder of versions: it is served as version 1."""
    return is_artifact(path) or (path / "saved_model.pb").is_file() or (path.suffix in _FILES and path.is_file())


def versions_of(path: Path) -> dict[int, Path]:
    """Versions in a model's folder: folders whose names are whole numbers, leading zeros or not; the highest last.

    Of two names for one version the last one counts, as in TensorFlow Serving. A folder that is not there has none. Of
    a folder with a pointer it is those that the pointer has servers load.
    """
    if is_versioned(path):
        versions = Versions(path)
        return {number: versions.path(number) for number in versions.pointer().loaded}
    found = {}
    try:
        folders = sorted(one for one in path.iterdir() if one.name.isascii() and one.name.isdigit() and one.is_dir())
    except OSError:
        return {}
    for folder in folders:
        if (number := int(folder.name)) <= _LARGEST:
            found[number] = folder
    return dict(sorted(found.items()))


def wishes_in(path: str | Path, name: str = "") -> tuple[Wish, ...]:
    """What a path asks to serve: a model, a folder of its versions, a folder of such folders, or a ``models.config``.

    Args:
        path: The file or folder.
        name: Name of the model, for a folder of its versions; "" for the folder's own.

    Raises:
        ServeError: There is nothing like that, or it is not as it must be; names the file and the field.
    """
    place = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100  resolve() would follow links
    if stands_alone(place):
        return (Wish(checked(name or place.stem, place), place),)
    if place.is_file():
        _check_text(place)
        return read_models_config(place)
    if versions_of(place):
        return (Wish(checked(name or place.name, place), place, pointed=is_versioned(place)),)
    wishes = read_repository(place) if place.is_dir() else ()
    if name and len(wishes) == 1:
        wishes = (replace(wishes[0], name=checked(name, place)),)
    if not wishes:
        raise ServeError(
            f"{place} {'holds no model' if place.exists() else 'does not exist'}.",
            remedy="give a model, a file models.config, a folder with a folder for each version (1, 2, …), or a folder "
            "of such folders, one for each model.",
        )
    return wishes


def _check_text(file: Path) -> None:
    """Raise `ServeError` for a file that is not text, such as a model of a format that is not served as it is."""
    try:
        with file.open("rb") as opened:
            start = opened.read(_LOOK_BYTES)
    except OSError:  # who reads it says why
        return
    if b"\0" in start:
        raise ServeError(
            f"{file} is neither text, as a models.config is, nor a model that is served as it is "
            f"({', '.join(_FILES)}, or the folder of a SavedModel).",
            remedy="export other models with deploykit export, and give the folder.",
        )


def read_models_config(source: str | Path | Any) -> tuple[Wish, ...]:
    """The models of a ``models.config``.

    Args:
        source: The file, whose relative paths start at its folder; or the message, ``ModelServerConfig`` of this
            project's or TensorFlow Serving's own definitions, in which paths must be absolute.

    Raises:
        ServeError: The file cannot be read, or a field is not as it must be.
    """
    if isinstance(source, str | Path):
        file = Path(source).absolute()
        config = read_text(_SERVER, file, "the configuration of the models", ServeError)
        return _wishes(config, str(file), file.parent)
    return _wishes(source, "The configuration", None)


def read_repository(folder: Path) -> tuple[Wish, ...]:
    """The models of a Triton repository: a folder for each, with a folder for each version, ``config.pbtxt`` or none.

    Raises:
        ServeError: A configuration cannot be read, or asks for what is not served here.
    """
    wishes = []
    for place in sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")):
        file = place / _TRITON_FILE
        if file.exists():
            wishes.append(_triton(place, file))
        elif versions_of(place):
            wishes.append(Wish(checked(place.name, place), place, pointed=is_versioned(place)))
    return tuple(wishes)


def _wishes(config: Any, where: str, root: Path | None) -> tuple[Wish, ...]:
    if config.WhichOneof("config") != "model_config_list":
        raise ServeError(
            f"{where}: it has no model_config_list.", remedy="list the models in model_config_list { config { … } }."
        )
    wishes: dict[str, Wish] = {}
    for number, one in enumerate(config.model_config_list.config):
        wish = _wish(one, f"{where}: model_config_list.config[{number}]", root)
        if wish.name in wishes:
            raise ServeError(
                f"{where}: name {wish.name!r} is there twice.",
                remedy="list each model once; several versions of it are a matter of model_version_policy.",
            )
        wishes[wish.name] = wish
    return tuple(wishes.values())


def _wish(config: Any, where: str, root: Path | None) -> Wish:
    if not config.name:
        raise ServeError(f"{where}: name is missing.", remedy="name the model.")
    where = f"{where} ({config.name!r})"
    if config.model_platform not in ("", "tensorflow") or config.model_type == 2:  # OTHER
        raise ServeError(
            f"{where}: model_platform is {config.model_platform or 'OTHER'!r}; expected 'tensorflow' or none.",
            remedy="leave model_platform out: the format of a model is found by its files.",
        )
    policy = config.model_version_policy
    wish = Wish(
        name=checked(config.name, f"{where}: name"),
        path=_base(config.base_path, where, root),
        **_policy(policy, f"{where}: model_version_policy"),
    )
    return labelled(wish, sorted(config.version_labels.items()), f"{where}: version_labels")


def labelled(wish: Wish, labels: Iterable[tuple[str, int]], where: str) -> Wish:
    """A wish with labels for its versions.

    Raises:
        ServeError: Clients cannot ask for one, or there is no such version by the wish's policy.
    """
    found = {label: int(version) for label, version in labels}
    for label, version in found.items():
        if not label or "/" in label or ":" in label:
            raise ServeError(f"{where}: {label!r} cannot be part of a URL.", remedy="name it without '/' and ':'.")
        if version < 0 or (wish.numbers and version not in wish.numbers):
            wanted = ", ".join(map(str, wish.numbers)) or "a number from 0 on"
            raise ServeError(
                f"{where}: {label!r} is for version {version}; expected {wanted}.", remedy="label a version it has."
            )
    return replace(wish, labels=found)


def _base(text: str, where: str, root: Path | None) -> Path:
    if "://" in text:
        raise ServeError(
            f"{where}: base_path is {text!r}; models are read from this machine's folders alone.",
            remedy="mount or copy it to a folder.",
        )
    if not text or (root is None and not Path(text).is_absolute()):
        got = repr(text) if text else "none"
        raise ServeError(f"{where}: expected an absolute base_path, got {got}.", remedy="give the folder's whole path.")
    return Path(os.path.abspath((root or Path()) / text))  # noqa: PTH100  resolve() would follow links


def _policy(policy: Any, where: str) -> dict[str, Any]:
    """Fields of a wish from a policy: TensorFlow Serving and Triton give its fields the same names."""
    choice = policy.WhichOneof("policy_choice") or "latest"
    if choice == "latest":
        return {"policy": "latest", "count": max(policy.latest.num_versions, 1)}
    if choice == "all":
        return {"policy": "all"}
    numbers = tuple(sorted(set(policy.specific.versions)))
    if not numbers or numbers[0] < 0:
        got = ", ".join(map(str, numbers)) or "none"
        raise ServeError(
            f"{where}: expected specific versions from 0 on, got {got}.", remedy="name at least one: versions: 1."
        )
    return {"policy": "specific", "numbers": numbers}


def _triton(place: Path, file: Path) -> Wish:
    config = read_text(_TRITON, file, "the configuration of the model", ServeError, unknown=True)
    if config.name not in ("", place.name):
        raise ServeError(
            f"{file}: name is {config.name!r}; expected {place.name!r}, the name of its folder.",
            remedy="rename one of them, or leave the name out.",
        )
    for field_, given, known in (("backend", config.backend, _BACKENDS), ("platform", config.platform, _PLATFORMS)):
        if given and given not in known:
            raise ServeError(
                f"{file}: {field_} is {given!r}; expected {' or '.join(map(repr, sorted(known)))}.",
                remedy="convert the model to ONNX, or move it out of this folder.",
            )
    if odd := [field_.name for field_, _ in config.ListFields() if field_.name in _UNLIKE]:
        raise ServeError(
            f"{file}: {', '.join(odd)} cannot be had here: each request is answered by one model and by itself.",
            remedy="move the model out of this folder, or leave the field out if the model works without it.",
        )
    if "/" in config.default_model_filename or config.default_model_filename in (".", ".."):
        raise ServeError(
            f"{file}: default_model_filename is {config.default_model_filename!r}; expected a name without '/'.",
            remedy="name a file or folder in the folders of the versions.",
        )
    policy = _policy(config.version_policy, f"{file}: version_policy")
    classes = {one.name: _names(place / one.label_filename) for one in config.output if one.label_filename}
    return Wish(checked(place.name, file), place, **policy, file=config.default_model_filename, classes=classes)


def _names(file: Path) -> tuple[str, ...]:
    """Names of classes, one in each line."""
    try:
        return tuple(read_small(file, _MOST_NAMES_BYTES, "the names of the classes", ServeError).decode().splitlines())
    except UnicodeDecodeError as error:
        raise ServeError(f"{file}: expected one name of a class in each line, got no text.") from error


def checked(name: str, where: object) -> str:
    """A model's name, if clients can ask for it.

    Raises:
        ServeError: It cannot be part of a URL.
    """
    if not _NAME.fullmatch(name):
        raise ServeError(
            f"{where}: {name!r} cannot be part of a URL.", remedy="use up to 128 letters, digits, '.', '_' and '-'."
        )
    return name


def read_sent_config(config: str) -> tuple[Wish, ...]:
    """The wishes of a serialized ``ModelServerConfig``, in base64."""
    return read_models_config(message("tensorflow.serving.ModelServerConfig").FromString(base64.b64decode(config)))
